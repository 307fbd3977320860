//! What must hold of parts of the endpoint, whatever bytes they are given, each held against something slower and simpler. The
//! fuzz targets `proposals` and `fragments` ask for nothing more.

mod fragments;
mod proposals;

pub use fragments::fragments;
pub use proposals::proposals;

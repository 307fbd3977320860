//! Which thread? The control loop owns IKE and everything slow, the worker owns the packets; they meet in `link`.

mod admin_socket;
mod keylog;
mod link;
pub mod protocol;

pub use admin_socket::{MAX_LINE, parse_request};

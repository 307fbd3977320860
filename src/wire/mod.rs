//! Which bytes does X have? Views of packets, values of messages; no state, no I/O.

pub mod ike;
pub mod reader;
pub mod writer;

//! What happens to a packet end to end? No I/O, no lock, no allocation per packet (RFC 4301 §5).

pub mod buffer;

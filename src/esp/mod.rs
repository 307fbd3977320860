//! How is one packet protected? One direction of one SA (RFC 4303 §3): keys, sequence numbers, replay window, limits.
//!
//! No I/O, no clock, no lock, no allocation per packet. Tunnel mode only.

pub mod esn;
pub mod inbound_sa;
pub mod limits;
pub mod open;
pub mod outbound_sa;
pub mod replay;
pub mod seal;
pub mod transform;

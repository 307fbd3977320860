//! What happens to a packet end to end? No I/O, no lock, no allocation per packet (RFC 4301 §5).

pub mod buffer;
pub mod coalesce;
pub mod counters;
pub mod drop;
mod events;
pub mod handover;
mod held;
mod ike_queue;
mod inbound;
mod mappings;
pub mod mtu;
pub mod offload;
mod outbound;
mod paths;
pub mod pipeline;
mod replies;
pub mod sad;
pub mod segment;
pub mod steer;
mod translate;
pub mod tunnel;

//! How is the host kept from leaking? Pure: from the configuration and the tunnels' state to routes and a barrier.
//!
//! Three lines, so that the fall of one is no leak: a low-metric route into the TUN, a high-metric `unreachable` route that
//! takes over when the TUN is gone, and a barrier of packet filter rules that drops what would go another way still.

pub mod barrier;
pub mod desired;
pub mod routes;

//! How is the host kept from leaking? Pure: from the configuration and the tunnels' state to routes and a barrier.

pub mod desired;

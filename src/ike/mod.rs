//! How do two peers agree? IKEv2 (RFC 7296) as a sans-IO endpoint: time, randomness and bytes are arguments.

pub mod api;
pub mod config;
pub mod endpoint;
pub mod status;

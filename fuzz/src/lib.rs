//! What each fuzz target does with its bytes, and the seeds that it starts from.
//!
//! The targets in `fuzz_targets/` are a line each. `tests/fuzz_seeds.rs` includes this folder, so that the ordinary
//! tests replay every committed seed on a stable compiler.

pub mod agreement_state;
pub mod capture;
pub mod certificate;
pub mod config_file;
pub mod config_followed;
pub mod control_socket;
pub mod eap;
mod endpoints;
pub mod esp_open;
pub mod explain;
pub mod ike;
pub mod import_file;
pub mod inner_ip;
pub mod recognise;
pub mod responder;
pub mod rewrite;
pub mod seeds;
pub mod segment;
pub mod selectors;
pub mod simulation;
pub mod steps;
pub mod tcp_tracker;

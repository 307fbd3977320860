//! Portcullis: a userspace IKEv2/ESP gateway that lets through a tunnel only what an interconnection agreement allows.
//!
//! The rooms and the way of a packet and a message through them: `docs/ARCHITECTURE.md`.

pub mod agreement;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod dataplane;
pub mod entropy;
pub mod esp;
pub mod event;
pub mod guard;
pub mod ids;
pub mod ike;
pub mod inspect;
pub mod lab;
pub mod platform;
pub mod policy;
pub mod report;
pub mod runtime;
pub mod sa;
pub mod secret;
pub mod sim;
pub mod time;
pub mod wire;

//! How do two peers agree? IKEv2 (RFC 7296) as a sans-IO endpoint: time, randomness and bytes are arguments.
//!
//! The way of a message: `endpoint` (header, SPI, cookie and half-open limits) -> `ike_sa` (flags, `window`, `protect`)
//! -> `payloads` (what the message needs) -> a `state`, which hands it to an `exchange` -> outputs in `step::Outbox`.

pub mod account;
mod accounts;
pub mod api;
mod auth;
mod backoff;
mod child;
mod child_sa;
mod children;
mod collision;
pub mod config;
mod connection;
mod cookie;
mod crash;
mod describe;
pub mod eap;
pub mod endpoint;
mod error;
mod exchange;
mod expiry;
pub mod flood;
mod fragment;
pub mod fuzz;
mod half_open;
mod heads;
mod ike_sa;
mod keylog;
mod keymat;
mod lanes;
mod limits;
mod natd;
mod negotiate;
mod path;
mod payloads;
mod ppk;
mod protect;
mod puzzle;
mod refusals;
mod retransmit;
mod state;
pub mod status;
mod step;
mod terms;
mod timer;
mod window;

#[cfg(test)]
mod tests;

//! One file per exchange, both roles beside each other, the RFC's diagram on top.

pub mod auth;
pub mod child_create;
pub mod child_rekey;
pub mod config;
pub mod create;
pub mod delete;
pub mod eap;
pub mod followup;
pub mod ike_rekey;
pub mod informational;
pub mod intermediate;
pub mod mobike;
pub mod sa_init;

//! What does IKE hand to ESP? The vocabulary that `ike` and `dataplane` meet in; neither sees the other.

pub mod child;
pub mod command;
pub mod event;
pub mod lifetime;
pub mod spi;

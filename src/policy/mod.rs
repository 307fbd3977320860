//! Which packets are protected, which allowed? Rules in the agreement's words, compiled into an immutable snapshot.

pub mod selector;

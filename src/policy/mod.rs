//! Which packets are protected, which allowed? Rules in the agreement's words, compiled into an immutable snapshot.
//!
//! A rule names one tunnel, one agreement and one clause, and says which hosts may open which service. Everything else
//! is refused, in both directions. RFC 4301 §4.4.1 calls the whole the SPD; its "discard" entries are the default here
//! and its "bypass" entries do not exist.

mod classifier;
pub mod difference;
pub mod document;
mod gates;
pub mod inspection;
pub mod narrow;
pub mod rule;
pub mod selector;
mod shape;
pub mod snapshot;
pub mod spd;
pub mod suites;
pub mod translate;

#[cfg(test)]
mod tests;

pub use classifier::Opening;
pub use inspection::{Inspection, Mode};
pub use rule::{Rule, RuleDirection, SelectorMode, Service, TunnelPolicy};
pub use selector::TrafficSelector;
pub use shape::Shape;
pub use snapshot::{Allowed, Classified, CompileError, Snapshot};
pub use translate::{Translation, Translations};

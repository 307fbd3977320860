//! What did the two organisations agree, and does it hold now? The record, its term, its states, and what is kept of them.
//!
//! Sources: CBP ISA §4, TAXII ISA §1.2 and §1.12, AIS agreement §1.0 and §4.0, and CBP's guidance for brokers (evidence before
//! reconnection). Pure: the time of day is an argument, what is to be written is a list of steps; `runtime` has the clock and
//! the disk. Leaves out who may act: whoever reaches the control socket, or may write the folder, is the operator.

mod book;
mod clock;
mod digest;
mod entry;
mod fuzz;
mod keep;
mod ledger;
mod obey;
mod record;
mod remind;
mod report;
mod significant;
mod state;
mod term;
mod wish;

#[cfg(test)]
mod tests;

pub use book::{Book, Damage};
pub use clock::{Sight, TOLERANCE, built};
pub use digest::Digest;
pub use fuzz::fuzz;
pub use keep::{Found, STATE_FILE, Step, WITNESS_FILE, read, steps};
pub use ledger::{Ledger, Subject};
pub use record::{Activation, Basis, Classification, Record, Role};
pub use report::Report;
pub use significant::{Baseline, Part};
pub use state::State;
pub use term::{Term, Zone};
pub use wish::{Effective, Evidence, MAX_EVIDENCE, Refusal, Wish};

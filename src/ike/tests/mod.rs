//! Two endpoints over a network in memory, in virtual time.

mod pair;
mod scenarios;

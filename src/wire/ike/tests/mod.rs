//! Tests of the codec as a whole: hand-built bytes, what must be refused, arbitrary values and bytes, mutants of valid
//! messages, and the most expensive input.

mod arbitrary;
mod cost;
mod golden;
mod mutants;
mod refused;

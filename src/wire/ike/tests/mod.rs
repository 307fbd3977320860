//! Tests of the codec as a whole: hand-built bytes, arbitrary values, arbitrary bytes, and mutants of valid messages.

mod golden;

//! The kept state of agreements.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::agreement_state::state(data));

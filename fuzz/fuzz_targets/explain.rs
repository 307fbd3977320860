//! Captures, messages and proposals that are explained.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::explain::anything(data));

//! Proposals, to those who choose one and those who accept what was chosen.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis::ike::fuzz::proposals(data));

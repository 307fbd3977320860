//! Fragments of IKE messages, to the one who puts them together.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis::ike::fuzz::fragments(data));

//! Captures whose flows are judged.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::capture::anything(data));

//! Traffic selectors and rules, to narrowing, choosing and the table.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::selectors::lists(data));

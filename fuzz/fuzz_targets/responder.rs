//! A responder and its peer: strangers, changed messages, forged ones with the keys, time.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::responder::things(data));

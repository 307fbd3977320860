//! Inner packets, to the views, the edits in place and the answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::inner_ip::packet(data));

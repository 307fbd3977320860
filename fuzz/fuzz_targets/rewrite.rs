//! Other names for the ends of packets.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::rewrite::packet(data));

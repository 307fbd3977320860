//! Long packets and what the kernel says about them, to the cutting and the tying together.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::segment::packet(data));

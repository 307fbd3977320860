//! Packets, sealed with the key and not, to the data path.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::esp_open::packets(data));

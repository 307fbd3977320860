//! Other gateways' configuration files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::import_file::file(data));

//! Certificates, revocation lists and OCSP responses of strangers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::certificate::anything(data));

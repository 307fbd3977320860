//! Payload chains as they stand inside SK, to the IKE codec.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::ike::inner_chain(data));

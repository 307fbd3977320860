//! Datagrams to the IKE codec.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::ike::message(data));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let blind = &mut libfuzzer_sys::fuzzer_mutate;
    if seed % 2 == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    portcullis_fuzz::steps::mutate(data, size, max_size, seed, portcullis_fuzz::ike::BEHIND_HEADER, blind)
});

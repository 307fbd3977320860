//! Configuration files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::config_file::file(data));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    portcullis_fuzz::config_file::mutate(data, size, max_size, seed, &mut libfuzzer_sys::fuzzer_mutate)
});

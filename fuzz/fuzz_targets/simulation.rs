//! Gateways over a simulated network in which everything goes wrong.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::simulation::world(data));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    portcullis_fuzz::steps::mutate(
        data,
        size,
        max_size,
        seed,
        portcullis_fuzz::simulation::LIST,
        &mut libfuzzer_sys::fuzzer_mutate,
    )
});

libfuzzer_sys::fuzz_crossover!(|one: &[u8], other: &[u8], out: &mut [u8], seed: u32| {
    portcullis_fuzz::steps::cross(one, other, out, seed, portcullis_fuzz::simulation::LIST)
});

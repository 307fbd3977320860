//! Lines to the control socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::control_socket::line(data));

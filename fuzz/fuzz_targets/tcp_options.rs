#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwire_sim::fuzz::tcp_options(data));

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwire_sim::fuzz::ip_reassembly(data));

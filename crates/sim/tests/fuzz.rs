//! The fuzzers' targets with bytes from a seeded generator: what a fuzzer would do first.

use ringwire_sim::fuzz;

struct Random(u64);

impl Random {
    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
        };
        let len = next() as usize % most;
        (0..len).map(|_| next() as u8).collect()
    }
}

#[test]
fn no_sequence_of_events_breaks_the_engine() {
    let mut random = Random(1);
    for _ in 0..30_000 {
        fuzz::tcp_engine(&random.bytes(600));
    }
}

#[test]
fn no_header_breaks_the_stack() {
    let mut random = Random(2);
    for _ in 0..2_000 {
        fuzz::tcp_headers(&random.bytes(4000));
    }
}

//! What fuzzers run: any bytes in, and nothing may break. The targets in `fuzz/` call these; so do
//! tests, with bytes from a seeded generator and with what the fuzzers have found worth keeping
//! (`fuzz/seeds/`).

mod bed;
mod engine;
mod ip;
mod segments;

pub use engine::tcp_engine;
pub use ip::{icmp_quotes, ip_reassembly};
pub use segments::{tcp_headers, tcp_options, tcp_reassembly};

/// What is run with a fuzzer's bytes. It panics if something breaks.
pub type Target = fn(&[u8]);

/// Every target, by its name in `fuzz/`.
pub const TARGETS: [(&str, Target); 6] = [
    ("tcp_engine", tcp_engine),
    ("tcp_headers", tcp_headers),
    ("tcp_options", tcp_options),
    ("tcp_reassembly", tcp_reassembly),
    ("ip_reassembly", ip_reassembly),
    ("icmp_quotes", icmp_quotes),
];

/// Takes numbers off a fuzzer's bytes; zeroes when they are used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    /// True in one of two cases.
    fn coin(&mut self) -> bool {
        self.byte().is_multiple_of(2)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Byte `index` of a stream or datagram: what is misplaced shows.
fn pattern(index: usize) -> u8 {
    (index * 31 + index / 251) as u8
}

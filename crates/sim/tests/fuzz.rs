//! The fuzzers' targets with bytes from a seeded generator, what a fuzzer would do first, and with the
//! inputs that fuzzers have found worth keeping.

use std::fs;
use std::path::Path;

use ringwire_sim::fuzz::{TARGETS, Target};

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

fn target(name: &str) -> Target {
    let found = TARGETS.into_iter().find(|(known, _)| *known == name);
    found.expect("a target of this name").1
}

/// Runs a target with bytes made at random.
fn run(name: &str, seed: u64, times: usize, most: usize) {
    let (target, mut random) = (target(name), Random(seed));
    for _ in 0..times {
        target(&random.bytes(most));
    }
}

#[test]
fn no_sequence_of_events_breaks_the_engine() {
    run("tcp_engine", 1, 30_000, 600);
}

#[test]
fn no_header_breaks_the_stack() {
    run("tcp_headers", 2, 2_000, 4000);
}

#[test]
fn no_option_breaks_a_connection() {
    run("tcp_options", 3, 2_000, 1000);
}

#[test]
fn no_order_of_segments_changes_a_stream() {
    run("tcp_reassembly", 4, 1_000, 1000);
}

#[test]
fn no_order_of_fragments_changes_a_datagram() {
    run("ip_reassembly", 5, 2_000, 1000);
}

#[test]
fn no_icmp_message_ends_a_connection() {
    run("icmp_quotes", 6, 2_000, 1000);
}

/// `fuzz/seeds/TARGET/`: each file is an input.
#[test]
fn what_fuzzers_have_found_is_replayed() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (name, target) in TARGETS {
        let mut inputs: Vec<_> = fs::read_dir(seeds.join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .map(|entry| entry.expect("a file").path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name} has no inputs");
        for path in inputs {
            let bytes = fs::read(&path).expect("a file that can be read");
            println!("{}", path.display());
            target(&bytes);
        }
    }
}

/// Every target is one of the fuzzers', and the other way round.
#[test]
fn every_target_has_a_fuzzer() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut fuzzers: Vec<String> = fs::read_dir(directory)
        .expect("the fuzzers")
        .map(|entry| entry.expect("a file").path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut targets = TARGETS.map(|(name, _)| name.to_owned());
    fuzzers.sort();
    targets.sort();
    assert_eq!(fuzzers, targets);
}

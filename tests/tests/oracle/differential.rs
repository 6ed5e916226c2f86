//! Random programs on both rings. `ORACLE_SEEDS=1000..3000` runs those seeds instead of the usual ones.

use std::cell::Cell;
use std::ops::Range;

use libtest_mimic::Trial;
use ringwire_tests::net::Veth;
use ringwire_tests::privileged;

use crate::program::{Program, generate, shrink, text};
use crate::{on_kernel, on_ringwire};

const SEEDS: Range<u64> = 0..240;
/// Programs of one trial: they share their namespaces.
const SEEDS_PER_TRIAL: u64 = 20;
/// Most runs to make a program smaller.
const SHRINK_RUNS: u32 = 300;

pub fn trials() -> impl Iterator<Item = Trial> {
    let seeds = std::env::var("ORACLE_SEEDS").map_or(SEEDS, |seeds| parse(&seeds));
    let firsts = seeds.clone().step_by(SEEDS_PER_TRIAL as usize);
    firsts.map(move |first| {
        let seeds = first..(first + SEEDS_PER_TRIAL).min(seeds.end);
        let name = format!("random_programs_{}_to_{}", seeds.start, seeds.end - 1);
        privileged(&name, move || Pair::new().agree_on(seeds))
    })
}

fn parse(seeds: &str) -> Range<u64> {
    let (start, end) = seeds.split_once("..").expect("ORACLE_SEEDS=first..end");
    start.parse().expect("a seed")..end.parse().expect("a seed")
}

/// The namespaces of both rings.
struct Pair {
    kernel: Veth,
    ringwire: Veth,
    runs: Cell<u16>,
}

impl Pair {
    fn new() -> Pair {
        let pair = Pair {
            kernel: Veth::new(1, 1500, true),
            ringwire: Veth::new(1, 1500, false),
            runs: Cell::new(0),
        };
        for veth in [&pair.kernel, &pair.ringwire] {
            // A peer that says only sometimes that nobody is at a port is not the same for both.
            veth.in_peer(|| std::fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0"))
                .expect("a limit of the peer's");
        }
        pair
    }

    /// What both rings say of a program.
    fn run(&self, program: &Program) -> (Vec<String>, Vec<String>) {
        // Ports below those that the kernel hands out.
        const PORTS: u16 = 2800;
        let index = self.runs.replace((self.runs.get() + 1) % PORTS);
        let (at_kernel, at_ringwire) = (&self.kernel, &self.ringwire);
        std::thread::scope(|scope| {
            let kernel = scope.spawn(|| on_kernel::text::random::run(at_kernel, program, index));
            let ringwire =
                scope.spawn(|| on_ringwire::text::random::run(at_ringwire, program, index));
            let panicked = |_| vec!["a panic".to_owned()];
            (
                kernel.join().unwrap_or_else(panicked),
                ringwire.join().unwrap_or_else(panicked),
            )
        })
    }

    fn agree_on(&self, seeds: Range<u64>) {
        for seed in seeds {
            let program = generate(seed);
            let Some(difference) = self.difference(&program) else {
                continue;
            };
            let last = Cell::new(difference);
            let left = Cell::new(SHRINK_RUNS);
            let smallest = shrink(&program, |smaller| {
                left.set(left.get().saturating_sub(1));
                let difference = (left.get() > 0).then(|| self.difference(smaller)).flatten();
                let differs = difference.is_some();
                difference
                    .into_iter()
                    .for_each(|difference| last.set(difference));
                differs
            });
            let difference = last.into_inner();
            panic!(
                "seed {seed}: the rings differ\n{}{difference}",
                text(&smallest)
            );
        }
    }

    /// The transcripts, beside each other, if they differ.
    fn difference(&self, program: &Program) -> Option<String> {
        let (kernel, ringwire) = self.run(program);
        if kernel == ringwire && kernel.iter().all(|line| line != "a panic") {
            return None;
        }
        let mut lines = String::new();
        for line in 0..kernel.len().max(ringwire.len()) {
            let at = |side: &[String]| side.get(line).cloned().unwrap_or_default();
            let (kernel, ringwire) = (at(&kernel), at(&ringwire));
            if kernel == ringwire {
                lines += &format!("{kernel}\n");
            } else {
                lines += &format!("kernel: {kernel}\n    ringwire: {ringwire}\n");
            }
        }
        Some(lines)
    }
}

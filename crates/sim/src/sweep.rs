//! Many seeds, on several threads, and what they came to together.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Config, Coverage, Outcome, run};

/// What a sweep came to. It does not depend on the number of threads.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Runs, those with violations included.
    pub seeds: u64,
    /// Virtual time of all runs that came to their end.
    pub virtual_ns: u64,
    /// TCP segments that arrived in them.
    pub segments: u64,
    /// Packets of any kind that reached the engine in them.
    pub packets: u64,
    /// Datagrams that came back.
    pub echoes: u64,
    /// Streams that came to their end, and their bytes.
    pub streams: u64,
    /// Bytes of those.
    pub stream_bytes: u64,
    /// Completions that applications took.
    pub completions: u64,
    /// Faults by kind.
    pub coverage: Coverage,
    /// What checkers found, by seed.
    pub violations: BTreeMap<u64, String>,
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Result<Outcome, String>) {
        self.seeds += 1;
        match outcome {
            Ok(outcome) => {
                self.virtual_ns += outcome.virtual_ns;
                self.segments += outcome.segments;
                self.packets += outcome.packets;
                self.echoes += outcome.echoes;
                self.streams += outcome.streams;
                self.stream_bytes += outcome.stream_bytes;
                self.completions += outcome.completions;
                self.coverage += outcome.coverage;
            }
            Err(violation) => {
                self.violations.insert(seed, violation);
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.virtual_ns as f64 / 3.6e12;
        writeln!(
            f,
            "simulator: {} seeds, {hours:.2} virtual hours, {} segments, {} violations",
            self.seeds,
            self.segments,
            self.violations.len()
        )?;
        writeln!(
            f,
            "simulator: {} streams ({} bytes), {} datagrams echoed, {} completions",
            self.streams, self.stream_bytes, self.echoes, self.completions
        )?;
        write!(f, "simulator: faults: {}", self.coverage)
    }
}

/// Runs all these seeds on so many threads.
///
/// # Panics
/// If `threads` is 0.
pub fn sweep(seeds: Range<u64>, threads: usize) -> Summary {
    assert!(threads > 0, "a sweep needs a thread");
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(Config::from_seed(seed));
                    let mut summary = summary.lock().expect("no thread panics while it adds");
                    summary.add(seed, outcome);
                }
            });
        }
    });
    summary.into_inner().expect("no thread panicked")
}

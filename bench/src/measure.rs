//! A load that is repeated for a while: warmed up first, then counted, with who used the processors meanwhile.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::args::Args;
use crate::latency::Times;
use crate::usage::{Usage, Watch};

/// How much longer than it is to a load goes on until something was done.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was done since the counting began.
#[derive(Default)]
pub struct Tally {
    /// Answers, connections, or whatever else is counted.
    pub operations: u64,
    /// Bytes of payload in one direction.
    pub bytes: u64,
    /// Requests that were given up.
    pub lost: u64,
    /// From a request to its answer.
    pub times: Times,
    /// What was sent, the warming up included: to be held against what arrived.
    sent_in_all: u64,
}

impl Tally {
    /// Counts an answer.
    pub fn answered(&mut self, bytes: usize, nanos: u64) {
        self.operations += 1;
        self.bytes += bytes as u64;
        self.times.record(nanos);
    }

    /// Counts something that has no answer.
    pub fn sent(&mut self, bytes: usize) {
        self.operations += 1;
        self.bytes += bytes as u64;
        self.sent_in_all += 1;
    }

    fn clear(&mut self) {
        (self.operations, self.bytes, self.lost) = (0, 0, 0);
        self.times.clear();
    }
}

/// Something that is done again and again.
pub trait Load {
    /// Does some of it: not for long.
    fn step(&mut self);
    /// What was done.
    fn tally(&mut self) -> &mut Tally;
}

/// How long, and who is watched.
pub struct Span {
    warm: Duration,
    run: Duration,
    watched: Option<i32>,
}

impl Span {
    /// `--ms`, `--warm-ms` (100 by default) and `--watch`, a process.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn read(args: &mut Args) -> Result<Span, String> {
        let warm = args.optional("warm-ms")?.unwrap_or(100);
        Ok(Span {
            warm: Duration::from_millis(warm),
            run: Duration::from_millis(args.required("ms")?),
            watched: args.optional("watch")?,
        })
    }

    /// Repeats the load, and says in one line of JSON what came of it.
    pub fn measure(&self, load: &mut dyn Load) {
        let warm_until = Instant::now() + self.warm;
        while Instant::now() < warm_until {
            load.step();
        }
        let watch = Watch::new(self.watched);
        load.tally().clear();
        let before = watch.now();
        let until = Instant::now() + self.run;
        // On a machine that others share even a server that is well may not have its turn for a while.
        let at_last = until + PATIENCE;
        while Instant::now() < until || load.tally().operations == 0 && Instant::now() < at_last {
            load.step();
        }
        let usage = before.until(&watch.now());
        println!("{}", figures(load.tally(), &usage));
    }
}

fn figures(tally: &Tally, usage: &Usage) -> Value {
    json!({
        "operations": tally.operations,
        "bytes": tally.bytes,
        "lost": tally.lost,
        "sent_in_all": tally.sent_in_all,
        "p50": tally.times.quantile(0.5),
        "p99": tally.times.quantile(0.99),
        "p999": tally.times.quantile(0.999),
        "elapsed": usage.elapsed,
        "own": usage.own,
        "watched": usage.watched,
        "ksoftirqd": usage.ksoftirqd,
        "busy": usage.busy,
        "softirq": usage.softirq,
        "waited": usage.waited,
    })
}

/// Nanoseconds since the first call.
pub fn nanos() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// A fixed number of requests a second: so many at each tick of 100 µs.
pub struct Pace {
    per_second: u64,
    begun: Instant,
    next: Duration,
    due_before: u64,
}

impl Pace {
    const TICK: Duration = Duration::from_micros(100);

    /// So many a second.
    pub fn new(per_second: u64) -> Pace {
        // SAFETY: no memory is concerned.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
        Pace {
            per_second,
            begun: Instant::now(),
            next: Duration::ZERO,
            due_before: 0,
        }
    }

    /// Sleeps until the next tick; how many are due then.
    pub fn tick(&mut self) -> usize {
        self.next += Self::TICK;
        if let Some(left) = self.next.checked_sub(self.begun.elapsed()) {
            std::thread::sleep(left);
        }
        let due = (self.begun.elapsed().as_nanos() as u64).saturating_mul(self.per_second);
        let due = due / 1_000_000_000;
        let count = due - self.due_before;
        self.due_before = due;
        count as usize
    }
}

//! Programs of this crate that make their own tables: run here, and shown beside the others.

use std::time::Duration;

use crate::cells::{Cell, Work};
use crate::contestants::beside;
use crate::process::{self, Cores, Line};

/// A program, and how often it repeats what it does.
#[derive(Clone, Debug)]
pub struct Program {
    name: &'static str,
    /// Before the number of rounds.
    words: &'static str,
    /// Rounds for each of ours, and what one takes, about.
    rounds: usize,
    once: Duration,
}

/// Beyond it a program has failed.
const PATIENCE: Duration = Duration::from_secs(600);

impl Program {
    fn line(&self, rounds: usize) -> Line {
        let words = format!(
            "{} {}",
            self.words,
            (rounds * self.rounds).div_ceil(5).max(1)
        );
        Line::new(&beside(self.name), &words)
    }

    /// What so many rounds take.
    pub fn about(&self, rounds: usize) -> Duration {
        self.once * ((rounds * self.rounds).div_ceil(5) + 1) as u32
    }

    /// Runs it on the server's core; what it printed, under its command line.
    ///
    /// # Errors
    /// What it said if it failed.
    pub fn run(&self, rounds: usize, cores: Cores) -> Result<String, String> {
        let line = self.line(rounds);
        let output = process::run(&line, cores.server, PATIENCE)?;
        Ok(format!("$ {}\n{output}", line.text()))
    }
}

/// Name and title of the cell, program, its words, rounds at five of ours, and milliseconds of one.
type Entry = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    usize,
    u64,
);

const ENTRIES: [Entry; 8] = [
    (
        "W6-memory",
        "what a notification costs, in memory: per request, slot, inline, error queue, bundle",
        "notifications",
        "",
        3,
        4000,
    ),
    (
        "W6-veth",
        "the same over veth into XDP_DROP",
        "notifications",
        "veth",
        1,
        5000,
    ),
    (
        "W7",
        "multishot receives against one request per message, ringwire in memory and io_uring over loopback",
        "multishot",
        "",
        5,
        1500,
    ),
    (
        "W8-memory",
        "the stack alone, in memory, beside smoltcp, and what connections take of memory",
        "memory",
        "",
        3,
        5000,
    ),
    (
        "W8-requests",
        "requests in memory, beside io_uring over loopback",
        "requests",
        "",
        7,
        500,
    ),
    (
        "W8-zero-copy",
        "requests in memory: copied, described in front, described beside",
        "zero_copy",
        "",
        5,
        1500,
    ),
    (
        "W8-scatter",
        "headers beside a payload against a copy behind them, where the kernel copies",
        "scatter",
        "",
        5,
        700,
    ),
    (
        "kernel-tcp",
        "what the kernel's TCP keeps of its rate on a ring's address",
        "kernel_tcp",
        "",
        3,
        7000,
    ),
];

pub fn cells() -> Vec<Cell> {
    let cell = |&(name, title, program, words, rounds, milliseconds): &Entry| Cell {
        name: name.to_owned(),
        title: title.to_owned(),
        work: Work::Program(Program {
            name: program,
            words,
            rounds,
            once: Duration::from_millis(milliseconds),
        }),
        contestants: Vec::new(),
        base: "",
        metrics: Vec::new(),
        targets: Vec::new(),
        before: Duration::ZERO,
    };
    ENTRIES.iter().map(cell).collect()
}

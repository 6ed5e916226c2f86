//! A line that says what runs and how long is left.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The line.
pub struct Progress {
    begun: Instant,
    /// What was estimated for what is done, for what runs, and for all.
    done: Duration,
    running: Duration,
    all: Duration,
    since: Instant,
    terminal: bool,
    last: String,
}

impl Progress {
    /// So long, as estimated.
    pub fn new(all: Duration) -> Progress {
        Progress {
            begun: Instant::now(),
            done: Duration::ZERO,
            running: Duration::ZERO,
            all,
            since: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
            last: String::new(),
        }
    }

    /// Something begins that is estimated to take so long.
    pub fn begins(&mut self, estimate: Duration) {
        self.done += self.running;
        self.running = estimate;
        self.since = Instant::now();
    }

    /// Where there is no terminal, each cell has one line.
    pub fn shows(&mut self, cell: &str, what: &str) {
        if !self.terminal {
            if self.last != cell {
                eprintln!("{cell}: {} left", self.left());
                cell.clone_into(&mut self.last);
            }
            return;
        }
        eprint!("\r\x1b[K{cell}: {what} ({} left)", self.left());
        let _ = std::io::stderr().flush();
    }

    /// Clears the line.
    pub fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }

    /// What is left of the estimate, corrected by what the cells that are done took.
    fn left(&self) -> String {
        let took = self.since.duration_since(self.begun).as_secs_f64();
        let pace = match self.done.as_secs_f64() {
            0.0 => 1.0,
            estimated => took / estimated,
        };
        let rest = self.all.saturating_sub(self.done).as_secs_f64() * pace;
        let left = (rest - self.since.elapsed().as_secs_f64()).max(0.0) as u64;
        format!("{} min {:02} s", left / 60, left % 60)
    }
}

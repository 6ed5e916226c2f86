//! Who used the processors between two moments.
//!
//! On a veth pair a packet's receive softirq runs on the sender's core, in the time of whoever runs there: what the
//! kernel does to deliver a request is in the load's time, and what it does to deliver the answer is in the
//! server's. So no process's time alone is what its work cost; the sum of both, and of ksoftirqd, is.

use std::fs;
use std::time::Instant;

/// A moment.
#[derive(Clone, Debug)]
pub struct Moment {
    at: Instant,
    /// Nanoseconds of this process, of the watched one, and of ksoftirqd on all processors.
    own: u64,
    watched: u64,
    ksoftirqd: u64,
    /// In which this process and the watched one could have run and had no processor.
    waited: u64,
    /// Of all processors, in ticks.
    ticks: Ticks,
}

/// `/proc/stat` of all processors together, in ticks of 1/`_SC_CLK_TCK` s (proc_stat(5)). The kernel samples it
/// at its timer's interrupts, so it is coarse, and it has what every other process of the machine does.
#[derive(Clone, Copy, Debug, Default)]
struct Ticks {
    busy: u64,
    softirq: u64,
}

/// What was used between two moments, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Of the clock on the wall.
    pub elapsed: u64,
    /// Of this process.
    pub own: u64,
    /// Of the watched one.
    pub watched: u64,
    /// Of ksoftirqd, on all processors.
    pub ksoftirqd: u64,
    /// In which a processor was not idle, of all of them together, by `/proc/stat`.
    pub busy: u64,
    /// Of these, in softirq.
    pub softirq: u64,
    /// In which this process or the watched one could have run, and something else did: a machine that is not quiet.
    pub waited: u64,
}

/// What is looked at.
pub struct Watch {
    watched: Option<i32>,
    ksoftirqd: Vec<i32>,
}

impl Watch {
    /// Watches this process, another one if there is one, and ksoftirqd.
    pub fn new(watched: Option<i32>) -> Watch {
        Watch {
            watched,
            ksoftirqd: ksoftirqd(),
        }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        Moment {
            at: Instant::now(),
            own: clock(libc::CLOCK_PROCESS_CPUTIME_ID),
            watched: self.watched.map_or(0, cpu_nanos_of),
            ksoftirqd: self.ksoftirqd.iter().map(|&pid| cpu_nanos_of(pid)).sum(),
            waited: waited("self") + self.watched.map_or(0, |pid| waited(&pid.to_string())),
            ticks: ticks(),
        }
    }
}

impl Moment {
    /// What was used since then.
    pub fn until(&self, later: &Moment) -> Usage {
        // SAFETY: no memory is concerned.
        let hertz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64;
        let nanos = |ticks: u64| ticks * (1_000_000_000 / hertz.max(1));
        Usage {
            elapsed: (later.at - self.at).as_nanos() as u64,
            own: later.own - self.own,
            watched: later.watched.saturating_sub(self.watched),
            ksoftirqd: later.ksoftirqd - self.ksoftirqd,
            busy: nanos(later.ticks.busy - self.ticks.busy),
            softirq: nanos(later.ticks.softirq - self.ticks.softirq),
            waited: later.waited.saturating_sub(self.waited),
        }
    }
}

/// CPU time of a process, all its threads together, in nanoseconds: 0 if there is none (clock_getcpuclockid(3)).
fn cpu_nanos_of(pid: i32) -> u64 {
    /// `CPUCLOCK_SCHED` (Linux `include/linux/posix-timers.h`).
    const SCHEDULED: i32 = 2;
    clock(!pid << 3 | SCHEDULED)
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec that the call may write to.
    unsafe { libc::clock_gettime(id, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds that a process's first thread waited for a processor (`/proc/PID/schedstat`, the second number).
fn waited(pid: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let mut words = stat.split_whitespace();
    words.nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// The kernel's threads of that name.
fn ksoftirqd() -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.starts_with("ksoftirqd/"))
        })
        .collect()
}

fn ticks() -> Ticks {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let column: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .map_while(|word| word.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is in user time already.
    let of = |index: usize| column.get(index).copied().unwrap_or(0);
    Ticks {
        busy: [0, 1, 2, 5, 6, 7].map(of).iter().sum(),
        softirq: of(6),
    }
}

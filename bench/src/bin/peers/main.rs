//! Goodput through an impaired line beside Linux's: ringwire as sender and as receiver of a bulk transfer,
//! its peer always the kernel, and two kernel ends through the same line with the same seed at the same time.
//!
//!     peers [--full] [--seconds N] [--seeds N] [--cell WORD] [--pairs N] [--rate MBIT] [--capture DIRECTORY]
//!
//! A line has 100 Mbit/s each way and a queue of 20 ms; the delay of a cell is the round trip, half of it
//! each way; losses are in both directions. Both ends use CUBIC and the defaults of their buffers. Needs
//! root, and makes its own namespaces. Exits with 1 if a line was not held or a transfer failed, not for
//! what was measured.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use ringwire_tests::impair::Impairment;

mod ends;
mod trial;

use trial::{Role, Stack};

/// What is aimed at: the median over all cells, and the least of any.
const GOAL_MEDIAN: f64 = 0.9;
const GOAL_LEAST: f64 = 0.75;
/// A line that is later than this on average adds to the delay what it should not.
const MOST_LATENESS: Duration = Duration::from_micros(500);

const USAGE: &str = "usage: peers [OPTION]...
  --full               all cells, 4 seeds of 25 seconds each; else 3 cells, 1 seed of 5 seconds
  --seconds N          how long each transfer takes
  --seeds N            how many seeds
  --cell WORD          only cells with WORD in their name, of all of them
  --pairs N            how many pairs (ringwire, Linux) run at a time (default 2)
  --rate MBIT          the line's rate (default 100)
  --capture DIRECTORY  tcpdump at both sides of each line";

struct Options {
    full: bool,
    seconds: Option<u64>,
    seeds: Option<u64>,
    cell: Option<String>,
    pairs: usize,
    rate: u64,
    capture: Option<PathBuf>,
}

/// A kind of line.
struct Cell {
    name: String,
    impairment: Impairment,
    /// Whether the short form has it.
    short: bool,
}

/// A pair of transfers: which cell, which role, which seed.
#[derive(Clone, Copy)]
struct Job {
    cell: usize,
    role: Role,
    seed: u64,
}

struct Sample {
    job: Job,
    ringwire: f64,
    linux: f64,
    held: bool,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("peers: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let all = options.full || options.cell.is_some();
    let word = options.cell.as_deref().unwrap_or("");
    let mut cells = cells(options.rate * 1_000_000);
    cells.retain(|cell| (all || cell.short) && cell.name.contains(word));
    let time = Duration::from_secs(options.seconds.unwrap_or(if options.full { 25 } else { 5 }));
    let seeds = options.seeds.unwrap_or(if options.full { 4 } else { 1 });
    let jobs = jobs(cells.len(), seeds);
    let rounds = jobs.len().div_ceil(options.pairs);
    println!(
        "{} cells, both roles, {seeds} seeds of {} s at {} Mbit/s: about {} s",
        cells.len(),
        time.as_secs(),
        options.rate,
        rounds as u64 * (time.as_secs() + 1)
    );
    let samples = measure(&cells, jobs, &options, time);
    print_table(&cells, &samples);
    if samples.iter().all(|sample| sample.held) {
        ExitCode::SUCCESS
    } else {
        println!(
            "the bridge could not hold a line: these figures say nothing (is the machine busy?)"
        );
        ExitCode::FAILURE
    }
}

fn cells(rate: u64) -> Vec<Cell> {
    let line = |round_trip_ms| Impairment {
        delay: Duration::from_millis(round_trip_ms) / 2,
        ..Impairment::line(0, rate)
    };
    let mut cells = Vec::new();
    for per_mille in [1, 10, 50] {
        for delay in [1, 20, 100] {
            let percent = per_mille as f64 / 10.0;
            cells.push(Cell {
                name: format!("loss {percent}%, {delay} ms"),
                impairment: Impairment {
                    loss: percent / 100.0,
                    ..line(delay)
                },
                short: per_mille == 10 && delay == 20,
            });
        }
    }
    let mut other = |name: &str, short, impairment| {
        cells.push(Cell {
            name: name.to_owned(),
            impairment,
            short,
        });
    };
    let hold = Duration::from_millis(5);
    other(
        "reorder 2% by 5 ms, 20 ms",
        true,
        Impairment {
            reorder: 0.02,
            hold,
            ..line(20)
        },
    );
    other(
        "duplicate 2%, 20 ms",
        false,
        Impairment {
            duplicate: 0.02,
            ..line(20)
        },
    );
    other(
        "loss 0.1%, all, 20 ms",
        false,
        Impairment {
            loss: 0.001,
            reorder: 0.01,
            hold,
            duplicate: 0.01,
            ..line(20)
        },
    );
    other("clean, 20 ms", true, line(20));
    cells
}

fn jobs(cells: usize, seeds: u64) -> Vec<Job> {
    let mut jobs = Vec::new();
    for cell in 0..cells {
        for seed in 1..=seeds {
            jobs.extend([Role::Sends, Role::Receives].map(|role| Job { cell, role, seed }));
        }
    }
    // Taken from the end.
    jobs.reverse();
    jobs
}

/// Runs the jobs, some at a time.
fn measure(cells: &[Cell], jobs: Vec<Job>, options: &Options, time: Duration) -> Vec<Sample> {
    let (jobs, samples) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..options.pairs {
            scope.spawn(|| {
                loop {
                    let job = jobs.lock().expect("no panic").pop();
                    let Some(job) = job else { return };
                    let sample = pair(&cells[job.cell], job, options, time);
                    samples.lock().expect("no panic").push(sample);
                }
            });
        }
    });
    samples.into_inner().expect("no panic")
}

/// ringwire and Linux through the same line at the same time.
fn pair(cell: &Cell, job: Job, options: &Options, time: Duration) -> Sample {
    let line = Impairment {
        seed: job.seed,
        ..cell.impairment
    };
    let run = |stack, name| {
        let capture = options.capture.as_ref().map(|directory| {
            let cell = cell.name.replace([' ', '%', ','], "");
            directory.join(format!(
                "{cell}-{}-{name}-{}",
                role_name(job.role),
                job.seed
            ))
        });
        trial::run(stack, job.role, line, time, capture.as_deref())
    };
    let [ringwire, linux] = std::thread::scope(|scope| {
        let ringwire = scope.spawn(|| run(Stack::Ringwire, "ringwire"));
        let linux = scope.spawn(|| run(Stack::Linux, "linux"));
        [ringwire, linux].map(|transfer| transfer.join().expect("a transfer"))
    });
    let held = |line: &ringwire_tests::middlebox::Report| {
        line.overruns == 0 && line.mean_lateness < MOST_LATENESS
    };
    println!(
        "  {:<26} {:<9} seed {}: ringwire {:7.2}, Linux {:7.2} Mbit/s; the lines late by {:?} and {:?}, {} overruns",
        cell.name,
        role_name(job.role),
        job.seed,
        ringwire.goodput / 1e6,
        linux.goodput / 1e6,
        ringwire.line.mean_lateness,
        linux.line.mean_lateness,
        ringwire.line.overruns + linux.line.overruns
    );
    Sample {
        job,
        ringwire: ringwire.goodput,
        linux: linux.goodput,
        held: held(&ringwire.line) && held(&linux.line),
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Sends => "sends",
        Role::Receives => "receives",
    }
}

/// A cell's ratio is that of the sums over its seeds: single transfers scatter.
fn print_table(cells: &[Cell], samples: &[Sample]) {
    println!(
        "\n{:<26} {:<9} {:>9} {:>9} {:>7}",
        "cell", "ringwire", "Mbit/s", "Linux", "ratio"
    );
    let mut ratios = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        for role in [Role::Sends, Role::Receives] {
            let of_cell = samples
                .iter()
                .filter(|sample| sample.job.cell == index && sample.job.role == role);
            let (mut ringwire, mut linux, mut count) = (0.0, 0.0, 0.0);
            for sample in of_cell {
                (ringwire, linux, count) = (
                    ringwire + sample.ringwire,
                    linux + sample.linux,
                    count + 1.0,
                );
            }
            let ratio = ringwire / linux;
            ratios.push(ratio);
            println!(
                "{:<26} {:<9} {:>9.2} {:>9.2} {:>7.2}  {}",
                cell.name,
                role_name(role),
                ringwire / count / 1e6,
                linux / count / 1e6,
                ratio,
                verdict(ratio, GOAL_LEAST)
            );
        }
    }
    ratios.sort_by(f64::total_cmp);
    let Some(least) = ratios.first() else {
        return println!("no cell has that name");
    };
    let median = (ratios[(ratios.len() - 1) / 2] + ratios[ratios.len() / 2]) / 2.0;
    println!(
        "median {median:.2} (goal {GOAL_MEDIAN}): {}",
        verdict(median, GOAL_MEDIAN)
    );
    println!(
        "least {least:.2} (goal {GOAL_LEAST}): {}",
        verdict(*least, GOAL_LEAST)
    );
}

fn verdict(ratio: f64, goal: f64) -> &'static str {
    if ratio >= goal { "PASS" } else { "below" }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        full: false,
        seconds: None,
        seeds: None,
        cell: None,
        pairs: 2,
        rate: 100,
        capture: None,
    };
    while let Some(name) = args.next() {
        if name == "--full" {
            options.full = true;
            continue;
        }
        let value = args.next().ok_or(format!("{name} takes a value"))?;
        let number = || match value.parse::<u64>() {
            Ok(number @ 1..=100_000) => Ok(number),
            _ => Err(format!("{name} {value}: a number from 1 is needed")),
        };
        match name.as_str() {
            "--seconds" => options.seconds = Some(number()?),
            "--seeds" => options.seeds = Some(number()?),
            "--cell" => options.cell = Some(value),
            "--pairs" => options.pairs = number()? as usize,
            "--rate" => options.rate = number()?,
            "--capture" => options.capture = Some(PathBuf::from(value)),
            _ => return Err(format!("{name} is not known")),
        }
    }
    Ok(options)
}

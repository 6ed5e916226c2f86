//! `ringwire-sim --seed N` replays one run, with `--trace FILE` it writes a capture; `--seeds A..B` sweeps.

use std::ops::Range;
use std::process::ExitCode;

use ringwire_sim::{Config, run, run_captured, sweep};

const USAGE: &str = "usage: ringwire-sim --seed N [--trace FILE.pcapng] | --seeds A..B";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let code = match args[..] {
        ["--seed", seed] => seed.parse().ok().map(|seed| replay(seed, None)),
        ["--seed", seed, "--trace", file] => seed.parse().ok().map(|seed| replay(seed, Some(file))),
        ["--seeds", range] => parse_range(range).map(sweep_seeds),
        _ => None,
    };
    code.unwrap_or_else(|| {
        eprintln!("{USAGE}");
        ExitCode::from(2)
    })
}

/// `A..B`, with at least one seed in it.
fn parse_range(range: &str) -> Option<Range<u64>> {
    let (first, end) = range.split_once("..")?;
    let range = first.parse().ok()?..end.parse().ok()?;
    (!range.is_empty()).then_some(range)
}

fn replay(seed: u64, trace: Option<&str>) -> ExitCode {
    let config = Config::from_seed(seed);
    let outcome = match trace {
        None => run(config),
        Some(file) => {
            let (outcome, capture) = run_captured(config);
            if let Err(error) = std::fs::write(file, capture.as_bytes()) {
                eprintln!("cannot write {file}: {error}");
                return ExitCode::FAILURE;
            }
            outcome
        }
    };
    println!("{config:#?}");
    match outcome {
        Ok(outcome) => {
            println!("{outcome:#?}\ndigest {:016x}", outcome.digest);
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}

fn sweep_seeds(seeds: Range<u64>) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let summary = sweep(seeds, threads);
    println!("{summary}");
    for (seed, violation) in &summary.violations {
        eprintln!("seed {seed}: {violation}");
    }
    if summary.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

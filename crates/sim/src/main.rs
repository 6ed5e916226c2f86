//! `ringwire-sim --seed N` replays one run; `ringwire-sim --seeds A..B` sweeps.

use std::process::ExitCode;

use ringwire_sim::{Config, run};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let seeds = match &args[..] {
        [name, seed] if name == "--seed" => seed.parse().ok().map(|seed: u64| seed..seed + 1),
        [name, range] if name == "--seeds" => range
            .split_once("..")
            .and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?)),
        _ => None,
    };
    let Some(seeds) = seeds else {
        eprintln!("usage: ringwire-sim --seed N | --seeds A..B");
        return ExitCode::from(2);
    };
    let mut failed = 0;
    for seed in seeds {
        match run(Config::from_seed(seed)) {
            Ok(outcome) => println!("seed {seed}: {outcome:?}"),
            Err(violation) => {
                eprintln!("seed {seed}: {violation}");
                failed += 1;
            }
        }
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

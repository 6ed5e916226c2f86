//! ringwire beside the kernel's io_uring, epoll, and raw AF_XDP loops: the same work by the same load generator, the
//! contestants in turn, round after round, in one run.
//!
//!     compare [--cells NAME,NAME...] [--rounds N] [--ms N] [--out DIRECTORY] [--markdown FILE]
//!     compare --smoke [--cells ...]    the least of each cell, which must have figures: no time is judged
//!     compare --list
//!
//! It makes its own network namespaces and veth pairs, so it needs the privilege to. A cell is named whole or by its
//! first parts: W3, W3-udp, W3-udp-64. It prints a table for each, and writes a report: `index.html`, which
//! needs nothing beside it, and `report.json`. With `--markdown FILE` the figures in that file are written anew, too.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use ringwire_bench::args::Args;

mod bed;
mod cells;
mod contestants;
mod figures;
mod machine;
mod markdown;
mod page;
mod plot;
mod process;
mod programs;
mod progress;
mod report;
mod run;
mod sends;
mod table;
mod targets;

use cells::Cell;
use process::Cores;
use progress::Progress;
use report::Judged;
use run::{Effort, Outcome};
use targets::Verdict;

fn main() -> ExitCode {
    match compare() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("compare: {message}");
            ExitCode::from(2)
        }
    }
}

/// Runs what was asked for; `false` if something has no figures.
fn compare() -> Result<bool, String> {
    let mut args = Args::read(std::env::args().skip(1))?;
    let smoke = args.switch("smoke")?;
    let effort = match smoke {
        true => Effort {
            rounds: 1,
            milliseconds: 20,
            warm: 5,
        },
        false => Effort {
            rounds: 5,
            milliseconds: 400,
            warm: 100,
        },
    };
    let effort = Effort {
        rounds: args.optional("rounds")?.unwrap_or(effort.rounds),
        milliseconds: args.optional("ms")?.unwrap_or(effort.milliseconds),
        warm: effort.warm,
    };
    let wanted: Option<String> = args.optional("cells")?;
    let markdown: Option<String> = args.optional("markdown")?;
    let list = args.switch("list")?;
    let directory = args.optional("out")?.unwrap_or("target/bench".to_owned());
    args.end()?;
    let cells = chosen(wanted.as_deref().unwrap_or(""))?;
    let about: Duration = cells.iter().map(|it| run::estimate(it, effort)).sum();
    if list {
        cells
            .iter()
            .for_each(|it| println!("{:20} {}", it.name, it.title));
        println!("{} cells, about {} s", cells.len(), about.as_secs());
        return Ok(true);
    }
    let cores = Cores::choose()?;
    let machine = machine::describe(cores, effort);
    let (outcomes, verdicts) = run_all(cells, effort, cores, Progress::new(about));
    let judged: Vec<Judged<'_>> = outcomes
        .iter()
        .zip(verdicts.iter().map(Vec::as_slice))
        .collect();
    write(&directory, &machine, &judged).map_err(|error| format!("{directory}: {error}"))?;
    if let Some(path) = markdown {
        markdown::write(&path, &machine, &judged).map_err(|error| format!("{path}: {error}"))?;
    }
    let failures: Vec<String> = outcomes.iter().flat_map(Outcome::failures).collect();
    failures.iter().for_each(|it| eprintln!("compare: {it}"));
    Ok(failures.is_empty())
}

/// The cells that some words name; all of them by none.
fn chosen(words: &str) -> Result<Vec<Cell>, String> {
    let words: Vec<&str> = words
        .split([',', ' '])
        .filter(|it| !it.is_empty())
        .collect();
    let all = cells::all();
    if let Some(word) = words
        .iter()
        .find(|word| !all.iter().any(|it| it.is_named(word)))
    {
        let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
        return Err(format!("{word} is no cell; there are {}", names.join(" ")));
    }
    // What is a whole name means that cell alone.
    let whole: Vec<bool> = words
        .iter()
        .map(|word| all.iter().any(|it| it.name == *word))
        .collect();
    let named = |cell: &Cell| {
        let mut each = words.iter().zip(&whole);
        words.is_empty()
            || each.any(|(word, whole)| {
                if *whole {
                    cell.name == *word
                } else {
                    cell.is_named(word)
                }
            })
    };
    Ok(all.into_iter().filter(named).collect())
}

/// Writes the report.
fn write(
    directory: &str,
    machine: &[(&'static str, String)],
    judged: &[Judged<'_>],
) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    let json = format!("{directory}/report.json");
    fs::write(&json, format!("{:#}\n", report::json(machine, judged)))?;
    let page = format!("{directory}/index.html");
    fs::write(&page, page::html(machine, judged))?;
    println!("\nthe report: {page}, {json}");
    Ok(())
}

fn run_all(
    cells: Vec<Cell>,
    effort: Effort,
    cores: Cores,
    mut progress: Progress,
) -> (Vec<Outcome>, Vec<Vec<Verdict>>) {
    let (mut outcomes, mut all) = (Vec::<Outcome>::new(), Vec::new());
    for cell in cells {
        progress.begins(run::estimate(&cell, effort));
        outcomes.push(run::run(cell, effort, cores, &mut progress));
        progress.clear();
        let targets = outcomes.last().map(|it| it.cell.targets.clone());
        let targets = targets.iter().flatten();
        let verdicts: Vec<Verdict> = targets.map(|it| it.judge(&outcomes)).collect();
        if let Some(outcome) = outcomes.last() {
            print!("{}", table::text(outcome, &verdicts));
        }
        all.push(verdicts);
    }
    (outcomes, all)
}

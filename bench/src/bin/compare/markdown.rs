//! The figures of docs/PERFORMANCE.md: written between two marks, so that one command makes them anew.

use std::fs;
use std::io;

use crate::report::Judged;
use crate::run::Outcome;
use crate::table;

const BEGIN: &str = "<!-- figures: written by make bench-docs -->\n";
const END: &str = "<!-- end of the figures -->\n";

/// Replaces what is between the marks of a file.
///
/// # Errors
/// The file system's, and `InvalidData` without the marks.
pub fn write(
    path: &str,
    machine: &[(&'static str, String)],
    cells: &[Judged<'_>],
) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    let marks = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = marks else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the marks of the figures are missing",
        ));
    };
    fs::write(
        path,
        format!("{before}{BEGIN}{}{END}{after}", figures(machine, cells)),
    )
}

fn figures(machine: &[(&'static str, String)], cells: &[Judged<'_>]) -> String {
    let mut text = String::new();
    // Programs that print tables of their own have a page of their own.
    let measured: Vec<_> = cells
        .iter()
        .filter(|(outcome, _)| outcome.text.is_none())
        .collect();
    let disturbed = measured
        .iter()
        .filter(|(outcome, _)| table::disturbed(outcome).is_some())
        .count();
    if disturbed > 0 {
        text += &format!(
            "\n**To be measured again on a quiet machine**: in {disturbed} of {} cells other work ran on the two cores, for the share of the\ntime that the cell says. Rates and round trips of such a cell are what was left; CPU times suffer less.\n",
            measured.len()
        );
    }
    text += "\n| | |\n|---|---|\n";
    for (name, value) in machine {
        text += &format!("| {name} | {value} |\n");
    }
    text += "\n| cell | target | |\n|---|---|---|\n";
    for (outcome, verdicts) in &measured {
        for verdict in *verdicts {
            let word = match verdict.met {
                Some(false) => "**not met**",
                _ => verdict.word(),
            };
            text += &format!("| {} | {} | {word} |\n", outcome.cell.name, verdict.text);
        }
    }
    for (outcome, _) in &measured {
        text += &cell(outcome);
    }
    text + "\n"
}

fn cell(outcome: &Outcome) -> String {
    let cell = &outcome.cell;
    let mut text = format!("\n### {}\n\n{}\n\n", cell.name, cell.title);
    for (index, row) in table::cells_of(outcome).iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if index == 0 {
            text += &format!("|---|{}\n", "--:|".repeat(row.len() - 1));
        }
    }
    let lines = table::disturbed(outcome)
        .into_iter()
        .chain(table::missing(outcome));
    lines.for_each(|line| text += &format!("\n{line}\n"));
    text
}

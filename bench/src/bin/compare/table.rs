//! What came of a cell, as text.

use crate::figures::{Metric, Spread};
use crate::run::Outcome;
use crate::targets::Verdict;

/// The share of the time that an end may wait for its core on a quiet machine.
const QUIET: f64 = 0.02;

/// Lines for people.
pub fn text(outcome: &Outcome, verdicts: &[Verdict]) -> String {
    let cell = &outcome.cell;
    let mut text = format!("\n{}: {}\n", cell.name, cell.title);
    match &outcome.text {
        Some(Ok(output)) => text += output,
        Some(Err(error)) => text += &format!("FAILED: {error}\n"),
        None => text += &rows(outcome),
    }
    text += &disturbed(outcome).map_or(String::new(), |line| format!("  {line}\n"));
    for verdict in verdicts {
        text += &format!("  target {}: {}\n", verdict.word(), verdict.text);
    }
    text
}

/// The cells of the table: a heading, then a row for each contestant that has figures.
pub fn cells_of(outcome: &Outcome) -> Vec<Vec<String>> {
    let cell = &outcome.cell;
    let first = cell.metrics[0];
    let mut heading = vec![
        String::new(),
        first.heading().to_owned(),
        "least - most".to_owned(),
    ];
    heading.push(format!("x {}", cell.base));
    heading.extend(cell.metrics[1..].iter().map(|it| it.heading().to_owned()));
    let mut rows = vec![heading];
    for result in &outcome.results {
        let spread = |metric: Metric| Spread::of(result.samples.iter().map(|it| metric.of(it)));
        let Some(own) = spread(first) else {
            continue;
        };
        let ratio = outcome.ratio(result.contestant.name, cell.base, first);
        let mut row = vec![result.contestant.name.to_owned(), first.show(own.median)];
        row.push(format!(
            "{} - {}",
            first.show(own.least),
            first.show(own.most)
        ));
        row.push(ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")));
        for &metric in &cell.metrics[1..] {
            row.push(spread(metric).map_or("-".to_owned(), |it| metric.show(it.median)));
        }
        rows.push(row);
    }
    rows
}

/// Words of warning, if the machine was not quiet.
pub fn disturbed(outcome: &Outcome) -> Option<String> {
    let share = outcome.disturbed();
    (share > QUIET).then(|| {
        format!("NOT QUIET: the ends waited for their cores for {:.0} % of the time, while something else ran there", share * 100.0)
    })
}

/// Contestants without figures, and why.
pub fn missing(outcome: &Outcome) -> Vec<String> {
    let missing = outcome.results.iter().filter_map(|it| {
        let why = it.missing.as_ref()?;
        let word = if it.contestant.missing.is_some() {
            "skipped"
        } else {
            "FAILED"
        };
        Some(format!("{}: {word}: {why}", it.contestant.name))
    });
    missing.collect()
}

fn rows(outcome: &Outcome) -> String {
    let cells = cells_of(outcome);
    let width = |column: usize| {
        cells
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..cells[0].len()).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        text += &format!("  {:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            text += &format!("  {cell:>width$}");
        }
        text.push('\n');
    }
    for line in missing(outcome) {
        text += &format!("  {line}\n");
    }
    text
}

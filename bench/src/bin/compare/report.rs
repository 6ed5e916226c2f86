//! The report as JSON: all that was measured, round by round.

use serde_json::{Value, json};

use crate::figures::Metric;
use crate::run::{Outcome, Result};
use crate::targets::Verdict;

/// A cell with the verdicts on its targets.
pub type Judged<'a> = (&'a Outcome, &'a [Verdict]);

/// All of a run.
pub fn json(machine: &[(&'static str, String)], cells: &[Judged<'_>]) -> Value {
    let machine: serde_json::Map<String, Value> = machine
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    json!({ "machine": machine, "cells": cells.iter().map(cell).collect::<Vec<_>>() })
}

fn cell(&(outcome, verdicts): &Judged<'_>) -> Value {
    let cell = &outcome.cell;
    let verdicts: Vec<Value> = verdicts
        .iter()
        .map(|it| json!({ "met": it.met, "text": it.text }))
        .collect();
    let output = match &outcome.text {
        Some(Ok(text)) => json!(text),
        Some(Err(error)) => json!({ "error": error }),
        None => Value::Null,
    };
    json!({
        "name": cell.name,
        "title": cell.title,
        "rounds": outcome.effort.rounds,
        "milliseconds": outcome.effort.milliseconds,
        "contestants": outcome.results.iter().map(|it| contestant(it, &cell.metrics)).collect::<Vec<_>>(),
        "disturbed": outcome.disturbed(),
        "targets": verdicts,
        "output": output,
    })
}

fn contestant(result: &Result, metrics: &[Metric]) -> Value {
    let values = |metric: &Metric| {
        let values: Vec<f64> = result.samples.iter().map(|it| metric.of(it)).collect();
        (metric.heading().to_owned(), json!(values))
    };
    json!({
        "name": result.contestant.name,
        "bed": result.contestant.bed.describe(),
        "commands": result.lines,
        "said": result.said,
        "missing": result.missing,
        "values": metrics.iter().map(values).collect::<serde_json::Map<_, _>>(),
    })
}

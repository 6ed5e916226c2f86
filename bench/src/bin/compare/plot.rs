//! A cell's first figure as SVG: a bar for each contestant's median, a line from the least to the most, a dot for each
//! round.

use crate::figures::{Metric, Spread};
use crate::run::Outcome;

const NAME_WIDTH: f64 = 170.0;
const BAR_WIDTH: f64 = 520.0;
const VALUE_WIDTH: f64 = 90.0;
const ROW: f64 = 22.0;

/// The plot; `None` if there is nothing to draw.
pub fn svg(outcome: &Outcome) -> Option<String> {
    let metric = *outcome.cell.metrics.first()?;
    let rows: Vec<(&str, Vec<f64>, Spread)> = outcome
        .results
        .iter()
        .filter_map(|it| {
            let values: Vec<f64> = it.samples.iter().map(|it| metric.of(it)).collect();
            let spread = Spread::of(values.iter().copied())?;
            Some((it.contestant.name, values, spread))
        })
        .collect();
    // One run that was held up would make all bars short: the line of such a one is cut off.
    let medians = rows.iter().map(|(_, _, spread)| spread.median);
    let most = medians.fold(0.0, f64::max) * 1.25;
    if most <= 0.0 {
        return None;
    }
    let width = NAME_WIDTH + BAR_WIDTH + VALUE_WIDTH;
    let height = ROW * rows.len() as f64 + 6.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n",
        metric.heading()
    );
    for (index, (name, values, spread)) in rows.iter().enumerate() {
        svg += &row(index, name, values, spread, (metric, most));
    }
    Some(svg + "</svg>\n")
}

fn row(
    index: usize,
    name: &str,
    values: &[f64],
    spread: &Spread,
    (metric, most): (Metric, f64),
) -> String {
    let top = index as f64 * ROW + 3.0;
    let middle = top + ROW / 2.0 - 1.0;
    let at = |value: f64| NAME_WIDTH + (value / most).min(1.0) * BAR_WIDTH;
    let kind = match name {
        name if name.starts_with("ringwire") => "own",
        name if name.starts_with("raw") || name.starts_with("xsk-rs") => "raw",
        _ => "kernel",
    };
    let mut svg = format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" class=\"name\">{name}</text>\n",
        NAME_WIDTH - 8.0,
        middle + 4.0
    );
    svg += &format!(
        "<rect x=\"{NAME_WIDTH}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{}\" class=\"{kind}\"/>\n",
        at(spread.median) - NAME_WIDTH,
        ROW - 6.0
    );
    svg += &format!(
        "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\n",
        at(spread.least),
        at(spread.most)
    );
    for &value in values.iter().filter(|it| it.is_finite()) {
        svg += &format!(
            "<circle cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"2\"/>\n",
            at(value)
        );
    }
    svg + &format!(
        "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
        NAME_WIDTH + BAR_WIDTH + 8.0,
        middle + 4.0,
        metric.show(spread.median)
    )
}

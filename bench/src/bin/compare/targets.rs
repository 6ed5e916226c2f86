//! What was aimed at, and whether it was reached.

use crate::figures::{Metric, Spread};
use crate::run::Outcome;

/// How a contestant is to stand beside another one.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// At least so many times as good: as many a second, or as little time.
    Times(f64),
    /// At most so much more, in the metric's unit.
    Plus(f64),
}

/// A contestant, in this cell or in another one.
#[derive(Clone, Debug)]
pub struct Against {
    pub cell: Option<&'static str>,
    pub contestant: &'static str,
    pub bound: Bound,
}

impl Against {
    pub fn times(contestant: &'static str, times: f64) -> Against {
        Against {
            cell: None,
            contestant,
            bound: Bound::Times(times),
        }
    }

    pub fn plus(contestant: &'static str, more: f64) -> Against {
        Against {
            cell: None,
            contestant,
            bound: Bound::Plus(more),
        }
    }
}

/// A target: met if the contestant reaches one of those that it is held against.
#[derive(Clone, Debug)]
pub struct Target {
    pub of: &'static str,
    pub metric: Metric,
    pub any: Vec<Against>,
}

/// What came of a target.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// `None` if there is nothing to judge by.
    pub met: Option<bool>,
    pub text: String,
}

impl Target {
    pub fn new(of: &'static str, metric: Metric, any: Vec<Against>) -> Target {
        Target { of, metric, any }
    }

    /// Judges by the medians of alternated pairs; `outcomes` are those of all cells that were run, this one's last.
    pub fn judge(&self, outcomes: &[Outcome]) -> Verdict {
        let own = outcomes.last().expect("this cell's");
        let mut texts = Vec::new();
        let mut met = None;
        for against in &self.any {
            let other = match against.cell {
                Some(name) => outcomes.iter().find(|it| it.cell.name == name),
                None => Some(own),
            };
            let (reached, text) = self.against(own, other, against);
            met = match (met, reached) {
                (Some(true), _) | (_, None) => met,
                (_, reached) => reached,
            };
            texts.push(text);
        }
        let what = format!("{}, {}", self.of, self.metric.heading());
        Verdict {
            met,
            text: format!("{what}: {}", texts.join(" or ")),
        }
    }

    fn against(
        &self,
        own: &Outcome,
        other: Option<&Outcome>,
        against: &Against,
    ) -> (Option<bool>, String) {
        let pairs = other.and_then(|other| {
            let (mine, theirs) = (
                own.values(self.of, self.metric)?,
                other.values(against.contestant, self.metric)?,
            );
            Some(mine.into_iter().zip(theirs))
        });
        let more_is_better = self.metric.more_is_better();
        let place = against
            .cell
            .map(|name| format!(" in {name}"))
            .unwrap_or_default();
        let name = against.contestant;
        match against.bound {
            Bound::Times(least) => {
                let ratio = |(mine, other): (f64, f64)| {
                    if more_is_better {
                        mine / other
                    } else {
                        other / mine
                    }
                };
                let median = pairs
                    .and_then(|pairs| Spread::of(pairs.map(ratio)))
                    .map(|it| it.median);
                let value = median.map_or("not measured".to_owned(), |value| format!("{value:.2}"));
                (
                    median.map(|value| value >= least),
                    format!("{value} times as good as {name}{place} (target {least})"),
                )
            }
            Bound::Plus(most) => {
                let median = pairs
                    .and_then(|pairs| Spread::of(pairs.map(|(mine, other)| mine - other)))
                    .map(|it| it.median);
                let value =
                    median.map_or("not measured".to_owned(), |value| format!("{value:+.2}"));
                (
                    median.map(|value| value <= most),
                    format!("{value} beside {name}{place} (target at most {most:+})"),
                )
            }
        }
    }
}

impl Verdict {
    pub fn word(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "not judged",
        }
    }
}

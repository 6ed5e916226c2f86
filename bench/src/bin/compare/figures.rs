//! What a run brought, and what several of them amount to.

use serde_json::Value;

/// What one run of one contestant brought.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub operations: f64,
    pub bytes: f64,
    pub lost: f64,
    /// Nanoseconds of the clock on the wall.
    elapsed: f64,
    /// CPU nanoseconds of the contestant, of the other end, and of ksoftirqd.
    contestant: f64,
    other: f64,
    ksoftirqd: f64,
    /// In which a core was not idle, both together, by `/proc/stat`.
    busy: f64,
    /// In which an end could have run, and something else did.
    waited: f64,
    /// Of a round trip, in nanoseconds.
    quantiles: [f64; 3],
}

impl Sample {
    /// Reads the line of a load, or of a contestant that measures itself.
    ///
    /// # Errors
    /// What is missing of it.
    pub fn read(line: &str, contestant_measures: bool) -> Result<Sample, String> {
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        let of = |name: &str| value[name].as_f64().ok_or(format!("no {name}: {line}"));
        let (own, watched) = (of("own")?, of("watched")?);
        let (contestant, other) = match contestant_measures {
            true => (own, watched),
            false => (watched, own),
        };
        Ok(Sample {
            operations: of("operations")?,
            bytes: of("bytes")?,
            lost: of("lost")?,
            elapsed: of("elapsed")?,
            contestant,
            other,
            ksoftirqd: of("ksoftirqd")?,
            busy: of("busy")?,
            waited: of("waited")?,
            quantiles: [of("p50")?, of("p99")?, of("p999")?],
        })
    }

    /// The share of the time in which an end waited for its core.
    pub fn disturbed(&self) -> f64 {
        self.waited / self.elapsed
    }

    /// What was sent and did not arrive is lost; `sent_in_all` counts the warming up, too.
    ///
    /// # Errors
    /// If the line does not say how much was sent.
    pub fn lost_of(&mut self, line: &str, arrived: u64) -> Result<(), String> {
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        let sent = value["sent_in_all"]
            .as_u64()
            .ok_or(format!("no sent_in_all: {line}"))?;
        self.lost = sent.saturating_sub(arrived) as f64;
        Ok(())
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Thousands of operations a second.
    Rate,
    /// Gbit of payload a second, one way.
    Gbit,
    /// CPU nanoseconds for an operation: of the contestant's process, of the other end's, and of both with ksoftirqd.
    Contestant,
    Other,
    Both,
    /// In which the cores were not idle, by `/proc/stat`: with what else the machine does, and coarse.
    Busy,
    /// CPU seconds of the contestant for a gigabyte of payload.
    PerGigabyte,
    /// Microseconds of a round trip.
    P50,
    P99,
    P999,
    /// Requests that had no answer.
    Lost,
}

impl Metric {
    /// A table's heading.
    pub fn heading(self) -> &'static str {
        match self {
            Metric::Rate => "k/s",
            Metric::Gbit => "Gbit/s",
            Metric::Contestant => "its CPU, ns",
            Metric::Other => "other end's, ns",
            Metric::Both => "both, ns",
            Metric::Busy => "cores busy, ns",
            Metric::PerGigabyte => "its CPU s/GB",
            Metric::P50 => "p50 us",
            Metric::P99 => "p99 us",
            Metric::P999 => "p99.9 us",
            Metric::Lost => "lost",
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        matches!(self, Metric::Rate | Metric::Gbit)
    }

    /// Its value in a run; infinite or no number where nothing was done.
    pub fn of(self, sample: &Sample) -> f64 {
        let all = sample.contestant + sample.other + sample.ksoftirqd;
        let each = |nanos: f64| nanos / sample.operations;
        match self {
            Metric::Rate => sample.operations / sample.elapsed * 1e6,
            Metric::Gbit => sample.bytes * 8.0 / sample.elapsed,
            Metric::Contestant => each(sample.contestant),
            Metric::Other => each(sample.other),
            Metric::Both => each(all),
            Metric::Busy => each(sample.busy),
            Metric::PerGigabyte => sample.contestant / sample.bytes,
            // No time was measured.
            Metric::P50 | Metric::P99 | Metric::P999 if sample.operations == 0.0 => f64::NAN,
            Metric::P50 => sample.quantiles[0] / 1e3,
            Metric::P99 => sample.quantiles[1] / 1e3,
            Metric::P999 => sample.quantiles[2] / 1e3,
            Metric::Lost => sample.lost,
        }
    }

    /// As it is printed.
    pub fn show(self, value: f64) -> String {
        match self {
            Metric::Rate if value < 10.0 => format!("{value:.2}"),
            Metric::Gbit | Metric::PerGigabyte => format!("{value:.2}"),
            Metric::Contestant | Metric::Other | Metric::Both | Metric::Busy | Metric::Lost => {
                format!("{value:.0}")
            }
            _ => format!("{value:.1}"),
        }
    }
}

/// The median and the ends of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    /// Of these values, those left out that are no numbers; `None` if none is left.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Spread {
            least,
            median: (low + high) / 2.0,
            most,
        })
    }
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;

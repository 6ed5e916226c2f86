//! Runs a cell: its contestants in turn, again and again.

use std::time::Duration;

use crate::bed::Bed;
use crate::cells::{Cell, Work};
use crate::contestants::Contestant;
use crate::figures::{Metric, Sample, Spread};
use crate::process::{self, Cores, Server};
use crate::progress::Progress;

/// How often, and for how long each time.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub rounds: usize,
    pub milliseconds: u64,
    /// Milliseconds before the counting begins, each time.
    pub warm: u64,
}

/// What starting and ending a load takes beside that.
const AROUND: Duration = Duration::from_millis(60);
/// Beyond its time a load has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of a contestant.
pub struct Result {
    pub contestant: Contestant,
    /// One of each round.
    pub samples: Vec<Sample>,
    /// What it said of itself before it was ready: on ringwire, the mode that it got.
    pub said: Vec<String>,
    /// Why there are none.
    pub missing: Option<String>,
    /// The last command line of the load, and the contestant's.
    pub lines: Vec<String>,
}

/// What came of a cell.
pub struct Outcome {
    pub cell: Cell,
    pub effort: Effort,
    pub results: Vec<Result>,
    /// What a program printed that makes its own table.
    pub text: Option<std::result::Result<String, String>>,
}

impl Outcome {
    /// The values of a contestant, round by round; `None` if it has none.
    pub fn values(&self, contestant: &str, metric: Metric) -> Option<Vec<f64>> {
        let result = self
            .results
            .iter()
            .find(|it| it.contestant.name == contestant)?;
        let values: Vec<f64> = result.samples.iter().map(|it| metric.of(it)).collect();
        (!values.is_empty()).then_some(values)
    }

    /// How many times as good one is as the other: the median of the rounds' ratios.
    pub fn ratio(&self, contestant: &str, base: &str, metric: Metric) -> Option<f64> {
        let pairs = self
            .values(contestant, metric)?
            .into_iter()
            .zip(self.values(base, metric)?);
        let ratio = |(mine, other): (f64, f64)| {
            if metric.more_is_better() {
                mine / other
            } else {
                other / mine
            }
        };
        Spread::of(pairs.map(ratio)).map(|it| it.median)
    }

    /// The share of the time in which an end waited for its core, since something else ran there: in the middle one
    /// of all runs. The contestants themselves share none.
    pub fn disturbed(&self) -> f64 {
        let samples = self.results.iter().flat_map(|it| &it.samples);
        Spread::of(samples.map(Sample::disturbed)).map_or(0.0, |it| it.median)
    }

    /// What has no figures and should have: the reason for each.
    pub fn failures(&self) -> Vec<String> {
        let text = match &self.text {
            Some(Err(error)) => Some(error.clone()),
            Some(Ok(text)) if !text.contains(|it: char| it.is_ascii_digit()) => {
                Some("it printed no figure".to_owned())
            }
            _ => None,
        };
        let failed = self
            .results
            .iter()
            .filter(|it| it.contestant.missing.is_none());
        let failed = failed.filter_map(|it| {
            let why = match (&it.missing, it.samples.is_empty()) {
                (Some(why), _) => why.clone(),
                (None, true) => "it has no figures".to_owned(),
                (None, false) if it.samples.iter().any(|it| it.operations == 0.0) => {
                    "it did nothing".to_owned()
                }
                _ => return None,
            };
            Some(format!("{}: {why}", it.contestant.name))
        });
        failed
            .chain(text)
            .map(|why| format!("{}: {why}", self.cell.name))
            .collect()
    }
}

/// How long a cell takes, about.
pub fn estimate(cell: &Cell, effort: Effort) -> Duration {
    let once = Duration::from_millis(effort.warm + effort.milliseconds) + AROUND + cell.before;
    match &cell.work {
        Work::Program(program) => program.about(effort.rounds),
        _ => {
            once * (effort.rounds * cell.contestants.len()) as u32
                + Duration::from_millis(200) * cell.contestants.len() as u32
        }
    }
}

/// Runs a cell.
pub fn run(cell: Cell, effort: Effort, cores: Cores, progress: &mut Progress) -> Outcome {
    let mut outcome = Outcome {
        effort,
        results: Vec::new(),
        text: None,
        cell,
    };
    if let Work::Program(program) = &outcome.cell.work {
        progress.shows(&outcome.cell.name, "");
        outcome.text = Some(program.run(effort.rounds, cores));
        return outcome;
    }
    let mut places: Vec<Place> = outcome
        .cell
        .contestants
        .iter()
        .map(|it| Place::new(it, &outcome.cell, cores))
        .collect();
    places.iter_mut().for_each(Place::ready);
    for round in 0..effort.rounds {
        for place in &mut places {
            let what = format!(
                "round {} of {}, {}",
                round + 1,
                effort.rounds,
                place.result.contestant.name
            );
            progress.shows(&outcome.cell.name, &what);
            place.measure(&outcome.cell, effort, cores);
        }
    }
    outcome.results = places.into_iter().map(|place| place.result).collect();
    outcome
}

/// A contestant in its bed.
struct Place {
    bed: Option<Bed>,
    server: Option<Server>,
    result: Result,
}

impl Place {
    /// Makes the bed, and starts the server: the contestant, or the other end of one that measures itself.
    fn new(contestant: &Contestant, cell: &Cell, cores: Cores) -> Place {
        let mut place = Place {
            bed: None,
            server: None,
            result: Result {
                contestant: contestant.clone(),
                samples: Vec::new(),
                said: Vec::new(),
                missing: contestant.missing.clone(),
                lines: Vec::new(),
            },
        };
        if place.result.missing.is_some() {
            return place;
        }
        let bed = Bed::new(contestant.bed);
        let started = match &cell.work {
            Work::Load { .. } => Some(
                bed.veth
                    .in_ring(|| Server::start(&contestant.line, cores.server)),
            ),
            Work::Sends { sink: Some(line) } => {
                Some(bed.veth.in_peer(|| Server::start(line, cores.load)))
            }
            Work::Sends { sink: None } | Work::Program(_) => None,
        };
        place.result.lines.push(contestant.line.text());
        place.bed = Some(bed);
        match started {
            Some(Ok(server)) => place.server = Some(server),
            Some(Err(error)) => place.result.missing = Some(error),
            None => {}
        }
        place
    }

    fn ready(&mut self) {
        let Some(server) = &mut self.server else {
            return;
        };
        match server.ready() {
            Ok(()) => {
                self.result.said = server.said.clone();
                server.pause();
            }
            Err(error) => {
                self.result.missing = Some(error);
                self.server = None;
            }
        }
    }

    fn measure(&mut self, cell: &Cell, effort: Effort, cores: Cores) {
        if self.result.missing.is_some() {
            return;
        }
        if let Some(server) = &self.server {
            server.go_on();
        }
        match self.sample(cell, effort, cores) {
            Ok(sample) => self.result.samples.push(sample),
            // One that fails once does not hold up the others.
            Err(error) => self.result.missing = Some(error),
        }
        if let Some(server) = &self.server {
            server.pause();
        }
    }

    fn sample(
        &mut self,
        cell: &Cell,
        effort: Effort,
        cores: Cores,
    ) -> std::result::Result<Sample, String> {
        let bed = self.bed.as_ref().expect("one that takes part has a bed");
        let times = format!("--ms {} --warm-ms {}", effort.milliseconds, effort.warm);
        let watch = self
            .server
            .as_ref()
            .map(|it| format!("--watch {}", it.pid()))
            .unwrap_or_default();
        let all = format!("{times} {watch}");
        let patience = PATIENCE + Duration::from_millis(effort.warm + effort.milliseconds);
        let own = matches!(cell.work, Work::Sends { .. });
        let mut line = match &cell.work {
            Work::Load { load } => load.clone(),
            _ => self.result.contestant.line.clone(),
        };
        line.words.extend(all.split_whitespace().map(str::to_owned));
        self.result.lines.truncate(1);
        self.result.lines.push(line.text());
        let before = cell.contestants_drop().then(|| bed.arrived());
        let output = match own {
            true => bed
                .veth
                .in_ring(|| process::run(&line, cores.server, patience))?,
            false => bed
                .veth
                .in_peer(|| process::run(&line, cores.load, patience))?,
        };
        let last = output.lines().last().ok_or("it printed nothing")?;
        let mut sample = Sample::read(last, own)?;
        if let Some(before) = before {
            sample.lost_of(last, bed.arrived() - before)?;
        }
        Ok(sample)
    }
}

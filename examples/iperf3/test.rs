//! One test: what has been said, and what is to be done next. No I/O.

use std::time::{Duration, Instant};

use ringwire::owned::Socket;

use crate::protocol::{
    CREATE_STREAMS, DISPLAY_RESULTS, EXCHANGE_RESULTS, PARAM_EXCHANGE, Parameters, Results,
    TEST_END, TEST_RUNNING, TEST_START, parameters, take_json, unimplemented,
};

/// What the server does next.
pub enum Step {
    /// Says this on the control connection.
    Say(Vec<u8>),
    StartSending,
    StopStreams,
    /// The client is content: the control connection ends.
    Finish,
    /// The client did what the protocol does not have, or asked for another test.
    Abandon,
}

/// What comes next on the control connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expects {
    Parameters,
    /// Nothing, until all streams have come.
    Streams,
    TestEnd,
    Results,
    Done,
}

pub struct Test {
    pub control: Socket,
    cookie: Vec<u8>,
    expects: Expects,
    parameters: Option<Parameters>,
    streams: Vec<Socket>,
    bytes: Vec<u64>,
    start: Instant,
    end: Instant,
    cpu: [Duration; 2],
}

impl Test {
    /// A test of the client whose control connection this is.
    pub fn new(control: Socket, cookie: Vec<u8>) -> (Test, Vec<Step>) {
        let now = Instant::now();
        let test = Test {
            control,
            cookie,
            expects: Expects::Parameters,
            parameters: None,
            streams: Vec::new(),
            bytes: Vec::new(),
            start: now,
            end: now,
            cpu: [Duration::ZERO; 2],
        };
        (test, vec![Step::Say(vec![PARAM_EXCHANGE])])
    }

    /// A connection has come: its index if it is a stream of this test.
    pub fn joined(&mut self, socket: Socket, cookie: &[u8]) -> Option<(usize, Vec<Step>)> {
        let wanted = self.parameters?.streams;
        if cookie != self.cookie || self.expects != Expects::Streams {
            return None;
        }
        let index = self.streams.len();
        self.streams.push(socket);
        self.bytes.push(0);
        let mut steps = Vec::new();
        if self.streams.len() == wanted {
            self.expects = Expects::TestEnd;
            self.start = Instant::now();
            self.cpu = cpu_times();
            steps.push(Step::Say(vec![TEST_START, TEST_RUNNING]));
            if self.we_send() {
                steps.push(Step::StartSending);
            }
        }
        Some((index, steps))
    }

    pub fn we_send(&self) -> bool {
        self.parameters.is_some_and(|parameters| parameters.reverse)
    }

    pub fn streams(&self) -> &[Socket] {
        &self.streams
    }

    /// Bytes went over a stream.
    pub fn carried(&mut self, index: usize, bytes: u64) {
        if self.expects == Expects::TestEnd && self.start.elapsed() >= self.omitted() {
            self.bytes[index] += bytes;
        }
    }

    /// Takes what it can from the front of what came on the control connection.
    pub fn advance(&mut self, input: &mut Vec<u8>) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(more) = self.step(input) {
            steps.extend(more);
        }
        steps
    }

    fn step(&mut self, input: &mut Vec<u8>) -> Option<Vec<Step>> {
        if input.is_empty() {
            return None;
        }
        match self.expects {
            Expects::Parameters => match take_json(input) {
                Ok(json) => Some(self.asked(&json?)),
                Err(()) => Some(last(input, Step::Abandon)),
            },
            Expects::TestEnd if input[0] == TEST_END => {
                input.remove(0);
                self.end = Instant::now();
                self.expects = Expects::Results;
                Some(vec![Step::StopStreams, Step::Say(vec![EXCHANGE_RESULTS])])
            }
            Expects::Results => match take_json(input) {
                Ok(json) => {
                    json?;
                    self.expects = Expects::Done;
                    let mut message = self.results().message();
                    message.push(DISPLAY_RESULTS);
                    Some(vec![Step::Say(message)])
                }
                Err(()) => Some(last(input, Step::Abandon)),
            },
            Expects::Done => Some(last(input, Step::Finish)),
            // CLIENT_TERMINATE, or what nobody has asked for.
            Expects::Streams | Expects::TestEnd => Some(last(input, Step::Abandon)),
        }
    }

    fn asked(&mut self, json: &[u8]) -> Vec<Step> {
        self.parameters = parameters(json);
        if self.parameters.is_none() {
            return vec![Step::Say(unimplemented()), Step::Abandon];
        }
        self.expects = Expects::Streams;
        vec![Step::Say(vec![CREATE_STREAMS])]
    }

    fn omitted(&self) -> Duration {
        Duration::from_secs(self.parameters.map_or(0, |parameters| parameters.omit_s))
    }

    fn results(&self) -> Results {
        let wall = (self.end - self.start).as_secs_f64().max(1e-9);
        let now = cpu_times();
        let share = |index: usize| (now[index] - self.cpu[index]).as_secs_f64() / wall * 100.0;
        Results {
            bytes: self.bytes.clone(),
            seconds: (self.end - self.start)
                .saturating_sub(self.omitted())
                .as_secs_f64(),
            cpu: [share(0), share(1)],
        }
    }
}

/// The last step: what else has come is not read.
fn last(input: &mut Vec<u8>, step: Step) -> Vec<Step> {
    input.clear();
    vec![step]
}

/// Processor time of this process so far, in the program and in the kernel (getrusage(2)).
fn cpu_times() -> [Duration; 2] {
    // SAFETY: all zeroes is a valid rusage, and the call writes one.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    [usage.ru_utime, usage.ru_stime].map(|time| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    })
}

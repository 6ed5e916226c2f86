//! The machine's table, made by driving it: every state, every event, and where it leads.

use std::fmt::Write;

use super::script::{Script, config, fin, flags, ms, rst, segment, syn, syn_ack};
use crate::{Answer, Disposition, Segment, State, closed, listen};

type Event = (&'static str, fn(&mut Script) -> Step);

enum Step {
    /// The peer sends it.
    Arrives(Segment),
    /// It is done, and this is to be said of it.
    Done(String),
}

/// What happens to a connection whose peer's numbers stand at `RCV.NXT` and whose everything sent is
/// to be acknowledged by the segment.
const EVENTS: &[Event] = &[
    ("SYN", |_| Step::Arrives(syn())),
    ("SYN ACK", |_| Step::Arrives(syn_ack())),
    ("ACK of everything", |script| Step::Arrives(bare(script))),
    ("old ACK", |script| {
        Step::Arrives(Segment {
            ack: Some(script.connection.send_una()),
            ..bare(script)
        })
    }),
    ("ACK of unsent", |script| {
        Step::Arrives(Segment {
            ack: bare(script).ack.map(|ack| ack + 1),
            ..bare(script)
        })
    }),
    ("data", |script| {
        Step::Arrives(Segment {
            len: 10,
            ..bare(script)
        })
    }),
    ("FIN", |script| {
        Step::Arrives(Segment {
            fin: true,
            ack: Some(script.connection.send_una()),
            ..bare(script)
        })
    }),
    ("FIN, ACK of everything", |script| {
        Step::Arrives(Segment {
            fin: true,
            ..bare(script)
        })
    }),
    ("RST at RCV.NXT", |script| {
        Step::Arrives(Segment {
            rst: true,
            ..bare(script)
        })
    }),
    ("RST in the window", |script| {
        Step::Arrives(Segment {
            rst: true,
            seq: bare(script).seq + 1,
            ..bare(script)
        })
    }),
    ("close", |script| {
        script.connection.close(script.now);
        Step::Done(String::new())
    }),
    ("abort", |script| {
        let rst = script.connection.abort();
        Step::Done(rst.map_or(String::new(), |rst| format!(", sends {}", flags(&rst))))
    }),
    ("all timers", |script| run_out(script)),
    ("orphaned, and all timers", |script| {
        script.connection.orphan(script.now);
        run_out(script)
    }),
    ("data, no answer, timers", |script| {
        if script.state().may_send() {
            script.push(10);
            script.sent();
        }
        run_out(script)
    }),
];

/// A segment without payload that acknowledges everything that was sent.
fn bare(script: &Script) -> Segment {
    Segment {
        seq: script.connection.receive_next(),
        ack: Some(script.connection.send.next),
        ..segment(0, 0, 0)
    }
}

/// Lets all timers run, with a peer that does not answer.
fn run_out(script: &mut Script) -> Step {
    let mut said = String::new();
    for _ in 0..100 {
        if script.connection.next_deadline().is_none() {
            return Step::Done(said);
        }
        if let Some(failure) = script.fire_within(ms(1_000_000)).failure {
            said = format!(", fails: {failure:?}");
        }
        script.sent();
    }
    panic!("timers without an end");
}

/// A connection in each state, with nothing left to send.
fn in_state(state: State) -> Option<Script> {
    let mut script = Script::established();
    match state {
        State::Listen => return None,
        State::Closed => {
            let _ = script.connection.abort();
        }
        State::SynSent => {
            script = Script::active(config());
        }
        State::SynReceived => {
            script = Script::passive(config(), &syn());
        }
        State::Established => {}
        State::FinWait1 => script.connection.close(script.now),
        State::FinWait2 => {
            script.connection.close(script.now);
            script.sent();
            let _ = script.feed(segment(0, 1, 0));
        }
        State::CloseWait => {
            let _ = script.feed(fin(0, 0));
        }
        State::Closing => {
            script.connection.close(script.now);
            script.sent();
            let _ = script.feed(fin(0, 0));
        }
        State::LastAck => {
            let _ = script.feed(fin(0, 0));
            script.connection.close(script.now);
        }
        State::TimeWait => {
            script.connection.close(script.now);
            script.sent();
            let _ = script.feed(fin(0, 1));
        }
    }
    script.sent();
    assert_eq!(script.state(), state);
    Some(script)
}

const STATES: [State; 11] = [
    State::Closed,
    State::Listen,
    State::SynSent,
    State::SynReceived,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
];

fn row(script: &mut Script, event: &Event) -> String {
    let (disposition, done) = match event.1(script) {
        Step::Arrives(segment) => (script.feed(segment), String::new()),
        Step::Done(done) => (Disposition::default(), done),
    };
    let mut said: Vec<String> = disposition
        .reply
        .as_deref()
        .iter()
        .map(|reply| flags(reply))
        .collect();
    said.extend(script.sent().iter().map(flags));
    let mut row = format!("{:?}{done}", script.state());
    if !said.is_empty() {
        write!(row, ", sends {}", said.join(" ")).unwrap();
    }
    for (on, what) in [
        (disposition.established, "established"),
        (disposition.delivered > 0, "data"),
        (disposition.finished, "end of stream"),
    ] {
        if on {
            write!(row, ", {what}").unwrap();
        }
    }
    if let Some(failure) = disposition.failure {
        write!(row, ", fails: {failure:?}").unwrap();
    }
    if let Some(refusal) = disposition.refusal {
        write!(row, ", refused: {refusal:?}").unwrap();
    }
    row
}

/// LISTEN and TIME-WAIT are not a connection's.
fn row_without_connection(state: State, event: &Event) -> Option<String> {
    let mut script = in_state(State::TimeWait)?;
    let mut waiting = script.connection.time_wait(script.now)?;
    let Step::Arrives(segment) = event.1(&mut script) else {
        return None;
    };
    match state {
        State::Closed => Some(match closed::on_segment(&segment) {
            Some(rst) => format!("Closed, sends {}", flags(&rst)),
            None => "Closed".to_owned(),
        }),
        State::Listen => Some(match listen::on_segment(&segment) {
            listen::Arrival::Ignore => "Listen".to_owned(),
            listen::Arrival::Reset(rst) => format!("Listen, sends {}", flags(&rst)),
            listen::Arrival::Syn => "Listen, and a new connection in SynReceived".to_owned(),
        }),
        _ => Some(match waiting.on_segment(script.now, &segment, &config()) {
            Answer::Ignore => "TimeWait".to_owned(),
            Answer::Ack(ack) => format!("TimeWait, sends {}", flags(&ack)),
            Answer::Reopen(_) => "a new connection in SynReceived".to_owned(),
        }),
    }
}

fn table() -> String {
    let mut table = String::new();
    for state in STATES {
        writeln!(table, "{state:?}").unwrap();
        for event in EVENTS {
            let row = match state {
                State::Closed | State::Listen | State::TimeWait => {
                    row_without_connection(state, event)
                }
                state => in_state(state).map(|mut script| row(&mut script, event)),
            };
            if let Some(row) = row {
                writeln!(table, "  {:24} -> {row}", event.0).unwrap();
            }
        }
    }
    table
}

#[test]
fn the_machine_is_the_one_in_the_snapshot() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/table.snapshot");
    let actual = table();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap();
    let difference = expected
        .lines()
        .zip(actual.lines())
        .find(|(old, new)| old != new);
    assert!(
        expected == actual,
        "the machine has changed (UPDATE_SNAPSHOTS=1 accepts it): {difference:#?}"
    );
}

#[test]
fn a_reset_ends_every_state_that_has_a_peer() {
    for state in STATES {
        let Some(mut script) = in_state(state) else {
            continue;
        };
        if matches!(state, State::Closed | State::SynSent | State::TimeWait) {
            continue;
        }
        let next = script.connection.receive_next();
        assert!(
            script
                .feed(Segment {
                    seq: next,
                    ..rst(0)
                })
                .closed,
            "{state:?}"
        );
        assert_eq!(script.connection.next_deadline(), None, "{state:?}");
    }
}

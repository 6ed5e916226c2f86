//! One connection in virtual time, and a peer that says what the script says.

use std::time::Duration;

use crate::{
    Config, Connection, Disposition, Instant, Options, Segment, SeqNumber, State, TcpOptions,
    Timestamps,
};

/// Our first sequence number and the peer's: both wrap soon.
pub(super) const ISS: SeqNumber = SeqNumber(u32::MAX - 100);
pub(super) const IRS: SeqNumber = SeqNumber(u32::MAX - 2000);
/// Bytes in the peer's full segment, and in ours (no timestamps unless a test asks for them).
pub(super) const MSS: u32 = 1000;

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What the connection is made with.
pub(super) fn config() -> Config {
    Config {
        mss: MSS as u16,
        receive_buffer: 10 * MSS,
        ..Config::default()
    }
}

/// The connection under test, and the time.
pub(super) struct Script {
    pub(super) connection: Connection,
    pub(super) now: Instant,
}

/// Number `offset` of our stream: 0 is the first byte after the SYN.
pub(super) fn ours(offset: u32) -> SeqNumber {
    ISS + 1 + offset
}

/// Number `offset` of the peer's stream.
pub(super) fn theirs(offset: u32) -> SeqNumber {
    IRS + 1 + offset
}

/// A segment of the peer: `seq` of its stream, acknowledging `ack` of ours.
pub(super) fn segment(seq: u32, ack: u32, len: u32) -> Segment {
    Segment {
        seq: theirs(seq),
        ack: Some(ours(ack)),
        window: 60_000,
        len,
        ..Segment::default()
    }
}

pub(super) fn fin(seq: u32, ack: u32) -> Segment {
    Segment {
        fin: true,
        ..segment(seq, ack, 0)
    }
}

pub(super) fn rst(seq: u32) -> Segment {
    Segment {
        rst: true,
        ack: None,
        ..segment(seq, 0, 0)
    }
}

/// The peer's SYN, without options but the MSS.
pub(super) fn syn() -> Segment {
    Segment {
        seq: IRS,
        syn: true,
        window: 60_000,
        options: Options {
            mss: Some(MSS as u16),
            ..Options::default()
        },
        ..Segment::default()
    }
}

pub(super) fn syn_ack() -> Segment {
    Segment {
        ack: Some(ours(0)),
        ..syn()
    }
}

impl Script {
    pub(super) fn active(config: Config) -> Script {
        Script {
            connection: Connection::active(config, ISS, 0),
            now: Instant::from_nanos(1_000_000_000),
        }
    }

    pub(super) fn passive(config: Config, syn: &Segment) -> Script {
        let now = Instant::from_nanos(1_000_000_000);
        Script {
            connection: Connection::passive(now, config, ISS, 0, syn),
            now,
        }
    }

    /// An established connection whose handshake is over.
    pub(super) fn established() -> Script {
        Script::established_with(config(), syn())
    }

    pub(super) fn established_with(config: Config, syn: Segment) -> Script {
        let mut script = Script::passive(config, &syn);
        assert_eq!(script.sent().len(), 1);
        let timestamps = syn.options.timestamps.map(|option| Timestamps {
            value: option.value,
            echo: 1000,
        });
        let ack = Segment {
            options: Options {
                timestamps,
                ..Options::default()
            },
            ..segment(0, 0, 0)
        };
        assert!(script.feed(ack).established);
        assert_eq!(script.sent(), []);
        script
    }

    /// Changes options of the socket.
    pub(super) fn choose(&mut self, change: impl FnOnce(&mut TcpOptions)) {
        let mut options = self.connection.options();
        change(&mut options);
        self.connection.set_options(self.now, options);
    }

    pub(super) fn state(&self) -> State {
        self.connection.state()
    }

    pub(super) fn feed(&mut self, segment: Segment) -> Disposition {
        self.connection.on_segment(self.now, &segment)
    }

    /// Everything that it sends now.
    pub(super) fn sent(&mut self) -> Vec<Segment> {
        let next =
            |connection: &mut Connection, now| connection.poll_transmit(now, &mut |_| 1 << 30);
        std::iter::from_fn(|| next(&mut self.connection, self.now)).collect()
    }

    /// The one segment that it sends now.
    pub(super) fn sent_one(&mut self) -> Segment {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent[0]
    }

    /// What it sends for a segment.
    pub(super) fn answer(&mut self, segment: Segment) -> Vec<Segment> {
        let _ = self.feed(segment);
        self.sent()
    }

    /// Lets time pass without looking at the timers.
    pub(super) fn skip(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Lets time pass up to the next deadline, which must come within `most`, and serves it.
    pub(super) fn fire_within(&mut self, most: Duration) -> Disposition {
        let due = self.connection.next_deadline().expect("a timer runs");
        assert!(due <= self.now + most, "due in {:?}", due - self.now);
        self.now = due.max(self.now);
        self.connection.on_timer(self.now)
    }

    pub(super) fn push(&mut self, len: u32) {
        self.connection.push(len, false);
    }

    /// An established connection past the segments that are acknowledged at once.
    pub(super) fn settled() -> Script {
        let mut script = Script::established();
        script.push(1);
        assert_eq!(script.sent_one().len, 1);
        let _ = script.feed(segment(0, 1, 1));
        script.push(1);
        assert_eq!(script.sent_one().len, 1);
        let _ = script.feed(segment(1, 2, 0));
        assert_eq!(script.sent(), []);
        script
    }
}

/// The flags of segments, as a capture shows them.
pub(super) fn flags(segment: &Segment) -> String {
    let all = [
        (segment.syn, 'S'),
        (segment.fin, 'F'),
        (segment.rst, 'R'),
        (segment.psh, 'P'),
        (segment.ack.is_some(), '.'),
    ];
    all.iter()
        .filter(|(on, _)| *on)
        .map(|(_, flag)| flag)
        .collect()
}

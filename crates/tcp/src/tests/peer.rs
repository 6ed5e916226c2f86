//! A peer that knows selective acknowledgements, 40 ms away.

use std::time::Duration;

use super::script::{MSS, Script, config, ms, ours, segment, syn};
use crate::{Config, Options, SackBlocks, Segment, SeqNumber, Timestamps};

pub(super) const RTT: Duration = Duration::from_millis(40);
/// The peer's clock, which stands still.
const VALUE: u32 = 77;
/// Bytes of the timestamps option.
const STAMP: u32 = 12;

/// An established connection with a peer whose SYN permits SACK, and carries timestamps if `stamped`.
/// A full segment has [`MSS`] bytes either way, and the round trip is known.
pub(super) fn connected(config: Config, stamped: bool, rtt: Duration) -> Script {
    let extra = if stamped { STAMP } else { 0 };
    let mss = (MSS + extra) as u16;
    let config = Config { mss, ..config };
    let options = Options {
        mss: Some(mss),
        sack_permitted: true,
        timestamps: stamped.then_some(Timestamps {
            value: VALUE,
            echo: 0,
        }),
        ..Options::default()
    };
    let mut script = Script::passive(config, &Segment { options, ..syn() });
    let echo = script.sent_one().options.timestamps.map(|own| own.value);
    script.skip(rtt);
    assert!(script.feed(echoing(segment(0, 0, 0), echo)).established);
    assert_eq!(script.sent(), []);
    script
}

/// A connection with a peer that knows SACK and no timestamps.
pub(super) fn sack() -> Script {
    connected(config(), false, RTT)
}

/// The same with timestamps.
pub(super) fn stamped() -> Script {
    connected(config(), true, RTT)
}

/// With so many full segments queued, of which the first ten are sent: a round trip later.
pub(super) fn flight(mut script: Script, queued: u32) -> Script {
    script.push(queued * MSS);
    assert_eq!(script.sent().len() as u32, queued.min(10));
    script.skip(RTT);
    script
}

/// An acknowledgement of `una` full segments, and of those in `blocks`: numbers of segments.
pub(super) fn ack(una: u32, blocks: &[(u32, u32)]) -> Segment {
    let blocks: Vec<_> = blocks.iter().map(|(a, b)| (a * MSS, b * MSS)).collect();
    with_blocks(segment(0, una * MSS, 0), &blocks)
}

/// A segment with these blocks, in bytes of our stream.
pub(super) fn with_blocks(segment: Segment, blocks: &[(u32, u32)]) -> Segment {
    let mut sack = SackBlocks::default();
    for &(start, end) in blocks {
        sack.push(ours(start), ours(end));
    }
    Segment {
        options: Options {
            sack,
            ..segment.options
        },
        ..segment
    }
}

/// A segment that echoes our clock, if there are timestamps.
pub(super) fn echoing(segment: Segment, echo: Option<u32>) -> Segment {
    let timestamps = echo.map(|echo| Timestamps { value: VALUE, echo });
    Segment {
        options: Options {
            timestamps,
            ..segment.options
        },
        ..segment
    }
}

/// Which segments of our stream these are.
pub(super) fn numbers(sent: &[Segment]) -> Vec<u32> {
    let number = |seq: SeqNumber| seq.since(ours(0)) / MSS;
    sent.iter().map(|segment| number(segment.seq)).collect()
}

impl Script {
    /// Which segments it sends for one of the peer's.
    pub(super) fn reply(&mut self, segment: Segment) -> Vec<u32> {
        numbers(&self.answer(segment))
    }

    /// Which segments it sends at its next deadline, and how long that took.
    pub(super) fn at_deadline(&mut self) -> (Duration, Vec<u32>) {
        let before = self.now;
        let _ = self.fire_within(ms(10_000));
        (self.now - before, numbers(&self.sent()))
    }

    /// The same at the next timeout, before which nothing goes.
    pub(super) fn at_timeout(&mut self) -> (Duration, Vec<u32>) {
        let (start, before) = (self.now, self.connection.info(self.now).backoff);
        loop {
            let (_, sent) = self.at_deadline();
            if self.connection.info(self.now).backoff > before {
                return (self.now - start, sent);
            }
            assert_eq!(sent, []);
        }
    }

    /// The congestion window in full segments.
    pub(super) fn window(&self) -> u32 {
        self.connection.info(self.now).window / MSS
    }

    /// The slow start threshold in full segments.
    pub(super) fn threshold(&self) -> u32 {
        self.connection.info(self.now).threshold / MSS
    }
}

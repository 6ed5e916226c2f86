//! TIME-WAIT: both ends have closed, and old segments may still come (RFC 9293, section 3.10.7.4;
//! RFC 1337; RFC 6191). It needs little, so it is kept apart from connections.

use super::Rules;
use crate::config::Config;
use crate::limit::AnswerLimit;
use crate::segment::Segment;
use crate::seq::SeqNumber;
use crate::time::Instant;
use crate::timestamps::Clock;

pub(crate) const RULES: Rules = Rules {
    receives: false,
    sends: false,
    on_fin: None,
    on_fin_acked: None,
    on_close: None,
    on_reset: None,
};

/// What is left of a connection in TIME-WAIT.
#[derive(Clone, Copy, Debug)]
pub struct TimeWait {
    pub(crate) send_next: SeqNumber,
    pub(crate) receive_next: SeqNumber,
    pub(crate) window: u16,
    pub(crate) clock: Option<Clock>,
    pub(crate) limit: AnswerLimit,
    pub(crate) until: Instant,
}

/// What a segment for a connection in TIME-WAIT calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Ignore,
    /// An acknowledgement, to be sent now.
    Ack(Segment),
    /// A new connection may take the place of the old one; its initial sequence number must not come
    /// before this one (RFC 6191, section 2).
    Reopen(SeqNumber),
}

/// What the numbering of a new connection keeps off the old one's (Linux `tcp_timewait_state_process`).
const REOPEN_DISTANCE: u32 = 65_535 + 2;

impl TimeWait {
    /// When it ends.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Sorts a segment.
    pub fn on_segment(&mut self, now: Instant, segment: &Segment, config: &Config) -> Answer {
        // RFC 1337: a RST must not end TIME-WAIT, or old data would meet a new connection.
        if segment.rst {
            return Answer::Ignore;
        }
        let timestamp = segment.options.timestamps.map(|option| option.value);
        // RFC 6191, section 2: the number decides only where the timestamps do not.
        let newer_number = segment.seq.after(self.receive_next);
        let newer = match (self.clock, timestamp) {
            (Some(clock), Some(value)) => {
                !clock.is_old(now, value) && (value != clock.recent() || newer_number)
            }
            _ => newer_number,
        };
        if segment.syn && segment.ack.is_none() && newer {
            return Answer::Reopen(self.send_next + REOPEN_DISTANCE);
        }
        // Our last acknowledgement was lost: the peer has sent its FIN again.
        if segment.fin && segment.end() == self.receive_next {
            self.until = now + config.time_wait;
            return Answer::Ack(self.ack(now));
        }
        let in_order = segment.seq_len() == 0 && segment.seq == self.receive_next;
        if in_order || !self.limit.permits(now, config.invalid_interval.into()) {
            return Answer::Ignore;
        }
        Answer::Ack(self.ack(now))
    }

    fn ack(&self, now: Instant) -> Segment {
        Segment {
            seq: self.send_next,
            ack: Some(self.receive_next),
            window: self.window,
            options: crate::segment::Options {
                timestamps: self.clock.map(|clock| clock.option(now)),
                ..Default::default()
            },
            ..Segment::default()
        }
    }
}

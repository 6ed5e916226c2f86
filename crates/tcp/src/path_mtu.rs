//! How long a segment the path takes: less after an ICMP message that says so (RFC 1191, RFC 8201), or
//! when long segments vanish without one (RFC 4821's black holes); and now and then a longer one is
//! tried.

use std::time::Duration;

use crate::connection::Connection;
use crate::flight::Sent;
use crate::recovery::Phase;
use crate::seq::SeqNumber;
use crate::time::Instant;

/// How long after an ICMP message more is tried (RFC 1191, section 6.3; RFC 8201, section 4).
const AFTER_MESSAGE: Duration = Duration::from_secs(600);
/// The same after a guess, doubled each time that it proves right. To try costs little.
const AFTER_GUESS: Duration = Duration::from_secs(1);
/// Timeouts of the same segment that make us suspect its length (Linux's `tcp_retries1`).
const SUSPICIOUS_TIMEOUTS: u32 = 3;
/// The same where long segments have arrived behind it: that is loss, unless the path has changed.
const DOUBTFUL_TIMEOUTS: u32 = 6;
/// What a path is guessed to take (Linux's `tcp_base_mss`).
const BASE_MSS: u32 = 1024;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PathMtu {
    /// Bytes of payload that both ends and the link would allow.
    pub(crate) most: u32,
    /// How long after the next failure more than now is tried.
    wait: Duration,
    /// The next segment may be as long as `most`.
    pub(crate) raising: bool,
    /// The end of one that is outstanding.
    probe: Option<SeqNumber>,
    /// When a segment longer than every guess has arrived last, and how long it was.
    long_at: Option<(Instant, u32)>,
}

impl PathMtu {
    /// A path that takes what both ends allow.
    pub(crate) fn new(most: u32) -> PathMtu {
        PathMtu {
            most,
            wait: AFTER_GUESS,
            ..PathMtu::default()
        }
    }

    /// A segment of so many bytes has arrived.
    pub(crate) fn arrived(&mut self, now: Instant, len: u32) {
        if len > BASE_MSS {
            self.long_at = Some((now, len));
        }
    }
}

impl Connection {
    /// Takes an ICMP message that says that a packet with this sequence number was too long, and that
    /// a segment may have `mss` bytes of options and payload. One about what is not outstanding is
    /// nobody's (RFC 5927, section 7); returns whether it was believed.
    pub fn on_packet_too_big(&mut self, now: Instant, seq: SeqNumber, mss: u16) -> bool {
        let mss = u32::from(mss).saturating_sub(self.option_bytes()).max(1);
        if !self.is_in_flight(seq) || mss >= self.send.mss {
            return false;
        }
        self.shorten(now, mss, AFTER_MESSAGE);
        true
    }

    /// The link takes less than before: a segment may have `mss` bytes of options and payload.
    pub fn on_link_mtu(&mut self, now: Instant, mss: u16) {
        // The handshake may not have settled anything yet.
        self.config.send_mss = self.config.send_mss.min(mss);
        let mss = u32::from(mss).saturating_sub(self.option_bytes()).max(1);
        self.path.most = self.path.most.min(mss);
        if mss < self.send.mss {
            self.shorten(now, mss, AFTER_MESSAGE);
        }
    }

    /// Whether something with this sequence number was sent and is not acknowledged.
    pub fn is_in_flight(&self, seq: SeqNumber) -> bool {
        !seq.before(self.send.una) && seq.before(self.send.next)
    }

    /// The longest segment is shorter from now on; what is outstanding and longer goes again.
    fn shorten(&mut self, now: Instant, mss: u32, wait: Duration) {
        self.set_send_mss(mss);
        self.timers.raise_path = Some(now + wait);
        self.path.raising = false;
        self.path.probe = None;
        self.recovery
            .too_long(self.send.next, mss, &mut self.flight);
    }

    fn set_send_mss(&mut self, mss: u32) {
        self.send.mss = mss;
        self.congestion.set_mss(mss);
    }

    /// The same segment has timed out so often.
    pub(crate) fn suspect_black_hole(&mut self, now: Instant, timeouts: u32) {
        let guess = self.guess();
        let longest = self.flight.first().map_or(0, |first| first.len());
        if longest <= guess || self.send.mss <= guess {
            return;
        }
        let since = self.timers.waiting_since;
        let long = self.path.long_at.zip(since);
        let passed = long.is_some_and(|((at, len), since)| at > since && len > guess);
        let behind = |sent: Sent| sent.sacked && sent.len() > guess;
        let suspicious = if passed || self.flight.iter().any(behind) {
            DOUBTFUL_TIMEOUTS
        } else {
            SUSPICIOUS_TIMEOUTS
        };
        if timeouts >= suspicious {
            let wait = self.path.wait;
            self.path.wait = (wait * 2).min(AFTER_MESSAGE);
            self.shorten(now, guess, wait);
        }
    }

    /// What is tried next if the longest segments vanish: the usual guess, or what every path takes.
    fn guess(&self) -> u32 {
        let least = u32::from(self.config.default_mss) - self.option_bytes();
        if self.send.mss > BASE_MSS && least < BASE_MSS {
            BASE_MSS
        } else {
            least
        }
    }

    /// The time has come to try more.
    pub(crate) fn raise_path_mtu(&mut self) {
        self.timers.raise_path = None;
        self.path.raising = self.send.mss < self.path.most;
    }

    /// The longest segment that may be sent now.
    pub(crate) fn longest_segment(&self) -> u32 {
        // Asked for each segment, and seldom so.
        if !self.path.raising {
            return self.send.mss;
        }
        match self.path.probe {
            None if self.recovery.phase() == Phase::Open => self.path.most,
            _ => self.send.mss,
        }
    }

    /// A segment was sent for the first time, up to `end`.
    pub(crate) fn note_path_probe(&mut self, len: u32, end: SeqNumber) {
        if len > self.send.mss {
            self.path.raising = false;
            self.path.probe = Some(end);
        }
    }

    /// Whether the probe has arrived, or is lost.
    pub(crate) fn check_path_probe(&mut self, now: Instant) {
        let Some(end) = self.path.probe else { return };
        if !self.send.una.before(end) {
            self.path.probe = None;
            self.path.wait = AFTER_GUESS;
            self.set_send_mss(self.path.most);
        } else if self.recovery.phase() != Phase::Open {
            self.path.probe = None;
            self.timers.raise_path = Some(now + self.path.wait);
            self.path.wait = (self.path.wait * 2).min(AFTER_MESSAGE);
        }
    }
}

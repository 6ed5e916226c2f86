//! When received data is acknowledged (RFC 1122, section 4.2.3.2; RFC 5681, section 4.2).

use crate::time::{Instant, Millis};

/// Segments that are acknowledged at once when a connection begins, so that the peer's slow start is
/// not held back (Linux's quick-ack mode).
pub(crate) const QUICK_SEGMENTS: u32 = 16;
/// No peer's full segment is taken to be smaller (Linux's `TCP_MIN_MSS` for the estimate).
const LEAST_SEGMENT: u32 = 536;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledger {
    /// An acknowledgement is to be sent at once.
    now: bool,
    /// It is to be sent then, unless data goes before.
    delayed: Option<Instant>,
    /// Bytes received since the last one.
    bytes: u32,
    /// What a full segment is: the largest, until two shorter ones of one length come in a row, as they
    /// do when the path has become narrower (Linux's `tcp_measure_rcv_mss`).
    full: u32,
    last: u32,
    quick: u32,
    last_data: Option<Instant>,
}

impl Acknowledger {
    pub(crate) fn new(quick: bool) -> Acknowledger {
        Acknowledger {
            now: false,
            delayed: None,
            bytes: 0,
            full: LEAST_SEGMENT,
            last: 0,
            quick: if quick { QUICK_SEGMENTS } else { 0 },
            last_data: None,
        }
    }

    /// Whether the next segment is acknowledged at once.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick > 0
    }

    /// Acknowledges the next `segments` at once, and what waits now if there are any.
    pub(crate) fn set_quick(&mut self, segments: u32) {
        self.quick = segments;
        self.now |= segments > 0 && self.delayed.is_some();
    }

    /// Bytes of a full segment of the peer's, as far as is known.
    pub(crate) fn full_segment(&self) -> u32 {
        self.full
    }

    /// When data came last.
    pub(crate) fn last_data(&self) -> Option<Instant> {
        self.last_data
    }

    /// Asks for an acknowledgement at once.
    pub(crate) fn at_once(&mut self) {
        self.now = true;
    }

    /// The sender has begun again, after a timeout or idleness: its window is small, and waits for every
    /// acknowledgement (Linux's `tcp_enter_quickack_mode`).
    pub(crate) fn quicken(&mut self) {
        self.quick = QUICK_SEGMENTS;
        self.now = true;
    }

    /// Data came in order: at most every second full segment goes unanswered, for the delay at most.
    /// `silence`: how long nothing comes from a sender that begins again.
    pub(crate) fn received(&mut self, now: Instant, len: u32, delay: Millis, silence: Millis) {
        if self.last_data.is_some_and(|at| at + silence < now) {
            self.quick = QUICK_SEGMENTS;
        }
        self.bytes = self.bytes.saturating_add(len);
        if len > self.full || len == self.last && len >= LEAST_SEGMENT {
            self.full = len;
        }
        self.last = len;
        self.last_data = Some(now);
        if self.bytes >= 2 * self.full {
            self.now = true;
        } else if self.quick > 0 {
            self.quick -= 1;
            self.now = true;
        }
        self.delayed.get_or_insert(now + delay);
    }

    /// Our data was sent with an acknowledgement. Data that answers data makes the connection an
    /// interactive one: acknowledgements can wait for the answers (Linux's ping-pong mode).
    pub(crate) fn answered(&mut self, now: Instant, delay: Millis) {
        if self.last_data.is_some_and(|at| now < at + delay) {
            self.quick = 0;
        }
    }

    /// An acknowledgement was sent, alone or with data.
    pub(crate) fn sent(&mut self) {
        self.now = false;
        self.delayed = None;
        self.bytes = 0;
    }

    pub(crate) fn is_due(&self) -> bool {
        self.now
    }

    /// Whether nothing waits to be acknowledged.
    pub(crate) fn is_idle(&self) -> bool {
        !self.now && self.delayed.is_none()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.delayed.filter(|_| !self.now)
    }

    pub(crate) fn poll(&mut self, now: Instant) {
        if self.delayed.is_some_and(|at| at <= now) {
            self.now = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Millis = Millis(40);
    const SILENCE: Millis = Millis(200);
    const START: Instant = Instant::from_nanos(1);

    /// Past the segments that are acknowledged at once.
    fn settled() -> Acknowledger {
        let mut ack = Acknowledger::new(true);
        for _ in 0..QUICK_SEGMENTS {
            ack.received(START, 1000, DELAY, SILENCE);
            assert!(ack.is_due());
            ack.sent();
        }
        ack
    }

    #[test]
    fn every_second_full_segment_is_acknowledged_at_once() {
        let mut ack = settled();
        ack.received(START, 1000, DELAY, SILENCE);
        assert!(!ack.is_due());
        ack.received(START, 1000, DELAY, SILENCE);
        assert!(ack.is_due());
    }

    #[test]
    fn a_single_segment_waits_for_the_delay_and_no_longer() {
        let mut ack = settled();
        ack.received(START, 1000, DELAY, SILENCE);
        ack.received(START + Millis(20), 10, DELAY, SILENCE);
        assert_eq!(ack.deadline(), Some(START + DELAY));
        ack.poll(START + DELAY);
        assert!(ack.is_due());
    }

    #[test]
    fn small_segments_of_one_length_are_not_full_ones() {
        let mut ack = settled();
        for _ in 0..3 {
            ack.received(START, 100, DELAY, SILENCE);
            assert!(!ack.is_due());
        }
        assert_eq!(ack.full_segment(), 1000);
    }

    #[test]
    fn what_was_sent_need_not_be_sent_again() {
        let mut ack = settled();
        ack.received(START, 1000, DELAY, SILENCE);
        ack.sent();
        assert_eq!(ack.deadline(), None);
        ack.poll(START + DELAY);
        assert!(!ack.is_due());
    }

    #[test]
    fn answers_end_the_quick_acknowledgements() {
        let mut ack = Acknowledger::new(true);
        ack.received(START, 10, DELAY, SILENCE);
        ack.answered(START, DELAY);
        ack.sent();
        ack.received(START, 10, DELAY, SILENCE);
        assert!(!ack.is_due());
    }

    #[test]
    fn a_sender_that_begins_again_is_answered_quickly() {
        let mut ack = settled();
        ack.received(START + SILENCE, 10, DELAY, SILENCE);
        assert!(!ack.is_due());
        ack.sent();
        ack.received(START + Millis(600), 10, DELAY, SILENCE);
        assert!(ack.is_due());
        let mut ack = settled();
        ack.quicken();
        ack.sent();
        ack.received(START, 10, DELAY, SILENCE);
        assert!(ack.is_due(), "something came twice");
    }
}

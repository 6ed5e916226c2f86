//! Tail loss probes (TLP, RFC 8985, section 7): when acknowledgements stay away, the last segment is
//! sent again well before the retransmission timer fires, so that what was lost at the end of a flight
//! is found by SACKs.

use std::time::Duration;

use crate::seq::SeqNumber;

/// Allowance for the peer's and our own timers (Linux's `TCP_TIMEOUT_MIN`).
const SLACK: Duration = Duration::from_millis(2);

/// A probe that is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    end: SeqNumber,
    /// Bytes that were outstanding, if it was a segment sent again, and not a new one.
    again: Option<u32>,
}

/// What an acknowledgement says of the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing, or nothing was lost.
    Fine,
    /// The probe itself has made good for a loss, with so many bytes outstanding.
    Repaired(u32),
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TailLoss {
    probe: Option<Probe>,
    /// A probe is to be sent.
    pub(crate) due: bool,
}

impl TailLoss {
    /// How long after the last segment a probe goes (section 7.2); `single`: only that one is
    /// outstanding, and its acknowledgement may be delayed.
    pub(crate) fn timeout(srtt: Duration, single: bool, max_ack_delay: Duration) -> Duration {
        let delay = if single { max_ack_delay } else { SLACK };
        srtt * 2 + delay
    }

    /// Only one probe is outstanding at a time.
    pub(crate) fn is_outstanding(&self) -> bool {
        self.probe.is_some()
    }

    /// A probe was sent; `again`: a segment once more, with so many bytes outstanding.
    pub(crate) fn sent(&mut self, end: SeqNumber, again: Option<u32>) {
        self.due = false;
        self.probe = Some(Probe { end, again });
    }

    pub(crate) fn forget(&mut self) {
        *self = TailLoss::default();
    }

    /// Section 7.4.2. `duplicate`: it carries a D-SACK; `bare`: neither data nor a new window nor a
    /// SACK.
    pub(crate) fn acknowledged(&mut self, ack: SeqNumber, duplicate: bool, bare: bool) -> Outcome {
        let Some(probe) = self.probe else {
            return Outcome::Fine;
        };
        if ack.before(probe.end) {
            return Outcome::Fine;
        }
        let Some(outstanding) = probe.again.filter(|_| !duplicate) else {
            self.probe = None;
            return Outcome::Fine;
        };
        if ack.after(probe.end) {
            self.probe = None;
            return Outcome::Repaired(outstanding);
        }
        // A second acknowledgement of the same number: both the original and the probe arrived.
        if bare {
            self.probe = None;
        }
        Outcome::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: SeqNumber = SeqNumber(3);

    fn probed(again: Option<u32>) -> TailLoss {
        let mut tail = TailLoss::default();
        tail.sent(END, again);
        tail
    }

    #[test]
    fn a_single_segment_is_given_the_peers_delay() {
        let srtt = Duration::from_millis(10);
        let delay = Duration::from_millis(200);
        assert_eq!(
            TailLoss::timeout(srtt, true, delay),
            Duration::from_millis(220)
        );
        assert_eq!(TailLoss::timeout(srtt, false, delay), srtt * 2 + SLACK);
    }

    #[test]
    fn an_acknowledgement_beyond_a_repeated_segment_shows_the_loss_it_made_good_for() {
        let mut tail = probed(Some(100));
        assert_eq!(tail.acknowledged(END - 1, false, true), Outcome::Fine);
        assert_eq!(tail.acknowledged(END, false, false), Outcome::Fine);
        assert_eq!(
            tail.acknowledged(END + 1, false, false),
            Outcome::Repaired(100)
        );
        assert!(!tail.is_outstanding());
    }

    #[test]
    fn a_second_acknowledgement_shows_that_nothing_was_lost() {
        let mut tail = probed(Some(100));
        assert_eq!(tail.acknowledged(END, false, true), Outcome::Fine);
        assert_eq!(tail.acknowledged(END + 1, false, false), Outcome::Fine);
        let mut tail = probed(Some(100));
        assert_eq!(tail.acknowledged(END, true, false), Outcome::Fine);
        assert!(!tail.is_outstanding());
    }

    #[test]
    fn a_new_segment_as_a_probe_shows_nothing() {
        let mut tail = probed(None);
        assert_eq!(tail.acknowledged(END + 1, false, false), Outcome::Fine);
        assert!(!tail.is_outstanding());
    }
}

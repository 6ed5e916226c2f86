//! Loss recovery by duplicate acknowledgements (NewReno, RFC 6582; limited transmit, RFC 3042) and
//! after the retransmission timer. What is to be sent again is a range of sequence numbers.

use crate::reno::Reno;
use crate::seq::SeqNumber;

/// Duplicate acknowledgements that mean a loss (RFC 5681, section 3.2).
const DUPLICATES: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Fast recovery: until everything outstanding at its start is acknowledged.
    Fast,
    /// After the timer: slow start over what was outstanding.
    Loss,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    phase: Phase,
    duplicates: u32,
    /// The end of what was outstanding when the last recovery began.
    recover: SeqNumber,
    /// The next number to send again, and where that ends.
    again: Option<(SeqNumber, SeqNumber)>,
}

impl Recovery {
    pub(crate) fn new(iss: SeqNumber) -> Recovery {
        Recovery {
            phase: Phase::Open,
            duplicates: 0,
            // Before the SYN, so that the first flight can be recovered too.
            recover: iss - 1,
            again: None,
        }
    }

    /// A duplicate acknowledgement; `una` to `next` is outstanding.
    pub(crate) fn duplicate(&mut self, una: SeqNumber, next: SeqNumber, reno: &mut Reno) {
        match self.phase {
            Phase::Fast => reno.inflate(),
            Phase::Loss => {}
            Phase::Open => {
                self.duplicates += 1;
                // RFC 6582, section 3.2, (1): not for what an earlier recovery has sent again.
                if self.duplicates == DUPLICATES && (una - 1).after(self.recover) {
                    self.phase = Phase::Fast;
                    self.recover = next;
                    reno.enter_recovery(next.since(una));
                    self.again = Some((una, una + 1));
                }
            }
        }
    }

    /// `acked` bytes more are acknowledged, up to `una`.
    pub(crate) fn acknowledged(
        &mut self,
        una: SeqNumber,
        next: SeqNumber,
        acked: u32,
        reno: &mut Reno,
    ) {
        self.duplicates = 0;
        self.again = self
            .again
            .map(|(at, end)| (at.max(una), end))
            .filter(|&(at, end)| at.before(end));
        let complete = !una.before(self.recover);
        match self.phase {
            Phase::Open => {
                // Kept close behind: 2^31 bytes later it would seem to lie ahead again.
                self.recover = self.recover.max(una - 2);
                reno.acknowledged(acked, next.since(una) + acked);
            }
            Phase::Fast if complete => {
                reno.leave_recovery(next.since(una));
                self.phase = Phase::Open;
            }
            Phase::Fast => {
                // A partial acknowledgement: the next hole is sent again at once.
                reno.deflate(acked);
                self.again = Some((una, una + 1));
            }
            Phase::Loss => {
                // What is in flight after a timeout is not known: the window is what limits.
                reno.acknowledged(acked, reno.window());
                if complete {
                    self.phase = Phase::Open;
                }
            }
        }
    }

    /// The retransmission timer fired: all that is outstanding is sent again, as the window allows.
    /// `again`: it had fired for the same data before.
    pub(crate) fn timed_out(
        &mut self,
        una: SeqNumber,
        next: SeqNumber,
        again: bool,
        reno: &mut Reno,
    ) {
        reno.timed_out(next.since(una), again);
        self.phase = Phase::Loss;
        self.duplicates = 0;
        self.recover = next;
        self.again = una.before(next).then_some((una, next));
    }

    /// What to send again next, and where that ends.
    pub(crate) fn again(&self) -> Option<(SeqNumber, SeqNumber)> {
        self.again
    }

    /// It was sent again up to `end`.
    pub(crate) fn sent_again(&mut self, end: SeqNumber) {
        self.again = self
            .again
            .map(|(at, until)| (at.max(end), until))
            .filter(|&(at, until)| at.before(until));
    }

    /// The end of what is taken to be in flight.
    pub(crate) fn in_flight_end(&self, next: SeqNumber) -> SeqNumber {
        match (self.phase, self.again) {
            (Phase::Loss, Some((at, _))) => at,
            _ => next,
        }
    }

    /// Bytes beyond the congestion window that may go: new data for the first duplicates, so that
    /// a short flight brings enough of them.
    pub(crate) fn allowance(&self, mss: u32) -> u32 {
        match self.phase {
            Phase::Open => self.duplicates.min(DUPLICATES - 1) * mss,
            Phase::Fast | Phase::Loss => 0,
        }
    }

    /// Whether what is retransmitted goes whatever the window says: a single segment in fast
    /// recovery, and the first after the timer.
    pub(crate) fn is_urgent(&self, una: SeqNumber) -> bool {
        match self.phase {
            Phase::Fast => true,
            Phase::Loss => self.again.is_some_and(|(at, _)| at == una),
            Phase::Open => false,
        }
    }
}

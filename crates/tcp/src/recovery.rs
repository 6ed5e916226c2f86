//! What is done about losses: when the window is reduced, when that is over, and when it was a
//! mistake. With SACK losses are found by RACK (RFC 8985); without, by duplicate acknowledgements
//! (RFC 6582); and by the retransmission timer.

use std::time::Duration;

use crate::congestion::Congestion;
use crate::flight::Flight;
use crate::prr::Prr;
use crate::rack::{Context, Rack};
use crate::seq::SeqNumber;
use crate::tail_loss::{Outcome, TailLoss};
use crate::time::Instant;
use crate::undo::Undo;

/// Duplicate acknowledgements that mean a loss, without SACK (RFC 5681, section 3.2).
const DUPLICATES: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// The window is reduced though nothing was lost: congestion was signalled (Linux's CWR).
    Reduced,
    /// Fast recovery: until everything outstanding at its start is acknowledged.
    Fast,
    /// After the timer: slow start over what was outstanding.
    Loss,
}

/// What has arrived twice (D-SACK): up to `end`, in so many segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Twice {
    pub(crate) end: SeqNumber,
    pub(crate) segments: u32,
}

/// An acknowledgement, as far as recovery cares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub(crate) now: Instant,
    pub(crate) una: SeqNumber,
    pub(crate) next: SeqNumber,
    /// Bytes that it acknowledges in order, and how many segments those were.
    pub(crate) acked: u32,
    pub(crate) segments: u32,
    /// Bytes that have arrived according to it, and had not before.
    pub(crate) delivered: u32,
    /// It is a duplicate (RFC 5681, section 2): nothing new, no data, the same window.
    pub(crate) duplicate: bool,
    /// What it says came twice.
    pub(crate) twice: Option<Twice>,
    /// The time that it echoes.
    pub(crate) echo: Option<u32>,
    /// Bytes that were in the network before it.
    pub(crate) pipe_before: u32,
    /// SACK was agreed on.
    pub(crate) sack: bool,
    pub(crate) srtt: Option<Duration>,
    pub(crate) mss: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    phase: Phase,
    /// The end of what was outstanding when the last recovery began.
    recover: SeqNumber,
    /// Without SACK: segments that have arrived out of order, by the duplicates that they caused.
    duplicates: u32,
    prr: Prr,
    pub(crate) rack: Rack,
    pub(crate) tail: TailLoss,
    undo: Undo,
}

impl Recovery {
    pub(crate) fn new(iss: SeqNumber) -> Recovery {
        Recovery {
            phase: Phase::Open,
            // Before the SYN, so that the first flight can be recovered too.
            recover: iss - 1,
            duplicates: 0,
            prr: Prr::default(),
            rack: Rack::default(),
            tail: TailLoss::default(),
            undo: Undo::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Bytes that are taken to be in the network.
    pub(crate) fn pipe(&self, flight: &Flight, mss: u32) -> u32 {
        flight.pipe().saturating_sub(self.duplicates * mss)
    }

    /// What an acknowledgement means, once `flight` knows of it.
    pub(crate) fn acknowledged(
        &mut self,
        ack: &Ack,
        flight: &mut Flight,
        congestion: &mut Congestion,
    ) {
        if let Some(twice) = ack.twice {
            self.undo.duplicates(twice.end, twice.segments);
            self.rack.widen(ack.una, ack.next);
        }
        let bare = ack.duplicate && ack.delivered == 0;
        let tail = self.tail.acknowledged(ack.una, ack.twice.is_some(), bare);
        if let Outcome::Repaired(outstanding) = tail
            && self.phase == Phase::Open
        {
            // Section 7.4.2 of RFC 8985: the loss is answered for, though it is repaired.
            congestion.reduce(outstanding);
            congestion.set_window(congestion.threshold());
        }
        self.correct(ack, flight, congestion);
        let delivered = self.count_duplicates(ack, flight);
        let lost = self.detect(ack, flight);
        if lost {
            self.react(ack, flight, congestion);
        }
        self.adjust(ack, delivered, lost, flight, congestion);
        if ack.acked > 0 {
            self.progress(ack, flight, congestion);
        }
    }

    /// Takes a reduction back that was a mistake.
    fn correct(&mut self, ack: &Ack, flight: &mut Flight, congestion: &mut Congestion) {
        let recovering = matches!(self.phase, Phase::Fast | Phase::Loss);
        let mut before = ack.twice.and_then(|_| self.undo.by_duplicates());
        if ack.acked > 0 && recovering {
            before = before.or_else(|| self.undo.by_echo(ack.echo));
        }
        if let Some(before) = before {
            congestion.undo(&before);
            flight.unmark_lost();
            self.phase = Phase::Open;
            self.duplicates = 0;
        }
    }

    /// Without SACK: a duplicate says that a segment has arrived, but not which. Returns how many
    /// bytes have arrived.
    fn count_duplicates(&mut self, ack: &Ack, flight: &Flight) -> u32 {
        if ack.sack || self.phase == Phase::Loss {
            self.duplicates = 0;
            return ack.delivered;
        }
        if ack.duplicate {
            // There cannot be more than is outstanding, whatever somebody forges.
            let most = (flight.len() as u32).saturating_sub(1);
            let more = self.duplicates < most;
            self.duplicates += u32::from(more);
            return if more { ack.mss } else { 0 };
        }
        if ack.acked == 0 {
            return 0;
        }
        // The first of them filled the hole; the others were counted when they came.
        let counted = self.duplicates.min(ack.segments.saturating_sub(1));
        self.duplicates -= counted;
        if self.phase == Phase::Open {
            self.duplicates = 0;
        }
        ack.delivered.saturating_sub(counted * ack.mss)
    }

    /// Finds what is lost. Returns whether anything is that was not before.
    fn detect(&mut self, ack: &Ack, flight: &mut Flight) -> bool {
        if ack.sack {
            return self.find_lost(ack.now, ack.srtt, flight);
        }
        match self.phase {
            // A partial acknowledgement: the next segment is a hole too.
            Phase::Fast => {
                let partial = ack.acked > 0 && ack.una.before(self.recover);
                partial && flight.mark_first_lost()
            }
            // RFC 6582, section 3.2, (1): not for what an earlier recovery has sent again. A window that
            // is reduced without a loss has sent nothing again.
            Phase::Open | Phase::Reduced => {
                let enough = ack.duplicate && self.duplicates >= DUPLICATES;
                let fresh = self.phase == Phase::Reduced || ack.una.after(self.recover + 1);
                enough && fresh && flight.mark_first_lost()
            }
            Phase::Loss => false,
        }
    }

    fn find_lost(&mut self, now: Instant, srtt: Option<Duration>, flight: &mut Flight) -> bool {
        let recovering = matches!(self.phase, Phase::Fast | Phase::Loss);
        // Whatever arrives in order was sent before all that is outstanding.
        if !recovering && flight.sacked_bytes() == 0 {
            self.rack.deadline = None;
            return false;
        }
        let context = Context { srtt, recovering };
        self.rack.detect(now, flight, &context)
    }

    /// The reordering timer fired: what was given time has not come.
    pub(crate) fn waited(&mut self, ack: &Ack, flight: &mut Flight, congestion: &mut Congestion) {
        if self.find_lost(ack.now, ack.srtt, flight) {
            self.react(ack, flight, congestion);
            self.adjust(ack, 0, true, flight, congestion);
        }
    }

    /// Something is lost that was not before.
    fn react(&mut self, ack: &Ack, flight: &Flight, congestion: &mut Congestion) {
        match self.phase {
            // A segment longer than the path is known to take was a probe of it, and says nothing of
            // congestion (RFC 4821, section 7.2).
            Phase::Open
                if flight
                    .iter()
                    .all(|sent| !sent.lost || sent.len() > ack.mss + 1) =>
            {
                self.repair(ack.next);
            }
            Phase::Open => {
                self.phase = Phase::Fast;
                self.undo.begin(*congestion, ack.una);
                let outstanding = ack.next.since(ack.una);
                self.begin(ack.next, outstanding, congestion);
                self.tail.forget();
            }
            // The window is being reduced already: once in a round trip.
            Phase::Reduced => {
                self.phase = Phase::Fast;
                self.tail.forget();
            }
            Phase::Fast | Phase::Loss => {}
        }
    }

    fn begin(&mut self, next: SeqNumber, outstanding: u32, congestion: &mut Congestion) {
        self.recover = next;
        self.prr = Prr::begin(outstanding);
        congestion.reduce(outstanding);
    }

    /// The window after the acknowledgement.
    fn adjust(
        &mut self,
        ack: &Ack,
        delivered: u32,
        lost: bool,
        flight: &Flight,
        congestion: &mut Congestion,
    ) {
        let rtt = ack.srtt.unwrap_or_default();
        match self.phase {
            Phase::Open if ack.acked > 0 => {
                congestion.acknowledged(ack.now, delivered, ack.pipe_before, rtt);
            }
            // What is in flight after a timeout is not known: the window is what limits. A stretched
            // acknowledgement counts for two segments (RFC 3465, section 2.2).
            Phase::Loss if ack.acked > 0 => {
                let (bytes, window) = (delivered.min(2 * ack.mss), congestion.window());
                congestion.acknowledged(ack.now, bytes, window, rtt);
            }
            Phase::Open | Phase::Loss => {}
            Phase::Fast | Phase::Reduced => {
                let pipe = self.pipe(flight, ack.mss);
                let threshold = congestion.threshold();
                let safe = ack.acked > 0 && !lost;
                let window = self.prr.window(delivered, pipe, threshold, ack.mss, safe);
                congestion.set_window(window);
            }
        }
    }

    /// SND.UNA has moved: a recovery may be over.
    fn progress(&mut self, ack: &Ack, flight: &Flight, congestion: &mut Congestion) {
        self.rack.acknowledged(ack.una);
        self.undo.acknowledged(ack.una);
        if self.phase == Phase::Open {
            // Kept close behind: 2^31 bytes later it would seem to lie ahead again.
            self.recover = self.recover.max(ack.una - 2);
            return;
        }
        // The segment that tells the peer of a reduction begins where that ends.
        let untold = self.phase == Phase::Reduced && ack.una == self.recover && ack.una != ack.next;
        if ack.una.before(self.recover) || untold {
            return;
        }
        match self.phase {
            Phase::Fast if !ack.sack => {
                // RFC 6582, section 3.2, (3)(1): no burst.
                let pipe = flight.pipe().max(ack.mss) + ack.mss;
                congestion.set_window(congestion.threshold().min(pipe));
            }
            Phase::Fast => congestion.set_window(congestion.threshold()),
            Phase::Reduced => {
                congestion.set_window(congestion.threshold());
                // Nothing was sent again that could cause duplicates.
                self.recover = ack.una - 2;
            }
            Phase::Loss | Phase::Open => {}
        }
        self.rack.recovered();
        self.phase = Phase::Open;
        self.duplicates = 0;
    }

    /// The peer says that a router has marked a packet (RFC 3168, section 6.1.2): as for a loss, but
    /// nothing is sent again. `outstanding`: bytes that were before this acknowledgement.
    pub(crate) fn congested(
        &mut self,
        una: SeqNumber,
        next: SeqNumber,
        outstanding: u32,
        congestion: &mut Congestion,
    ) {
        // Whatever was thought to be lost: there was congestion (Linux forgets `prior_ssthresh`).
        self.undo.forget();
        // Once in a round trip: only who acknowledges more than was outstanding at the last reduction
        // has heard of it (Linux holds its CWR state until more than `high_seq` is acknowledged).
        if self.phase == Phase::Open && una.after(self.recover) {
            self.phase = Phase::Reduced;
            self.begin(next, outstanding, congestion);
        }
    }

    /// The retransmission timer fired. `again`: it had for the same data before.
    pub(crate) fn timed_out(
        &mut self,
        ack: &Ack,
        again: bool,
        flight: &mut Flight,
        congestion: &mut Congestion,
    ) {
        // The peer sacked what comes next, and still does not acknowledge it: it has dropped it.
        if flight.first().is_some_and(|first| first.sacked) {
            flight.forget_sacked();
        }
        // Once for a flight; but what times out after others were repaired is a loss of its own.
        let reduced = again || matches!(self.phase, Phase::Fast | Phase::Reduced);
        if !reduced {
            self.undo.begin(*congestion, ack.una);
        }
        congestion.timed_out(ack.next.since(ack.una), reduced);
        self.phase = Phase::Loss;
        self.recover = ack.next;
        self.duplicates = 0;
        self.tail.forget();
        self.rack.deadline = None;
        flight.mark_first_lost();
        let rtt = ack.srtt.unwrap_or_default();
        // Section 6.3 of RFC 8985: what was sent just now is not suspected.
        flight.mark_lost(|sent| !ack.sack || sent.at + rtt <= ack.now);
        congestion.set_window(flight.pipe() + ack.mss);
    }

    /// The segments that are too long for the path (the FIN is no byte of them) are to be sent again,
    /// and no window is to be reduced for it (RFC 5927's reason; Linux's `tcp_simple_retransmit`).
    pub(crate) fn too_long(&mut self, next: SeqNumber, mss: u32, flight: &mut Flight) {
        if flight.mark_lost(|sent| sent.len() > mss + 1) && self.phase == Phase::Open {
            self.repair(next);
        }
    }

    /// What is marked lost is sent again, with the window as it is.
    fn repair(&mut self, next: SeqNumber) {
        self.phase = Phase::Loss;
        self.recover = next;
        self.duplicates = 0;
        self.undo.forget();
        self.tail.forget();
    }

    /// A segment was sent for the first time.
    pub(crate) fn sent(&mut self, len: u32) {
        self.prr.out += u64::from(len);
    }

    /// A segment was sent again, up to `end`.
    pub(crate) fn sent_again(&mut self, len: u32, end: SeqNumber, stamp: Option<u32>) {
        self.prr.out += u64::from(len);
        self.undo.sent_again(end, stamp);
    }

    /// Whether a probe may be sent for a lost tail (RFC 8985, section 7.2).
    pub(crate) fn may_probe(&self, flight: &Flight) -> bool {
        let repairs = matches!(self.phase, Phase::Fast | Phase::Loss);
        !repairs && flight.sacked_bytes() == 0 && !self.tail.is_outstanding()
    }
}

//! The timers of a connection: retransmission (RFC 6298), persist (RFC 9293, section 3.8.6.1),
//! corking, delayed acknowledgement, and the end of a connection that nobody has any more.

use std::time::Duration;

use crate::connection::Connection;
use crate::disposition::{Disposition, Failure};
use crate::seq::SeqNumber;
use crate::state::State;
use crate::time::Instant;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timers {
    /// When what is outstanding is sent again.
    pub(crate) retransmit: Option<Instant>,
    /// Times in a row that it was.
    pub(crate) retries: u32,
    /// When a closed window is probed, how often it was since it closed and since the peer was heard,
    /// and whether a probe is to be sent now.
    pub(crate) persist: Option<Instant>,
    pub(crate) probes: u32,
    pub(crate) unanswered: u32,
    pub(crate) probe_due: bool,
    /// When a corked segment goes as it is, and that it may.
    pub(crate) cork: Option<Instant>,
    pub(crate) uncorked: bool,
    /// When the connection ends though nothing more has happened.
    pub(crate) ending: Option<Instant>,
    /// The end of a segment that was sent once, and when: what the round trip is measured by.
    pub(crate) measured: Option<(SeqNumber, Instant)>,
}

impl Timers {
    /// Something up to `end` was sent for the first time.
    pub(crate) fn sent(&mut self, now: Instant, end: SeqNumber, rto: Duration) {
        self.retransmit.get_or_insert(now + rto);
        // Karn's rule: what may be a retransmission measures nothing.
        if self.retries == 0 {
            self.measured.get_or_insert((end, now));
        }
        self.window_opened();
    }

    /// The window is not closed (any more).
    pub(crate) fn window_opened(&mut self) {
        self.persist = None;
        self.probes = 0;
    }

    /// The peer has acknowledged something new.
    pub(crate) fn progress(&mut self) {
        self.retries = 0;
        self.heard();
    }

    /// The peer was heard: it is there, whatever it says.
    pub(crate) fn heard(&mut self) {
        self.unanswered = 0;
    }

    fn next_deadline(&self) -> Option<Instant> {
        let all = [self.retransmit, self.persist, self.cork, self.ending];
        all.into_iter().flatten().min()
    }
}

impl Connection {
    /// When [`on_timer`](Connection::on_timer) has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let ack = self.ack.deadline();
        self.timers.next_deadline().into_iter().chain(ack).min()
    }

    /// Does what is due.
    pub fn on_timer(&mut self, now: Instant) -> Disposition {
        let mut disposition = Disposition::default();
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        self.ack.poll(now);
        if due(self.timers.ending) {
            self.fail(Failure::Orphaned, &mut disposition);
            return disposition;
        }
        if due(self.timers.cork) {
            self.timers.cork = None;
            self.timers.uncorked = true;
        }
        if due(self.timers.persist) {
            self.probe(now, &mut disposition);
        }
        if due(self.timers.retransmit) {
            self.time_out(now, &mut disposition);
        }
        disposition
    }

    fn time_out(&mut self, now: Instant, disposition: &mut Disposition) {
        if self.timers.retries >= self.most_retries() {
            return self.fail(Failure::TimedOut, disposition);
        }
        let again = self.timers.retries > 0;
        self.timers.retries += 1;
        self.timers.measured = None;
        self.rtt.back_off();
        self.timers.retransmit = Some(now + self.rtt.rto(&self.config));
        match self.state {
            State::SynSent | State::SynReceived => self.handshake.resend(),
            _ => {
                let (una, next) = (self.send.una, self.send.next);
                self.recovery.timed_out(una, next, again, &mut self.reno);
            }
        }
    }

    fn most_retries(&self) -> u32 {
        match self.state {
            State::SynSent => self.config.syn_retries,
            State::SynReceived => self.config.syn_ack_retries,
            _ if self.orphaned => self.config.orphan_retries,
            _ => self.config.retries,
        }
    }

    /// The window has been closed for long. A peer that answers may keep it so, but not for ever
    /// once nobody has the socket any more.
    fn probe(&mut self, now: Instant, disposition: &mut Disposition) {
        let probes = if self.orphaned {
            self.timers.probes
        } else {
            self.timers.unanswered
        };
        if probes >= self.most_retries() {
            return self.fail(Failure::TimedOut, disposition);
        }
        self.timers.probes += 1;
        self.timers.unanswered += 1;
        self.timers.probe_due = true;
        let wait = self.rtt.rto(&self.config) * (1 << self.timers.probes.min(16));
        self.timers.persist = Some(now + wait.min(self.config.max_rto));
    }
}

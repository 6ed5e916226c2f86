//! The timers of a connection: retransmission (RFC 6298), the tail loss probe and reordering (RFC
//! 8985), persist (RFC 9293, section 3.8.6.1), corking, delayed acknowledgement, keepalive, and the end
//! of a connection that nobody has any more.

use std::time::Duration;

use crate::connection::Connection;
use crate::disposition::{Disposition, Failure};
use crate::keep_alive::KeepAliveTimer;
use crate::seq::SeqNumber;
use crate::state::State;
use crate::tail_loss::TailLoss;
use crate::time::Instant;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timers {
    /// When what is outstanding is sent again.
    pub(crate) retransmit: Option<Instant>,
    /// Times in a row that it was.
    pub(crate) retries: u32,
    /// When the last segment is sent again, to see whether it was lost.
    pub(crate) tail_probe: Option<Instant>,
    /// Since when something has waited to be acknowledged, or to be sent into a closed window.
    pub(crate) waiting_since: Option<Instant>,
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
    pub(crate) keep_alive: KeepAliveTimer,
    /// When longer segments than now are tried.
    pub(crate) raise_path: Option<Instant>,
    /// When data was sent last, and when the peer was heard.
    pub(crate) sent_at: Option<Instant>,
    pub(crate) heard_at: Instant,
}

impl Timers {
    /// Something was sent for the first time.
    pub(crate) fn sent(&mut self, now: Instant, rto: Duration) {
        self.retransmit.get_or_insert(now + rto);
        self.waiting_since.get_or_insert(now);
        self.sent_at = Some(now);
        self.keep_alive.due = false;
        self.persist = None;
        self.probes = 0;
    }

    /// The window is not closed any more.
    pub(crate) fn window_opened(&mut self) {
        if self.persist.take().is_some() {
            self.waiting_since = None;
        }
        self.probes = 0;
    }

    /// The peer has acknowledged something new.
    pub(crate) fn progress(&mut self) {
        self.retries = 0;
        self.waiting_since = None;
    }

    /// The peer was heard: it is there, whatever it says.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.unanswered = 0;
        self.heard_at = now;
        self.keep_alive.heard();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let all = [
            self.retransmit,
            self.tail_probe,
            self.persist,
            self.cork,
            self.ending,
            self.keep_alive.deadline,
            self.raise_path,
        ];
        all.into_iter().flatten().min()
    }
}

impl Connection {
    /// When [`on_timer`](Connection::on_timer) has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let others = [
            self.timers.next_deadline(),
            self.ack.deadline(),
            self.recovery.rack.deadline,
        ];
        others.into_iter().flatten().min()
    }

    /// Nothing is waited for any more.
    pub(crate) fn stop_timers(&mut self) {
        self.timers = Timers::default();
        self.recovery.rack.deadline = None;
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
        if due(self.timers.raise_path) {
            self.raise_path_mtu();
        }
        if due(self.recovery.rack.deadline) {
            let ack = self.state_of_affairs(now);
            self.recovery
                .waited(&ack, &mut self.flight, &mut self.congestion);
            self.check_path_probe(now);
        }
        if due(self.timers.tail_probe) {
            self.timers.tail_probe = None;
            if self.recovery.may_probe(&self.flight) {
                self.recovery.tail.due = true;
                self.timers.retransmit = Some(self.no_later(now + self.rtt.rto(&self.config)));
            }
        }
        if due(self.timers.keep_alive.deadline) {
            self.check_silence(now, &mut disposition);
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
        if self.timers.retries >= self.most_retries() || self.has_waited_too_long(now) {
            return self.fail(Failure::TimedOut, disposition);
        }
        let again = self.timers.retries > 0;
        self.timers.retries += 1;
        self.rtt.back_off();
        self.timers.retransmit = Some(self.no_later(now + self.rtt.rto(&self.config)));
        self.timers.tail_probe = None;
        match self.state {
            State::SynSent | State::SynReceived => self.handshake.resend(),
            _ => {
                self.suspect_black_hole(now, self.timers.retries);
                let ack = self.state_of_affairs(now);
                self.recovery
                    .timed_out(&ack, again, &mut self.flight, &mut self.congestion);
                self.check_path_probe(now);
            }
        }
    }

    /// Whether the user's patience is at its end (`TCP_USER_TIMEOUT`).
    fn has_waited_too_long(&self, now: Instant) -> bool {
        let most = self.config.options.user_timeout;
        let since = self.timers.waiting_since;
        since
            .zip(most)
            .is_some_and(|(since, most)| now - since >= most)
    }

    /// A deadline, or the end of the user's patience, if that comes first.
    fn no_later(&self, deadline: Instant) -> Instant {
        let most = self.config.options.user_timeout;
        let since = self.timers.waiting_since;
        let end = since.zip(most).map(|(since, most)| since + most);
        end.map_or(deadline, |end| deadline.min(end))
    }

    fn most_retries(&self) -> u32 {
        match self.state {
            State::SynSent => self.config.options.syn_retries.into(),
            State::SynReceived => self.config.syn_ack_retries,
            _ if self.orphaned => self.config.orphan_retries,
            // Only the user's patience counts, if it is given (Linux `tcp_write_timeout`).
            _ if self.config.options.user_timeout.is_some() => u32::MAX,
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
        if probes >= self.most_retries() || self.has_waited_too_long(now) {
            return self.fail(Failure::TimedOut, disposition);
        }
        self.timers.probes += 1;
        self.timers.unanswered += 1;
        self.timers.probe_due = true;
        let wait = self.rtt.rto(&self.config) * (1 << self.timers.probes.min(16));
        let next = now + wait.min(self.config.max_rto.into());
        self.timers.persist = Some(self.no_later(next));
    }

    /// Data waits and nothing is outstanding that would bring an acknowledgement: the window is to be
    /// asked for.
    pub(crate) fn arm_persist(&mut self, now: Instant) {
        let waiting = self.send.end.after(self.send.next);
        let quiet = self.send.una == self.send.next;
        let corked = self.nagle.is_corked() && self.timers.cork.is_some();
        if waiting && quiet && !corked && self.timers.persist.is_none() {
            self.timers.waiting_since.get_or_insert(now);
            self.timers.persist = Some(self.no_later(now + self.rtt.rto(&self.config)));
        }
    }

    /// Something was sent that is to be acknowledged.
    pub(crate) fn await_answer(&mut self, now: Instant) {
        let rto = self.rtt.rto(&self.config);
        self.timers.sent(now, rto);
        self.timers.retransmit = self.timers.retransmit.map(|at| self.no_later(at));
    }

    /// New data was sent.
    pub(crate) fn note_sent(&mut self, now: Instant) {
        self.await_answer(now);
        self.arm_tail_probe(now);
    }

    /// A segment that begins at `start` was sent again: the first of all has time for a round trip
    /// before it is taken to be lost once more (RFC 6675, section 6).
    pub(crate) fn note_sent_again(&mut self, now: Instant, start: SeqNumber) {
        self.timers.sent_at = Some(now);
        if start == self.send.una {
            self.timers.retransmit = Some(self.no_later(now + self.rtt.rto(&self.config)));
        }
    }

    /// Something new is acknowledged: what is left has time from now on.
    pub(crate) fn rearm(&mut self, now: Instant) {
        if self.send.una == self.send.next {
            self.timers.retransmit = None;
            self.timers.tail_probe = None;
            return;
        }
        self.timers.waiting_since = Some(now);
        self.timers.retransmit = Some(self.no_later(now + self.rtt.rto(&self.config)));
        self.arm_tail_probe(now);
    }

    pub(crate) fn arm_tail_probe(&mut self, now: Instant) {
        self.timers.tail_probe = None;
        if let Some(srtt) = self.rtt.srtt()
            && self.handshake.sack
            && self.recovery.may_probe(&self.flight)
        {
            let single = self.flight.is_single();
            let at = now + TailLoss::timeout(srtt, single, self.config.min_rto.into());
            // Where the timeout comes first, a probe goes then in its place.
            let timeout = self.timers.retransmit;
            self.timers.tail_probe = Some(timeout.map_or(at, |timeout| at.min(timeout)));
        }
    }
}

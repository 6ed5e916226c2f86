//! What to send next (RFC 9293, section 3.10.2 and 3.8): the handshake, what was lost, new data,
//! the FIN, acknowledgements, probes; in this order.

use crate::connection::Connection;
use crate::nagle::Candidate;
use crate::segment::{Options, Segment};
use crate::seq::SeqNumber;
use crate::state::State;
use crate::time::Instant;

impl Connection {
    /// The next segment to send, to be called until there is none. `contiguous` says how many of the
    /// queued bytes from a sequence number on lie in one piece: no segment is longer.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        contiguous: &mut dyn FnMut(SeqNumber) -> u32,
    ) -> Option<Segment> {
        match self.state {
            State::Closed | State::Listen => return None,
            State::SynSent | State::SynReceived => {
                if self.handshake.due {
                    return Some(self.syn_segment(now));
                }
                // Refused segments are answered in SYN-RECEIVED too.
                let due = self.state == State::SynReceived && self.ack.is_due();
                return due.then(|| self.finish_segment(now, self.segment_at(self.send.next)));
            }
            _ => {}
        }
        let segment = self
            .lost_segment(contiguous)
            .or_else(|| self.new_segment(now, contiguous))
            .or_else(|| self.fin_segment(now));
        if let Some(segment) = segment {
            return Some(self.finish_segment(now, segment));
        }
        if std::mem::take(&mut self.timers.probe_due) {
            // A number before the window draws an acknowledgement (as Linux probes).
            return Some(self.finish_segment(now, self.segment_at(self.send.una - 1)));
        }
        if self.ack.is_due() {
            return Some(self.finish_segment(now, self.segment_at(self.send.next)));
        }
        self.arm_persist(now);
        None
    }

    /// Window, options, and what having sent it means.
    fn finish_segment(&mut self, now: Instant, segment: Segment) -> Segment {
        let mss = self.receive_mss();
        self.receive.acked = self.receive.next;
        if segment.len > 0 {
            self.ack.answered(now, self.config.delayed_ack);
        }
        self.ack.sent();
        Segment {
            window: self.receive.window.advertise(self.receive.next, mss),
            psh: segment.len > 0 && segment.seq + segment.len == self.send.end,
            options: Options {
                timestamps: self.clock.map(|clock| clock.option(now)),
                ..Options::default()
            },
            ..segment
        }
    }

    /// What is sent again: as the congestion window allows, and the first of it in any case.
    fn lost_segment(&mut self, contiguous: &mut dyn FnMut(SeqNumber) -> u32) -> Option<Segment> {
        let (at, _) = self.recovery.again()?;
        let flight = self
            .recovery
            .in_flight_end(self.send.next)
            .since(self.send.una);
        let urgent = self.recovery.is_urgent(self.send.una);
        let window = self.reno.window().min(self.send.window.size());
        if !urgent && flight + self.send.mss > window {
            return None;
        }
        let unsent = self.send.end.since_or_zero(at);
        let len = unsent
            .min(self.send.mss)
            .min(contiguous_at(unsent, at, contiguous));
        let len = len.min(self.send.next.since(at));
        let end = at + len;
        // The FIN, if it was sent before, goes with the last byte.
        let fin = self.send.fin && end == self.send.end && self.send.next.after(end);
        self.timers.measured = None;
        self.recovery.sent_again(end + u32::from(fin));
        Some(Segment {
            len,
            fin,
            ..self.segment_at(at)
        })
    }

    fn new_segment(
        &mut self,
        now: Instant,
        contiguous: &mut dyn FnMut(SeqNumber) -> u32,
    ) -> Option<Segment> {
        let send = &self.send;
        let unsent = send.end.since_or_zero(send.next);
        // What was lost goes first.
        if unsent == 0 || self.recovery.again().is_some() {
            return None;
        }
        let piece = contiguous_at(unsent, send.next, contiguous);
        let flight = self.recovery.in_flight_end(send.next).since(send.una);
        let congestion = self.reno.window() + self.recovery.allowance(send.mss);
        let offered = (send.una + send.window.size()).since_or_zero(send.next);
        let len = unsent.min(send.mss).min(piece).min(offered);
        let idle = flight == 0;
        // A segment is not cut short by the congestion window: it waits (or goes alone).
        if flight + len > congestion && !idle {
            return None;
        }
        let candidate = Candidate {
            len,
            full: len == send.mss || len == piece && len < unsent,
            last: len == unsent,
            idle,
            half_window: send.window.largest() / 2,
        };
        let forced = len > 0
            && (self.timers.probe_due
                || self.send.fin && candidate.last
                || self.timers.uncorked && candidate.last);
        if !forced && !self.nagle.permits(send.una, &candidate) {
            if candidate.last && self.nagle.is_corked() {
                let at = now + self.config.cork;
                self.timers.cork.get_or_insert(at);
            }
            return None;
        }
        Some(self.send_new(now, len, candidate))
    }

    fn send_new(&mut self, now: Instant, len: u32, candidate: Candidate) -> Segment {
        let segment = Segment {
            len,
            // The FIN goes with the last byte, where the window has room for it.
            fin: self.send.fin && candidate.last,
            ..self.segment_at(self.send.next)
        };
        self.timers.probe_due = false;
        self.timers.uncorked = false;
        self.timers.cork = None;
        if !candidate.full {
            self.nagle.sent_small(segment.end());
        }
        self.send.next = segment.end();
        self.timers
            .sent(now, segment.end(), self.rtt.rto(&self.config));
        segment
    }

    /// A FIN of its own, after everything was sent. It needs no room in the window: peers take it
    /// (Linux sends it so too).
    fn fin_segment(&mut self, now: Instant) -> Option<Segment> {
        if !self.send.fin || self.send.next != self.send.end {
            return None;
        }
        let segment = Segment {
            fin: true,
            ..self.segment_at(self.send.next)
        };
        self.send.next += 1;
        self.timers
            .sent(now, self.send.next, self.rtt.rto(&self.config));
        Some(segment)
    }

    /// Data waits and nothing is outstanding that would bring an acknowledgement: the window is to be
    /// asked for.
    fn arm_persist(&mut self, now: Instant) {
        let waiting = self.send.end.after(self.send.next);
        let quiet = self.send.una == self.send.next;
        let corked = self.nagle.is_corked() && self.timers.cork.is_some();
        if waiting && quiet && !corked && self.timers.persist.is_none() {
            self.timers.persist = Some(now + self.rtt.rto(&self.config));
        }
    }
}

fn contiguous_at(unsent: u32, at: SeqNumber, contiguous: &mut dyn FnMut(SeqNumber) -> u32) -> u32 {
    if unsent == 0 {
        0
    } else {
        contiguous(at).max(1)
    }
}

//! What an acknowledgement means (RFC 9293, section 3.10.7.4, "fifth"; RFC 5961, section 5).

use crate::connection::Connection;
use crate::disposition::{Disposition, Refusal};
use crate::segment::Segment;
use crate::seq::SeqNumber;
use crate::time::Instant;

impl Connection {
    /// Takes the acknowledgement of a segment that is acceptable. `false`: the segment is done with.
    pub(crate) fn acknowledge(
        &mut self,
        now: Instant,
        segment: &Segment,
        ack: SeqNumber,
        disposition: &mut Disposition,
    ) -> bool {
        if ack.after(self.send.next) {
            disposition.refusal = Some(Refusal::AckOfUnsent);
            self.challenge(now);
            return false;
        }
        if ack.before(self.send.una) {
            if self.send.una.since(ack) > self.send.window.largest() {
                disposition.refusal = Some(Refusal::AckTooOld);
                self.challenge(now);
                return false;
            }
            // It says nothing new, but the data that came with it may be.
            return true;
        }
        self.timers.heard();
        let window_before = self.send.window.size();
        self.send.window.update(segment.window, segment.seq, ack);
        let window_same = self.send.window.size() == window_before;
        if self.send.window.size() > 0 && window_before == 0 {
            self.timers.window_opened();
        }
        if self.send.window.size() == 0 && !self.orphaned {
            // It is there, and cannot take what is outstanding: that is sent again as long as it answers
            // (Linux `tcp_retransmit_timer`), but not for ever once nobody has the socket any more.
            self.timers.retries = self.timers.retries.min(1);
        }
        if ack == self.send.una {
            let bare = segment.len == 0 && !segment.fin && window_same;
            if bare && self.send.una != self.send.next {
                let (una, next) = (self.send.una, self.send.next);
                self.recovery.duplicate(una, next, &mut self.reno);
            }
            return true;
        }
        self.advance(now, segment, ack, disposition);
        true
    }

    /// Something new is acknowledged.
    fn advance(
        &mut self,
        now: Instant,
        segment: &Segment,
        ack: SeqNumber,
        disposition: &mut Disposition,
    ) {
        let una = self.send.una;
        disposition.acked = ack.min(self.send.end).since_or_zero(una);
        self.send.una = ack;
        self.take_round_trip(now, segment, ack);
        self.timers.progress();
        self.nagle.acknowledged(ack);
        let acked = ack.since(una);
        let next = self.send.next;
        self.recovery.acknowledged(ack, next, acked, &mut self.reno);
        self.timers.retransmit = (ack != next).then(|| now + self.rtt.rto(&self.config));
    }

    /// Measures the round trip: by a segment that was sent once, or else by the timestamp that came
    /// back (RFC 6298, section 3; RFC 7323, section 4.3).
    pub(crate) fn take_round_trip(&mut self, now: Instant, segment: &Segment, ack: SeqNumber) {
        if let Some((end, at)) = self.timers.measured {
            if !ack.before(end) {
                self.timers.measured = None;
                self.rtt.sample(now - at);
            }
            return;
        }
        let trip = match (self.clock, segment.options.timestamps) {
            (Some(clock), Some(option)) => clock.round_trip(now, option.echo),
            _ => None,
        };
        if let Some(trip) = trip {
            self.rtt.sample(trip);
        }
    }
}

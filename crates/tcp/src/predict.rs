//! Header prediction (Jacobson, 1990; Linux's `tcp_rcv_established`): of a connection that receives,
//! nearly every segment carries the data that comes next and says nothing new beside. It takes a short
//! way to what the long one comes to in `arrival.rs`; a property test holds one against the other.

use crate::connection::Connection;
use crate::segment::{Ecn, Segment};
use crate::state::State;
use crate::time::Instant;

impl Connection {
    /// Takes a segment if it is such a one: all of its payload is to be kept, and can be read; as
    /// [`on_segment`](Connection::on_segment) would say. `false`: it is not, and nothing was done.
    pub fn on_predicted(&mut self, now: Instant, segment: &Segment) -> bool {
        if !self.predicts(now, segment) {
            return false;
        }
        self.count_in(segment);
        self.timers.heard(now);
        let (seq, ack) = (segment.seq, self.send.una);
        self.send.window.update(segment.window, seq, ack);
        self.take_timestamp(now, segment);
        self.receive.next = seq + segment.len;
        self.totals.bytes_received += u64::from(segment.len);
        let (delay, silence) = (self.config.delayed_ack, self.config.min_rto);
        self.ack.received(now, segment.len, delay, silence);
        true
    }

    /// Bytes that the peer may still send into the window that it was offered.
    #[inline]
    pub fn offered_room(&self) -> u32 {
        let next = self.receive.next;
        self.receive.window.edge(next).since(next)
    }

    /// Takes `count` more segments, each behind the one before and the first behind `segment`, which
    /// [`on_predicted`](Connection::on_predicted) has just taken; they differ from it in their numbers
    /// alone, and in PSH. It comes to what `on_predicted` would, called for each.
    ///
    /// # Panics
    /// If they go beyond the window ([`offered_room`](Connection::offered_room)).
    pub fn on_following(&mut self, now: Instant, segment: &Segment, count: u32) {
        let bytes = u64::from(count) * u64::from(segment.len);
        assert!(
            bytes <= self.offered_room().into(),
            "tcp: segments beyond the window are taken without a look"
        );
        if count == 0 {
            return;
        }
        self.receive.next += bytes as u32;
        let last = self.receive.next - segment.len;
        self.send.window.update(segment.window, last, self.send.una);
        self.totals.segments_in += u64::from(count);
        self.totals.data_segments_in += u64::from(count);
        self.totals.bytes_received += bytes;
        let (delay, silence) = (self.config.delayed_ack, self.config.min_rto);
        for _ in 0..count {
            self.ack.received(now, segment.len, delay, silence);
        }
    }

    #[inline]
    fn predicts(&self, now: Instant, segment: &Segment) -> bool {
        let Connection { send, receive, .. } = self;
        let (next, end) = (receive.next, segment.seq + segment.len);
        let comes_next = segment.seq == next
            && segment.len > 0
            && !end.after(receive.window.edge(next))
            && receive.reassembly.is_empty()
            && receive.fin.is_none();
        let marked = segment.ece | segment.cwr | (segment.ecn == Ecn::Congested);
        let plain = !(segment.syn | segment.fin | segment.rst | marked);
        let offered = u32::from(segment.window) << send.window.scale;
        let nothing_new = segment.ack == Some(send.una)
            && segment.options.sack.is_empty()
            && offered == send.window.size()
            && offered > 0;
        let standing = self.state == State::Established && !self.orphaned;
        comes_next & plain & nothing_new & standing && self.is_timely(now, segment)
    }

    /// Whether its timestamp is not from before, and there if they were agreed on.
    fn is_timely(&self, now: Instant, segment: &Segment) -> bool {
        let Some(clock) = &self.clock else {
            return true;
        };
        let option = segment.options.timestamps;
        option.is_some_and(|option| !clock.is_old(now, option.value))
    }
}

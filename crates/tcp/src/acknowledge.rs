//! What an acknowledgement means (RFC 9293, section 3.10.7.4, "fifth"; RFC 5961, section 5), and the
//! selective ones that come with it (RFC 2018, RFC 2883).

use crate::connection::Connection;
use crate::disposition::{Disposition, Refusal};
use crate::recovery::{Ack, Twice};
use crate::segment::Segment;
use crate::seq::SeqNumber;
use crate::time::Instant;

/// What has arrived, according to one acknowledgement.
#[derive(Clone, Copy, Debug, Default)]
struct Delivery {
    bytes: u32,
    /// Segments acknowledged in order.
    segments: u32,
    /// When the first of those was sent, if it was once.
    sent_at: Option<Instant>,
    /// One of them was sent more than once.
    again: bool,
    /// What came twice (D-SACK).
    twice: Option<Twice>,
}

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
        self.timers.heard(now);
        let window_same = self.take_window(segment, ack);
        if segment.ece && self.ecn.agreed && self.send.una != self.send.next {
            self.slow_down(ack);
        }
        // Also where nothing is outstanding: what came twice is often told last of all.
        let bare = segment.len == 0 && !segment.fin && window_same;
        let duplicate = bare && ack == self.send.una;
        let is_new = ack != self.send.una || !segment.options.sack.is_empty();
        if is_new || duplicate {
            self.take_acknowledgement(now, segment, ack, duplicate, disposition);
        }
        true
    }

    /// Takes the window; returns whether it is the same as before.
    fn take_window(&mut self, segment: &Segment, ack: SeqNumber) -> bool {
        let before = self.send.window.size();
        self.send.window.update(segment.window, segment.seq, ack);
        let size = self.send.window.size();
        if size > 0 && before == 0 {
            self.timers.window_opened();
        }
        if size == 0 && !self.orphaned {
            // It is there, and cannot take what is outstanding: that is sent again as long as it answers
            // (Linux `tcp_retransmit_timer`), but not for ever once nobody has the socket any more.
            self.timers.retries = self.timers.retries.min(1);
        }
        size == before
    }

    fn take_acknowledgement(
        &mut self,
        now: Instant,
        segment: &Segment,
        ack: SeqNumber,
        duplicate: bool,
        disposition: &mut Disposition,
    ) {
        let una = self.send.una;
        let pipe_before = self.recovery.pipe(&self.flight, self.send.mss);
        let delivery = self.take_delivery(now, segment, ack);
        let acked = ack.since(una);
        if acked > 0 {
            disposition.acked = ack.min(self.send.end).since_or_zero(una);
            self.send.una = ack;
            self.take_round_trip(now, segment, &delivery);
            self.timers.progress();
            self.nagle.acknowledged(ack);
            self.totals.bytes_acked += u64::from(disposition.acked);
        }
        let twice = self.repeated(delivery.twice);
        let ack = Ack {
            acked,
            segments: delivery.segments,
            delivered: delivery.bytes,
            duplicate,
            twice,
            echo: self.echo(segment),
            pipe_before,
            ..self.state_of_affairs(now)
        };
        self.recovery
            .acknowledged(&ack, &mut self.flight, &mut self.congestion);
        self.check_path_probe(now);
        if acked > 0 {
            self.rearm(now);
        }
    }

    /// What came twice because it was sent twice. More than was ever sent again is the network's doing,
    /// and says nothing of our reductions (Linux `tcp_dsack_seen`).
    fn repeated(&mut self, twice: Option<Twice>) -> Option<Twice> {
        self.totals.duplicates += u64::from(twice.map_or(0, |twice| twice.segments));
        twice.filter(|_| self.totals.duplicates <= self.totals.segments_again)
    }

    /// How things stand, for the recovery.
    pub(crate) fn state_of_affairs(&self, now: Instant) -> Ack {
        Ack {
            now,
            una: self.send.una,
            next: self.send.next,
            acked: 0,
            segments: 0,
            delivered: 0,
            duplicate: false,
            twice: None,
            echo: None,
            pipe_before: self.recovery.pipe(&self.flight, self.send.mss),
            sack: self.handshake.sack,
            srtt: self.rtt.srtt(),
            mss: self.send.mss,
        }
    }

    /// Has the record of what was sent know what has arrived.
    fn take_delivery(&mut self, now: Instant, segment: &Segment, ack: SeqNumber) -> Delivery {
        let mut delivery = Delivery::default();
        let echo = self.echo(segment);
        let (flight, rack, clock) = (&mut self.flight, &mut self.recovery.rack, self.clock);
        let path = &mut self.path;
        let sacked_end = flight.sacked_end();
        let mut arrived = |sent: &crate::flight::Sent| {
            // It answers the first of several if it echoes a time before the last.
            let spurious = match (clock, echo) {
                (Some(clock), Some(echo)) if sent.again => {
                    (echo.wrapping_sub(clock.value(sent.at)) as i32) < 0
                }
                _ => false,
            };
            rack.delivered(now, sent, spurious);
            let overtaken = sacked_end.is_some_and(|last| sent.end.before(last));
            rack.reordering |= overtaken && !sent.again;
            delivery.bytes += sent.len();
            path.arrived(now, sent.each());
        };
        flight.acknowledge(ack, |sent| {
            delivery.segments += sent.segments();
            delivery.again |= sent.again;
            delivery.sent_at = delivery.sent_at.or(Some(sent.at));
            arrived(sent);
        });
        if self.handshake.sack {
            let blocks = segment.options.sack.as_slice();
            delivery.twice = duplicate_block(blocks, ack, self.send.mss);
            for &(start, end) in blocks {
                // What was never sent cannot have arrived.
                let sent = !start.before(ack) && start.before(end) && !end.after(self.send.next);
                if sent {
                    flight.sack(start, end, &mut arrived);
                }
            }
        }
        delivery
    }

    /// The time that a segment echoes.
    fn echo(&self, segment: &Segment) -> Option<u32> {
        self.clock?;
        segment.options.timestamps.map(|option| option.echo)
    }

    /// Measures the round trip: by a segment that was sent once, or else by the timestamp that came
    /// back (RFC 6298, section 3; RFC 7323, section 4.3).
    fn take_round_trip(&mut self, now: Instant, segment: &Segment, delivery: &Delivery) {
        match delivery.sent_at {
            Some(at) if !delivery.again => self.rtt.sample(now - at),
            _ => self.take_echoed_round_trip(now, segment),
        }
    }

    pub(crate) fn take_echoed_round_trip(&mut self, now: Instant, segment: &Segment) {
        if let (Some(clock), Some(echo)) = (self.clock, self.echo(segment))
            && let Some(trip) = clock.round_trip(now, echo)
        {
            self.rtt.sample(trip);
        }
    }

    /// The peer has seen a packet that a router marked, it says with this acknowledgement; the window is
    /// not to grow by it.
    fn slow_down(&mut self, ack: SeqNumber) {
        let outstanding = self.send.next.since(self.send.una);
        self.recovery
            .congested(ack, self.send.next, outstanding, &mut self.congestion);
    }
}

/// What came twice, if the first block is a D-SACK: of what is acknowledged, or inside of the
/// second block (RFC 2883, section 4).
fn duplicate_block(blocks: &[(SeqNumber, SeqNumber)], ack: SeqNumber, mss: u32) -> Option<Twice> {
    let &(start, end) = blocks.first()?;
    let covered = !end.after(ack)
        || blocks
            .get(1)
            .is_some_and(|&(from, to)| !start.before(from) && !end.after(to));
    (start.before(end) && covered).then(|| Twice {
        end,
        segments: end.since(start).div_ceil(mss),
    })
}

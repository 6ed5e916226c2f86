//! Segments that arrive (RFC 9293, section 3.10.7), in the order of the RFC: acceptable? RST? SYN?
//! ACK, text, FIN.

use crate::connection::Connection;
use crate::disposition::{Disposition, Failure, Keep, Refusal};
use crate::reassembly::Range;
use crate::segment::Segment;
use crate::seq::SeqNumber;
use crate::state::{State, fin_wait_2, syn_received, syn_sent};
use crate::time::Instant;

impl Connection {
    /// Takes a segment. In TIME-WAIT segments are for
    /// [`TimeWait::on_segment`](crate::TimeWait::on_segment).
    pub fn on_segment(&mut self, now: Instant, segment: &Segment) -> Disposition {
        let mut disposition = Disposition::default();
        self.count_in(segment);
        match self.state {
            State::Closed | State::Listen | State::TimeWait => {
                disposition.refusal = Some(Refusal::Unexpected);
            }
            State::SynSent => syn_sent::on_segment(self, now, segment, &mut disposition),
            _ => self.synchronized(now, segment, &mut disposition),
        }
        disposition
    }

    fn synchronized(&mut self, now: Instant, segment: &Segment, disposition: &mut Disposition) {
        if self.state == State::SynReceived && syn_received::is_repeated_syn(self, segment) {
            self.ecn.asked_again(segment);
            return self.handshake.resend();
        }
        if let Some(refusal) = self.refuses(now, segment) {
            disposition.refusal = Some(refusal);
            return self.answer_refused(now, segment, refusal);
        }
        if segment.rst {
            return self.reset(now, segment, disposition);
        }
        if segment.syn {
            disposition.refusal = Some(Refusal::BlindSyn);
            return self.challenge(now);
        }
        let Some(ack) = segment.ack else {
            disposition.refusal = Some(Refusal::NoAck);
            return;
        };
        if self.state == State::SynReceived
            && !syn_received::on_ack(self, now, segment, ack, disposition)
        {
            return;
        }
        if !self.acknowledge(now, segment, ack, disposition) {
            return;
        }
        self.take_timestamp(now, segment);
        if self.fin_acked()
            && let Some(next) = self.state.rules().on_fin_acked
        {
            self.enter(now, next, disposition);
        }
        self.receive_text(now, segment, disposition);
    }

    /// Why a segment is not acceptable, if it is not (RFC 9293, section 3.4; PAWS).
    fn refuses(&self, now: Instant, segment: &Segment) -> Option<Refusal> {
        if let (Some(clock), false) = (self.clock, segment.rst) {
            match segment.options.timestamps {
                // A SYN is challenged, whatever else it lacks (RFC 5961, section 4.2).
                None if segment.syn => {}
                None => return Some(Refusal::NoTimestamp),
                Some(option) if clock.is_old(now, option.value) => {
                    return Some(Refusal::OldTimestamp);
                }
                Some(_) => {}
            }
        }
        let next = self.receive.next;
        // All of it was there before, or none of it was offered. What begins exactly at the edge has
        // no room, but its acknowledgement counts.
        let old = if segment.seq_len() > 0 {
            !segment.end().after(next)
        } else {
            segment.seq.before(next)
        };
        let beyond = segment.seq.after(self.receive.window.edge(next));
        (old || beyond).then_some(Refusal::OutOfWindow)
    }

    /// The peer is told what we expect, unless it was a RST. Answers to what carries nothing are
    /// limited: two ends that disagree must not answer each other for ever.
    fn answer_refused(&mut self, now: Instant, segment: &Segment, refusal: Refusal) {
        if segment.rst || refusal == Refusal::NoTimestamp {
            return;
        }
        if segment.len > 0 || segment.fin {
            let end = (segment.text() + segment.len).min(self.receive.next);
            self.came_twice(segment.text(), end);
            self.ack.quicken();
        } else {
            self.challenge(now);
        }
    }

    /// An acknowledgement that whoever really is the peer will answer (RFC 5961), within the limit.
    pub(crate) fn challenge(&mut self, now: Instant) {
        if self.limit.permits(now, self.config.invalid_interval.into()) {
            self.ack.at_once();
        }
    }

    fn reset(&mut self, now: Instant, segment: &Segment, disposition: &mut Disposition) {
        // RFC 5961, section 3.2: only the very number that comes next is believed.
        if segment.seq != self.receive.next {
            disposition.refusal = Some(Refusal::BlindReset);
            return self.challenge(now);
        }
        let failure = self.state.rules().on_reset.unwrap_or(Failure::Reset);
        self.fail(failure, disposition);
    }

    pub(crate) fn take_timestamp(&mut self, now: Instant, segment: &Segment) {
        if let (Some(clock), Some(option)) = (&mut self.clock, segment.options.timestamps)
            && !segment.seq.after(self.receive.acked)
        {
            clock.update(now, option.value);
        }
    }

    /// Text and FIN.
    pub(crate) fn receive_text(
        &mut self,
        now: Instant,
        segment: &Segment,
        disposition: &mut Disposition,
    ) {
        if !self.state.may_receive() || segment.len == 0 && !segment.fin {
            return;
        }
        let text_end = segment.text() + segment.len;
        let nobody_reads = self.receive_shut && !self.state.may_send();
        if nobody_reads && segment.len > 0 && text_end.after(self.receive.next) {
            // The peer must learn that (RFC 1122, section 4.2.2.13; RFC 2525, section 2.17).
            disposition.reply = Some(Box::new(self.reset_segment()));
            let failure = match self.orphaned {
                true => Failure::Orphaned,
                false => Failure::Reset,
            };
            return self.fail(failure, disposition);
        }
        self.keep_text(now, segment, disposition);
        if segment.fin && self.receive.fin.is_none() && self.receive.can_end(text_end) {
            self.receive.fin = Some(text_end);
        }
        if self.receive.fin == Some(self.receive.next) {
            self.finish(now, disposition);
        } else if segment.fin {
            self.ack.at_once();
        }
    }

    fn keep_text(&mut self, now: Instant, segment: &Segment, disposition: &mut Disposition) {
        if segment.len == 0 {
            return;
        }
        if self.ecn.arrived(segment) {
            self.ack.at_once();
        }
        let next = self.receive.next;
        let start = segment.text().max(next);
        self.came_twice(segment.text(), start);
        let mut end = (segment.text() + segment.len).min(self.receive.window.edge(next));
        if let Some(fin) = self.receive.fin {
            end = end.min(fin);
        }
        // What is not kept has come before, or has no room: the peer is told at once what is missing.
        if !start.before(end) {
            disposition.refusal = Some(Refusal::Duplicate);
            return self.ack.at_once();
        }
        // Nearly always it comes next, and nothing has come early.
        let simple = start == next && self.receive.reassembly.is_empty();
        let kept = match simple {
            true => Ok(Range { start, end }),
            false => self.receive.reassembly.insert(next, start, end),
        };
        let kept = match kept {
            Ok(kept) => kept,
            Err(refusal) => {
                if refusal == Refusal::Duplicate {
                    self.came_twice(start, end);
                }
                disposition.refusal = Some(refusal);
                return self.ack.at_once();
            }
        };
        disposition.keep = Some(Keep {
            skip: kept.start.since(segment.text()),
            len: kept.end.since(kept.start),
            seq: kept.start,
        });
        self.receive.next = match simple {
            true => end,
            false => self.receive.reassembly.advance(next),
        };
        disposition.delivered = self.receive.next.since(next);
        self.totals.bytes_received += u64::from(disposition.delivered);
        if simple {
            let (delay, silence) = (self.config.delayed_ack, self.config.min_rto);
            self.ack
                .received(now, disposition.delivered, delay, silence);
        } else {
            // A hole has appeared, or was filled, or is still there (RFC 5681, section 4.2).
            self.ack.at_once();
        }
    }

    /// The sender is to hear of what came twice, if it knows how (RFC 2883): segments that follow each
    /// other before it has heard are one block (Linux's `tcp_dsack_extend`).
    fn came_twice(&mut self, start: SeqNumber, end: SeqNumber) {
        if !self.handshake.sack || !start.before(end) {
            return;
        }
        let twice = Range { start, end };
        let before = self.receive.twice.filter(|before| before.touches(&twice));
        self.receive.twice = Some(before.map_or(twice, |before| before.join(&twice)));
    }

    /// Everything up to the peer's FIN is there.
    fn finish(&mut self, now: Instant, disposition: &mut Disposition) {
        self.receive.next += 1;
        self.ack.at_once();
        disposition.finished = true;
        if let Some(next) = self.state.rules().on_fin {
            self.enter(now, next, disposition);
        }
    }

    fn enter(&mut self, now: Instant, state: State, disposition: &mut Disposition) {
        self.state = state;
        match state {
            State::FinWait2 => fin_wait_2::limit(self, now),
            State::TimeWait => {
                self.stop_timers();
                disposition.time_wait = true;
            }
            State::Closed => {
                disposition.closed = true;
                self.end();
            }
            _ => {}
        }
        if state != State::FinWait2 {
            self.timers.ending = None;
        }
    }
}

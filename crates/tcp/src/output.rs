//! What to send next (RFC 9293, section 3.10.2 and 3.8): the handshake, what was lost, new data,
//! the FIN, probes, acknowledgements; in this order.

use crate::connection::Connection;
use crate::nagle::Candidate;
use crate::segment::{MAX_SACK_BLOCKS, SackBlocks, Segment};
use crate::seq::SeqNumber;
use crate::state::State;
use crate::time::Instant;

/// Bytes of a SACK option, padding included, and of each of its blocks (RFC 2018, section 3).
const SACK_BYTES: u32 = 4;
const SACK_BLOCK_BYTES: u32 = 8;

/// What goes next.
#[derive(Clone, Copy, Debug)]
struct Outgoing {
    seq: SeqNumber,
    len: u32,
    fin: bool,
    /// It carries data for the first time.
    fresh: bool,
}

impl Outgoing {
    /// An acknowledgement alone.
    fn bare(seq: SeqNumber) -> Outgoing {
        Outgoing {
            seq,
            len: 0,
            fin: false,
            fresh: false,
        }
    }

    fn end(&self) -> SeqNumber {
        self.seq + self.len + u32::from(self.fin)
    }
}

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
                return due.then(|| self.bare_segment(now, self.send.next));
            }
            _ => {}
        }
        // A full segment has no room for it, and the peer waits to hear what is missing.
        if self.ack.is_due() && self.has_selective() {
            return Some(self.bare_segment(now, self.send.next));
        }
        let next = self
            .lost_segment(now, contiguous)
            .or_else(|| self.new_segment(now, contiguous))
            .or_else(|| self.fin_segment(now))
            .or_else(|| self.tail_segment(now, contiguous));
        if let Some(outgoing) = next {
            return Some(self.make_segment(now, &outgoing));
        }
        let asks = self.timers.probe_due || self.timers.keep_alive.due;
        if asks {
            self.timers.probe_due = false;
            self.timers.keep_alive.due = false;
            // A number before the window draws an acknowledgement (as Linux probes).
            return Some(self.bare_segment(now, self.send.una - 1));
        }
        if self.ack.is_due() {
            return Some(self.bare_segment(now, self.send.next));
        }
        self.arm_persist(now);
        None
    }

    /// Gives out the segments behind the one that [`poll_transmit`](Connection::poll_transmit) has just
    /// given out, as far as they are as long as it, of new data, and not the last: they differ from it in their
    /// numbers alone, and in flags that only the first of several has (PSH, CWR). Returns how many there
    /// are: those that `poll_transmit` would give out next. `alike` is told how many there may be, `most` at
    /// most, and says how many there are for which `contiguous` says just so many bytes (or more, where they are
    /// full segments); these count as sent.
    pub fn poll_following(
        &mut self,
        now: Instant,
        first: &Segment,
        most: u32,
        alike: impl FnOnce(u32) -> u32,
    ) -> u32 {
        let send = &self.send;
        let (next, len) = (send.next, first.len);
        // Nothing has happened since: time, segments and losses would make them others. A short one that
        // others follow is the rest of its piece, or as much as the window takes.
        let last = self.flight.last();
        let fresh = last.is_some_and(|last| !last.again && last.at == now && last.end == next);
        let whole = len > 0 && len <= send.mss && first.end() == next && !self.has_selective();
        let quiet = self.ack.is_idle() && self.flight.lost_bytes() == 0;
        let usual = !(self.path.raising || self.ecn.agreed && self.congestion.reduced);
        if !(fresh & whole & quiet & usual) {
            return 0;
        }
        let pipe = self.recovery.pipe(&self.flight, send.mss);
        let offered = (send.una + send.window.size()).since_or_zero(next);
        let unsent = send.end.since_or_zero(next);
        let room = offered
            .min(self.congestion.window().saturating_sub(pipe))
            .min(unsent.saturating_sub(1));
        let most = most.min(room / len);
        if most == 0 {
            return 0;
        }
        let count = alike(most);
        if count == 0 {
            return 0;
        }
        let end = next + count * len;
        self.flight.push_run(now, next, end, len);
        self.send.next = end;
        self.recovery.sent(count * len);
        // Of all timers only this one asks how many are outstanding, and only whether it is one.
        self.arm_tail_probe(now);
        self.totals.segments_out += u64::from(count);
        self.totals.data_segments_out += u64::from(count);
        self.totals.bytes_sent += u64::from(count * len);
        count
    }

    fn bare_segment(&mut self, now: Instant, seq: SeqNumber) -> Segment {
        self.make_segment(now, &Outgoing::bare(seq))
    }

    /// Window, options, and what having sent it means.
    fn make_segment(&mut self, now: Instant, outgoing: &Outgoing) -> Segment {
        let mss = self.receive_mss();
        let &Outgoing { seq, len, fin, .. } = outgoing;
        self.receive.acked = self.receive.next;
        if len > 0 {
            self.ack.answered(now, self.config.delayed_ack);
        }
        self.ack.sent();
        let mut segment = Segment {
            seq,
            ack: Some(self.receive.next),
            window: self.receive.window.advertise(self.receive.next, mss),
            fin,
            psh: len > 0 && seq + len == self.send.end,
            len,
            ..Segment::default()
        };
        segment.options.timestamps = self.clock.map(|clock| clock.option(now));
        if self.has_selective() {
            segment.options.sack = self.selective_blocks(len);
        }
        let reduced = &mut self.congestion.reduced;
        self.ecn.mark(&mut segment, outgoing.fresh, reduced);
        self.count_out(&segment);
        segment
    }

    /// Whether the peer is to hear of something beyond RCV.NXT, or of something that came twice.
    fn has_selective(&self) -> bool {
        self.handshake.sack && (!self.receive.reassembly.is_empty() || self.receive.twice.is_some())
    }

    /// The blocks of the SACK option, as many as there is room for beside `len` bytes of payload: what
    /// came twice and what is around it (RFC 2883), then what is kept, the newest first.
    fn selective_blocks(&mut self, len: u32) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        let most = match self.clock {
            Some(_) => MAX_SACK_BLOCKS - 1,
            None => MAX_SACK_BLOCKS,
        };
        let room = self.send.mss.saturating_sub(len + SACK_BYTES) / SACK_BLOCK_BYTES;
        let most = most.min(room as usize);
        if most == 0 {
            return blocks;
        }
        if let Some(twice) = self.receive.twice.take() {
            blocks.push(twice.start, twice.end);
            if let Some(around) = self.receive.reassembly.around(twice.start) {
                blocks.push(around.start, around.end);
            }
        }
        let left = most.saturating_sub(blocks.as_slice().len());
        self.receive.reassembly.report(left, &mut blocks);
        blocks.truncate(most);
        blocks
    }

    /// What is sent again: as the congestion window allows.
    fn lost_segment(
        &mut self,
        now: Instant,
        contiguous: &mut dyn FnMut(SeqNumber) -> u32,
    ) -> Option<Outgoing> {
        let lost = self.flight.first_lost()?;
        let edge = self.send.una + self.send.window.size();
        // Beyond the window nothing goes but the first of all, which draws an answer.
        if lost.start != self.send.una && !lost.start.before(edge) {
            return None;
        }
        let pipe = self.recovery.pipe(&self.flight, self.send.mss);
        let len = lost.len().min(self.send.mss);
        if pipe > 0 && pipe + len > self.congestion.window() {
            return None;
        }
        Some(self.send_again(now, lost.start, lost.end, contiguous))
    }

    /// Sends a segment again, or as much of it as goes into one.
    fn send_again(
        &mut self,
        now: Instant,
        start: SeqNumber,
        end: SeqNumber,
        contiguous: &mut dyn FnMut(SeqNumber) -> u32,
    ) -> Outgoing {
        let text = end.min(self.send.end).since_or_zero(start);
        let len = text
            .min(self.send.mss)
            .min(contiguous_at(text, start, contiguous));
        // The FIN, if it was sent with these bytes, goes with the last of them.
        let fin = self.send.fin && start + len == self.send.end && end.after(self.send.end);
        let outgoing = Outgoing {
            seq: start,
            len,
            fin,
            fresh: false,
        };
        self.flight.resend(now, start, outgoing.end());
        let stamp = self.clock.map(|clock| clock.value(now));
        self.recovery.sent_again(len, outgoing.end(), stamp);
        self.note_sent_again(now, start);
        self.totals.segments_again += 1;
        self.totals.bytes_again += u64::from(len);
        outgoing
    }

    fn new_segment(
        &mut self,
        now: Instant,
        contiguous: &mut dyn FnMut(SeqNumber) -> u32,
    ) -> Option<Outgoing> {
        let send = &self.send;
        let unsent = send.end.since_or_zero(send.next);
        // What was lost goes first.
        if unsent == 0 || self.flight.lost_bytes() > 0 {
            return None;
        }
        let piece = contiguous_at(unsent, send.next, contiguous);
        let pipe = self.recovery.pipe(&self.flight, send.mss);
        let offered = (send.una + send.window.size()).since_or_zero(send.next);
        let len = unsent.min(self.longest_segment()).min(piece).min(offered);
        let idle = self.flight.is_empty();
        let tail = self.recovery.tail.due;
        // A segment is not cut short by the congestion window: it waits (or goes alone).
        if pipe + len > self.congestion.window() && !idle && !tail {
            return None;
        }
        let candidate = Candidate {
            len,
            full: len >= send.mss || len == piece && len < unsent,
            last: len == unsent,
            idle,
            half_window: send.window.largest() / 2,
        };
        let forced = len > 0
            && (tail
                || self.timers.probe_due
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

    fn send_new(&mut self, now: Instant, len: u32, candidate: Candidate) -> Outgoing {
        if let (true, Some(before)) = (candidate.idle, self.timers.sent_at) {
            let rto = self.rtt.rto(&self.config);
            self.congestion.restart(now - before, rto);
        }
        let outgoing = Outgoing {
            seq: self.send.next,
            len,
            // The FIN goes with the last byte, where the window has room for it.
            fin: self.send.fin && candidate.last,
            fresh: true,
        };
        self.timers.probe_due = false;
        self.timers.uncorked = false;
        self.timers.cork = None;
        if !candidate.full {
            self.nagle.sent_small(outgoing.end());
        }
        self.note_path_probe(len, outgoing.end());
        self.record(now, &outgoing);
        outgoing
    }

    /// A segment goes out for the first time.
    fn record(&mut self, now: Instant, outgoing: &Outgoing) {
        let end = outgoing.end();
        self.flight.push(now, outgoing.seq, end);
        self.send.next = end;
        self.recovery.sent(outgoing.len);
        if std::mem::take(&mut self.recovery.tail.due) {
            self.recovery.tail.sent(end, None);
        }
        self.note_sent(now);
    }

    /// A FIN of its own, after everything was sent. It needs no room in the window: peers take it
    /// (Linux sends it so too).
    fn fin_segment(&mut self, now: Instant) -> Option<Outgoing> {
        if !self.send.fin || self.send.next != self.send.end {
            return None;
        }
        let outgoing = Outgoing {
            fin: true,
            ..Outgoing::bare(self.send.next)
        };
        self.record(now, &outgoing);
        Some(outgoing)
    }

    /// The last segment again, as a probe, where no new one could be sent (RFC 8985, section 7.3).
    fn tail_segment(
        &mut self,
        now: Instant,
        contiguous: &mut dyn FnMut(SeqNumber) -> u32,
    ) -> Option<Outgoing> {
        if !std::mem::take(&mut self.recovery.tail.due) {
            return None;
        }
        let last = self.flight.last()?;
        if last.sacked || last.len() > self.send.mss + 1 {
            return None;
        }
        let outgoing = self.send_again(now, last.start, last.end, contiguous);
        let outstanding = self.send.next.since(self.send.una);
        self.recovery.tail.sent(outgoing.end(), Some(outstanding));
        Some(outgoing)
    }
}

fn contiguous_at(unsent: u32, at: SeqNumber, contiguous: &mut dyn FnMut(SeqNumber) -> u32) -> u32 {
    if unsent == 0 {
        0
    } else {
        contiguous(at).max(1)
    }
}

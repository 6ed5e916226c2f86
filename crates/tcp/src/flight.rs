//! What was sent and is not acknowledged: every segment, when it was last sent, and what is known of
//! it (the scoreboard of RFC 6675, kept as RFC 8985 needs it).

use std::collections::VecDeque;

use crate::seq::SeqNumber;
use crate::time::Instant;

/// An emptied record of more entries than this gives its memory back.
const KEEP_CAPACITY: usize = 4;

/// A segment that is outstanding, its FIN included; or a run of them, alike but for their numbers, of
/// which nothing is known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) start: SeqNumber,
    pub(crate) end: SeqNumber,
    /// When it was last sent.
    pub(crate) at: Instant,
    /// Numbers that each of a run takes up.
    each: u32,
    /// The peer has it (a SACK said so).
    pub(crate) sacked: bool,
    /// It is taken to be lost, and was not sent again since.
    pub(crate) lost: bool,
    /// It was sent more than once.
    pub(crate) again: bool,
}

impl Sent {
    pub(crate) fn len(&self) -> u32 {
        self.end.since(self.start)
    }

    /// Segments in it.
    pub(crate) fn segments(&self) -> u32 {
        match self.is_run() {
            true => self.len() / self.each,
            false => 1,
        }
    }

    /// Numbers that one segment of it takes up.
    pub(crate) fn each(&self) -> u32 {
        self.each.min(self.len())
    }

    fn is_run(&self) -> bool {
        self.len() > self.each
    }

    fn in_flight(&self) -> bool {
        !self.sacked && !self.lost
    }

    /// Its segments.
    fn iter(self) -> impl Iterator<Item = Sent> {
        (0..self.segments()).map(move |index| {
            let start = self.start + index * self.each;
            let end = (start + self.each).min(self.end);
            Sent { start, end, ..self }
        })
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Flight {
    /// In the order of their numbers, without a gap. Runs only while nothing is sacked or lost.
    sent: VecDeque<Sent>,
    /// There may be runs.
    runs: bool,
    /// Bytes that are taken to be in the network, sacked, and lost: together all there are.
    pipe: u32,
    sacked: u32,
    lost: u32,
    /// The end of the last segment that was sacked.
    sacked_end: Option<SeqNumber>,
}

impl Flight {
    /// A segment was sent for the first time.
    pub(crate) fn push(&mut self, now: Instant, start: SeqNumber, end: SeqNumber) {
        self.push_run(now, start, end, end.since(start));
    }

    /// Several segments were sent for the first time, each of so many bytes.
    pub(crate) fn push_run(&mut self, now: Instant, start: SeqNumber, end: SeqNumber, each: u32) {
        self.pipe += end.since(start);
        let quiet = self.sacked == 0 && self.lost == 0;
        if let Some(last) = self.sent.back_mut()
            && quiet
            && last.each == each
            && last.len() >= each
            && last.at == now
            && !last.again
            && last.end == start
        {
            last.end = end;
            self.runs = true;
            return;
        }
        self.sent.push_back(Sent {
            start,
            end,
            at: now,
            each,
            sacked: false,
            lost: false,
            again: false,
        });
        self.runs |= end.since(start) > each;
        if !quiet {
            self.spread();
        }
    }

    /// Makes single segments of the runs.
    fn spread(&mut self) {
        if std::mem::take(&mut self.runs) {
            self.sent = self.iter().collect();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Whether one segment is outstanding.
    pub(crate) fn is_single(&self) -> bool {
        self.sent.len() == 1 && !self.sent[0].is_run()
    }

    /// Segments that are outstanding.
    pub(crate) fn len(&self) -> usize {
        let segments = self.sent.iter().map(|sent| sent.segments() as usize);
        segments.sum()
    }

    /// Bytes that are taken to be in the network.
    pub(crate) fn pipe(&self) -> u32 {
        self.pipe
    }

    pub(crate) fn sacked_bytes(&self) -> u32 {
        self.sacked
    }

    /// Whether so many segments are sacked.
    pub(crate) fn has_sacked(&self, count: usize) -> bool {
        self.sacked > 0 && self.sent.iter().filter(|sent| sent.sacked).count() >= count
    }

    pub(crate) fn lost_bytes(&self) -> u32 {
        self.lost
    }

    /// The end of the last segment that was sacked.
    pub(crate) fn sacked_end(&self) -> Option<SeqNumber> {
        self.sacked_end
    }

    /// Every segment.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Sent> {
        self.sent.iter().flat_map(|sent| sent.iter())
    }

    /// The last segment.
    pub(crate) fn last(&self) -> Option<Sent> {
        let last = *self.sent.back()?;
        let start = last.end - last.each();
        Some(Sent { start, ..last })
    }

    /// Everything up to `ack` is acknowledged; `each` is called with what was not sacked before, runs as
    /// they are.
    pub(crate) fn acknowledge(&mut self, ack: SeqNumber, mut each: impl FnMut(&Sent)) {
        while let Some(first) = self.sent.front().copied()
            && first.start.before(ack)
        {
            if first.is_run() && first.end.after(ack) {
                self.split_first(ack);
                continue;
            }
            let whole = !first.end.after(ack);
            let gone = Sent {
                end: first.end.min(ack),
                ..first
            };
            *self.count_of(&gone) -= gone.len();
            if whole {
                self.sent.pop_front();
            } else {
                self.sent[0].start = ack;
            }
            if !first.sacked {
                each(&gone);
            }
        }
        self.sacked_end = self.sacked_end.filter(|end| end.after(ack));
        if self.sent.is_empty() && self.sent.capacity() > KEEP_CAPACITY {
            self.sent = VecDeque::new();
        }
    }

    /// Takes the run in front apart: those that end before `at` or there, or the first alone.
    fn split_first(&mut self, at: SeqNumber) {
        let first = &mut self.sent[0];
        let whole = at.since(first.start) / first.each;
        let rest = Sent {
            start: first.start + whole.max(1) * first.each,
            ..*first
        };
        first.end = rest.start;
        self.sent.insert(1, rest);
    }

    /// Everything from `start` to `end` has arrived: whole segments of it count as sacked; `each` is
    /// called with those that did not before.
    pub(crate) fn sack(&mut self, start: SeqNumber, end: SeqNumber, mut each: impl FnMut(&Sent)) {
        self.spread();
        let from = self.sent.partition_point(|sent| sent.start.before(start));
        for index in from..self.sent.len() {
            let sent = self.sent[index];
            if sent.end.after(end) {
                break;
            }
            if sent.sacked {
                continue;
            }
            *self.count_of(&sent) -= sent.len();
            self.sacked += sent.len();
            self.sent[index].sacked = true;
            self.sent[index].lost = false;
            self.sacked_end = Some(self.sacked_end.map_or(sent.end, |last| last.max(sent.end)));
            each(&sent);
        }
    }

    /// Takes those to be lost that `is_lost` says are, of those in the network. Returns whether there
    /// were any.
    pub(crate) fn mark_lost(&mut self, mut is_lost: impl FnMut(&Sent) -> bool) -> bool {
        self.spread();
        let before = self.lost;
        for sent in &mut self.sent {
            if sent.in_flight() && is_lost(sent) {
                sent.lost = true;
                self.pipe -= sent.len();
                self.lost += sent.len();
            }
        }
        self.lost > before
    }

    /// Takes the first segment to be lost, if it is in the network. Returns whether it was.
    pub(crate) fn mark_first_lost(&mut self) -> bool {
        self.spread();
        let Some(first) = self.sent.front_mut().filter(|sent| sent.in_flight()) else {
            return false;
        };
        first.lost = true;
        let len = first.len();
        self.pipe -= len;
        self.lost += len;
        true
    }

    /// Nothing is taken to be lost any more: it was a mistake.
    pub(crate) fn unmark_lost(&mut self) {
        for sent in &mut self.sent {
            sent.lost = false;
        }
        self.pipe += std::mem::take(&mut self.lost);
    }

    /// Forgets what was sacked: the peer may have dropped it (RFC 2018, section 8).
    pub(crate) fn forget_sacked(&mut self) {
        for sent in &mut self.sent {
            sent.sacked = false;
        }
        self.pipe += std::mem::take(&mut self.sacked);
        self.sacked_end = None;
    }

    /// The first segment, and so the peer does not have it in order, whatever it sacked.
    pub(crate) fn first(&self) -> Option<Sent> {
        let first = *self.sent.front()?;
        let end = first.start + first.each();
        Some(Sent { end, ..first })
    }

    /// The first segment that is taken to be lost.
    pub(crate) fn first_lost(&self) -> Option<Sent> {
        if self.lost == 0 {
            return None;
        }
        self.sent.iter().find(|sent| sent.lost).copied()
    }

    /// The segment that begins at `start` is sent again, up to `end` (the rest of it becomes a segment
    /// of its own).
    pub(crate) fn resend(&mut self, now: Instant, start: SeqNumber, end: SeqNumber) {
        self.spread();
        let index = self.sent.partition_point(|sent| sent.start.before(start));
        let sent = self.sent[index];
        assert!(
            sent.start == start && !sent.end.before(end) && end.after(start) && !sent.sacked,
            "flight: what is sent again was sent before"
        );
        if end != sent.end {
            self.sent.insert(index + 1, Sent { start: end, ..sent });
        }
        if sent.lost {
            self.lost -= end.since(start);
            self.pipe += end.since(start);
        }
        self.sent[index] = Sent {
            end,
            at: now,
            lost: false,
            again: true,
            ..sent
        };
    }

    /// The count that a segment's bytes are in.
    fn count_of(&mut self, sent: &Sent) -> &mut u32 {
        if sent.sacked {
            &mut self.sacked
        } else if sent.lost {
            &mut self.lost
        } else {
            &mut self.pipe
        }
    }
}

#[cfg(test)]
#[path = "flight_tests.rs"]
mod tests;

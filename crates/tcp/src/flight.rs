//! What was sent and is not acknowledged: every segment, when it was last sent, and what is known of
//! it (the scoreboard of RFC 6675, kept as RFC 8985 needs it).

use std::collections::VecDeque;

use crate::seq::SeqNumber;
use crate::time::Instant;

/// An emptied record of more entries than this gives its memory back.
const KEEP_CAPACITY: usize = 4;

/// A segment that is outstanding, its FIN included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) start: SeqNumber,
    pub(crate) end: SeqNumber,
    /// When it was last sent.
    pub(crate) at: Instant,
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

    fn in_flight(&self) -> bool {
        !self.sacked && !self.lost
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Flight {
    /// In the order of their numbers, without a gap.
    sent: VecDeque<Sent>,
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
        self.pipe += end.since(start);
        self.sent.push_back(Sent {
            start,
            end,
            at: now,
            sacked: false,
            lost: false,
            again: false,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Segments that are outstanding.
    pub(crate) fn len(&self) -> usize {
        self.sent.len()
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter()
    }

    pub(crate) fn last(&self) -> Option<&Sent> {
        self.sent.back()
    }

    /// Everything up to `ack` is acknowledged; `each` is called with what was not sacked before.
    pub(crate) fn acknowledge(&mut self, ack: SeqNumber, mut each: impl FnMut(&Sent)) {
        while let Some(first) = self.sent.front().copied()
            && first.start.before(ack)
        {
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

    /// Everything from `start` to `end` has arrived: whole segments of it count as sacked; `each` is
    /// called with those that did not before.
    pub(crate) fn sack(&mut self, start: SeqNumber, end: SeqNumber, mut each: impl FnMut(&Sent)) {
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
    pub(crate) fn first(&self) -> Option<&Sent> {
        self.sent.front()
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

//! What came out of order (RFC 9293, section 3.10.7.4, "seventh"): ranges of sequence numbers beyond
//! RCV.NXT. Whoever calls keeps the bytes.

use crate::disposition::Refusal;
use crate::segment::SackBlocks;
use crate::seq::SeqNumber;

/// Most ranges that are kept. A segment that would make one more is refused, unless it comes next.
const MAX_RANGES: usize = 64;

/// Bytes that are there, from `start` up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: SeqNumber,
    pub(crate) end: SeqNumber,
}

impl Range {
    /// Whether there is no number between them.
    pub(crate) fn touches(&self, other: &Range) -> bool {
        !self.start.after(other.end) && !other.start.after(self.end)
    }

    /// Both, and what is between.
    pub(crate) fn join(&self, other: &Range) -> Range {
        Range {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    fn pair(self) -> (SeqNumber, SeqNumber) {
        (self.start, self.end)
    }
}

/// A range that is kept, and when it grew last.
#[derive(Clone, Copy, Debug)]
struct Kept {
    range: Range,
    stamp: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Reassembly {
    /// In order, none touching another.
    ranges: Vec<Kept>,
    /// Counts the segments that were kept.
    stamp: u32,
}

impl Reassembly {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Takes a segment's bytes; returns the part of them that is to be kept. It replaces every range
    /// inside it, so that one segment is kept as one piece (Linux `tcp_data_queue_ofo` does the same).
    /// `next` is RCV.NXT: what begins there is never one range too many, or its sender would repeat it
    /// in vain.
    pub(crate) fn insert(
        &mut self,
        next: SeqNumber,
        start: SeqNumber,
        end: SeqNumber,
    ) -> Result<Range, Refusal> {
        let in_order = start == next;
        let (mut start, mut end) = (start, end);
        // Ranges that touch or overlap the new one: `first..last`.
        let first = self
            .ranges
            .partition_point(|kept| kept.range.end.before(start));
        let last =
            first + self.ranges[first..].partition_point(|kept| !kept.range.start.after(end));
        if let Some(left) = self.ranges[first..last].first()
            && !left.range.start.after(start)
        {
            start = start.max(left.range.end);
        }
        if let Some(right) = self.ranges[first..last].last()
            && !right.range.end.before(end)
        {
            end = end.min(right.range.start);
        }
        if !start.before(end) {
            return Err(Refusal::Duplicate);
        }
        if first == last && self.ranges.len() >= MAX_RANGES && !in_order {
            return Err(Refusal::TooManyHoles);
        }
        let kept = Range { start, end };
        let merged = self.ranges[first..last]
            .iter()
            .fold(kept, |all, kept| all.join(&kept.range));
        self.stamp = self.stamp.wrapping_add(1);
        let merged = Kept {
            range: merged,
            stamp: self.stamp,
        };
        self.ranges.splice(first..last, [merged]);
        Ok(kept)
    }

    /// The end of the last range.
    pub(crate) fn end(&self) -> Option<SeqNumber> {
        self.ranges.last().map(|kept| kept.range.end)
    }

    /// Takes away what follows `next` without a hole; returns where it ends.
    pub(crate) fn advance(&mut self, next: SeqNumber) -> SeqNumber {
        let mut next = next;
        while let Some(kept) = self.ranges.first()
            && !kept.range.start.after(next)
        {
            next = next.max(kept.range.end);
            self.ranges.remove(0);
        }
        if self.ranges.is_empty() {
            // Holes are rare, and connections many: the memory goes back.
            self.ranges = Vec::new();
        }
        next
    }

    /// Adds up to `most` blocks to those that are there, the one that grew last first (RFC 2018,
    /// section 4).
    pub(crate) fn report(&self, most: usize, blocks: &mut SackBlocks) {
        // Few are asked for: each is the latest of those not given yet.
        for _ in 0..most {
            let latest = self
                .ranges
                .iter()
                .filter(|kept| !blocks.as_slice().contains(&kept.range.pair()))
                .min_by_key(|kept| self.stamp.wrapping_sub(kept.stamp));
            let Some(kept) = latest else { return };
            let (start, end) = kept.range.pair();
            blocks.push(start, end);
        }
    }

    /// The range that holds this number.
    pub(crate) fn around(&self, seq: SeqNumber) -> Option<Range> {
        let holds = |range: &Range| !range.start.after(seq) && seq.before(range.end);
        self.ranges.iter().map(|kept| kept.range).find(holds)
    }

    /// Forgets everything: the bytes have been dropped.
    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }

    #[cfg(test)]
    pub(crate) fn ranges(&self) -> Vec<(u32, u32)> {
        let pair = |kept: &Kept| (kept.range.start.0, kept.range.end.0);
        self.ranges.iter().map(pair).collect()
    }
}

#[cfg(test)]
#[path = "reassembly_tests.rs"]
mod tests;

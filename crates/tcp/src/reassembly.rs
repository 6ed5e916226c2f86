//! What came out of order (RFC 9293, section 3.10.7.4, "seventh"): ranges of sequence numbers beyond
//! RCV.NXT. Whoever calls keeps the bytes.

use crate::disposition::Refusal;
use crate::seq::SeqNumber;

/// Most ranges that are kept. A segment that would make one more is refused, unless it comes next.
const MAX_RANGES: usize = 64;

/// Bytes that are there, from `start` up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: SeqNumber,
    pub(crate) end: SeqNumber,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Reassembly {
    /// In order, none touching another.
    ranges: Vec<Range>,
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
        let first = self.ranges.partition_point(|range| range.end.before(start));
        let last = first + self.ranges[first..].partition_point(|range| !range.start.after(end));
        if let Some(left) = self.ranges[first..last].first()
            && !left.start.after(start)
        {
            start = start.max(left.end);
        }
        if let Some(right) = self.ranges[first..last].last()
            && !right.end.before(end)
        {
            end = end.min(right.start);
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
            .fold(kept, |all, range| Range {
                start: all.start.min(range.start),
                end: all.end.max(range.end),
            });
        self.ranges.splice(first..last, [merged]);
        Ok(kept)
    }

    /// The end of the last range.
    pub(crate) fn end(&self) -> Option<SeqNumber> {
        self.ranges.last().map(|range| range.end)
    }

    /// Takes away what follows `next` without a hole; returns where it ends.
    pub(crate) fn advance(&mut self, next: SeqNumber) -> SeqNumber {
        let mut next = next;
        while let Some(range) = self.ranges.first()
            && !range.start.after(next)
        {
            next = next.max(range.end);
            self.ranges.remove(0);
        }
        next
    }

    /// Forgets everything: the bytes have been dropped.
    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }

    #[cfg(test)]
    pub(crate) fn ranges(&self) -> Vec<(u32, u32)> {
        let pair = |range: &Range| (range.start.0, range.end.0);
        self.ranges.iter().map(pair).collect()
    }
}

#[cfg(test)]
#[path = "reassembly_tests.rs"]
mod tests;

//! What came out of order (RFC 9293, section 3.10.7.4, "seventh"): ranges of sequence numbers beyond
//! RCV.NXT. Whoever calls keeps the bytes.

use crate::seq::SeqNumber;

/// Most holes that are waited for at a time. A segment that would make one more is not kept.
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
    pub(crate) fn insert(&mut self, start: SeqNumber, end: SeqNumber) -> Option<Range> {
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
            return None;
        }
        if first == last && self.ranges.len() == MAX_RANGES {
            return None;
        }
        let kept = Range { start, end };
        let merged = self.ranges[first..last]
            .iter()
            .fold(kept, |all, range| Range {
                start: all.start.min(range.start),
                end: all.end.max(range.end),
            });
        self.ranges.splice(first..last, [merged]);
        Some(kept)
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

//! Memory of queues that have become empty, for the next that need some. So a connection has none while
//! it is idle, and none is allocated for a request.

/// Entries that the queues in it may have room for: those of some hundred busy connections.
const MOST_ENTRIES: usize = 16_384;

/// Empty queues that kept their memory.
#[derive(Debug)]
pub(crate) struct Spares<Q> {
    /// With the entries that each has room for.
    queues: Vec<(Q, usize)>,
    /// Of all of them.
    entries: usize,
}

// Not derived: that would ask for a default of `Q`.
impl<Q> Default for Spares<Q> {
    fn default() -> Spares<Q> {
        Spares {
            queues: Vec::new(),
            entries: 0,
        }
    }
}

impl<Q> Spares<Q> {
    /// The one that came last: it is the likeliest to be in the cache.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Q> {
        let (queue, entries) = self.queues.pop()?;
        self.entries -= entries;
        Some(queue)
    }

    /// Takes an empty queue with room for so many entries, unless that were too many in all.
    #[inline]
    pub(crate) fn give(&mut self, queue: Q, entries: usize) {
        if entries <= MOST_ENTRIES - self.entries {
            self.entries += entries;
            self.queues.push((queue, entries));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_was_given_is_taken_first() {
        let mut spares = Spares::default();
        spares.give('a', 1);
        spares.give('b', 1);
        assert_eq!(spares.take(), Some('b'));
        assert_eq!(spares.take(), Some('a'));
        assert_eq!(spares.take(), None);
    }

    #[test]
    fn what_would_be_too_many_entries_is_not_kept() {
        let mut spares = Spares::default();
        spares.give('a', MOST_ENTRIES - 1);
        spares.give('b', 2);
        spares.give('c', 1);
        assert_eq!(spares.take(), Some('c'));
        assert_eq!(spares.take(), Some('a'));
        assert_eq!(spares.take(), None);
        spares.give('b', MOST_ENTRIES);
        assert_eq!(spares.take(), Some('b'));
    }
}

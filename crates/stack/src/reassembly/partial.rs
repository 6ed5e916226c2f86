//! One datagram, as far as it has arrived.

use super::{Datagram, DropReason, Fragment, Key, max_payload};
use ringwire_tcp::Instant;

#[derive(Debug)]
struct Part {
    start: usize,
    more: bool,
    payload: Box<[u8]>,
}

impl Part {
    fn end(&self) -> usize {
        self.start + self.payload.len()
    }

    fn is_same(&self, fragment: &Fragment) -> bool {
        self.start == fragment.start
            && self.more == fragment.more
            && *self.payload == *fragment.payload
    }
}

/// A datagram of which fragments are missing, or which was discarded.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) key: Key,
    pub(super) expires_at: Instant,
    /// Bytes this datagram is charged for.
    pub(super) charged: usize,
    /// That of the fragment at offset 0.
    header: Option<Box<[u8]>>,
    /// In order, and none overlaps another.
    parts: Vec<Part>,
    /// Payload bytes in `parts`.
    received: usize,
    /// Length of the whole payload, once the last fragment is here.
    total: Option<usize>,
    discarded: bool,
}

impl Partial {
    pub(super) fn new(key: Key, expires_at: Instant, charged: usize) -> Partial {
        Partial {
            key,
            expires_at,
            charged,
            header: None,
            parts: Vec::new(),
            received: 0,
            total: None,
            discarded: false,
        }
    }

    pub(super) fn is_discarded(&self) -> bool {
        self.discarded
    }

    /// Whether every byte is here: no part overlaps another, so counting them is enough.
    pub(super) fn is_complete(&self) -> bool {
        self.total == Some(self.received)
    }

    pub(super) fn is_too_long(&self) -> bool {
        let header = self.header.as_deref().unwrap_or_default();
        self.received > max_payload(&self.key, header)
    }

    /// Whether the fragment is wanted: `false` for one that is here already, an error for one that
    /// condemns the datagram.
    pub(super) fn admit(&self, fragment: &Fragment, max_parts: usize) -> Result<bool, DropReason> {
        if self.discarded {
            return Err(DropReason::Discarded);
        }
        let after = self.place(fragment);
        let next = self.parts.get(after);
        let before = after.checked_sub(1).map(|index| &self.parts[index]);
        if next.is_some_and(|part| part.is_same(fragment)) {
            return Ok(false);
        }
        if next.is_some_and(|part| part.start < fragment.end)
            || before.is_some_and(|part| part.end() > fragment.start)
        {
            return Err(DropReason::Overlap);
        }
        if !self.agrees_on_the_end(fragment) {
            return Err(DropReason::Inconsistent);
        }
        if self.parts.len() >= max_parts {
            return Err(DropReason::TooManyFragments);
        }
        Ok(true)
    }

    fn agrees_on_the_end(&self, fragment: &Fragment) -> bool {
        match self.total {
            Some(total) => fragment.more && fragment.end < total,
            None => {
                fragment.more
                    || self
                        .parts
                        .last()
                        .is_none_or(|part| part.end() <= fragment.start)
            }
        }
    }

    /// Where the fragment belongs among the parts: before the first that does not start earlier.
    fn place(&self, fragment: &Fragment) -> usize {
        self.parts
            .partition_point(|part| part.start < fragment.start)
    }

    /// Takes a fragment that was admitted.
    pub(super) fn add(&mut self, fragment: &Fragment) {
        if fragment.start == 0 {
            self.header = Some(fragment.header.into());
        }
        if !fragment.more {
            self.total = Some(fragment.end);
        }
        self.received += fragment.payload.len();
        self.charged += fragment.charge();
        let part = Part {
            start: fragment.start,
            more: fragment.more,
            payload: fragment.payload.into(),
        };
        self.parts.insert(self.place(fragment), part);
    }

    /// Drops what arrived, and returns how many bytes less it is charged for than before.
    pub(super) fn discard(&mut self, charge: usize) -> usize {
        self.discarded = true;
        self.header = None;
        self.parts = Vec::new();
        let freed = self.charged - charge;
        self.charged = charge;
        freed
    }

    pub(super) fn into_datagram(self) -> Datagram {
        let mut payload = Vec::with_capacity(self.received);
        for part in &self.parts {
            payload.extend_from_slice(&part.payload);
        }
        Datagram {
            header: self
                .header
                .expect("a complete datagram has its first fragment")
                .into(),
            payload,
            parts: self.parts.len(),
        }
    }

    /// The fragment at offset 0 with its header, if it is here.
    pub(super) fn into_first_fragment(self) -> Option<Vec<u8>> {
        let mut bytes: Vec<u8> = self.header?.into();
        bytes.extend_from_slice(&self.parts.first()?.payload);
        Some(bytes)
    }
}

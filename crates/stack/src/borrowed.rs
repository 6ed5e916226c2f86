//! Payloads of the application's that are sent from where they lie.

use std::collections::VecDeque;

use ringwire_umem::{Borrowed, Ledger, Umem};

use crate::plan::Lie;

/// Bytes of the application's, in the order in which they are sent. Nearly always they lie in one place.
#[derive(Debug, Default)]
#[must_use = "borrowed memory must be repaid with BorrowedParts::repay"]
pub struct BorrowedParts {
    pub(crate) first: Option<Borrowed>,
    rest: VecDeque<Borrowed>,
}

impl BorrowedParts {
    /// Adds bytes behind the others.
    pub fn push(&mut self, part: Borrowed) {
        match &mut self.first {
            None => self.first = Some(part),
            Some(_) => self.rest.push_back(part),
        }
    }

    /// Whether there is a part, of bytes or of none.
    #[inline]
    pub(crate) fn has_parts(&self) -> bool {
        self.first.is_some()
    }

    /// Number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.iter().map(|part| part.len() as usize).sum()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The parts in order.
    pub fn iter(&self) -> impl Iterator<Item = &Borrowed> {
        self.first.iter().chain(&self.rest)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Borrowed> {
        self.first.iter_mut().chain(&mut self.rest)
    }

    /// Descriptors that they take.
    pub(crate) fn descriptors(&self, ledger: &Ledger) -> u32 {
        self.iter().map(|part| part.descriptors(ledger)).sum()
    }

    /// How `len` bytes from `skip` on lie; there are as many.
    pub(crate) fn lie(&self, ledger: &Ledger, skip: usize, len: usize) -> Lie {
        let mut lie = Lie {
            headers: 0,
            headroom: 0,
            payload: len as u32,
            pieces: 0,
            room: u32::MAX,
        };
        let (mut skip, mut left) = (skip, len);
        // Nearly always it is one part.
        if let (Some(part), true) = (&self.first, self.rest.is_empty()) {
            lie.headroom = if skip == 0 { ledger.headroom(part) } else { 0 };
            let (from, take) = (skip as u32, len as u32);
            lie.pieces = part.descriptors_of(ledger, from, take);
            lie.room = part.room_of(ledger, from, take);
            return lie;
        }
        for part in self.iter() {
            let here = part.len() as usize;
            let from = skip.min(here);
            skip -= from;
            let take = left.min(here - from);
            if take == 0 {
                continue;
            }
            if left == len && from == 0 {
                lie.headroom = ledger.headroom(part);
            }
            left -= take;
            let (from, take) = (from as u32, take as u32);
            lie.pieces += part.descriptors_of(ledger, from, take);
            lie.room = lie.room.min(part.room_of(ledger, from, take));
        }
        lie
    }

    /// Takes the first `len` bytes off.
    pub(crate) fn split_to(&mut self, ledger: &mut Ledger, len: usize) -> BorrowedParts {
        if len == self.len() {
            return std::mem::take(self);
        }
        let mut front = BorrowedParts::default();
        let mut left = len as u32;
        while left > 0
            && let Some(first) = &mut self.first
        {
            let part = if left < first.len() {
                ledger.split_to(first, left)
            } else {
                let next = self.rest.pop_front();
                std::mem::replace(&mut self.first, next).expect("packet: it is there")
            };
            left -= part.len();
            front.push(part);
        }
        front
    }

    /// Needs them no longer.
    pub fn repay(self, ledger: &mut Ledger) {
        let Some(first) = self.first else {
            return;
        };
        ledger.repay(first);
        for part in self.rest {
            ledger.repay(part);
        }
    }

    /// Notes that they are copied.
    pub(crate) fn note_copied(&self, ledger: &mut Ledger) {
        for part in self.iter() {
            ledger.note_copied(part.loan());
        }
    }
}

/// Reads borrowed bytes, one part after the other.
pub(crate) struct Reader<'a> {
    umem: &'a Umem,
    parts: &'a BorrowedParts,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(umem: &'a Umem, parts: &'a BorrowedParts) -> Reader<'a> {
        Reader { umem, parts, at: 0 }
    }

    /// Fills `to` with the next bytes.
    pub(crate) fn fill(&mut self, mut to: &mut [u8]) {
        let mut skip = self.at;
        self.at += to.len();
        for part in self.parts.iter() {
            let bytes = part.bytes(self.umem);
            let from = skip.min(bytes.len());
            skip -= from;
            let take = to.len().min(bytes.len() - from);
            to[..take].copy_from_slice(&bytes[from..from + take]);
            to = &mut to[take..];
        }
        assert!(to.is_empty(), "packet: more was asked for than is borrowed");
    }
}

/// Hands descriptors for borrowed bytes to `post`, one for each chunk that they lie in; the first has `front`
/// bytes of headers too.
#[inline]
pub(crate) fn post_borrowed(
    ledger: &mut Ledger,
    queue: u16,
    part: &mut Borrowed,
    (start, len): (u32, u32),
    mut front: u32,
    post: &mut impl FnMut(u64, u32),
) {
    let (mut at, end) = (start, start + len);
    while at < end {
        let len = part.describable(ledger, at).min(end - at);
        let addr = ledger.post_borrowed(queue, part, (at, len), front);
        post(addr, front + len);
        (at, front) = (at + len, 0);
    }
}

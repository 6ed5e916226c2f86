//! Buffers that a ring provides to receives, and the guards that give them back.

use std::alloc::{Layout, dealloc};
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;

use super::entries::{self, EntryRing};
use super::lending::Lending;

/// Buffers for receives that choose their memory when data has come
/// ([`Ring::recv_multishot`](super::Ring::recv_multishot) and its kin), registered with one ring.
///
/// It owns the buffers and the ring of entries by which the engine finds them; both live until the
/// ring, every operation that uses them and every [`ProvidedBuffer`] are gone, however early this is
/// dropped. It stays in one thread, the ring's.
///
/// A [lending](super::Ring::lending_group) one has no buffers: its receives bring [`Lent`](super::Lent) guards,
/// which go to any thread.
#[derive(Debug)]
pub struct BufferGroup {
    pub(super) group: Group,
}

/// The two kinds.
#[derive(Clone, Debug)]
pub(super) enum Group {
    Own(Rc<Memory>),
    Lent(Rc<Lending>),
}

impl Group {
    pub(super) fn id(&self) -> u16 {
        match self {
            Group::Own(memory) => memory.id,
            Group::Lent(lending) => lending.id,
        }
    }

    /// Whether both are the same group.
    pub(super) fn is(&self, other: &Group) -> bool {
        match (self, other) {
            (Group::Own(one), Group::Own(other)) => Rc::ptr_eq(one, other),
            (Group::Lent(one), Group::Lent(other)) => Rc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl BufferGroup {
    /// Bytes of a buffer that [`Ring::recv_from_multishot`](super::Ring::recv_from_multishot) needs
    /// beside the payload: `struct io_uring_recvmsg_out`, and the sender's address.
    pub const MESSAGE_HEADER_BYTES: u32 = (OUT_BYTES + super::address::MAX_BYTES) as u32;
}

/// Bytes of `struct io_uring_recvmsg_out`.
pub(super) const OUT_BYTES: usize = 16;

/// What a group consists of.
pub(super) struct Memory {
    pub(super) id: u16,
    ring: EntryRing,
    buffer_bytes: u32,
    buffers: NonNull<u8>,
    /// By buffer: a guard has it. Else it is in the ring, and the engine may write to it.
    lent: Box<[Cell<bool>]>,
}

impl Memory {
    /// A group whose buffers are all in its ring.
    ///
    /// # Panics
    /// As [`EntryRing::new`] does, and if a buffer has no bytes.
    pub(super) fn new(id: u16, entries: u16, buffer_bytes: u32) -> Rc<Memory> {
        let ring = EntryRing::new(entries);
        let memory = Rc::new(Memory {
            id,
            ring,
            buffer_bytes,
            buffers: entries::allocate(layout(entries, buffer_bytes)),
            lent: (0..entries).map(|_| Cell::new(true)).collect(),
        });
        for bid in 0..entries {
            memory.provide(bid);
        }
        memory
    }

    /// Address of the ring of entries, for its registration.
    pub(super) fn ring_address(&self) -> u64 {
        self.ring.address()
    }

    /// The guard of a buffer that a completion names, with the first `len` bytes of it.
    ///
    /// # Panics
    /// If the group has no such buffer, it is shorter, or another guard has it.
    pub(super) fn lend(self: &Rc<Memory>, bid: u16, len: u32) -> ProvidedBuffer {
        let lent = self.lent.get(usize::from(bid));
        assert!(
            len <= self.buffer_bytes && lent.is_some_and(|lent| !lent.replace(true)),
            "owned: a completion names a buffer that is not in its group's ring"
        );
        ProvidedBuffer {
            memory: Rc::clone(self),
            bid,
            start: 0,
            len,
        }
    }

    /// Puts a buffer that is lent into the ring.
    fn provide(&self, bid: u16) {
        let was_lent = self.lent[usize::from(bid)].replace(false);
        assert!(was_lent, "owned: a buffer is given back once");
        // SAFETY: the buffer lies in the allocation: the id is one of the group's (indexed above).
        let buffer = unsafe { self.buffers.as_ptr().add(self.offset(bid)) };
        self.ring.add(buffer as u64, self.buffer_bytes, bid);
    }

    /// Buffers that guards have.
    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        self.lent.iter().filter(|lent| lent.get()).count()
    }

    fn offset(&self, bid: u16) -> usize {
        usize::from(bid) * self.buffer_bytes as usize
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let layout = layout(self.ring.entries(), self.buffer_bytes);
        // SAFETY: allocated by `new` with this layout, which depends on fields that never change. Nobody
        // uses it any more: the ring holds an `Rc` while the group is registered, as does every operation
        // that may write to its buffers, and every guard.
        unsafe { dealloc(self.buffers.as_ptr(), layout) };
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("id", &self.id)
            .field("entries", &self.ring.entries())
            .field("buffer_bytes", &self.buffer_bytes)
            .finish_non_exhaustive()
    }
}

/// Of the buffers.
fn layout(entries: u16, buffer_bytes: u32) -> Layout {
    let bytes = usize::from(entries) * buffer_bytes as usize;
    Layout::from_size_align(bytes, align_of::<u64>()).expect("owned: a group's size")
}

/// Received bytes, in a buffer of a [`BufferGroup`]. Dropped, it gives its buffer back to the group.
///
/// It may outlive the group and the ring. It stays in the ring's thread:
///
/// ```compile_fail,E0277
/// fn moves<T: Send>() {}
/// moves::<ringwire::owned::ProvidedBuffer>();
/// ```
pub struct ProvidedBuffer {
    memory: Rc<Memory>,
    bid: u16,
    start: u32,
    len: u32,
}

impl ProvidedBuffer {
    /// Cuts the first `count` bytes off, or all there are.
    pub(super) fn advance(&mut self, count: u32) {
        let count = count.min(self.len);
        self.start += count;
        self.len -= count;
    }
}

impl Deref for ProvidedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let offset = self.memory.offset(self.bid) + self.start as usize;
        // SAFETY: `start + len` is at most the buffer's length (`lend`, `advance`), and the buffer lies
        // in the allocation that `memory` keeps. It was zeroed, so its bytes are initialised. Nobody
        // writes to them: while this guard has it, the buffer is not in the ring.
        unsafe {
            let first = self.memory.buffers.as_ptr().add(offset);
            std::slice::from_raw_parts(first, self.len as usize)
        }
    }
}

impl Drop for ProvidedBuffer {
    fn drop(&mut self) {
        self.memory.provide(self.bid);
    }
}

impl fmt::Debug for ProvidedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProvidedBuffer")
            .field("group", &self.memory.id)
            .field("bid", &self.bid)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;

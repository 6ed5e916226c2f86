//! Buffers that a ring provides to receives, and the guards that give them back.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use ringwire_abi::register::{BUF_ENTRY_BYTES, BUF_RING_TAIL};

/// A ring of buffers starts on a page.
const PAGE_BYTES: usize = 4096;
/// Most buffers of a group.
pub(super) const MAX_ENTRIES: u16 = 1 << 15;

/// Buffers for receives that choose their memory when data has come
/// ([`Ring::recv_multishot`](super::Ring::recv_multishot) and its kin), registered with one ring.
///
/// It owns the buffers and the ring of entries by which the engine finds them; both live until the
/// ring, every operation that uses them and every [`ProvidedBuffer`] are gone, however early this is
/// dropped. It stays in one thread, the ring's.
#[derive(Debug)]
pub struct BufferGroup {
    pub(super) memory: Rc<Memory>,
}

impl BufferGroup {
    /// Bytes of a buffer that [`Ring::recv_from_multishot`](super::Ring::recv_from_multishot) needs
    /// beside the payload: `struct io_uring_recvmsg_out`, and the sender's address.
    pub const MESSAGE_HEADER_BYTES: u32 = (OUT_BYTES + super::address::MAX_BYTES) as u32;
}

/// Bytes of `struct io_uring_recvmsg_out`.
pub(super) const OUT_BYTES: usize = 16;

/// `struct io_uring_buf`. In the first entry of a ring `tail` is the ring's.
#[repr(C)]
struct Entry {
    addr: u64,
    len: u32,
    bid: u16,
    tail: AtomicU16,
}

const _: () = assert!(size_of::<Entry>() == BUF_ENTRY_BYTES);
const _: () = assert!(std::mem::offset_of!(Entry, tail) == BUF_RING_TAIL);

/// What a group consists of.
pub(super) struct Memory {
    pub(super) id: u16,
    entries: u16,
    buffer_bytes: u32,
    ring: NonNull<Entry>,
    buffers: NonNull<u8>,
    tail: Cell<u16>,
    /// By buffer: a guard has it. Else it is in the ring, and the engine may write to it.
    lent: Box<[Cell<bool>]>,
}

impl Memory {
    /// A group whose buffers are all in its ring.
    ///
    /// # Panics
    /// If `entries` is no power of two up to [`MAX_ENTRIES`], or a buffer has no bytes.
    pub(super) fn new(id: u16, entries: u16, buffer_bytes: u32) -> Rc<Memory> {
        assert!(
            entries.is_power_of_two() && entries <= MAX_ENTRIES && buffer_bytes > 0,
            "owned: a group of buffers with an impossible size"
        );
        let (ring_layout, buffers_layout) = layouts(entries, buffer_bytes);
        let memory = Rc::new(Memory {
            id,
            entries,
            buffer_bytes,
            ring: allocate(ring_layout).cast(),
            buffers: allocate(buffers_layout),
            tail: Cell::new(0),
            lent: (0..entries).map(|_| Cell::new(true)).collect(),
        });
        for bid in 0..entries {
            memory.provide(bid);
        }
        memory
    }

    /// Address of the ring of entries, for its registration.
    pub(super) fn ring_address(&self) -> u64 {
        self.ring.as_ptr() as u64
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
        let tail = self.tail.get();
        let index = usize::from(tail & (self.entries - 1));
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: the masked index lies in the ring's allocation. The engine does not read the entry
        // before the tail's release store: each buffer is in the ring once, so there are never more
        // of them than entries. No reference is made to an entry, since the engine may read the tail,
        // which lies in the first one, at any time.
        unsafe {
            let entry = self.ring.as_ptr().add(index);
            (&raw mut (*entry).addr).write(self.buffers.as_ptr().add(self.offset(bid)) as u64);
            (&raw mut (*entry).len).write(self.buffer_bytes);
            (&raw mut (*entry).bid).write(bid);
            let tail = &(*self.ring.as_ptr()).tail;
            tail.store(self.tail.get(), Ordering::Release);
        }
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
        let (ring_layout, buffers_layout) = layouts(self.entries, self.buffer_bytes);
        // SAFETY: allocated by `new` with these layouts, which depend on fields that never change.
        // Nobody uses them any more: the ring holds an `Rc` while the group is registered, as does
        // every operation that may write to its buffers, and every guard.
        unsafe {
            dealloc(self.ring.as_ptr().cast(), ring_layout);
            dealloc(self.buffers.as_ptr(), buffers_layout);
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("id", &self.id)
            .field("entries", &self.entries)
            .field("buffer_bytes", &self.buffer_bytes)
            .finish_non_exhaustive()
    }
}

/// Of the ring of entries, and of the buffers.
fn layouts(entries: u16, buffer_bytes: u32) -> (Layout, Layout) {
    let of = |bytes, align| Layout::from_size_align(bytes, align).expect("owned: a group's size");
    let entries = usize::from(entries);
    (
        of(entries * size_of::<Entry>(), PAGE_BYTES),
        of(entries * buffer_bytes as usize, align_of::<u64>()),
    )
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: neither layout has size 0: `new` checked.
    let pointer = unsafe { alloc_zeroed(layout) };
    NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout))
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

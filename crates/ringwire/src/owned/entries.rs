//! The ring of entries by which the engine finds what a group provides.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use ringwire_abi::register::{BUF_ENTRY_BYTES, BUF_RING_TAIL};

/// A ring of buffers starts on a page.
const PAGE_BYTES: usize = 4096;
/// Most entries of a group.
pub(super) const MAX_ENTRIES: u16 = 1 << 15;

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

/// Entries that the engine takes from the front, and the owner adds at the back.
#[derive(Debug)]
pub(super) struct EntryRing {
    entries: u16,
    first: NonNull<Entry>,
    tail: Cell<u16>,
}

impl EntryRing {
    /// An empty ring.
    ///
    /// # Panics
    /// If `entries` is no power of two up to [`MAX_ENTRIES`].
    pub(super) fn new(entries: u16) -> EntryRing {
        assert!(
            is_possible(entries),
            "owned: a group of buffers with an impossible size"
        );
        EntryRing {
            entries,
            first: allocate(layout(entries)).cast(),
            tail: Cell::new(0),
        }
    }

    pub(super) fn entries(&self) -> u16 {
        self.entries
    }

    /// Where the entries are, for their registration.
    pub(super) fn address(&self) -> u64 {
        self.first.as_ptr() as u64
    }

    /// Adds an entry, of which there is one fewer in the ring than it has room for; returns its place among
    /// all that were added.
    pub(super) fn add(&self, addr: u64, len: u32, bid: u16) -> u16 {
        let place = self.tail.get();
        self.tail.set(place.wrapping_add(1));
        // SAFETY: the place lies in the ring's allocation (`entry`). The engine does not read the entry before
        // the tail's release store: each id is in the ring once, so there are never more of them than entries.
        // No reference is made to an entry, since the engine may read the tail, which lies in the first one,
        // at any time.
        unsafe {
            let entry = self.entry(place);
            (&raw mut (*entry).addr).write(addr);
            (&raw mut (*entry).len).write(len);
            (&raw mut (*entry).bid).write(bid);
            let tail = &(*self.first.as_ptr()).tail;
            tail.store(self.tail.get(), Ordering::Release);
        }
        place
    }

    /// The id that was added at a place.
    pub(super) fn bid_at(&self, place: u16) -> u16 {
        // SAFETY: as in `add`; whoever reads is who writes, and entries are zeroed at first.
        unsafe { (&raw const (*self.entry(place)).bid).read() }
    }

    fn entry(&self, place: u16) -> *mut Entry {
        let index = usize::from(place & (self.entries - 1));
        // SAFETY: the masked index lies in the allocation.
        unsafe { self.first.as_ptr().add(index) }
    }
}

impl Drop for EntryRing {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, which depends on a field that never changes. Nobody
        // uses it any more: the group that has it is kept while it is registered.
        unsafe { dealloc(self.first.as_ptr().cast(), layout(self.entries)) };
    }
}

pub(super) fn is_possible(entries: u16) -> bool {
    entries.is_power_of_two() && entries <= MAX_ENTRIES
}

fn layout(entries: u16) -> Layout {
    let bytes = usize::from(entries) * size_of::<Entry>();
    Layout::from_size_align(bytes, PAGE_BYTES).expect("owned: a group's size")
}

/// Zeroed memory, of a size that is not 0.
pub(super) fn allocate(layout: Layout) -> NonNull<u8> {
    assert!(layout.size() > 0, "owned: memory of no size");
    // SAFETY: the size is not 0.
    let pointer = unsafe { alloc_zeroed(layout) };
    NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout))
}

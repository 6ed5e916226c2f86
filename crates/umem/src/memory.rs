//! The mapping itself.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use memmap2::{MmapMut, MmapOptions};

use crate::layout::{AreaLayout, HEADROOM, Layout, LayoutError};
use crate::returns::Returns;

/// Base-2 logarithm of the huge page size asked for: 2 MiB, the one that x86-64 and arm64 share.
const HUGE_PAGE_BITS: u8 = 21;

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// Why a UMEM could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UmemError {
    /// The layout is not possible.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The kernel refused the mapping.
    #[error("cannot map {bytes} bytes of UMEM: ask for a smaller one, or free memory")]
    Map {
        /// Bytes asked for.
        bytes: usize,
        /// What mmap(2) said.
        source: std::io::Error,
    },
}

/// One anonymous mapping, shared by an engine and the AF_XDP sockets that it holds.
///
/// The bytes are reached through the [`Ledger`](crate::Ledger) (by a frame) or an [`Area`]; the
/// mapping lives as long as any of them, or a socket, holds its `Arc`.
pub struct Umem {
    base: *mut u8,
    len_bytes: usize,
    huge_pages: bool,
    layout: Layout,
    areas_taken: Vec<AtomicBool>,
    has_ledger: AtomicBool,
    returns: Returns,
    id: u32,
    _mapping: MmapMut,
}

// SAFETY: `base` points into `_mapping`, which is plain memory owned by this value. The bytes are
// only reached by way of a `Frame`, an `Area` or what is lent of a frame, each of which is unique for its
// part of the memory, or shared for reading.
unsafe impl Send for Umem {}
// SAFETY: as above; no method of `&Umem` reads or writes the mapped bytes.
unsafe impl Sync for Umem {}

impl Umem {
    /// Maps a UMEM, on huge pages where the system has some free.
    pub fn new(layout: Layout) -> Result<Arc<Umem>, UmemError> {
        let chunks = layout.check()?;
        let bytes = chunks as usize * layout.chunk_bytes as usize;
        let huge_bytes = bytes.next_multiple_of(1 << HUGE_PAGE_BITS);
        let mut huge = MmapOptions::new();
        huge.len(huge_bytes).huge(Some(HUGE_PAGE_BITS));
        // Miri knows no huge pages, and ends the program where the kernel would say so.
        let huge = (!cfg!(miri)).then(|| huge.map_anon().ok()).flatten();
        let (mut mapping, huge_pages) = match huge {
            Some(mapping) => (mapping, true),
            None => {
                let plain = MmapOptions::new().len(bytes).map_anon();
                (
                    plain.map_err(|source| UmemError::Map { bytes, source })?,
                    false,
                )
            }
        };
        Ok(Arc::new(Umem {
            base: mapping.as_mut_ptr(),
            len_bytes: bytes,
            huge_pages,
            areas_taken: layout
                .areas
                .iter()
                .map(|_| AtomicBool::new(false))
                .collect(),
            has_ledger: AtomicBool::new(false),
            returns: Returns::new(layout.rx_chunks),
            layout,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            _mapping: mapping,
        }))
    }

    /// Start of the mapping, for registration with the kernel (`XDP_UMEM_REG`).
    pub fn as_ptr(&self) -> *mut u8 {
        self.base
    }

    /// Bytes of the UMEM: whole chunks, without what a huge page adds at the end.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Bytes in a chunk.
    pub fn chunk_bytes(&self) -> u32 {
        self.layout.chunk_bytes
    }

    /// Whether the mapping lies on huge pages.
    pub fn huge_pages(&self) -> bool {
        self.huge_pages
    }

    /// The layout that the UMEM was made with.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// True for the first caller only.
    pub(crate) fn claim_ledger(&self) -> bool {
        !self.has_ledger.swap(true, Ordering::AcqRel)
    }

    /// What of the RX chunks is lent, and what has come back.
    pub(crate) fn returns(&self) -> &Returns {
        &self.returns
    }

    /// Calls `wake` when a lent chunk comes back from another thread while
    /// [`Ledger::want_returns`](crate::Ledger::want_returns) stands. Only the first call counts.
    pub fn on_return(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.returns.set_wake(Box::new(wake));
    }

    /// Where memory of this process lies in the UMEM; `None` if not all of it does.
    #[inline]
    pub fn offset_of(&self, addr: u64, len: usize) -> Option<u64> {
        let offset = addr.checked_sub(self.base as u64)?;
        let end = offset.checked_add(len as u64)?;
        (end <= self.len_bytes as u64).then_some(offset)
    }

    /// Takes a plain registered area, once: `None` if there is no such area, or it has slots, or it was
    /// taken before.
    pub fn take_area(self: &Arc<Self>, area: usize) -> Option<Area> {
        let AreaLayout::Plain(len) = *self.layout.areas.get(area)? else {
            return None;
        };
        let start = self.take(area)?;
        Some(self.part(start, len))
    }

    /// Takes a registered area of slots, once: `None` if there is no such area, or it is plain, or it was
    /// taken before.
    pub fn take_slots(self: &Arc<Self>, area: usize) -> Option<Vec<Area>> {
        let AreaLayout::Slots {
            count,
            payload_bytes,
        } = *self.layout.areas.get(area)?
        else {
            return None;
        };
        let start = self.take(area)?;
        let (slot_bytes, in_chunk) = self.layout.slot(payload_bytes);
        let slots = (0..count).map(|slot| {
            let chunk = (slot / in_chunk) as usize * self.chunk_bytes() as usize;
            let slot = (slot % in_chunk * slot_bytes + HEADROOM) as usize;
            self.part(start + chunk + slot, payload_bytes as usize)
        });
        Some(slots.collect())
    }

    /// Where a registered area begins, which nobody has taken yet.
    fn take(&self, area: usize) -> Option<usize> {
        let chunks = self.layout.area_chunks(area)?;
        let taken = self.areas_taken[area].swap(true, Ordering::AcqRel);
        (!taken).then_some(chunks.start as usize * self.chunk_bytes() as usize)
    }

    fn part(self: &Arc<Self>, start: usize, len: usize) -> Area {
        Area {
            umem: Arc::clone(self),
            start,
            len,
            capacity: len,
        }
    }
}

impl std::fmt::Debug for Umem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Umem")
            .field("len_bytes", &self.len_bytes)
            .field("huge_pages", &self.huge_pages)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// A registered area, or a slot of one: UMEM memory that the application fills.
#[derive(Debug)]
pub struct Area {
    umem: Arc<Umem>,
    start: usize,
    len: usize,
    capacity: usize,
}

impl Area {
    /// Bytes that it can have: those that it was made with.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Leaves the first `len` bytes, or brings back those that were left out: what they were is kept.
    ///
    /// # Panics
    /// If it cannot have as many.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity, "umem: an area is as long as it is");
        self.len = len;
    }
}

impl AsRef<[u8]> for Area {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Area {
    /// Gives up writing to it, for good: so it can be lent without a promise
    /// ([`Ledger::borrow_frozen`](crate::Ledger::borrow_frozen)).
    pub fn freeze(self) -> FrozenArea {
        FrozenArea(self)
    }
}

/// A registered area, or a slot of one, that nobody writes to any more.
#[derive(Debug)]
pub struct FrozenArea(Area);

impl FrozenArea {
    /// Where it begins in its UMEM, if it is this one.
    pub(crate) fn offset_in(&self, umem: &Arc<Umem>) -> Option<u64> {
        Arc::ptr_eq(&self.0.umem, umem).then_some(self.0.start as u64)
    }
}

impl Deref for FrozenArea {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Area {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start..start + len` lies in the mapping (Layout::area_chunks), which `umem` keeps
        // alive; `take_area` and `take_slots` hand each area out once, no two slots overlap, and no
        // pool's chunks overlap an area.
        unsafe { std::slice::from_raw_parts(self.umem.base.add(self.start), self.len) }
    }
}

impl DerefMut for Area {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes the borrow exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.umem.base.add(self.start), self.len) }
    }
}

//! The memory of an AF_XDP socket's ring, mapped from the kernel.

use std::io;
use std::mem::{align_of, size_of};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use ringwire_umem::Umem;

use crate::error::Error;
use crate::ring::{Consumer, Entry, Layout, Producer};
use crate::sync::Watch;

/// One mapped ring. Fields are dropped after [`Drop::drop`], so a socket's last ring is unmapped before
/// its descriptor is closed: a mapping would keep the queue bound.
struct Mapping {
    base: *mut libc::c_void,
    bytes: usize,
    _socket: Arc<OwnedFd>,
    _umem: Arc<Umem>,
}

// SAFETY: the mapping belongs to no thread; its memory is reached through the ring's one owner.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared reference gives no access to the memory.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map` and is unmapped only here.
        unsafe { libc::munmap(self.base, self.bytes) };
    }
}

/// A ring of a socket that has been given its size, not mapped yet.
pub(crate) struct MappedRing {
    /// The size it was given, a power of two.
    pub(crate) entries: u32,
    /// Where the kernel says its parts lie (`XDP_MMAP_OFFSETS`).
    pub(crate) offsets: libc::xdp_ring_offset,
    /// Its place in the socket's address space (`XDP_PGOFF_*`).
    pub(crate) page_offset: libc::off_t,
}

impl MappedRing {
    pub(crate) fn producer<T: Entry>(
        self,
        socket: &Arc<OwnedFd>,
        umem: &Arc<Umem>,
    ) -> Result<Producer<T>, Error> {
        let (layout, mapping) = self.map(socket, umem)?;
        // SAFETY: `map` checked that every part lies in the mapping and is aligned; the kernel is the
        // consumer, and each ring of a socket is mapped once.
        Ok(unsafe { Producer::new(layout, mapping) })
    }

    pub(crate) fn consumer<T: Entry>(
        self,
        socket: &Arc<OwnedFd>,
        umem: &Arc<Umem>,
    ) -> Result<Consumer<T>, Error> {
        let (layout, mapping) = self.map(socket, umem)?;
        // SAFETY: as in `producer`; every bit pattern is an `Entry`.
        Ok(unsafe { Consumer::new(layout, mapping) })
    }

    fn map<T: Entry>(
        self,
        socket: &Arc<OwnedFd>,
        umem: &Arc<Umem>,
    ) -> Result<(Layout<T>, Arc<Mapping>), Error> {
        let doing = "mapping a ring";
        let bytes = self.extent::<T>().ok_or_else(|| Error::Io {
            doing,
            source: io::Error::new(
                io::ErrorKind::InvalidData,
                "the kernel's ring offsets make no sense",
            ),
        })?;
        // SAFETY: the kernel chooses the address, so no other mapping is touched.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                self.page_offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Error::io(doing));
        }
        let mapping = Arc::new(Mapping {
            base,
            bytes,
            _socket: Arc::clone(socket),
            _umem: Arc::clone(umem),
        });
        // SAFETY: `extent` checked that each part ends inside the mapping's `bytes`.
        let at = |offset: u64| unsafe { base.cast::<u8>().add(offset as usize) };
        let layout = Layout {
            producer: at(self.offsets.producer).cast(),
            consumer: at(self.offsets.consumer).cast(),
            flags: at(self.offsets.flags).cast(),
            entries: at(self.offsets.desc).cast::<T>(),
            capacity: self.entries,
            watch: Watch::new(self.entries as usize),
        };
        Ok((layout, mapping))
    }

    /// Bytes to map so that every part is inside; `None` if a part is not aligned or too far.
    fn extent<T>(&self) -> Option<usize> {
        let index_ends = [
            self.offsets.producer,
            self.offsets.consumer,
            self.offsets.flags,
        ]
        .map(|offset| {
            let aligned = offset % align_of::<AtomicU32>() as u64 == 0;
            offset
                .checked_add(size_of::<AtomicU32>() as u64)
                .filter(|_| aligned)
        });
        let entries_bytes = u64::from(self.entries) * size_of::<T>() as u64;
        let aligned = self.offsets.desc.is_multiple_of(align_of::<T>() as u64);
        let mut end = self
            .offsets
            .desc
            .checked_add(entries_bytes)
            .filter(|_| aligned)?;
        for index_end in index_ends {
            end = end.max(index_end?);
        }
        // The largest ring is 2^32 entries of 16 bytes; anything far beyond is not an offset.
        usize::try_from(end).ok().filter(|end| *end <= 1 << 40)
    }
}

//! Buffer rings as an application has them: of memory of its own, or lent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use ringwire::Lent;
use ringwire::engine::Engine;
use ringwire::provided::entry_addr;
use ringwire_abi::flags::{IOU_PBUF_RING_LENT, IOU_PBUF_RING_MMAP};
use ringwire_abi::register::{BufReg, IORING_REGISTER_PBUF_RING};
use ringwire_umem::LendTable;

/// Where the tail is in the ring: in its first entry's reserved field (`struct io_uring_buf_ring`).
const TAIL_AT: usize = 14;

/// An entry has an address, a length and a buffer id (`struct io_uring_buf`).
const ENTRY_BYTES: usize = 16;
const LEN_AT: usize = 8;
const BID_AT: usize = 12;
/// What a buffer ring of the application's is aligned to.
const PAGE_BYTES: usize = 4096;

/// A buffer group and the application's end of its ring.
pub struct Group {
    ring: *mut u8,
    entries: u16,
    tail: u16,
    memory: Memory,
}

enum Memory {
    Own {
        bytes: usize,
        buffers: Box<[u8]>,
    },
    /// Pieces of so many bytes of the first registered buffer.
    Registered {
        bytes: usize,
    },
    Lent(Arc<LendTable>),
}

impl Group {
    /// Registers buffers of so many bytes; all of them are in the ring.
    ///
    /// # Panics
    /// If the engine does not take it.
    pub fn own(engine: &mut Engine, group: u16, entries: u16, bytes: usize) -> Group {
        let buffers = vec![0; usize::from(entries) * bytes].into_boxed_slice();
        Group::register(engine, (group, entries, 0), |_| Memory::Own {
            bytes,
            buffers,
        })
    }

    /// Registers a lent group; all of its ids are in the ring.
    ///
    /// # Panics
    /// If the engine does not take it.
    pub fn lent(engine: &mut Engine, group: u16, entries: u16) -> Group {
        Group::register(engine, (group, entries, IOU_PBUF_RING_LENT), |engine| {
            Memory::Lent(engine.lend_table(group).expect("a lent group"))
        })
    }

    /// Registers buffers of so many bytes with a ring of the kernel's; all of them are in the ring.
    ///
    /// # Panics
    /// If it does not take it.
    pub fn of_kernel(ring: &IoUring, group: u16, entries: u16, bytes: usize) -> Group {
        let memory = vec![0; usize::from(entries) * ENTRY_BYTES + PAGE_BYTES].leak();
        let skip = memory.as_ptr().align_offset(PAGE_BYTES);
        let at = memory[skip..].as_mut_ptr();
        let submitter = ring.submitter();
        // SAFETY: the memory is page aligned, holds the entries, and is never freed.
        unsafe { submitter.register_buf_ring_with_flags(at as u64, entries, group, 0) }
            .expect("a buffer ring");
        let buffers = vec![0; usize::from(entries) * bytes].into_boxed_slice();
        Group::full(at, entries, Memory::Own { bytes, buffers })
    }

    /// Registers a group whose entries name pieces of the first registered buffer; all of them are in the ring.
    ///
    /// # Panics
    /// If the engine does not take it.
    pub fn registered(engine: &mut Engine, group: u16, entries: u16, bytes: usize) -> Group {
        Group::register(engine, (group, entries, 0), |_| Memory::Registered {
            bytes,
        })
    }

    fn register(
        engine: &mut Engine,
        (group, entries, flags): (u16, u16, u16),
        memory: impl FnOnce(&Engine) -> Memory,
    ) -> Group {
        let mut reg = BufReg {
            ring_entries: entries.into(),
            bgid: group,
            flags: flags | IOU_PBUF_RING_MMAP,
            ..BufReg::default()
        };
        let arg = &raw mut reg as u64;
        // SAFETY: the argument lives through the call; the ring's memory is the engine's.
        unsafe { engine.register(IORING_REGISTER_PBUF_RING, arg, 1) }.expect("a buffer ring");
        let ring = engine.buf_ring_memory(group).expect("the engine's memory") as *mut u8;
        Group::full(ring, entries, memory(engine))
    }

    fn full(ring: *mut u8, entries: u16, memory: Memory) -> Group {
        let mut group = Group {
            ring,
            entries,
            tail: 0,
            memory,
        };
        for bid in 0..entries {
            group.give(bid);
        }
        group
    }

    /// Adds a buffer to the ring.
    pub fn give(&mut self, bid: u16) {
        let (addr, len) = match &mut self.memory {
            Memory::Own { bytes, buffers } => {
                let at = usize::from(bid) * *bytes;
                (buffers[at..at + *bytes].as_mut_ptr() as u64, *bytes as u32)
            }
            Memory::Registered { bytes } => {
                let offset = usize::from(bid) * *bytes;
                (entry_addr(0, offset as u64), *bytes as u32)
            }
            Memory::Lent(_) => (0, 0),
        };
        let at = usize::from(self.tail & (self.entries - 1)) * ENTRY_BYTES;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the masked index lies in the ring, whose memory is the engine's until it is dropped, or never
        // freed; it is page aligned, so the entries and the tail are. Only what is behind the tail is read there.
        unsafe {
            let entry = self.ring.add(at);
            entry.cast::<u64>().write(addr);
            entry.add(LEN_AT).cast::<u32>().write(len);
            entry.add(BID_AT).cast::<u16>().write(bid);
            let tail = &*self.ring.add(TAIL_AT).cast::<AtomicU16>();
            tail.store(self.tail, Ordering::Release);
        }
    }

    /// The bytes under an id, of which a completion says that there are `len` in it and those that follow.
    ///
    /// # Panics
    /// If nothing is lent under it.
    pub fn bytes(&self, bid: u16, len: usize) -> &[u8] {
        match &self.memory {
            Memory::Own { bytes, buffers } => {
                &buffers[usize::from(bid) * bytes..][..len.min(*bytes)]
            }
            Memory::Registered { .. } => panic!("nothing is received there"),
            // SAFETY: the id is added to the ring by `give` alone, which borrows the group exclusively.
            Memory::Lent(table) => unsafe { table.get(bid) }.expect("something lent"),
        }
    }

    /// Takes what was lent with a completion; `None` for memory of the application's own.
    pub fn take(&mut self, bid: u16, len: usize) -> Option<Lent> {
        match &self.memory {
            Memory::Own { .. } | Memory::Registered { .. } => None,
            Memory::Lent(table) => table.take(bid, len),
        }
    }
}

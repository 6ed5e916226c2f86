//! A ring of provided buffers, with their memory.

use memmap2::MmapMut;
use ringwire::engine::Engine;
use ringwire_abi::flags::IOU_PBUF_RING_LENT;
use ringwire_abi::register::{BufReg, IORING_REGISTER_PBUF_RING};

pub(crate) struct Buffers {
    memory: Vec<u8>,
    ring: MmapMut,
    count: u16,
    bytes_each: usize,
    tail: u16,
}

impl Buffers {
    /// Registers a group of `count` buffers (a power of two) and provides them all.
    pub(crate) fn register(
        engine: &mut Engine,
        group: u16,
        count: u16,
        bytes_each: usize,
    ) -> Buffers {
        Buffers::new(engine, group, count, bytes_each, 0)
    }

    /// Registers a lent group of `count` ids (a power of two) and gives them all.
    pub(crate) fn register_lent(engine: &mut Engine, group: u16, count: u16) -> Buffers {
        Buffers::new(engine, group, count, 0, IOU_PBUF_RING_LENT)
    }

    /// Registers a group of at most `count` entries (a power of two), which has none.
    pub(crate) fn register_empty(engine: &mut Engine, group: u16, count: u16) -> Buffers {
        let mut buffers = Buffers::unregistered(count, 0);
        buffers.register_ring(engine, group, 0);
        buffers
    }

    fn new(engine: &mut Engine, group: u16, count: u16, bytes_each: usize, flags: u16) -> Buffers {
        let mut buffers = Buffers::unregistered(count, bytes_each);
        buffers.register_ring(engine, group, flags);
        for bid in 0..count {
            buffers.provide(bid);
        }
        buffers
    }

    fn register_ring(&mut self, engine: &mut Engine, group: u16, flags: u16) {
        let reg = BufReg {
            ring_addr: self.ring.as_mut_ptr() as u64,
            ring_entries: self.count.into(),
            bgid: group,
            flags,
            ..BufReg::default()
        };
        // SAFETY: the mapping lives in the application, which its host keeps as long as the engine.
        unsafe { engine.register(IORING_REGISTER_PBUF_RING, &raw const reg as u64, 1) }
            .expect("a buffer ring");
    }

    /// A ring that no engine knows, without entries.
    pub(crate) fn unregistered(count: u16, bytes_each: usize) -> Buffers {
        Buffers {
            memory: vec![0; usize::from(count) * bytes_each],
            ring: MmapMut::map_anon(usize::from(count) * 16).expect("memory for a buffer ring"),
            count,
            bytes_each,
            tail: 0,
        }
    }

    /// Gives a buffer (back) to the ring.
    pub(crate) fn provide(&mut self, bid: u16) {
        let addr = self.memory[usize::from(bid) * self.bytes_each..].as_mut_ptr() as u64;
        self.put(addr, self.bytes_each as u32, bid);
    }

    /// Gives an id (back) to the ring, any.
    pub(crate) fn provide_id(&mut self, bid: u16) {
        self.put(0, self.bytes_each as u32, bid);
    }

    /// Adds an entry.
    pub(crate) fn put(&mut self, addr: u64, len: u32, bid: u16) {
        let at = usize::from(self.tail % self.count) * 16;
        self.ring[at..at + 8].copy_from_slice(&addr.to_ne_bytes());
        self.ring[at + 8..at + 12].copy_from_slice(&len.to_ne_bytes());
        self.ring[at + 12..at + 14].copy_from_slice(&bid.to_ne_bytes());
        self.publish(self.tail.wrapping_add(1));
    }

    /// Takes back the entries that were added last, while no request can take them.
    pub(crate) fn retract(&mut self, count: u16) {
        self.publish(self.tail.wrapping_sub(count));
    }

    fn publish(&mut self, tail: u16) {
        self.tail = tail;
        // The engine reads on this same thread: no ordering is needed.
        self.ring[14..16].copy_from_slice(&self.tail.to_ne_bytes());
    }

    /// A buffer that the ring has not.
    pub(crate) fn whole(&mut self, bid: u16) -> &mut [u8] {
        let start = usize::from(bid) * self.bytes_each;
        &mut self.memory[start..start + self.bytes_each]
    }

    /// The first bytes of a buffer.
    pub(crate) fn get(&self, bid: u16, len: usize) -> &[u8] {
        let start = usize::from(bid) * self.bytes_each;
        &self.memory[start..start + self.bytes_each][..len]
    }
}

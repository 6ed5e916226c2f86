// A group of provided buffers (`io_uring_register_buf_ring`). Compiled twice, as server.rs is.

struct BufferGroup {
    id: u16,
    bytes: Vec<u8>,
    buffer_bytes: usize,
    ring: *mut types::BufRingEntry,
    entries: u16,
    tail: u16,
}

impl BufferGroup {
    /// Registers a group of `entries` buffers, and provides them all.
    fn new(ring: &IoUring, id: u16, entries: u16, buffer_bytes: usize) -> io::Result<BufferGroup> {
        let ring_bytes = usize::from(entries) * size_of::<types::BufRingEntry>();
        // SAFETY: a fresh anonymous mapping; it lives until the process ends, longer than the ring.
        let memory = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), ring_bytes, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is never unmapped.
        unsafe { ring.submitter().register_buf_ring_with_flags(memory as u64, entries, id, 0)? };
        let bytes = vec![0; usize::from(entries) * buffer_bytes];
        let mut group = BufferGroup { id, bytes, buffer_bytes, ring: memory.cast(), entries, tail: 0 };
        for bid in 0..entries {
            group.provide(bid);
        }
        Ok(group)
    }

    /// The first bytes of a buffer.
    fn buffer(&self, bid: u16, len: usize) -> &[u8] {
        let start = usize::from(bid) * self.buffer_bytes;
        &self.bytes[start..start + len]
    }

    /// Gives a buffer to the group.
    fn provide(&mut self, bid: u16) {
        let addr = self.bytes[usize::from(bid) * self.buffer_bytes..].as_mut_ptr() as u64;
        // SAFETY: the masked index is inside the ring, whose memory is never unmapped; the tail is a
        // u16 that the other side reads atomically.
        unsafe {
            let entry = &mut *self.ring.add(usize::from(self.tail & (self.entries - 1)));
            entry.set_addr(addr);
            entry.set_len(self.buffer_bytes as u32);
            entry.set_bid(bid);
            self.tail = self.tail.wrapping_add(1);
            let tail = types::BufRingEntry::tail(self.ring).cast::<std::sync::atomic::AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

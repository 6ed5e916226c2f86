//! A group that lends what was received: the bytes are read where the NIC wrote them.

use std::sync::atomic::{AtomicU16, Ordering};

use ringwire::{IOU_PBUF_RING_LENT, IoUring, LentBuffers, cqueue, types};
use ringwire_abi::flags::IOU_PBUF_RING_MMAP;

/// The group's number.
pub const GROUP: u16 = 1;
const ENTRIES: u16 = 256;

/// The group, of whose ids each is always the ring's: what was lent is taken over at once.
pub struct Lending {
    entries: *mut types::BufRingEntry,
    tail: u16,
    buffers: LentBuffers,
    /// Completions that named what was lent.
    pub received: u64,
}

impl Lending {
    /// Registers it; it must not outlive the ring.
    pub fn new(ring: &IoUring) -> Lending {
        let submitter = ring.submitter();
        let flags = IOU_PBUF_RING_LENT | IOU_PBUF_RING_MMAP;
        // SAFETY: the memory is the ring's own.
        let registered =
            unsafe { submitter.register_buf_ring_with_flags(0, ENTRIES, GROUP, flags) };
        registered.expect("a group that lends");
        let mut lending = Lending {
            entries: submitter.buf_ring_memory(GROUP).expect("its entries"),
            tail: 0,
            buffers: submitter.lent_buffers(GROUP).expect("its buffers"),
            received: 0,
        };
        for bid in 0..ENTRIES {
            lending.give(bid);
        }
        lending
    }

    /// Reads what a completion names.
    pub fn read<T>(&mut self, res: i32, flags: u32, read: impl FnOnce(&[u8]) -> T) -> T {
        let bid = cqueue::buffer_select(flags).expect("an id");
        let len = usize::try_from(res).expect("bytes");
        let lent = self.buffers.take(bid, len).expect("what is under the id");
        self.received += 1;
        // While more of the frame comes, the id is not given back.
        if !cqueue::buffer_more(flags) {
            self.give(bid);
        }
        read(&lent)
    }

    fn give(&mut self, bid: u16) {
        // SAFETY: the masked index is in the ring, whose memory lives as long as the io_uring; the other side
        // reads the tail atomically.
        unsafe {
            let entry = &mut *self.entries.add(usize::from(self.tail & (ENTRIES - 1)));
            entry.set_bid(bid);
            self.tail = self.tail.wrapping_add(1);
            let tail = types::BufRingEntry::tail(self.entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    /// Of all that was lent, at most one part in a hundred was copied: short segments are put together.
    pub fn assert_not_copied(&self, ring: &IoUring) {
        let stack = ring.counters().expect("counters").stack;
        let copied = stack.lend_copied_from_heap + stack.lend_copied_for_room;
        println!("lent {} parts, {copied} of them copies", self.received);
        assert!(
            self.received > 0 && 100 * copied <= self.received,
            "{copied} of {} lent parts are copies",
            self.received
        );
    }
}

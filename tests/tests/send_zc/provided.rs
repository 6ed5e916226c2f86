//! Bundles from provided registered buffers: TCP and UDP.

use std::sync::atomic::{AtomicU16, Ordering};

use ringwire::provided::{ProvidedSend, entry_addr, send_zc};
use ringwire_tests::net::{PEER_V4, PEER_V6};
use ringwire_tests::stream::{CONNECTION, pattern};

use super::*;

pub const CASES: &[(&str, fn())] = &[
    ("bundles_of_pieces_of_a_row_on_a_stream", row_on_a_stream),
    ("bundles_of_slots_on_a_stream", slots_on_a_stream),
    ("bundles_of_pieces_of_a_row_as_datagrams", row_as_datagrams),
    ("provided_slots_as_datagrams", slots_as_datagrams),
];

const GROUP: u16 = 3;
const ENTRIES: u16 = 1024;
const PIECE: usize = 4096;
/// The registered buffers: the row, and all slots.
const IN_ROW: u32 = 0;
const IN_SLOTS: u32 = 1;

/// The group's ring, in memory that the engine lends.
struct Provided {
    ring: *mut types::BufRingEntry,
    tail: u16,
}

impl Provided {
    fn new(bed: &Bed) -> Provided {
        const LENT_MEMORY: u16 = 1;
        let submitter = bed.ring.submitter();
        let last = bed.slots.last().expect("slots");
        let end = last.as_ptr() as usize + last.len();
        let slots = libc::iovec {
            iov_base: bed.slots[0].as_ptr().cast_mut().cast(),
            iov_len: end - bed.slots[0].as_ptr() as usize,
        };
        // SAFETY: the areas live until the cases end, behind the ring; the buffer ring has no memory of its own.
        unsafe {
            submitter
                .register_buffers(&[iovec(&bed.plain), slots])
                .expect("registered buffers");
            submitter
                .register_buf_ring_with_flags(0, ENTRIES, GROUP, LENT_MEMORY)
                .expect("a buffer ring");
        }
        let ring = submitter.buf_ring_memory(GROUP).expect("its memory");
        Provided {
            ring: ring.cast(),
            tail: 0,
        }
    }

    /// Provides so many bytes from an offset on in a registered buffer.
    fn give(&mut self, index: u32, offset: usize, len: usize, bid: u16) {
        // SAFETY: the masked index lies in the ring, which is there until the engine goes; the tail is aligned.
        unsafe {
            let entry = &mut *self.ring.add(usize::from(self.tail % ENTRIES));
            entry.set_addr(entry_addr(index, offset as u64));
            entry.set_len(len as u32);
            entry.set_bid(bid);
            self.tail = self.tail.wrapping_add(1);
            let tail = types::BufRingEntry::tail(self.ring).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Bed {
    /// Where a slot begins in the registered buffer of them all.
    fn in_slots(&self, slot: usize) -> usize {
        self.slots[slot].as_ptr() as usize - self.slots[0].as_ptr() as usize
    }

    /// A send that takes so many bytes, beginning with this buffer: none is copied, and there is one notification.
    fn send_provided(&mut self, send: ProvidedSend, len: usize, bid: u16) {
        self.push(&send.report_usage().build());
        let completions = self.wait(2);
        let [sent, notification] = &completions[..] else {
            panic!("a completion and a notification: {completions:?}")
        };
        assert!(cqueue::more(sent.flags()) && cqueue::notif(notification.flags()));
        assert_eq!((sent.result(), notification.result()), (len as i32, 0));
        for cqe in [sent, notification] {
            assert_eq!(cqueue::buffer_select(cqe.flags()), Some(bid), "{cqe:?}");
        }
    }
}

fn row_on_a_stream() {
    for v6 in [false, true] {
        let mut bed = Bed::new();
        let mut provided = Provided::new(&bed);
        let peer = bed.connected(v6);
        let bytes = pattern(1, PLAIN_BYTES);
        bed.plain.copy_from_slice(&bytes);
        let pieces = PLAIN_BYTES / PIECE;
        for piece in 0..pieces {
            provided.give(IN_ROW, piece * PIECE, PIECE, piece as u16);
        }
        // Paced by the length, and then by how many buffers a bundle takes.
        let paced = 64 * PIECE;
        bed.send_provided(send_zc(CONNECTION, GROUP, paced as u32).bundle(), paced, 0);
        for first in (64..pieces).step_by(256) {
            let len = (pieces - first).min(256) * PIECE;
            let bundle = send_zc(CONNECTION, GROUP, 0).bundle();
            bed.send_provided(bundle, len, first as u16);
        }
        assert!(bed.close(peer) == bytes, "what came is not what was sent");
        let stack = bed.counters().stack;
        assert_eq!((stack.tx_copied_pieces, stack.tx_copied_small), (0, 0));
        assert!(stack.tx_scattered >= (PLAIN_BYTES / 1460) as u64);
    }
}

fn slots_on_a_stream() {
    const LEN: usize = 1400;
    for v6 in [false, true] {
        let mut bed = Bed::new();
        let mut provided = Provided::new(&bed);
        let peer = bed.connected(v6);
        let all = pattern(2, SLOTS as usize * LEN);
        for (slot, bytes) in bed.slots.iter_mut().zip(all.chunks(LEN)) {
            slot[..LEN].copy_from_slice(bytes);
        }
        for _ in 0..8 {
            for slot in 0..SLOTS as usize {
                provided.give(IN_SLOTS, bed.in_slots(slot), LEN, slot as u16);
            }
            let bundle = send_zc(CONNECTION, GROUP, 0).bundle();
            bed.send_provided(bundle, all.len(), 0);
        }
        assert!(
            bed.close(peer) == all.repeat(8),
            "what came is not what was sent"
        );
        let stack = bed.counters().stack;
        assert!(stack.tx_in_place >= 8 * u64::from(SLOTS), "{stack:?}");
        assert_eq!((stack.tx_copied_pieces, stack.tx_copied_small), (0, 0));
    }
}

fn row_as_datagrams() {
    for address in [PEER_V4, PEER_V6] {
        let mut bed = Bed::new();
        let mut provided = Provided::new(&bed);
        let peer = bed.datagrams(address);
        let bytes = pattern(3, 32 * PIECE);
        bed.plain[..bytes.len()].copy_from_slice(&bytes);
        for (first, datagram) in (0..).step_by(2).zip(bytes.chunks(2 * PIECE)) {
            for bid in [first, first + 1] {
                provided.give(IN_ROW, usize::from(bid) * PIECE, PIECE, bid);
            }
            let bundle = send_zc(datagrams::SOCKET, GROUP, 0).bundle();
            bed.send_provided(bundle, datagram.len(), first);
            assert!(datagrams::receive(&mut bed, &peer) == datagram);
        }
        let stack = bed.counters().stack;
        assert_eq!(stack.tx_scattered, stack.tx_fragments);
        assert_eq!((stack.tx_copied_pieces, stack.tx_copied_small), (0, 0));
    }
}

fn slots_as_datagrams() {
    const LEN: usize = 1400;
    for address in [PEER_V4, PEER_V6] {
        let mut bed = Bed::new();
        let mut provided = Provided::new(&bed);
        let peer = bed.datagrams(address);
        let all = pattern(4, SLOTS as usize * LEN);
        for (slot, bytes) in bed.slots.iter_mut().zip(all.chunks(LEN)) {
            slot[..LEN].copy_from_slice(bytes);
        }
        for (slot, bytes) in all.chunks(LEN).enumerate() {
            provided.give(IN_SLOTS, bed.in_slots(slot), LEN, slot as u16);
            let send = send_zc(datagrams::SOCKET, GROUP, 0);
            bed.send_provided(send, LEN, slot as u16);
            assert_eq!(datagrams::receive(&mut bed, &peer), bytes);
        }
        let stack = bed.counters().stack;
        assert_eq!((stack.tx_in_place, stack.tx_scattered), (SLOTS.into(), 0));
    }
}

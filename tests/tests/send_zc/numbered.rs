//! MSG_ZEROCOPY: sends that their socket numbers, from registered slots.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use ringwire::msg_zerocopy::{ErrorMessage, RangeArray, ZeroCopyRange};
use ringwire_tests::net::{PEER_V4, PEER_V6};
use ringwire_tests::stream::{CONNECTION, pattern, run};

use super::datagrams::{SOCKET, receive};
use super::*;

pub const CASES: &[(&str, fn())] = &[
    ("numbered_datagrams_are_told_in_the_error_queue", datagrams),
    ("numbered_datagrams_come_back_inline", datagrams_inline),
    ("numbered_bytes_of_a_stream_come_back_either_way", streams),
];

/// Sends of each case: every slot twice.
const SENDS: usize = 2 * SLOTS as usize;
const BYTES: usize = 1400;

/// Sends that have come back, and whether they were sent from where they lay.
#[derive(Default)]
struct Told(BTreeMap<u32, bool>);

impl Told {
    fn add(&mut self, range: &ZeroCopyRange) {
        for number in range.lo..=range.hi {
            let again = self.0.insert(number, range.zerocopy == 1);
            assert!(again.is_none(), "{number} is told once");
        }
    }
}

/// A message of one part, with its array.
struct Sender {
    header: libc::msghdr,
    part: libc::iovec,
    array: RangeArray<4>,
}

impl Sender {
    fn new() -> Box<Sender> {
        let mut sender = Box::new(Sender {
            header: message(&[]),
            part: iovec(&[]),
            array: RangeArray::new(),
        });
        sender.header.msg_iov = &raw mut sender.part;
        sender.header.msg_iovlen = 1;
        sender
    }

    /// Sends, with MSG_ZEROCOPY and MSG_WAITALL; takes the ranges that come back with it, if it is to.
    fn send(
        &mut self,
        bed: &mut Bed,
        socket: types::Fixed,
        slot: usize,
        inline: Option<&mut Told>,
    ) {
        self.part = iovec(&bed.slots[slot][..BYTES]);
        (self.header.msg_control, self.header.msg_controllen) = (std::ptr::null_mut(), 0);
        if inline.is_some() {
            self.array.attach(&mut self.header);
        }
        let flags = (libc::MSG_ZEROCOPY | libc::MSG_WAITALL) as u32;
        let entry = opcode::SendMsg::new(socket, &self.header).flags(flags);
        assert_eq!(run(&mut bed.ring, entry.build()), BYTES as i32);
        if let Some(told) = inline {
            let ranges = self.array.taken(&self.header).iter();
            ranges.for_each(|range| told.add(range));
        }
    }
}

impl Bed {
    /// Waits for an entry of a socket's error queue.
    fn wait_for_range(&mut self, socket: types::Fixed, told: &mut Told) {
        let mut header = message(&[]);
        let mut error = ErrorMessage::new();
        error.attach(&mut header);
        let receive = opcode::RecvMsg::new(socket, &mut header);
        self.push(&receive.flags(libc::MSG_ERRQUEUE as u32).build());
        assert_eq!(self.wait(1)[0].result(), 0);
        told.add(&error.range(&header).expect("a notification"));
    }

    /// Fills a slot for the next time, which is the application's again.
    fn refill(&mut self, index: usize) -> Vec<u8> {
        let bytes = pattern(index as u8, BYTES);
        let slot = index % SLOTS as usize;
        self.slots[slot][..BYTES].copy_from_slice(&bytes);
        bytes
    }
}

fn check(told: &Told) {
    assert!(told.0.keys().copied().eq(0..SENDS as u32), "each is told");
    assert!(told.0.values().all(|&uncopied| uncopied), "none is copied");
}

fn datagrams() {
    for address in [PEER_V4, PEER_V6] {
        let mut bed = Bed::new();
        let peer = bed.datagrams(address);
        bed.number_sends(SOCKET);
        let (mut sender, mut told) = (Sender::new(), Told::default());
        for index in 0..SENDS {
            let bytes = bed.refill(index);
            sender.send(&mut bed, SOCKET, index % SLOTS as usize, None);
            assert_eq!(receive(&mut bed, &peer), bytes);
            // One at a time: its slot is filled anew by and by.
            while told.0.len() <= index {
                bed.wait_for_range(SOCKET, &mut told);
            }
        }
        check(&told);
    }
}

fn datagrams_inline() {
    for address in [PEER_V4, PEER_V6] {
        let mut bed = Bed::new();
        let peer = bed.datagrams(address);
        bed.number_sends(SOCKET);
        let (mut sender, mut told) = (Sender::new(), Told::default());
        for index in 0..SENDS {
            let bytes = bed.refill(index);
            sender.send(&mut bed, SOCKET, index % SLOTS as usize, Some(&mut told));
            assert_eq!(receive(&mut bed, &peer), bytes);
            assert!(told.0.len() <= index, "not before the NIC has sent it");
            assert!(index < 8 || !told.0.is_empty(), "those before come back");
        }
        while told.0.len() < SENDS {
            bed.wait_for_range(SOCKET, &mut told);
        }
        check(&told);
    }
}

fn streams() {
    for v6 in [false, true] {
        let mut bed = Bed::new();
        let peer: JoinHandle<Vec<u8>> = bed.connected(v6);
        bed.number_sends(CONNECTION);
        let (mut sender, mut told) = (Sender::new(), Told::default());
        let mut wanted = Vec::new();
        for index in 0..SENDS {
            // Both ways: the last that had this slot must be back.
            while index >= SLOTS as usize && !told.0.contains_key(&(index as u32 - SLOTS)) {
                bed.wait_for_range(CONNECTION, &mut told);
            }
            wanted.extend(bed.refill(index));
            let inline = (index % 3 != 0).then_some(&mut told);
            sender.send(&mut bed, CONNECTION, index % SLOTS as usize, inline);
        }
        while told.0.len() < SENDS {
            bed.wait_for_range(CONNECTION, &mut told);
        }
        check(&told);
        assert!(bed.close(peer) == wanted, "what came is not what was sent");
        assert_eq!(bed.counters().stack.tx_copied_pieces, 0);
    }
}

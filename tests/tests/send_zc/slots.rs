//! Notification slots: several sends, one notification.

use std::io::Read;
use std::net::UdpSocket;

use ringwire::slots::{SendZc, flush};
use ringwire_tests::net::{PEER_V4, PEER_V6, ip};
use ringwire_tests::stream::{CONNECTION, outlive, pattern};

use super::datagrams::receive;
use super::*;

pub const CASES: &[(&str, fn())] = &[
    (
        "datagrams_of_a_slot_have_one_notification_and_no_copy",
        datagrams,
    ),
    ("two_sockets_share_a_slot", two_sockets),
    ("registered_and_own_memory_share_a_slot", fixed_and_own),
    (
        "segments_of_a_slot_have_one_notification_and_no_copy",
        segments,
    ),
    (
        "a_streams_notification_waits_for_the_acknowledgement",
        acknowledged,
    ),
    ("a_polling_threads_slots_are_as_others", polled),
];

const TAG: u64 = 0xfeed;
const BYTES: usize = 1400;
/// Sends of one set.
const SET: usize = 8;

/// A silent send that is bound to the slot; the last of a set flushes it.
fn piece(socket: types::Fixed, bytes: &[u8], last: bool) -> squeue::Entry {
    let send = SendZc::new(socket, 0, bytes.as_ptr(), bytes.len() as u32);
    let send = send.flags(libc::MSG_WAITALL).flush(last).build();
    send.flags(squeue::Flags::SKIP_SUCCESS)
}

impl Bed {
    /// Writes a set's payload into the first slots; returns it.
    fn fill(&mut self, seed: u8) -> Vec<u8> {
        let all = pattern(seed, SET * BYTES);
        for (slot, bytes) in self.slots.iter_mut().zip(all.chunks(BYTES)) {
            slot[..BYTES].copy_from_slice(bytes);
        }
        all
    }

    /// The next completion is the notification of this set, and nothing is behind it.
    fn notified(&mut self, tag: u64, number: u32) {
        let completions = self.wait(1);
        let seen: Vec<_> = completions
            .iter()
            .map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags()))
            .collect();
        assert_eq!(seen, [(tag, 0, number)]);
    }

    /// Packets with registered memory went out from where it lies, so many at least, and none was copied.
    fn assert_in_place(&self, packets: u64) {
        let stack = self.counters().stack;
        assert!(stack.tx_in_place >= packets, "{stack:?}");
        let copied = stack.tx_copied_pieces
            + stack.tx_copied_small
            + stack.tx_copied_neighbour
            + stack.tx_copied_headroom
            + stack.tcp_tx_copied;
        assert_eq!((copied, stack.tx_scattered), (0, 0), "{stack:?}");
    }
}

fn with_slots(set_up: impl FnOnce(&mut Builder)) -> Bed {
    let bed = Bed::set_up(1500, set_up);
    bed.ring.submitter().register_slots(&[TAG]).expect("a slot");
    bed
}

/// Sends sets of datagrams, each when the one before was notified of, out of the same memory.
fn send_datagrams(bed: &mut Bed, socket: types::Fixed, peer: &UdpSocket, first: u32) {
    for number in first..first + 3 {
        let all = bed.fill(number as u8);
        for index in 0..SET {
            let bytes = &bed.slots[index][..BYTES];
            let entry = piece(socket, bytes, index == SET - 1);
            bed.push(&entry);
        }
        bed.notified(TAG, number);
        for bytes in all.chunks(BYTES) {
            assert_eq!(receive(bed, peer), bytes);
        }
    }
}

fn datagrams() {
    let mut bed = with_slots(|_| {});
    for (index, address) in [PEER_V4, PEER_V6].into_iter().enumerate() {
        let socket = types::Fixed(index as u32);
        let peer = bed.datagrams_by(socket, address);
        send_datagrams(&mut bed, socket, &peer, 3 * index as u32);
    }
    bed.assert_in_place(6 * SET as u64);
}

fn two_sockets() {
    let mut bed = with_slots(|_| {});
    let sockets = [0, 1].map(types::Fixed);
    let peers = [(sockets[0], PEER_V4), (sockets[1], PEER_V6)]
        .map(|(socket, address)| bed.datagrams_by(socket, address));
    let all = bed.fill(1);
    for index in 0..SET {
        let bytes = &bed.slots[index][..BYTES];
        let entry = piece(sockets[index % 2], bytes, false);
        bed.push(&entry);
    }
    bed.push(&flush(0, 1, 7).flags(squeue::Flags::SKIP_SUCCESS));
    bed.notified(TAG, 0);
    for (index, bytes) in all.chunks(BYTES).enumerate() {
        assert_eq!(receive(&mut bed, &peers[index % 2]), bytes);
    }
    bed.assert_in_place(SET as u64);
    bed.push(&piece(sockets[0], &bed.slots[0][..BYTES], true));
    bed.notified(7, 1);
}

fn fixed_and_own() {
    let mut bed = with_slots(|_| {});
    let socket = types::Fixed(0);
    let peer = bed.datagrams_by(socket, PEER_V4);
    let all = bed.fill(2);
    let registered = iovec(&bed.slots[0]);
    // SAFETY: the memory outlives the ring.
    unsafe { bed.ring.submitter().register_buffers(&[registered]) }.expect("a buffer");
    let own = pattern(3, BYTES);
    let fixed = SendZc::new(socket, 0, bed.slots[0].as_ptr(), BYTES as u32);
    bed.push(
        &fixed
            .buf_index(0)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS),
    );
    bed.push(&piece(socket, &own, true));
    bed.notified(TAG, 0);
    assert_eq!(receive(&mut bed, &peer), &all[..BYTES]);
    assert_eq!(receive(&mut bed, &peer), own);
    bed.assert_in_place(1);
}

fn segments() {
    for v6 in [false, true] {
        let mut bed = with_slots(|_| {});
        let peer = bed.connected(v6);
        let mut sent = Vec::new();
        for number in 0..16 {
            sent.extend(bed.fill(number as u8));
            for index in 0..SET {
                let bytes = &bed.slots[index][..BYTES];
                bed.push(&piece(CONNECTION, bytes, index == SET - 1));
            }
            bed.notified(TAG, number);
        }
        assert!(bed.close(peer) == sent, "what came is not what was sent");
        bed.assert_in_place(16 * SET as u64);
    }
}

/// The peer loses its address for a while: what is sent to it goes out, and nobody acknowledges it.
fn acknowledged() {
    for (v6, address) in [(false, "10.7.0.1/24"), (true, "fd07::1/64 nodad")] {
        let mut bed = with_slots(|_| {});
        let peer = bed.connected_as(v6, |mut stream| {
            let mut bytes = vec![0; SET * BYTES];
            stream.read_exact(&mut bytes).expect("the peer reads");
            bytes
        });
        let plain = address.trim_end_matches(" nodad");
        bed.veth
            .in_peer(|| ip(&format!("addr del {plain} dev rw1")));
        let all = bed.fill(4);
        for index in 0..SET {
            let bytes = &bed.slots[index][..BYTES];
            bed.push(&piece(CONNECTION, bytes, index == SET - 1));
        }
        let before = bed.counters().stack.tcp_tx_segments;
        // What is sent again has left the NIC long ago.
        while bed.counters().stack.tcp_tx_segments <= before + SET as u64 {
            ringwire_tests::stream::wait(&mut bed.ring, Duration::from_millis(50));
            assert!(bed.ring.completion().next().is_none(), "too early");
        }
        bed.veth
            .in_peer(|| ip(&format!("addr add {address} dev rw1")));
        bed.notified(TAG, 0);
        let came = outlive(&mut bed.ring, peer, 4 * PATIENCE);
        assert!(came == all, "what came is not what was sent");
    }
}

fn polled() {
    let mut bed = with_slots(|builder| {
        builder.setup_sqpoll(100_000);
    });
    let socket = types::Fixed(0);
    let peer = bed.datagrams_by(socket, PEER_V4);
    send_datagrams(&mut bed, socket, &peer, 0);
    bed.assert_in_place(3 * SET as u64);
    bed.push(&piece(socket, &bed.slots[0][..BYTES], false));
    bed.ring.submit().expect("a submission");
    receive(&mut bed, &peer);
    bed.ring.submitter().unregister_slots().expect("slots");
    bed.notified(TAG, 3);
}

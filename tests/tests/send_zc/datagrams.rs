//! UDP.

use std::net::UdpSocket;

use ringwire::{opcode, types};
use ringwire_tests::net::{PEER_V4, PEER_V6};
use ringwire_tests::stream::{connect_socket, pattern, run};

use super::*;

pub const CASES: &[(&str, fn())] = &[
    ("a_datagram_in_a_slot_has_its_headers_in_front", in_a_slot),
    ("a_datagram_in_a_row_has_its_headers_beside_it", in_a_row),
    (
        "where_the_kernel_copies_a_short_datagram_in_a_row_is_copied",
        short_in_a_row,
    ),
    ("a_datagram_across_chunks_is_one_packet", across_chunks),
    (
        "a_datagram_over_the_mtu_is_fragments_of_the_memory",
        fragments,
    ),
    ("a_message_of_many_parts_is_gathered", gathered),
    ("a_message_of_too_many_parts_is_copied", too_many_parts),
    ("memory_of_ones_own_is_copied", own_memory),
    ("one_slot_sent_twice_at_once_arrives_twice", twice_at_once),
    ("a_socket_sends_on_when_its_memory_is_back", goes_on),
    (
        "what_waits_for_a_neighbour_is_not_copied",
        before_the_neighbour,
    ),
];

pub const SOCKET: types::Fixed = types::Fixed(0);

impl Bed {
    /// A socket that is connected to one of the peer's.
    pub fn datagrams(&mut self, address: &str) -> UdpSocket {
        self.datagrams_by(SOCKET, address)
    }

    pub fn datagrams_by(&mut self, socket: types::Fixed, address: &str) -> UdpSocket {
        let peer = self.veth.peer_socket(address);
        let v6 = address.contains(':');
        let domain = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        let slot = types::DestinationSlot::try_from_slot_target(socket.0).expect("a small slot");
        let open = opcode::Socket::new(domain, libc::SOCK_DGRAM, 0).file_index(Some(slot));
        assert_eq!(run(&mut self.ring, open.build()), 0);
        let to = peer.local_addr().expect("an address");
        connect_socket(&mut self.ring, socket, to);
        peer
    }
}

/// The peer's next datagram; what waits for a neighbour needs turns.
pub fn receive(bed: &mut Bed, peer: &UdpSocket) -> Vec<u8> {
    peer.set_nonblocking(true).expect("a socket that waits not");
    let mut bytes = vec![0; 70_000];
    let start = Instant::now();
    loop {
        if let Ok(len) = peer.recv(&mut bytes) {
            bytes.truncate(len);
            return bytes;
        }
        assert!(start.elapsed() < PATIENCE, "no datagram");
        ringwire_tests::stream::wait(&mut bed.ring, Duration::from_millis(1));
    }
}

fn in_a_slot() {
    for address in [PEER_V4, PEER_V6] {
        let mut bed = Bed::new();
        let peer = bed.datagrams(address);
        let bytes = pattern(1, 1400);
        bed.slots[3][..1400].copy_from_slice(&bytes);
        let entry = send_zc(SOCKET, &bed.slots[3][..1400], 0);
        assert_eq!(bed.send(entry), (1400, false));
        assert_eq!(receive(&mut bed, &peer), bytes);
        let stack = bed.counters().stack;
        assert_eq!((stack.tx_in_place, stack.tx_scattered), (1, 0));
    }
}

fn in_a_row() {
    for address in [PEER_V4, PEER_V6] {
        let mut bed = Bed::new();
        let peer = bed.datagrams(address);
        let bytes = pattern(2, 1400);
        bed.plain[100..1500].copy_from_slice(&bytes);
        let entry = send_zc(SOCKET, &bed.plain[100..1500], 0);
        assert_eq!(bed.send(entry), (1400, false));
        assert_eq!(receive(&mut bed, &peer), bytes);
        let stack = bed.counters().stack;
        assert_eq!((stack.tx_in_place, stack.tx_scattered), (0, 1));
    }
}

fn short_in_a_row() {
    let mut bed = Bed::with(9000, None);
    let peer = bed.datagrams(PEER_V4);
    for (len, copied) in [(4000, true), (4096, false)] {
        let bytes = pattern(2, len);
        bed.plain[100..100 + len].copy_from_slice(&bytes);
        let entry = send_zc(SOCKET, &bed.plain[100..100 + len], 0);
        assert_eq!(bed.send(entry), (len as i32, copied));
        assert_eq!(receive(&mut bed, &peer), bytes);
    }
    let stack = bed.counters().stack;
    assert_eq!((stack.tx_scattered, stack.tx_copied_small), (1, 1));
}

fn across_chunks() {
    let mut bed = Bed::new();
    let peer = bed.datagrams(PEER_V4);
    let bytes = pattern(3, 1400);
    let place = 4096 - 700..4096 + 700;
    bed.plain[place.clone()].copy_from_slice(&bytes);
    let entry = send_zc(SOCKET, &bed.plain[place], 0);
    assert_eq!(bed.send(entry), (1400, false));
    assert_eq!(receive(&mut bed, &peer), bytes);
    assert_eq!(bed.counters().stack.tx_scattered, 1);
}

fn fragments() {
    for address in [PEER_V4, PEER_V6] {
        let mut bed = Bed::new();
        let peer = bed.datagrams(address);
        let bytes = pattern(4, 20_001);
        bed.plain[77..20_078].copy_from_slice(&bytes);
        let entry = send_zc(SOCKET, &bed.plain[77..20_078], 0);
        assert_eq!(bed.send(entry), (20_001, false));
        assert_eq!(receive(&mut bed, &peer), bytes);
        let stack = bed.counters().stack;
        assert_eq!(stack.tx_scattered, stack.tx_fragments);
        assert!(stack.tx_fragments >= 14);
    }
}

fn gathered() {
    let mut bed = Bed::new();
    let peer = bed.datagrams(PEER_V4);
    let bytes = pattern(5, 10_000);
    bed.plain[..10_000].copy_from_slice(&bytes);
    // Every second 90 bytes.
    let parts: Vec<&[u8]> = (0..15).map(|part| &bed.plain[part * 180..][..90]).collect();
    let wanted = parts.concat();
    let iovecs: Vec<_> = parts.into_iter().map(iovec).collect();
    let header = message(&iovecs);
    assert_eq!(bed.send(sendmsg_zc(SOCKET, &header)), (1350, false));
    assert_eq!(receive(&mut bed, &peer), wanted);
}

fn too_many_parts() {
    let mut bed = Bed::new();
    let peer = bed.datagrams(PEER_V4);
    let bytes = pattern(6, 1000);
    bed.plain[..1000].copy_from_slice(&bytes);
    let iovecs: Vec<_> = bed.plain[..1000].chunks(10).map(iovec).collect();
    let header = message(&iovecs);
    assert_eq!(bed.send(sendmsg_zc(SOCKET, &header)), (1000, true));
    assert_eq!(receive(&mut bed, &peer), bytes);
    assert_eq!(bed.counters().stack.tx_copied_pieces, 1);
}

fn own_memory() {
    let mut bed = Bed::new();
    let peer = bed.datagrams(PEER_V4);
    let bytes = pattern(7, 1000);
    assert_eq!(bed.send(send_zc(SOCKET, &bytes, 0)), (1000, true));
    assert_eq!(receive(&mut bed, &peer), bytes);
}

fn twice_at_once() {
    let mut bed = Bed::new();
    let peer = bed.datagrams(PEER_V4);
    let bytes = pattern(8, 1400);
    bed.slots[0][..1400].copy_from_slice(&bytes);
    let entry = send_zc(SOCKET, &bed.slots[0][..1400], 0);
    for _ in 0..8 {
        bed.push(&entry);
    }
    let completions = bed.wait(16);
    assert!(completions.iter().all(|cqe| cqe.result() != COPIED));
    for _ in 0..8 {
        assert_eq!(receive(&mut bed, &peer), bytes);
    }
    // The headers of one are in front of it; those of the others cannot be.
    let stack = bed.counters().stack;
    assert_eq!((stack.tx_in_place, stack.tx_scattered), (1, 7));
}

fn goes_on() {
    let mut bed = Bed::new();
    let peer = bed.datagrams(PEER_V4);
    let all = pattern(9, 64 * 1400);
    for (slot, bytes) in bed.slots.iter_mut().zip(all.chunks(1400)) {
        slot[..1400].copy_from_slice(bytes);
    }
    // More than the socket's send buffer holds.
    for round in 0..10 {
        for slot in 0..SLOTS as usize {
            let entry = send_zc(SOCKET, &bed.slots[slot][..1400], 0);
            bed.push(&entry);
        }
        let completions = bed.wait(2 * SLOTS as usize);
        let notified = completions.iter().filter(|cqe| cqe.flags() & 8 != 0);
        assert_eq!(notified.count(), SLOTS as usize, "round {round}");
        for bytes in all.chunks(1400) {
            assert_eq!(receive(&mut bed, &peer), bytes);
        }
    }
    assert_eq!(bed.counters().stack.tx_in_place, 640);
}

fn before_the_neighbour() {
    let mut bed = Bed::new();
    let peer = bed.datagrams(PEER_V4);
    let bytes = pattern(10, 1400);
    bed.slots[5][..1400].copy_from_slice(&bytes);
    // The first packet of all: nobody knows the peer's Ethernet address.
    let entry = send_zc(SOCKET, &bed.slots[5][..1400], 0);
    assert_eq!(bed.send(entry), (1400, false));
    assert_eq!(receive(&mut bed, &peer), bytes);
}

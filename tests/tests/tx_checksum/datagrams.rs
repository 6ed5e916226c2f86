//! UDP, to Linux and to another ring.

use std::net::SocketAddr;

use ringwire::opcode;
use ringwire_tests::net::PEER_V6;
use ringwire_tests::stream::{bind_socket, connect_socket, pattern, run, wait};

use super::*;

pub const CASES: &[(&str, fn())] = &[
    ("linux_takes_datagrams_of_every_length", linux),
    ("linux_takes_packets_of_several_pieces", jumbo),
    (
        "a_whole_checksum_is_on_the_wire_where_the_interface_writes_none",
        whole,
    ),
    ("another_ring_on_veth_sees_a_partial_sum", partial),
];

const OTHER_V4: &str = "10.7.0.3";
const OTHER_V6: &str = "fd07::3";
const LENGTHS: [usize; 7] = [0, 1, 2, 777, 1452, 1473, 5000];

fn send(ring: &mut IoUring, bytes: &[u8]) {
    let send = opcode::Send::new(SOCKET, bytes.as_ptr(), bytes.len() as u32);
    assert_eq!(run(ring, send.build()), bytes.len() as i32);
}

/// Sends datagrams to Linux, which must have them all.
fn to_linux(veth: &Veth, ring: &mut IoUring, address: &str, lengths: &[usize]) {
    let peer = veth.peer_socket(address);
    open(ring, address.contains(':'));
    connect_socket(ring, SOCKET, peer.local_addr().expect("an address"));
    for &len in lengths {
        let bytes = pattern(3, len);
        send(ring, &bytes);
        assert!(receive(ring, &peer) == bytes, "{len} bytes to {address}");
    }
    assert_eq!(run(ring, opcode::Close::new(SOCKET).build()), 0);
}

fn offloaded(ring: &IoUring) -> u64 {
    ring.counters().expect("counters").stack.tx_offloaded
}

fn linux() {
    for verifies in [false, true] {
        let veth = Veth::new(1, 1500, false);
        if verifies {
            veth.ring_offloads_off();
            veth.peer_verifies();
        }
        let mut ring = build(&veth, &builder());
        for address in [PEER_V4, PEER_V6] {
            to_linux(&veth, &mut ring, address, &LENGTHS);
        }
        if offers(&ring.report().expect("a report")) {
            // 1473 bytes and more are fragments.
            assert_eq!(offloaded(&ring), 10, "verifies: {verifies}");
        }
    }
}

fn jumbo() {
    let veth = Veth::new(1, 9000, false);
    veth.ring_offloads_off();
    veth.peer_verifies();
    let mut ring = build(&veth, &builder());
    let report = ring.report().expect("a report");
    for address in [PEER_V4, PEER_V6] {
        to_linux(&veth, &mut ring, address, &[4000, 4010, 4030, 8000, 8952]);
    }
    if offers(&report) && report.scatter {
        assert_eq!(offloaded(&ring), 10);
    }
}

/// A ring at the peer's end, with a socket.
fn other(veth: &Veth, v6: bool, checksums: RxChecksum) -> (IoUring, SocketAddr) {
    let mut other = veth.in_peer(|| {
        IoUring::builder()
            .interface("rw1")
            .address(format!("{OTHER_V4}/24").parse().expect("an address"))
            .address(format!("{OTHER_V6}/64").parse().expect("an address"))
            .rx_checksum(checksums)
            .detect_duplicates(false)
            .build(8)
            .expect("another ring")
    });
    other.submitter().register_files_sparse(1).expect("a table");
    open(&mut other, v6);
    let address = if v6 { OTHER_V6 } else { OTHER_V4 };
    let to = SocketAddr::new(address.parse().expect("an address"), 9);
    bind_socket(&mut other, SOCKET, to);
    (other, to)
}

/// Takes turns of both until it is so.
fn turns(one: &mut IoUring, other: &mut IoUring, mut until: impl FnMut(&mut IoUring) -> bool) {
    let start = Instant::now();
    while !until(other) {
        assert!(start.elapsed() < PATIENCE, "it did not come to that");
        wait(one, Duration::from_millis(1));
        wait(other, Duration::from_millis(1));
    }
}

/// Sends a datagram to another ring and has it received.
fn to_other(ring: &mut IoUring, other: &mut IoUring, bytes: &[u8]) {
    send(ring, bytes);
    let mut buffer = vec![0; 2000];
    let receive = opcode::Recv::new(SOCKET, buffer.as_mut_ptr(), 2000).build();
    // SAFETY: the buffer lives until the completion is there.
    unsafe { other.submission().push(&receive) }.expect("room in the queue");
    let mut result = None;
    turns(ring, other, |other| {
        result = other.completion().next().map(|cqe| cqe.result());
        result.is_some()
    });
    assert_eq!(result, Some(bytes.len() as i32));
    assert!(buffer.starts_with(bytes));
}

fn whole() {
    for v6 in [false, true] {
        let veth = Veth::new(1, 1500, false);
        veth.ring_offloads_off();
        let mut ring = build(&veth, &builder());
        let (mut other, to) = other(&veth, v6, RxChecksum::Verify);
        open(&mut ring, v6);
        connect_socket(&mut ring, SOCKET, to);
        for len in [1, 2, 1000, 1452] {
            to_other(&mut ring, &mut other, &pattern(4, len));
        }
        let stack = other.counters().expect("counters").stack;
        assert_eq!((stack.rx_bad_checksum, stack.rx_partial_checksum), (0, 0));
    }
}

fn partial() {
    for policy in [RxChecksum::Verify, RxChecksum::AcceptPartial] {
        let veth = Veth::new(1, 1500, false);
        let mut ring = build(&veth, &builder());
        if !offers(&ring.report().expect("a report")) {
            return;
        }
        let (mut other, to) = other(&veth, false, policy);
        open(&mut ring, false);
        connect_socket(&mut ring, SOCKET, to);
        let stack = |ring: &IoUring| ring.counters().expect("counters").stack;
        if policy == RxChecksum::AcceptPartial {
            to_other(&mut ring, &mut other, &pattern(5, 1000));
            assert_eq!(stack(&other).rx_partial_accepted, 1);
        } else {
            send(&mut ring, &pattern(5, 1000));
            turns(&mut ring, &mut other, |other| {
                stack(other).rx_partial_checksum == 1
            });
        }
    }
}

//! Datagrams, there and back: between two rings, and between a ring and the guest's kernel.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringwire::{Area, IoUring, Mode, cqueue, opcode, squeue, types};
use ringwire_abi::flags::IORING_SEND_ZC_REPORT_USAGE;
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6, RING_V4, RING_V6};
use ringwire_tests::stream::{run, wait};

use crate::Check;
use crate::bed::{Bed, SLOT_BYTES, SLOTS, server};
use crate::lending::{GROUP, Lending};

pub const CHECKS: &[Check] = &[
    ("a ring's datagrams come back from a ring", rings),
    ("the kernel's datagrams come back from a ring", kernel_asks),
    (
        "a ring's datagrams come back from the kernel",
        kernel_answers,
    ),
];

const ROUNDS: usize = 40;
/// Datagrams on their way at a time.
const WINDOW: usize = 8;
/// Of the kernel's datagrams: some exceed the MTU, and go in fragments.
pub const LARGEST: usize = 4000;

/// The length of a datagram, up to a largest.
fn len(number: usize, largest: usize) -> usize {
    8 + number * 331 % (largest - 8)
}

/// The content: its number, and bytes that depend on number and offset.
fn fill(number: usize, datagram: &mut [u8]) {
    let (head, body) = datagram.split_at_mut(8);
    head.copy_from_slice(&(number as u64).to_be_bytes());
    for (offset, byte) in body.iter_mut().enumerate() {
        *byte = (number * 7 + offset * 13 + offset / 251) as u8;
    }
}

fn content(number: usize, largest: usize) -> Vec<u8> {
    let mut datagram = vec![0; len(number, largest)];
    fill(number, &mut datagram);
    datagram
}

fn rings(bed: &Bed) {
    let (serving, ring) = bed.server_and_far();
    ask_by_ring(ring, &[server(false), server(true)]);
    serving.stop();
}

fn kernel_asks(bed: &Bed) {
    let serving = bed.serve(Mode::ZeroCopy);
    for (own, server) in [(PEER_V4, RING_V4), (PEER_V6, RING_V6)] {
        ask(&bed.client(own, server), LARGEST);
    }
    serving.stop();
}

fn kernel_answers(bed: &Bed) {
    let socket = bed.wire.peer_socket(PEER_V4);
    let to = socket.local_addr().expect("an address");
    let tick = Some(Duration::from_millis(20));
    socket.set_read_timeout(tick).expect("a timeout");
    let stop = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&stop);
    let peer = std::thread::spawn(move || {
        let mut buffer = [0; LARGEST];
        while !until.load(Ordering::Relaxed) {
            if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                socket.send_to(&buffer[..len], from).expect("an answer");
            }
        }
    });
    ask_by_ring(bed.near(), &[to]);
    stop.store(true, Ordering::Relaxed);
    peer.join().expect("the kernel's end");
}

/// Sends datagrams from a kernel's socket, up to a largest; each must come back.
pub fn ask(socket: &UdpSocket, largest: usize) {
    let mut buffer = [0; LARGEST];
    for round in 0..ROUNDS {
        let numbers = round * WINDOW..(round + 1) * WINDOW;
        for number in numbers.clone() {
            socket.send(&content(number, largest)).expect("a datagram");
        }
        let mut missing: Vec<usize> = numbers.collect();
        while !missing.is_empty() {
            let Ok(received) = socket.recv(&mut buffer) else {
                panic!("{missing:?} did not come back");
            };
            take(&mut missing, largest, &buffer[..received]);
        }
    }
}

/// A datagram that has come back is one of those that were sent, to the byte.
fn take(missing: &mut Vec<usize>, largest: usize, datagram: &[u8]) {
    let found = missing
        .iter()
        .position(|&number| datagram == content(number, largest));
    let Some(found) = found else {
        panic!("{} bytes that nobody sent", datagram.len());
    };
    missing.swap_remove(found);
}

const SOCKET: types::Fixed = types::Fixed(0);
const RECEIVE: u64 = 1 << 33;
const SEND: u64 = 1 << 32;

/// Sends datagrams from a ring, by SEND_ZC out of its slots, and receives by lending; each must come back, and none
/// may be copied.
fn ask_by_ring(mut ring: IoUring, servers: &[SocketAddr]) {
    ring.submitter().register_files_sparse(1).expect("a table");
    let mut slots = ring.take_slots(SLOTS).expect("the slots");
    let mut lending = Lending::new(&ring);
    for &to in servers {
        connect(&mut ring, to);
        ask_one(&mut ring, &mut slots, &mut lending);
        assert_eq!(run(&mut ring, opcode::Close::new(SOCKET).build()), 0);
    }
    lending.assert_not_copied(&ring);
}

fn ask_one(ring: &mut IoUring, slots: &mut [Area], lending: &mut Lending) {
    let receive = opcode::RecvMulti::new(SOCKET, GROUP).build();
    push(ring, receive.user_data(RECEIVE));
    for round in 0..ROUNDS {
        let numbers = round * WINDOW..(round + 1) * WINDOW;
        for (index, number) in numbers.clone().enumerate() {
            let payload = &mut slots[index][..len(number, SLOT_BYTES)];
            fill(number, payload);
            let send = opcode::SendZc::new(SOCKET, payload.as_ptr(), payload.len() as u32);
            let send = send.zc_flags(IORING_SEND_ZC_REPORT_USAGE).build();
            push(ring, send.user_data(SEND | number as u64));
        }
        let mut missing: Vec<usize> = numbers.collect();
        // A slot is written again when every send has been notified of.
        let mut notifications = WINDOW;
        while !missing.is_empty() || notifications > 0 {
            assert!(
                wait(ring, PATIENCE),
                "{missing:?} did not come back, {notifications} notifications neither"
            );
            let completions: Vec<_> = ring.completion().collect();
            for cqe in completions {
                let (user_data, res) = (cqe.user_data(), cqe.result());
                if user_data == RECEIVE {
                    assert!(cqueue::more(cqe.flags()), "the receive goes on: {res}");
                    lending.read(res, cqe.flags(), |datagram| {
                        take(&mut missing, SLOT_BYTES, datagram);
                    });
                } else if cqueue::notif(cqe.flags()) {
                    assert_eq!(res, 0, "a datagram was copied");
                    notifications -= 1;
                } else {
                    let number = (user_data & !SEND) as usize;
                    assert_eq!(res as usize, len(number, SLOT_BYTES));
                    assert!(cqueue::more(cqe.flags()), "a notification follows");
                }
            }
        }
    }
    // It and its cancellation.
    let mut ends = 2;
    push(ring, opcode::AsyncCancel::new(RECEIVE).build());
    while ends > 0 {
        assert!(wait(ring, PATIENCE), "the receive does not end");
        ends -= ring.completion().count();
    }
}

fn connect(ring: &mut IoUring, to: SocketAddr) {
    let domain = if to.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    let slot = types::DestinationSlot::try_from_slot_target(SOCKET.0).expect("a small slot");
    let socket = opcode::Socket::new(domain, libc::SOCK_DGRAM, 0).file_index(Some(slot));
    assert_eq!(run(ring, socket.build()), 0);
    ringwire_tests::stream::connect_socket(ring, SOCKET, to);
}

fn push(ring: &mut IoUring, entry: squeue::Entry) {
    // SAFETY: buffers and area live until every request has completed and been notified.
    unsafe { ring.submission().push(&entry) }.expect("room in the queue");
}

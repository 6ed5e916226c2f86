//! Exhaustion: of buffers, of the completion queue, of send chunks, of receive chunks; and requests
//! that are wrong.

use std::collections::BTreeSet;
use std::net::UdpSocket;

use ringwire::{cqueue, opcode, squeue, types};
use ringwire_abi::flags::{
    IORING_OP_MSG_RING, IORING_OP_SEND_ZC, IORING_OP_SENDMSG_ZC, IOSQE_FIXED_FILE,
};
use ringwire_tests::net::{PEER_V4, RING_V4, Veth, ip};

use crate::server::{PORT, Server, builder};

pub const CASES: &[(&str, fn())] = &[
    ("requests_of_every_kind_of_wrong", wrong_requests),
    ("buffers_run_out_and_come_back", buffers_run_out),
    (
        "a_full_completion_queue_loses_nothing",
        completion_queue_full,
    ),
    ("more_sends_than_the_rings_hold", many_sends),
    ("sends_that_the_link_does_not_take", refused_sends),
    ("a_socket_that_nobody_reads", unread_socket),
];

fn wrong_requests() {
    let veth = Veth::new(1, 1500, false);
    let mut server = Server::new(&veth, &builder());
    let peer = veth.peer_socket(PEER_V4);
    let mut state = 1u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut outstanding = BTreeSet::new();
    for round in 0..4000u64 {
        let mut bytes = [0u8; 64];
        bytes[0] = if round < 256 {
            round as u8
        } else {
            random(70) as u8
        };
        // Not IO_DRAIN and not CQE_SKIP_SUCCESS: those hide or hold back what is counted here. Not
        // slot 0 either, which is the server's.
        bytes[1] = [0, 1, 0x20, 0x21, 0x80, 0x11][random(6) as usize];
        bytes[2] = random(64) as u8;
        bytes[4..8].copy_from_slice(&(1 + random(9) as u32).to_ne_bytes());
        // Addresses stay in the first page, which is never memory.
        for at in [8, 16, 48] {
            bytes[at..at + 8].copy_from_slice(&(random(2) * random(4096 - 16)).to_ne_bytes());
        }
        // What a notification or a message of one's own would say is what is counted here.
        match bytes[0] {
            IORING_OP_SEND_ZC | IORING_OP_SENDMSG_ZC => bytes[48..56].fill(0),
            IORING_OP_MSG_RING => bytes[1] |= IOSQE_FIXED_FILE,
            _ => {}
        }
        bytes[24] = random(8) as u8;
        bytes[28] = random(256) as u8;
        bytes[32..40].copy_from_slice(&(1000 + round).to_ne_bytes());
        bytes[40] = random(4) as u8;
        bytes[44] = [0, 0, 2, 3, 9, 200][random(6) as usize];
        // SAFETY: an entry is 64 bytes of integers; its pointers are in the first page, and refused.
        let entry: squeue::Entry = unsafe { std::mem::transmute(bytes) };
        server.push(&entry);
        outstanding.insert(1000 + round);
        server.ring.submit().expect("a turn");
        take_final(&mut server, &mut outstanding);
    }
    // What waits is cancelled; a poll or receive on a socket made on the way may be among it.
    server.push(
        &opcode::AsyncCancel2::new(types::CancelBuilder::any())
            .build()
            .user_data(1),
    );
    outstanding.insert(1);
    server.ring.submit().expect("a turn");
    take_final(&mut server, &mut outstanding);
    assert!(
        outstanding.is_empty(),
        "every request completes: {outstanding:?}"
    );
    server.echo(&peer, b"still there?");
}

/// Takes completions; each request has one that is its last: of a zero-copy send it is the notification.
fn take_final(server: &mut Server, outstanding: &mut BTreeSet<u64>) {
    for cqe in server.ring.completion() {
        let last = !cqueue::more(cqe.flags());
        assert!(
            !last || outstanding.remove(&cqe.user_data()),
            "{} completed twice",
            cqe.user_data()
        );
    }
}

/// A buffer ring in memory of its own.
struct Buffers {
    ring: *mut types::BufRingEntry,
    memory: Vec<[u8; 64]>,
    tail: u16,
}

impl Buffers {
    fn new(server: &Server, count: u16) -> Buffers {
        let bytes = usize::from(count) * size_of::<types::BufRingEntry>();
        // SAFETY: a fresh anonymous mapping, never unmapped.
        let memory = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                access,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        // SAFETY: the mapping is never unmapped.
        unsafe {
            server
                .ring
                .submitter()
                .register_buf_ring_with_flags(memory as u64, count, 1, 0)
        }
        .expect("a ring");
        let mut buffers = Buffers {
            ring: memory.cast(),
            memory: vec![[0; 64]; count.into()],
            tail: 0,
        };
        for bid in 0..count {
            buffers.provide(bid);
        }
        buffers
    }

    fn provide(&mut self, bid: u16) {
        let count = self.memory.len() as u16;
        // SAFETY: the masked index is in the ring, which is never unmapped.
        unsafe {
            let entry = &mut *self.ring.add(usize::from(self.tail % count));
            entry.set_addr(self.memory[usize::from(bid)].as_mut_ptr() as u64);
            entry.set_len(64);
            entry.set_bid(bid);
            self.tail = self.tail.wrapping_add(1);
            let tail = types::BufRingEntry::tail(self.ring).cast::<std::sync::atomic::AtomicU16>();
            (*tail).store(self.tail, std::sync::atomic::Ordering::Release);
        }
    }
}

/// Receives numbered datagrams by multishot, arming again whenever it ends; returns their numbers
/// and how often it had to.
fn receive_all(server: &mut Server, buffers: &mut Buffers, count: usize) -> (Vec<u32>, u32) {
    let (mut numbers, mut rearmed, mut armed) = (Vec::new(), 0, false);
    let all = server.turn_until(|server| {
        if !armed {
            armed = true;
            rearmed += 1;
            server.push(&opcode::RecvMulti::new(types::Fixed(0), 1).build());
        }
        let completions: Vec<_> = server
            .ring
            .completion()
            .map(|cqe| (cqe.result(), cqe.flags()))
            .collect();
        for (res, flags) in completions {
            armed &= cqueue::more(flags);
            match cqueue::buffer_select(flags) {
                Some(bid) => {
                    assert_eq!(res, 4);
                    let bytes = &buffers.memory[usize::from(bid)][..4];
                    numbers.push(u32::from_ne_bytes(bytes.try_into().expect("four bytes")));
                    buffers.provide(bid);
                }
                None => assert_eq!(res, -libc::ENOBUFS),
            }
        }
        numbers.len() == count
    });
    assert!(all, "{} of {count} arrived", numbers.len());
    (numbers, rearmed)
}

fn send_numbers(veth: &Veth, count: u32) {
    let peer = veth.peer_socket(PEER_V4);
    for number in 0..count {
        peer.send_to(&number.to_ne_bytes(), (RING_V4, PORT))
            .expect("the peer sends");
    }
}

fn buffers_run_out() {
    let veth = Veth::new(1, 1500, false);
    let mut server = Server::new(&veth, &builder());
    let mut buffers = Buffers::new(&server, 4);
    send_numbers(&veth, 100);
    let (numbers, rearmed) = receive_all(&mut server, &mut buffers, 100);
    assert_eq!(
        numbers,
        (0..100).collect::<Vec<_>>(),
        "all of them, in order"
    );
    assert!(rearmed > 1, "the buffers ran out");
}

fn completion_queue_full() {
    let veth = Veth::new(1, 1500, false);
    let mut small = builder();
    small.setup_cqsize(16);
    let mut server = Server::new(&veth, &small);
    let mut buffers = Buffers::new(&server, 64);
    send_numbers(&veth, 60);
    let (numbers, rearmed) = receive_all(&mut server, &mut buffers, 60);
    assert_eq!(
        numbers,
        (0..60).collect::<Vec<_>>(),
        "all of them, in order"
    );
    assert!(rearmed > 1, "the queue was full");
}

/// More datagrams than the rings and the NIC's window hold.
const COUNT: usize = 3000;

/// Sends them to the peer, of 1400 bytes each; all sends complete.
fn send_many(server: &mut Server, peer: &UdpSocket) {
    let payload = vec![3u8; 1400];
    // SAFETY: all zeroes is a valid sockaddr_in.
    let mut to: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    to.sin_family = libc::AF_INET as u16;
    to.sin_port = peer.local_addr().expect("an address").port().to_be();
    to.sin_addr.s_addr = u32::from_ne_bytes([10, 7, 0, 1]);
    let send = opcode::Send::new(types::Fixed(0), payload.as_ptr(), 1400)
        .dest_addr((&raw const to).cast())
        .dest_addr_len(16)
        .build();
    let (mut pushed, mut completed) = (0, 0);
    let all = server.turn_until(|server| {
        while pushed < COUNT && !server.ring.submission().is_full() {
            server.push(&send);
            pushed += 1;
        }
        for cqe in server.ring.completion() {
            assert_eq!(cqe.result(), 1400);
            completed += 1;
        }
        completed == COUNT
    });
    assert!(all, "{completed} of {COUNT} sends completed");
}

fn many_sends() {
    let veth = Veth::new(1, 1500, false);
    let mut small = builder();
    small.send_chunks(64);
    let mut server = Server::new(&veth, &small);
    let peer = veth.peer_socket(PEER_V4);
    server.echo(&peer, b"hello");
    send_many(&mut server, &peer);
    // The peer's socket drops what it has no room for, but its kernel counts that, and what is read.
    peer.set_nonblocking(true).expect("a socket");
    let arrived = server.turn_until(|_| {
        while peer.recv(&mut [0; 2048]).is_ok() {}
        udp_arrived(&veth) == COUNT as u64 + 1
    });
    assert!(arrived, "{} of {COUNT} arrived", udp_arrived(&veth));
}

/// The other end's MTU is smaller: the kernel drops what exceeds it, and its errno is that of a full queue.
fn refused_sends() {
    let veth = Veth::new(1, 1500, false);
    let mut small = builder();
    small.send_chunks(64);
    let mut server = Server::new(&veth, &small);
    let peer = veth.peer_socket(PEER_V4);
    server.echo(&peer, b"hello");
    veth.in_peer(|| ip("link set rw1 mtu 1300"));
    send_many(&mut server, &peer);
    server.echo(&peer, b"still there?");
    assert_eq!(udp_arrived(&veth), 2, "the echoes alone");
}

/// Datagrams that reached the peer's kernel, whether its sockets had room for them or not.
fn udp_arrived(veth: &Veth) -> u64 {
    let snmp = veth
        .in_peer(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))
        .expect("the kernel's counters");
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let names: Vec<&str> = lines.next().expect("names").split(' ').collect();
    let values: Vec<u64> = lines
        .next()
        .expect("values")
        .split(' ')
        .map(|value| value.parse().expect("a number"))
        .collect();
    let value = |name| {
        values[names
            .iter()
            .position(|other| *other == name)
            .expect("a counter")]
    };
    value("InDatagrams") + value("RcvbufErrors")
}

fn unread_socket() {
    let veth = Veth::new(1, 1500, false);
    let mut small = builder();
    small.rx_chunks(128);
    let mut server = Server::new(&veth, &small);
    server.open(1, PORT + 1);
    let peer = veth.peer_socket(PEER_V4);
    for _ in 0..2000 {
        peer.send_to(&[1; 500], (RING_V4, PORT + 1))
            .expect("the peer sends");
        server.ring.submit().expect("a turn");
    }
    server.echo(&peer, b"the other socket");
    let stack = server.ring.counters().expect("counters").stack;
    assert!(
        stack.rx_queue_full > 0 && stack.rx_compacted > 0,
        "{stack:?}"
    );
}

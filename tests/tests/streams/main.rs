//! Linux's TCP at the other end of a veth pair: as client and as server, over both families, with its
//! checksum offload off and on.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use libtest_mimic::{Arguments, Trial};
use ringwire::{IoUring, RxChecksum, opcode, squeue, types};
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6, RING_INTERFACE, RING_V4, RING_V6, Veth};
use ringwire_tests::privileged;

const PORT: u16 = 7000;
const BYTES: usize = 3 << 20;
const LISTENER: types::Fixed = types::Fixed(0);
const CONNECTION: types::Fixed = types::Fixed(1);

/// How the peer leaves its checksums.
#[derive(Clone, Copy)]
enum Offload {
    Off,
    Partial,
}

fn ring(veth: &Veth, offload: Offload) -> IoUring {
    let policy = match offload {
        Offload::Off => RxChecksum::Verify,
        Offload::Partial => RxChecksum::AcceptPartial,
    };
    if let Offload::Off = offload {
        veth.peer_offloads_off();
    }
    let ring = veth.in_ring(|| {
        IoUring::builder()
            .interface(RING_INTERFACE)
            .address(format!("{RING_V4}/24").parse().expect("an address"))
            .address(format!("{RING_V6}/64").parse().expect("an address"))
            .rx_checksum(policy)
            .detect_duplicates(false)
            .build(64)
            .expect("a ring")
    });
    ring.submitter().register_files_sparse(8).expect("a table");
    ring
}

fn run(ring: &mut IoUring, entry: squeue::Entry) -> i32 {
    // SAFETY: what the entries of this file point at outlives their completion, below.
    unsafe { ring.submission().push(&entry) }.expect("room in the queue");
    let time = types::Timespec::from(PATIENCE);
    let args = types::SubmitArgs::new().timespec(&time);
    ring.submitter()
        .submit_with_args(1, &args)
        .expect("a completion");
    ring.completion().next().expect("a completion").result()
}

fn open(ring: &mut IoUring, slot: types::Fixed, v6: bool) {
    let domain = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let target = types::DestinationSlot::try_from_slot_target(slot.0).expect("a small slot");
    let socket = opcode::Socket::new(domain, libc::SOCK_STREAM, 0).file_index(Some(target));
    assert_eq!(run(ring, socket.build()), 0);
}

/// A `sockaddr` in its C form.
fn raw(address: SocketAddr) -> ([u8; 28], u32) {
    let mut bytes = [0; 28];
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&v4.ip().octets());
            (bytes, 16)
        }
        SocketAddr::V6(v6) => {
            bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            bytes[8..24].copy_from_slice(&v6.ip().octets());
            (bytes, 28)
        }
    }
}

fn pattern(seed: u8) -> Vec<u8> {
    (0..BYTES)
        .map(|at| (at / 251 + at * 31) as u8 ^ seed)
        .collect()
}

/// The peer's end: sends a stream, closes its side, and reads the other to its end.
fn converse(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let mut out = stream.try_clone().expect("another handle");
    let writer = std::thread::spawn(move || {
        out.write_all(&pattern(1)).expect("the peer writes");
        out.shutdown(Shutdown::Write)
            .expect("the peer closes its side");
    });
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the peer reads");
    writer.join().expect("the peer has written");
    bytes
}

/// Our end: sends and receives at the same time, until both directions have ended.
fn exchange(ring: &mut IoUring) -> Vec<u8> {
    const SEND: u64 = 1;
    const RECEIVE: u64 = 2;
    let out = pattern(2);
    let mut buffer = vec![0; 100_000];
    let mut received = Vec::new();
    let (send, receive) = (
        opcode::Send::new(CONNECTION, out.as_ptr(), out.len() as u32).flags(libc::MSG_WAITALL),
        opcode::Recv::new(CONNECTION, buffer.as_mut_ptr(), buffer.len() as u32)
            .build()
            .user_data(RECEIVE),
    );
    let push = |ring: &mut IoUring, entry: squeue::Entry| {
        // SAFETY: both buffers live until both directions have ended.
        unsafe { ring.submission().push(&entry) }.expect("room in the queue");
    };
    push(ring, send.build().user_data(SEND));
    push(ring, receive.clone());
    let (mut sent, mut ended) = (false, false);
    let start = Instant::now();
    while !sent || !ended {
        assert!(
            start.elapsed() < 4 * PATIENCE,
            "{} bytes came",
            received.len()
        );
        let time = types::Timespec::from(PATIENCE);
        let args = types::SubmitArgs::new().timespec(&time);
        ring.submitter()
            .submit_with_args(1, &args)
            .expect("a completion");
        let completions: Vec<_> = ring.completion().collect();
        for cqe in completions {
            match (cqe.user_data(), cqe.result()) {
                (SEND, res) => {
                    assert_eq!(res, out.len() as i32);
                    sent = true;
                }
                (_, 0) => ended = true,
                (_, res) => {
                    let count = usize::try_from(res).expect("no error");
                    received.extend_from_slice(&buffer[..count]);
                    push(ring, receive.clone());
                }
            }
        }
    }
    received
}

fn finish(mut ring: IoUring, peer: std::thread::JoinHandle<Vec<u8>>, received: Vec<u8>) {
    assert!(
        received == pattern(1),
        "what came is not what the peer sent"
    );
    assert_eq!(run(&mut ring, opcode::Close::new(CONNECTION).build()), 0);
    // Our FIN and the peer's acknowledgements need turns.
    let start = Instant::now();
    while !peer.is_finished() {
        assert!(start.elapsed() < PATIENCE, "the peer sees no end");
        ring.submit().expect("a turn");
    }
    let at_peer = peer.join().expect("the peer's thread");
    assert!(
        at_peer == pattern(2),
        "what the peer got is not what was sent"
    );
    let counters = ring.counters().expect("counters").stack;
    assert_eq!(counters.rx_bad_checksum + counters.rx_partial_checksum, 0);
}

fn we_serve(v6: bool, offload: Offload) {
    let veth = Veth::new(2, 1500, false);
    let mut ring = ring(&veth, offload);
    open(&mut ring, LISTENER, v6);
    let any: SocketAddr = if v6 { "[::]:7000" } else { "0.0.0.0:7000" }
        .parse()
        .expect("an address");
    let (address, len) = raw(any);
    assert_eq!(
        run(
            &mut ring,
            opcode::Bind::new(LISTENER, address.as_ptr().cast(), len).build()
        ),
        0
    );
    assert_eq!(run(&mut ring, opcode::Listen::new(LISTENER, 1).build()), 0);
    let to: SocketAddr = (
        if v6 { RING_V6 } else { RING_V4 }
            .parse::<std::net::IpAddr>()
            .expect("an address"),
        PORT,
    )
        .into();
    let connect = veth.in_peer(|| {
        // The thread is in the peer's namespace, as its parent is when it begins.
        std::thread::spawn(move || converse(TcpStream::connect(to).expect("a connection")))
    });
    let (addr, addrlen) = (std::ptr::null_mut(), std::ptr::null_mut());
    let slot = types::DestinationSlot::try_from_slot_target(CONNECTION.0).expect("a small slot");
    let accept = opcode::Accept::new(LISTENER, addr, addrlen).file_index(Some(slot));
    assert_eq!(run(&mut ring, accept.build()), 0);
    let received = exchange(&mut ring);
    finish(ring, connect, received);
}

fn we_connect(v6: bool, offload: Offload) {
    let veth = Veth::new(2, 1500, false);
    let mut ring = ring(&veth, offload);
    let listener: TcpListener = veth.peer_listener(if v6 { PEER_V6 } else { PEER_V4 });
    let to = listener.local_addr().expect("an address");
    let peer = std::thread::spawn(move || converse(listener.accept().expect("a connection").0));
    open(&mut ring, CONNECTION, v6);
    let (address, len) = raw(to);
    let connect = opcode::Connect::new(CONNECTION, address.as_ptr().cast(), len);
    assert_eq!(run(&mut ring, connect.build()), 0);
    let received = exchange(&mut ring);
    finish(ring, peer, received);
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    for (v6, family) in [(false, "ipv4"), (true, "ipv6")] {
        for (offload, name) in [
            (Offload::Off, "offload_off"),
            (Offload::Partial, "accept_partial"),
        ] {
            trials.push(privileged(
                &format!("linux_is_our_client_{family}_{name}"),
                move || {
                    we_serve(v6, offload);
                },
            ));
            trials.push(privileged(
                &format!("linux_is_our_server_{family}_{name}"),
                move || {
                    we_connect(v6, offload);
                },
            ));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

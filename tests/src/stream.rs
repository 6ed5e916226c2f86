//! TCP over a ring, one request at a time, against a peer of the kernel's.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringwire::{IoUring, RxChecksum, opcode, squeue, types};

use crate::net::{PATIENCE, RING_INTERFACE, RING_V4, RING_V6, Veth};

const LISTENER: types::Fixed = types::Fixed(0);
/// The direct descriptor of the only connection.
pub const CONNECTION: types::Fixed = types::Fixed(1);
/// The port that the ring serves.
pub const PORT: u16 = 7000;

/// A ring at its end of the pair, with both addresses.
pub fn ring(veth: &Veth, checksums: RxChecksum) -> IoUring {
    let ring = veth.in_ring(|| {
        IoUring::builder()
            .interface(RING_INTERFACE)
            .address(format!("{RING_V4}/24").parse().expect("an address"))
            .address(format!("{RING_V6}/64").parse().expect("an address"))
            .rx_checksum(checksums)
            .detect_duplicates(false)
            .build(64)
            .expect("a ring")
    });
    ring.submitter().register_files_sparse(8).expect("a table");
    ring
}

/// A ring that shares the addresses of its end's kernel. The pair is one with the kernel at both ends.
pub fn shared_ring(veth: &Veth, checksums: RxChecksum) -> IoUring {
    let ring = veth.in_ring(|| {
        IoUring::builder()
            .interface(RING_INTERFACE)
            .rx_checksum(checksums)
            .build(64)
            .expect("a ring")
    });
    ring.submitter().register_files_sparse(8).expect("a table");
    ring
}

/// Takes turns until something has completed or the time is over; whether something has.
pub fn wait(ring: &mut IoUring, at_most: Duration) -> bool {
    let time = types::Timespec::from(at_most);
    let args = types::SubmitArgs::new().timespec(&time);
    match ring.submitter().submit_with_args(1, &args) {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(libc::ETIME) => false,
        Err(error) => panic!("waiting: {error}"),
    }
}

/// Submits a request and waits for its result.
///
/// What the entry points at must outlive the call.
pub fn run(ring: &mut IoUring, entry: squeue::Entry) -> i32 {
    // SAFETY: what the entries of the callers point at outlives their completion, below.
    unsafe { ring.submission().push(&entry) }.expect("room in the queue");
    // A lost SYN is sent again after one second, then after two more.
    assert!(wait(ring, 6 * PATIENCE), "no completion");
    ring.completion().next().expect("a completion").result()
}

/// Waits at the ring's port for the connection; `ready` runs when it can be made.
pub fn accept<T>(ring: &mut IoUring, v6: bool, ready: impl FnOnce(SocketAddr) -> T) -> T {
    open(ring, LISTENER, v6);
    let (any, own) = if v6 {
        ("::", RING_V6)
    } else {
        ("0.0.0.0", RING_V4)
    };
    let (address, len) = raw(at(any, PORT));
    let bind = opcode::Bind::new(LISTENER, address.as_ptr().cast(), len);
    assert_eq!(run(ring, bind.build()), 0);
    assert_eq!(run(ring, opcode::Listen::new(LISTENER, 1).build()), 0);
    let result = ready(at(own, PORT));
    let (addr, addrlen) = (std::ptr::null_mut(), std::ptr::null_mut());
    let slot = types::DestinationSlot::try_from_slot_target(CONNECTION.0).expect("a small slot");
    let accept = opcode::Accept::new(LISTENER, addr, addrlen).file_index(Some(slot));
    assert_eq!(run(ring, accept.build()), 0);
    result
}

/// Makes the connection.
pub fn connect(ring: &mut IoUring, to: SocketAddr) {
    open(ring, CONNECTION, to.is_ipv6());
    connect_socket(ring, CONNECTION, to);
}

/// Connects a socket of either kind.
pub fn connect_socket(ring: &mut IoUring, socket: types::Fixed, to: SocketAddr) {
    let (address, len) = raw(to);
    let connect = opcode::Connect::new(socket, address.as_ptr().cast(), len);
    assert_eq!(run(ring, connect.build()), 0);
}

/// Binds a socket of either kind.
pub fn bind_socket(ring: &mut IoUring, socket: types::Fixed, to: SocketAddr) {
    let (address, len) = raw(to);
    let bind = opcode::Bind::new(socket, address.as_ptr().cast(), len);
    assert_eq!(run(ring, bind.build()), 0);
}

/// A stream of bytes that no shift of it resembles.
pub fn pattern(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at / 251 + at * 31) as u8 ^ seed)
        .collect()
}

/// The peer's end: sends a stream, closes its side, and reads the other to its end.
pub fn converse(mut stream: TcpStream, out: Vec<u8>, patience: Duration) -> Vec<u8> {
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    stream.set_write_timeout(Some(patience)).expect("a timeout");
    let mut writer = stream.try_clone().expect("another handle");
    let writer = std::thread::spawn(move || {
        writer.write_all(&out).expect("the peer writes");
        writer
            .shutdown(Shutdown::Write)
            .expect("the peer closes its side");
    });
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the peer reads");
    writer.join().expect("the peer has written");
    bytes
}

/// The ring's end: sends and receives at the same time, until both directions have ended, and closes.
/// `patience` is for the whole of it.
pub fn exchange(ring: &mut IoUring, out: &[u8], patience: Duration) -> Vec<u8> {
    const SEND: u64 = 1;
    const RECEIVE: u64 = 2;
    let mut buffer = vec![0; 100_000];
    let mut received = Vec::new();
    let send =
        opcode::Send::new(CONNECTION, out.as_ptr(), out.len() as u32).flags(libc::MSG_WAITALL);
    let receive = opcode::Recv::new(CONNECTION, buffer.as_mut_ptr(), buffer.len() as u32)
        .build()
        .user_data(RECEIVE);
    let push = |ring: &mut IoUring, entry: squeue::Entry| {
        // SAFETY: both buffers live until both directions have ended.
        unsafe { ring.submission().push(&entry) }.expect("room in the queue");
    };
    push(ring, send.build().user_data(SEND));
    push(ring, receive.clone());
    let (mut sent, mut ended) = (false, false);
    let start = Instant::now();
    while !sent || !ended {
        assert!(start.elapsed() < patience, "{} bytes came", received.len());
        wait(ring, PATIENCE);
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
    assert_eq!(run(ring, opcode::Close::new(CONNECTION).build()), 0);
    received
}

/// Takes turns until the peer has done: our FIN and its acknowledgements need them.
pub fn outlive<T>(ring: &mut IoUring, peer: std::thread::JoinHandle<T>, patience: Duration) -> T {
    let start = Instant::now();
    while !peer.is_finished() {
        assert!(start.elapsed() < patience, "the peer sees no end");
        wait(ring, Duration::from_millis(1));
    }
    peer.join().expect("the peer's thread")
}

fn open(ring: &mut IoUring, slot: types::Fixed, v6: bool) {
    let domain = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let target = types::DestinationSlot::try_from_slot_target(slot.0).expect("a small slot");
    let socket = opcode::Socket::new(domain, libc::SOCK_STREAM, 0).file_index(Some(target));
    assert_eq!(run(ring, socket.build()), 0);
}

/// An address of these.
pub fn at(ip: &str, port: u16) -> SocketAddr {
    (ip.parse::<IpAddr>().expect("an address"), port).into()
}

/// A `sockaddr` in its C form.
pub fn raw(address: SocketAddr) -> ([u8; 28], u32) {
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

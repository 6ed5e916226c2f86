//! Reading socket options that the kernel's command does not read: getsockopt(2) on a kernel's socket
//! that was set likewise must give the same, byte by byte. And TCP_INFO, beside the kernel's struct of
//! the other end.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libtest_mimic::{Arguments, Trial};
use ringwire::{IoUring, RxChecksum, command, opcode, types};
use ringwire_tests::net::{PEER_V4, Veth};
use ringwire_tests::privileged;
use ringwire_tests::stream::{CONNECTION, connect, ring, run};

const SOCKET: types::Fixed = types::Fixed(3);
/// Room for the longest value, and more.
const ROOM: usize = 512;

/// What reading an option gave: how many bytes were written, and the buffer; or the errno.
type Reading = Result<(usize, Vec<u8>), i32>;

/// The two sockets of a case, set alike.
struct Both {
    ring: IoUring,
    kernel: OwnedFd,
}

impl Both {
    fn new(domain: i32, kind: i32) -> Both {
        let veth = Veth::new(1, 1500, false);
        let mut ring = ring(&veth, RxChecksum::AcceptPartial);
        let slot = types::DestinationSlot::try_from_slot_target(SOCKET.0).expect("a small slot");
        let socket = opcode::Socket::new(domain, kind, 0).file_index(Some(slot));
        assert_eq!(run(&mut ring, socket.build()), 0);
        // SAFETY: socket(2) takes numbers only, and what it returns belongs to nobody yet.
        let kernel = unsafe {
            let fd = libc::socket(domain, kind, 0);
            assert!(fd >= 0, "a kernel's socket");
            OwnedFd::from_raw_fd(fd)
        };
        Both { ring, kernel }
    }

    /// Sets an option of both, which both take.
    fn set(&mut self, level: i32, name: i32, value: &[u8]) {
        let (address, len) = (value.as_ptr().cast(), value.len() as u32);
        // SAFETY: the value lives, and has that length.
        let set = unsafe { libc::setsockopt(self.kernel.as_raw_fd(), level, name, address, len) };
        assert_eq!(set, 0, "the kernel refuses ({level}, {name})");
        let entry = opcode::SetSockOpt::new(SOCKET, level as u32, name as u32, address, len);
        assert_eq!(run(&mut self.ring, entry.build()), 0, "({level}, {name})");
    }

    /// Reads an option of both with several rooms, and compares.
    fn compare(&mut self, level: i32, name: i32) {
        for room in [0, 1, 3, 4, 5, 16, 64] {
            let theirs = from_kernel(&self.kernel, level, name, room);
            let ours = from_ring(&mut self.ring, SOCKET, level, name, room);
            assert_eq!(ours, theirs, "({level}, {name}) into {room} bytes");
        }
    }
}

fn from_kernel(socket: &impl AsRawFd, level: i32, name: i32, room: usize) -> Reading {
    let mut bytes = vec![0xaa; ROOM];
    let mut len = room as u32;
    // SAFETY: the buffer is longer than the length that is given.
    let got = unsafe {
        let value = bytes.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), level, name, value, &raw mut len)
    };
    match got {
        0 => Ok((len as usize, bytes)),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

fn from_ring(
    ring: &mut IoUring,
    socket: types::Fixed,
    level: i32,
    name: i32,
    room: usize,
) -> Reading {
    let mut bytes = vec![0xaa; ROOM];
    let value = bytes.as_mut_ptr().cast();
    let entry = command::get_sock_opt(socket, level, name, value, room as u32);
    match run(ring, entry) {
        res @ 0.. => Ok((res as usize, bytes)),
        error => Err(-error),
    }
}

/// The values that are read before and after each set.
fn reading_is_getsockopts(domain: i32, kind: i32, options: &[(i32, i32, &[i32])]) {
    let mut both = Both::new(domain, kind);
    for &(level, name, values) in options {
        both.compare(level, name);
        for value in values {
            both.set(level, name, &value.to_ne_bytes());
            both.compare(level, name);
        }
    }
}

const TCP_OPTIONS: &[(i32, i32, &[i32])] = &[
    (libc::SOL_TCP, libc::TCP_NODELAY, &[1, 0, 7]),
    (libc::SOL_TCP, libc::TCP_CORK, &[1, 0, -1]),
    (libc::SOL_TCP, libc::TCP_QUICKACK, &[0, 1]),
    (libc::SOL_TCP, libc::TCP_MAXSEG, &[88, 1000, 32_767, 0]),
    (libc::SOL_TCP, libc::TCP_KEEPIDLE, &[1, 32_767]),
    (libc::SOL_TCP, libc::TCP_KEEPINTVL, &[1, 32_767]),
    (libc::SOL_TCP, libc::TCP_KEEPCNT, &[1, 127]),
    (libc::SOL_TCP, libc::TCP_SYNCNT, &[1, 127]),
    (libc::SOL_TCP, libc::TCP_USER_TIMEOUT, &[1, i32::MAX, 0]),
    (libc::SOL_TCP, 9999, &[]),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE, &[1, 0]),
    (libc::SOL_IP, libc::IP_TOS, &[0xff, 0x10, 3]),
    (libc::SOL_IP, libc::IP_TTL, &[1, 255, -1]),
    (libc::SOL_IP, 9999, &[]),
];

const V6_OPTIONS: &[(i32, i32, &[i32])] = &[
    (libc::SOL_IPV6, libc::IPV6_TCLASS, &[0xff, 0x10, -1]),
    (libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS, &[1, 255, 0, -1]),
    (libc::SOL_IPV6, 9999, &[]),
];

fn congestion_control_is_read_by_name() {
    let mut both = Both::new(libc::AF_INET, libc::SOCK_STREAM);
    for name in [&b"reno"[..], b"cubic", b"reno\0"] {
        both.set(libc::SOL_TCP, libc::TCP_CONGESTION, name);
        both.compare(libc::SOL_TCP, libc::TCP_CONGESTION);
    }
}

fn what_is_no_option_of_a_datagram_socket_is_refused() {
    let mut both = Both::new(libc::AF_INET, libc::SOCK_DGRAM);
    let read = from_ring(&mut both.ring, SOCKET, libc::SOL_TCP, libc::TCP_NODELAY, 4);
    assert_eq!(read, Err(libc::EOPNOTSUPP));
    let read = from_ring(&mut both.ring, SOCKET, libc::SOL_IPV6, libc::IPV6_TCLASS, 4);
    assert_eq!(read, Err(libc::ENOPROTOOPT));
}

/// The fields of `struct tcp_info` by their place.
struct Info(Vec<u8>);

impl Info {
    fn u8(&self, at: usize) -> u8 {
        self.0[at]
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }
}

const STATE: usize = 0;
const AGREED: usize = 5;
const SCALES: usize = 6;
const SEND_MSS: usize = 16;
const UNACKED: usize = 24;
const RTT: usize = 68;
const ADVERTISED_MSS: usize = 84;
const TOTAL_AGAIN: usize = 100;
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
const DATA_SEGMENTS_IN: usize = 152;
const DATA_SEGMENTS_OUT: usize = 156;
const BYTES_SENT: usize = 200;
const SEND_WINDOW: usize = 228;
const RECEIVE_WINDOW: usize = 232;
const INFO_BYTES: usize = 280;
const ESTABLISHED: u8 = 1;
const TIMESTAMPS_AND_SCALE: u8 = 5;

fn ring_info(ring: &mut IoUring, socket: types::Fixed) -> Info {
    let read = from_ring(ring, socket, libc::SOL_TCP, libc::TCP_INFO, ROOM);
    let (len, bytes) = read.expect("figures");
    assert_eq!(len, INFO_BYTES);
    assert!(
        bytes[len..].iter().all(|&byte| byte == 0xaa),
        "no more than that"
    );
    Info(bytes)
}

/// Sends a little each way and reads it, so that everything is acknowledged.
fn talk(ring: &mut IoUring, peer: &mut TcpStream) {
    let out = [1u8; 5000];
    let send = opcode::Send::new(CONNECTION, out.as_ptr(), out.len() as u32);
    assert_eq!(run(ring, send.flags(libc::MSG_WAITALL).build()), 5000);
    let mut back = [0u8; 5000];
    let mut taken = 0;
    while taken < 5000 {
        match peer.read(&mut back[taken..]) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                run(ring, opcode::Nop::new().build());
            }
            Err(error) => panic!("{error}"),
        }
    }
    peer.write_all(&[2; 300]).expect("the peer writes");
    let receive = opcode::Recv::new(CONNECTION, back.as_mut_ptr(), 300);
    assert_eq!(run(ring, receive.flags(libc::MSG_WAITALL).build()), 300);
    while run(ring, command::queued_out(CONNECTION)) > 0 {}
}

fn info_has_true_figures() {
    let veth = Veth::new(1, 1500, false);
    let mut ring = ring(&veth, RxChecksum::AcceptPartial);
    let listener: TcpListener = veth.peer_listener(PEER_V4);
    connect(&mut ring, listener.local_addr().expect("an address"));
    let mut peer = listener.accept().expect("a connection").0;
    peer.set_nonblocking(true).expect("a mode");
    talk(&mut ring, &mut peer);
    let ours = ring_info(&mut ring, CONNECTION);
    assert_eq!(ours.u8(STATE), ESTABLISHED);
    assert_eq!((ours.u32(SEND_MSS), ours.u32(ADVERTISED_MSS)), (1448, 1448));
    assert_eq!((ours.u32(UNACKED), ours.u32(TOTAL_AGAIN)), (0, 0));
    assert_eq!(
        (ours.u64(BYTES_ACKED), ours.u64(BYTES_RECEIVED)),
        (5000, 300)
    );
    assert_eq!(ours.u64(BYTES_SENT), 5000);
    assert!(
        (1..1_000_000).contains(&ours.u32(RTT)),
        "{} us",
        ours.u32(RTT)
    );
    // What the other end says of the same things; it counts its SYN's byte as acknowledged.
    let theirs = Info(
        from_kernel(&peer, libc::SOL_TCP, libc::TCP_INFO, ROOM)
            .expect("figures")
            .1,
    );
    assert_eq!(theirs.u64(BYTES_RECEIVED), ours.u64(BYTES_ACKED));
    assert_eq!(theirs.u8(AGREED), ours.u8(AGREED));
    assert_eq!(ours.u8(AGREED) & TIMESTAMPS_AND_SCALE, TIMESTAMPS_AND_SCALE);
    assert_eq!(theirs.u8(SCALES), ours.u8(SCALES).rotate_left(4));
    assert_eq!(theirs.u32(DATA_SEGMENTS_IN), ours.u32(DATA_SEGMENTS_OUT));
    assert_eq!(theirs.u32(DATA_SEGMENTS_OUT), ours.u32(DATA_SEGMENTS_IN));
    assert_eq!(theirs.u32(SEND_WINDOW), ours.u32(RECEIVE_WINDOW));
}

fn info_of_a_listener_counts_who_waits() {
    let veth = Veth::new(1, 1500, false);
    let mut ring = ring(&veth, RxChecksum::AcceptPartial);
    let slot = types::DestinationSlot::try_from_slot_target(SOCKET.0).expect("a small slot");
    let socket = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0);
    assert_eq!(run(&mut ring, socket.file_index(Some(slot)).build()), 0);
    let closed = ring_info(&mut ring, SOCKET);
    assert_eq!(closed.u8(STATE), 7);
    assert_eq!(run(&mut ring, opcode::Listen::new(SOCKET, 5).build()), 0);
    let listening = ring_info(&mut ring, SOCKET);
    const SACKED: usize = 28;
    assert_eq!(listening.u8(STATE), 10);
    assert_eq!((listening.u32(UNACKED), listening.u32(SACKED)), (0, 5));
}

fn main() {
    let arguments = Arguments::from_args();
    let read =
        |name: &str, domain: i32, kind: i32, options: &'static [(i32, i32, &'static [i32])]| {
            privileged(name, move || reading_is_getsockopts(domain, kind, options))
        };
    let (v4, v6) = (libc::AF_INET, libc::AF_INET6);
    let ip_only = &TCP_OPTIONS[11..];
    let trials: Vec<Trial> = vec![
        read(
            "stream_options_are_read_as_by_getsockopt",
            v4,
            libc::SOCK_STREAM,
            TCP_OPTIONS,
        ),
        read(
            "ipv6_stream_options_are_read_as_by_getsockopt",
            v6,
            libc::SOCK_STREAM,
            V6_OPTIONS,
        ),
        read(
            "datagram_options_are_read_as_by_getsockopt",
            v4,
            libc::SOCK_DGRAM,
            ip_only,
        ),
        read(
            "ipv6_datagram_options_are_read_as_by_getsockopt",
            v6,
            libc::SOCK_DGRAM,
            V6_OPTIONS,
        ),
        privileged(
            "congestion_control_is_read_by_name",
            congestion_control_is_read_by_name,
        ),
        privileged(
            "what_is_no_option_of_a_datagram_socket_is_refused",
            what_is_no_option_of_a_datagram_socket_is_refused,
        ),
        privileged("info_has_true_figures", info_has_true_figures),
        privileged(
            "info_of_a_listener_counts_who_waits",
            info_of_a_listener_counts_who_waits,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

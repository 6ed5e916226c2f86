//! TCP segments that the kernel gets although the connections are not its own.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use ringwire_xsk::Protocol;

use crate::pair::{OURS, OURS6, Peer, THEIRS, errno, readable};
use crate::ports::reserve;
use crate::support::{CAP_SYS_ADMIN, keep_capabilities};

const PORT: u16 = 4433;
const FREE: u16 = 4434;
const PEERS: u16 = 5000;

/// TCP as the peer's kernel does not do it: segments of no connection, by a raw socket.
struct Segments(UdpSocket);

impl Segments {
    fn new(peer: &Peer) -> Segments {
        peer.enter(|| {
            // SAFETY: no pointers are passed.
            let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP) };
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            // SAFETY: the descriptor is new and nobody else's. The standard library's socket does nothing
            // that this one does not know.
            Segments(UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) }))
        })
    }

    /// Sends an ACK from the middle of a connection that there is not.
    fn acknowledge(&self, port: u16) {
        let mut segment = Vec::new();
        segment.extend(PEERS.to_be_bytes());
        segment.extend(port.to_be_bytes());
        segment.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        segment.extend([5 << 4, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
        let pseudo = [
            THEIRS.octets(),
            OURS.octets(),
            [0, 6, 0, segment.len() as u8],
        ]
        .concat();
        let words = pseudo.chunks(2).chain(segment.chunks(2));
        let mut sum: u32 = words
            .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
            .sum();
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        segment[16..18].copy_from_slice(&(!sum as u16).to_be_bytes());
        self.0.send_to(&segment, (OURS, 0)).unwrap();
    }

    /// The source port and the flags of the next segment that comes to [`PEERS`].
    fn answer(&self) -> (u16, u8) {
        let mut packet = [0; 200];
        loop {
            readable(&[self.0.as_raw_fd()]);
            let (len, _) = self.0.recv_from(&mut packet).unwrap();
            let segment = &packet[usize::from(packet[0] & 15) * 4..len];
            let port = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
            if port(2) == PEERS {
                return (port(0), segment[13]);
            }
        }
    }
}

const RST: u8 = 4;

pub fn a_segment_that_the_kernel_gets_is_not_answered_once_it_listens() {
    let peer = Peer::new();
    let segments = Segments::new(&peer);
    let ours = reserve(Protocol::Tcp, OURS, PORT).unwrap();
    segments.acknowledge(PORT);
    assert_eq!(segments.answer(), (PORT, RST), "it does not listen yet");
    ours.listen().unwrap();
    segments.acknowledge(PORT);
    segments.acknowledge(FREE);
    assert_eq!(segments.answer(), (FREE, RST), "the first had no answer");
    drop(ours);
    segments.acknowledge(PORT);
    assert_eq!(segments.answer(), (PORT, RST));
}

pub fn a_connection_attempt_is_neither_refused_nor_accepted() {
    let peer = Peer::new();
    neither_refused_nor_accepted(&peer);
}

/// There are kernels where a TCP socket's filter takes CAP_NET_ADMIN.
pub fn nor_without_capabilities() {
    let peer = Peer::new();
    // setns(2) takes CAP_SYS_ADMIN.
    keep_capabilities(&[CAP_SYS_ADMIN]);
    neither_refused_nor_accepted(&peer);
}

fn neither_refused_nor_accepted(peer: &Peer) {
    let any6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let cases = [
        (OURS.into(), OURS.into()),
        (OURS6.into(), OURS6.into()),
        (any6, OURS.into()),
        (any6, IpAddr::from(OURS6)),
    ];
    for (local, to) in cases {
        let ours = reserve(Protocol::Tcp, local, PORT).unwrap();
        ours.listen().unwrap();
        let attempt = peer.enter(|| connecting((to, PORT).into()));
        let refused = peer.enter(|| TcpStream::connect((to, FREE)));
        assert_eq!(errno(refused), libc::ECONNREFUSED);
        is_still_connecting(&attempt);
    }
}

#[track_caller]
fn is_still_connecting(attempt: &TcpStream) {
    let error = attempt.take_error().unwrap();
    assert!(error.is_none(), "{error:?}");
    assert_eq!(errno(attempt.peer_addr()), libc::ENOTCONN);
}

/// A socket whose connection is under way.
fn connecting(to: SocketAddr) -> TcpStream {
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the descriptor is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // The standard library's connect is one call of the kernel's, whatever the socket is.
    let socket = UdpSocket::from(fd);
    assert_eq!(errno(socket.connect(to)), libc::EINPROGRESS);
    TcpStream::from(OwnedFd::from(socket))
}

/// It would be refused, if the kernel did not have what comes by the loopback come by the interface.
pub fn a_program_on_the_host_gets_no_answer() {
    let _peer = Peer::new();
    let ours = reserve(Protocol::Tcp, OURS, PORT).unwrap();
    ours.listen().unwrap();
    let attempt = connecting((OURS, PORT).into());
    assert_eq!(errno(TcpStream::connect((OURS, FREE))), libc::ECONNREFUSED);
    is_still_connecting(&attempt);
}

//! ICMP errors that come to the host, and the neighbour that the kernel is to find.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{ENODEV, EPERM};
use ringwire_xsk::{IcmpErrors, Interface, Neighbour, Rtnetlink};

use crate::pair::{
    OURS, OURS6, Peer, THEIRS, THEIRS_ON_LINK, THEIRS6, errno, index, readable, soon,
};
use crate::support::{CAP_NET_RAW, ipv4, keep_capabilities, udp};

/// Nobody has this port.
const CLOSED: u16 = 4434;
const PORT_UNREACHABLE: [u8; 2] = [3, 3];
const PORT_UNREACHABLE_V6: [u8; 2] = [1, 4];

/// The source and the bytes of the next message.
#[track_caller]
fn next(errors: &mut IcmpErrors) -> (IpAddr, Vec<u8>) {
    let fds: Vec<i32> = errors.fds().collect();
    readable(&fds);
    let mut buffer = [0; 1280];
    let error = errors.next(&mut buffer).unwrap().expect("it was readable");
    (error.source, error.message.to_vec())
}

/// Sends to a port of the peer's that is closed; returns the source port.
fn knock(from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> u16 {
    let socket = UdpSocket::bind((from.into(), 0)).unwrap();
    socket.send_to(b"hello", (to.into(), CLOSED)).unwrap();
    socket.local_addr().unwrap().port()
}

/// The ports of the datagram that an error quotes behind an IP header of so many bytes.
fn quoted(message: &[u8], header: usize) -> (u16, u16) {
    let port = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    (port(8 + header), port(8 + header + 2))
}

pub fn the_error_about_another_programs_datagram_is_seen_and_not_taken() {
    let _peer = Peer::new();
    let mut errors = IcmpErrors::open("local").unwrap();
    let source = knock(OURS, THEIRS);
    let (from, message) = next(&mut errors);
    assert_eq!(from, IpAddr::from(THEIRS));
    assert_eq!(message[..2], PORT_UNREACHABLE);
    assert_eq!(quoted(&message, 20), (source, CLOSED));
    let source = knock(OURS6, THEIRS6);
    let (from, message) = next(&mut errors);
    assert_eq!(from, IpAddr::from(THEIRS6));
    assert_eq!(message[..2], PORT_UNREACHABLE_V6);
    assert_eq!(quoted(&message, 40), (source, CLOSED));
    assert_eq!(errors.next(&mut [0; 1280]).unwrap(), None);
    // The program that is told is the kernel's.
    let program = UdpSocket::bind((OURS, 0)).unwrap();
    program.connect((THEIRS, CLOSED)).unwrap();
    program.send(b"hello").unwrap();
    next(&mut errors);
    assert_eq!(errno(program.recv(&mut [0; 1])), libc::ECONNREFUSED);
}

/// As ringwire sends: the kernel's sockets know nothing of it.
pub fn the_error_about_a_frame_that_the_kernel_did_not_make_is_seen() {
    let peer = Peer::new();
    let mut errors = IcmpErrors::open("local").unwrap();
    let theirs = peer.enter(|| Interface::by_name("peer").unwrap().mac);
    let ours = Interface::by_name("local").unwrap().mac;
    let mut packet = ipv4(THEIRS, 17, 0, 0, &udp(7777, CLOSED, b"hello"));
    packet[12..16].copy_from_slice(&OURS.octets());
    let checksum = !sum(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    send_frame("local", &[&theirs, &ours, &[8, 0][..], &packet].concat());
    let (from, message) = next(&mut errors);
    assert_eq!(from, IpAddr::from(THEIRS));
    assert_eq!(message[..2], PORT_UNREACHABLE);
    assert_eq!(quoted(&message, 20), (7777, CLOSED));
}

pub fn echoes_are_not_errors() {
    let peer = Peer::new();
    let mut errors = IcmpErrors::open("local").unwrap();
    let theirs = peer.enter(|| IcmpErrors::open("peer").unwrap());
    // A request and an answer each way, before the error.
    for (ours, to) in [
        (OURS.into(), THEIRS.into()),
        (IpAddr::from(OURS6), IpAddr::from(THEIRS6)),
    ] {
        errors.ping(to).unwrap();
        theirs.ping(ours).unwrap();
        knock(ours, to);
        let (from, message) = next(&mut errors);
        assert_eq!(from, to);
        assert!(matches!(message[0], 1 | 3), "type {}", message[0]);
    }
    assert_eq!(errors.next(&mut [0; 1280]).unwrap(), None);
}

pub fn an_error_with_a_wrong_checksum_is_passed_over() {
    let peer = Peer::new();
    let mut errors = IcmpErrors::open("local").unwrap();
    let raw = peer.enter(|| raw(libc::AF_INET, libc::IPPROTO_ICMP));
    let mut message = [3, 1, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 28];
    let checksum = !sum(&message);
    message[2..4].copy_from_slice(&(checksum ^ 1).to_be_bytes());
    raw.send_to(&message, (OURS, 0)).unwrap();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    raw.send_to(&message, (OURS, 0)).unwrap();
    assert_eq!(next(&mut errors), (THEIRS.into(), message.to_vec()));
    assert_eq!(errors.next(&mut [0; 1280]).unwrap(), None);
}

/// The kernel writes the right checksum of ICMPv6 messages, so that a wrong one takes a frame.
pub fn an_icmpv6_error_with_a_wrong_checksum_is_the_kernels_to_drop() {
    let peer = Peer::new();
    let mut errors = IcmpErrors::open("local").unwrap();
    let ours = Interface::by_name("local").unwrap().mac;
    let message = [1, 4, 0xab, 0xcd, 0, 0, 0, 0, 0x60, 0, 0, 0];
    let mut packet = vec![0x60, 0, 0, 0, 0, message.len() as u8, 58, 64];
    packet.extend(THEIRS6.octets());
    packet.extend(OURS6.octets());
    packet.extend(message);
    no_receive_checksums("local");
    peer.enter(|| {
        let theirs = Interface::by_name("peer").unwrap().mac;
        let frame = [&ours, &theirs, &[0x86, 0xdd][..], &packet].concat();
        send_frame("peer", &frame);
    });
    let source = knock(OURS6, THEIRS6);
    let (_, message) = next(&mut errors);
    assert_eq!(quoted(&message, 40), (source, CLOSED));
}

/// With the privileges dropped there is no other way to have the kernel resolve one.
pub fn a_ping_has_the_kernel_find_the_neighbour() {
    let peer = Peer::new();
    let theirs = peer.enter(|| Interface::by_name("peer").unwrap().mac);
    let errors = IcmpErrors::open("local").unwrap();
    keep_capabilities(&[]);
    for to in [THEIRS.into(), THEIRS6.into(), IpAddr::from(THEIRS_ON_LINK)] {
        let mut rtnetlink = Rtnetlink::open(index()).unwrap();
        let mut known = || match rtnetlink.neighbour(to).unwrap() {
            Neighbour::Known { mac, .. } => mac == theirs,
            _ => false,
        };
        assert!(!known(), "{to} is known already");
        errors.ping(to).unwrap();
        soon(known);
    }
}

pub fn opening_takes_the_interface_and_a_capability() {
    let _peer = Peer::new();
    assert_eq!(errno(IcmpErrors::open("nowhere")), ENODEV);
    keep_capabilities(&[CAP_NET_RAW]);
    let mut errors = IcmpErrors::open("local").unwrap();
    keep_capabilities(&[]);
    assert_eq!(errno(IcmpErrors::open("local")), EPERM);
    knock(OURS, THEIRS);
    assert_eq!(next(&mut errors).0, IpAddr::from(THEIRS));
}

/// The one's complement sum (RFC 1071) of an even number of bytes.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|word| u64::from(word[0]) << 8 | u64::from(word[1]));
    let sum: u64 = words.sum();
    match sum % 0xffff {
        0 if sum > 0 => 0xffff,
        folded => folded as u16,
    }
}

/// A raw socket; the standard library's type does nothing that it does not know.
fn raw(family: i32, protocol: i32) -> UdpSocket {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the descriptor is new and nobody else's.
    UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a frame by an interface as it is.
fn send_frame(interface: &str, frame: &[u8]) {
    let socket = raw(libc::AF_PACKET, 0);
    // SAFETY: the struct is integers, for which zero is a value.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = Interface::by_name(interface).unwrap().index as i32;
    to.sll_halen = 6;
    // SAFETY: frame and address are readable for their lengths.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of_val(&to) as u32,
        )
    };
    assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
}

/// `ethtool -K INTERFACE rx off`: the kernel looks at checksums, which on veth it otherwise takes for right.
fn no_receive_checksums(interface: &str) {
    const ETHTOOL_SRXCSUM: u32 = 0x15;
    let socket = UdpSocket::bind((OURS, 0)).unwrap();
    let mut value = [ETHTOOL_SRXCSUM, 0];
    // SAFETY: an ifreq is integers and a pointer that is set below.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    let code = libc::SIOCETHTOOL as libc::Ioctl;
    // SAFETY: the request and the value that it names live across the call.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), code, &raw mut request) };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
}

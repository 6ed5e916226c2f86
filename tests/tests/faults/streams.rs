//! TCP under attack and neglect: forged segments, an application that does not read, a ring that goes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use ringwire::{AttachMode, Builder, opcode, types};
use ringwire_tests::net::{PEER_V4, RING_V4, Veth};

use crate::server::{PORT, Server, builder};

pub const CASES: &[(&str, fn())] = &[
    ("tcp_segments_that_are_forged", forged),
    ("tcp_noise_on_a_listener", noise),
    ("a_stream_that_nobody_reads", neglected),
    ("a_ring_that_goes_closes_its_streams", dropped),
    ("a_peer_that_goes_while_it_is_sent_to", peer_gone),
    ("segments_that_nobody_has_cut", super_packets),
];

const LISTENER: u32 = 1;

/// A server with a TCP listener beside its UDP socket.
fn listening(veth: &Veth) -> Server {
    listening_with(veth, &builder())
}

fn listening_with(veth: &Veth, builder: &Builder) -> Server {
    let mut server = Server::new(veth, builder);
    let target = types::DestinationSlot::try_from_slot_target(LISTENER).expect("a slot");
    let socket = opcode::Socket::new(libc::AF_INET6, libc::SOCK_STREAM, 0).file_index(Some(target));
    assert_eq!(server.run(&socket.build()), 0);
    // SAFETY: all zeroes is a valid sockaddr_in6: the wildcard address.
    let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    address.sin6_family = libc::AF_INET6 as u16;
    address.sin6_port = PORT.to_be();
    let bind = opcode::Bind::new(types::Fixed(LISTENER), (&raw const address).cast(), 28);
    assert_eq!(server.run(&bind.build()), 0);
    assert_eq!(
        server.run(&opcode::Listen::new(types::Fixed(LISTENER), 8).build()),
        0
    );
    server
}

/// A connection of the peer's, accepted into a slot.
fn connect(veth: &Veth, server: &mut Server, slot: u32) -> TcpStream {
    let stream = veth.peer_stream();
    let ip: std::net::Ipv4Addr = RING_V4.parse().expect("an address");
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: PORT.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(ip.octets()),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: a valid address of that length.
    unsafe { libc::connect(stream.as_raw_fd(), (&raw const address).cast(), 16) };
    assert!(
        server.turn_until(|_| stream.peer_addr().is_ok()),
        "the peer connects"
    );
    let target = types::DestinationSlot::try_from_slot_target(slot).expect("a slot");
    let (addr, len) = (std::ptr::null_mut(), std::ptr::null_mut());
    let accept = opcode::Accept::new(types::Fixed(LISTENER), addr, len).file_index(Some(target));
    assert_eq!(server.run(&accept.build()), 0);
    stream
}

/// One message there and back.
fn echo(server: &mut Server, slot: u32, stream: &mut TcpStream) {
    let message = b"is anybody there?";
    stream.write_all(message).expect("the peer writes");
    let mut buffer = [0u8; 64];
    let receive = opcode::Recv::new(types::Fixed(slot), buffer.as_mut_ptr(), 64);
    assert_eq!(server.run(&receive.build()), message.len() as i32);
    assert_eq!(&buffer[..message.len()], message);
    let send = opcode::Send::new(types::Fixed(slot), buffer.as_ptr(), message.len() as u32);
    assert_eq!(server.run(&send.build()), message.len() as i32);
    let mut back = [0; 64];
    let mut got = 0;
    assert!(server.turn_until(|_| {
        got += stream.read(&mut back[got..]).unwrap_or(0);
        got == message.len()
    }));
    assert_eq!(&back[..got], message);
}

/// An IPv4 TCP segment to the ring, with right checksums.
fn segment(
    mac: [u8; 6],
    from: SocketAddr,
    numbers: (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let SocketAddr::V4(from) = from else {
        unreachable!("the peer connects by IPv4")
    };
    let to: std::net::Ipv4Addr = RING_V4.parse().expect("an address");
    let mut tcp = Vec::new();
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(PORT.to_be_bytes());
    tcp.extend(numbers.0.to_be_bytes());
    tcp.extend(numbers.1.to_be_bytes());
    tcp.extend([0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    tcp.extend(payload);
    let mut pseudo = Vec::from(from.ip().octets());
    pseudo.extend(to.octets());
    pseudo.extend([0, 6]);
    pseudo.extend((tcp.len() as u16).to_be_bytes());
    pseudo.extend(&tcp);
    let sum = checksum(&pseudo);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + tcp.len() as u16).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    ip.extend(from.ip().octets());
    ip.extend(to.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = Vec::from(mac);
    frame.extend([2, 0, 0, 0, 0, 1, 8, 0]);
    frame.extend(ip);
    frame.extend(tcp);
    frame
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

fn forged() {
    let veth = Veth::new(1, 1500, false);
    let mut server = listening(&veth);
    let mut stream = connect(&veth, &mut server, 2);
    let raw = veth.peer_raw();
    let mac = veth
        .in_ring(|| ringwire_xsk::Interface::by_name("rw0"))
        .expect("the interface")
        .mac;
    let from = stream.local_addr().expect("an address");
    let mut random = 1u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 32) as u32
    };
    // Whoever does not see the numbers guesses: RST, SYN, FIN, data, every combination.
    for round in 0..2000u32 {
        let flags = (round % 64) as u8;
        let payload = vec![0x55; (next() % 100) as usize];
        raw.send(&segment(mac, from, (next(), next()), flags, &payload));
        if round % 16 == 0 {
            server.ring.submit().expect("a turn");
        }
    }
    echo(&mut server, 2, &mut stream);
    let counters = server.ring.counters().expect("counters").stack;
    assert!(counters.tcp_refused > 1000, "{counters:?}");
}

fn noise() {
    let veth = Veth::new(1, 1500, false);
    let mut server = listening(&veth);
    let raw = veth.peer_raw();
    let mac = veth
        .in_ring(|| ringwire_xsk::Interface::by_name("rw0"))
        .expect("the interface")
        .mac;
    for port in 1..2000u16 {
        // Half of them SYNs of hosts that will never answer.
        let flags = if port % 2 == 0 { 2 } else { (port % 64) as u8 };
        let from: SocketAddr = format!("{PEER_V4}:{port}").parse().expect("an address");
        raw.send(&segment(mac, from, (u32::from(port) << 16, 7), flags, b"x"));
        if port % 16 == 0 {
            server.ring.submit().expect("a turn");
        }
    }
    let mut stream = connect(&veth, &mut server, 2);
    echo(&mut server, 2, &mut stream);
}

fn neglected() {
    let veth = Veth::new(1, 1500, false);
    let mut server = listening(&veth);
    let mut silent = connect(&veth, &mut server, 2);
    let mut lively = connect(&veth, &mut server, 3);
    // Until nothing more fits: our window is closed, and the peer's buffer is full.
    let part = vec![7u8; 65_536];
    let mut quiet = 0;
    server.turn_until(|_| {
        match silent.write(&part) {
            Ok(_) => quiet = 0,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                quiet += 1;
            }
        }
        quiet > 20
    });
    for _ in 0..10 {
        echo(&mut server, 3, &mut lively);
    }
}

fn dropped() {
    let veth = Veth::new(1, 1500, false);
    let mut server = listening(&veth);
    let mut stream = connect(&veth, &mut server, 2);
    echo(&mut server, 2, &mut stream);
    drop(server);
    stream.set_nonblocking(false).expect("a blocking socket");
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("a timeout");
    let end = stream.read(&mut [0; 16]).map_err(|error| error.kind());
    assert_eq!(end, Ok(0), "the peer sees the end");
}

fn peer_gone() {
    let veth = Veth::new(1, 1500, false);
    let mut server = listening(&veth);
    let stream = connect(&veth, &mut server, 2);
    let bytes = vec![7u8; 16 << 20];
    let send = opcode::Send::new(types::Fixed(2), bytes.as_ptr(), bytes.len() as u32);
    server.push(&send.flags(libc::MSG_WAITALL).build().user_data(9));
    server.ring.submit().expect("a turn");
    // Unread data makes the peer's kernel reset the connection.
    stream
        .shutdown(Shutdown::Read)
        .expect("the peer shuts down");
    drop(stream);
    let mut res = None;
    assert!(server.turn_until(|server| {
        res = server
            .ring
            .completion()
            .next()
            .map(|cqe| (cqe.user_data(), cqe.result()));
        res.is_some()
    }));
    // A part was sent, and then there was an error.
    assert!(matches!(res, Some((9, 1..))), "{res:?}");
    let mut buffer = [0u8; 8];
    let receive = opcode::Recv::new(types::Fixed(2), buffer.as_mut_ptr(), 8);
    assert_eq!(server.run(&receive.build()), 0, "the error was the send's");
    let again = opcode::Send::new(types::Fixed(2), bytes.as_ptr(), 8);
    assert_eq!(server.run(&again.build()), -libc::EPIPE);
}

/// A program behind the driver gets what the peer's kernel leaves to its device to cut: of a stream no byte is lost.
fn super_packets() {
    const TOTAL: usize = 1 << 20;
    let veth = Veth::new(1, 1500, false);
    let mut generic = builder();
    generic.attach_mode(AttachMode::Generic);
    let mut server = listening_with(&veth, &generic);
    let mut stream = connect(&veth, &mut server, 2);
    let before = server.ring.counters().expect("counters").stack;
    let byte = |at: usize| (at % 251) as u8;
    let payload: Vec<u8> = (0..TOTAL).map(byte).collect();
    let mut buffer = vec![0; 1 << 16];
    let (mut written, mut read) = (0, 0);
    while read < TOTAL {
        written += stream.write(&payload[written..]).unwrap_or(0);
        let receive = opcode::Recv::new(types::Fixed(2), buffer.as_mut_ptr(), 1 << 16).build();
        let len = usize::try_from(server.run(&receive)).expect("bytes");
        assert!(len > 0, "the stream goes on");
        assert_eq!(buffer[..len], payload[read..read + len]);
        read += len;
    }
    let after = server.ring.counters().expect("counters").stack;
    let packets = after.rx_packets - before.rx_packets;
    let mean = (after.rx_bytes - before.rx_bytes) / packets;
    assert!(mean > 1514, "{packets} packets of {mean} bytes on average");
}

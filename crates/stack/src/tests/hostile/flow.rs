//! Packets of the flow whose connection is remembered: what must not be taken for one, and what such a
//! one must not be believed.

use ringwire_tcp::Segment;

use super::peer::{Peer, modern};
use crate::tests::build::ETHERNET;
use crate::tests::harness::{Host, pattern};
use crate::{SocketError, SocketId};

const US: &str = "10.0.0.2:80";
/// Bytes of the IPv4 and TCP headers of its data.
const HEADERS: usize = 20 + 32;

/// A host with a connection whose flow it remembers: data has come.
fn remembered() -> (Host, Peer, SocketId) {
    let mut host = Host::ready();
    let listener = host.listener(US, 4);
    let (peer, server) = established(&mut host, listener, 1000);
    (host, peer, server)
}

fn established(host: &mut Host, listener: SocketId, port: u16) -> (Peer, SocketId) {
    let mut peer = Peer::new(&format!("10.0.0.9:{port}"), US);
    peer.open(host, modern(7));
    host.receive(&peer.data(&pattern(500)));
    host.sent();
    let server = host.accept(listener).unwrap();
    assert_eq!(host.read(server, 1000), Ok(pattern(500)));
    (peer, server)
}

#[test]
fn a_damaged_byte_anywhere_in_the_headers_is_noticed() {
    let (mut host, mut peer, server) = remembered();
    let good = peer.data(&pattern(500));
    for at in ETHERNET..ETHERNET + HEADERS {
        let mut damaged = good.clone();
        damaged[at] ^= 0x41;
        host.receive(&damaged);
        assert_eq!(
            host.read(server, 1000),
            Err(SocketError::WouldBlock),
            "{at}"
        );
    }
    host.receive(&good);
    assert_eq!(host.read(server, 1000), Ok(pattern(500)));
}

#[test]
fn a_damaged_byte_of_the_payload_is_noticed() {
    let (mut host, mut peer, server) = remembered();
    let mut damaged = peer.data(&pattern(500));
    *damaged.last_mut().unwrap() ^= 1;
    host.receive(&damaged);
    assert_eq!(host.stack.counters().rx_bad_checksum, 1);
    assert_eq!(host.read(server, 1000), Err(SocketError::WouldBlock));
}

#[test]
fn a_packet_cut_short_is_malformed() {
    let (mut host, mut peer, _) = remembered();
    let whole = peer.data(&pattern(500));
    for len in ETHERNET..whole.len() {
        host.receive(&whole[..len]);
    }
    let cut = (whole.len() - ETHERNET) as u64;
    assert_eq!(host.stack.counters().rx_malformed, cut);
}

#[test]
fn a_packet_in_several_pieces_arrives() {
    let (mut host, mut peer, server) = remembered();
    for piece_bytes in [36, 60, 300] {
        host.receive_in(&peer.data(&pattern(500)), piece_bytes);
        assert_eq!(host.read(server, 1000), Ok(pattern(500)), "{piece_bytes}");
    }
}

#[test]
fn padding_behind_a_packet_is_no_payload() {
    let (mut host, mut peer, server) = remembered();
    let mut padded = peer.data(&pattern(300));
    padded.extend([0xee; 40]);
    host.receive(&padded);
    assert_eq!(host.read(server, 1000), Ok(pattern(300)));
}

#[test]
fn connections_that_take_turns_each_get_their_own_bytes() {
    let mut host = Host::ready();
    let listener = host.listener(US, 4);
    let (mut first, one) = established(&mut host, listener, 1000);
    let (mut second, two) = established(&mut host, listener, 1001);
    for round in 0..8u8 {
        host.receive(&first.data(&[round; 400]));
        host.receive(&second.data(&[!round; 400]));
        assert_eq!(host.read(one, 1000), Ok(vec![round; 400]));
        assert_eq!(host.read(two, 1000), Ok(vec![!round; 400]));
    }
}

#[test]
fn a_connection_that_was_reset_is_not_remembered() {
    let (mut host, mut peer, server) = remembered();
    let reset = Segment {
        rst: true,
        ..peer.segment(0)
    };
    host.receive(&peer.frame(&reset, &[]));
    assert_eq!(host.read(server, 1000), Err(SocketError::Reset));
    host.close(server);
    let answer = host.answer(&peer.data(&pattern(500)));
    assert!(peer.only(&answer).rst, "nobody is there any more");
    assert_eq!(host.stack.counters().tcp_no_connection, 1);
}

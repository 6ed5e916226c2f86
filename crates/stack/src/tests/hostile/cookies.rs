//! SYN cookies, from the wire (RFC 4987).

use std::time::Duration;

use ringwire_tcp::{Options, Segment, SynCookies};

use super::peer::{Peer, fill_syn_queue, modern, pass};
use crate::SocketError;
use crate::tests::build;
use crate::tests::harness::{Host, OUR_V6, PEER_MAC, PEER_V6, pattern};

const US: &str = "10.0.0.2:80";
const PEER: &str = "10.0.0.9:5000";

/// A host whose listener's queue of half-open connections is full.
fn flooded(backlog: u32) -> (Host, crate::SocketId) {
    let mut host = Host::ready();
    let listener = host.listener(US, backlog);
    fill_syn_queue(&mut host, US);
    (host, listener)
}

#[test]
fn a_full_syn_queue_answers_with_a_cookie_and_keeps_nothing() {
    let (mut host, _) = flooded(4);
    let connections = host.stack.tcp_connections();
    let answer = Peer::new(PEER, US).open(&mut host, modern(7));
    assert_eq!(host.stack.tcp_connections(), connections);
    assert_eq!(host.stack.counters().tcp_cookies_sent, 1);
    assert_eq!(answer.options.mss, Some(1460));
    assert!(answer.options.window_scale.is_some() && answer.options.timestamps.is_some());
}

#[test]
fn without_timestamps_a_cookie_offers_no_scale() {
    let (mut host, _) = flooded(4);
    let options = Options {
        timestamps: None,
        ..modern(7)
    };
    let answer = Peer::new(PEER, US).open(&mut host, options);
    assert_eq!(answer.options.window_scale, None);
    assert_eq!(answer.window, u16::MAX);
}

#[test]
fn a_cookie_that_comes_back_is_a_connection_that_carries_data_both_ways() {
    for options in [
        modern(7),
        Options {
            mss: Some(1300),
            ..Options::default()
        },
    ] {
        let (mut host, listener) = flooded(4);
        let mut peer = Peer::new(PEER, US);
        peer.open(&mut host, options);
        host.receive(&peer.data(&[]));
        assert_eq!(host.stack.counters().tcp_cookies_received, 1);
        let server = host.accept(listener).unwrap();
        host.receive(&peer.data(b"question"));
        assert_eq!(host.read(server, 100), Ok(b"question".to_vec()));
        host.sent();
        host.write(server, b"answer").unwrap();
        let answer = peer.only(&host.sent());
        assert_eq!((answer.seq, answer.len), (peer.ack, 6));
    }
}

#[test]
fn data_on_the_segment_that_brings_a_cookie_is_not_lost() {
    let (mut host, listener) = flooded(4);
    let mut peer = Peer::new(PEER, US);
    peer.open(&mut host, modern(7));
    host.receive(&peer.data(&pattern(1000)));
    let server = host.accept(listener).unwrap();
    assert_eq!(host.read(server, 2000), Ok(pattern(1000)));
}

#[test]
fn a_cookie_over_ipv6_is_good() {
    let to = format!("[{OUR_V6}]:80");
    let mut host = Host::ready();
    let listener = host.listener(&to, 4);
    for port in 1..=1024 {
        host.answer(&build::tcp_syn(&format!("[{PEER_V6}]:{port}"), &to));
    }
    let mut peer = Peer::new(&format!("[{PEER_V6}]:5000"), &to);
    peer.open(&mut host, modern(7));
    assert_eq!(host.stack.counters().tcp_cookies_sent, 1);
    host.receive(&peer.data(b"six"));
    let server = host.accept(listener).unwrap();
    assert_eq!(host.read(server, 9), Ok(b"six".to_vec()));
}

#[test]
fn a_wrong_cookie_is_reset() {
    let (mut host, listener) = flooded(4);
    let mut peer = Peer::new(PEER, US);
    peer.open(&mut host, modern(7));
    let wrong = Segment {
        ack: Some(peer.ack + 1000),
        ..peer.segment(0)
    };
    let answer = peer.only(&host.answer(&peer.frame(&wrong, &[])));
    assert!(answer.rst && answer.seq == peer.ack + 1000);
    assert_eq!(host.stack.counters().tcp_cookies_failed, 1);
    assert_eq!(host.accept(listener), Err(SocketError::WouldBlock));
    // The right one is still good.
    host.receive(&peer.data(&[]));
    host.accept(listener).unwrap();
}

#[test]
fn a_full_accept_queue_drops_a_cookie_which_may_come_again() {
    let (mut host, listener) = flooded(0);
    let mut peers = [Peer::new(PEER, US), Peer::new("10.0.0.9:5001", US)];
    for peer in &mut peers {
        peer.open(&mut host, modern(7));
    }
    let last = peers.map(|mut peer| peer.data(b"hello"));
    host.answer(&last[0]);
    assert_eq!(
        host.answer(&last[1]),
        Vec::<Vec<u8>>::new(),
        "not even a RST"
    );
    assert_eq!(host.stack.counters().tcp_listen_overflows, 1);
    host.accept(listener).unwrap();
    host.receive(&last[1]);
    let second = host.accept(listener).unwrap();
    assert_eq!(host.read(second, 9), Ok(b"hello".to_vec()));
}

#[test]
fn a_full_accept_queue_sends_no_cookies() {
    let (mut host, _) = flooded(0);
    let mut peer = Peer::new(PEER, US);
    peer.open(&mut host, modern(7));
    host.receive(&peer.data(&[]));
    let late = Peer::new("10.0.0.9:5001", US);
    let answers = host.answer(&late.frame(&late.syn(modern(7)), &[]));
    assert_eq!(answers, Vec::<Vec<u8>>::new());
    assert_eq!(host.stack.counters().tcp_cookies_sent, 1);
}

/// A cookie is worth nothing once none was sent for its lifetime, right or not: guessing takes a flood.
#[test]
fn a_cookie_after_the_flood_is_reset_and_not_even_looked_at() {
    let (mut host, listener) = flooded(4);
    let mut peer = Peer::new(PEER, US);
    peer.open(&mut host, modern(7));
    pass(&mut host, SynCookies::VALID + Duration::from_secs(1));
    let answers = host.answer(&peer.data(&[]));
    let answer = peer.only(&answers);
    assert!(answer.rst);
    assert_eq!(host.stack.counters().tcp_cookies_failed, 0);
    assert_eq!(host.accept(listener), Err(SocketError::WouldBlock));
}

#[test]
fn an_old_cookie_is_reset_though_the_flood_goes_on() {
    let (mut host, listener) = flooded(4);
    let mut peer = Peer::new(PEER, US);
    peer.open(&mut host, modern(7));
    let mut port = 10_000;
    for _ in 0..SynCookies::VALID.as_secs() {
        pass(&mut host, Duration::from_secs(1));
        // Takes the places that have become free, and one more.
        let sent = host.stack.counters().tcp_cookies_sent;
        while host.stack.counters().tcp_cookies_sent == sent {
            host.answer(&build::tcp_syn(&format!("10.0.0.9:{port}"), US));
            port += 1;
        }
    }
    let answers = host.answer(&peer.data(&[]));
    let answer = peer.only(&answers);
    assert!(answer.rst);
    assert_eq!(host.stack.counters().tcp_cookies_failed, 1);
    assert_eq!(host.accept(listener), Err(SocketError::WouldBlock));
}

#[test]
fn a_listener_with_room_again_keeps_half_open_connections() {
    let (mut host, listener) = flooded(4);
    Peer::new(PEER, US).open(&mut host, modern(7));
    pass(&mut host, Duration::from_secs(100));
    assert_eq!(host.stack.tcp_connections(), 0);
    let mut peer = Peer::new("10.0.0.9:6000", US);
    peer.open(&mut host, modern(7));
    assert_eq!(host.stack.tcp_connections(), 1);
    assert_eq!(host.stack.counters().tcp_cookies_sent, 1);
    host.receive(&peer.data(&[]));
    host.accept(listener).unwrap();
}

#[test]
fn a_cookie_is_of_no_use_to_somebody_else() {
    let (mut host, listener) = flooded(4);
    let mut peer = Peer::new(PEER, US);
    peer.open(&mut host, modern(7));
    let thief = Peer {
        from: "10.0.0.8:5000".parse().unwrap(),
        ..peer
    };
    host.receive(&build::arp_reply(PEER_MAC, "10.0.0.8", "10.0.0.2"));
    host.answer(&thief.frame(&thief.segment(0), &[]));
    assert_eq!(host.stack.counters().tcp_cookies_failed, 1);
    assert_eq!(host.accept(listener), Err(SocketError::WouldBlock));
}

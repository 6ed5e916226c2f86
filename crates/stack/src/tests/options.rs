//! What the options of sockets do to packets, queues and events.

use std::num::NonZeroU8;
use std::time::Duration;

use super::build::ETHERNET;
use super::harness::{Host, Pair, Setup, at, pattern};
use crate::{Algorithm, Family, Protocol, SocketError, SocketId, SocketOptions};

const SERVER_V4: &str = "10.0.0.3:80";
const SERVER_V6: &str = "[fd00::3]:80";

fn change(host: &mut Host, id: SocketId, change: impl FnOnce(&mut SocketOptions)) {
    let mut options = host.stack.options(id).unwrap();
    change(&mut options);
    host.stack.set_options(id, options).unwrap();
}

/// Class and hop limit of a packet.
type Seen = (u8, u8);

fn service(frame: &[u8]) -> Seen {
    let ip = &frame[14..];
    match ip[0] >> 4 {
        4 => (ip[1], ip[8]),
        6 => (ip[0] << 4 | ip[1] >> 4, ip[7]),
        version => panic!("IP of version {version}"),
    }
}

/// Those of the frames that carry TCP.
fn segments(frames: &[Vec<u8>]) -> Vec<Seen> {
    let is_tcp = |frame: &&Vec<u8>| match frame[12..14] {
        [0x08, 0x00] => frame[14 + 9] == 6,
        [0x86, 0xdd] => frame[14 + 6] == 6,
        _ => false,
    };
    let segments = frames.iter().filter(is_tcp);
    segments.map(|frame| service(frame)).collect()
}

fn serve(options: &mut SocketOptions) {
    options.type_of_service = 0xb8;
    options.time_to_live = NonZeroU8::new(9);
    options.traffic_class = 0x28;
    options.hop_limit = Some(11);
}

/// Carries frames until nobody has anything to say; returns what `a`'s and `b`'s TCP had in its headers.
fn observed(pair: &mut Pair) -> (Vec<Seen>, Vec<Seen>) {
    let (mut by_a, mut by_b) = (Vec::new(), Vec::new());
    loop {
        let (to_b, to_a) = (pair.a.sent(), pair.b.sent());
        if to_b.is_empty() && to_a.is_empty() {
            return (by_a, by_b);
        }
        by_a.extend(segments(&to_b));
        by_b.extend(segments(&to_a));
        to_b.iter().for_each(|frame| pair.b.receive(frame));
        to_a.iter().for_each(|frame| pair.a.receive(frame));
    }
}

#[test]
fn every_segment_of_a_connection_has_its_class_and_hop_limit() {
    for (to, want) in [(SERVER_V4, (0xb8, 9)), (SERVER_V6, (0x28, 11))] {
        let mut pair = Pair::new();
        let family = if at(to).is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        let listener = pair.b.listener(to, 1);
        let client = pair.a.open(Family::V4);
        pair.a.close(client);
        let client = pair.a.stack.open(Protocol::Tcp, family);
        change(&mut pair.a, client, serve);
        let (now, ledger) = (pair.a.now, &mut pair.a.ledger);
        let begun = pair.a.stack.tcp_connect(now, ledger, client, Some(at(to)));
        assert_eq!(begun, Err(SocketError::InProgress));
        let (by_a, by_b) = observed(&mut pair);
        assert!(
            by_a.len() >= 2 && by_a.iter().all(|&seen| seen == want),
            "{by_a:x?}"
        );
        assert!(
            by_b.iter().all(|&seen| seen == (0, 64)),
            "not the other end's: {by_b:x?}"
        );
        let server = pair.b.accept(listener).unwrap();
        pair.a.write(client, &pattern(5000)).unwrap();
        pair.a.stack.close(pair.a.now, &mut pair.a.ledger, client);
        let (by_a, _) = observed(&mut pair);
        assert!(
            by_a.len() >= 4 && by_a.iter().all(|&seen| seen == want),
            "{by_a:x?}"
        );
        pair.b.read(server, usize::MAX).unwrap();
        pair.b.close(server);
        pair.pass(Duration::from_secs(100));
    }
}

#[test]
fn a_connection_has_its_listeners_options_from_the_first_segment_on() {
    let mut pair = Pair::new();
    let listener = pair.b.listener(SERVER_V4, 1);
    change(&mut pair.b, listener, serve);
    let client = pair.a.connecting(SERVER_V4);
    let (_, by_b) = observed(&mut pair);
    assert!(
        !by_b.is_empty() && by_b.iter().all(|&seen| seen == (0xb8, 9)),
        "{by_b:x?}"
    );
    let server = pair.b.accept(listener).unwrap();
    let inherited = pair.b.stack.options(server).unwrap();
    assert_eq!(inherited, pair.b.stack.options(listener).unwrap());
    pair.a.close(client);
}

#[test]
fn datagrams_have_their_sockets_class_and_hop_limit() {
    let mut host = Host::ready();
    let id = host.bound("10.0.0.2:7");
    change(&mut host, id, serve);
    host.send(id, "10.0.0.9:99", b"x").unwrap();
    assert_eq!(service(&host.sent()[0]), (0xb8, 9));
    // The hop limit of multicast is its own.
    host.send(id, "224.0.0.9:99", b"x").unwrap();
    assert_eq!(service(&host.sent()[0]), (0xb8, 1));
}

#[test]
fn a_peer_sends_no_more_than_the_receive_buffer() {
    let mut pair = Pair::new();
    let listener = pair.b.listener(SERVER_V4, 1);
    change(&mut pair.b, listener, |options| {
        options.ask_receive_buffer(10_000)
    });
    let client = pair.a.connecting(SERVER_V4);
    pair.exchange();
    let server = pair.b.accept(listener).unwrap();
    pair.a.write(client, &pattern(100_000)).unwrap();
    pair.pass(Duration::from_secs(2));
    let queued = pair.b.stack.queued_in(server).unwrap();
    assert!((9_000..=10_000).contains(&queued), "{queued} bytes");
}

#[test]
fn a_larger_receive_buffer_opens_the_window() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    change(&mut pair.b, server, |options| {
        options.ask_receive_buffer(10_000)
    });
    pair.a.write(client, &pattern(400_000)).unwrap();
    pair.pass(Duration::from_secs(1));
    let before = pair.b.stack.queued_in(server).unwrap();
    change(&mut pair.b, server, |options| {
        options.ask_receive_buffer(390_000)
    });
    pair.pass(Duration::from_secs(1));
    let after = pair.b.stack.queued_in(server).unwrap();
    // All that the sender may hold of the test's small pool.
    assert!(after > 2 * before, "{before}, then {after} bytes");
}

#[test]
fn a_smaller_receive_buffer_takes_nothing_back() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    // The window is offered already: all of it may come.
    change(&mut pair.b, server, |options| {
        options.ask_receive_buffer(2_000)
    });
    pair.a.write(client, &pattern(14_000)).unwrap();
    pair.exchange();
    assert_eq!(pair.b.stack.queued_in(server), Ok(14_000));
    assert_eq!(pair.b.stack.counters().tcp_refused, 0);
}

#[test]
fn the_send_buffer_bounds_what_is_queued() {
    let mut pair = Pair::new();
    let (client, _) = pair.connect(SERVER_V4);
    change(&mut pair.a, client, |options| options.ask_send_buffer(8192));
    // Four chunks, each with room for one segment.
    let queued = pair.a.write(client, &pattern(100_000)).unwrap();
    assert_eq!(queued, 4 * 1448);
    assert_eq!(pair.a.stack.queued_out(client), Ok(queued));
    assert!(!pair.a.stack.readiness(&pair.a.ledger, client).writable);
    change(&mut pair.a, client, |options| {
        options.ask_send_buffer(16_384)
    });
    assert!(
        pair.a
            .events()
            .iter()
            .any(|event| event.socket == client && event.send)
    );
    assert_eq!(pair.a.write(client, &pattern(100_000)), Ok(queued));
}

#[test]
fn the_smallest_buffers_carry_a_stream_and_a_datagram() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    change(&mut pair.a, client, |options| options.ask_send_buffer(0));
    change(&mut pair.b, server, |options| options.ask_receive_buffer(0));
    let bytes = pattern(60_000);
    let (mut sent, mut received) = (0, Vec::new());
    for _ in 0..2000 {
        sent += pair.a.write(client, &bytes[sent..]).unwrap_or(0);
        pair.pass(Duration::from_millis(50));
        received.extend(pair.b.read(server, usize::MAX).unwrap_or_default());
    }
    assert!(received == bytes, "{} bytes came", received.len());
    let mut host = Host::ready();
    let id = host.bound("10.0.0.2:7");
    change(&mut host, id, |options| options.ask_send_buffer(0));
    change(&mut host, id, |options| options.ask_receive_buffer(0));
    host.send(id, "10.0.0.9:99", &pattern(9000)).unwrap();
    host.receive(&super::build::udp(
        "10.0.0.9:99",
        "10.0.0.2:7",
        &pattern(1400),
    ));
    assert_eq!(host.recv_from(id, "10.0.0.9:99"), Some(pattern(1400)));
}

#[test]
fn only_more_room_wakes_a_sender() {
    let mut pair = Pair::new();
    let (client, _) = pair.connect(SERVER_V4);
    let woken = |host: &mut Host| host.events().iter().any(|event| event.send);
    woken(&mut pair.a);
    change(&mut pair.a, client, |options| options.reuse_address = true);
    change(&mut pair.a, client, |options| {
        options.ask_send_buffer(10_000)
    });
    assert!(!woken(&mut pair.a));
    change(&mut pair.a, client, |options| {
        options.ask_send_buffer(20_000)
    });
    assert!(woken(&mut pair.a));
}

#[test]
fn a_reader_hears_of_data_at_its_mark() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    let low = |options: &mut SocketOptions| options.ask_receive_low(Protocol::Tcp, 100);
    change(&mut pair.b, server, low);
    pair.b.events();
    pair.a.write(client, &[1; 99]).unwrap();
    pair.exchange();
    let heard = |host: &mut Host| {
        host.events()
            .iter()
            .any(|event| event.socket == server && event.receive)
    };
    assert!(!heard(&mut pair.b));
    assert!(!pair.b.stack.readiness(&pair.b.ledger, server).readable);
    pair.a.write(client, &[1]).unwrap();
    pair.exchange();
    assert!(heard(&mut pair.b));
    assert!(pair.b.stack.readiness(&pair.b.ledger, server).readable);
}

#[test]
fn a_reader_hears_of_a_full_window_below_its_mark() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    change(&mut pair.b, server, |options| {
        options.ask_receive_low(Protocol::Tcp, 100_000)
    });
    change(&mut pair.b, server, |options| {
        options.ask_receive_buffer(3000)
    });
    pair.a.write(client, &pattern(300_000)).unwrap();
    pair.pass(Duration::from_secs(1));
    let readiness = pair.b.stack.readiness(&pair.b.ledger, server);
    assert!(pair.b.stack.queued_in(server).unwrap() >= 3000 && readiness.readable);
}

#[test]
fn a_reader_below_its_mark_hears_when_memory_runs_short() {
    // The reserve is an eighth: the window is more than all chunks.
    let mut pair = Pair::with(|setup: &mut Setup| setup.layout.rx_chunks = 64);
    let (client, server) = pair.connect(SERVER_V4);
    change(&mut pair.b, server, |options| {
        options.ask_receive_low(Protocol::Tcp, 250_000)
    });
    for _ in 0..40 {
        let _ = pair.a.write(client, &pattern(60_000));
        pair.pass(Duration::from_millis(200));
    }
    let queued = pair.b.stack.queued_in(server).unwrap();
    assert!(queued < 250_000, "the mark was never reached: {queued}");
    assert!(
        pair.b.stack.counters().tcp_no_memory > 0,
        "memory ran short"
    );
    assert!(pair.b.stack.readiness(&pair.b.ledger, server).readable);
}

#[test]
fn listeners_that_share_a_port_share_connections_and_outlive_each_other() {
    let mut pair = Pair::new();
    let share = |host: &mut Host| {
        let id = host.stack.open(Protocol::Tcp, Family::V4);
        change(host, id, |options| options.reuse_port = true);
        host.stack.bind(id, at(SERVER_V4)).unwrap();
        host.stack.tcp_listen(id, 64).unwrap();
        id
    };
    let listeners = [share(&mut pair.b), share(&mut pair.b)];
    let mut clients: Vec<_> = (0..32).map(|_| pair.a.connecting(SERVER_V4)).collect();
    pair.exchange();
    let mut accepted =
        listeners.map(|listener| std::iter::from_fn(|| pair.b.accept(listener).ok()).count());
    assert_eq!(accepted.iter().sum::<usize>(), 32);
    assert!(accepted.iter().all(|&count| count > 4), "{accepted:?}");
    let (now, ledger) = (pair.b.now, &mut pair.b.ledger);
    pair.b.stack.close(now, ledger, listeners[1]);
    clients.extend((0..8).map(|_| pair.a.connecting(SERVER_V4)));
    pair.exchange();
    accepted[0] = std::iter::from_fn(|| pair.b.accept(listeners[0]).ok()).count();
    assert_eq!(accepted[0], 8, "who is left takes all");
}

#[test]
fn a_port_with_connections_is_bound_again_by_those_that_share_it() {
    let mut pair = Pair::new();
    let listener = pair.b.listener(SERVER_V4, 1);
    change(&mut pair.b, listener, |options| {
        options.reuse_address = true
    });
    let client = pair.a.connecting(SERVER_V4);
    pair.exchange();
    let server = pair.b.accept(listener).unwrap();
    pair.b.close(listener);
    let again = pair.b.stack.open(Protocol::Tcp, Family::V4);
    assert_eq!(
        pair.b.stack.bind(again, at(SERVER_V4)),
        Err(SocketError::AddressInUse)
    );
    change(&mut pair.b, again, |options| options.reuse_address = true);
    change(&mut pair.b, server, |options| options.reuse_address = false);
    assert_eq!(
        pair.b.stack.bind(again, at(SERVER_V4)),
        Err(SocketError::AddressInUse),
        "the connection does not share it any more"
    );
    change(&mut pair.b, server, |options| options.reuse_address = true);
    assert_eq!(pair.b.stack.bind(again, at(SERVER_V4)), Ok(()));
    assert_eq!(pair.b.stack.tcp_listen(again, 1), Ok(()));
    pair.a.close(client);
}

#[test]
fn of_two_connected_twins_the_other_is_found_when_one_is_gone() {
    let mut host = Host::ready();
    let twins = [(); 2].map(|()| {
        let id = host.open(Family::V4);
        change(&mut host, id, |options| options.reuse_address = true);
        host.stack.bind(id, at("10.0.0.2:7")).unwrap();
        host.stack.udp_connect(id, Some(at("10.0.0.9:99"))).unwrap();
        id
    });
    let datagram = super::build::udp("10.0.0.9:99", "10.0.0.2:7", b"twin");
    host.receive(&datagram);
    assert!(host.recv(twins[1]).is_some(), "the last that came takes it");
    host.close(twins[1]);
    host.receive(&datagram);
    assert!(host.recv(twins[0]).is_some());
}

#[test]
fn a_connection_has_its_listeners_tcp_options() {
    let mut pair = Pair::new();
    let listener = pair.b.listener(SERVER_V4, 1);
    let mut options = pair.b.stack.tcp_options(listener).unwrap();
    options.no_delay = true;
    options.algorithm = Algorithm::NewReno;
    options.user_timeout = Some(Duration::from_secs(3));
    pair.b.stack.tcp_set_options(pair.b.now, listener, options);
    pair.b
        .stack
        .set_keep_alive(pair.b.now, listener, true)
        .unwrap();
    let client = pair.a.connecting(SERVER_V4);
    pair.exchange();
    let server = pair.b.accept(listener).unwrap();
    let inherited = pair.b.stack.tcp_options(server).unwrap();
    assert!(inherited.no_delay && inherited.keep_alive.enabled);
    assert_eq!(inherited.algorithm, Algorithm::NewReno);
    assert_eq!(inherited.user_timeout, Some(Duration::from_secs(3)));
    assert_eq!(pair.b.stack.keep_alive(server), Ok(true));
    pair.a.close(client);
}

#[test]
fn keepalive_that_is_switched_on_probes_a_connection_that_stands() {
    let mut pair = Pair::new();
    let (client, _) = pair.connect(SERVER_V4);
    let mut options = pair.a.stack.tcp_options(client).unwrap();
    options.keep_alive.idle = Duration::from_secs(2);
    pair.a.stack.tcp_set_options(pair.a.now, client, options);
    let sent = |pair: &Pair| pair.a.stack.counters().tcp_tx_segments;
    let before = sent(&pair);
    pair.pass(Duration::from_secs(5));
    assert_eq!(sent(&pair), before, "silence is nothing unusual");
    pair.a
        .stack
        .set_keep_alive(pair.a.now, client, true)
        .unwrap();
    pair.pass(Duration::from_secs(5));
    assert!(sent(&pair) > before, "a probe");
}

#[test]
fn the_type_of_service_of_a_stream_leaves_ecn_alone() {
    let mut pair = Pair::new();
    let (client, _) = pair.connect(SERVER_V4);
    change(&mut pair.a, client, |options| {
        options.type_of_service = 0xff
    });
    pair.a.write(client, b"x").unwrap();
    let (by_a, _) = observed(&mut pair);
    assert!(
        !by_a.is_empty() && by_a.iter().all(|&(class, _)| class == 0xfc),
        "{by_a:x?}"
    );
}

#[test]
fn a_router_can_mark_what_a_connection_with_ecn_sends_and_the_sender_hears_of_it() {
    for server in [SERVER_V4, SERVER_V6] {
        let mut pair = Pair::new();
        let listener = pair.b.listener(server, 1);
        let to = at(server);
        let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
        let client = pair.a.stack.open(Protocol::Tcp, family);
        let mut options = pair.a.stack.tcp_options(client).unwrap();
        options.ecn = true;
        pair.a.stack.tcp_set_options(pair.a.now, client, options);
        let (now, host) = (pair.a.now, &mut pair.a);
        let begun = host
            .stack
            .tcp_connect(now, &mut host.ledger, client, Some(to));
        assert_eq!(begun, Err(SocketError::InProgress));
        pair.exchange();
        pair.b.accept(listener).unwrap();
        pair.a.write(client, b"x").unwrap();
        let mut frame = pair.a.sent().remove(0);
        // ECT(0) is 2, CE is 3.
        if to.is_ipv4() {
            assert_eq!(frame[ETHERNET + 1] & 3, 2);
            frame[ETHERNET + 1] |= 1;
            let sum = u16::from_be_bytes([frame[ETHERNET + 10], frame[ETHERNET + 11]]);
            frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&(sum - 1).to_be_bytes());
        } else {
            assert_eq!(frame[ETHERNET + 1] >> 4 & 3, 2);
            frame[ETHERNET + 1] |= 0x10;
        }
        pair.b.receive(&frame);
        pair.exchange();
        let info = pair.a.stack.tcp_info(pair.a.now, client).unwrap();
        assert!(info.ecn);
        assert!(info.threshold < u32::MAX, "{server}: it was told");
        pair.a.close(client);
    }
}

//! What happens when chunks run short, and when sockets go while they are busy.

use std::time::Duration;

use ringwire_umem::Pool;

use super::build;
use super::harness::{Host, OUR_V4, PEER_MAC, PEER_V4, Pair, at, pattern};
use crate::egress::CONTROL_RESERVE_CHUNKS;
use crate::{Protocol, SendOptions, SocketError};

/// Linux's `net.core.rmem_default`, and what a datagram costs of it beside its bytes.
const RECEIVE_BUFFER: usize = 212_992;
const OVERHEAD: usize = 768;

#[test]
fn an_unread_socket_keeps_no_more_than_its_receive_buffer() {
    for (from, to) in [
        ("10.0.0.9:99", "10.0.0.2:7"),
        ("[fd00::9]:99", "[fd00::2]:7"),
    ] {
        for len in [1, 1400] {
            let mut host = Host::new();
            let socket = host.bound(to);
            let frame = build::udp(from, to, &pattern(len));
            (0..2000).for_each(|_| host.receive(&frame));
            let kept = (RECEIVE_BUFFER / (len + OVERHEAD)) as u64;
            let counters = host.stack.counters();
            assert_eq!(counters.rx_datagrams, kept);
            assert_eq!(counters.rx_queue_full, 2000 - kept);
            let read = std::iter::from_fn(|| host.recv(socket)).count();
            assert_eq!(read as u64, kept);
            host.receive(&frame);
            assert!(host.recv(socket).is_some(), "and it goes on");
        }
    }
}

#[test]
fn unread_sockets_do_not_starve_the_others() {
    let mut host = Host::new();
    let slow: Vec<_> = (0..4)
        .map(|n| host.bound(&format!("10.0.0.2:{}", 100 + n)))
        .collect();
    let reader = host.bound("10.0.0.2:7");
    let reserve = host.ledger.umem().layout().lend_reserve_chunks;
    for _ in 0..400 {
        for n in 0..4 {
            host.receive(&build::udp(
                "10.0.0.9:99",
                &format!("10.0.0.2:{}", 100 + n),
                &[n; 100],
            ));
        }
        assert!(
            host.free(Pool::Rx) >= reserve - 1,
            "{} chunks are left",
            host.free(Pool::Rx)
        );
        host.receive(&build::udp("10.0.0.9:99", "10.0.0.2:7", b"read"));
        assert_eq!(host.recv_from(reader, "10.0.0.9:99").unwrap(), b"read");
        assert_eq!(
            host.answer(&build::arp_request(PEER_MAC, PEER_V4, OUR_V4))
                .len(),
            1
        );
    }
    assert!(host.stack.counters().rx_compacted > 0);
    // Compacted or not, every datagram is what it was.
    for (n, socket) in slow.into_iter().enumerate() {
        let mut count = 0;
        while let Some(payload) = host.recv_from(socket, "10.0.0.9:99") {
            assert_eq!(payload, [n as u8; 100]);
            count += 1;
        }
        assert_eq!(count, RECEIVE_BUFFER / (100 + OVERHEAD));
    }
}

#[test]
fn a_datagram_that_was_compacted_gives_its_pieces_back() {
    let mut host = Host::with(|setup| {
        setup.layout.lend_reserve_chunks = 255;
        setup.config.mtu = 9000;
    });
    let socket = host.bound("10.0.0.2:7");
    host.receive(&build::udp("10.0.0.9:99", "10.0.0.2:7", &pattern(8000)));
    assert_eq!(host.stack.counters().rx_compacted, 1);
    assert_eq!(host.free(Pool::Rx), 256);
    assert_eq!(host.recv_from(socket, "10.0.0.9:99"), Some(pattern(8000)));
}

#[test]
fn one_socket_takes_no_more_than_its_send_buffer() {
    let mut host = Host::ready_with(|setup| setup.layout.send_chunks = 1000);
    let (busy, other) = (host.bound("10.0.0.2:7"), host.bound("10.0.0.2:8"));
    let most = host.stack.options(busy).unwrap().send_chunks(Protocol::Udp);
    for _ in 0..most {
        host.send(busy, "10.0.0.9:99", b"x").unwrap();
    }
    assert_eq!(
        host.send(busy, "10.0.0.9:99", b"x"),
        Err(SocketError::WouldBlock)
    );
    assert!(!host.stack.readiness(&host.ledger, busy).writable);
    host.send(other, "10.0.0.9:99", b"x").unwrap();
    host.events();
    let posted = host.post();
    assert!(host.events().is_empty(), "the NIC still has the frames");
    host.complete(posted);
    let events = host.events();
    let woken = |socket| {
        events
            .iter()
            .any(|event| event.socket == socket && event.send)
    };
    assert!(woken(busy) && woken(other));
    assert!(host.stack.readiness(&host.ledger, busy).writable);
    host.send(busy, "10.0.0.9:99", b"x").unwrap();
}

#[test]
fn without_free_chunks_a_send_waits_and_control_traffic_goes_on() {
    let mut host = Host::ready_with(|setup| setup.layout.send_chunks = 100);
    let socket = host.connected("10.0.0.2:7", "10.0.0.9:99");
    let room = 100 - CONTROL_RESERVE_CHUNKS;
    for _ in 0..room - 1 {
        host.send_with(socket, &SendOptions::default(), b"fill")
            .unwrap();
    }
    let datagrams = host.stack.counters().tx_datagrams;
    // Two fragments, or two segments, do not fit into the one chunk left: nothing of them is sent.
    let fragmented = host.send_with(socket, &SendOptions::default(), &pattern(2000));
    assert_eq!(fragmented, Err(SocketError::WouldBlock));
    let segments = SendOptions {
        segment_bytes: Some(10),
        ..SendOptions::default()
    };
    let segmented = host.send_with(socket, &segments, &pattern(20));
    assert_eq!(segmented, Err(SocketError::WouldBlock));
    assert_eq!(host.stack.counters().tx_datagrams, datagrams);
    assert_eq!(host.free(Pool::Send), CONTROL_RESERVE_CHUNKS + 1);
    host.send_with(socket, &SendOptions::default(), b"last")
        .unwrap();
    let full = host.send_with(socket, &SendOptions::default(), b"x");
    assert_eq!(full, Err(SocketError::WouldBlock));

    host.receive(&build::arp_request(PEER_MAC, PEER_V4, OUR_V4));
    host.receive(&build::frame(&build::echo_request(
        PEER_V4, OUR_V4, b"ping",
    )));
    let sent = host.sent();
    assert_eq!(sent.len() as u32, room + 2);
    build::read_arp(&sent[sent.len() - 2]);
    assert_eq!(build::read_icmp(&sent[sent.len() - 1]).3, b"ping");
}

/// Found by the simulator, where the send of a live socket waited for ever.
#[test]
fn sockets_closed_while_they_waited_for_chunks_take_no_event_from_their_successor() {
    let mut host = Host::ready_with(|setup| setup.layout.send_chunks = 100);
    let busy = host.bound("10.0.0.2:7");
    while host.send(busy, "10.0.0.9:99", b"fill").is_ok() {}
    let slot = host.bound("10.0.0.2:8");
    let waiting = (0..20).fold(slot, |before, _| {
        host.close(before);
        let socket = host.bound("10.0.0.2:8");
        assert_eq!(socket.index(), before.index());
        let sent = host.send(socket, "10.0.0.9:99", b"x");
        assert_eq!(sent, Err(SocketError::WouldBlock));
        socket
    });
    host.sent();
    host.events();
    host.pass(Duration::from_millis(1));
    let events = host.events();
    let is_woken = |event: &crate::Event| event.socket == waiting && event.send;
    assert!(events.iter().any(is_woken), "{events:?}");
}

#[test]
fn without_any_chunk_control_traffic_is_counted_and_lost() {
    let mut host = Host::ready();
    let ping = build::frame(&build::echo_request(PEER_V4, OUR_V4, b"ping"));
    let arp = build::arp_request(PEER_MAC, PEER_V4, OUR_V4);
    (0..300).for_each(|_| host.receive(&ping));
    host.receive(&arp);
    assert_eq!(host.stack.counters().control_no_frames, 300 + 1 - 256);
    assert_eq!(host.sent().len(), 256);
    assert_eq!(host.answer(&arp).len(), 1);
}

#[test]
fn a_message_that_can_never_fit_is_refused_for_good() {
    let mut host = Host::ready_with(|setup| setup.layout.send_chunks = 40);
    let socket = host.bound("10.0.0.2:7");
    let sent = host.send(socket, "10.0.0.9:99", &pattern(60_000));
    assert_eq!(
        sent,
        Err(SocketError::MessageSize),
        "waiting would not help"
    );
}

#[test]
fn a_socket_closed_while_busy_gives_everything_back() {
    let mut host = Host::ready();
    let all = host.free(Pool::Send);
    let socket = host.bound("10.0.0.2:7");
    host.send(socket, "10.0.0.9:99", &pattern(3000)).unwrap();
    let in_flight = host.post();
    host.send(socket, "10.0.0.9:99", b"queued").unwrap();
    host.send(socket, "10.0.0.77:99", b"waits for its neighbour")
        .unwrap();
    host.receive(&build::udp("10.0.0.9:99", "10.0.0.2:7", &pattern(100)));
    host.close(socket);
    assert_eq!(host.free(Pool::Rx), 256, "what it had queued is dropped");
    // Another socket in the same slot is not charged for what comes back now.
    let next = host.bound("10.0.0.2:7");
    assert_eq!(next.index(), socket.index());
    host.complete(in_flight);
    let sent = host.sent();
    assert!(
        sent.iter().any(|frame| frame.ends_with(b"queued")),
        "what it sent goes out"
    );
    host.pass(Duration::from_secs(10));
    host.sent();
    assert_eq!(host.free(Pool::Send), all);
    host.send(next, "10.0.0.9:99", b"x").unwrap();
    assert_eq!(host.stack.sockets.get(next).unwrap().chunks_in_use, 1);
}

#[test]
fn packets_for_a_silent_neighbour_do_not_pile_up() {
    let mut host = Host::ready();
    let socket = host.bound("10.0.0.2:7");
    let mut refused = 0;
    for _ in 0..1000 {
        refused += usize::from(host.send(socket, "10.0.0.77:99", b"x").is_err());
    }
    assert_eq!(refused, 0, "the oldest make way, as in the kernel's queue");
    assert!(256 - host.free(Pool::Send) <= 128 + 1);
    host.send(socket, "10.0.0.9:99", b"others go on").unwrap();
    let sent = host.sent();
    assert!(sent.iter().any(|frame| frame.ends_with(b"others go on")));
}

#[test]
fn many_sockets_on_two_hosts_talk_at_once() {
    let mut pair = Pair::new();
    let a: Vec<_> = (0..50)
        .map(|n| pair.a.bound(&format!("[::]:{}", 1000 + n)))
        .collect();
    let b = pair.b.bound("[::]:9");
    for (n, &socket) in a.iter().enumerate() {
        let to = if n % 2 == 0 {
            "10.0.0.3:9"
        } else {
            "[fd00::3]:9"
        };
        pair.a.send(socket, to, &pattern(n * 40)).unwrap();
    }
    pair.exchange();
    for _ in 0..50 {
        let received = pair.b.recv(b).expect("everybody's datagram");
        pair.b
            .send(b, &received.from.to_string(), &received.payload)
            .unwrap();
    }
    pair.exchange();
    for (n, &socket) in a.iter().enumerate() {
        let received = pair.a.recv(socket).expect("the echo");
        assert_eq!(received.payload, pattern(n * 40));
        assert_eq!(received.from.port(), at("10.0.0.3:9").port());
    }
}

#[test]
fn a_socket_that_found_every_chunk_taken_by_others_hears_of_free_ones() {
    let mut host = Host::ready_with(|setup| setup.layout.send_chunks = 64);
    let (greedy, modest) = (host.bound("10.0.0.2:7"), host.bound("10.0.0.2:8"));
    while host.send(greedy, "10.0.0.9:7", b"x").is_ok() {}
    let posted = host.post();
    assert_eq!(
        host.send(modest, "10.0.0.9:7", b"x"),
        Err(SocketError::WouldBlock)
    );
    host.events();
    host.complete(posted);
    host.pass(std::time::Duration::from_millis(1));
    let woken = host
        .events()
        .into_iter()
        .any(|event| event.socket == modest && event.send);
    assert!(woken, "it has no chunk of its own that could come back");
    assert_eq!(host.send(modest, "10.0.0.9:7", b"x"), Ok(()));
}

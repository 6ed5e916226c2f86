//! What other stacks have failed at (see the list in `docs/TCP.md`), where no other test says it.

use std::collections::BTreeMap;
use std::time::Duration;

use ringwire_tcp::{Options, Segment};
use ringwire_umem::{Pool, TxDone};

use super::peer::{Peer, modern, read};
use crate::tests::build::ETHERNET;
use crate::tests::harness::{Host, Pair, pattern};
use crate::{Shutdown, SocketError, SocketId};

const US: &str = "10.0.0.2:80";

fn established(host: &mut Host, listener: SocketId, port: u16) -> (Peer, SocketId) {
    let mut peer = Peer::new(&format!("10.0.0.9:{port}"), US);
    let mss = Some(1460);
    peer.open(
        host,
        Options {
            mss,
            ..Options::default()
        },
    );
    host.receive(&peer.data(&[]));
    (peer, host.accept(listener).unwrap())
}

/// A SYN that came again was matched by another listener, and there were two sockets with one 4-tuple.
#[test]
fn a_syn_that_comes_again_belongs_to_the_connection_it_made() {
    let mut host = Host::ready();
    let listener = host.listener(US, 4);
    let mut peer = Peer::new("10.0.0.9:5000", US);
    let syn = peer.frame(&peer.syn(modern(7)), &[]);
    let first = peer.open(&mut host, modern(7));
    host.close(listener);
    let other = host.listener("0.0.0.0:80", 4);
    // The first listener took its half-open connections along: this is a new one, and the only one.
    let second = peer.only(&host.answer(&syn));
    assert_eq!(host.stack.tcp_connections(), 1);
    let again = peer.only(&host.answer(&syn));
    assert_eq!((again.seq, host.stack.tcp_connections()), (second.seq, 1));
    assert!(first.syn && second.syn);
    peer.ack = second.seq + 1;
    peer.echo = second.options.timestamps.map(|option| option.value);
    host.receive(&peer.data(b"once"));
    let server = host.accept(other).unwrap();
    assert_eq!(host.read(server, 9), Ok(b"once".to_vec()));
    host.receive(&syn);
    assert_eq!(host.accept(other), Err(SocketError::WouldBlock));
    assert_eq!(host.stack.tcp_connections(), 1);
}

/// Full buffers were held through TIME-WAIT.
#[test]
fn time_wait_holds_neither_chunks_nor_a_socket() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect("10.0.0.3:80");
    let free = [Pool::Rx, Pool::Send].map(|pool| pair.a.free(pool));
    pair.a.write(client, &pattern(50_000)).unwrap();
    pair.b.write(server, &pattern(50_000)).unwrap();
    pair.pass(Duration::from_secs(1));
    pair.a.read(client, usize::MAX).unwrap();
    pair.b.read(server, usize::MAX).unwrap();
    pair.a.close(client);
    pair.exchange();
    pair.b.close(server);
    pair.exchange();
    assert_eq!(pair.a.stack.tcp_time_waits(), 1);
    let sizes = pair.a.stack.tcp.sizes();
    assert_eq!(
        (sizes.sockets, sizes.connections, sizes.heap_bytes),
        (0, 0, 0)
    );
    assert_eq!([Pool::Rx, Pool::Send].map(|pool| pair.a.free(pool)), free);
}

/// All sockets were walked for each packet, and those with high numbers starved when TX was full.
#[test]
fn every_connection_gets_its_turn_when_tx_has_room_for_one_packet() {
    const CONNECTIONS: u16 = 40;
    /// Segments that one may send before it is another's turn.
    const BURST: usize = 32;
    let mut host = Host::ready_with(|setup| setup.layout.send_chunks = 1024);
    let listener = host.listener(US, 64);
    let mut peers = BTreeMap::new();
    for port in 1000..1000 + CONNECTIONS {
        let (peer, server) = established(&mut host, listener, port);
        peers.insert(peer.from, (peer, server, 0));
    }
    for (_, server, _) in peers.values() {
        host.write(*server, &pattern(20_000)).unwrap();
    }
    for _ in 0..usize::from(CONNECTIONS) * BURST {
        let mut piece = None;
        let (stack, ledger) = (&mut host.stack, &mut host.ledger);
        let sent = stack.transmit(host.now, ledger, 0, 1, |addr, len, _| {
            piece = Some((addr, len));
        });
        let Some((addr, len)) = piece else {
            panic!("{sent} descriptors, though everybody has something to send");
        };
        let frame = host.ledger.described(addr, len).unwrap().to_vec();
        if let TxDone::Freed(chunk) = host.ledger.tx_done(0, addr).unwrap() {
            host.stack.chunk_freed(chunk);
        }
        let (_, to, segment, _) = read(&frame).expect("a segment");
        let (peer, server, count) = peers.get_mut(&to).expect("one of the peers");
        *count += 1;
        // Whoever is served has more at once.
        peer.ack = segment.end();
        let (ack, server) = (peer.data(&[]), *server);
        host.receive(&ack);
        let _ = host.write(server, &pattern(2000));
    }
    let least = peers.values().map(|(_, _, count)| *count).min();
    assert!(least > Some(0), "somebody was not served");
}

/// A buffer was given back after its acknowledgement, but before the NIC had let go of the last
/// descriptor of a retransmission.
#[test]
fn a_chunk_that_is_acknowledged_waits_for_the_descriptors_of_its_retransmissions() {
    for first_before_second in [true, false] {
        let mut host = Host::ready();
        let listener = host.listener(US, 4);
        let (mut peer, server) = established(&mut host, listener, 5000);
        let free = host.free(Pool::Send);
        host.write(server, &pattern(1000)).unwrap();
        let first = host.post();
        host.pass(Duration::from_secs(2));
        let second = host.post();
        assert!(!first.frames.is_empty() && !second.frames.is_empty());
        peer.ack += 1000;
        host.receive(&peer.data(&[]));
        assert!(host.free(Pool::Send) < free, "acknowledged, but not sent");
        let (one, other) = if first_before_second {
            (first, second)
        } else {
            (second, first)
        };
        host.complete(one);
        assert!(host.free(Pool::Send) < free, "one is still with the NIC");
        host.complete(other);
        assert_eq!(host.free(Pool::Send), free);
    }
}

/// TIME-WAIT, FIN-WAIT-2 and half-open connections that never went away.
#[test]
fn nothing_that_nobody_holds_stays_for_ever() {
    let mut host = Host::ready();
    let listener = host.listener(US, 64);
    for port in 1000..1010 {
        // Half open.
        let mut half = Peer::new(&format!("10.0.0.9:{}", port + 100), US);
        half.open(&mut host, modern(7));
        // In FIN-WAIT-2, nobody has it, and the peer is silent.
        let (mut silent, server) = established(&mut host, listener, port);
        host.close(server);
        host.sent();
        silent.ack += 1;
        host.answer(&silent.data(&[]));
        // In TIME-WAIT.
        let (mut polite, server) = established(&mut host, listener, port + 200);
        host.close(server);
        host.sent();
        polite.ack += 1;
        let fin = Segment {
            fin: true,
            ..polite.segment(0)
        };
        host.answer(&polite.frame(&fin, &[]));
        // The peer has closed, nobody reads or closes here, and that is no reason to end it.
        let (waiting, _) = established(&mut host, listener, port + 300);
        let fin = Segment {
            fin: true,
            ..waiting.segment(0)
        };
        host.answer(&waiting.frame(&fin, &[]));
    }
    let sizes = host.stack.tcp.sizes();
    assert_eq!((sizes.connections, sizes.time_waits), (30, 10));
    super::peer::pass(&mut host, Duration::from_secs(200));
    let sizes = host.stack.tcp.sizes();
    // The listener, and those whose sockets are held.
    assert_eq!((sizes.sockets, sizes.connections), (11, 10));
    assert_eq!(sizes.time_waits, 0);
}

/// A connection that is closed for sending still hears: a half-close is not forgotten either.
#[test]
fn a_socket_that_only_listens_to_its_peer_is_kept() {
    let mut host = Host::ready();
    let listener = host.listener(US, 4);
    let (mut peer, server) = established(&mut host, listener, 5000);
    host.stack
        .shutdown(host.now, &mut host.ledger, server, Shutdown::Send)
        .unwrap();
    host.sent();
    peer.ack += 1;
    host.answer(&peer.data(&[]));
    super::peer::pass(&mut host, Duration::from_secs(200));
    host.receive(&peer.data(b"late"));
    assert_eq!(host.read(server, 9), Ok(b"late".to_vec()));
}

/// Segments with DF set that are too long for a link on the way vanished, and so did the connection:
/// nobody says that they were too long.
#[test]
fn a_path_that_swallows_long_packets_is_no_black_hole() {
    /// Longest IP packet that gets through.
    const PATH_MTU: usize = 1300;
    for to in ["10.0.0.3:80", "[fd00::3]:80"] {
        let mut pair = Pair::new();
        let (client, server) = pair.connect(to);
        let bytes = pattern(300_000);
        let (mut sent, mut received) = (0, Vec::new());
        let begun = pair.a.now;
        while received.len() < bytes.len() {
            sent += pair.a.write(client, &bytes[sent..]).unwrap_or(0);
            for frame in pair.a.sent() {
                if frame.len() <= ETHERNET + PATH_MTU {
                    pair.b.receive(&frame);
                }
            }
            let back = pair.b.sent();
            back.iter().for_each(|frame| pair.a.receive(frame));
            received.extend(pair.b.read(server, usize::MAX).unwrap_or_default());
            for host in [&mut pair.a, &mut pair.b] {
                host.pass(Duration::from_millis(10));
            }
            let took = pair.a.now - begun;
            assert!(took < Duration::from_secs(120), "{to}: {}", received.len());
        }
        assert!(received == bytes);
    }
}

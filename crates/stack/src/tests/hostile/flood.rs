//! A flood of SYNs from everywhere, and those who go on working meanwhile.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ringwire_tcp::{Segment, SeqNumber};

use super::peer::{Peer, modern, packet};
use crate::tests::build;
use crate::tests::harness::{Host, PEER_MAC, Pair, Random, at, pattern};
use crate::{SocketError, SocketId};

const SERVERS: [&str; 2] = ["10.0.0.2:80", "[fd00::2]:80"];
const BACKLOG: u32 = 16;
/// Connections that are there before, and those that come and go, at a time.
const OLD: usize = 100;
const NEW: usize = 8;
const BATCH: usize = 100;
const BATCHES: usize = 10_000;

/// A SYN from nobody: from behind the gateway, or from the link itself, where nobody answers when its
/// address is asked for.
fn syn(random: &mut Random) -> Vec<u8> {
    let number = random.next();
    let port = 1 + (number >> 48) as u16 % u16::MAX;
    let from: SocketAddr = match number % 8 {
        0 => (
            Ipv4Addr::new(10, 0, 0, 10 + (number >> 40) as u8 % 240),
            port,
        )
            .into(),
        1 => (Ipv6Addr::from(0xfd00 << 112 | u128::from(number)), port).into(),
        2 | 3 => (Ipv6Addr::from(0x2001 << 112 | u128::from(number)), port).into(),
        // 32.0.0.0 to 95.255.255.255.
        _ => (Ipv4Addr::from((number as u32 >> 2) + (32 << 24)), port).into(),
    };
    let to = at(SERVERS[usize::from(from.is_ipv6())]);
    let segment = Segment {
        seq: SeqNumber(random.next() as u32),
        syn: true,
        window: number as u16,
        options: modern((number >> 32) as u8 % 15),
        ..Segment::default()
    };
    build::frame(&packet(from, to, &segment, &[]))
}

/// A SYN from the link itself, from an address that nobody has.
fn syn_from_the_link(random: &mut Random) -> Vec<u8> {
    loop {
        let frame = syn(random);
        let source = build::read_ip(&frame[build::ETHERNET..]).from;
        if matches!(source, std::net::IpAddr::V6(ip) if ip.segments()[0] == 0xfd00) {
            return frame;
        }
    }
}

struct Flood {
    pair: Pair,
    listeners: [SocketId; 2],
    /// (at the client, at the server)
    old: Vec<(SocketId, SocketId)>,
    new: Vec<(SocketId, SocketId)>,
}

impl Flood {
    fn new(send_chunks: u32) -> Flood {
        let mut pair = Pair::with(|setup| {
            setup.layout.rx_chunks = 512;
            setup.layout.header_chunks = 64;
            setup.layout.send_chunks = send_chunks;
            setup.config.gateways = vec!["10.0.0.3".parse().unwrap(), "fd00::3".parse().unwrap()];
        });
        let listeners = SERVERS.map(|to| pair.a.listener(to, BACKLOG));
        let mut flood = Flood {
            pair,
            listeners,
            old: Vec::new(),
            new: Vec::new(),
        };
        for index in 0..OLD {
            let connection = flood.connect(index % 2);
            flood.old.push(connection);
        }
        flood
    }

    /// A connection from the client, which is there at once.
    fn connect(&mut self, family: usize) -> (SocketId, SocketId) {
        let client = self.pair.b.connecting(SERVERS[family]);
        self.pair.exchange();
        let connected = self.pair.b.stack.tcp_connected(client);
        assert_eq!(connected, Some(Ok(())), "a new connection");
        let server = self.pair.a.accept(self.listeners[family]);
        (client, server.expect("it can be accepted"))
    }

    /// A question and its answer on a connection, at once.
    fn ask(&mut self, (client, server): (SocketId, SocketId), len: usize) {
        let question = pattern(len);
        self.pair.b.write(client, &question).unwrap();
        self.pair.exchange();
        let heard = self.pair.a.read(server, len).expect("the question");
        assert!(heard == question);
        self.pair.a.write(server, &heard).unwrap();
        self.pair.exchange();
        let answer = self.pair.b.read(client, len).expect("the answer");
        assert!(answer == question);
    }

    fn check_sizes(&self) {
        let sizes = self.pair.a.stack.tcp.sizes();
        // Of each of the two listeners: itself, its half-open connections, and those that wait to be
        // accepted; and what was accepted.
        let sockets = 2 * (1 + 1024 + BACKLOG as usize + 1) + OLD + NEW;
        assert!(sizes.sockets <= sockets, "{sizes:?}");
        assert!(sizes.connections <= sizes.sockets, "{sizes:?}");
        assert!(sizes.timers <= 2 * sockets + 64, "{sizes:?}");
        assert!(sizes.ready <= sizes.sockets, "{sizes:?}");
        assert_eq!(sizes.heap_bytes, 0, "nothing was copied");
        self.pair.a.check_census();
    }
}

#[test]
fn a_million_syns_cost_the_legitimate_nothing() {
    let mut flood = Flood::new(1024);
    let mut random = Random(4);
    let mut opened = 0;
    for batch in 0..BATCHES {
        for _ in 0..BATCH {
            let syn = syn(&mut random);
            flood.pair.a.receive(&syn);
        }
        let connection = flood.old[batch % OLD];
        flood.ask(connection, 1 + random.below(3000));
        if batch % 20 == 0 {
            let connection = flood.connect(batch / 20 % 2);
            flood.ask(connection, 100);
            flood.new.push(connection);
            opened += 1;
        }
        if flood.new.len() == NEW {
            let (client, server) = flood.new.remove(0);
            flood.pair.b.close(client);
            flood.pair.exchange();
            assert_eq!(flood.pair.a.read(server, 1), Ok(Vec::new()));
            flood.pair.a.close(server);
            flood.pair.exchange();
        }
        flood.pair.pass(Duration::from_millis(1));
        flood.check_sizes();
    }
    let counters = flood.pair.a.stack.counters();
    assert_eq!(opened, BATCHES / 20);
    assert_eq!(counters.tcp_established, (OLD + opened) as u64);
    assert!(counters.tcp_cookies_sent > 990_000, "{counters:?}");
    assert!(
        counters.tcp_cookies_received as usize >= opened - 2,
        "{counters:?}"
    );
    assert_eq!((counters.tcp_failed, counters.tcp_cookies_failed), (0, 0));
    // And when it is over, nothing is left of it.
    flood.pair.pass(Duration::from_secs(130));
    let sizes = flood.pair.a.stack.tcp.sizes();
    assert_eq!(sizes.connections, OLD + flood.new.len());
    let nobody = flood.pair.a.accept(flood.listeners[0]);
    assert_eq!(nobody, Err(SocketError::WouldBlock));
}

/// Answers to them wait for neighbours that are not there: they must not take all chunks.
#[test]
fn syns_from_the_link_itself_leave_chunks_for_the_others() {
    let mut flood = Flood::new(256);
    let mut random = Random(5);
    for batch in 0..300 {
        for _ in 0..BATCH {
            let syn = syn_from_the_link(&mut random);
            flood.pair.a.receive(&syn);
        }
        let connection = flood.old[batch % OLD];
        flood.ask(connection, 1 + random.below(3000));
        flood.pair.pass(Duration::from_millis(10));
        flood.check_sizes();
    }
}

/// They fill the table of neighbours with questions that nobody answers: one who does answer is known
/// nevertheless.
#[test]
fn a_host_that_was_never_heard_of_gets_in_while_the_link_is_flooded() {
    let mut host = Host::ready();
    let listener = host.listener(SERVERS[0], BACKLOG);
    host.listener(SERVERS[1], BACKLOG);
    let mut random = Random(11);
    for newcomer in 100..120 {
        for _ in 0..2000 {
            host.receive(&syn_from_the_link(&mut random));
            host.sent();
        }
        host.pass(Duration::from_millis(100));
        let address = format!("10.0.0.{newcomer}");
        host.answer(&build::arp_request(PEER_MAC, &address, "10.0.0.2"));
        let mut peer = Peer::new(&format!("{address}:5000"), SERVERS[0]);
        peer.open(&mut host, modern(7));
        host.receive(&peer.data(b"hello"));
        let server = host.accept(listener).unwrap();
        assert_eq!(host.read(server, 9), Ok(b"hello".to_vec()));
        host.reset_on_close(server);
        host.close(server);
        host.sent();
    }
}

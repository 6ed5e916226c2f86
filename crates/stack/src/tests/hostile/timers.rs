//! Deadlines that strangers make: their number is bounded by what there is to wait for.

use std::time::Duration;

use ringwire_tcp::Segment;

use super::peer::{Peer, modern};
use crate::tests::harness::Host;

const US: &str = "10.0.0.2:80";

/// At most two sockets at a time in these tests, each with two entries, and the 64 that are not worth
/// clearing out.
const MOST: usize = 2 * 2 + 64;

/// Found here: each left a deadline behind for a second.
#[test]
fn half_open_connections_that_are_reset_leave_no_timers() {
    let mut host = Host::ready();
    host.listener(US, 4);
    for port in 1..20_000 {
        let peer = Peer::new(&format!("10.0.0.9:{port}"), US);
        host.answer(&peer.frame(&peer.syn(modern(7)), &[]));
        let rst = Segment {
            rst: true,
            seq: peer.seq + 1,
            ..Segment::default()
        };
        host.answer(&peer.frame(&rst, &[]));
        let sizes = host.stack.tcp.sizes();
        assert!(sizes.timers <= MOST, "{sizes:?}");
    }
    assert_eq!(host.stack.tcp_connections(), 0);
}

/// Found here: each time that a short deadline was served, the long one was entered again.
#[test]
fn deadlines_overtaken_by_shorter_ones_do_not_pile_up() {
    let mut host = Host::ready();
    let listener = host.listener(US, 4);
    let mut peer = Peer::new("10.0.0.9:5000", US);
    peer.open(&mut host, modern(7));
    host.receive(&peer.data(&[]));
    let server = host.accept(listener).unwrap();
    // Nobody acknowledges this: the time until it is sent again grows to two minutes.
    host.write(server, b"x").unwrap();
    for round in 0..3000 {
        host.receive(&peer.data(b"y"));
        host.sent();
        host.pass(Duration::from_millis(100));
        host.sent();
        if round % 100 == 0 {
            host.meet_peer();
        }
        let _ = host.read(server, 100);
        let sizes = host.stack.tcp.sizes();
        assert!(sizes.timers <= MOST, "{sizes:?}");
    }
}

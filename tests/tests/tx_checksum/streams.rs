//! TCP, with Linux.

use std::net::TcpStream;

use ringwire_tests::stream::{accept, converse, exchange, outlive, pattern};

use super::*;

pub const CASES: &[(&str, fn())] = &[
    ("linux_takes_a_stream", partial_sums),
    ("linux_that_looks_takes_a_stream", whole_sums),
];

/// Both ways at once, over both families.
fn streams(veth: &Veth) {
    let mut ring = build(veth, builder().rx_checksum(RxChecksum::AcceptPartial));
    for v6 in [false, true] {
        let peer = accept(&mut ring, v6, |to| {
            veth.peer_thread(move || {
                let stream = TcpStream::connect(to).expect("a connection");
                converse(stream, pattern(1, 700_000), 4 * PATIENCE)
            })
        });
        let out = pattern(2, 1_000_000);
        let received = exchange(&mut ring, &out, 4 * PATIENCE);
        let sent = outlive(&mut ring, peer, 4 * PATIENCE);
        assert!(received == pattern(1, 700_000), "what came, IPv6: {v6}");
        assert!(sent == out, "what was sent, IPv6: {v6}");
    }
    let stack = ring.counters().expect("counters").stack;
    assert_eq!(stack.tcp_failed, 0);
    if offers(&ring.report().expect("a report")) {
        assert_eq!(stack.tx_offloaded, stack.tcp_tx_segments);
    }
}

fn partial_sums() {
    streams(&Veth::new(2, 1500, false));
}

fn whole_sums() {
    let veth = Veth::new(2, 1500, false);
    veth.ring_offloads_off();
    veth.peer_verifies();
    streams(&veth);
}

//! What a ring's sockets send and receive on shared addresses.

use std::net::TcpStream;
use std::time::Duration;

use libtest_mimic::Trial;
use ringwire::RxChecksum;
use ringwire_tests::net::{PEER_V4, PEER_V6, Veth};
use ringwire_tests::stream::{accept, connect, converse, exchange, outlive, pattern, shared_ring};

use crate::beside;

const PATIENCE: Duration = Duration::from_secs(20);
const BYTES: usize = 1 << 20;

pub fn trials() -> Vec<Trial> {
    vec![
        beside("flows::a_peer_is_served_v4", |veth| serves(veth, false)),
        beside("flows::a_peer_is_served_v6", |veth| serves(veth, true)),
        beside("flows::the_ring_connects_v4", |veth| connects(veth, false)),
        beside("flows::the_ring_connects_v6", |veth| connects(veth, true)),
    ]
}

fn serves(veth: &Veth, v6: bool) {
    let mut ring = shared_ring(veth, RxChecksum::Verify);
    let [ours, theirs] = [pattern(1, BYTES), pattern(2, BYTES)];
    let out = theirs.clone();
    let peer = accept(&mut ring, v6, |to| {
        veth.peer_thread(move || {
            converse(TcpStream::connect(to).expect("a connection"), out, PATIENCE)
        })
    });
    let received = exchange(&mut ring, &ours, PATIENCE);
    let at_peer = outlive(&mut ring, peer, PATIENCE);
    assert!(received == theirs, "what came is not what the peer sent");
    assert!(at_peer == ours, "what the peer got is not what was sent");
}

fn connects(veth: &Veth, v6: bool) {
    let mut ring = shared_ring(veth, RxChecksum::Verify);
    let [ours, theirs] = [pattern(1, BYTES), pattern(2, BYTES)];
    let out = theirs.clone();
    let listener = veth.peer_listener(if v6 { PEER_V6 } else { PEER_V4 });
    let to = listener.local_addr().expect("an address");
    let peer = std::thread::spawn(move || {
        converse(listener.accept().expect("a connection").0, out, PATIENCE)
    });
    connect(&mut ring, to);
    let received = exchange(&mut ring, &ours, PATIENCE);
    let at_peer = outlive(&mut ring, peer, PATIENCE);
    assert!(received == theirs, "what came is not what the peer sent");
    assert!(at_peer == ours, "what the peer got is not what was sent");
}

//! What the kernel is given that is the ring's: fragments, broadcasts, and packets on queues that the ring does not serve.

use libtest_mimic::Trial;
use ringwire_tests::net::{PEER_V4, PEER_V6, RING_V4, RING_V6, Veth, ip};
use ringwire_tests::stream::{PORT, pattern};

use crate::beside;
use crate::load::{Served, echoes};
use crate::router::{Far, counter};
use crate::sockets::{builder, until};

pub fn trials() -> Vec<Trial> {
    vec![
        beside("given::datagrams_in_fragments_v4", |veth| {
            fragments(veth, RING_V4, PEER_V4)
        }),
        beside("given::datagrams_in_fragments_v6", |veth| {
            fragments(veth, RING_V6, PEER_V6)
        }),
        beside("given::a_broadcast", broadcast),
        beside("given::segments_in_fragments", segments_in_fragments),
        beside("given::datagrams_on_another_queue", other_queue),
    ]
}

/// Both ways: what comes is put together by the kernel, what goes is taken apart by the ring.
fn fragments(veth: &Veth, ring: &str, peer: &str) {
    let served = Served::start(&builder());
    let peer = veth.peer_socket(peer);
    // The longest UDP datagram of IPv4 has 65,507 bytes.
    for len in [2000, 20_000, 65_507] {
        echoes(&peer, ring, &pattern(len as u8, len));
    }
    // One that is whole is not the kernel's.
    echoes(&peer, ring, &pattern(1, 1000));
    let counters = served.end().stack;
    assert_eq!(counters.rx_from_kernel, 3);
}

/// To the link's broadcast address, and to that of all links: the ring answers from its own.
fn broadcast(veth: &Veth) {
    let served = Served::start(&builder());
    let peer = veth.peer_socket(PEER_V4);
    peer.set_broadcast(true).expect("an option");
    for to in ["10.7.0.255", "255.255.255.255"] {
        peer.send_to(to.as_bytes(), (to, PORT)).expect("it sends");
        let mut back = [0; 100];
        let (len, from) = peer.recv_from(&mut back).expect("an echo");
        assert_eq!(from.to_string(), format!("{RING_V4}:{PORT}"));
        assert_eq!(&back[..len], to.as_bytes());
    }
    assert_eq!(served.end().stack.rx_from_kernel, 2);
}

/// The kernel puts them together and drops them without an answer: a RST would end the connection. The sender
/// tries again.
fn segments_in_fragments(veth: &Veth) {
    let far = Far::new(veth, 1500);
    let served = Served::start(&builder());
    let [load, other] = far.loads(veth);
    load.goes_on();
    other.end();
    load.may_be_fragmented();
    let reassembled = || counter("snmp", "Ip:", "ReasmOKs");
    let before = reassembled();
    // The router's link to the ring.
    veth.in_peer(|| ip("link set rw1 mtu 1300"));
    until("some segments", || reassembled() >= before + 3);
    veth.in_peer(|| ip("link set rw1 mtu 1500"));
    load.goes_on();
    load.end();
    served.end();
}

/// The ring has one of two queues, and the kernel the other one. Which one a flow arrives on is its hash's choice.
fn other_queue(veth: &Veth) {
    let served = Served::start(builder().queues(&[0]));
    for (ring, peer) in [(RING_V4, PEER_V4), (RING_V6, PEER_V6)] {
        for number in 0..32 {
            echoes(&veth.peer_socket(peer), ring, &pattern(number, 100));
        }
    }
    let counters = served.end().stack;
    let given = counters.rx_from_kernel;
    assert!((1..64).contains(&given), "{given} of 64 by the kernel");
}

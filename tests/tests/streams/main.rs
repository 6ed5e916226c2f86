//! Linux's TCP at the other end of a veth pair: as client and as server, over both families, with its
//! checksum offload off and on.

use std::net::TcpStream;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use ringwire::RxChecksum;
use ringwire_tests::net::{PEER_V4, PEER_V6, Veth};
use ringwire_tests::privileged;
use ringwire_tests::stream::{accept, connect, converse, exchange, outlive, pattern, ring};

const BYTES: usize = 3 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// How the peer leaves its checksums.
#[derive(Clone, Copy)]
enum Offload {
    Off,
    Partial,
}

impl Offload {
    /// Sets the peer; what the ring must take.
    fn apply(self, veth: &Veth) -> RxChecksum {
        match self {
            Offload::Off => {
                veth.peer_offloads_off();
                RxChecksum::Verify
            }
            Offload::Partial => RxChecksum::AcceptPartial,
        }
    }
}

fn finish(mut ring: ringwire::IoUring, peer: std::thread::JoinHandle<Vec<u8>>) {
    let received = exchange(&mut ring, &pattern(2, BYTES), PATIENCE);
    assert!(
        received == pattern(1, BYTES),
        "what came is not what the peer sent"
    );
    let at_peer = outlive(&mut ring, peer, PATIENCE);
    assert!(
        at_peer == pattern(2, BYTES),
        "what the peer got is not what was sent"
    );
    let counters = ring.counters().expect("counters").stack;
    assert_eq!(counters.rx_bad_checksum + counters.rx_partial_checksum, 0);
}

fn we_serve(v6: bool, offload: Offload) {
    let veth = Veth::new(2, 1500, false);
    let mut ring = ring(&veth, offload.apply(&veth));
    let peer = accept(&mut ring, v6, |to| {
        veth.peer_thread(move || {
            let stream = TcpStream::connect(to).expect("a connection");
            converse(stream, pattern(1, BYTES), PATIENCE)
        })
    });
    finish(ring, peer);
}

fn we_connect(v6: bool, offload: Offload) {
    let veth = Veth::new(2, 1500, false);
    let mut ring = ring(&veth, offload.apply(&veth));
    let listener = veth.peer_listener(if v6 { PEER_V6 } else { PEER_V4 });
    let to = listener.local_addr().expect("an address");
    let peer = std::thread::spawn(move || {
        let stream = listener.accept().expect("a connection").0;
        converse(stream, pattern(1, BYTES), PATIENCE)
    });
    connect(&mut ring, to);
    finish(ring, peer);
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    for (v6, family) in [(false, "ipv4"), (true, "ipv6")] {
        for (offload, name) in [
            (Offload::Off, "offload_off"),
            (Offload::Partial, "accept_partial"),
        ] {
            trials.push(privileged(
                &format!("linux_is_our_client_{family}_{name}"),
                move || {
                    we_serve(v6, offload);
                },
            ));
            trials.push(privileged(
                &format!("linux_is_our_server_{family}_{name}"),
                move || {
                    we_connect(v6, offload);
                },
            ));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

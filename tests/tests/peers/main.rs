//! Linux's TCP behind a line that loses, delays, reorders and duplicates packets by a seed: every byte
//! arrives once and in order, both ways, whoever connects. Speed is the benchmark's business.

use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use ringwire::RxChecksum;
use ringwire_tests::impair::Impairment;
use ringwire_tests::net::{PEER_V4, PEER_V6, Veth};
use ringwire_tests::privileged;
use ringwire_tests::stream::{accept, connect, converse, exchange, outlive, pattern, ring};

const RATE: u64 = 100_000_000;
/// For a whole conversation, however many timeouts the seed brings.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who connects.
#[derive(Clone, Copy)]
enum Role {
    RingServes,
    RingConnects,
}

/// What the line does, and how many bytes go each way.
#[derive(Clone, Copy)]
struct Cell {
    name: &'static str,
    v6: bool,
    bytes: usize,
    impairment: Impairment,
}

fn cells() -> [Cell; 4] {
    let line = |seed, delay| Impairment {
        delay: Duration::from_millis(delay),
        ..Impairment::line(seed, RATE)
    };
    let (mib, hold) = (1 << 20, Duration::from_millis(5));
    [
        Cell {
            name: "loss",
            v6: false,
            bytes: mib,
            impairment: Impairment {
                loss: 0.01,
                ..line(1, 5)
            },
        },
        Cell {
            name: "heavy_loss",
            v6: true,
            bytes: mib / 2,
            impairment: Impairment {
                loss: 0.05,
                ..line(2, 1)
            },
        },
        Cell {
            name: "reordering",
            v6: true,
            bytes: 2 * mib,
            impairment: Impairment {
                reorder: 0.1,
                hold,
                ..line(3, 5)
            },
        },
        Cell {
            name: "everything",
            v6: false,
            bytes: mib,
            impairment: Impairment {
                loss: 0.005,
                reorder: 0.02,
                hold,
                duplicate: 0.02,
                ..line(4, 2)
            },
        },
    ]
}

fn converses(cell: Cell, role: Role) {
    let (veth, middle) = Veth::impaired(false, cell.impairment);
    let mut ring = ring(&veth, RxChecksum::Verify);
    let [ours, theirs] = [pattern(1, cell.bytes), pattern(2, cell.bytes)];
    let out = theirs.clone();
    let peer = match role {
        Role::RingServes => accept(&mut ring, cell.v6, |to| {
            veth.peer_thread(move || {
                converse(
                    std::net::TcpStream::connect(to).expect("a connection"),
                    out,
                    PATIENCE,
                )
            })
        }),
        Role::RingConnects => {
            let listener = veth.peer_listener(if cell.v6 { PEER_V6 } else { PEER_V4 });
            let to = listener.local_addr().expect("an address");
            let peer = std::thread::spawn(move || {
                converse(listener.accept().expect("a connection").0, out, PATIENCE)
            });
            connect(&mut ring, to);
            peer
        }
    };
    let received = exchange(&mut ring, &ours, PATIENCE);
    let at_peer = outlive(&mut ring, peer, PATIENCE);
    assert!(received == theirs, "what came is not what the peer sent");
    assert!(at_peer == ours, "what the peer got is not what was sent");
    let report = middle.middlebox.finish();
    assert_eq!(report.overruns, 0, "the bridge kept up");
    for counts in report.lines {
        let faults = counts.lost + counts.held + counts.duplicated;
        assert!(faults > 0, "the line did nothing: {report:?}");
    }
    let counters = ring.counters().expect("counters").stack;
    assert_eq!(counters.rx_bad_checksum + counters.rx_partial_checksum, 0);
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    for cell in cells() {
        for (role, name) in [
            (Role::RingServes, "linux_is_our_client"),
            (Role::RingConnects, "linux_is_our_server"),
        ] {
            let name = format!("{name}_behind_{}", cell.name);
            trials.push(privileged(&name, move || converses(cell, role)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

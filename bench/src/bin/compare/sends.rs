//! The cells of contestants that send and measure themselves.

use std::time::Duration;

use ringwire_tests::net::{PEER_V4, RING_INTERFACE, RING_V4};

use crate::bed::BedKind;
use crate::cells::{Cell, Work};
use crate::contestants::{Contestant, Mode, PORT, beside};
use crate::figures::Metric;
use crate::process::Line;
use crate::targets::{Against, Target};

/// Datagrams of a submission.
const BATCH: usize = 32;
/// Bytes of the largest packet, so that every size is one.
const LARGE_MTU: u32 = 9000;

const DATAGRAMS: [Metric; 5] = [
    Metric::Rate,
    Metric::Contestant,
    Metric::Gbit,
    Metric::Busy,
    Metric::Lost,
];
const STREAMS: [Metric; 6] = [
    Metric::Gbit,
    Metric::PerGigabyte,
    Metric::Contestant,
    Metric::Other,
    Metric::Busy,
    Metric::Rate,
];

/// A name, what it runs on, the way, and whether the kernel's offloads are off.
type Entry = (&'static str, &'static str, &'static str, bool);

const DATAGRAM_SENDERS: [Entry; 10] = [
    ("ringwire SEND", "ringwire", "plain", true),
    ("ringwire SEND_ZC", "ringwire", "zc", true),
    ("ringwire SEND_ZC fixed", "ringwire", "fixed", true),
    ("ringwire zc, batch", "ringwire", "batch", true),
    ("ringwire zc, none", "ringwire", "none", true),
    ("io_uring SEND", "kernel", "plain", false),
    ("io_uring SEND equal", "kernel", "plain", true),
    ("io_uring SEND_ZC", "kernel", "zc", false),
    ("io_uring SEND_ZC fixed", "kernel", "fixed", false),
    ("sendmmsg", "syscalls", "plain", false),
];

const STREAM_SENDERS: [Entry; 6] = [
    ("ringwire SEND", "ringwire", "plain", true),
    ("ringwire SEND_ZC", "ringwire", "zc", true),
    ("io_uring SEND", "kernel", "plain", false),
    ("io_uring SEND equal", "kernel", "plain", true),
    ("io_uring SEND_ZC", "kernel", "zc", false),
    ("send", "syscalls", "plain", false),
];

/// Datagrams into an end that drops them.
pub fn datagrams() -> Vec<Cell> {
    [600, 1000, 1200, 1500, 4000, 8000].map(datagram).into()
}

fn datagram(bytes: usize) -> Cell {
    let bed = |kernel, offloads_off| BedKind {
        mtu: LARGE_MTU,
        kernel,
        offloads_off,
        drops: true,
    };
    let senders = DATAGRAM_SENDERS
        .iter()
        .map(|entry| sender(entry, "udp", bytes, BATCH, bed));
    let mut contestants: Vec<Contestant> = senders.collect();
    contestants.push(raw(bytes, bed(false, true)));
    let mut targets = Vec::new();
    for (own, other) in [
        ("ringwire SEND", "io_uring SEND"),
        ("ringwire SEND_ZC", "io_uring SEND_ZC"),
        ("ringwire SEND_ZC fixed", "io_uring SEND_ZC fixed"),
    ] {
        let any = vec![Against::times(other, 2.0), Against::times("raw", 0.9)];
        targets.push(Target::new(own, Metric::Rate, any));
    }
    let none = vec![Against::times("ringwire zc, none", 0.95)];
    targets.push(Target::new("ringwire SEND_ZC", Metric::Rate, none));
    Cell {
        name: format!("W1-{bytes}"),
        title: format!(
            "UDP, {bytes} B, {BATCH} to a submission, into XDP_DROP, MTU {LARGE_MTU}: datagrams a second"
        ),
        work: Work::Sends { sink: None },
        contestants,
        base: "io_uring SEND",
        metrics: DATAGRAMS.to_vec(),
        targets,
        before: Duration::ZERO,
    }
}

/// Streams into an end that reads and forgets.
pub fn streams() -> Vec<Cell> {
    let sizes = [1200, 4000, 8000, 65_536];
    sizes
        .iter()
        .flat_map(|&bytes| [1, 8, 32].map(|batch| stream(bytes, batch)))
        .collect()
}

fn stream(bytes: usize, batch: usize) -> Cell {
    let bed = |kernel, offloads_off| BedKind {
        mtu: 1500,
        kernel,
        offloads_off,
        drops: false,
    };
    let senders = STREAM_SENDERS
        .iter()
        .map(|entry| sender(entry, "tcp", bytes, batch, bed));
    Cell {
        name: format!("W2-{bytes}-{batch}"),
        title: format!(
            "TCP, {bytes} B, {batch} to a submission, one connection into a sink, MTU 1500: one way"
        ),
        work: Work::Sends {
            sink: Some(Line::new(&beside("load"), &format!("sink --port {PORT}"))),
        },
        contestants: senders.collect(),
        base: "io_uring SEND",
        metrics: STREAMS.to_vec(),
        targets: Vec::new(),
        before: Duration::ZERO,
    }
}

fn sender(
    &(name, on, way, offloads_off): &Entry,
    kind: &str,
    bytes: usize,
    batch: usize,
    bed: impl Fn(bool, bool) -> BedKind,
) -> Contestant {
    let ours = on == "ringwire";
    // Nobody answers ARP there: ringwire sends to a group, the kernel has its neighbour told.
    let to = match (ours, kind) {
        (true, "udp") => "239.1.2.3:9".to_owned(),
        _ => format!("{PEER_V4}:{PORT}"),
    };
    let where_to = match ours {
        true => format!("--interface {RING_INTERFACE} --address {RING_V4}/24"),
        false => String::new(),
    };
    let words = format!(
        "--on {on} --kind {kind} --to {to} --bytes {bytes} --batch {batch} --way {way} {where_to}"
    );
    Contestant {
        name,
        bed: bed(!ours, offloads_off),
        line: Line::new(&beside("send"), &words),
        missing: None,
    }
}

/// Our own raw loop: it writes headers in front of a payload that is there, and sums it. What is sent takes the same
/// way in both modes.
fn raw(bytes: usize, bed: BedKind) -> Contestant {
    let words = format!(
        "--interface {RING_INTERFACE} --address {RING_V4} --xdp-mode {} --checksums --bytes {bytes}",
        Mode::Native.word()
    );
    Contestant {
        name: "raw",
        bed,
        line: Line::new(&beside("raw"), &words),
        missing: None,
    }
}

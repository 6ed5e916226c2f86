//! The cells of contestants that send and measure themselves.

use std::time::Duration;

use ringwire_tests::net::{RING_INTERFACE, RING_V4};

use crate::bed::BedKind;
use crate::cells::{Cell, Work};
use crate::contestants::{Contestant, Mode, beside};
use crate::figures::Metric;
use crate::process::Line;

const METRICS: [Metric; 5] = [
    Metric::Rate,
    Metric::Contestant,
    Metric::Gbit,
    Metric::Busy,
    Metric::Lost,
];

/// Datagrams into an end that drops them.
pub fn datagrams() -> Vec<Cell> {
    [600, 1000, 1200, 1500, 4000, 8000].map(datagram).into()
}

fn datagram(bytes: usize) -> Cell {
    Cell {
        name: format!("W1-{bytes}"),
        title: format!("UDP, {bytes} B, into XDP_DROP, MTU 9000: datagrams a second"),
        work: Work::Sends { sink: None },
        contestants: [Mode::Native, Mode::Generic]
            .map(|mode| raw(mode, bytes))
            .into(),
        base: "raw native",
        metrics: METRICS.to_vec(),
        targets: Vec::new(),
        before: Duration::ZERO,
    }
}

/// Our own raw loop: it writes headers in front of a payload that is there, and sums it.
fn raw(mode: Mode, bytes: usize) -> Contestant {
    let words = format!(
        "--interface {RING_INTERFACE} --address {RING_V4} --xdp-mode {} --checksums --bytes {bytes}",
        mode.word()
    );
    Contestant {
        name: match mode {
            Mode::Native => "raw native",
            Mode::Generic => "raw generic",
        },
        bed: BedKind {
            mtu: 9000,
            kernel: false,
            offloads_off: true,
            drops: true,
        },
        line: Line::new(&beside("raw"), &words),
        missing: None,
    }
}

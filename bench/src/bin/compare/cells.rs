//! What is measured, in order of importance, each under a name.

use std::time::Duration;

use ringwire_tests::net::{PEER_V4, RING_V4};

use crate::bed;
use crate::contestants::{
    Contestant, Mode, PORT, Wait, beside, epoll, io_uring, io_uring_equal, raw, raw_xsk_rs,
    ringwire, ringwire_zero_copy, with_sqpoll,
};
use crate::figures::Metric;
use crate::process::Line;
use crate::programs::{self, Program};
use crate::sends;
use crate::targets::{Against, Target};

/// What is done.
#[derive(Clone, Debug)]
pub enum Work {
    /// This load, against a server that the contestant is.
    Load { load: Line },
    /// The contestant sends, to this server or to an end that drops all, and measures itself.
    Sends { sink: Option<Line> },
    /// A program that makes its own table.
    Program(Program),
}

/// One comparison.
#[derive(Clone, Debug)]
pub struct Cell {
    pub name: String,
    pub title: String,
    pub work: Work,
    pub contestants: Vec<Contestant>,
    /// What the others are compared with.
    pub base: &'static str,
    /// The first one is what ratios are of.
    pub metrics: Vec<Metric>,
    pub targets: Vec<Target>,
    /// What a load takes before it warms up, about.
    pub before: Duration,
}

impl Cell {
    /// Whether the load's end drops what arrives, so that what arrives must be counted there.
    pub fn contestants_drop(&self) -> bool {
        self.contestants.iter().any(|it| it.bed.drops)
    }

    /// Whether a word names this cell: whole, or its first parts.
    pub fn is_named(&self, word: &str) -> bool {
        let rest = self.name.strip_prefix(word);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

pub const PEAK: [Metric; 8] = [
    Metric::Rate,
    Metric::Contestant,
    Metric::Other,
    Metric::Both,
    Metric::Busy,
    Metric::P50,
    Metric::P99,
    Metric::Lost,
];
const FIXED: [Metric; 7] = [
    Metric::Both,
    Metric::Rate,
    Metric::Contestant,
    Metric::Other,
    Metric::Busy,
    Metric::P99,
    Metric::Lost,
];
const ONE: [Metric; 6] = [
    Metric::P50,
    Metric::P99,
    Metric::P999,
    Metric::Rate,
    Metric::Contestant,
    Metric::Lost,
];
const BULK: [Metric; 5] = [
    Metric::Gbit,
    Metric::PerGigabyte,
    Metric::Contestant,
    Metric::Other,
    Metric::Busy,
];

/// All of them.
pub fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for bytes in [64, 512, 1400] {
        cells.push(udp_peak(bytes));
    }
    for wait in [Wait::Spin, Wait::Block] {
        cells.push(udp_one(wait));
    }
    for connections in [1, 64, 512, 10_000] {
        cells.push(tcp(connections));
    }
    for bytes in [64, 512, 1400] {
        cells.push(udp_fixed(bytes));
    }
    cells.push(tcp_fixed());
    cells.extend(sends::datagrams());
    cells.push(connections());
    cells.extend(sends::streams());
    cells.push(bulk());
    cells.extend(programs::cells());
    cells
}

/// A program built beside this one is the load.
fn load(program: &str, words: &str) -> Work {
    Work::Load {
        load: Line::new(&beside(program), words),
    }
}

fn cell(
    name: String,
    title: String,
    work: Work,
    contestants: Vec<Contestant>,
    metrics: &[Metric],
) -> Cell {
    Cell {
        name,
        title,
        work,
        contestants,
        base: "io_uring",
        metrics: metrics.to_vec(),
        targets: Vec::new(),
        before: Duration::ZERO,
    }
}

/// Servers for datagrams, all of them waiting in the same way.
fn datagram_servers(wait: Wait) -> Vec<Contestant> {
    vec![
        ringwire(Mode::Native, wait),
        ringwire_zero_copy(Mode::Native, wait),
        ringwire(Mode::Generic, wait),
        ringwire_zero_copy(Mode::Generic, wait),
        io_uring(wait),
        io_uring_equal(wait),
        epoll(wait),
        raw(Mode::Native, wait),
        raw(Mode::Generic, wait),
        raw_xsk_rs(Mode::Native, wait),
        raw_xsk_rs(Mode::Generic, wait),
    ]
}

/// Servers for streams.
fn stream_servers() -> Vec<Contestant> {
    vec![
        ringwire(Mode::Native, Wait::Block),
        ringwire_zero_copy(Mode::Native, Wait::Block),
        ringwire(Mode::Generic, Wait::Block),
        io_uring(Wait::Block),
        io_uring_equal(Wait::Block),
        epoll(Wait::Block),
    ]
}

fn udp_peak(bytes: usize) -> Cell {
    // A load on the kernel's sockets would take longer for an echo than the fastest servers do. XDP in the driver would
    // be no faster for it, and would switch segmentation off at the contestant's end.
    let words = format!(
        "--interface rw1 --address {PEER_V4} --xdp-mode generic --to {RING_V4}:{PORT} --bytes {bytes} --window 64"
    );
    let title = format!("UDP echo, {bytes} B, 64 outstanding, blocking servers: the highest rate");
    let mut servers = datagram_servers(Wait::Block);
    if bytes == 64 {
        servers.extend(with_sqpoll());
    }
    let mut cell = cell(
        format!("W3-udp-{bytes}"),
        title,
        load("raw", &words),
        servers,
        &PEAK,
    );
    for (mode, least) in [(Mode::Native, 1.7), (Mode::Generic, 2.2)] {
        let (own, ceiling) = match mode {
            Mode::Native => ("ringwire native", "raw native"),
            Mode::Generic => ("ringwire generic", "raw generic"),
        };
        let beside_raw = vec![Against::times(ceiling, 0.9)];
        cell.targets
            .push(Target::new(own, Metric::Rate, beside_raw));
        if bytes == 64 {
            let beside_kernel = vec![Against::times("io_uring", least)];
            cell.targets
                .push(Target::new(own, Metric::Rate, beside_kernel));
        }
    }
    cell
}

fn udp_fixed(bytes: usize) -> Cell {
    let words = format!("udp --to {RING_V4}:{PORT} --bytes {bytes} --window 512 --rate 100000");
    let title = format!(
        "UDP echo, {bytes} B, 100,000 a second offered, 10 each 100 us, blocking servers: CPU time of both cores"
    );
    let servers = datagram_servers(Wait::Block);
    cell(
        format!("W3-udp-{bytes}-fixed"),
        title,
        load("load", &words),
        servers,
        &FIXED,
    )
}

fn udp_one(wait: Wait) -> Cell {
    let words = format!("one --to {RING_V4}:{PORT} --bytes 64");
    let (name, how) = match wait {
        Wait::Spin => ("W3-udp-one-spin", "spin"),
        Wait::Block => ("W3-udp-one-blocking", "block"),
    };
    let title = format!(
        "UDP echo, 64 B, one outstanding; servers that {how}, a load that spins: round trips"
    );
    let mut cell = cell(
        name.to_owned(),
        title,
        load("load", &words),
        datagram_servers(wait),
        &ONE,
    );
    if wait == Wait::Spin {
        for (own, ceiling) in [
            ("ringwire native", "raw native"),
            ("ringwire generic", "raw generic"),
        ] {
            let near = vec![Against::plus(ceiling, 0.3)];
            cell.targets.push(Target::new(own, Metric::P50, near));
        }
    }
    cell
}

fn tcp(connections: usize) -> Cell {
    let outstanding = connections.min(512);
    let words = format!(
        "tcp --to {RING_V4}:{PORT} --bytes 64 --connections {connections} --outstanding {outstanding}"
    );
    let title = match connections {
        10_000 => {
            "TCP ping-pong, 64 B, 10,000 connections, 512 of them in turn with a message under way"
                .to_owned()
        }
        _ => {
            format!("TCP ping-pong, 64 B, {connections} connections, one message under way on each")
        }
    };
    let mut servers = stream_servers();
    if connections > 4000 {
        // The example of zero copy has a table of 4096 sockets.
        servers.retain(|it| !it.name.ends_with("zc"));
    }
    let name = format!("W3-tcp-{connections}");
    let mut cell = cell(name, title, load("load", &words), servers, &PEAK);
    match connections {
        64 | 512 => cell.targets.push(Target::new(
            "ringwire native",
            Metric::Contestant,
            vec![Against::times("io_uring", 2.0)],
        )),
        10_000 => {
            let own = Against {
                cell: Some("W3-tcp-64"),
                ..Against::times("ringwire native", 0.8)
            };
            cell.targets
                .push(Target::new("ringwire native", Metric::Rate, vec![own]));
            cell.before = Duration::from_millis(900);
        }
        _ => {}
    }
    cell
}

fn tcp_fixed() -> Cell {
    let words = format!("tcp --to {RING_V4}:{PORT} --bytes 64 --connections 64 --rate 40000");
    let title = "TCP ping-pong, 64 B, 64 connections, 40,000 a second offered, 4 each 100 us: CPU time of both cores";
    let name = "W3-tcp-64-fixed".to_owned();
    cell(
        name,
        title.to_owned(),
        load("load", &words),
        stream_servers(),
        &FIXED,
    )
}

fn connections() -> Cell {
    let words = format!(
        "requests --to {RING_V4}:{PORT} --bytes 64 --concurrent 64 --from {}",
        bed::sources()
    );
    let title =
        "connect, one request of 64 B and its answer, close; 64 at a time: connections a second";
    let mut cell = cell(
        "W4".to_owned(),
        title.to_owned(),
        load("load", &words),
        stream_servers(),
        &PEAK,
    );
    let twice = vec![Against::times("io_uring", 2.0)];
    cell.targets
        .push(Target::new("ringwire native", Metric::Rate, twice));
    cell
}

fn bulk() -> Cell {
    let words = format!("bulk --to {RING_V4}:{PORT} --bytes 4096 --connections 4");
    let title = "TCP, 256 KiB under way on each connection, both ways, operations of 4096 B, 4 connections, MTU 1500: what comes back";
    let mut cell = cell(
        "W5".to_owned(),
        title.to_owned(),
        load("load", &words),
        stream_servers(),
        &BULK,
    );
    // What goes one way in raw frames that are echoed.
    let raw = Against {
        cell: Some("W3-udp-1400"),
        ..Against::times("raw native", 0.9)
    };
    cell.targets
        .push(Target::new("ringwire native", Metric::Gbit, vec![raw]));
    cell
}

#[cfg(test)]
#[path = "cells_tests.rs"]
mod tests;

//! What TCP costs in memory, on one core, checksums off on both sides: a data segment beside smoltcp's,
//! the same with many connections, and what a connection takes. CPU time of one thread; MSS 1460.
//!
//!     memory [ROUNDS]

use ringwire_bench::clock::{cpu_nanos, median};
use ringwire_bench::hosts::Bytes;
use ringwire_bench::{count, hosts, smol, take, wire};

#[global_allocator]
static ALLOCATOR: count::Counting = count::Counting;

/// Data segments in a turn.
const BURST: usize = 64;
/// Data segments in a measurement.
const SEGMENTS: usize = 65_536;
/// Segments that a connection writes when it is its turn.
const WRITES: [usize; 2] = [16, 2];
const CONNECTIONS: [usize; 4] = [1, 1_000, 10_000, 100_000];

fn main() {
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let rounds: usize = rounds.unwrap_or(7);
    println!(
        "TCP in memory, one core, no checksums, MSS 1460: CPU ns for a data segment, both ends"
    );
    println!("the applications copy the bytes from and to memory of their own:");
    beside_smoltcp(rounds, Bytes::Copied);
    println!("the applications make and use the bytes where the stack has them:");
    beside_smoltcp(rounds, Bytes::InPlace);
    println!("bytes of heap for each, as asked of the allocator:");
    for line in take::Taken::measure(10_000).lines() {
        println!("  {line}");
    }
    let mut pairs = connect();
    scale(rounds, &mut pairs);
}

/// Nanoseconds for a data segment while `turn` runs until `least` were sent; it returns how many it sent.
fn per_segment(least: usize, mut turn: impl FnMut() -> usize) -> f64 {
    let mut segments = 0;
    let start = cpu_nanos();
    while segments < least {
        segments += turn();
    }
    (cpu_nanos() - start) as f64 / segments as f64
}

fn beside_smoltcp(rounds: usize, bytes: Bytes) {
    let (source, mut sink) = (vec![7; BURST * 1460], vec![0; 256 << 10]);
    let mut ours = hosts::Pair::new();
    let active = ours.clients[0];
    let mut theirs = smol::Pair::new();
    let mut costs = Vec::new();
    for round in 0..rounds + 1 {
        let part = &source[..BURST * hosts::SEGMENT_BYTES];
        let mut sent = ours.a.stack.counters().tcp_tx_segments;
        let mine = per_segment(SEGMENTS, || {
            ours.turn(active, part, &mut sink, bytes);
            let before = std::mem::replace(&mut sent, ours.a.stack.counters().tcp_tx_segments);
            (sent - before) as usize
        });
        let mut sent = theirs.segments();
        let other = per_segment(SEGMENTS, || {
            theirs.turn(&source, &mut sink, bytes);
            let before = std::mem::replace(&mut sent, theirs.segments());
            (sent - before) as usize
        });
        // The first one warms up.
        if round > 0 {
            println!(
                "  ringwire {mine:4.0}  smoltcp {other:4.0}  ratio {:.2}",
                mine / other
            );
            costs.push((mine, other));
        }
    }
    let frame = [7; 1514];
    let mut buffers = vec![0; 64 * 4096];
    let alone = per_segment(SEGMENTS, || {
        for buffer in buffers.chunks_mut(4096) {
            wire::carry(std::hint::black_box(&frame), buffer);
        }
        64
    });
    let ratio = |wire: f64| {
        let ratios = costs
            .iter()
            .map(|(mine, other)| (mine - wire) / (other - wire));
        median(ratios.collect())
    };
    println!(
        "  median ratio {:.2}; of each, the wire's copy takes {alone:.0} ns: {:.2} without it",
        ratio(0.0),
        ratio(alone)
    );
}

/// A pair of hosts for each number of connections.
fn connect() -> Vec<hosts::Pair> {
    println!("connection set-ups, both ends:");
    CONNECTIONS
        .iter()
        .map(|&connections| {
            let mut pair = hosts::Pair::new();
            let start = cpu_nanos();
            pair.connect(connections - 1);
            let seconds = (cpu_nanos() - start) as f64 / 1e9;
            if connections > 1 {
                let rate = (connections - 1) as f64 / seconds;
                println!("  {connections:6} connections: {rate:.0} a second");
            }
            pair
        })
        .collect()
}

fn scale(rounds: usize, pairs: &mut [hosts::Pair]) {
    // What each does at its beginning (quick acknowledgements, slow start) is no part of the figures.
    for pair in pairs.iter_mut() {
        for _ in 0..2 {
            visit(pair, pair.clients.len(), 16);
        }
    }
    for all in [false, true] {
        for segments in WRITES {
            let who = if all {
                "all in turn write"
            } else {
                "one writes"
            };
            println!("{who} {segments} segments, ns for a segment (ratio to 1 connection):");
            let mut costs = vec![Vec::new(); pairs.len()];
            for round in 0..rounds + 1 {
                for (pair, costs) in pairs.iter_mut().zip(&mut costs) {
                    let active = if all { pair.clients.len() } else { 1 };
                    let cost = visit(pair, active, segments);
                    if round > 0 {
                        costs.push(cost);
                    }
                }
            }
            for (connections, own) in CONNECTIONS.iter().zip(&costs) {
                let ratios = own.iter().zip(&costs[0]).map(|(own, one)| own / one);
                let ratio = median(ratios.collect());
                let nanos = median(own.clone());
                println!("  {connections:6} connections: {nanos:4.0}  ({ratio:.2})");
            }
        }
    }
}

/// Nanoseconds for a segment while the first `active` connections write in turn, `segments` each.
fn visit(pair: &mut hosts::Pair, active: usize, segments: usize) -> f64 {
    let (source, mut sink) = (vec![7; segments * hosts::SEGMENT_BYTES], vec![0; 256 << 10]);
    let clients = pair.clients[..active].to_vec();
    let mut turn = clients.iter().copied().cycle();
    let mut sent = pair.a.stack.counters().tcp_tx_segments;
    per_segment(SEGMENTS.max(active * segments), || {
        // One at a time, so that as many acknowledgements are sent for as many segments at any number.
        let client = turn.next().expect("a connection");
        pair.turn(client, &source, &mut sink, Bytes::Copied);
        let before = std::mem::replace(&mut sent, pair.a.stack.counters().tcp_tx_segments);
        (sent - before) as usize
    })
}

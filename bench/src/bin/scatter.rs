//! From how many bytes on a payload is better described beside its headers than copied behind them, where the
//! kernel copies what it is given (a veth in copy mode): it allocates a page for each descriptor behind a
//! packet's first. CPU time of this thread, the kernel's part of the sends included, for SEND_ZC of datagrams
//! from a registered area, and from memory that is none, which ringwire copies. Rounds alternate.
//!
//!     scatter [ROUNDS]

use std::net::SocketAddr;
use std::time::Duration;

use ringwire::{BindMode, IoUring, cqueue, opcode, types};
use ringwire_bench::clock::{cpu_nanos, median};
use ringwire_tests::net::{PEER_V4, RING_INTERFACE, RING_V4, Veth};
use ringwire_tests::stream::{connect_socket, run};

const SIZES: [usize; 8] = [600, 1400, 2800, 4000, 4800, 5600, 6400, 8900];
const REQUESTS: usize = 8192;
const BURST: usize = 64;
/// From one payload to the next.
const STRIDE: usize = 12_288;
const SOCKET: types::Fixed = types::Fixed(0);

fn main() {
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let rounds: usize = rounds.unwrap_or(9);
    let veth = Veth::new(1, 9000, false);
    veth.peer_offloads_off();
    let mut ring = veth.in_ring(|| {
        IoUring::builder()
            .interface(RING_INTERFACE)
            .address(format!("{RING_V4}/24").parse().expect("an address"))
            .registered_area(BURST * STRIDE)
            .scatter_from(0)
            .bind_mode(BindMode::Copy)
            .detect_duplicates(false)
            .build(BURST as u32)
            .expect("a ring")
    });
    ring.submitter().register_files_sparse(1).expect("a table");
    // Nobody reads there: when its buffer is full, the kernel drops what comes.
    let peer = veth.peer_socket(PEER_V4);
    connect(&mut ring, peer.local_addr().expect("an address"));
    let mut area = ring.take_area(0).expect("an area");
    area.fill(7);
    let own = vec![7; BURST * STRIDE];
    println!("CPU ns for a datagram over veth in copy mode, the kernel's part included");
    for bytes in SIZES {
        let mut figures = Vec::new();
        for round in 0..rounds + 1 {
            let copied = burst(&mut ring, &own, bytes);
            let scattered = burst(&mut ring, &area, bytes);
            // The first one warms up.
            if round > 0 {
                figures.push((copied, scattered));
            }
        }
        let of = |each: fn(&(f64, f64)) -> f64| median(figures.iter().map(each).collect());
        println!(
            "  {bytes:5} bytes: copied {:5.0}  scattered {:5.0}  ratio {:.2}",
            of(|it| it.0),
            of(|it| it.1),
            of(|it| it.1 / it.0)
        );
    }
    let stack = ring.counters().expect("counters").stack;
    println!(
        "  {} packets were scattered, {} copied as too short",
        stack.tx_scattered, stack.tx_copied_small
    );
}

fn connect(ring: &mut IoUring, to: SocketAddr) {
    let slot = types::DestinationSlot::try_from_slot_target(0).expect("a slot");
    let socket = opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0).file_index(Some(slot));
    assert_eq!(run(ring, socket.build()), 0);
    connect_socket(ring, SOCKET, to);
}

/// Sends datagrams of this memory; CPU nanoseconds for each.
fn burst(ring: &mut IoUring, memory: &[u8], bytes: usize) -> f64 {
    let start = cpu_nanos();
    for _ in 0..REQUESTS / BURST {
        for place in memory.chunks(STRIDE) {
            let entry = opcode::SendZc::new(SOCKET, place.as_ptr(), bytes as u32).build();
            // SAFETY: the memory outlives the notification, which is waited for; nobody writes to it.
            unsafe { ring.submission().push(&entry) }.expect("room in the queue");
        }
        let mut left = BURST;
        while left > 0 {
            ringwire_tests::stream::wait(ring, Duration::from_millis(100));
            for cqe in ring.completion() {
                assert!(cqe.result() >= 0, "{cqe:?}");
                left -= usize::from(cqueue::notif(cqe.flags()));
            }
        }
    }
    (cpu_nanos() - start) as f64 / REQUESTS as f64
}

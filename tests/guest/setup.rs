//! Making a ring on a driver, and giving its queues back.

use ringwire::{AttachMode, BindMode, Mode};
use ringwire_tests::net::{PEER_V4, RING_INTERFACE, RING_V4};
use ringwire_umem::{Layout, Umem};
use ringwire_xsk::{Interface, Privileges, Program, QueueConfig, Socket};

use crate::Check;
use crate::bed::Bed;
use crate::datagrams::{LARGEST, ask};

pub const CHECKS: &[Check] = &[("a ring is made again as soon as one has gone", again)];

/// No packet moves in it.
pub const SMALL_CHUNKS: Check = (
    "chunks over which the driver would split frames are not its own",
    small_chunks,
);

/// Not one of the others: it is the contrary that must be seen.
pub const COPY: Check = ("a ring that is told to copy copies", copy);

/// igb would write a frame of 1514 bytes into two of these chunks, as if it were two frames.
fn small_chunks(bed: &Bed) {
    let layout = Layout {
        chunk_bytes: 2048,
        rx_chunks: 64,
        header_chunks: 0,
        send_chunks: 1,
        lend_reserve_chunks: 0,
        areas: vec![],
    };
    let umem = Umem::new(layout).expect("memory");
    let fill: Vec<u64> = (0..64).map(|chunk| chunk * 2048).collect();
    let open = || {
        let interface = Interface::by_name(RING_INTERFACE).expect("the interface");
        let _program = Program::attach(&interface, AttachMode::Native).expect("the program");
        let config = QueueConfig {
            ifindex: interface.index,
            ifname: RING_INTERFACE,
            queue: 0,
            umem: &umem,
            shared_with: None,
            rx_entries: 64,
            tx_entries: 64,
            fill_entries: 64,
            completion_entries: 64,
            fill: &fill,
            mode: BindMode::Auto,
            scatter: false,
            tx_checksum: false,
            privileges: Privileges::default(),
        };
        Socket::open(&config).expect("a socket").0
    };
    let socket = bed.wire.in_ring(open);
    assert_eq!(socket.mode(), Mode::Copy);
    let reason = socket.zero_copy_refused().expect("a reason").to_string();
    assert!(reason.contains("use larger chunks"), "{reason}");
}

fn again(bed: &Bed) {
    for _ in 0..2 {
        let serving = bed.serve(Mode::ZeroCopy);
        ask(&bed.client(PEER_V4, RING_V4), LARGEST);
        serving.stop();
    }
}

fn copy(bed: &Bed) {
    let serving = bed.serve(Mode::Copy);
    ask(&bed.client(PEER_V4, RING_V4), LARGEST);
    serving.stop();
}

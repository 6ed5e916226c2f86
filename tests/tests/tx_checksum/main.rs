//! Checksums of what is sent, written by the kernel: what Linux and another ring find on veth.

mod datagrams;
mod memory;
mod streams;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use libtest_mimic::Arguments;
use ringwire::{Builder, IoUring, Report, RxChecksum, TxChecksum, opcode, types};
use ringwire_tests::net::{PATIENCE, PEER_V4, RING_INTERFACE, RING_V4, RING_V6, Veth};
use ringwire_tests::privileged;
use ringwire_tests::stream::{run, wait};

const SOCKET: types::Fixed = types::Fixed(0);

const CASES: &[(&str, fn())] = &[
    ("checksums_are_ours_unless_asked_for", ours_by_default),
    ("what_was_asked_for_is_in_the_report", reported),
];

/// A ring at its end of the pair, whose checksums the kernel is to write.
fn builder() -> Builder {
    let mut builder = IoUring::builder();
    builder
        .interface(RING_INTERFACE)
        .address(format!("{RING_V4}/24").parse().expect("an address"))
        .address(format!("{RING_V6}/64").parse().expect("an address"))
        .tx_checksum(TxChecksum::Offload)
        .detect_duplicates(false);
    builder
}

fn build(veth: &Veth, builder: &Builder) -> IoUring {
    let ring = veth.in_ring(|| builder.build(64)).expect("a ring");
    ring.submitter().register_files_sparse(8).expect("a table");
    ring
}

/// Opens the one datagram socket.
fn open(ring: &mut IoUring, v6: bool) {
    let slot = types::DestinationSlot::try_from_slot_target(SOCKET.0).expect("a small slot");
    let domain = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let socket = opcode::Socket::new(domain, libc::SOCK_DGRAM, 0).file_index(Some(slot));
    assert_eq!(run(ring, socket.build()), 0);
}

/// The peer's next datagram; what waits for a neighbour needs turns.
fn receive(ring: &mut IoUring, peer: &UdpSocket) -> Vec<u8> {
    peer.set_nonblocking(true).expect("a socket that waits not");
    let mut bytes = vec![0; 70_000];
    let start = Instant::now();
    loop {
        if let Ok(len) = peer.recv(&mut bytes) {
            bytes.truncate(len);
            return bytes;
        }
        assert!(start.elapsed() < PATIENCE, "no datagram");
        wait(ring, Duration::from_millis(1));
    }
}

/// Whether the kernel has TX metadata; where not, the report must say so.
fn offers(report: &Report) -> bool {
    match (report.tx_checksum, &report.tx_checksum_refused) {
        (TxChecksum::Offload, None) => true,
        (TxChecksum::Software, Some(why)) if why == "needs Linux 6.11" => {
            eprintln!("not tried: TX metadata {why}");
            false
        }
        other => panic!("neither granted nor refused by the kernel: {other:?}"),
    }
}

fn ours_by_default() {
    let veth = Veth::new(1, 1500, false);
    let ring = ringwire_tests::stream::ring(&veth, RxChecksum::AcceptPartial);
    let report = ring.report().expect("a report");
    assert_eq!(report.tx_checksum, TxChecksum::Software);
    assert_eq!(report.tx_checksum_refused, None);
    let text = report.to_string();
    assert!(text.ends_with("checksums on send: software"), "{text}");
}

fn reported() {
    let veth = Veth::new(2, 1500, false);
    let ring = build(&veth, &builder());
    let report = ring.report().expect("a report");
    if offers(&report) {
        let text = report.to_string();
        let last = "on veth by neither, unless `ethtool -K rw0 tx off`";
        assert!(text.ends_with(last), "{text}");
    }
}

fn main() {
    let cases = CASES
        .iter()
        .chain(datagrams::CASES)
        .chain(streams::CASES)
        .chain(memory::CASES);
    let trials = cases.map(|&(name, case)| privileged(name, case)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

//! Checksums that are written behind the stack, by a port that reads what stands in front of packets.

use std::time::Duration;

use super::build::read_udp;
use super::harness::*;
use super::tcp::{SERVER_V4, SERVER_V6, stream};
use crate::checksum::Checksum;
use crate::{ChecksumPlace, METADATA_BYTES, TxChecksum};

const PAIRED: [(&str, &str); 2] = [("10.0.0.2:7", "10.0.0.3:9"), ("[fd00::2]:7", "[fd00::3]:9")];

/// What the port of these tests reads.
fn metadata(place: ChecksumPlace) -> [u8; METADATA_BYTES] {
    let mut bytes = [0xa5; METADATA_BYTES];
    bytes[..2].copy_from_slice(&place.start.to_be_bytes());
    bytes[2..4].copy_from_slice(&place.field.to_be_bytes());
    bytes
}

/// The port's part: it sums everything from `start` on, the field included, and writes what comes out.
pub(super) fn complete(frame: &mut [u8], metadata: &[u8]) {
    assert_eq!(metadata[4..], [0xa5; METADATA_BYTES - 4], "no metadata");
    let at = |index| usize::from(u16::from_be_bytes([metadata[index], metadata[index + 1]]));
    let (start, field) = (at(0), at(0) + at(2));
    let mut sum = Checksum::new();
    sum.add(&frame[start..]);
    let checksum = match sum.finish() {
        0 => 0xffff,
        checksum => checksum,
    };
    frame[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

pub(super) fn offloading(setup: &mut Setup) {
    setup.config.tx_checksum = TxChecksum::Offload(metadata);
    setup.config.plan.headroom = METADATA_BYTES as u32;
}

#[test]
fn a_datagram_asks_for_its_checksum() {
    for (local, peer) in [("10.0.0.2:7", "10.0.0.9:9"), ("[fd00::2]:7", "[fd00::9]:9")] {
        let mut host = Host::ready_with(offloading);
        let socket = host.bound(local);
        for len in [0, 1, 2, 1000, 1001, 1452] {
            host.send(socket, peer, &pattern(len)).unwrap();
            let frames = host.sent();
            assert_eq!(read_udp(&frames[0]), (at(local), at(peer), pattern(len)));
        }
        assert_eq!(host.stack.counters().tx_offloaded, 6);
    }
}

#[test]
fn of_a_datagram_in_fragments_the_stack_writes_the_checksum() {
    for (local, remote) in PAIRED {
        let mut pair = Pair::with(offloading);
        let (a, b) = (pair.a.bound(local), pair.b.bound(remote));
        pair.a.send(a, remote, &pattern(5000)).unwrap();
        pair.exchange();
        assert!(pair.b.recv_from(b, local) == Some(pattern(5000)));
        let counters = pair.a.stack.counters();
        assert_eq!((counters.tx_fragments, counters.tx_offloaded), (4, 0));
    }
}

#[test]
fn each_piece_of_a_packet_has_room_in_front_of_it() {
    // The host of these tests looks at every descriptor.
    for (local, remote) in PAIRED {
        let mut pair = Pair::with(|setup| {
            offloading(setup);
            setup.config.mtu = 9000;
        });
        let (a, b) = (pair.a.bound(local), pair.b.bound(remote));
        // A chunk has 2048 bytes, of which the headers take 42 or 62.
        for len in [1954, 1955, 1974, 1975, 4000, 8952] {
            pair.a.send(a, remote, &pattern(len)).unwrap();
            pair.exchange();
            let received = pair.b.recv_from(b, local);
            assert!(received == Some(pattern(len)), "{len} bytes to {remote}");
        }
        assert_eq!(pair.a.stack.counters().tx_offloaded, 6);
    }
}

#[test]
fn without_scatter_a_packet_and_what_is_in_front_of_it_fit_into_a_chunk() {
    for (local, remote) in PAIRED {
        let mut pair = Pair::with(|setup| {
            offloading(setup);
            setup.config.mtu = 9000;
            setup.config.plan.descriptors = 1;
        });
        let (a, b) = (pair.a.bound(local), pair.b.bound(remote));
        for len in [1940, 1960, 1980, 4000] {
            pair.a.send(a, remote, &pattern(len)).unwrap();
            pair.exchange();
            let received = pair.b.recv_from(b, local);
            assert!(received == Some(pattern(len)), "{len} bytes to {remote}");
        }
    }
}

#[test]
fn every_segment_of_a_stream_asks_for_its_checksum() {
    for (to, mtu) in [(SERVER_V4, 1500), (SERVER_V6, 1500), (SERVER_V6, 9000)] {
        let mut pair = Pair::with(|setup| {
            offloading(setup);
            setup.config.mtu = mtu;
        });
        let (client, server) = pair.connect(to);
        let bytes = pattern(300_000);
        assert!(stream(&mut pair, client, server, &bytes) == bytes);
        assert_eq!(pair.b.stack.counters().rx_bad_checksum, 0);
        for host in [&pair.a, &pair.b] {
            let counters = host.stack.counters();
            assert_eq!(counters.tx_offloaded, counters.tcp_tx_segments);
        }
    }
}

#[test]
fn a_segment_whose_headers_leave_no_room_is_copied() {
    let mut pair = Pair::with(offloading);
    let (client, server) = pair.connect(SERVER_V6);
    // What comes behind a gap is acknowledged selectively, with every segment: 98 bytes of headers.
    pair.b.write(server, &pattern(100)).unwrap();
    assert_eq!(pair.b.sent().len(), 1, "lost");
    pair.b.no_delay(server);
    pair.b.write(server, &pattern(200)).unwrap();
    for frame in pair.b.sent() {
        pair.a.receive(&frame);
    }
    pair.a.write(client, b"in answer").unwrap();
    let frames = pair.a.sent();
    let payload = b"in answer";
    let segment = frames.iter().find(|frame| frame.ends_with(payload));
    let headers = segment.expect("the answer").len() - payload.len();
    assert!(headers + METADATA_BYTES > 128, "{headers} bytes of headers");
    for frame in &frames {
        pair.b.receive(frame);
    }
    assert_eq!(pair.b.read(server, 100).unwrap(), payload);
    let counters = pair.a.stack.counters();
    assert_eq!(counters.tcp_tx_copied, 1);
    assert_eq!(counters.tx_offloaded, counters.tcp_tx_segments);
    pair.pass(Duration::from_secs(3));
    assert_eq!(pair.a.read(client, 1000).unwrap().len(), 300);
}

#[test]
#[should_panic(expected = "has headroom to ask for them")]
fn there_must_be_room_to_ask() {
    Host::with(|setup| setup.config.tx_checksum = TxChecksum::Offload(metadata));
}

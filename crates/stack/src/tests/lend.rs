//! Received payloads that are lent to the application.

use std::time::Duration;

use ringwire_umem::Pool;

use super::build::{self, fragments, frame, udp_packet};
use super::harness::{Host, PEER_MAC, PEER_V4, Pair, Setup, pattern};
use crate::{LendError, LentPart, SocketError, SocketId};

const SERVER: &str = "10.0.0.3:80";
const FROM: &str = "10.0.0.9:99";
const TO: &str = "10.0.0.2:7";
/// Where a UDP payload begins in a frame: the kernel's headroom, Ethernet, IPv4 and UDP headers.
const UDP_PAYLOAD_AT: usize = 256 + 14 + 20 + 8;

fn bytes(host: &mut Host, parts: &[LentPart]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(host.ledger.lent(part.addr, part.len).unwrap());
    }
    bytes
}

fn give_back(host: &mut Host, parts: &[LentPart]) {
    for part in parts {
        host.ledger.give_back(part.addr).unwrap();
    }
}

/// Lends what can be read of a stream, with this limit for each part.
fn lend_all(host: &mut Host, id: SocketId, limit: usize) -> Vec<LentPart> {
    let lend = || host.stack.tcp_lend(&mut host.ledger, id, limit).ok();
    std::iter::from_fn(lend).collect()
}

fn lend_udp(host: &mut Host, id: SocketId, header: &[u8]) -> Result<Vec<LentPart>, LendError> {
    let mut parts = Vec::new();
    let expected = host.stack.udp_lend_parts(&host.ledger, id, header.len());
    let mut write = |room: &mut [u8]| room.copy_from_slice(header);
    host.stack.udp_lend(
        &mut host.ledger,
        id,
        header.len(),
        &mut write,
        &mut |part| parts.push(part),
    )?;
    assert_eq!(parts.len(), expected, "as many parts as were announced");
    Ok(parts)
}

/// Lends the application an RX chunk, of which this is the address.
fn keep_one(host: &mut Host) -> u64 {
    let frame = host.ledger.alloc(Pool::Rx).unwrap();
    host.ledger.lend(frame, 0)
}

/// Has the application keep every RX chunk but the reserve.
fn keep_all_but_the_reserve(host: &mut Host) -> Vec<u64> {
    let reserve = host.ledger.umem().layout().lend_reserve_chunks;
    let spare = host.free(Pool::Rx) - reserve;
    (0..spare).map(|_| keep_one(host)).collect()
}

#[test]
fn a_segment_is_lent_where_it_lies_and_stays_until_it_is_given_back() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER);
    pair.a.write(client, &pattern(1000)).unwrap();
    pair.exchange();
    let free = pair.b.free(Pool::Rx);
    let parts = lend_all(&mut pair.b, server, usize::MAX);
    assert_eq!(parts.len(), 1);
    assert!(!parts[0].copied);
    assert_eq!(bytes(&mut pair.b, &parts), pattern(1000));
    assert_eq!(pair.b.free(Pool::Rx), free);
    assert_eq!(
        pair.b.stack.tcp_available(server),
        Err(SocketError::WouldBlock)
    );
    give_back(&mut pair.b, &parts);
    assert_eq!(pair.b.free(Pool::Rx), free + 1);
}

#[test]
fn a_limit_cuts_a_segment_into_parts_of_one_frame() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER);
    pair.a.write(client, &pattern(1000)).unwrap();
    pair.exchange();
    let free = pair.b.free(Pool::Rx);
    let parts = lend_all(&mut pair.b, server, 300);
    let lens: Vec<u32> = parts.iter().map(|part| part.len).collect();
    assert_eq!(lens, [300, 300, 300, 100]);
    assert!(parts.windows(2).all(|two| two[1].addr == two[0].addr + 300));
    assert_eq!(bytes(&mut pair.b, &parts), pattern(1000));
    // In any order; the last one frees it.
    give_back(&mut pair.b, &parts[2..]);
    give_back(&mut pair.b, &parts[..1]);
    assert_eq!(pair.b.free(Pool::Rx), free);
    give_back(&mut pair.b, &parts[1..2]);
    assert_eq!(pair.b.free(Pool::Rx), free + 1);
}

#[test]
fn a_limit_of_nothing_lends_nothing() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER);
    pair.a.write(client, b"there").unwrap();
    pair.exchange();
    let lent = pair.b.stack.tcp_lend(&mut pair.b.ledger, server, 0);
    assert_eq!(lent, Err(LendError::Nothing));
    assert_eq!(pair.b.read(server, 10), Ok(b"there".to_vec()));
}

#[test]
fn an_empty_stream_has_nothing_to_lend() {
    let mut pair = Pair::new();
    let (_, server) = pair.connect(SERVER);
    let lent = pair.b.stack.tcp_lend(&mut pair.b.ledger, server, 1);
    assert_eq!(lent, Err(LendError::Nothing));
}

#[test]
fn what_was_read_before_is_not_lent() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER);
    pair.a.write(client, &pattern(1000)).unwrap();
    pair.exchange();
    pair.b.read(server, 400).unwrap();
    let parts = lend_all(&mut pair.b, server, 500);
    assert_eq!(bytes(&mut pair.b, &parts), pattern(1000)[400..]);
    give_back(&mut pair.b, &parts);
}

#[test]
fn what_is_left_of_a_lent_segment_is_read_as_before() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER);
    pair.a.write(client, &pattern(1000)).unwrap();
    pair.exchange();
    let part = pair.b.stack.tcp_lend(&mut pair.b.ledger, server, 400);
    let part = [part.unwrap()];
    assert_eq!(pair.b.read(server, 2000).unwrap(), pattern(1000)[400..]);
    assert_eq!(bytes(&mut pair.b, &part), pattern(1000)[..400]);
    give_back(&mut pair.b, &part);
}

#[test]
fn a_small_segment_is_not_put_behind_one_that_is_partly_lent() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER);
    pair.a.no_delay(client);
    for (len, appended) in [(1000, 0), (1000, 1)] {
        pair.a.write(client, &pattern(len)).unwrap();
        pair.exchange();
        let lent = (appended == 0).then(|| {
            pair.b
                .stack
                .tcp_lend(&mut pair.b.ledger, server, 100)
                .unwrap()
        });
        let before = pair.b.stack.counters().tcp_compacted;
        pair.a.write(client, b"small").unwrap();
        pair.exchange();
        let compacted = pair.b.stack.counters().tcp_compacted - before;
        assert_eq!(compacted, appended, "partly lent: {}", lent.is_some());
        let rest = pair.b.read(server, usize::MAX).unwrap();
        assert!(rest.ends_with(b"small"));
        give_back(&mut pair.b, lent.as_slice());
    }
}

#[test]
fn a_segment_of_several_pieces_is_lent_piece_by_piece() {
    let mut pair = Pair::with(|setup: &mut Setup| setup.config.mtu = 9000);
    let (client, server) = pair.connect(SERVER);
    let sent = pattern(60_000);
    assert_eq!(pair.a.write(client, &sent), Ok(60_000));
    let mut parts = Vec::new();
    for _ in 0..100 {
        pair.exchange();
        parts.extend(lend_all(&mut pair.b, server, usize::MAX));
    }
    assert!(bytes(&mut pair.b, &parts) == sent);
    assert!(parts.iter().all(|part| !part.copied));
    let chunks: std::collections::HashSet<u64> =
        parts.iter().map(|part| part.addr / 2048).collect();
    assert_eq!(chunks.len(), parts.len(), "each piece once");
    give_back(&mut pair.b, &parts);
}

/// Carries what a host says to itself.
fn settle(host: &mut Host) {
    for _ in 0..4 {
        host.sent();
        host.pass(Duration::from_millis(1));
    }
}

#[test]
fn a_stream_to_oneself_is_copied_to_be_lent() {
    let mut host = Host::new();
    let listener = host.listener(TO, 1);
    let client = host.connecting(TO);
    settle(&mut host);
    let server = host.accept(listener).unwrap();
    host.write(client, &pattern(1000)).unwrap();
    settle(&mut host);
    let parts = lend_all(&mut host, server, usize::MAX);
    assert_eq!(bytes(&mut host, &parts), pattern(1000));
    assert!(parts.iter().all(|part| part.copied));
    let counters = host.stack.counters();
    assert_eq!(counters.lend_copied_from_heap, parts.len() as u64);
    assert_eq!(counters.lend_copied_bytes, 1000);
    give_back(&mut host, &parts);
}

#[test]
fn payloads_moved_out_of_their_frames_are_copied_to_be_lent() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER);
    let kept = keep_all_but_the_reserve(&mut pair.b);
    let sent = pattern(20_000);
    pair.a.write(client, &sent).unwrap();
    pair.exchange();
    let lent = pair
        .b
        .stack
        .tcp_lend(&mut pair.b.ledger, server, usize::MAX);
    assert_eq!(lent, Err(LendError::NoFrames));
    for addr in kept {
        pair.b.ledger.give_back(addr).unwrap();
    }
    let mut parts = lend_all(&mut pair.b, server, usize::MAX);
    pair.exchange();
    parts.extend(lend_all(&mut pair.b, server, usize::MAX));
    assert!(bytes(&mut pair.b, &parts) == sent);
    let counters = pair.b.stack.counters();
    assert!(counters.tcp_compacted > 0 && counters.lend_copied_from_heap > 0);
    give_back(&mut pair.b, &parts);
}

#[test]
fn an_application_that_keeps_everything_closes_the_window_and_gets_the_rest_later() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER);
    let sent = pattern(2_000_000);
    let (mut written, mut parts) = (0, Vec::new());
    for _ in 0..1000 {
        written += pair.a.write(client, &sent[written..]).unwrap_or(0);
        pair.exchange();
        parts.extend(lend_all(&mut pair.b, server, usize::MAX));
    }
    assert!(written < sent.len(), "the window is closed");
    let reserve = pair.b.ledger.umem().layout().lend_reserve_chunks;
    assert!(pair.b.free(Pool::Rx) >= reserve - 1, "the reserve is left");
    assert_eq!(
        pair.b
            .answer(&build::arp_request(PEER_MAC, PEER_V4, "10.0.0.3"))
            .len(),
        1,
        "and others go on"
    );
    let mut received = Vec::new();
    for _ in 0..10_000 {
        received.extend(bytes(&mut pair.b, &parts));
        give_back(&mut pair.b, &parts);
        if received.len() == sent.len() {
            break;
        }
        parts = lend_all(&mut pair.b, server, usize::MAX);
        written += pair.a.write(client, &sent[written..]).unwrap_or(0);
        pair.pass(Duration::from_millis(1));
    }
    assert!(received == sent);
}

#[test]
fn a_datagram_is_lent_with_what_is_written_in_front_of_it() {
    let mut host = Host::new();
    let socket = host.bound(TO);
    host.receive(&build::udp(FROM, TO, &pattern(1000)));
    let parts = lend_udp(&mut host, socket, b"who sent it").unwrap();
    assert_eq!(parts.len(), 1);
    assert!(!parts[0].copied);
    assert_eq!(
        bytes(&mut host, &parts),
        [b"who sent it", &pattern(1000)[..]].concat()
    );
    give_back(&mut host, &parts);
    assert_eq!(lend_udp(&mut host, socket, &[]), Err(LendError::Nothing));
}

#[test]
fn a_datagram_of_several_pieces_is_lent_in_order() {
    let mut host = Host::with(|setup| setup.config.mtu = 9000);
    let socket = host.bound(TO);
    host.receive(&build::udp(FROM, TO, &pattern(8000)));
    let parts = lend_udp(&mut host, socket, b"head").unwrap();
    assert_eq!(parts.len(), 5);
    assert_eq!(
        bytes(&mut host, &parts),
        [b"head", &pattern(8000)[..]].concat()
    );
    give_back(&mut host, &parts);
}

#[test]
fn pieces_of_headers_alone_are_not_lent() {
    let mut host = Host::new();
    let socket = host.bound(TO);
    let all = host.free(Pool::Rx);
    // Ethernet, IPv4 and UDP headers are 42 bytes.
    host.receive_in(&build::udp(FROM, TO, &pattern(60)), 42);
    let parts = lend_udp(&mut host, socket, b"head").unwrap();
    assert_eq!(
        bytes(&mut host, &parts),
        [b"head", &pattern(60)[..]].concat()
    );
    assert_eq!(host.free(Pool::Rx), all - parts.len() as u32);
    give_back(&mut host, &parts);
}

#[test]
fn a_datagram_without_room_in_front_is_copied_with_it() {
    let mut host = Host::new();
    let socket = host.bound(TO);
    for (room, copied) in [(UDP_PAYLOAD_AT, false), (UDP_PAYLOAD_AT + 1, true)] {
        host.receive(&build::udp(FROM, TO, &pattern(500)));
        let header = vec![7; room];
        let parts = lend_udp(&mut host, socket, &header).unwrap();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].copied, copied, "{room}");
        assert_eq!(
            bytes(&mut host, &parts),
            [&header[..], &pattern(500)].concat()
        );
        give_back(&mut host, &parts);
    }
    let counters = host.stack.counters();
    assert_eq!(counters.lend_copied_for_room, 1);
    assert_eq!(counters.lend_copied_bytes, 500);
}

#[test]
fn of_a_datagram_that_is_too_long_behind_its_header_only_the_front_is_copied() {
    let mut host = Host::new();
    let socket = host.bound(TO);
    let header = vec![7; 1900];
    host.receive(&build::udp(FROM, TO, &pattern(500)));
    let parts = lend_udp(&mut host, socket, &header).unwrap();
    let copied: Vec<_> = parts.iter().map(|part| (part.len, part.copied)).collect();
    assert_eq!(copied, [(1920, true), (480, false)]);
    assert_eq!(
        bytes(&mut host, &parts),
        [&header[..], &pattern(500)].concat()
    );
    assert_eq!(host.stack.counters().lend_copied_bytes, 20);
    give_back(&mut host, &parts);
}

#[test]
fn a_header_that_no_chunk_has_room_for_is_refused() {
    let mut host = Host::new();
    let socket = host.bound(TO);
    host.receive(&build::udp(FROM, TO, b"stays"));
    let lent = lend_udp(&mut host, socket, &[0; 1920]);
    assert_eq!(lent, Err(LendError::HeaderRoom(1920)));
    assert_eq!(host.recv_from(socket, FROM), Some(b"stays".to_vec()));
}

#[test]
fn an_empty_datagram_is_lent_as_its_header_or_not_at_all() {
    let mut host = Host::new();
    let socket = host.bound(TO);
    for header in [&b"head"[..], &[]] {
        host.receive(&build::udp(FROM, TO, &[]));
        let parts = lend_udp(&mut host, socket, header).unwrap();
        assert_eq!(bytes(&mut host, &parts), header);
        give_back(&mut host, &parts);
    }
    assert_eq!(host.free(Pool::Rx), 256);
}

#[test]
fn a_datagram_from_fragments_is_copied_into_as_many_chunks_as_it_needs() {
    let mut host = Host::new();
    let socket = host.bound(TO);
    for part in fragments(&udp_packet(FROM, TO, &pattern(5000)), 5, 1000) {
        host.receive(&frame(&part));
    }
    let parts = lend_udp(&mut host, socket, b"head").unwrap();
    assert_eq!(parts.len(), 3);
    assert_eq!(
        bytes(&mut host, &parts),
        [b"head", &pattern(5000)[..]].concat()
    );
    let counters = host.stack.counters();
    assert_eq!(counters.lend_copied_from_heap, 3);
    assert_eq!(counters.lend_copied_bytes, 5000);
    give_back(&mut host, &parts);
}

#[test]
fn a_datagram_stays_queued_while_only_the_reserve_is_left() {
    let mut host = Host::new();
    let socket = host.bound(TO);
    host.receive(&build::udp(FROM, TO, b"waits"));
    let mut kept = keep_all_but_the_reserve(&mut host);
    kept.push(keep_one(&mut host));
    assert_eq!(lend_udp(&mut host, socket, &[]), Err(LendError::NoFrames));
    for addr in kept {
        host.ledger.give_back(addr).unwrap();
    }
    let parts = lend_udp(&mut host, socket, &[]).unwrap();
    assert_eq!(bytes(&mut host, &parts), b"waits");
    give_back(&mut host, &parts);
}

#[test]
fn queues_that_hold_the_pool_keep_nothing_from_who_keeps_nothing() {
    let mut host = Host::new();
    let socket = host.bound(TO);
    host.receive(&build::udp(FROM, TO, b"in a frame"));
    for part in fragments(&udp_packet(FROM, TO, &pattern(3000)), 5, 1000) {
        host.receive(&frame(&part));
    }
    // As other sockets' queues do, of which nobody reads.
    let held: Vec<_> = (0..host.free(Pool::Rx) - 2)
        .map(|_| host.ledger.alloc(Pool::Rx).unwrap())
        .collect();
    let parts = [(); 2].map(|()| lend_udp(&mut host, socket, &[]).unwrap());
    assert_eq!(bytes(&mut host, &parts[0]), b"in a frame");
    assert_eq!(bytes(&mut host, &parts[1]), pattern(3000));
    parts.iter().for_each(|parts| give_back(&mut host, parts));
    held.into_iter()
        .for_each(|frame| host.ledger.release(frame));
}

#[test]
fn a_copy_leaves_the_reserve() {
    let mut host = Host::new();
    let socket = host.bound(TO);
    for part in fragments(&udp_packet(FROM, TO, &pattern(3000)), 5, 1000) {
        host.receive(&frame(&part));
    }
    let mut kept = keep_all_but_the_reserve(&mut host);
    host.ledger.give_back(kept.pop().unwrap()).unwrap();
    assert_eq!(lend_udp(&mut host, socket, &[]), Err(LendError::NoFrames));
    host.ledger.give_back(kept.pop().unwrap()).unwrap();
    let parts = lend_udp(&mut host, socket, &[]).unwrap();
    assert_eq!(parts.len(), 2);
    give_back(&mut host, &parts);
    for addr in kept {
        host.ledger.give_back(addr).unwrap();
    }
}

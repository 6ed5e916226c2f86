//! TCP between two stacks: connections, streams, and their ends.

use std::time::Duration;

use ringwire_tcp::State;

use super::harness::{Host, Pair, Setup, pattern};
use crate::{RxChecksum, Shutdown, SocketError, SocketId, TxChecksum};

pub(super) const SERVER_V4: &str = "10.0.0.3:80";
pub(super) const SERVER_V6: &str = "[fd00::3]:80";

fn state(host: &Host, id: SocketId) -> State {
    host.stack.tcp_state(id).unwrap()
}

/// Sends bytes from `a` to `b`, carrying frames as needed; returns what arrived.
pub(super) fn stream(pair: &mut Pair, from: SocketId, to: SocketId, bytes: &[u8]) -> Vec<u8> {
    let mut sent = 0;
    let mut received = Vec::new();
    for _ in 0..100_000 {
        if sent < bytes.len() {
            match pair.a.write(from, &bytes[sent..]) {
                Ok(count) => sent += count,
                Err(SocketError::WouldBlock) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        pair.exchange();
        match pair.b.read(to, usize::MAX) {
            Ok(part) => received.extend(part),
            Err(SocketError::WouldBlock) => pair.pass(Duration::from_millis(1)),
            Err(error) => panic!("{error:?}"),
        }
        if received.len() >= bytes.len() {
            return received;
        }
    }
    panic!("{} of {} bytes arrived", received.len(), bytes.len());
}

#[test]
fn a_connection_stands_over_both_families() {
    for to in [SERVER_V4, SERVER_V6] {
        let mut pair = Pair::new();
        let (client, server) = pair.connect(to);
        assert_eq!(state(&pair.a, client), State::Established);
        assert_eq!(state(&pair.b, server), State::Established);
    }
}

#[test]
fn bytes_arrive_as_they_were_sent() {
    for to in [SERVER_V4, SERVER_V6] {
        let mut pair = Pair::new();
        let (client, server) = pair.connect(to);
        let bytes = pattern(300_000);
        assert!(stream(&mut pair, client, server, &bytes) == bytes);
        assert_eq!(pair.b.stack.counters().rx_bad_checksum, 0);
    }
}

#[test]
fn without_checksums_a_receiver_that_trusts_reads_the_stream() {
    let mut pair = Pair::with(|setup: &mut Setup| {
        setup.config.tx_checksum = TxChecksum::Omit;
        setup.config.rx_checksum = RxChecksum::Trust;
    });
    let (client, server) = pair.connect(SERVER_V4);
    let bytes = pattern(100_000);
    assert!(stream(&mut pair, client, server, &bytes) == bytes);
    pair.a.write(client, &bytes[..100]).unwrap();
    let frame = &pair.a.sent()[0];
    assert_eq!(frame[14 + 20 + 16..][..2], [0, 0], "nothing was summed");
}

#[test]
fn without_checksums_a_receiver_that_looks_takes_nothing() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    pair.a.stack.config.tx_checksum = TxChecksum::Omit;
    pair.a.write(client, b"unprotected").unwrap();
    pair.exchange();
    assert_eq!(pair.b.read(server, 100), Err(SocketError::WouldBlock));
    assert_eq!(pair.b.stack.counters().rx_bad_checksum, 1);
}

#[test]
fn the_search_for_a_port_goes_on_where_the_last_one_ended() {
    let mut host = Host::ready();
    let mut ports = std::collections::HashSet::new();
    for _ in 0..1000 {
        let socket = host.connecting("10.0.0.9:80");
        assert!(ports.insert(host.local(socket).port()), "a port came again");
        host.close(socket);
    }
}

#[test]
fn whole_cells_go_out_where_they_lie() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    let bytes = pattern(100_000);
    stream(&mut pair, client, server, &bytes);
    assert_eq!(pair.a.stack.counters().tcp_tx_copied, 0);
}

#[test]
fn chunks_of_every_size_carry_streams() {
    for (chunk_bytes, mtu) in [(2048, 1500), (4096, 1500), (4096, 9000), (2048, 9000)] {
        let mut pair = Pair::with(|setup: &mut Setup| {
            setup.layout.chunk_bytes = chunk_bytes;
            setup.config.mtu = mtu;
        });
        let (client, server) = pair.connect(SERVER_V6);
        let bytes = pattern(100_000);
        assert!(
            stream(&mut pair, client, server, &bytes) == bytes,
            "{chunk_bytes} {mtu}"
        );
    }
}

#[test]
fn small_writes_fill_one_segment() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    for _ in 0..10 {
        pair.a.write(client, b"0123456789").unwrap();
    }
    assert_eq!(pair.a.sent().len(), 1);
    pair.pass(Duration::from_secs(1));
    assert_eq!(pair.b.read(server, 1000).unwrap().len(), 100);
}

#[test]
fn both_directions_close_by_themselves() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    let (now, host) = (pair.a.now, &mut pair.a);
    host.stack
        .shutdown(now, &mut host.ledger, client, Shutdown::Send)
        .unwrap();
    pair.exchange();
    assert_eq!(pair.b.read(server, 10), Ok(Vec::new()), "the end");
    assert_eq!(state(&pair.a, client), State::FinWait2);
    // The other direction goes on.
    pair.b.write(server, b"late").unwrap();
    pair.exchange();
    assert_eq!(pair.a.read(client, 10), Ok(b"late".to_vec()));
    pair.b.close(server);
    pair.exchange();
    assert_eq!(pair.a.read(client, 10), Ok(Vec::new()));
    assert_eq!(pair.a.stack.tcp_time_waits(), 1);
    pair.pass(Duration::from_secs(61));
    assert_eq!(pair.a.stack.tcp_time_waits(), 0);
}

#[test]
fn closing_with_unread_data_resets() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    pair.a.write(client, b"nobody reads this").unwrap();
    pair.exchange();
    pair.b.close(server);
    pair.exchange();
    assert_eq!(pair.a.read(client, 10), Err(SocketError::Reset));
    assert_eq!(
        pair.a.read(client, 10),
        Ok(Vec::new()),
        "an error is told once"
    );
    assert_eq!(pair.a.write(client, b"x"), Err(SocketError::Pipe));
}

#[test]
fn what_arrived_before_a_reset_is_still_read() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    pair.a.write(client, b"hello").unwrap();
    pair.exchange();
    pair.a.reset_on_close(client);
    pair.a.close(client);
    pair.exchange();
    assert_eq!(pair.b.read(server, 10), Ok(b"hello".to_vec()));
    assert_eq!(pair.b.read(server, 10), Err(SocketError::Reset));
}

#[test]
fn a_port_that_nobody_has_refuses() {
    let mut pair = Pair::new();
    let client = pair.a.connecting(SERVER_V4);
    pair.exchange();
    let outcome = pair.a.stack.tcp_connected(client);
    assert_eq!(outcome, Some(Err(SocketError::Refused)));
    assert_eq!(pair.b.stack.counters().tcp_no_connection, 1);
}

#[test]
fn a_host_that_nobody_has_is_unreachable() {
    let mut pair = Pair::new();
    let client = pair.a.connecting("10.0.0.77:80");
    pair.pass(Duration::from_secs(10));
    let outcome = pair.a.stack.tcp_connected(client);
    assert_eq!(outcome, Some(Err(SocketError::HostUnreachable)));
}

#[test]
fn a_host_reaches_its_own_listener() {
    let mut host = Host::new();
    let listener = host.listener("10.0.0.2:80", 1);
    let client = host.connecting("10.0.0.2:80");
    for _ in 0..10 {
        host.sent();
        host.stack.poll(host.now, &mut host.ledger);
    }
    assert_eq!(host.stack.tcp_connected(client), Some(Ok(())));
    let server = host.accept(listener).unwrap();
    host.write(client, b"to myself").unwrap();
    for _ in 0..10 {
        assert!(host.sent().is_empty(), "nothing goes to the wire");
        host.stack.poll(host.now, &mut host.ledger);
    }
    assert_eq!(host.read(server, 100), Ok(b"to myself".to_vec()));
}

#[test]
fn a_full_accept_queue_holds_further_connections_back() {
    let mut pair = Pair::new();
    let listener = pair.b.listener(SERVER_V4, 0);
    let first = pair.a.connecting(SERVER_V4);
    pair.exchange();
    let second = pair.a.connecting(SERVER_V4);
    pair.exchange();
    assert_eq!(pair.a.stack.tcp_connected(first), Some(Ok(())));
    assert_eq!(pair.a.stack.tcp_connected(second), None);
    assert_eq!(pair.b.stack.counters().tcp_listen_overflows, 1);
    pair.b.accept(listener).unwrap();
    pair.pass(Duration::from_secs(2));
    assert_eq!(pair.a.stack.tcp_connected(second), Some(Ok(())));
}

#[test]
fn a_listener_that_closes_resets_who_waits() {
    let mut pair = Pair::new();
    let listener = pair.b.listener(SERVER_V4, 4);
    let client = pair.a.connecting(SERVER_V4);
    pair.exchange();
    pair.b.close(listener);
    pair.exchange();
    assert_eq!(pair.a.read(client, 10), Err(SocketError::Reset));
}

#[test]
fn a_reader_that_sleeps_closes_the_window_and_opens_it_again() {
    let mut pair = Pair::with(|setup| setup.layout.rx_chunks = 1024);
    let (client, server) = pair.connect(SERVER_V4);
    let bytes = pattern(900_000);
    let mut sent = 0;
    while let Ok(count) = pair.a.write(client, &bytes[sent..]) {
        sent += count;
        pair.pass(Duration::from_millis(50));
    }
    pair.pass(Duration::from_secs(100));
    assert!(sent < bytes.len());
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        if let Ok(part) = pair.b.read(server, 5000) {
            received.extend(part);
        }
        if sent < bytes.len()
            && let Ok(count) = pair.a.write(client, &bytes[sent..])
        {
            sent += count;
        }
        pair.pass(Duration::from_millis(1));
    }
    assert!(received == bytes);
}

#[test]
fn tiny_segments_do_not_pin_a_frame_each() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    pair.a.no_delay(client);
    let free = pair.b.free(ringwire_umem::Pool::Rx);
    for byte in 0..100u8 {
        pair.a.write(client, &[byte]).unwrap();
        pair.exchange();
    }
    assert!(free - pair.b.free(ringwire_umem::Pool::Rx) <= 2);
    let expected: Vec<u8> = (0..100).collect();
    assert_eq!(pair.b.read(server, 1000), Ok(expected));
}

#[test]
fn a_bound_port_cannot_be_bound_again() {
    let mut host = Host::new();
    host.listener("10.0.0.2:80", 1);
    let other = host.stack.open(crate::Protocol::Tcp, crate::Family::V4);
    let bind = |host: &mut Host, to: &str| host.stack.bind(other, super::harness::at(to));
    assert_eq!(
        bind(&mut host, "10.0.0.2:80"),
        Err(SocketError::AddressInUse)
    );
    assert_eq!(
        bind(&mut host, "0.0.0.0:80"),
        Err(SocketError::AddressInUse)
    );
    assert_eq!(bind(&mut host, "10.0.0.2:81"), Ok(()));
    assert_eq!(bind(&mut host, "10.0.0.2:82"), Err(SocketError::Invalid));
    host.close(other);
}

#[test]
fn a_thousand_connections_come_and_go_and_leave_nothing() {
    let mut pair = Pair::new();
    let listener = pair.b.listener(SERVER_V4, 16);
    for round in 0..1000u32 {
        let client = pair.a.connecting(SERVER_V4);
        pair.exchange();
        let server = pair.b.accept(listener).unwrap();
        pair.a.write(client, &round.to_be_bytes()).unwrap();
        pair.exchange();
        let bytes = pair.b.read(server, 10).unwrap();
        pair.b.write(server, &bytes).unwrap();
        pair.exchange();
        assert_eq!(pair.a.read(client, 10), Ok(round.to_be_bytes().to_vec()));
        pair.a.close(client);
        pair.exchange();
        pair.b.close(server);
        pair.exchange();
    }
    assert_eq!(pair.a.stack.tcp_time_waits(), 1000);
}

/// Found by the simulator: packets that others pushed out of the line to an unknown neighbour counted
/// as a host that does not answer.
#[test]
fn a_line_too_long_to_a_neighbour_is_no_unreachable_host() {
    let mut host = Host::new();
    let client = host.connecting("10.0.0.9:80");
    host.sent();
    let datagrams = host.bound("10.0.0.2:7");
    for _ in 0..200 {
        let _ = host.send(datagrams, "10.0.0.9:7", b"x");
    }
    assert_eq!(host.stack.tcp_connected(client), None);
}

#[test]
fn connections_are_told_apart_by_all_four_numbers() {
    let mut pair = Pair::new();
    let listener = pair.b.listener(SERVER_V4, 64);
    let clients: Vec<SocketId> = (0..50).map(|_| pair.a.connecting(SERVER_V4)).collect();
    pair.exchange();
    let mut servers = Vec::new();
    while let Ok(server) = pair.b.accept(listener) {
        servers.push(server);
    }
    assert_eq!(servers.len(), 50);
    for (index, &client) in clients.iter().enumerate() {
        pair.a.write(client, &[index as u8]).unwrap();
    }
    pair.exchange();
    let mut seen: Vec<u8> = servers
        .iter()
        .flat_map(|&id| pair.b.read(id, 9).unwrap())
        .collect();
    seen.sort();
    assert_eq!(seen, (0..50).collect::<Vec<u8>>());
}

#[test]
fn a_flood_of_syns_is_bounded_and_forgotten() {
    let mut host = Host::ready();
    let listener = host.listener("10.0.0.2:80", 4);
    for port in 1..3000u16 {
        let answers = host.answer(&super::build::tcp_syn(
            &format!("10.0.0.9:{port}"),
            "10.0.0.2:80",
        ));
        assert_eq!(answers.len(), 1, "SYN {port}");
    }
    assert_eq!(host.stack.tcp_connections(), 1024);
    assert_eq!(host.stack.counters().tcp_cookies_sent, 3000 - 1 - 1024);
    // Those who are not there never answer.
    for _ in 0..200 {
        host.pass(Duration::from_secs(1));
        host.meet_peer();
    }
    assert_eq!(host.stack.tcp_connections(), 0);
    host.close(listener);
}

#[test]
fn rx_chunks_that_run_short_cost_copies_and_no_bytes() {
    let mut pair = Pair::with(|setup| {
        setup.layout.rx_chunks = 64;
        setup.layout.lend_reserve_chunks = 16;
    });
    let (client, server) = pair.connect(SERVER_V4);
    // Nobody reads: 64 KiB and more wait, in fewer frames than they came in.
    let bytes = pattern(120_000);
    let mut sent = 0;
    for _ in 0..200 {
        if sent < bytes.len() {
            sent += pair.a.write(client, &bytes[sent..]).unwrap_or(0);
        }
        pair.pass(Duration::from_millis(300));
        assert!(
            pair.b.free(ringwire_umem::Pool::Rx) >= 15,
            "the reserve is touched"
        );
    }
    assert!(pair.b.stack.counters().tcp_compacted > 0);
    // Another connection is served meanwhile.
    let (other, there) = pair.connect("10.0.0.3:81");
    pair.a.write(other, b"hello").unwrap();
    pair.exchange();
    assert_eq!(pair.b.read(there, 10), Ok(b"hello".to_vec()));
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        match pair.b.read(server, usize::MAX) {
            Ok(part) => received.extend(part),
            Err(error) => assert_eq!(error, SocketError::WouldBlock),
        }
        if sent < bytes.len() {
            sent += pair.a.write(client, &bytes[sent..]).unwrap_or(0);
        }
        pair.pass(Duration::from_millis(10));
    }
    assert!(received == bytes);
}

#[test]
fn a_last_segment_of_a_handshake_waits_for_room_in_the_accept_queue() {
    let mut pair = Pair::new();
    let listener = pair.b.listener(SERVER_V4, 0);
    // They must know each other, or the SYNs wait for that.
    pair.a.connecting("10.0.0.3:9");
    pair.exchange();
    let clients = [pair.a.connecting(SERVER_V4), pair.a.connecting(SERVER_V4)];
    // Both are half open before either is complete.
    pair.exchange();
    let stands = |host: &Host, id| state(host, id) == State::Established;
    assert!(clients.iter().all(|&client| stands(&pair.a, client)));
    assert_eq!(pair.b.stack.counters().tcp_established, 1, "one found room");
    assert_eq!(pair.b.stack.counters().tcp_listen_overflows, 1);
    pair.b.accept(listener).unwrap();
    pair.pass(Duration::from_secs(2));
    assert_eq!(
        pair.b.stack.counters().tcp_established,
        2,
        "the other came again"
    );
    pair.b.accept(listener).unwrap();
}

#[test]
fn a_retransmission_leaves_what_the_nic_may_still_read_as_it_is() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    pair.a.write(client, &pattern(1000)).unwrap();
    // The NIC has it, and says nothing.
    let posted = pair.a.post();
    pair.a.pass(Duration::from_millis(500));
    let again = pair.a.post();
    assert_eq!((posted.frames.len(), again.frames.len()), (1, 1));
    assert_eq!(pair.a.stack.counters().tcp_tx_copied, 1);
    assert_eq!(
        pair.a.described(&posted),
        posted.frames,
        "the NIC reads what it was given"
    );
    let frames = [pair.a.complete(posted), pair.a.complete(again)].concat();
    frames.iter().for_each(|frame| pair.b.receive(frame));
    assert_eq!(pair.b.read(server, 2000), Ok(pattern(1000)));
    // It was let go: the next one goes out where it lies.
    pair.exchange();
    pair.a.write(client, b"x").unwrap();
    pair.exchange();
    assert_eq!(pair.a.stack.counters().tcp_tx_copied, 1);
}

#[test]
fn part_of_a_cell_does_not_write_its_headers_over_the_part_before() {
    // A window of less than a segment, and a reader that takes a few bytes at a time.
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER_V4);
    let bytes = pattern(400_000);
    let mut sent = 0;
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        if sent < bytes.len() {
            sent += pair.a.write(client, &bytes[sent..]).unwrap_or(0);
        }
        pair.pass(Duration::from_millis(300));
        if let Ok(part) = pair.b.read(server, 10_007) {
            received.extend(part);
        }
    }
    assert!(received == bytes);
    assert!(
        pair.a.stack.counters().tcp_tx_copied > 0,
        "no segment was cut by the window"
    );
}

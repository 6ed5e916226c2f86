//! Listeners, and what they accept.

use super::*;

pub const CASES: &[Case] = &[
    case("tcp_sockets_and_listen", listen_errors),
    case("tcp_accept", accept_one),
    case("tcp_accept_takes_a_free_slot", accept_alloc),
    case("tcp_accept_without_waiting", accept_dont_wait),
    case("tcp_accept_writes_the_peers_address", accept_address),
    case("tcp_accept_with_no_slot_left", accept_full),
    case("tcp_accept_multishot", accept_multishot),
    case("tcp_accept_on_a_listener_that_is_shut_down", accept_shut),
    case("tcp_accept_where_nobody_listens", accept_errors),
    case(
        "tcp_accept_from_a_connection_polls_first",
        accept_from_connection,
    ),
    case("tcp_accept_outlives_its_descriptor", accept_closed),
    case("tcp_accept_of_what_was_reset", accept_reset),
];

fn listen_errors(bench: &mut Bench) {
    bench.listener(1);
    bench.run(opcode::Listen::new(types::Fixed(0), 5).build(), 1);
    bench.stream_socket(libc::AF_INET, 1, 2);
    let taken = any_v4(PORT);
    bench.run(bind_entry(1, &taken), 3);
    bench.run(opcode::Listen::new(types::Fixed(1), 5).build(), 4);
    bench.run(bind_entry(1, &any_v4(PORT + 1)), 5);
    bench.run(socket(libc::AF_INET, 2), 6);
    bench.run(opcode::Listen::new(types::Fixed(2), 5).build(), 7);
    bench.run(opcode::Listen::new(types::Fixed(3), 5).build(), 8);
    for (kind, protocol) in [
        (libc::SOCK_STREAM, libc::IPPROTO_UDP),
        (libc::SOCK_STREAM, libc::IPPROTO_TCP),
    ] {
        let slot = types::DestinationSlot::try_from_slot_target(3).unwrap();
        let entry = opcode::Socket::new(libc::AF_INET6, kind, protocol).file_index(Some(slot));
        bench.run(entry.build(), 9);
    }
}

fn accept_one(bench: &mut Bench) {
    bench.listener(4);
    bench.push(accept_entry(0, Some(1)), 1);
    bench.submit();
    let mut stream = bench.peer_connects();
    bench.wait(1);
    stream.write_all(b"hello").unwrap();
    let mut buffer = [0; 16];
    bench.run(recv_on(1, &mut buffer, 0), 2);
    bench.say(&buffer[..5]);
    bench.run(send_on(1, b"world!", 0), 3);
    let got = bench.peer_reads(&mut stream, 6);
    bench.say(got);
    let _second = bench.peer_connects();
    let _third = bench.peer_connects();
    bench.run(accept_entry(0, Some(2)), 4);
    bench.run(accept_entry(0, Some(2)), 5);
    // An explicit slot out of range loses the connection.
    let mut fourth = bench.peer_connects();
    bench.run(accept_entry(0, Some(SLOTS)), 6);
    bench.peer_sees_end(&mut fourth);
}

fn accept_alloc(bench: &mut Bench) {
    bench.listener(4);
    let _streams = [bench.peer_connects(), bench.peer_connects()];
    bench.run(accept_entry(0, None), 1);
    bench.run(accept_entry(0, None), 2);
}

fn accept_dont_wait(bench: &mut Bench) {
    bench.listener(4);
    let dont_wait = || raw(accept_entry(0, Some(1)), |bytes| bytes[2] = 2);
    bench.run(dont_wait(), 1);
    let _stream = bench.peer_connects();
    bench.readable(0);
    bench.run(dont_wait(), 2);
    let unknown = raw(accept_entry(0, Some(1)), |bytes| bytes[2] = 0x80);
    bench.run(unknown, 3);
    let flags = raw(accept_entry(0, Some(1)), |bytes| {
        bytes[28..32].copy_from_slice(&1i32.to_ne_bytes())
    });
    bench.run(flags, 4);
    let poll_first = raw(accept_entry(0, Some(1)), |bytes| bytes[2] = 4);
    bench.push(poll_first, 5);
    bench.submit();
    let _second = bench.peer_connects();
    bench.wait(1);
}

fn accept_address(bench: &mut Bench) {
    bench.listener(4);
    for (room, user_data) in [(128i32, 1), (8, 2), (0, 3), (-1, 4)] {
        let stream = bench.peer_connects();
        let (mut bytes, mut len) = ([0xaau8; 128], room);
        let slot = types::DestinationSlot::try_from_slot_target(1).unwrap();
        let (addr, addrlen) = (
            bytes.as_mut_ptr().cast(),
            std::ptr::from_mut(&mut len).cast(),
        );
        let entry = opcode::Accept::new(types::Fixed(0), addr, addrlen).file_index(Some(slot));
        bench.run(entry.build(), user_data);
        let port = stream.local_addr().unwrap().port().to_be_bytes();
        let right_port = bytes[2..4] == port;
        bench.say((len, &bytes[..2], right_port, &bytes[4..20]));
    }
}

fn accept_full(bench: &mut Bench) {
    bench.listener(4);
    for slot in 1..SLOTS {
        bench.run(socket(libc::AF_INET, slot), 1);
    }
    let entry = opcode::AcceptMulti::new(types::Fixed(0)).allocate_file_index(true);
    bench.push(entry.build(), 2);
    bench.submit();
    let mut stream = bench.peer_connects();
    bench.wait(1);
    bench.peer_sees_end(&mut stream);
}

fn accept_multishot(bench: &mut Bench) {
    bench.listener(4);
    let fixed = raw(accept_entry(0, Some(1)), |bytes| bytes[2] = 1);
    bench.run(fixed, 1);
    let entry = || {
        opcode::AcceptMulti::new(types::Fixed(0))
            .allocate_file_index(true)
            .build()
    };
    bench.push(entry(), 2);
    bench.submit();
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(bench.peer_connects());
        bench.wait(1);
    }
    bench.cancel(2);
    bench.wait(2);
    streams.push(bench.peer_connects());
    bench.run(entry(), 3);
}

fn accept_shut(bench: &mut Bench) {
    bench.listener(4);
    bench.push(accept_entry(0, Some(1)), 1);
    bench.submit();
    bench.push(shutdown_entry(0, libc::SHUT_RD), 2);
    bench.wait(2);
    bench.run(accept_entry(0, Some(1)), 3);
    bench.run(opcode::Listen::new(types::Fixed(0), 1).build(), 4);
    let _stream = bench.peer_connects();
    bench.run(accept_entry(0, Some(1)), 5);
}

fn accept_errors(bench: &mut Bench) {
    bench.files();
    bench.run(socket(libc::AF_INET, 0), 1);
    bench.run(accept_entry(0, Some(1)), 2);
    bench.stream_socket(libc::AF_INET, 0, 3);
    bench.run(accept_entry(0, Some(1)), 4);
    bench.run(accept_entry(3, Some(1)), 5);
}

fn accept_from_connection(bench: &mut Bench) {
    let poll_first = || raw(accept_entry(1, Some(2)), |bytes| bytes[2] = 4);
    let mut stream = bench.connected();
    bench.push(poll_first(), 1);
    bench.submit();
    stream.write_all(b"x").unwrap();
    bench.wait(1);
    bench.run(poll_first(), 2);
    let mut buffer = [0; 16];
    bench.run(recv_on(1, &mut buffer, 0), 3);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.run(poll_entry(1, libc::POLLRDHUP), 4);
    bench.run(poll_first(), 5);
}

fn accept_closed(bench: &mut Bench) {
    bench.listener(4);
    let entry = opcode::AcceptMulti::new(types::Fixed(0)).allocate_file_index(true);
    bench.push(entry.build(), 1);
    bench.submit();
    bench.run(close_entry(0), 2);
    let _stream = bench.peer_connects();
    bench.wait(1);
    bench.cancel(1);
    bench.wait(2);
}

fn accept_reset(bench: &mut Bench) {
    bench.listener(4);
    let mut stream = bench.peer_connects();
    stream.write_all(b"before").unwrap();
    bench.readable(0);
    reset(stream);
    // The reset comes before what comes after it.
    let _other = bench.peer_connects();
    bench.run(accept_entry(0, Some(1)), 1);
    let mut buffer = [0; 16];
    for user_data in 2..5 {
        bench.run(recv_on(1, &mut buffer, 0), user_data);
    }
    bench.run(send_on(1, b"x", 0), 5);
}

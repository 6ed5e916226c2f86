//! Receiving from a connection.

use super::*;

pub const CASES: &[Case] = &[
    case("tcp_multishot_receive_behind_a_reset", multishot_reset),
    case(
        "tcp_multishot_receive_and_a_send_behind_a_reset",
        multishot_reset_and_send,
    ),
    case(
        "tcp_multishot_receive_behind_a_reset_that_is_known",
        multishot_known_reset,
    ),
    case(
        "tcp_multishot_receive_where_receiving_is_shut_down",
        multishot_shut,
    ),
    case("tcp_receive_in_parts", receive_parts),
    case("tcp_receive_flags", stream_receive_flags),
    case("tcp_receive_waits_for_all", wait_all),
    case("tcp_receive_of_all_that_fails_its_link", wait_all_link),
    case("tcp_receive_of_nothing", receive_nothing),
    case(
        "tcp_receive_of_nothing_at_the_end",
        receive_nothing_at_the_end,
    ),
    case("tcp_receive_at_a_bad_address", receive_fault),
    case("tcp_receive_into_provided_buffers", receive_selected),
    case("tcp_multishot_receive", stream_multishot),
    case(
        "tcp_multishot_receive_without_buffers",
        multishot_no_buffers,
    ),
    case("tcp_multishot_receive_with_limits", multishot_limits),
    case(
        "tcp_multishot_receive_on_a_full_queue",
        stream_multishot_overflow,
    ),
    case("tcp_receive_bundle", receive_bundle),
    case("tcp_receive_bundle_multishot", receive_bundle_multishot),
    case("tcp_receive_bundle_incremental", receive_bundle_incremental),
    case("tcp_receive_bundle_limits", receive_bundle_limits),
    case("tcp_messages", stream_messages),
    case("tcp_multishot_messages", stream_multishot_messages),
    case("tcp_receive_requests_in_line", receive_line),
];

fn receive_parts(bench: &mut Bench) {
    let mut stream = bench.connected();
    stream.write_all(b"0123456789").unwrap();
    bench.readable(1);
    let mut buffer = [0; 4];
    for user_data in 1..4 {
        bench.run(recv_on(1, &mut buffer, 0), user_data);
        bench.say(buffer);
    }
}

fn stream_receive_flags(bench: &mut Bench) {
    let mut stream = bench.connected();
    let mut buffer = [0; 8];
    bench.run(recv_on(1, &mut buffer, libc::MSG_DONTWAIT), 1);
    bench.run(recv_on(1, &mut buffer, libc::MSG_OOB), 2);
    bench.run(
        recv_on(1, &mut buffer, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT),
        3,
    );
    stream.write_all(b"0123456789").unwrap();
    bench.readable(1);
    bench.run(recv_on(1, &mut buffer, libc::MSG_PEEK), 4);
    bench.say(buffer);
    bench.run(recv_on(1, &mut buffer[..4], libc::MSG_TRUNC), 5);
    let discard =
        opcode::Recv::new(types::Fixed(1), std::ptr::null_mut(), 3).flags(libc::MSG_TRUNC);
    bench.run(discard.build(), 6);
    bench.run(recv_on(1, &mut buffer, 0), 7);
    bench.say(buffer);
    let poll_first = raw(recv_on(1, &mut buffer, 0), |bytes| bytes[2] = 1);
    bench.push(poll_first, 8);
    bench.submit();
    stream.write_all(b"late").unwrap();
    bench.wait(1);
}

fn wait_all(bench: &mut Bench) {
    let mut stream = bench.connected();
    let mut buffer = [0; 12];
    bench.push(recv_on(1, &mut buffer, libc::MSG_WAITALL), 1);
    bench.submit();
    for part in [&b"0123"[..], b"4567", b"89ab", b"rest"] {
        stream.write_all(part).unwrap();
        // What comes in one piece is not a test of much.
        bench.pump("the peer's data is acknowledged", || {
            unacknowledged(&stream) == 0
        });
    }
    bench.wait(1);
    bench.say(buffer);
    bench.push(recv_on(1, &mut buffer, libc::MSG_WAITALL), 2);
    bench.submit();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.wait(1);
    bench.say(&buffer[..4]);
    bench.run(recv_on(1, &mut buffer, libc::MSG_WAITALL), 3);
}

fn wait_all_link(bench: &mut Bench) {
    let mut stream = bench.connected();
    let mut buffer = [0; 12];
    stream.write_all(b"0123").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.run(poll_entry(1, libc::POLLRDHUP), 1);
    bench.push(recv_on(1, &mut buffer[..2], 0).flags(link()), 2);
    bench.push(recv_on(1, &mut buffer, libc::MSG_WAITALL).flags(link()), 3);
    bench.push(opcode::Nop::new().build(), 4);
    bench.wait(3);
}

fn receive_nothing(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.push(recv_on(1, &mut [], 0), 1);
    bench.submit();
    stream.write_all(b"x").unwrap();
    bench.wait(1);
    bench.run(recv_on(1, &mut [], 0), 2);
}

fn receive_fault(bench: &mut Bench) {
    let mut stream = bench.connected();
    let bad = opcode::Recv::new(types::Fixed(1), 8 as *mut u8, 4).build();
    bench.push(bad, 1);
    bench.submit();
    stream.write_all(b"stays").unwrap();
    bench.wait(1);
    let mut buffer = [0; 8];
    bench.run(recv_on(1, &mut buffer, 0), 2);
    bench.say(buffer);
}

fn receive_selected(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run(recv_group(1, 0, 0, 0), 1);
    bench.buffer_ring(0);
    bench.run(recv_group(1, 0, 0, 0), 2);
    bench.provide(0, 8);
    bench.provide(1, 8);
    stream.write_all(b"0123456789").unwrap();
    bench.readable(1);
    bench.run(recv_group(1, 4, 0, 0), 3);
    bench.run(recv_group(1, 100, 0, 0), 4);
    bench.say((bench.buffer(0, 8), bench.buffer(1, 8)));
    // With MSG_WAITALL the buffer is kept until it is full.
    bench.provide(2, 8);
    bench.push(recv_group(1, 0, 0, libc::MSG_WAITALL), 5);
    bench.submit();
    stream.write_all(b"abcd").unwrap();
    bench.pump("the peer's data is acknowledged", || {
        unacknowledged(&stream) == 0
    });
    stream.write_all(b"efghij").unwrap();
    bench.wait(1);
    bench.say(bench.buffer(2, 8));
    // A buffer that nothing was received into stays in the group.
    let mut buffer = [0; 8];
    bench.run(recv_on(1, &mut buffer, 0), 6);
    bench.provide(3, 8);
    bench.run(recv_group(1, 0, 0, libc::MSG_DONTWAIT), 7);
    stream.write_all(b"kl").unwrap();
    bench.run(recv_group(1, 0, 0, 0), 8);
}

fn stream_multishot(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    for bid in 0..6 {
        bench.provide(bid, 8);
    }
    bench.push(recv_group(1, 0, MULTISHOT, 0), 1);
    bench.submit();
    stream.write_all(b"abc").unwrap();
    bench.wait(1);
    stream.write_all(b"0123456789").unwrap();
    bench.wait(2);
    bench.cancel(1);
    bench.wait(2);
    bench.push(recv_group(1, 0, MULTISHOT, 0), 2);
    bench.submit();
    stream.write_all(b"z").unwrap();
    bench.wait(1);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.wait(1);
    bench.say((
        bench.buffer(0, 3),
        bench.buffer(1, 8),
        bench.buffer(2, 2),
        bench.buffer(3, 1),
    ));
    bench.run(recv_group(1, 0, MULTISHOT | 1, 0), 3);
    bench.run(recv_group(1, 0, MULTISHOT, libc::MSG_WAITALL), 4);
}

fn multishot_no_buffers(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    bench.run(recv_group(1, 0, MULTISHOT, 0), 1);
    bench.provide(0, 8);
    bench.push(recv_group(1, 0, MULTISHOT, 0), 2);
    bench.submit();
    stream.write_all(b"abc").unwrap();
    bench.wait(1);
    // The group is empty, but that is no error before there is something to receive.
    bench.run(opcode::Nop::new().build(), 3);
    stream.write_all(b"def").unwrap();
    bench.wait(1);
    // What was not received is still there.
    bench.provide(1, 8);
    bench.run(recv_group(1, 0, 0, 0), 4);
    bench.say(bench.buffer(1, 3));
    bench.provide(2, 2);
    stream.write_all(b"ghi").unwrap();
    bench.readable(1);
    bench.push(recv_group(1, 0, MULTISHOT, 0), 5);
    bench.wait(2);
}

fn multishot_limits(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    for bid in 0..8 {
        bench.provide(bid, 8);
    }
    stream.write_all(b"0123456789").unwrap();
    bench.readable(1);
    // At most four bytes in a completion.
    bench.push(recv_group(1, 4, MULTISHOT, 0), 1);
    bench.wait(3);
    bench.cancel(1);
    bench.wait(2);
    // Ten bytes in all.
    bench.push(with_total(recv_group(1, 0, MULTISHOT, 0), 10), 2);
    bench.submit();
    stream.write_all(b"0123456789").unwrap();
    bench.wait(2);
    bench.run(with_total(recv_group(1, 0, 0, 0), 10), 3);
}

fn stream_multishot_overflow(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    for bid in 0..8 {
        bench.provide(bid, 2);
    }
    bench.push(recv_group(1, 0, MULTISHOT, 0), 1);
    bench.submit();
    // The queue of completions has 16 entries.
    for user_data in 0..14 {
        bench.push(opcode::Nop::new().build(), 100 + user_data);
    }
    bench.submit();
    stream.write_all(b"0123456789").unwrap();
    bench.pump("the peer's data is acknowledged", || {
        unacknowledged(&stream) == 0
    });
    bench.wait(17);
}

fn receive_bundle(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run(recv_group(1, 0, BUNDLE, 0), 1);
    bench.buffer_ring(0);
    bench.run(recv_group(1, 0, BUNDLE, 0), 2);
    for bid in 0..6 {
        bench.provide(bid, 100);
    }
    stream.write_all(&counted(250)).unwrap();
    bench.readable(1);
    bench.run(recv_group(1, 0, BUNDLE, 0), 3);
    bench.run(recv_group(1, 0, BUNDLE, 0), 4);
    bench.run(recv_group(1, 0, BUNDLE, libc::MSG_DONTWAIT), 5);
    stream.write_all(&counted(50)).unwrap();
    bench.run(recv_group(1, 0, BUNDLE, 0), 6);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.run(recv_group(1, 0, BUNDLE, 0), 7);
    bench.say((bench.buffer(1, 3), bench.buffer(2, 3), bench.buffer(3, 3)));
}

fn receive_bundle_multishot(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    for bid in 0..8 {
        bench.provide(bid, 100);
    }
    bench.push(recv_group(1, 0, MULTISHOT | BUNDLE, 0), 1);
    bench.submit();
    stream.write_all(&counted(250)).unwrap();
    bench.wait(2);
    stream.write_all(&counted(30)).unwrap();
    bench.wait(1);
    stream.write_all(&counted(390)).unwrap();
    bench.wait(2);
    bench.cancel(1);
    bench.wait(2);
    for bid in 0..3 {
        bench.provide(bid, 100);
    }
    bench.push(recv_group(1, 0, MULTISHOT | BUNDLE, 0), 2);
    bench.submit();
    stream.write_all(&counted(10)).unwrap();
    bench.wait(1);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.wait(1);
}

fn receive_bundle_incremental(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(2);
    for bid in 0..4 {
        bench.provide(bid, 100);
    }
    stream.write_all(&counted(250)).unwrap();
    bench.readable(1);
    bench.run(recv_group(1, 0, BUNDLE, 0), 1);
    stream.write_all(&counted(20)).unwrap();
    bench.run(recv_group(1, 0, BUNDLE, 0), 2);
    bench.say((bench.buffer(2, 4), bench.buffer(2, 56)[50..].to_vec()));
}

fn receive_bundle_limits(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    for bid in 0..8 {
        bench.provide(bid, 100);
    }
    stream.write_all(&counted(400)).unwrap();
    bench.readable(1);
    bench.run(recv_group(1, 150, BUNDLE, 0), 1);
    bench.run(recv_group(1, 50, BUNDLE, 0), 2);
    bench.run(with_total(recv_group(1, 0, MULTISHOT | BUNDLE, 0), 120), 3);
    bench.run(opcode::Nop::new().build(), 4);
    let message = raw(
        opcode::RecvMsg::new(types::Fixed(1), std::ptr::null_mut()).build(),
        |bytes| bytes[2] = 16,
    );
    bench.run(message, 5);
}

fn stream_messages(bench: &mut Bench) {
    let mut stream = bench.connected();
    let (mut first, mut second) = ([0u8; 4], [0u8; 8]);
    let part = |bytes: &mut [u8]| libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut parts = [part(&mut first), part(&mut second)];
    let mut name = [0xaau8; 16];
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = 2;
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = 16;
    stream.write_all(b"0123456789").unwrap();
    bench.readable(1);
    bench.run(
        opcode::RecvMsg::new(types::Fixed(1), &raw mut header).build(),
        1,
    );
    bench.say((
        first,
        second,
        header.msg_namelen,
        header.msg_flags,
        &name[..4],
    ));
    bench.push(
        opcode::RecvMsg::new(types::Fixed(1), &raw mut header)
            .flags(libc::MSG_WAITALL as u32)
            .build(),
        2,
    );
    bench.submit();
    stream.write_all(b"abcdef").unwrap();
    bench.pump("the peer's data is acknowledged", || {
        unacknowledged(&stream) == 0
    });
    stream.write_all(b"ghijklm").unwrap();
    bench.wait(1);
    bench.say((first, second));
    header.msg_name = std::ptr::null_mut();
    header.msg_namelen = 0;
    bench.run(
        opcode::SendMsg::new(types::Fixed(1), &raw const header).build(),
        3,
    );
    let got = bench.peer_reads(&mut stream, 12);
    bench.say(got);
    header.msg_iovlen = 1025;
    bench.run(
        opcode::SendMsg::new(types::Fixed(1), &raw const header).build(),
        4,
    );
    // A destination means nothing on a connection.
    let address = v4("192.0.2.1", 9);
    header.msg_iovlen = 1;
    header.msg_name = (&raw const address).cast_mut().cast();
    header.msg_namelen = 16;
    bench.run(
        opcode::SendMsg::new(types::Fixed(1), &raw const header).build(),
        5,
    );
}

fn stream_multishot_messages(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_namelen = 16;
    header.msg_controllen = 8;
    for bid in 0..4 {
        bench.provide(bid, 48);
    }
    bench.push(
        opcode::RecvMsgMulti::new(types::Fixed(1), &raw const header, GROUP).build(),
        1,
    );
    bench.submit();
    stream.write_all(b"0123456789").unwrap();
    bench.wait(2);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.wait(1);
    for bid in 0..3 {
        let bytes = bench.buffer(bid, 48);
        bench.say((&bytes[..16], &bytes[40..]));
    }
}

fn receive_line(bench: &mut Bench) {
    let mut stream = bench.connected();
    let (mut first, mut second) = ([0; 4], [0; 4]);
    bench.push(recv_on(1, &mut first, 0), 1);
    bench.submit();
    bench.push(recv_on(1, &mut second, libc::MSG_DONTWAIT), 2);
    bench.wait(1);
    stream.write_all(b"0123").unwrap();
    bench.wait(1);
    bench.say(first);
}

fn multishot_reset(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    bench.provide(0, 100);
    bench.provide(1, 100);
    stream.write_all(b"before").unwrap();
    reset(stream);
    bench.run(poll_entry(1, libc::POLLRDHUP), 1);
    bench.push(recv_group(1, 0, MULTISHOT, 0), 2);
    bench.wait(2);
}

fn multishot_known_reset(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    bench.provide(0, 100);
    bench.provide(1, 100);
    stream.write_all(b"before").unwrap();
    reset(stream);
    bench.run(poll_entry(1, libc::POLLRDHUP), 1);
    bench.run(send_on(1, b"x", 0), 2);
    bench.push(recv_group(1, 0, MULTISHOT, 0), 3);
    bench.wait(2);
}

fn multishot_shut(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    for bid in 0..4 {
        bench.provide(bid, 100);
    }
    bench.run(shutdown_entry(1, libc::SHUT_RD), 1);
    stream.write_all(&[7; 150]).unwrap();
    bench.pump("the data is there", || unacknowledged(&stream) == 0);
    bench.push(recv_group(1, 0, MULTISHOT, 0), 2);
    bench.wait(3);
}

fn receive_nothing_at_the_end(bench: &mut Bench) {
    let stream = bench.connected();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.run(poll_entry(1, libc::POLLRDHUP), 1);
    bench.push(recv_on(1, &mut [], libc::MSG_WAITALL).flags(link()), 2);
    bench.push(opcode::Nop::new().build(), 3);
    bench.wait(2);
}

fn multishot_reset_and_send(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    bench.provide(0, 100);
    bench.provide(1, 100);
    stream.write_all(b"before").unwrap();
    reset(stream);
    bench.run(poll_entry(1, libc::POLLRDHUP), 1);
    bench.push(recv_group(1, 0, MULTISHOT, 0), 2);
    bench.push(send_on(1, b"x", 0), 3);
    bench.wait_for_each(3);
}

//! What ends a multishot receive, what it leaves in its group, and how several share a ring.

use super::register_buf_ring::status;
use super::*;

pub const CASES: &[Case] = &[
    case("multishot_receives_that_take_turns", turns).with(longer_queue),
    case("capped_multishot_receives_that_take_turns", capped_turns).with(longer_queue),
    case("tcp_multishot_receives_that_take_turns", stream_turns).with(longer_queue),
    case(
        "tcp_capped_multishot_receives_that_take_turns",
        capped_stream_turns,
    )
    .with(longer_queue),
    case("multishot_receive_on_a_refused_port", refused),
    case("multishot_receive_where_receiving_is_shut_down", shut),
    case(
        "tcp_multishot_receive_that_is_shut_down_while_it_waits",
        stream_shut,
    ),
    case(
        "tcp_multishot_receive_that_is_reset_while_it_waits",
        reset_waiting,
    ),
    case(
        "tcp_multishot_receive_at_the_end_keeps_its_buffer",
        end_keeps,
    ),
    case("multishot_receive_without_a_group", no_group),
    case("multishot_receive_from_an_unknown_group", unknown_group),
    case("multishot_receive_at_a_bad_address", fault),
    case("multishot_messages_over_ipv6", messages_v6),
    case("multishot_messages_with_areas_that_are_refused", bad_areas),
    case("multishot_messages_at_the_end_of_a_buffer", message_tail),
    case("multishot_message_in_several_parts", several_parts),
    case("multishot_messages_that_are_cut", cut_messages),
    case(
        "multishot_message_of_receiving_that_is_shut_down",
        message_shut,
    ),
    case("tcp_multishot_bundle_on_a_full_queue", bundle_overflow),
    case(
        "tcp_multishot_bundle_that_empties_its_group",
        bundle_empties,
    ),
    case("tcp_multishot_receive_keeps_the_rings_order", ring_order),
];

const INCREMENTAL: u16 = 2;
const MANY: usize = 60;

fn longer_queue(builder: &mut Builder) {
    builder.setup_cqsize(256);
}

/// RECVMSG, multishot, on slot 0.
fn messages(header: &libc::msghdr) -> squeue::Entry {
    opcode::RecvMsgMulti::new(types::Fixed(0), header, GROUP).build()
}

fn areas(name: u32, control: usize) -> libc::msghdr {
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_namelen, header.msg_controllen) = (name, control);
    header
}

fn connect_to_peer(bench: &mut Bench, user_data: u64) {
    let peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    bench.run(connect_entry(0, &peer), user_data);
}

/// Who was served, and how often in a row.
fn served(bench: &mut Bench, want: usize) {
    let from = bench.transcript.len();
    bench.wait(want);
    let lines = bench.transcript.split_off(from);
    let mut runs: Vec<(char, usize)> = Vec::new();
    for line in lines {
        let of = line.chars().nth(1).expect("the user_data");
        match runs.last_mut() {
            Some((who, count)) if *who == of => *count += 1,
            _ => runs.push((of, 1)),
        }
    }
    bench.say(runs);
}

/// Sockets in slots 0 and 1, a multishot receive on each, and more datagrams than either gets in a turn.
fn many_for_two(bench: &mut Bench, limit: u32) {
    bench.bound();
    bench.run(socket(libc::AF_INET, 1), 903);
    bench.run(bind_entry(1, &any_v4(PORT + 1)), 904);
    bench.buffer_ring(INCREMENTAL);
    for bid in 0..BUFFERS {
        bench.provide(bid, BUFFER_BYTES);
    }
    for index in 0..MANY {
        for port in [PORT, PORT + 1] {
            let to = format!("{RING_V4}:{port}");
            bench.peer.send_to(&[index as u8; 4], to).unwrap();
        }
    }
    bench.run(poll_entry(0, libc::POLLIN), 905);
    bench.run(poll_entry(1, libc::POLLIN), 906);
    for (slot, user_data) in [(0, 1), (1, 2)] {
        bench.push(recv_group(slot, limit, MULTISHOT, 0), user_data);
    }
    served(bench, 2 * MANY);
}

fn turns(bench: &mut Bench) {
    many_for_two(bench, 0);
}

fn capped_turns(bench: &mut Bench) {
    many_for_two(bench, 4);
}

/// The same for connections in slots 1 and 2, and pieces of four bytes.
fn much_for_two(bench: &mut Bench, limit: u32, buffer_bytes: i32) {
    let mut first = bench.connected();
    let mut second = bench.peer_connects();
    bench.run(accept_entry(0, Some(2)), 916);
    let memory = bench.buffers.as_mut_ptr();
    let provide = opcode::ProvideBuffers::new(memory, buffer_bytes, 2 * MANY as u16, GROUP, 0);
    bench.run(provide.build(), 917);
    for stream in [&mut first, &mut second] {
        stream.write_all(&counted(4 * MANY)).unwrap();
    }
    bench.pump("the peer's data is acknowledged", || {
        unacknowledged(&first) == 0 && unacknowledged(&second) == 0
    });
    for (slot, user_data) in [(1, 1), (2, 2)] {
        bench.push(recv_group(slot, limit, MULTISHOT, 0), user_data);
    }
    served(bench, 2 * MANY);
}

fn stream_turns(bench: &mut Bench) {
    much_for_two(bench, 0, 4);
}

fn capped_stream_turns(bench: &mut Bench) {
    much_for_two(bench, 4, 8);
}

fn refused(bench: &mut Bench) {
    bench.bound();
    bench.run(connect_entry(0, &v4(PEER_V4, 9)), 1);
    bench.buffer_ring(0);
    bench.provide(0, 16);
    bench.push(recv_group(0, 0, MULTISHOT, 0), 2);
    bench.submit();
    bench.push(send(b"anybody?"), 3);
    bench.wait_for_each(2);
    status(bench, GROUP.into());
    // The buffer is the next receive's.
    connect_to_peer(bench, 4);
    bench.push(recv_group(0, 0, MULTISHOT, 0), 5);
    bench.submit();
    bench.peer_sends(b"somebody");
    bench.wait(2);
}

fn shut(bench: &mut Bench) {
    bench.bound();
    connect_to_peer(bench, 1);
    bench.buffer_ring(0);
    bench.provide(0, 16);
    bench.provide(1, 16);
    bench.push(recv_group(0, 0, MULTISHOT, 0), 2);
    bench.submit();
    bench.run(shutdown_entry(0, libc::SHUT_RD), 3);
    // It goes on: datagrams still come.
    bench.peer_sends(b"still");
    bench.wait(1);
    bench.cancel(2);
    bench.wait(2);
    status(bench, GROUP.into());
    // Nor is there anything where nobody may wait; to who waits once it is the end.
    bench.run(recv_group(0, 0, MULTISHOT, libc::MSG_DONTWAIT), 4);
    bench.run(recv_group(0, 0, 0, libc::MSG_DONTWAIT), 5);
    let mut buffer = [0; 8];
    bench.run(recv(&mut buffer), 6);
}

fn stream_shut(bench: &mut Bench) {
    let _stream = bench.connected();
    bench.buffer_ring(0);
    bench.provide(0, 16);
    bench.push(recv_group(1, 0, MULTISHOT, 0), 1);
    bench.submit();
    bench.push(shutdown_entry(1, libc::SHUT_RD), 2);
    bench.wait_for_each(2);
    status(bench, GROUP.into());
}

fn reset_waiting(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    bench.provide(0, 16);
    bench.provide(1, 16);
    bench.push(recv_group(1, 0, MULTISHOT, 0), 1);
    bench.submit();
    stream.write_all(b"before").unwrap();
    bench.wait(1);
    reset(stream);
    bench.wait(1);
    status(bench, GROUP.into());
}

fn end_keeps(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    bench.provide(0, 16);
    bench.provide(1, 16);
    bench.push(recv_group(1, 0, MULTISHOT, 0), 1);
    bench.submit();
    status(bench, GROUP.into());
    stream.write_all(b"before").unwrap();
    bench.wait(1);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.wait(1);
    status(bench, GROUP.into());
}

fn no_group(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 8];
    let plain = raw(recv(&mut buffer), |bytes| bytes[2] = MULTISHOT as u8);
    bench.run(plain, 1);
    let header = areas(0, 0);
    let plain = opcode::RecvMsg::new(types::Fixed(0), std::ptr::from_ref(&header).cast_mut());
    bench.run(raw(plain.build(), |bytes| bytes[2] = MULTISHOT as u8), 2);
}

fn unknown_group(bench: &mut Bench) {
    bench.bound();
    bench.run(recv_group(0, 0, MULTISHOT, 0), 1);
    bench.run(recv_group(0, 0, MULTISHOT | BUNDLE, 0), 2);
    let header = areas(0, 0);
    bench.run(messages(&header), 3);
}

/// A buffer in the first page, where nothing can be.
fn provide_nowhere(bench: &mut Bench, bid: u16) {
    provide_in(bench.buffer_ring, BUFFERS, bench.tail, 8, 16, bid);
    bench.tail += 1;
}

fn fault(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 16);
    provide_nowhere(bench, 1);
    bench.push(recv_group(0, 0, MULTISHOT, 0), 1);
    bench.submit();
    bench.peer_sends(b"good");
    bench.wait(1);
    bench.peer_sends(b"bad");
    bench.wait(1);
    status(bench, GROUP.into());
    // It was lost with the error.
    let mut buffer = [0; 8];
    bench.run(recv_flags(&mut buffer, libc::MSG_DONTWAIT), 2);
}

fn messages_v6(bench: &mut Bench) {
    bench.files();
    bench.run(socket(libc::AF_INET6, 0), 900);
    let address = v6("::", PORT);
    let bind = opcode::Bind::new(types::Fixed(0), (&raw const address).cast(), 28);
    bench.run(bind.build(), 901);
    bench.buffer_ring(0);
    for bid in 0..3 {
        bench.provide(bid, 100);
    }
    // As long as the name, and too short for it.
    for (user_data, name) in [(1, 28), (2, 12)] {
        let header = areas(name, 8);
        bench.push(messages(&header), user_data);
        bench.submit();
        let to = format!("[{RING_V6}]:{PORT}");
        bench.peer_v6.send_to(b"six", to).unwrap();
        bench.wait(1);
        bench.cancel(user_data);
        bench.wait(2);
        let mut seen = bench.buffer(user_data as u16 - 1, 60);
        // The peer's port differs from run to run.
        seen[18..20].fill(0);
        bench.say(seen);
    }
    // Both families on one socket: the name of an IPv4 peer is mapped.
    let header = areas(28, 0);
    bench.push(messages(&header), 3);
    bench.submit();
    bench.peer_sends(b"four");
    bench.wait(1);
    let mut seen = bench.buffer(2, 48);
    seen[18..20].fill(0);
    bench.say(seen);
}

fn bad_areas(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    let sizes = [
        (u32::MAX, 0),
        (0, usize::MAX),
        (i32::MAX as u32, i32::MAX as usize),
        (i32::MAX as u32 - 16, 1),
    ];
    for (user_data, (name, control)) in (1..).zip(sizes) {
        let header = areas(name, control);
        bench.run(messages(&header), user_data);
    }
}

fn several_parts(bench: &mut Bench) {
    bench.bound();
    let mut header = areas(16, 0);
    let mut parts = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 36,
    }; 2];
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = 2;
    bench.run(messages(&header), 1);
}

fn message_tail(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(INCREMENTAL);
    bench.provide(0, 50);
    bench.provide(1, 50);
    let header = areas(16, 0);
    bench.push(messages(&header), 1);
    bench.submit();
    bench.peer_sends(b"0123456789");
    bench.wait(1);
    // Eight bytes are left: not enough for the header.
    bench.peer_sends(b"abcdefghij");
    bench.wait(1);
    status(bench, GROUP.into());
}

fn cut_messages(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 20);
    bench.provide(1, 16);
    bench.provide(2, 20);
    let header = areas(0, 0);
    bench.push(messages(&header), 1);
    bench.submit();
    // Where there is no room for any of it, that is the end.
    for payload in [&b"more than four"[..], b"no room at all"] {
        bench.peer_sends(payload);
        bench.wait(1);
    }
    bench.say((bench.buffer(0, 20), bench.buffer(1, 16)));
    // With MSG_TRUNC the header says how long it was.
    let entry = opcode::RecvMsgMulti::new(types::Fixed(0), &raw const header, GROUP);
    bench.push(entry.flags(libc::MSG_TRUNC as u32).build(), 2);
    bench.submit();
    bench.peer_sends(b"more than four");
    bench.wait(2);
    bench.say(bench.buffer(2, 20));
}

fn message_shut(bench: &mut Bench) {
    bench.bound();
    connect_to_peer(bench, 1);
    bench.buffer_ring(0);
    bench.provide(0, 64);
    let mut header = areas(16, 0);
    bench.push(messages(&header), 2);
    bench.submit();
    bench.run(shutdown_entry(0, libc::SHUT_RD), 3);
    bench.cancel(2);
    bench.wait(2);
    status(bench, GROUP.into());
    let entry = opcode::ReadMulti::new(types::Fixed(0), 0, GROUP).build();
    bench.push(entry.flags(squeue::Flags::FIXED_FILE), 4);
    bench.submit();
    bench.cancel(4);
    bench.wait(2);
    let dont_wait = opcode::RecvMsgMulti::new(types::Fixed(0), &raw const header, GROUP);
    bench.run(dont_wait.flags(libc::MSG_DONTWAIT as u32).build(), 5);
    bench.run(messages_once(&mut header), 6);
}

fn messages_once(header: &mut libc::msghdr) -> squeue::Entry {
    opcode::RecvMsg::new(types::Fixed(0), header).build()
}

fn bundle_overflow(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    for bid in 0..8 {
        bench.provide(bid, 2);
    }
    for user_data in 0..16 {
        bench.push(opcode::Nop::new().build(), 100 + user_data);
    }
    bench.submit();
    stream.write_all(b"0123456789").unwrap();
    bench.pump("the peer's data is acknowledged", || {
        unacknowledged(&stream) == 0
    });
    bench.push(recv_group(1, 0, MULTISHOT | BUNDLE, 0), 1);
    bench.submit();
    bench.wait(17);
    status(bench, GROUP.into());
    bench.push(recv_group(1, 0, MULTISHOT, 0), 2);
    bench.wait(1);
}

fn bundle_empties(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    for bid in 0..2 {
        bench.provide(bid, 8);
    }
    bench.push(recv_group(1, 0, MULTISHOT | BUNDLE, 0), 1);
    bench.submit();
    stream.write_all(b"0123456789abcdefghij").unwrap();
    bench.wait(1);
    bench.run(recv_group(1, 0, MULTISHOT | BUNDLE, 0), 2);
    bench.provide(2, 8);
    bench.run(recv_group(1, 0, 0, 0), 3);
    bench.say((bench.buffer(0, 8), bench.buffer(1, 8), bench.buffer(2, 4)));
}

fn ring_order(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    // The ring's order, which is not that of the ids.
    for bid in [5, 2, 7, 0] {
        bench.provide(bid, 4);
    }
    stream.write_all(b"0123456789ab").unwrap();
    bench.readable(1);
    bench.push(recv_group(1, 0, MULTISHOT, 0), 1);
    bench.wait(3);
    bench.say([5, 2, 7].map(|bid| bench.buffer(bid, 4)));
}

//! Receives that go on: flags, turns, and what ends them.

use super::*;

pub const CASES: &[Case] = &[
    case("multishot_receive_of_more_than_a_turn", many).with(long_queue),
    case("multishot_read_of_more_than_a_turn", many_read).with(long_queue),
    case("multishot_receive_that_peeks", peeks),
    case("multishot_receive_that_truncates", truncates),
    case("multishot_receive_without_waiting", without_waiting),
    case("multishot_message_without_waiting", message_without_waiting),
    case("multishot_receives_capped_and_limited", capped_and_limited),
    case("datagrams_received_whole_in_links", whole_datagrams),
    case("messages_received_whole_in_links", whole_messages),
];

const INCREMENTAL: u16 = 2;
const MANY: usize = 40;

fn long_queue(builder: &mut Builder) {
    builder.setup_cqsize(64);
}

/// More datagrams than one request gets in a turn, all there at once.
fn many_arrive(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(INCREMENTAL);
    bench.provide(0, BUFFER_BYTES);
    for index in 0..MANY as u8 {
        bench.peer_sends(&[index; 4]);
    }
    bench.until_readable();
}

fn many(bench: &mut Bench) {
    many_arrive(bench);
    bench.push(recv_group(0, 0, MULTISHOT, 0), 1);
    bench.wait(MANY);
    bench.say(bench.buffer(0, 4 * MANY));
    bench.cancel(1);
    bench.wait(2);
}

fn many_read(bench: &mut Bench) {
    many_arrive(bench);
    let entry = opcode::ReadMulti::new(types::Fixed(0), 0, GROUP).build();
    bench.push(entry.flags(squeue::Flags::FIXED_FILE), 1);
    bench.wait(MANY);
    bench.say(bench.buffer(0, 4 * MANY));
    bench.cancel(1);
    bench.wait(2);
}

fn peeks(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 8);
    bench.provide(1, 8);
    bench.peer_sends(b"again");
    bench.until_readable();
    bench.push(recv_group(0, 0, MULTISHOT, libc::MSG_PEEK), 1);
    bench.wait(3);
    bench.say((bench.buffer(0, 8), bench.buffer(1, 8)));
}

fn truncates(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    for bid in 0..3 {
        bench.provide(bid, 8);
    }
    bench.push(recv_group(0, 0, MULTISHOT, libc::MSG_TRUNC), 1);
    bench.submit();
    bench.peer_sends(b"longer than a buffer");
    bench.wait(1);
    bench.peer_sends(b"short");
    bench.wait(1);
    bench.peer_sends(b"");
    bench.wait(1);
}

fn without_waiting(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    for bid in 0..4 {
        bench.provide(bid, 8);
    }
    bench.run(recv_group(0, 0, MULTISHOT, libc::MSG_DONTWAIT), 1);
    bench.peer_sends(b"there");
    bench.until_readable();
    bench.push(recv_group(0, 0, MULTISHOT, libc::MSG_DONTWAIT), 2);
    bench.wait(2);
}

fn message_without_waiting(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 64);
    bench.provide(1, 64);
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_namelen = 16;
    let entry = opcode::RecvMsgMulti::new(types::Fixed(0), &raw const header, GROUP)
        .flags(libc::MSG_DONTWAIT as u32)
        .build();
    bench.run(entry.clone(), 1);
    bench.peer_sends(b"there");
    bench.until_readable();
    bench.push(entry, 2);
    bench.wait(2);
}

fn capped_and_limited(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    for bid in 0..8 {
        bench.provide(bid, 16);
    }
    for payload in [&b"first one"[..], b"second", b"third one"] {
        bench.peer_sends(payload);
    }
    bench.until_readable();
    // Four bytes of each, and eight in all.
    bench.push(with_total(recv_group(0, 4, MULTISHOT, 0), 8), 1);
    bench.wait(2);
    // A limit that falls into a datagram.
    bench.push(with_total(recv_group(0, 0, MULTISHOT, 0), 3), 2);
    bench.wait(1);
    bench.say((bench.buffer(0, 9), bench.buffer(2, 9)));
}

fn whole_datagrams(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 8];
    let flags = [0, libc::MSG_WAITALL, libc::MSG_WAITALL | libc::MSG_TRUNC];
    for (user_data, flags) in (1..).step_by(10).zip(flags) {
        for (index, payload) in [&b"short"[..], b"of eight", b"longer than that"]
            .iter()
            .enumerate()
        {
            bench.peer_sends(payload);
            bench.until_readable();
            let user_data = user_data + 2 * index as u64;
            bench.push(recv_flags(&mut buffer, flags).flags(link()), user_data);
            bench.push(opcode::Nop::new().build(), user_data + 1);
            bench.wait(2);
        }
    }
}

fn whole_messages(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0u8; 8];
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: 8,
    };
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    for (user_data, flags) in [(1, 0), (11, libc::MSG_WAITALL)] {
        for (index, payload) in [&b"short"[..], b"of eight", b"longer than that"]
            .iter()
            .enumerate()
        {
            bench.peer_sends(payload);
            bench.until_readable();
            let user_data = user_data + 2 * index as u64;
            let recv = opcode::RecvMsg::new(types::Fixed(0), &raw mut header);
            bench.push(recv.flags(flags as u32).build().flags(link()), user_data);
            bench.push(opcode::Nop::new().build(), user_data + 1);
            bench.wait(2);
            let seen = std::hint::black_box(&header).msg_flags;
            bench.say(seen);
        }
    }
}

//! Links, of either kind.

use super::*;

pub const CASES: &[Case] = &[
    case("link_waits_for_what_takes_time", waits),
    case("link_goes_on_behind_a_short_receive", short_receive),
    case("link_behind_a_failed_connect", failed_connect),
    case("hard_link_behind_a_failed_connect", failed_connect_hard),
    case("link_behind_a_socket_without_a_slot", no_slot),
    case("hard_link_behind_an_empty_slot", empty_slot_hard),
    case("hard_link_in_the_middle", hard_in_the_middle),
    case("link_whose_head_is_cancelled", head_cancelled),
    case("link_whose_tail_cannot_be_cancelled_yet", tail_cancelled),
    case(
        "links_that_wait_and_a_cancellation_of_all",
        cancelled_by_any,
    ),
    case(
        "link_behind_a_multishot_receive_that_fails",
        multishot_fails,
    ),
    case("link_behind_a_multishot_receive_that_ends", multishot_ends),
    case("link_behind_a_multishot_poll", multishot_poll),
    case("link_behind_a_multishot_timeout", multishot_timeout),
    case("link_from_connect_to_send", connect_then_send),
    case("link_from_socket_to_bind_to_listen", whole_set_up),
    case("link_from_send_to_close", send_then_close),
    case("links_and_a_bad_entry", bad_in_a_chain),
    case(
        "links_and_a_bad_entry_where_all_is_submitted",
        bad_in_a_chain,
    )
    .with(|builder| {
        builder.setup_submit_all();
    }),
    case("links_end_with_their_batch", ends_with_batch),
    case("two_chains_at_once", two_chains),
    case("link_of_a_select_without_buffers", no_buffers),
];

fn nop_entry() -> squeue::Entry {
    opcode::Nop::new().build()
}

fn hard() -> squeue::Flags {
    squeue::Flags::IO_HARDLINK
}

fn waits(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(nop_entry(), 2);
    bench.push(nop_entry(), 3);
    bench.submit();
    bench.wait(1);
    bench.peer_sends(b"go");
    bench.wait(2);
}

fn short_receive(bench: &mut Bench) {
    let mut stream = bench.connected();
    stream.write_all(b"short").unwrap();
    bench.readable(1);
    let mut buffer = [0; 16];
    bench.push(recv_on(1, &mut buffer, 0).flags(link()), 1);
    bench.push(nop_entry(), 2);
    bench.wait(2);
}

fn no_slot(bench: &mut Bench) {
    let socket = |slot: Option<u32>| {
        let slot = match slot {
            Some(slot) => types::DestinationSlot::try_from_slot_target(slot).unwrap(),
            None => types::DestinationSlot::auto_target(),
        };
        let entry = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0);
        entry.file_index(Some(slot)).build()
    };
    let linked = |bench: &mut Bench, entry: squeue::Entry, flags| {
        bench.push(entry.flags(link() | flags), 1);
        bench.push(nop_entry(), 2);
    };
    let none = squeue::Flags::empty();
    linked(bench, socket(None), none);
    bench.wait(2);
    bench.listener(4);
    for slot in 1..SLOTS {
        bench.run(socket(Some(slot)), 3);
    }
    for slot in [None, Some(SLOTS)] {
        linked(bench, socket(slot), none);
        bench.wait(2);
        // What does not count as failed is left out.
        linked(bench, socket(slot), squeue::Flags::SKIP_SUCCESS);
        bench.wait(1);
        let mut stream = bench.peer_connects();
        linked(bench, accept_entry(0, slot), none);
        bench.wait(2);
        bench.peer_sees_end(&mut stream);
    }
    // One that cannot be made breaks its link, and so does one whose peer cannot be told.
    let unknown = opcode::Socket::new(999, libc::SOCK_STREAM, 0);
    let slot = types::DestinationSlot::auto_target();
    linked(bench, unknown.file_index(Some(slot)).build(), none);
    bench.wait(2);
    let _stream = bench.peer_connects();
    let (mut name, mut room) = ([0u8; 16], -1i32);
    let (name, room) = (name.as_mut_ptr().cast(), (&raw mut room).cast());
    let accept = opcode::Accept::new(types::Fixed(0), name, room).file_index(Some(slot));
    linked(bench, accept.build(), none);
    bench.wait(2);
}

fn failed_connect_with(bench: &mut Bench, flags: squeue::Flags) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    let closed = v4(PEER_V4, 9);
    bench.push(connect_entry(0, &closed).flags(flags), 2);
    bench.push(nop_entry().flags(link()), 3);
    bench.push(nop_entry(), 4);
    bench.wait(3);
}

fn failed_connect(bench: &mut Bench) {
    failed_connect_with(bench, link());
}

fn failed_connect_hard(bench: &mut Bench) {
    failed_connect_with(bench, hard());
}

fn empty_slot_hard(bench: &mut Bench) {
    bench.files();
    let mut buffer = [0; 16];
    bench.push(recv_on(2, &mut buffer, 0).flags(hard()), 1);
    bench.push(recv_on(3, &mut buffer, 0).flags(link()), 2);
    bench.push(nop_entry(), 3);
    bench.wait(3);
}

fn hard_in_the_middle(bench: &mut Bench) {
    bench.files();
    let mut buffer = [0; 16];
    bench.push(nop_entry().flags(link()), 1);
    bench.push(recv_on(3, &mut buffer, 0).flags(hard()), 2);
    bench.push(nop_entry().flags(hard()), 3);
    bench.push(recv_on(3, &mut buffer, 0).flags(link()), 4);
    bench.push(nop_entry().flags(hard()), 5);
    bench.push(nop_entry(), 6);
    bench.wait(6);
}

fn head_cancelled(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(nop_entry().flags(link()), 2);
    bench.push(nop_entry(), 3);
    bench.submit();
    bench.cancel(1);
    bench.wait(4);
}

fn tail_cancelled(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(nop_entry(), 2);
    bench.submit();
    bench.cancel(2);
    bench.wait(1);
    bench.peer_sends(b"go");
    bench.wait(2);
}

fn cancelled_by_any(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(nop_entry(), 2);
    bench.submit();
    let any = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
    bench.push(any, 3);
    bench.wait(3);
}

fn multishot_fails(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 100);
    let multi = opcode::RecvMulti::new(types::Fixed(0), GROUP).build();
    bench.push(multi.flags(link() | squeue::Flags::BUFFER_SELECT), 1);
    bench.push(nop_entry(), 2);
    bench.submit();
    bench.peer_sends(b"one");
    bench.wait(3);
}

fn multishot_ends(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 100);
    bench.provide(1, 100);
    bench.provide(2, 100);
    let multi = opcode::RecvMulti::new(types::Fixed(0), GROUP).build();
    bench.push(multi.flags(link() | squeue::Flags::BUFFER_SELECT), 1);
    bench.push(nop_entry(), 2);
    bench.submit();
    bench.peer_sends(b"one");
    bench.wait(1);
    // An empty datagram ends it, and is no failure.
    bench.peer_sends(b"");
    bench.wait(2);
}

fn multishot_poll(bench: &mut Bench) {
    bench.bound();
    let poll = opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).multi(true);
    bench.push(poll.build().flags(link()), 1);
    bench.push(nop_entry(), 2);
    bench.submit();
    bench.peer_sends(b"one");
    bench.wait(1);
    bench.cancel(1);
    bench.wait(3);
}

fn multishot_timeout(bench: &mut Bench) {
    let short = types::Timespec::from(Duration::from_millis(5));
    let multi = types::TimeoutFlags::MULTISHOT;
    for (user_data, flags) in [(1, multi), (3, multi | types::TimeoutFlags::ETIME_SUCCESS)] {
        let timeout = opcode::Timeout::new(&short).count(2).flags(flags);
        bench.push(timeout.build().flags(link()), user_data);
        bench.push(nop_entry(), user_data + 1);
        bench.wait(3);
    }
}

fn connect_then_send(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    let address = v4(PEER_V4, bench.peer_listener.local_addr().unwrap().port());
    bench.push(connect_entry(0, &address).flags(link()), 2);
    bench.push(send_on(0, b"at once", 0).flags(link()), 3);
    bench.push(shutdown_entry(0, libc::SHUT_WR), 4);
    bench.wait(3);
    let (mut stream, _) = bench.peer_listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let got = bench.peer_reads(&mut stream, 7);
    bench.say(got);
    bench.peer_sees_end(&mut stream);
}

fn whole_set_up(bench: &mut Bench) {
    bench.files();
    let slot = types::DestinationSlot::try_from_slot_target(0).unwrap();
    let make = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).file_index(Some(slot));
    let address = any_v4(PORT);
    // The slot is looked up when its request starts, not when it is submitted.
    bench.push(make.build().flags(link()), 1);
    bench.push(bind_entry(0, &address).flags(link()), 2);
    bench.push(
        opcode::Listen::new(types::Fixed(0), 4)
            .build()
            .flags(link()),
        3,
    );
    bench.push(accept_entry(0, Some(1)), 4);
    bench.wait(3);
    let _stream = bench.peer_connects();
    bench.wait(1);
}

fn send_then_close(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.push(send_on(1, b"last words", 0).flags(link()), 1);
    bench.push(close_entry(1), 2);
    bench.wait(2);
    let got = bench.peer_reads(&mut stream, 10);
    bench.say(got);
    bench.peer_sees_end(&mut stream);
}

fn bad_in_a_chain(bench: &mut Bench) {
    let entries = [
        nop_entry(),
        nop_entry().flags(link()),
        raw(nop_entry().flags(link()), |bytes| bytes[42] = 1),
        nop_entry().flags(link()),
        nop_entry(),
        nop_entry(),
        raw(nop_entry().flags(hard()), |bytes| bytes[0] = 200),
        nop_entry(),
        nop_entry(),
    ];
    let count = entries.len();
    for (user_data, entry) in entries.into_iter().enumerate() {
        bench.push(entry, user_data as u64);
    }
    for _ in 0..3 {
        bench.submit();
    }
    bench.wait_unordered(count);
}

fn ends_with_batch(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.submit();
    bench.push(nop_entry(), 2);
    bench.wait(1);
    bench.peer_sends(b"go");
    bench.wait(1);
}

fn two_chains(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(nop_entry(), 2);
    bench.push(nop_entry().flags(link()), 3);
    bench.push(close_entry(3).flags(link()), 4);
    bench.push(nop_entry(), 5);
    bench.submit();
    bench.wait(3);
    bench.peer_sends(b"go");
    bench.wait(2);
}

fn no_buffers(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.push(
        recv_group(0, 0, 0, 0).flags(squeue::Flags::BUFFER_SELECT | link()),
        1,
    );
    bench.push(nop_entry(), 2);
    bench.wait(2);
}

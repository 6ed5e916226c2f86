//! LINK_TIMEOUT: what is timed, what is cancelled, and in which order it is said.

use super::*;

pub const CASES: &[Case] = &[
    case("link_timeout_fires", fires),
    case("link_timeout_of_what_is_done_at_once", done_at_once),
    case("link_timeout_of_what_is_done_in_time", done_in_time),
    case("link_timeout_of_an_empty_slot", empty_slot),
    case("link_timeout_in_the_middle_of_a_chain", middle),
    case("link_timeout_in_the_middle_of_a_hard_chain", hard_middle),
    case("link_timeout_behind_nothing", behind_nothing),
    case("link_timeout_behind_a_link_timeout", behind_its_like),
    case("link_timeout_behind_a_bad_link_timeout", behind_bad_like),
    case("link_timeout_in_a_chain_with_a_bad_entry", bad_behind_it),
    case("link_timeout_of_a_bad_entry", of_bad),
    case("link_timeout_whose_fields_are_wrong", wrong_fields),
    case("link_timeout_of_the_second_request_of_a_chain", second),
    case(
        "link_timeout_of_a_request_behind_one_that_fails",
        behind_failure,
    ),
    case("link_timeout_of_a_receive_in_part", partial),
    case("link_timeout_of_a_multishot_receive", multishot),
    case("link_timeout_of_a_timeout", of_timeout),
    case("link_timeout_of_a_poll", of_poll),
    case("link_timeout_of_an_accept", of_accept),
    case("link_timeout_until_a_time", absolute),
    case("link_timeout_that_is_cancelled", cancelled),
    case(
        "link_timeout_and_cancellation_of_its_request",
        target_cancelled,
    ),
    case("link_timeout_that_is_silent", silent),
    case("link_timeout_of_what_is_silent", silent_target),
    case("link_timeout_with_flags_of_a_timeout", other_flags),
    case("link_timeout_at_the_end_of_a_batch", end_of_batch),
    case("link_timeout_behind_a_drain", behind_drain),
];

fn nop_entry() -> squeue::Entry {
    opcode::Nop::new().build()
}

fn hard() -> squeue::Flags {
    squeue::Flags::IO_HARDLINK
}

fn skip() -> squeue::Flags {
    squeue::Flags::SKIP_SUCCESS
}

const SHORT: types::Timespec = types::Timespec::new().nsec(5_000_000);
const LONG: types::Timespec = types::Timespec::new().sec(60);

fn link_timeout(time: &types::Timespec) -> squeue::Entry {
    opcode::LinkTimeout::new(time).build()
}

fn fires(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(link_timeout(&SHORT), 2);
    bench.push(nop_entry(), 3);
    bench.wait(3);
    // The socket is as it was.
    bench.peer_sends(b"late");
    bench.run(recv(&mut buffer), 4);
}

fn done_at_once(bench: &mut Bench) {
    bench.push(nop_entry().flags(link()), 1);
    bench.push(link_timeout(&LONG), 2);
    bench.push(nop_entry(), 3);
    bench.wait(3);
}

fn done_in_time(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(link_timeout(&LONG).flags(link()), 2);
    bench.push(nop_entry(), 3);
    bench.submit();
    bench.peer_sends(b"soon");
    bench.wait(3);
}

fn empty_slot(bench: &mut Bench) {
    bench.files();
    let mut buffer = [0; 16];
    for flags in [link(), hard()] {
        bench.push(recv_on(3, &mut buffer, 0).flags(flags), 1);
        bench.push(link_timeout(&LONG).flags(link()), 2);
        bench.push(nop_entry(), 3);
        bench.wait(3);
    }
}

fn chain_around_receive(bench: &mut Bench, flags: squeue::Flags) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(flags), 1);
    bench.push(link_timeout(&SHORT).flags(link()), 2);
    bench.push(nop_entry().flags(link()), 3);
    bench.push(nop_entry(), 4);
    bench.wait(4);
}

fn middle(bench: &mut Bench) {
    chain_around_receive(bench, link());
}

fn hard_middle(bench: &mut Bench) {
    chain_around_receive(bench, hard());
}

fn behind_nothing(bench: &mut Bench) {
    bench.run(link_timeout(&SHORT), 1);
    bench.push(nop_entry(), 2);
    bench.push(link_timeout(&SHORT), 3);
    bench.wait(2);
    bench.push(link_timeout(&SHORT).flags(link()), 4);
    bench.push(nop_entry(), 5);
    bench.wait(2);
}

fn behind_its_like(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(link_timeout(&LONG).flags(link()), 2);
    bench.push(link_timeout(&LONG).flags(link()), 3);
    bench.push(nop_entry(), 4);
    bench.wait(4);
}

fn behind_bad_like(bench: &mut Bench) {
    let bad = raw(link_timeout(&LONG).flags(link()), |bytes| bytes[24] = 2);
    bench.push(nop_entry().flags(link()), 1);
    bench.push(bad, 2);
    bench.push(link_timeout(&LONG), 3);
    bench.wait(3);
}

fn bad_behind_it(bench: &mut Bench) {
    for first in [1, 0] {
        if first == 0 {
            bench.push(nop_entry().flags(link()), 0);
        }
        bench.push(nop_entry().flags(link()), 1);
        bench.push(link_timeout(&LONG).flags(link()), 2);
        bench.push(bad(), 3);
        bench.wait(4 - first);
    }
}

fn of_bad(bench: &mut Bench) {
    bench.push(raw(nop_entry().flags(link()), |bytes| bytes[42] = 1), 1);
    bench.push(link_timeout(&LONG), 2);
    bench.wait(2);
    bench.push(nop_entry().flags(link()), 3);
    bench.push(raw(nop_entry().flags(link()), |bytes| bytes[42] = 1), 4);
    bench.push(link_timeout(&LONG).flags(link()), 5);
    bench.push(nop_entry(), 6);
    bench.wait(4);
}

fn wrong_fields(bench: &mut Bench) {
    let negative = types::Timespec::new().sec(u64::MAX);
    let changes: [fn(&mut [u8; 64]); 6] = [
        |bytes| bytes[8] = 1,
        |bytes| bytes[24] = 0,
        |bytes| bytes[28] = 2,
        |bytes| bytes[28] = 0x0c,
        |bytes| bytes[40] = 1,
        |bytes| bytes[44] = 1,
    ];
    for change in changes {
        bench.push(nop_entry().flags(link()), 1);
        bench.push(raw(link_timeout(&LONG), change), 2);
        bench.wait(2);
    }
    for time in [std::ptr::null(), &raw const negative] {
        bench.push(nop_entry().flags(link()), 3);
        bench.push(opcode::LinkTimeout::new(time).build(), 4);
        bench.wait(2);
    }
}

fn second(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(nop_entry().flags(link()), 1);
    bench.push(recv(&mut buffer).flags(link()), 2);
    bench.push(link_timeout(&SHORT).flags(link()), 3);
    bench.push(nop_entry(), 4);
    bench.wait(4);
}

fn behind_failure(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(close_entry(3).flags(link()), 1);
    bench.push(recv(&mut buffer).flags(link()), 2);
    bench.push(link_timeout(&SHORT).flags(link()), 3);
    bench.push(nop_entry(), 4);
    bench.wait(4);
}

fn partial(bench: &mut Bench) {
    let mut stream = bench.connected();
    let mut buffer = [0; 16];
    let entry = recv_on(1, &mut buffer, libc::MSG_WAITALL);
    stream.write_all(b"part").unwrap();
    bench.readable(1);
    bench.push(entry.flags(link()), 1);
    bench.push(link_timeout(&SHORT).flags(link()), 2);
    bench.push(nop_entry(), 3);
    bench.wait(3);
    bench.say(&buffer[..4]);
}

fn multishot(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    for bid in 0..3 {
        bench.provide(bid, 100);
    }
    let multi = opcode::RecvMulti::new(types::Fixed(0), GROUP).build();
    bench.peer_sends(b"one");
    bench.until_readable();
    bench.push(multi.flags(link() | squeue::Flags::BUFFER_SELECT), 1);
    bench.push(link_timeout(&SHORT), 2);
    bench.wait(3);
}

fn of_timeout(bench: &mut Bench) {
    bench.push(opcode::Timeout::new(&LONG).build().flags(link()), 1);
    bench.push(link_timeout(&SHORT), 2);
    bench.wait(2);
    bench.push(opcode::Timeout::new(&SHORT).build().flags(link()), 3);
    bench.push(link_timeout(&LONG), 4);
    bench.wait(2);
}

fn of_poll(bench: &mut Bench) {
    bench.bound();
    bench.push(poll_entry(0, libc::POLLIN).flags(link()), 1);
    bench.push(link_timeout(&SHORT), 2);
    bench.wait(2);
    bench.push(poll_entry(0, libc::POLLOUT).flags(link()), 3);
    bench.push(link_timeout(&LONG), 4);
    bench.wait(2);
}

fn of_accept(bench: &mut Bench) {
    bench.listener(4);
    bench.push(accept_entry(0, Some(1)).flags(link()), 1);
    bench.push(link_timeout(&SHORT).flags(link()), 2);
    bench.push(nop_entry(), 3);
    bench.wait(3);
    let _stream = bench.peer_connects();
    bench.run(accept_entry(0, Some(1)), 4);
}

fn absolute(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    let abs = types::TimeoutFlags::ABS;
    for flags in [
        abs,
        abs | types::TimeoutFlags::BOOTTIME,
        abs | types::TimeoutFlags::REALTIME,
        types::TimeoutFlags::REALTIME,
    ] {
        bench.push(recv(&mut buffer).flags(link()), 1);
        // Long ago, or soon.
        let timeout = opcode::LinkTimeout::new(&SHORT).flags(flags);
        bench.push(timeout.build(), 2);
        bench.wait(2);
    }
}

fn cancelled(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(link_timeout(&LONG), 2);
    bench.submit();
    // It is nothing that can be looked for.
    bench.cancel(2);
    bench.wait(1);
    bench.peer_sends(b"go");
    bench.wait(2);
}

fn target_cancelled(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(link_timeout(&LONG).flags(link()), 2);
    bench.push(nop_entry(), 3);
    bench.submit();
    bench.cancel(1);
    bench.wait(4);
}

fn silent(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    for (time, in_time) in [(&SHORT, false), (&LONG, true)] {
        bench.push(recv(&mut buffer).flags(link()), 1);
        bench.push(link_timeout(time).flags(skip()), 2);
        bench.submit();
        if in_time {
            bench.peer_sends(b"go");
        }
        bench.wait(1);
        bench.run(nop_entry(), 3);
    }
}

fn silent_target(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    for (time, in_time) in [(&SHORT, false), (&LONG, true)] {
        bench.push(recv(&mut buffer).flags(link() | skip()), 1);
        bench.push(link_timeout(time).flags(link()), 2);
        bench.push(nop_entry(), 3);
        bench.submit();
        if in_time {
            bench.peer_sends(b"go");
        }
        bench.wait(2);
        bench.run(nop_entry(), 4);
    }
}

fn other_flags(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    let flags = types::TimeoutFlags::ETIME_SUCCESS | types::TimeoutFlags::MULTISHOT;
    bench.push(recv(&mut buffer).flags(link()), 1);
    let timeout = opcode::LinkTimeout::new(&SHORT).flags(flags);
    bench.push(timeout.build().flags(link()), 2);
    bench.push(nop_entry(), 3);
    bench.wait(3);
}

fn end_of_batch(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.submit();
    // The chain has ended: this is no part of it.
    bench.push(link_timeout(&SHORT), 2);
    bench.wait(1);
    bench.peer_sends(b"go");
    bench.wait(1);
    // Not a receive: a worker of the kernel's blocks in that, and sees no timeout.
    bench.push(poll_entry(0, libc::POLLIN).flags(link()), 3);
    bench.push(link_timeout(&SHORT).flags(link()), 4);
    bench.wait(2);
}

fn behind_drain(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(opcode::Timeout::new(&SHORT).build(), 1);
    let drained = recv(&mut buffer).flags(link() | squeue::Flags::IO_DRAIN);
    bench.push(drained, 2);
    bench.push(link_timeout(&SHORT), 3);
    bench.wait(3);
}

//! Completions that are left out on success, and requests that wait for all before them.

use super::*;

pub const CASES: &[Case] = &[
    case("skipped_completion_of_a_receive", skipped_receive),
    case(
        "skipped_completion_of_a_receive_that_fails",
        skipped_failure,
    ),
    case("skipped_completions_in_a_chain", skipped_chain),
    case(
        "skipped_completion_at_the_end_of_a_chain_that_breaks",
        skipped_broken_tail,
    ),
    case("skipped_completion_of_what_is_cancelled", skipped_cancelled),
    case(
        "skipped_completions_of_a_multishot_receive",
        skipped_multishot,
    ),
    case("skipped_completion_of_a_multishot_poll", skipped_poll),
    case("skipped_completion_of_a_bad_entry", skipped_bad),
    case("skipped_completion_of_a_timeout", skipped_timeout),
    case("skipped_completion_and_drain_in_one_entry", skip_with_drain),
    case("drain_of_nothing", drain_nothing),
    case("drain_twice", drain_twice),
    case("drain_behind_a_chain", drain_behind_chain),
    case("drain_at_the_head_of_a_chain", drain_head),
    case("drain_inside_a_chain", drain_inside),
    case("drain_behind_a_timeout", drain_behind_timeout),
    case("drain_and_cancel", drain_and_cancel),
    case("drain_of_a_bad_entry", drain_bad),
];

fn nop_entry() -> squeue::Entry {
    opcode::Nop::new().build()
}

fn skip() -> squeue::Flags {
    squeue::Flags::SKIP_SUCCESS
}

fn drain() -> squeue::Flags {
    squeue::Flags::IO_DRAIN
}

fn skip_with_drain(bench: &mut Bench) {
    bench.run(nop_entry().flags(skip() | drain()), 1);
    bench.run(nop_entry().flags(drain()), 2);
    bench.push(nop_entry().flags(skip()), 3);
    bench.run(nop_entry().flags(drain()), 4);
}

fn skipped_receive(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(skip() | link()), 1);
    bench.push(nop_entry(), 2);
    bench.submit();
    bench.peer_sends(b"silent");
    bench.wait(1);
    bench.say(&buffer[..6]);
}

fn skipped_failure(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    let entry = recv_flags(&mut buffer, libc::MSG_DONTWAIT);
    bench.run(entry.flags(skip()), 1);
}

fn skipped_chain(bench: &mut Bench) {
    bench.push(nop_entry().flags(skip() | link()), 1);
    bench.push(nop_entry().flags(skip() | link()), 2);
    bench.push(nop_entry(), 3);
    bench.wait(1);
}

fn skipped_broken_tail(bench: &mut Bench) {
    bench.files();
    bench.push(nop_entry().flags(link()), 1);
    bench.push(close_entry(0).flags(link()), 2);
    bench.push(nop_entry().flags(skip()), 3);
    bench.push(nop_entry().flags(skip() | link()), 4);
    bench.push(close_entry(0).flags(link()), 5);
    bench.push(nop_entry(), 6);
    bench.wait_unordered(5);
}

fn skipped_cancelled(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(skip() | link()), 1);
    bench.push(nop_entry(), 2);
    bench.submit();
    let cancel = opcode::AsyncCancel::new(1).build();
    bench.push(cancel.flags(skip()), 3);
    bench.wait(1);
    bench.run(nop_entry(), 4);
}

fn skipped_multishot(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    for bid in 0..3 {
        bench.provide(bid, 100);
    }
    let multi = opcode::RecvMulti::new(types::Fixed(0), GROUP).build();
    bench.push(multi.flags(skip() | squeue::Flags::BUFFER_SELECT), 1);
    bench.submit();
    bench.peer_sends(b"one");
    bench.wait(1);
    bench.peer_sends(b"");
    // Its end is silent or not: the next datagram is for this one.
    bench.peer_sends(b"two");
    let mut buffer = [0; 16];
    bench.run(recv(&mut buffer), 2);
    bench.say(&buffer[..3]);
}

fn skipped_poll(bench: &mut Bench) {
    bench.bound();
    let poll = opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32);
    bench.run(poll.multi(true).build().flags(skip()), 1);
    bench.push(poll_entry(0, libc::POLLIN).flags(skip() | link()), 2);
    bench.push(nop_entry(), 3);
    bench.submit();
    bench.peer_sends(b"one");
    bench.wait(1);
}

fn skipped_bad(bench: &mut Bench) {
    let bad = raw(nop_entry().flags(skip()), |bytes| bytes[42] = 1);
    bench.run(bad, 1);
    bench.run(raw(nop_entry().flags(skip()), |bytes| bytes[1] |= 0x80), 2);
}

fn skipped_timeout(bench: &mut Bench) {
    let short = types::Timespec::from(Duration::from_millis(1));
    bench.run(opcode::Timeout::new(&short).build().flags(skip()), 1);
    let success = types::TimeoutFlags::ETIME_SUCCESS;
    let timeout = opcode::Timeout::new(&short).flags(success).build();
    bench.run(timeout.flags(skip()), 2);
}

fn drain_nothing(bench: &mut Bench) {
    for user_data in 1..4 {
        bench.run(nop_entry().flags(drain()), user_data);
    }
}

fn drain_twice(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer), 1);
    bench.push(nop_entry().flags(drain()), 2);
    bench.push(nop_entry(), 3);
    bench.push(nop_entry().flags(drain()), 4);
    bench.push(nop_entry(), 5);
    bench.submit();
    bench.push(nop_entry(), 6);
    bench.submit();
    bench.peer_sends(b"go");
    bench.wait(6);
}

fn drain_behind_chain(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(nop_entry(), 2);
    bench.push(nop_entry().flags(drain()), 3);
    bench.submit();
    bench.peer_sends(b"go");
    bench.wait(3);
}

fn drain_head(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer), 1);
    bench.push(nop_entry().flags(drain() | link()), 2);
    bench.push(close_entry(3).flags(link()), 3);
    bench.push(nop_entry(), 4);
    bench.submit();
    bench.peer_sends(b"go");
    bench.wait(4);
}

fn drain_inside(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer), 1);
    bench.push(nop_entry().flags(link()), 2);
    bench.push(nop_entry().flags(link() | drain()), 3);
    bench.push(nop_entry(), 4);
    bench.push(nop_entry(), 5);
    bench.submit();
    bench.peer_sends(b"go");
    bench.wait(5);
}

fn drain_behind_timeout(bench: &mut Bench) {
    let short = types::Timespec::from(Duration::from_millis(20));
    bench.push(opcode::Timeout::new(&short).build(), 1);
    bench.push(nop_entry().flags(drain()), 2);
    bench.push(nop_entry(), 3);
    bench.wait(3);
}

fn drain_and_cancel(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer), 1);
    bench.push(nop_entry().flags(drain()), 2);
    bench.submit();
    bench.push(opcode::AsyncCancel::new(2).build(), 3);
    bench.push(opcode::AsyncCancel::new(1).build(), 4);
    bench.submit();
    bench.peer_sends(b"go");
    bench.wait(4);
}

fn drain_bad(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer), 1);
    bench.push(raw(nop_entry().flags(drain()), |bytes| bytes[42] = 1), 2);
    bench.submit();
    bench.wait(1);
    bench.peer_sends(b"go");
    bench.wait(1);
}

//! The completion queue when it is full.

use super::*;

pub const CASES: &[Case] = &[
    case("overflowing_completions_keep_their_order", overflow),
    case("multishot_on_a_full_queue", multishot_overflow),
    case("what_completes_behind_an_overflow", behind_overflow),
    case("overflow_is_read_in_parts", overflow_in_parts),
    case("multishot_messages_on_a_full_queue", messages_overflow),
    case("multishot_poll_on_a_full_queue", poll_overflow),
    case("multishot_accept_on_a_full_queue", accept_overflow),
    case("multishot_timeout_on_a_full_queue", timeout_overflow),
    case("wait_for_more_than_the_queue_holds", wait_for_more),
    case("wait_for_what_is_there_already", wait_for_less),
    case("wait_without_completions", wait_for_nothing),
    case("wait_behind_a_bad_entry", wait_behind_bad),
    case("wait_that_submits_and_times_out", submit_and_time_out),
    case("submit_of_nothing", submit_nothing),
];

fn overflow(bench: &mut Bench) {
    for round in 0..3 {
        for entry in 0..10 {
            bench.push(opcode::Nop::new().build(), round * 10 + entry);
        }
        bench.submit();
    }
    let flagged = bench.ring.submission().cq_overflow();
    let ready = bench.ring.completion().len();
    bench.say((flagged, ready));
    bench.wait(30);
    let flagged = bench.ring.submission().cq_overflow();
    let lost = bench.ring.completion().overflow();
    bench.say((flagged, lost));
}

fn multishot_overflow(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    for bid in 0..BUFFERS {
        bench.provide(bid, 100);
    }
    bench.push(opcode::RecvMulti::new(types::Fixed(0), GROUP).build(), 1);
    bench.submit();
    for entry in 0..15 {
        bench.push(opcode::Nop::new().build(), 100 + entry);
    }
    bench.submit();
    for payload in [b"first", b"secnd", b"third"] {
        bench.peer_sends(payload);
    }
    // Room for one: the second datagram ends the multishot receive, the third stays.
    bench.run_until_overflow();
    bench.wait(17);
    bench.until_readable();
    let mut buffer = [0u8; 16];
    bench.run(recv(&mut buffer), 2);
    bench.say(&buffer[..5]);
}

impl Bench {
    /// Enters, taking nothing out of the queue, until a completion has overflowed.
    pub fn run_until_overflow(&mut self) {
        let pause = types::Timespec::from(Duration::from_millis(10));
        let args = types::SubmitArgs::new().timespec(&pause);
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < deadline {
            if self.ring.submission().cq_overflow() {
                return;
            }
            let _ = self.ring.submitter().submit_with_args(17, &args);
        }
        self.say("no overflow");
    }
}

fn nops(bench: &mut Bench, count: u64, from: u64) {
    for user_data in from..from + count {
        bench.push(opcode::Nop::new().build(), user_data);
    }
}

fn behind_overflow(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer), 1);
    for round in 0..2 {
        nops(bench, 10, 10 * round + 10);
        bench.submit();
    }
    bench.peer_sends(b"behind");
    bench.until_overflow_holds(5);
    bench.wait(21);
    let flagged = bench.ring.submission().cq_overflow();
    bench.say(flagged);
}

impl Bench {
    /// Takes some turns, taking nothing out of the queue.
    fn until_overflow_holds(&mut self, turns: usize) {
        let pause = types::Timespec::from(Duration::from_millis(5));
        let args = types::SubmitArgs::new().timespec(&pause);
        for _ in 0..turns {
            let _ = self.ring.submitter().submit_with_args(17, &args);
        }
    }
}

fn overflow_in_parts(bench: &mut Bench) {
    for round in 0..3 {
        nops(bench, 12, 12 * round);
        bench.submit();
    }
    let mut seen = 0;
    while seen < 36 {
        let some: Vec<_> = bench
            .ring
            .completion()
            .take(5)
            .map(|cqe| cqe.user_data())
            .collect();
        seen += some.len();
        if some.is_empty() {
            let flagged = bench.ring.submission().cq_overflow();
            bench.say(("empty", flagged));
            let waited = bench
                .ring
                .submit_and_wait(1)
                .map_err(|error| error.raw_os_error());
            bench.say(waited);
        }
        bench.say(some);
    }
}

fn messages_overflow(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    for bid in 0..BUFFERS {
        bench.provide(bid, 100);
    }
    // SAFETY: all zeroes is a valid msghdr.
    let header: libc::msghdr = unsafe { std::mem::zeroed() };
    let entry = opcode::RecvMsgMulti::new(types::Fixed(0), &raw const header, GROUP);
    bench.push(entry.build(), 1);
    bench.submit();
    nops(bench, 15, 100);
    bench.submit();
    for payload in [b"first", b"secnd", b"third"] {
        bench.peer_sends(payload);
    }
    bench.run_until_overflow();
    bench.wait(17);
    let mut buffer = [0; 16];
    bench.run(recv(&mut buffer), 2);
    bench.say(&buffer[..5]);
}

fn poll_overflow(bench: &mut Bench) {
    bench.bound();
    let poll = opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32);
    bench.push(poll.multi(true).build(), 1);
    bench.submit();
    nops(bench, 16, 100);
    bench.submit();
    bench.peer_sends(b"event");
    bench.run_until_overflow();
    bench.wait(17);
    bench.peer_sends(b"another");
    bench.cancel(1);
    bench.wait(1);
}

fn accept_overflow(bench: &mut Bench) {
    bench.listener(4);
    let entry = opcode::AcceptMulti::new(types::Fixed(0)).allocate_file_index(true);
    bench.push(entry.build(), 1);
    bench.submit();
    nops(bench, 16, 100);
    bench.submit();
    let _first = bench.peer_connects();
    bench.run_until_overflow();
    bench.wait(17);
    let _second = bench.peer_connects();
    bench.run(accept_entry(0, None), 2);
}

fn timeout_overflow(bench: &mut Bench) {
    let short = types::Timespec::from(Duration::from_millis(5));
    let multi = types::TimeoutFlags::MULTISHOT;
    bench.push(
        opcode::Timeout::new(&short).count(0).flags(multi).build(),
        1,
    );
    nops(bench, 15, 100);
    bench.submit();
    bench.run_until_overflow();
    bench.wait(17);
    bench.cancel(1);
    bench.wait(1);
}

/// Waits for so many, with a time.
fn wait_result(bench: &mut Bench, want: usize, milliseconds: u64) {
    let time = types::Timespec::from(Duration::from_millis(milliseconds));
    let args = types::SubmitArgs::new().timespec(&time);
    let waited = bench.ring.submitter().submit_with_args(want, &args);
    bench.say(waited.map_err(|error| error.raw_os_error()));
}

fn wait_for_more(bench: &mut Bench) {
    nops(bench, 16, 0);
    let waited = bench
        .ring
        .submit_and_wait(100)
        .map_err(|error| error.raw_os_error());
    bench.say(waited);
    wait_result(bench, 1000, 5000);
    bench.wait(16);
}

fn wait_for_less(bench: &mut Bench) {
    nops(bench, 4, 0);
    bench.submit();
    wait_result(bench, 2, 5000);
    // What is there stays, and the time passes.
    wait_result(bench, 5, 5);
    bench.wait(4);
}

fn wait_for_nothing(bench: &mut Bench) {
    wait_result(bench, 1, 5);
    wait_result(bench, 0, 5);
    let time = types::Timespec::from(Duration::ZERO);
    let args = types::SubmitArgs::new().timespec(&time);
    let waited = bench.ring.submitter().submit_with_args(1, &args);
    bench.say(waited.map_err(|error| error.raw_os_error()));
}

fn wait_behind_bad(bench: &mut Bench) {
    bench.push(bad(), 1);
    bench.push(opcode::Nop::new().build(), 2);
    // What stopped early does not wait.
    wait_result(bench, 2, 5000);
    bench.wait(2);
}

fn submit_and_time_out(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer), 1);
    wait_result(bench, 1, 5);
    bench.push(opcode::Nop::new().build(), 2);
    wait_result(bench, 2, 5);
    bench.cancel(1);
    bench.wait(3);
}

fn submit_nothing(bench: &mut Bench) {
    bench.submit();
    let waited = bench
        .ring
        .submit_and_wait(0)
        .map_err(|error| error.raw_os_error());
    bench.say(waited);
}

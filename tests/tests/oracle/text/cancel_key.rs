//! What a cancellation finds: its keys, and the kinds of requests.

use super::*;

pub const CASES: &[Case] = &[
    case("cancel_of_a_poll", poll),
    case("cancel_of_a_multishot_poll", poll_multishot_cancel),
    case("cancel_of_a_multishot_receive", multishot),
    case("cancel_of_a_timeout", timeout),
    case("cancel_of_an_accept", accept),
    case("cancel_of_what_has_completed", completed),
    case("cancel_of_the_cancellation_itself", itself),
    case("cancel_of_one_of_two_with_one_user_data", one_of_two),
    case("cancel_of_all_with_one_user_data", all_of_two),
    case("cancel_by_file", by_file),
    case("cancel_by_file_leaves_timeouts", by_file_and_timeout),
    case("cancel_by_file_and_user_data", by_file_and_user_data),
    case("cancel_by_opcode", by_opcode),
    case("cancel_by_opcode_and_file", by_opcode_and_file),
    case("cancel_by_the_opcode_of_timeouts", timeouts_by_opcode),
    case("cancel_of_everything", everything),
    case("cancel_of_nothing", nothing),
    case("cancel_with_flags_that_exclude_each_other", excluding),
    case("cancel_of_a_receive_of_all_that_has_a_part", part),
    case("cancel_in_a_chain", in_a_chain),
    case("cancel_by_a_file_that_is_closed", closed_file),
];

impl Bench {
    /// Two datagram sockets with a receive each, a poll on the first, and a timeout.
    fn in_flight(&mut self, buffer: &mut [u8; 16], long: &types::Timespec) {
        self.bound();
        self.run(socket(libc::AF_INET, 1), 902);
        self.run(bind_entry(1, &any_v4(PORT + 1)), 903);
        self.push(recv_on(0, buffer, 0), 1);
        self.push(recv_on(1, buffer, 0), 2);
        self.push(poll_entry(0, libc::POLLIN), 3);
        self.push(opcode::Timeout::new(long).build(), 4);
        self.submit();
    }

    /// Cancels by these, and then whatever is left, so many in all.
    fn cancel_and_sweep(&mut self, entry: squeue::Entry) {
        let mut buffer = [0; 16];
        let long = types::Timespec::from(Duration::from_secs(60));
        self.in_flight(&mut buffer, &long);
        self.push(entry, 10);
        self.submit();
        self.push(cancel_by(CANCEL_ANY, 0, 0, 0), 11);
        self.wait_unordered(6);
    }
}

fn poll(bench: &mut Bench) {
    bench.bound();
    bench.push(poll_entry(0, libc::POLLIN), 1);
    bench.submit();
    bench.cancel(1);
    bench.wait(2);
}

fn poll_multishot_cancel(bench: &mut Bench) {
    bench.bound();
    let poll = opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32);
    bench.push(poll.multi(true).build(), 1);
    bench.submit();
    bench.peer_sends(b"x");
    bench.wait(1);
    bench.cancel(1);
    bench.wait(2);
}

fn multishot(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 100);
    bench.push(opcode::RecvMulti::new(types::Fixed(0), GROUP).build(), 1);
    bench.submit();
    bench.cancel(1);
    bench.wait(2);
    // The buffer is still there.
    bench.push(opcode::RecvMulti::new(types::Fixed(0), GROUP).build(), 2);
    bench.submit();
    bench.peer_sends(b"x");
    bench.wait(2);
}

fn timeout(bench: &mut Bench) {
    let long = types::Timespec::from(Duration::from_secs(60));
    bench.push(opcode::Timeout::new(&long).build().flags(link()), 1);
    bench.push(opcode::Nop::new().build(), 2);
    bench.submit();
    bench.cancel(1);
    bench.wait(3);
}

fn accept(bench: &mut Bench) {
    bench.listener(4);
    bench.push(accept_entry(0, Some(1)), 1);
    bench.submit();
    bench.cancel(1);
    bench.wait(2);
    let _stream = bench.peer_connects();
    bench.run(accept_entry(0, Some(1)), 2);
}

fn completed(bench: &mut Bench) {
    bench.run(opcode::Nop::new().build(), 1);
    bench.cancel(1);
    bench.wait(1);
}

fn itself(bench: &mut Bench) {
    bench.run(opcode::AsyncCancel::new(1).build(), 1);
    bench.run(cancel_by(CANCEL_ANY, 0, 0, 0), 2);
}

fn two_of_a_kind(bench: &mut Bench, entry: squeue::Entry) {
    bench.bound();
    bench.push(poll_entry(0, libc::POLLIN), 1);
    bench.push(poll_entry(0, libc::POLLIN), 1);
    bench.submit();
    bench.push(entry, 2);
    bench.submit();
    bench.peer_sends(b"x");
    bench.wait_unordered(3);
}

fn one_of_two(bench: &mut Bench) {
    two_of_a_kind(bench, cancel_by(0, 0, 1, 0));
}

fn all_of_two(bench: &mut Bench) {
    two_of_a_kind(bench, cancel_by(CANCEL_ALL, 0, 1, 0));
}

fn by_file(bench: &mut Bench) {
    bench.cancel_and_sweep(cancel_by(CANCEL_FILE | CANCEL_FIXED | CANCEL_ALL, 0, 0, 0));
}

fn by_file_and_timeout(bench: &mut Bench) {
    let long = types::Timespec::from(Duration::from_secs(60));
    bench.bound();
    bench.push(opcode::Timeout::new(&long).build(), 1);
    bench.submit();
    bench.run(cancel_by(CANCEL_FILE | CANCEL_FIXED, 0, 0, 0), 2);
    bench.run(
        cancel_by(CANCEL_FILE | CANCEL_FIXED | CANCEL_ALL, 0, 0, 0),
        3,
    );
    bench.cancel(1);
    bench.wait(2);
}

fn by_file_and_user_data(bench: &mut Bench) {
    bench.cancel_and_sweep(cancel_by(
        CANCEL_FILE | CANCEL_FIXED | CANCEL_USER_DATA | CANCEL_ALL,
        0,
        3,
        0,
    ));
}

fn by_opcode(bench: &mut Bench) {
    const RECV: u8 = 27;
    bench.cancel_and_sweep(cancel_by(CANCEL_OPCODE | CANCEL_ALL, 0, 0, RECV));
}

fn by_opcode_and_file(bench: &mut Bench) {
    const RECV: u8 = 27;
    bench.cancel_and_sweep(cancel_by(
        CANCEL_OPCODE | CANCEL_FILE | CANCEL_FIXED,
        1,
        0,
        RECV,
    ));
}

fn timeouts_by_opcode(bench: &mut Bench) {
    const TIMEOUT: u8 = 11;
    bench.files();
    let long = types::Timespec::new().sec(1000);
    let timeout = |count| opcode::Timeout::new(&raw const long).count(count).build();
    for (user_data, count) in [(1, 0), (2, 0), (3, 100), (4, 0)] {
        bench.push(timeout(count), user_data);
    }
    bench.submit();
    let keys = [
        (CANCEL_OPCODE, 2),
        (CANCEL_OPCODE | CANCEL_USER_DATA, 2),
        (CANCEL_OPCODE | CANCEL_USER_DATA, 1),
        (CANCEL_OPCODE | CANCEL_ALL, 3),
        (CANCEL_OPCODE | CANCEL_ALL, 1),
    ];
    for (user_data, (flags, completions)) in (10..).zip(keys) {
        bench.push(cancel_by(flags, 0, 2, TIMEOUT), user_data);
        bench.wait(completions);
    }
}

fn everything(bench: &mut Bench) {
    bench.cancel_and_sweep(cancel_by(CANCEL_ANY, 0, 0, 0));
}

fn nothing(bench: &mut Bench) {
    bench.bound();
    let keys = [
        0,
        CANCEL_ALL,
        CANCEL_FILE | CANCEL_FIXED,
        CANCEL_FILE | CANCEL_FIXED | CANCEL_ALL,
        CANCEL_OPCODE,
        CANCEL_OPCODE | CANCEL_ALL,
        CANCEL_USER_DATA,
        CANCEL_ANY | CANCEL_ALL,
    ];
    for (user_data, flags) in keys.into_iter().enumerate() {
        bench.run(cancel_by(flags, 0, 77, 27), user_data as u64);
    }
}

fn excluding(bench: &mut Bench) {
    bench.bound();
    let flags = [
        CANCEL_ANY | CANCEL_FILE | CANCEL_FIXED,
        CANCEL_ANY | CANCEL_OPCODE,
        CANCEL_ANY | CANCEL_USER_DATA,
        64,
        1 << 31,
    ];
    for (user_data, flags) in flags.into_iter().enumerate() {
        bench.run(cancel_by(flags, 0, 77, 27), user_data as u64);
    }
}

fn part(bench: &mut Bench) {
    let mut stream = bench.connected();
    let mut buffer = [0; 16];
    let all = recv_on(1, &mut buffer, libc::MSG_WAITALL);
    bench.push(all.flags(link()), 1);
    bench.push(opcode::Nop::new().build(), 2);
    bench.submit();
    stream.write_all(b"part").unwrap();
    bench.pump("the part is acknowledged", || unacknowledged(&stream) == 0);
    bench.until(1, QUEUED_IN, 0);
    bench.cancel(1);
    bench.wait(3);
    bench.say(&buffer[..4]);
}

fn in_a_chain(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer), 1);
    bench.submit();
    let none = opcode::AsyncCancel::new(77).build();
    bench.push(none.flags(link()), 2);
    bench.push(opcode::Nop::new().build(), 3);
    bench.wait(2);
    let one = opcode::AsyncCancel::new(1).build();
    bench.push(one.flags(link()), 4);
    bench.push(opcode::Nop::new().build(), 5);
    bench.wait_unordered(3);
}

fn closed_file(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer), 1);
    bench.submit();
    bench.run(close_entry(0), 2);
    bench.run(cancel_by(CANCEL_FILE | CANCEL_FIXED, 0, 0, 0), 3);
    bench.run(cancel_by(CANCEL_FILE | CANCEL_FIXED, SLOTS, 0, 0), 4);
    bench.cancel(1);
    bench.wait(2);
}

//! Cancellation by io_uring_register(2).

use super::*;

pub const CASES: &[Case] = &[
    case("sync_cancel_errors", errors),
    case("sync_cancel_of_nothing", nothing),
    case("sync_cancel_by_user_data", by_user_data),
    case("sync_cancel_of_all_with_a_user_data", all_by_user_data),
    case("sync_cancel_by_file", by_file),
    case("sync_cancel_by_operation", by_operation),
    case("sync_cancel_of_anything", anything),
    case("sync_cancel_of_a_timeout", timeout),
    case("sync_cancel_of_a_chain", chain),
];

const SYNC_CANCEL: u32 = 24;
const ALL: u32 = 1;
const FD: u32 = 2;
const ANY: u32 = 4;
const FD_FIXED: u32 = 8;
const USER_DATA: u32 = 16;
const OP: u32 = 32;
const RECV: u8 = 27;

/// `io_uring_sync_cancel_reg`, without a timeout.
fn key(user_data: u64, fd: i32, flags: u32, opcode: u8) -> [u64; 8] {
    let second = u64::from(fd as u32) | u64::from(flags) << 32;
    [
        user_data,
        second,
        u64::MAX,
        u64::MAX,
        opcode.into(),
        0,
        0,
        0,
    ]
}

fn cancel(bench: &mut Bench, what: &str, key: [u64; 8]) {
    bench.register(what, SYNC_CANCEL, &key, 1);
}

/// Receives in flight on the socket in slot 0, with these `user_data`.
fn waiting(bench: &mut Bench, all: &[u64]) {
    let buffer = vec![0; 64].leak();
    for &user_data in all {
        bench.push(recv(buffer), user_data);
    }
    bench.submit();
}

fn errors(bench: &mut Bench) {
    bench.register_at("no argument", SYNC_CANCEL, 0, 1);
    bench.register_at("no memory", SYNC_CANCEL, 8, 1);
    bench.register("a count", SYNC_CANCEL, &key(1, 0, 0, 0), 2);
    cancel(bench, "a flag", key(1, 0, 1 << 6, 0));
    for word in [5, 6, 7] {
        let mut reserved = key(1, 0, 0, 0);
        reserved[word] = 1;
        cancel(bench, "reserved", reserved);
    }
    cancel(
        bench,
        "reserved beside the operation",
        key(1, 0, 0, 0).map(|word| word | (1 << 8)),
    );
    cancel(bench, "no such file", key(0, 9999, FD, 0));
    cancel(
        bench,
        "no such file in a table",
        key(0, 9999, FD | FD_FIXED, 0),
    );
    cancel(bench, "no such file, anything", key(0, 9999, FD | ANY, 0));
}

fn nothing(bench: &mut Bench) {
    for flags in [
        0,
        ALL,
        ANY,
        ALL | ANY,
        OP,
        OP | ALL,
        OP | ANY,
        USER_DATA,
        USER_DATA | OP,
    ] {
        cancel(bench, "nothing", key(1, 0, flags, RECV));
    }
    let mut timed = key(1, 0, 0, 0);
    (timed[2], timed[3]) = (0, 1);
    cancel(bench, "nothing, and a timeout", timed);
}

fn by_user_data(bench: &mut Bench) {
    bench.bound();
    waiting(bench, &[1, 2]);
    cancel(bench, "the second", key(2, 0, 0, 0));
    bench.wait(1);
    cancel(bench, "again", key(2, 0, USER_DATA, 0));
    cancel(bench, "the first", key(1, 0, USER_DATA, 0));
    bench.wait(1);
}

fn all_by_user_data(bench: &mut Bench) {
    bench.bound();
    waiting(bench, &[1, 1, 2]);
    cancel(bench, "both", key(1, 0, ALL, 0));
    bench.wait(2);
    cancel(bench, "again", key(1, 0, ALL, 0));
    cancel(bench, "the other", key(2, 0, ALL | USER_DATA, 0));
    bench.wait(1);
}

fn by_file(bench: &mut Bench) {
    bench.bound();
    waiting(bench, &[1, 2]);
    cancel(bench, "an empty slot", key(0, 1, FD | FD_FIXED, 0));
    cancel(bench, "all of it", key(0, 0, FD | FD_FIXED | ALL, 0));
    bench.wait(2);
    cancel(bench, "again", key(0, 0, FD | FD_FIXED, 0));
    cancel(bench, "again, all", key(0, 0, FD | FD_FIXED | ALL, 0));
}

fn by_operation(bench: &mut Bench) {
    bench.bound();
    waiting(bench, &[1]);
    bench.push(poll_entry(0, libc::POLLIN), 2);
    bench.submit();
    cancel(bench, "receives", key(0, 0, OP | ALL, RECV));
    bench.wait(1);
    cancel(bench, "a receive", key(0, 0, OP, RECV));
    cancel(bench, "another user data", key(1, 0, OP | USER_DATA, 6));
    cancel(bench, "the poll", key(2, 0, OP | USER_DATA, 6));
    bench.wait(1);
}

fn anything(bench: &mut Bench) {
    bench.bound();
    // In which order they end is not said.
    waiting(bench, &[1, 1, 1]);
    cancel(bench, "anything", key(0, 0, ANY, 0));
    bench.wait(3);
    waiting(bench, &[4]);
    cancel(
        bench,
        "anything in a slot",
        key(0, 0, ANY | FD | FD_FIXED, 0),
    );
    bench.wait(1);
}

fn timeout(bench: &mut Bench) {
    let time = types::Timespec::new().sec(1000);
    bench.push(opcode::Timeout::new(&time).build(), 1);
    bench.submit();
    cancel(bench, "the timeout", key(1, 0, 0, 0));
    bench.wait(1);
    bench.push(opcode::Timeout::new(&time).build(), 2);
    bench.submit();
    cancel(bench, "anything", key(0, 0, ANY, 0));
    bench.wait(1);
}

fn chain(bench: &mut Bench) {
    bench.bound();
    let mut buffer = vec![0; 64];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(opcode::Nop::new().build(), 2);
    bench.submit();
    cancel(bench, "what waits behind", key(2, 0, 0, 0));
    cancel(bench, "the head", key(1, 0, 0, 0));
    bench.wait(2);
}

//! The eventfd that completions signal.

use super::register::*;
use super::*;

pub const CASES: &[Case] = &[
    case("eventfd_errors", errors),
    case("eventfd_counts_batches", batches),
    case("eventfd_counts_what_comes_later", later),
    case("eventfd_counts_failures", failures),
    case("eventfd_counts_tags", tags),
    case("eventfd_of_what_is_not_inline", not_inline),
    case("eventfd_disabled", disabled),
    case("eventfd_and_overflow", overflow),
    case("eventfd_outlives_the_applications_descriptor", outlives),
];

const REGISTER_EVENTFD: u32 = 4;
const UNREGISTER_EVENTFD: u32 = 5;
const REGISTER_EVENTFD_ASYNC: u32 = 7;

fn eventfd() -> i32 {
    // SAFETY: no pointers are passed.
    unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) }
}

/// Signals since the last look; none is written down as 0.
fn count(bench: &mut Bench, what: &str, eventfd: i32) {
    let count = read_count(eventfd);
    bench.say((what, count));
}

fn read_count(eventfd: i32) -> u64 {
    let mut count = 0u64;
    // SAFETY: eight bytes of room.
    let read = unsafe { libc::read(eventfd, (&raw mut count).cast(), 8) };
    assert!(read == 8 || count == 0);
    count
}

fn registered(bench: &mut Bench, opcode: u32) -> i32 {
    let eventfd = eventfd();
    bench.register("registered", opcode, &eventfd, 1);
    eventfd
}

fn nops(bench: &mut Bench, count: u64) {
    for user_data in 0..count {
        bench.push(opcode::Nop::new().build(), user_data);
    }
    bench.submit();
}

fn errors(bench: &mut Bench) {
    let good = eventfd();
    let file = std::fs::File::open("/dev/null").expect("/dev/null");
    bench.register_at("nothing there", UNREGISTER_EVENTFD, 0, 0);
    bench.register("not one", REGISTER_EVENTFD, &file.as_raw_fd(), 1);
    bench.register("not open", REGISTER_EVENTFD, &9999, 1);
    bench.register("negative", REGISTER_EVENTFD, &-1, 1);
    bench.register_at("no memory", REGISTER_EVENTFD, 8, 1);
    bench.register_at("no argument", REGISTER_EVENTFD, 0, 1);
    bench.register("no count", REGISTER_EVENTFD, &good, 0);
    bench.register("a count", REGISTER_EVENTFD_ASYNC, &good, 2);
    bench.register("good", REGISTER_EVENTFD, &good, 1);
    bench.register("again", REGISTER_EVENTFD, &good, 1);
    bench.register("again, not one", REGISTER_EVENTFD_ASYNC, &-1, 1);
    bench.register("an argument", UNREGISTER_EVENTFD, &good, 0);
    bench.register_at("a number", UNREGISTER_EVENTFD, 0, 1);
    bench.register_at("end", UNREGISTER_EVENTFD, 0, 0);
    bench.register_at("end again", UNREGISTER_EVENTFD, 0, 0);
    bench.register("anew", REGISTER_EVENTFD_ASYNC, &good, 1);
}

fn batches(bench: &mut Bench) {
    nops(bench, 1);
    let eventfd = registered(bench, REGISTER_EVENTFD);
    count(bench, "what was there before", eventfd);
    nops(bench, 1);
    count(bench, "one", eventfd);
    nops(bench, 4);
    count(bench, "four at once", eventfd);
    bench.submit();
    count(bench, "nothing", eventfd);
    bench.wait(6);
    count(bench, "taken", eventfd);
    bench.register_at("end", UNREGISTER_EVENTFD, 0, 0);
    nops(bench, 1);
    count(bench, "unregistered", eventfd);
}

fn later(bench: &mut Bench) {
    bench.bound();
    let eventfd = registered(bench, REGISTER_EVENTFD);
    let mut buffer = vec![0; 64];
    bench.push(recv(&mut buffer), 1);
    bench.submit();
    count(bench, "waits", eventfd);
    bench.peer_sends(b"later");
    bench.wait(1);
    count(bench, "came", eventfd);
    let time = types::Timespec::new().nsec(1_000_000);
    bench.run(opcode::Timeout::new(&time).build(), 2);
    count(bench, "time", eventfd);
}

fn failures(bench: &mut Bench) {
    let eventfd = registered(bench, REGISTER_EVENTFD);
    bench.push(bad(), 1);
    bench.submit();
    count(bench, "bad", eventfd);
    let silent = opcode::Nop::new()
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS);
    bench.push(silent, 2);
    bench.submit();
    count(bench, "silent", eventfd);
    bench.wait(1);
}

fn tags(bench: &mut Bench) {
    let eventfd = registered(bench, REGISTER_EVENTFD);
    let memory = vec![0u8; 4096];
    let buffer = [iovec(at(&memory[..]), 4096)];
    let table = rsrc_register(1, 0, at(&buffer), at(&[51u64]));
    bench.register("tagged", REGISTER_BUFFERS2, &table, RSRC);
    count(bench, "registered", eventfd);
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    count(bench, "unregistered", eventfd);
    bench.wait(1);
}

fn not_inline(bench: &mut Bench) {
    bench.bound();
    let eventfd = registered(bench, REGISTER_EVENTFD_ASYNC);
    nops(bench, 2);
    count(bench, "inline", eventfd);
    bench.wait(2);
    let mut buffer = vec![0; 64];
    bench.push(recv(&mut buffer), 1);
    bench.submit();
    bench.peer_sends(b"later");
    bench.wait(1);
    count(bench, "came later", eventfd);
    let time = types::Timespec::new().nsec(1_000_000);
    bench.run(opcode::Timeout::new(&time).build(), 2);
    count(bench, "time", eventfd);
    let worker = opcode::Nop::new().build().flags(squeue::Flags::ASYNC);
    bench.run(worker, 3);
    count(bench, "in a worker", eventfd);
}

fn disabled(bench: &mut Bench) {
    let eventfd = registered(bench, REGISTER_EVENTFD);
    let completion = bench.ring.completion();
    completion.disable_eventfd();
    let said = completion.eventfd_disabled();
    drop(completion);
    nops(bench, 2);
    bench.say(said);
    count(bench, "disabled", eventfd);
    bench.ring.completion().enable_eventfd();
    count(bench, "enabled", eventfd);
    bench.submit();
    count(bench, "and a turn", eventfd);
    nops(bench, 1);
    count(bench, "one", eventfd);
}

/// How often is the kernel's to choose: with another thread to run it lets go of the queue between two completions
/// that it brings (`__io_cqring_overflow_flush`), and signals then too.
fn overflow(bench: &mut Bench) {
    let eventfd = registered(bench, REGISTER_EVENTFD);
    nops(bench, CQ_ENTRIES.into());
    count(bench, "full", eventfd);
    nops(bench, 2);
    count(bench, "more", eventfd);
    let first = bench.ring.completion().count();
    bench.say(first);
    bench.wait(2);
    let flushed = read_count(eventfd);
    bench.say(("flushed", flushed > 0));
}

fn outlives(bench: &mut Bench) {
    let eventfd = registered(bench, REGISTER_EVENTFD);
    // SAFETY: no pointers are passed; the first descriptor is not used again.
    let second = unsafe {
        let second = libc::dup(eventfd);
        libc::close(eventfd);
        second
    };
    nops(bench, 1);
    count(bench, "by another descriptor", second);
}

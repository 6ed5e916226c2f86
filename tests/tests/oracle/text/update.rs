//! TIMEOUT_REMOVE and POLL_REMOVE: timeouts and polls that are ended or changed; and what NOP looks up.

use super::*;

pub const CASES: &[Case] = &[
    case("timeout_remove", remove_timeout),
    case("timeout_remove_of_a_link_timeout", remove_link_timeout),
    case("timeout_remove_of_one_of_two", remove_one_of_two),
    case("timeout_remove_in_a_chain", remove_in_chain),
    case("timeout_update", update_timeout),
    case("timeout_update_to_a_time", update_to_a_time),
    case("timeout_update_of_a_count", update_counted),
    case("timeout_update_of_a_multishot", update_multishot),
    case("timeout_update_of_a_link_timeout", update_link_timeout),
    case(
        "timeout_update_that_names_link_timeouts_alone",
        link_update_alone,
    ),
    case("timeout_update_of_nothing", update_nothing),
    case("poll_remove", remove_poll),
    case("poll_remove_of_what_is_no_poll", remove_no_poll),
    case("poll_remove_of_one_of_two", remove_one_poll),
    case("poll_update_of_events", update_events),
    case("poll_update_of_user_data", update_user_data),
    case("poll_update_of_both", update_both),
    case("poll_update_does_not_make_it_multishot", update_multi),
    case("poll_update_of_a_multishot_poll", update_of_multishot),
    case("poll_update_behind_its_removal", update_removed),
    case("poll_update_of_nothing", update_no_poll),
    case("nop_looks_up_a_file", nop_file),
    case("nop_looks_up_a_buffer", nop_buffer),
];

const SHORT: types::Timespec = types::Timespec::new().nsec(5_000_000);
const LONG: types::Timespec = types::Timespec::new().sec(60);

const UPDATE: u32 = 2;
const LINK_UPDATE: u32 = 16;
const ABS: u32 = 1;

fn nop_entry() -> squeue::Entry {
    opcode::Nop::new().build()
}

fn timeout() -> squeue::Entry {
    opcode::Timeout::new(&LONG).build()
}

/// TIMEOUT_REMOVE with these flags, and the time in `off`.
fn update(user_data: u64, flags: u32, time: &types::Timespec) -> squeue::Entry {
    raw(opcode::TimeoutRemove::new(user_data).build(), |bytes| {
        let time = std::ptr::from_ref(time) as u64;
        bytes[8..16].copy_from_slice(&time.to_ne_bytes());
        bytes[28..32].copy_from_slice(&flags.to_ne_bytes());
    })
}

fn remove_timeout(bench: &mut Bench) {
    bench.run(opcode::TimeoutRemove::new(1).build(), 9);
    bench.push(timeout(), 1);
    bench.submit();
    bench.push(opcode::TimeoutRemove::new(1).build(), 2);
    bench.push(opcode::TimeoutRemove::new(1).build(), 3);
    bench.wait(3);
    bench.run(opcode::TimeoutRemove::new(1).build(), 4);
    for (at, value) in [
        (8, 1),
        (24, 1),
        (28, 1),
        (28, 0x80),
        (40, 1),
        (44, 1),
        (48, 1),
    ] {
        let entry = opcode::TimeoutRemove::new(1).build();
        bench.run(raw(entry, |bytes| bytes[at] = value), 5);
    }
}

fn remove_link_timeout(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(opcode::LinkTimeout::new(&LONG).build(), 2);
    bench.submit();
    bench.run(opcode::TimeoutRemove::new(2).build(), 3);
    bench.cancel(1);
    bench.wait(3);
}

fn remove_one_of_two(bench: &mut Bench) {
    bench.push(timeout().flags(link()), 1);
    bench.push(opcode::Nop::new().build(), 2);
    bench.push(timeout().flags(link()), 1);
    bench.push(opcode::Nop::new().build(), 3);
    // This one counts, and is found before the others.
    bench.push(
        opcode::Timeout::new(&LONG).count(100).build().flags(link()),
        1,
    );
    bench.push(opcode::Nop::new().build(), 4);
    bench.submit();
    for user_data in 5..8 {
        bench.push(opcode::TimeoutRemove::new(1).build(), user_data);
        bench.wait(3);
    }
}

fn remove_in_chain(bench: &mut Bench) {
    bench.push(timeout().flags(link()), 1);
    bench.push(nop_entry(), 2);
    bench.push(timeout().flags(squeue::Flags::IO_HARDLINK), 3);
    bench.push(nop_entry(), 4);
    bench.submit();
    bench.push(opcode::TimeoutRemove::new(1).build().flags(link()), 5);
    bench.push(opcode::TimeoutRemove::new(3).build().flags(link()), 6);
    bench.push(opcode::TimeoutRemove::new(3).build().flags(link()), 7);
    bench.push(nop_entry(), 8);
    bench.wait(8);
}

fn update_timeout(bench: &mut Bench) {
    bench.push(timeout(), 1);
    bench.submit();
    bench.push(update(1, UPDATE, &SHORT), 2);
    bench.wait(2);
    bench.run(update(1, UPDATE, &SHORT), 3);
    bench.push(opcode::Timeout::new(&SHORT).build(), 4);
    bench.push(update(4, UPDATE, &LONG), 5);
    bench.push(
        opcode::Timeout::new(&types::Timespec::new().nsec(20_000_000)).build(),
        6,
    );
    bench.wait(2);
    bench.cancel(4);
    bench.wait(2);
}

fn update_to_a_time(bench: &mut Bench) {
    let flags = types::TimeoutFlags::REALTIME;
    for user_data in [1, 2] {
        let timeout = match user_data {
            1 => timeout(),
            _ => opcode::Timeout::new(&LONG).flags(flags).build(),
        };
        bench.push(timeout, user_data);
        bench.push(update(user_data, UPDATE | ABS, &SHORT), 3);
        bench.wait(2);
    }
}

fn update_counted(bench: &mut Bench) {
    bench.push(opcode::Timeout::new(&LONG).count(3).build(), 1);
    bench.submit();
    bench.run(
        update(1, UPDATE, &types::Timespec::new().nsec(40_000_000)),
        2,
    );
    for user_data in 3..6 {
        bench.run(nop_entry(), user_data);
    }
    bench.wait(1);
}

fn update_multishot(bench: &mut Bench) {
    let multi = opcode::Timeout::new(&LONG).flags(types::TimeoutFlags::MULTISHOT);
    bench.push(multi.count(2).build(), 1);
    bench.submit();
    bench.push(update(1, UPDATE, &SHORT), 2);
    bench.wait(5);
    bench.cancel(1);
    bench.wait_for_last(1);
}

fn update_link_timeout(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(opcode::LinkTimeout::new(&LONG).build(), 2);
    bench.submit();
    bench.run(update(2, UPDATE, &SHORT), 3);
    bench.run(update(1, UPDATE | LINK_UPDATE, &SHORT), 4);
    bench.push(update(2, UPDATE | LINK_UPDATE, &SHORT), 5);
    bench.wait(3);
}

fn link_update_alone(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer).flags(link()), 1);
    bench.push(opcode::LinkTimeout::new(&LONG).build(), 2);
    bench.push(timeout(), 3);
    bench.submit();
    // Without the other flag it is a removal, and of a timeout that is none of a link.
    bench.run(update(2, LINK_UPDATE, &SHORT), 4);
    bench.push(update(3, LINK_UPDATE, &SHORT), 5);
    bench.wait(2);
    bench.cancel(1);
    bench.wait(3);
}

fn update_nothing(bench: &mut Bench) {
    let negative = types::Timespec::new().sec(u64::MAX);
    bench.run(update(1, UPDATE, &SHORT), 1);
    bench.run(update(1, UPDATE | LINK_UPDATE, &SHORT), 2);
    bench.run(update(1, UPDATE, &negative), 3);
    bench.run(
        raw(update(1, UPDATE, &SHORT), |bytes| bytes[8..16].fill(0)),
        4,
    );
    bench.run(update(1, UPDATE | 4, &SHORT), 5);
    bench.run(update(1, UPDATE | 32, &SHORT), 6);
}

const EVENTS: u32 = 2;
const USER_DATA: u32 = 4;
const MULTI: u32 = 1;

/// POLL_REMOVE that changes these.
fn poll_update(user_data: u64, what: u32, events: i16, new_user_data: u64) -> squeue::Entry {
    raw(opcode::PollRemove::new(user_data).build(), |bytes| {
        bytes[8..16].copy_from_slice(&new_user_data.to_ne_bytes());
        bytes[24..28].copy_from_slice(&what.to_ne_bytes());
        bytes[28..32].copy_from_slice(&u32::from(events as u16).to_ne_bytes());
    })
}

fn remove_poll(bench: &mut Bench) {
    bench.bound();
    bench.run(opcode::PollRemove::new(1).build(), 9);
    bench.push(poll_entry(0, libc::POLLIN).flags(link()), 1);
    bench.push(nop_entry(), 2);
    bench.submit();
    bench.push(opcode::PollRemove::new(1).build(), 3);
    bench.wait(3);
    let multi = opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).multi(true);
    bench.push(multi.build(), 4);
    bench.submit();
    bench.push(opcode::PollRemove::new(4).build(), 5);
    bench.wait(2);
    for (at, value) in [(8, 1), (24, 1), (24, 8), (28, 1), (40, 1), (44, 1)] {
        let entry = opcode::PollRemove::new(1).build();
        bench.run(raw(entry, |bytes| bytes[at] = value), 6);
    }
}

fn remove_no_poll(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer), 1);
    bench.push(timeout(), 2);
    bench.submit();
    bench.run(opcode::PollRemove::new(1).build(), 3);
    bench.run(opcode::PollRemove::new(2).build(), 4);
    bench.run(opcode::TimeoutRemove::new(1).build(), 5);
}

fn remove_one_poll(bench: &mut Bench) {
    bench.bound();
    bench.push(poll_entry(0, libc::POLLIN).flags(link()), 1);
    bench.push(nop_entry(), 2);
    bench.push(poll_entry(0, libc::POLLIN).flags(link()), 1);
    bench.push(nop_entry(), 3);
    bench.submit();
    for user_data in 4..6 {
        bench.push(opcode::PollRemove::new(1).build(), user_data);
        bench.wait(3);
    }
}

fn update_events(bench: &mut Bench) {
    bench.bound();
    bench.push(poll_entry(0, libc::POLLIN), 1);
    bench.submit();
    // It is so already.
    bench.push(poll_update(1, EVENTS, libc::POLLOUT, 0), 2);
    bench.wait(2);
    bench.push(poll_entry(0, libc::POLLPRI), 3);
    bench.submit();
    bench.run(poll_update(3, EVENTS, libc::POLLIN, 0), 4);
    bench.peer_sends(b"x");
    bench.wait(1);
}

fn update_user_data(bench: &mut Bench) {
    bench.bound();
    bench.push(poll_entry(0, libc::POLLIN), 1);
    bench.submit();
    bench.run(poll_update(1, USER_DATA, 0, 7), 2);
    bench.run(poll_update(1, USER_DATA, 0, 8), 3);
    bench.peer_sends(b"x");
    bench.wait(1);
}

fn update_both(bench: &mut Bench) {
    bench.bound();
    bench.push(poll_entry(0, libc::POLLIN), 1);
    bench.submit();
    bench.push(poll_update(1, EVENTS | USER_DATA, libc::POLLOUT, 7), 2);
    bench.wait(2);
}

fn update_multi(bench: &mut Bench) {
    bench.bound();
    bench.push(poll_entry(0, libc::POLLPRI), 1);
    bench.submit();
    bench.run(poll_update(1, EVENTS | MULTI, libc::POLLIN, 0), 2);
    bench.peer_sends(b"x");
    bench.wait(1);
}

fn update_of_multishot(bench: &mut Bench) {
    bench.bound();
    let multi = opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).multi(true);
    bench.push(multi.build(), 1);
    bench.submit();
    bench.peer_sends(b"x");
    bench.wait(1);
    // It is told again.
    bench.push(poll_update(1, EVENTS, libc::POLLIN, 0), 2);
    bench.wait(2);
    bench.push(
        poll_update(1, EVENTS | USER_DATA, libc::POLLIN | libc::POLLOUT, 7),
        3,
    );
    bench.wait(2);
    bench.cancel(7);
    bench.wait(2);
}

fn update_removed(bench: &mut Bench) {
    bench.bound();
    bench.push(poll_entry(0, libc::POLLIN), 1);
    bench.submit();
    bench.push(opcode::AsyncCancel::new(1).build(), 2);
    bench.push(poll_update(1, USER_DATA, 0, 7), 3);
    bench.push(opcode::AsyncCancel::new(1).build(), 4);
    bench.push(opcode::PollRemove::new(1).build(), 5);
    bench.wait(5);
}

fn update_no_poll(bench: &mut Bench) {
    bench.run(poll_update(1, EVENTS, libc::POLLIN, 0), 1);
    bench.run(poll_update(1, USER_DATA, 0, 7), 2);
    bench.run(poll_update(1, MULTI, 0, 0), 3);
    bench.run(poll_update(1, EVENTS, libc::POLLIN, 7), 4);
    bench.run(poll_update(1, USER_DATA, libc::POLLIN, 7), 5);
    bench.run(poll_update(1, EVENTS | 8, libc::POLLIN, 0), 6);
}

/// A NOP that looks up file `fd` or buffer `index`, with these flags.
fn nop_with(flags: u32, fd: i32, index: u16) -> squeue::Entry {
    raw(nop_entry(), |bytes| {
        bytes[4..8].copy_from_slice(&fd.to_ne_bytes());
        bytes[24..28].copy_from_slice(&42u32.to_ne_bytes());
        bytes[28..32].copy_from_slice(&flags.to_ne_bytes());
        bytes[40..42].copy_from_slice(&index.to_ne_bytes());
    })
}

fn nop_file(bench: &mut Bench) {
    bench.bound();
    for (user_data, (flags, fd)) in [(2, -1), (6, 0), (6, 3), (6, 99), (7, 0), (7, 3), (4, 3)]
        .into_iter()
        .enumerate()
    {
        bench.push(nop_with(flags, fd, 0).flags(link()), user_data as u64);
        bench.push(nop_entry(), 100);
        bench.wait(2);
    }
}

fn nop_buffer(bench: &mut Bench) {
    bench.run(nop_with(8, 0, 0), 1);
    let buffer = libc::iovec {
        iov_base: bench.buffers.as_mut_ptr().cast(),
        iov_len: 100,
    };
    // SAFETY: the bench keeps its buffers until the ring is gone.
    unsafe { bench.ring.submitter().register_buffers(&[buffer]) }.expect("a table of buffers");
    for (user_data, (flags, index)) in [(8, 0), (8, 1), (9, 0), (9, 1)].into_iter().enumerate() {
        bench.push(nop_with(flags, 0, index).flags(link()), user_data as u64);
        bench.push(nop_entry(), 100);
        bench.wait(2);
    }
    bench.run(nop_with(64, 0, 0), 9);
}

impl Bench {
    /// Waits until a request has ended: what it completed with before is not written down.
    fn wait_for_last(&mut self, user_data: u64) {
        let mut ended = false;
        while !ended {
            let waited = self.ring.submit_and_wait(1);
            for cqe in self.ring.completion() {
                ended |= cqe.user_data() == user_data && !io_uring::cqueue::more(cqe.flags());
            }
            waited.expect("completions");
        }
    }
}

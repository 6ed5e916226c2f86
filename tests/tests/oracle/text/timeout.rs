//! Timeouts.

use super::*;

pub const CASES: &[Case] = &[
    case("timeouts", timeouts),
    case("timeout_that_is_in_the_past", past),
    case("timeout_by_each_clock", clocks),
    case("timeout_with_flags_that_are_refused", refused_flags),
    case("timeout_with_times_that_are_refused", refused_times),
    case("timeout_with_several_lengths", lengths),
    case("timeouts_in_the_order_of_their_times", order),
    case("timeout_that_counts_what_came_before", counts_from_now),
    case("timeouts_that_count", counts),
    case("timeout_that_counts_itself_not", counts_others),
    case("timeout_multishot_for_ever", multishot_for_ever),
    case("timeout_multishot_once", multishot_once),
    case("timeout_of_nothing", of_nothing),
    case("timeout_in_a_chain", in_a_chain),
    case("timeout_that_is_copied", copied),
    case("count_of_a_timeout_and_its_batch", timeout_batch),
];

fn timeouts(bench: &mut Bench) {
    let short = types::Timespec::from(Duration::from_millis(5));
    let long = types::Timespec::from(Duration::from_secs(60));
    bench.run(opcode::Timeout::new(&short).build(), 1);
    bench.push(opcode::Timeout::new(&long).count(2).build(), 2);
    bench.push(opcode::Nop::new().build(), 3);
    bench.push(opcode::Nop::new().build(), 4);
    bench.wait(3);
    bench.push(opcode::Timeout::new(&short).build().flags(link()), 5);
    bench.push(opcode::Nop::new().build(), 6);
    bench.wait(2);
    let success = types::TimeoutFlags::ETIME_SUCCESS;
    bench.push(
        opcode::Timeout::new(&short)
            .flags(success)
            .build()
            .flags(link()),
        7,
    );
    bench.push(opcode::Nop::new().build(), 8);
    bench.wait(2);
    bench.push(
        opcode::Timeout::new(&short)
            .count(3)
            .flags(types::TimeoutFlags::MULTISHOT)
            .build(),
        9,
    );
    bench.wait(3);
    bench.push(opcode::Timeout::new(&long).build(), 10);
    bench.submit();
    bench.run(opcode::AsyncCancel::new(10).build(), 11);
    bench.wait(1);
    bench.run(opcode::Timeout::new(std::ptr::null()).build(), 12);
    let absolute = opcode::Timeout::new(&short)
        .flags(types::TimeoutFlags::ABS)
        .build();
    bench.run(absolute, 13);
}

fn timespec(seconds: i64, nanoseconds: i64) -> [i64; 2] {
    [seconds, nanoseconds]
}

fn timeout_entry(time: &[i64; 2], count: u64, flags: u32) -> squeue::Entry {
    let entry = opcode::Timeout::new(std::ptr::from_ref(time).cast()).build();
    raw(entry, |bytes| {
        bytes[8..16].copy_from_slice(&count.to_ne_bytes());
        bytes[28..32].copy_from_slice(&flags.to_ne_bytes());
    })
}

const ABS: u32 = 1;
const BOOTTIME: u32 = 4;
const REALTIME: u32 = 8;
const ETIME_SUCCESS: u32 = 32;
const MULTISHOT: u32 = 64;

fn past(bench: &mut Bench) {
    let past = timespec(1, 0);
    for (user_data, clock) in [0, BOOTTIME, REALTIME].into_iter().enumerate() {
        bench.run(timeout_entry(&past, 0, ABS | clock), user_data as u64);
    }
}

fn clocks(bench: &mut Bench) {
    let short = timespec(0, 1_000_000);
    for (user_data, clock) in [0, BOOTTIME, REALTIME].into_iter().enumerate() {
        bench.run(timeout_entry(&short, 0, clock), user_data as u64);
    }
    for (clock, id) in [
        (BOOTTIME, libc::CLOCK_BOOTTIME),
        (REALTIME, libc::CLOCK_REALTIME),
    ] {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: a timespec to write.
        unsafe { libc::clock_gettime(id, &raw mut now) };
        let soon = timespec(now.tv_sec, now.tv_nsec);
        bench.run(timeout_entry(&soon, 0, ABS | clock), u64::from(clock));
    }
}

fn refused_flags(bench: &mut Bench) {
    let short = timespec(0, 1_000_000);
    let flags = [BOOTTIME | REALTIME, MULTISHOT | ABS, 2, 16, 18, 1 << 31];
    for (user_data, flags) in flags.into_iter().enumerate() {
        bench.run(timeout_entry(&short, 0, flags), user_data as u64);
    }
}

fn refused_times(bench: &mut Bench) {
    let times = [(-1, 0), (0, -1), (-1, -1), (0, i64::MIN)];
    for (user_data, (seconds, nanoseconds)) in times.into_iter().enumerate() {
        let time = timespec(seconds, nanoseconds);
        bench.run(timeout_entry(&time, 0, 0), user_data as u64);
    }
    // More than a second's nanoseconds are no error.
    bench.push(timeout_entry(&timespec(0, 2_000_000_000), 1, 0), 10);
    bench.run(opcode::Nop::new().build(), 11);
    bench.wait(1);
}

fn lengths(bench: &mut Bench) {
    let short = timespec(0, 1_000_000);
    for len in [0u32, 2, 1] {
        let entry = raw(timeout_entry(&short, 0, 0), |bytes| {
            bytes[24..28].copy_from_slice(&len.to_ne_bytes());
        });
        bench.run(entry, len.into());
    }
}

fn order(bench: &mut Bench) {
    for milliseconds in [30, 10, 20] {
        let time = timespec(0, milliseconds * 1_000_000);
        bench.push(timeout_entry(&time, 0, 0), milliseconds as u64);
        bench.submit();
    }
    bench.wait(3);
}

fn counts_from_now(bench: &mut Bench) {
    let long = timespec(60, 0);
    bench.push(opcode::Nop::new().build(), 1);
    bench.submit();
    bench.push(timeout_entry(&long, 1, 0), 2);
    bench.submit();
    bench.wait(1);
    bench.push(opcode::Nop::new().build(), 3);
    bench.wait(2);
}

fn counts(bench: &mut Bench) {
    let long = timespec(60, 0);
    for count in [3, 1, 2] {
        bench.push(timeout_entry(&long, count, 0), 10 + count);
    }
    bench.submit();
    for user_data in 1..4 {
        bench.push(opcode::Nop::new().build(), user_data);
        bench.wait(2);
    }
}

fn counts_others(bench: &mut Bench) {
    let (short, long) = (timespec(0, 1_000_000), timespec(60, 0));
    bench.push(timeout_entry(&long, 2, 0), 1);
    bench.push(timeout_entry(&short, 0, 0), 2);
    bench.submit();
    bench.wait(1);
    bench.push(opcode::Nop::new().build(), 3);
    bench.push(opcode::Nop::new().build(), 4);
    bench.wait(3);
}

fn multishot_for_ever(bench: &mut Bench) {
    let short = timespec(0, 5_000_000);
    bench.push(timeout_entry(&short, 0, MULTISHOT), 1);
    bench.wait(3);
    let cancel = opcode::AsyncCancel::new(1).build();
    bench.push(cancel, 2);
    // Another may come before the cancellation is looked at.
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut last = Vec::new();
    while last.len() < 2 && std::time::Instant::now() < deadline {
        let _ = bench.ring.submit_and_wait(1);
        let completions: Vec<_> = bench
            .ring
            .completion()
            .map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags()))
            .collect();
        last.extend(
            completions
                .into_iter()
                .filter(|completion| completion.1 != -libc::ETIME),
        );
    }
    bench.say(last);
}

fn multishot_once(bench: &mut Bench) {
    let short = timespec(0, 1_000_000);
    bench.run(timeout_entry(&short, 1, MULTISHOT), 1);
    bench.push(timeout_entry(&short, 2, MULTISHOT | ETIME_SUCCESS), 2);
    bench.wait(2);
}

fn of_nothing(bench: &mut Bench) {
    bench.run(timeout_entry(&timespec(0, 0), 0, 0), 1);
    bench.run(timeout_entry(&timespec(0, 0), 0, ABS), 2);
    bench.run(timeout_entry(&timespec(0, 0), 1, 0), 3);
}

fn in_a_chain(bench: &mut Bench) {
    let short = timespec(0, 1_000_000);
    bench.push(opcode::Nop::new().build().flags(link()), 1);
    bench.push(timeout_entry(&short, 0, ETIME_SUCCESS).flags(link()), 2);
    bench.push(
        timeout_entry(&short, 0, 0).flags(squeue::Flags::IO_HARDLINK),
        3,
    );
    bench.push(timeout_entry(&short, 0, 0).flags(link()), 4);
    bench.push(opcode::Nop::new().build(), 5);
    bench.wait(5);
}

fn copied(bench: &mut Bench) {
    let mut time = timespec(0, 1_000_000);
    bench.push(timeout_entry(&time, 0, 0), 1);
    bench.submit();
    time[0] = 60;
    std::hint::black_box(&time);
    bench.wait(1);
}

fn timeout_batch(bench: &mut Bench) {
    let long = types::Timespec::from(Duration::from_secs(60));
    bench.push(opcode::Nop::new().build(), 1);
    bench.push(opcode::Timeout::new(&long).count(1).build(), 2);
    bench.submit();
    bench.push(opcode::Nop::new().build(), 3);
    bench.wait(3);
}

//! What of timeouts the running kernel cannot be asked about: times that are in the entry itself
//! (`IORING_TIMEOUT_IMMEDIATE_ARG`).

use io_uring::squeue;
use ringwire_abi::sqe::Sqe;

use super::*;
use crate::engine::bed::Bed;

const EXPIRED: i32 = -libc::ETIME;

/// A timeout of so many nanoseconds.
fn timeout(user_data: u64, nanos: u64, flags: u32) -> squeue::Entry {
    let sqe = Sqe {
        opcode: IORING_OP_TIMEOUT,
        fd: -1,
        addr: nanos,
        len: 1,
        op_flags: IORING_TIMEOUT_IMMEDIATE_ARG | flags,
        user_data,
        ..Sqe::default()
    };
    sqe.to_entry()
}

/// Changes the timeout with this `user_data` to so many nanoseconds from now.
fn update(user_data: u64, nanos: u64) -> squeue::Entry {
    let sqe = Sqe {
        opcode: IORING_OP_TIMEOUT_REMOVE,
        fd: -1,
        addr: user_data,
        off: nanos,
        op_flags: IORING_TIMEOUT_UPDATE | IORING_TIMEOUT_IMMEDIATE_ARG,
        user_data: 100,
        ..Sqe::default()
    };
    sqe.to_entry()
}

/// What completes when the engine has its turn at this time.
fn at(bed: &mut Bed, nanos: u64) -> Vec<(u64, i32, u32)> {
    bed.engine.turn(Instant::from_nanos(nanos));
    bed.completions()
}

#[test]
fn a_time_in_the_entry_counts_in_nanoseconds() {
    let mut bed = Bed::new(0);
    assert_eq!(bed.run(timeout(1, 1500, 0)), []);
    assert_eq!(at(&mut bed, 1499), []);
    assert_eq!(at(&mut bed, 1500), [(1, EXPIRED, 0)]);
}

#[test]
fn a_time_in_the_entry_may_be_absolute() {
    let mut bed = Bed::new(0);
    bed.engine.turn(Instant::from_nanos(1000));
    assert_eq!(bed.run(timeout(1, 1500, IORING_TIMEOUT_ABS)), []);
    assert_eq!(at(&mut bed, 1500), [(1, EXPIRED, 0)]);
}

#[test]
fn a_timeout_is_given_another_time_in_the_entry() {
    let mut bed = Bed::new(0);
    assert_eq!(bed.run(timeout(1, 1500, 0)), []);
    assert_eq!(bed.run(update(1, 4000)), [(100, 0, 0)]);
    assert_eq!(at(&mut bed, 3999), []);
    assert_eq!(at(&mut bed, 4000), [(1, EXPIRED, 0)]);
}

#[test]
fn a_time_in_the_entry_is_not_negative() {
    let mut bed = Bed::new(0);
    assert_eq!(bed.run(timeout(1, 1 << 63, 0)), [(1, -libc::EINVAL, 0)]);
}

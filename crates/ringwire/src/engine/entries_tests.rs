//! Entries and completions of other sizes, through an engine.

use io_uring::{cqueue, squeue};
use ringwire_abi::flags::*;
use ringwire_abi::sqe::Sqe;
use ringwire_stack::Instant;

use super::bed::Bed;
use crate::queue::{CompletionQueue, SubmissionQueue};

fn entry(opcode: u8, user_data: u64) -> Sqe {
    Sqe {
        opcode,
        user_data,
        ..Sqe::default()
    }
}

/// A NOP that completes with 32 bytes.
fn big_nop(user_data: u64) -> Sqe {
    Sqe {
        off: user_data + 100,
        addr: user_data + 200,
        op_flags: IORING_NOP_CQE32,
        ..entry(IORING_OP_NOP, user_data)
    }
}

/// Submits entries of 128 bytes, and returns how many slots were taken.
fn submit_wide(bed: &mut Bed, entries: &[Sqe]) -> u32 {
    for sqe in entries {
        let wide: squeue::Entry128 = sqe.to_entry().into();
        // SAFETY: NOPs name no memory.
        unsafe { SubmissionQueue::new(bed.engine.queues()).push(&wide) }.expect("room");
    }
    bed.engine.submit(Instant::ZERO, u32::MAX)
}

fn big_completions(bed: &Bed) -> Vec<(u64, i32, u32, [u64; 2])> {
    CompletionQueue::<cqueue::Entry32>::new(bed.engine.queues())
        .map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags(), *cqe.big_cqe()))
        .collect()
}

#[test]
fn a_wide_operation_needs_a_wide_entry() {
    let refused = -libc::EINVAL;
    let mut small = Bed::new(0);
    for opcode in [IORING_OP_NOP128, IORING_OP_URING_CMD128] {
        let completions = small.run(entry(opcode, 1).to_entry());
        assert_eq!(completions, [(1, refused, 0)]);
    }
    let mut wide = Bed::new(IORING_SETUP_SQE128);
    let nops = [entry(IORING_OP_NOP128, 1), entry(IORING_OP_NOP, 2)];
    assert_eq!(submit_wide(&mut wide, &nops), 2);
    assert_eq!(wide.completions(), [(1, 0, 0), (2, 0, 0)]);
}

#[test]
fn a_wide_entry_counts_twice_in_a_mixed_queue() {
    let mut bed = Bed::new(IORING_SETUP_SQE_MIXED);
    let nops = [entry(IORING_OP_NOP, 1), entry(IORING_OP_NOP128, 2)];
    assert_eq!(submit_wide(&mut bed, &nops), 3);
    assert_eq!(bed.completions(), [(1, 0, 0), (2, 0, 0)]);
}

#[test]
fn a_mixed_queue_tells_its_big_completions_by_a_flag() {
    let mut bed = Bed::new(IORING_SETUP_CQE_MIXED);
    for sqe in [entry(IORING_OP_NOP, 1), big_nop(2)] {
        // SAFETY: NOPs name no memory.
        unsafe { bed.engine.submission().push(&sqe.to_entry()) }.expect("room");
    }
    bed.engine.submit(Instant::ZERO, 2);
    assert_eq!(bed.engine.completions_ready(), 3, "slots");
    let expected = [(1, 0, 0, [0, 0]), (2, 0, IORING_CQE_F_32, [102, 202])];
    assert_eq!(big_completions(&bed), expected);
}

#[test]
fn big_completions_of_a_mixed_queue_overflow_in_order() {
    let mut bed = Bed::new(IORING_SETUP_CQE_MIXED);
    const COUNT: u64 = 20;
    for user_data in 0..COUNT {
        // SAFETY: NOPs name no memory.
        unsafe { bed.engine.submission().push(&big_nop(user_data).to_entry()) }.expect("room");
        bed.engine.submit(Instant::ZERO, 1);
    }
    let mut seen = Vec::new();
    loop {
        let completions = big_completions(&bed);
        if completions.is_empty() {
            break;
        }
        seen.extend(completions);
        bed.engine.flush_overflow();
    }
    let expected: Vec<_> = (0..COUNT)
        .map(|user_data| {
            (
                user_data,
                0,
                IORING_CQE_F_32,
                [user_data + 100, user_data + 200],
            )
        })
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_small_ring_refuses_a_big_completion() {
    let mut bed = Bed::new(0);
    let completions = bed.run(big_nop(1).to_entry());
    assert_eq!(completions, [(1, -libc::EINVAL, 0)]);
}

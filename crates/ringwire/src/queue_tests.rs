use super::*;
use io_uring::opcode;
use squeue::EntryMarker;

const MIXED: u32 = IORING_SETUP_SQE_MIXED | IORING_SETUP_CQE_MIXED;

fn nop(user_data: u64) -> squeue::Entry {
    opcode::Nop::new().build().user_data(user_data)
}

fn push<E: EntryMarker>(memory: &QueueMemory, entry: E) -> Result<(), PushError> {
    // SAFETY: a NOP names no memory.
    unsafe { SubmissionQueue::new(memory).push(&entry) }
}

/// A NOP of 128 bytes, with or without a link.
fn nop128(user_data: u64, flags: u8) -> squeue::Entry128 {
    let sqe = Sqe {
        opcode: IORING_OP_NOP128,
        flags,
        user_data,
        ..Sqe::default()
    };
    sqe.to_entry().into()
}

fn take(memory: &QueueMemory) -> Option<(u64, bool, u32)> {
    let taken = memory.take_sqe(u32::MAX)?;
    Some((taken.sqe.user_data, taken.wide, taken.slots))
}

fn completion(user_data: u64, flags: u32) -> Completion {
    Completion {
        user_data,
        res: user_data as i32 * 10,
        flags,
        extra: [user_data + 100, user_data + 200],
    }
}

#[test]
fn entries_are_seen_when_the_queue_is_dropped_or_synced() {
    let memory = QueueMemory::new(4, 4, 0);
    let mut queue = SubmissionQueue::new(&memory);
    // SAFETY: a NOP names no memory.
    unsafe { queue.push(&nop(1)).unwrap() };
    assert_eq!(memory.sq_ready(), 0);
    queue.sync();
    assert_eq!(memory.sq_ready(), 1);
    // SAFETY: as above.
    unsafe { queue.push(&nop(2)).unwrap() };
    drop(queue);
    assert_eq!(take(&memory), Some((1, false, 1)));
    assert_eq!(take(&memory), Some((2, false, 1)));
    assert_eq!(take(&memory), None);
}

#[test]
fn a_full_submission_queue_refuses_until_entries_are_taken() {
    let memory = QueueMemory::new(2, 2, 0);
    push(&memory, nop(1)).unwrap();
    push(&memory, nop(2)).unwrap();
    assert_eq!(push(&memory, nop(3)), Err(PushError));
    assert_eq!(take(&memory), Some((1, false, 1)));
    push(&memory, nop(3)).unwrap();
    assert_eq!(memory.sq_ready(), 2);
}

#[test]
fn several_entries_are_queued_together_or_not_at_all() {
    let memory = QueueMemory::new(2, 2, 0);
    push(&memory, nop(1)).unwrap();
    // SAFETY: a NOP names no memory.
    let refused = unsafe { SubmissionQueue::new(&memory).push_multiple(&[nop(2), nop(3)]) };
    assert_eq!(refused, Err(PushError));
    assert_eq!(memory.sq_ready(), 1);
    push(&memory, nop(4)).unwrap();
    assert_eq!(take(&memory), Some((1, false, 1)));
    assert_eq!(take(&memory), Some((4, false, 1)));
}

#[test]
fn a_full_completion_queue_overwrites_nothing() {
    let memory = QueueMemory::new(2, 2, 0);
    assert!(memory.post_cqe(&completion(1, 0)) && memory.post_cqe(&completion(2, 0)));
    assert!(!memory.post_cqe(&completion(3, 0)));
    let mut queue = CompletionQueue::<cqueue::Entry>::new(&memory);
    assert_eq!(
        queue.next().map(|cqe| (cqe.user_data(), cqe.result())),
        Some((1, 10))
    );
    assert!(
        !memory.post_cqe(&completion(3, 0)),
        "taken is not given back yet"
    );
    queue.sync();
    assert!(memory.post_cqe(&completion(3, 0)));
    queue.sync();
    let mut room = [const { MaybeUninit::uninit() }; 4];
    let rest: Vec<u64> = queue
        .fill(&mut room)
        .iter()
        .map(cqueue::Entry::user_data)
        .collect();
    assert_eq!(rest, [2, 3]);
}

#[test]
fn filling_takes_no_more_than_there_is_room_for() {
    let memory = QueueMemory::new(4, 4, 0);
    for user_data in 1..=3 {
        assert!(memory.post_cqe(&completion(user_data, 0)));
    }
    let mut queue = CompletionQueue::<cqueue::Entry>::new(&memory);
    let mut room = [const { MaybeUninit::uninit() }; 2];
    assert_eq!(queue.fill(&mut room).len(), 2);
    assert_eq!(queue.next().map(|cqe| cqe.user_data()), Some(3));
}

#[test]
fn entries_of_128_bytes_lie_side_by_side() {
    let memory = QueueMemory::new(2, 2, IORING_SETUP_SQE128);
    for user_data in 1..=5 {
        push::<squeue::Entry128>(&memory, nop(user_data).into()).unwrap();
        assert_eq!(take(&memory), Some((user_data, true, 1)));
    }
    push(&memory, nop128(6, 0)).unwrap();
    push(&memory, nop128(7, 0)).unwrap();
    assert_eq!(push(&memory, nop128(8, 0)), Err(PushError));
    assert_eq!(take(&memory), Some((6, true, 1)));
}

#[test]
fn completions_of_32_bytes_carry_their_second_half() {
    let memory = QueueMemory::new(2, 2, IORING_SETUP_CQE32);
    let mut queue = CompletionQueue::<cqueue::Entry32>::new(&memory);
    for user_data in 1..=5 {
        assert!(memory.post_cqe(&completion(user_data, 0)));
        queue.sync();
        let cqe = queue.next().unwrap();
        assert_eq!(cqe.user_data(), user_data);
        assert_eq!(cqe.big_cqe(), &[user_data + 100, user_data + 200]);
    }
}

#[test]
fn a_mixed_submission_queue_gives_two_slots_to_wide_operations_only() {
    let memory = QueueMemory::new(4, 4, MIXED);
    push::<squeue::Entry128>(&memory, nop(1).into()).unwrap();
    push(&memory, nop128(2, 0)).unwrap();
    assert_eq!(memory.sq_ready(), 3);
    assert_eq!(push(&memory, nop128(3, 0)), Err(PushError), "one slot left");
    assert_eq!(take(&memory), Some((1, false, 1)));
    assert_eq!(take(&memory), Some((2, true, 2)));
}

#[test]
fn a_wide_entry_never_lies_across_the_end_of_the_queue() {
    let memory = QueueMemory::new(4, 4, MIXED);
    for user_data in 1..=3 {
        push::<squeue::Entry128>(&memory, nop(user_data).into()).unwrap();
        take(&memory).unwrap();
    }
    push(&memory, nop128(4, 0)).unwrap();
    let filler = memory.take_sqe(u32::MAX).unwrap();
    assert_eq!(filler.sqe.opcode, IORING_OP_NOP);
    assert_eq!(filler.sqe.flags, IOSQE_CQE_SKIP_SUCCESS);
    assert_eq!(take(&memory), Some((4, true, 2)));
}

#[test]
fn a_chain_goes_on_through_the_filler() {
    let memory = QueueMemory::new(4, 4, MIXED);
    push(&memory, nop128(1, 0)).unwrap();
    take(&memory).unwrap();
    let linked = nop(2).flags(squeue::Flags::IO_LINK);
    push::<squeue::Entry128>(&memory, linked.into()).unwrap();
    push(&memory, nop128(3, 0)).unwrap();
    take(&memory).unwrap();
    let filler = memory.take_sqe(u32::MAX).unwrap();
    assert_eq!(filler.sqe.flags, IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_LINK);
}

#[test]
fn a_wide_entry_is_not_wide_where_it_may_not_be_taken_whole() {
    let memory = QueueMemory::new(4, 4, MIXED);
    push(&memory, nop128(1, 0)).unwrap();
    let taken = memory.take_sqe(1).unwrap();
    assert_eq!((taken.wide, taken.slots), (false, 1));
}

#[test]
fn a_mixed_completion_queue_fills_a_slot_that_is_too_small() {
    let memory = QueueMemory::new(4, 4, MIXED);
    let mut queue = CompletionQueue::<cqueue::Entry32>::new(&memory);
    assert!(memory.post_cqe(&completion(1, 0)));
    assert!(memory.post_cqe(&completion(2, IORING_CQE_F_32)));
    assert_eq!(memory.cq_ready(), 3);
    // The last slot is filled though there is no room behind it, as in the kernel.
    assert!(!memory.post_cqe(&completion(3, IORING_CQE_F_32)));
    assert_eq!(memory.cq_ready(), 4);
    queue.sync();
    assert!(queue.is_full());
    assert_eq!(queue.len(), 2, "the filler is no entry");
    let first = queue.next().unwrap();
    assert_eq!((first.user_data(), first.big_cqe()), (1, &[0, 0]));
    let second = queue.next().unwrap();
    assert_eq!((second.user_data(), second.big_cqe()), (2, &[102, 202]));
    assert_eq!(queue.len(), 0);
    assert!(queue.next().is_none());
    queue.sync();
    assert!(memory.post_cqe(&completion(3, IORING_CQE_F_32)));
    queue.sync();
    assert_eq!(queue.next().map(|cqe| cqe.user_data()), Some(3));
}

#[test]
#[should_panic(expected = "entries of another size")]
fn entries_of_another_size_are_not_read() {
    let memory = QueueMemory::new(2, 2, IORING_SETUP_CQE32);
    CompletionQueue::<cqueue::Entry>::new(&memory);
}

#[test]
fn a_ring_can_be_moved_to_another_thread_and_shared() {
    fn check<T: Send + Sync>() {}
    check::<crate::IoUring>();
    check::<crate::IoUring<squeue::Entry128, cqueue::Entry32>>();
}

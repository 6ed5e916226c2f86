use super::*;
use io_uring::opcode;

fn push(memory: &QueueMemory, user_data: u64) -> Result<(), PushError> {
    // SAFETY: a NOP names no memory.
    unsafe { SubmissionQueue::new(memory).push(&opcode::Nop::new().build().user_data(user_data)) }
}

#[test]
fn entries_are_seen_when_the_queue_is_dropped_or_synced() {
    let memory = QueueMemory::new(4, 4);
    let mut queue = SubmissionQueue::new(&memory);
    // SAFETY: a NOP names no memory.
    unsafe {
        queue
            .push(&opcode::Nop::new().build().user_data(1))
            .unwrap()
    };
    assert_eq!(memory.sq_ready(), 0);
    queue.sync();
    assert_eq!(memory.sq_ready(), 1);
    // SAFETY: as above.
    unsafe {
        queue
            .push(&opcode::Nop::new().build().user_data(2))
            .unwrap()
    };
    drop(queue);
    let taken: Vec<u64> = std::iter::from_fn(|| memory.take_sqe())
        .map(|sqe| sqe.user_data)
        .collect();
    assert_eq!(taken, [1, 2]);
}

#[test]
fn a_full_submission_queue_refuses_until_entries_are_taken() {
    let memory = QueueMemory::new(2, 2);
    push(&memory, 1).unwrap();
    push(&memory, 2).unwrap();
    assert_eq!(push(&memory, 3), Err(PushError));
    assert_eq!(memory.take_sqe().unwrap().user_data, 1);
    push(&memory, 3).unwrap();
    let entries = [opcode::Nop::new().build(), opcode::Nop::new().build()];
    // SAFETY: a NOP names no memory.
    let refused = unsafe { SubmissionQueue::new(&memory).push_multiple(&entries) };
    assert_eq!(refused, Err(PushError));
    assert_eq!(memory.sq_ready(), 2, "all or none");
}

#[test]
fn a_full_completion_queue_overwrites_nothing() {
    let memory = QueueMemory::new(2, 2);
    assert!(memory.post_cqe(1, 10, 0) && memory.post_cqe(2, 20, 0));
    assert!(!memory.post_cqe(3, 30, 0));
    let mut queue = CompletionQueue::new(&memory);
    assert_eq!(
        queue.next().map(|cqe| (cqe.user_data(), cqe.result())),
        Some((1, 10))
    );
    assert!(!memory.post_cqe(3, 30, 0), "taken is not given back yet");
    queue.sync();
    assert!(memory.post_cqe(3, 30, 0));
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
fn a_ring_can_be_moved_to_another_thread_and_shared() {
    fn check<T: Send + Sync>() {}
    check::<crate::IoUring>();
}

//! The submission and completion queues: memory shared by the application's side and the engine's.
//!
//! As in the kernel's ring, head and tail are free-running counters; the side that advances one
//! stores it with release, the other loads it with acquire.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use io_uring::{cqueue, squeue};
use ringwire_abi::flags::{IORING_SQ_CQ_OVERFLOW, IORING_SQ_NEED_WAKEUP, IORING_SQ_TASKRUN};
use ringwire_abi::sqe::Sqe;

/// Both queues of a ring.
pub(crate) struct QueueMemory {
    sq_head: AtomicU32,
    sq_tail: AtomicU32,
    sq_flags: AtomicU32,
    sqes: Box<[UnsafeCell<squeue::Entry>]>,
    cq_head: AtomicU32,
    cq_tail: AtomicU32,
    cqes: Box<[UnsafeCell<MaybeUninit<cqueue::Entry>>]>,
}

// SAFETY: a slot of `sqes` is written by the one application side (`SubmissionQueue`, made from an
// exclusive borrow of the ring) while it is outside head..tail, and read by the one engine side while
// it is inside; the release store and acquire load of `sq_tail` and `sq_head` order the two. `cqes`
// likewise, with the roles exchanged.
unsafe impl Sync for QueueMemory {}
// SAFETY: entries are plain data; no slot is tied to a thread.
unsafe impl Send for QueueMemory {}

impl QueueMemory {
    /// Queues of these sizes, which are powers of two (`ringwire_abi::setup::ring_sizes`).
    pub(crate) fn new(sq_entries: u32, cq_entries: u32) -> QueueMemory {
        assert!(
            sq_entries.is_power_of_two() && cq_entries.is_power_of_two(),
            "queue sizes are powers of two"
        );
        let empty = Sqe::default().to_entry();
        QueueMemory {
            sq_head: AtomicU32::new(0),
            sq_tail: AtomicU32::new(0),
            sq_flags: AtomicU32::new(0),
            sqes: (0..sq_entries)
                .map(|_| UnsafeCell::new(empty.clone()))
                .collect(),
            cq_head: AtomicU32::new(0),
            cq_tail: AtomicU32::new(0),
            cqes: (0..cq_entries)
                .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
                .collect(),
        }
    }

    /// Entries submitted and not yet taken by the engine.
    pub(crate) fn sq_ready(&self) -> u32 {
        let tail = self.sq_tail.load(Ordering::Acquire);
        tail.wrapping_sub(self.sq_head.load(Ordering::Relaxed))
            .min(self.sqes.len() as u32)
    }

    /// Takes the next submission. Engine side only.
    pub(crate) fn take_sqe(&self) -> Option<Sqe> {
        if self.sq_ready() == 0 {
            return None;
        }
        let head = self.sq_head.load(Ordering::Relaxed);
        let slot = &self.sqes[head as usize & (self.sqes.len() - 1)];
        // SAFETY: the slot lies in head..tail (sq_ready), so the application does not write it.
        let sqe = Sqe::from_entry(unsafe { &*slot.get() });
        self.sq_head.store(head.wrapping_add(1), Ordering::Release);
        Some(sqe)
    }

    /// Completions posted and not yet taken by the application.
    pub(crate) fn cq_ready(&self) -> u32 {
        let head = self.cq_head.load(Ordering::Acquire);
        self.cq_tail.load(Ordering::Relaxed).wrapping_sub(head)
    }

    pub(crate) fn cq_entries(&self) -> u32 {
        self.cqes.len() as u32
    }

    /// Posts a completion; `false` when the queue is full. Engine side only.
    pub(crate) fn post_cqe(&self, user_data: u64, res: i32, flags: u32) -> bool {
        // A head that the application advanced too far reads as a full queue: nothing is overwritten.
        if self.cq_ready() >= self.cq_entries() {
            return false;
        }
        let tail = self.cq_tail.load(Ordering::Relaxed);
        let slot = &self.cqes[tail as usize & (self.cqes.len() - 1)];
        // SAFETY: the slot lies outside head..tail, so the application does not read it.
        unsafe { (*slot.get()).write(ringwire_abi::cqe::cqe(user_data, res, flags)) };
        self.cq_tail.store(tail.wrapping_add(1), Ordering::Release);
        true
    }

    pub(crate) fn set_overflow(&self, overflow: bool) {
        if overflow {
            self.sq_flags
                .fetch_or(IORING_SQ_CQ_OVERFLOW, Ordering::Release);
        } else {
            self.sq_flags
                .fetch_and(!IORING_SQ_CQ_OVERFLOW, Ordering::Release);
        }
    }

    pub(crate) fn overflowed(&self) -> bool {
        self.sq_flags.load(Ordering::Acquire) & IORING_SQ_CQ_OVERFLOW != 0
    }
}

impl fmt::Debug for QueueMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueMemory")
            .field("sq_ready", &self.sq_ready())
            .field("cq_ready", &self.cq_ready())
            .finish_non_exhaustive()
    }
}

/// The submission queue is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushError;

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("submission queue is full")
    }
}

impl std::error::Error for PushError {}

/// The application's side of the submission queue. What was pushed becomes visible to the engine
/// when this is dropped or [`sync`](Self::sync)ed.
#[derive(Debug)]
pub struct SubmissionQueue<'a> {
    head: u32,
    tail: u32,
    memory: &'a QueueMemory,
}

impl<'a> SubmissionQueue<'a> {
    /// `memory` must have no other `SubmissionQueue`: callers hold an exclusive borrow of the ring.
    pub(crate) fn new(memory: &'a QueueMemory) -> Self {
        let head = memory.sq_head.load(Ordering::Acquire);
        SubmissionQueue {
            head,
            tail: memory.sq_tail.load(Ordering::Relaxed),
            memory,
        }
    }

    /// Publishes what was pushed, and sees what the engine has taken.
    pub fn sync(&mut self) {
        self.memory.sq_tail.store(self.tail, Ordering::Release);
        self.head = self.memory.sq_head.load(Ordering::Acquire);
    }

    /// Whether the polling thread sleeps. There is none in inline mode, so this is `false`.
    pub fn need_wakeup(&self) -> bool {
        fence(Ordering::SeqCst);
        self.memory.sq_flags.load(Ordering::Relaxed) & IORING_SQ_NEED_WAKEUP != 0
    }

    /// Entries dropped because they could not be read: none, ever.
    pub fn dropped(&self) -> u32 {
        0
    }

    /// Whether completions wait in the overflow list for room in the queue.
    pub fn cq_overflow(&self) -> bool {
        self.memory.overflowed()
    }

    /// Whether work is pending that only an enter runs (`IORING_SETUP_TASKRUN_FLAG`).
    pub fn taskrun(&self) -> bool {
        self.memory.sq_flags.load(Ordering::Acquire) & IORING_SQ_TASKRUN != 0
    }

    /// Entries that the queue can hold.
    pub fn capacity(&self) -> usize {
        self.memory.sqes.len()
    }

    /// Entries pushed and not yet taken.
    pub fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// Queues an entry.
    ///
    /// # Errors
    /// [`PushError`] when the queue is full.
    ///
    /// # Safety
    /// The memory that the entry names must be valid for the whole operation, as with the kernel.
    pub unsafe fn push(&mut self, entry: &squeue::Entry) -> Result<(), PushError> {
        if self.is_full() {
            return Err(PushError);
        }
        let slot = &self.memory.sqes[self.tail as usize & (self.memory.sqes.len() - 1)];
        // SAFETY: the slot lies outside head..tail, so the engine does not read it.
        unsafe { *slot.get() = entry.clone() };
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// Queues all entries or none.
    ///
    /// # Errors
    /// [`PushError`] when there is not room for all.
    ///
    /// # Safety
    /// As for [`push`](Self::push).
    pub unsafe fn push_multiple(&mut self, entries: &[squeue::Entry]) -> Result<(), PushError> {
        if self.capacity() - self.len() < entries.len() {
            return Err(PushError);
        }
        for entry in entries {
            // SAFETY: the caller's promise is push's.
            unsafe { self.push(entry)? };
        }
        Ok(())
    }
}

impl Drop for SubmissionQueue<'_> {
    fn drop(&mut self) {
        self.memory.sq_tail.store(self.tail, Ordering::Release);
    }
}

/// The application's side of the completion queue: an iterator over what has completed. What was
/// taken makes room for the engine when this is dropped or [`sync`](Self::sync)ed.
#[derive(Debug)]
pub struct CompletionQueue<'a> {
    head: u32,
    tail: u32,
    memory: &'a QueueMemory,
}

impl<'a> CompletionQueue<'a> {
    /// `memory` must have no other `CompletionQueue`: callers hold an exclusive borrow of the ring.
    pub(crate) fn new(memory: &'a QueueMemory) -> Self {
        let tail = memory.cq_tail.load(Ordering::Acquire);
        CompletionQueue {
            head: memory.cq_head.load(Ordering::Relaxed),
            tail,
            memory,
        }
    }

    /// Gives back what was taken, and sees what has been posted since.
    pub fn sync(&mut self) {
        self.memory.cq_head.store(self.head, Ordering::Release);
        self.tail = self.memory.cq_tail.load(Ordering::Acquire);
    }

    /// Completions lost because there was no room: none, ever (`IORING_FEAT_NODROP`).
    pub fn overflow(&self) -> u32 {
        0
    }

    /// Entries that the queue can hold.
    pub fn capacity(&self) -> usize {
        self.memory.cqes.len()
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the queue is full.
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// Takes as many completions as there are, and as fit into `entries`.
    pub fn fill<'b>(
        &mut self,
        entries: &'b mut [MaybeUninit<cqueue::Entry>],
    ) -> &'b mut [cqueue::Entry] {
        let len = self.len().min(entries.len());
        let entries = &mut entries[..len];
        for entry in entries.iter_mut() {
            entry.write(self.next().expect("the length was checked"));
        }
        // SAFETY: every element of the slice has just been written.
        unsafe { &mut *(entries as *mut [MaybeUninit<cqueue::Entry>] as *mut [cqueue::Entry]) }
    }
}

impl Iterator for CompletionQueue<'_> {
    type Item = cqueue::Entry;

    fn next(&mut self) -> Option<cqueue::Entry> {
        if self.head == self.tail {
            return None;
        }
        let slot = &self.memory.cqes[self.head as usize & (self.memory.cqes.len() - 1)];
        // SAFETY: the slot lies in head..tail: the engine has written it and does not touch it.
        let entry = unsafe { (*slot.get()).assume_init_ref().clone() };
        self.head = self.head.wrapping_add(1);
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for CompletionQueue<'_> {
    fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }
}

impl Drop for CompletionQueue<'_> {
    fn drop(&mut self) {
        self.memory.cq_head.store(self.head, Ordering::Release);
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

//! The submission and completion queues: memory shared by the application's side and the engine's.
//!
//! As in the kernel's ring, head and tail are free-running counters; the side that advances one
//! stores it with release, the other loads it with acquire. A queue is an array of slots of 64
//! (submission) and 16 bytes (completion). A larger entry takes two slots that lie side by side: every
//! entry of a queue does (`SQE128`, `CQE32`, where the counters count entries), or some do (`SQE_MIXED`,
//! `CQE_MIXED`, where the counters count slots and an entry never lies across the end of the array).

mod flags;

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use io_uring::{cqueue, squeue};
use ringwire_abi::cqe;
use ringwire_abi::flags::*;
use ringwire_abi::sqe::Sqe;
use ringwire_xsk::sync::{AtomicBool, AtomicU8, AtomicU32, Ordering, Watch, fence};

/// A completion, on its way to the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// As in the submission.
    pub user_data: u64,
    /// The result, or a negated error.
    pub res: i32,
    /// `IORING_CQE_F_*`.
    pub flags: u32,
    /// The second half of a 32-byte entry (`big_cqe`). Other entries have no place for it.
    pub extra: [u64; 2],
}

/// A submission, out of the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submission {
    pub(crate) sqe: Sqe,
    /// It is an entry of 128 bytes.
    pub(crate) wide: bool,
    /// By how much it has advanced the queue.
    pub(crate) slots: u32,
}

/// Both queues of a ring.
pub(crate) struct QueueMemory {
    sq_head: AtomicU32,
    sq_tail: AtomicU32,
    sq_flags: AtomicU32,
    sq_entries: u32,
    sqes: Box<[UnsafeCell<[u64; 8]>]>,
    sqes_watch: Watch,
    /// The link flags of the entry pushed last. The application's side only.
    sq_link: AtomicU8,
    cq_head: AtomicU32,
    cq_tail: AtomicU32,
    cq_flags: AtomicU32,
    cq_entries: u32,
    cqes: Box<[UnsafeCell<[u64; 2]>]>,
    cqes_watch: Watch,
    setup_flags: u32,
    /// Timeouts that have come to their end by themselves.
    timed_out: AtomicU32,
    /// The ring takes submissions: not yet, after `IORING_SETUP_R_DISABLED`.
    enabled: AtomicBool,
}

// SAFETY: a slot of `sqes` is written by the one application side (`SubmissionQueue`, made from an
// exclusive borrow of the ring, or by a caller's promise that there is one only) while it is outside head..tail, and read by the one engine side while
// it is inside; the release store and acquire load of `sq_tail` and `sq_head` order the two. `cqes`
// likewise, with the roles exchanged.
unsafe impl Sync for QueueMemory {}
// SAFETY: entries are plain data; no slot is tied to a thread.
unsafe impl Send for QueueMemory {}

impl QueueMemory {
    /// Queues of these sizes, which are powers of two (`ringwire_abi::setup::ring_sizes`), for
    /// entries as these set-up flags have them.
    pub(crate) fn new(sq_entries: u32, cq_entries: u32, setup_flags: u32) -> QueueMemory {
        assert!(
            sq_entries.is_power_of_two() && cq_entries.is_power_of_two(),
            "queue sizes are powers of two"
        );
        let has = |flag| usize::from(setup_flags & flag != 0);
        let sq_slots = (sq_entries as usize) << has(IORING_SETUP_SQE128);
        let cq_slots = (cq_entries as usize) << has(IORING_SETUP_CQE32);
        QueueMemory {
            sq_head: AtomicU32::new(0),
            sq_tail: AtomicU32::new(0),
            sq_flags: AtomicU32::new(0),
            sq_entries,
            sqes: (0..sq_slots).map(|_| UnsafeCell::new([0; 8])).collect(),
            sqes_watch: Watch::new(sq_slots),
            sq_link: AtomicU8::new(0),
            cq_head: AtomicU32::new(0),
            cq_tail: AtomicU32::new(0),
            cq_flags: AtomicU32::new(0),
            cq_entries,
            cqes: (0..cq_slots).map(|_| UnsafeCell::new([0; 2])).collect(),
            cqes_watch: Watch::new(cq_slots),
            setup_flags,
            timed_out: AtomicU32::new(0),
            enabled: AtomicBool::new(setup_flags & IORING_SETUP_R_DISABLED == 0),
        }
    }

    fn has(&self, setup_flag: u32) -> bool {
        self.setup_flags & setup_flag != 0
    }

    /// The first slot of the submission at this count, from where its entry is in bounds.
    fn sqe_slot(&self, at: u32) -> *mut [u64; 8] {
        UnsafeCell::raw_get(self.sqes[self.sqe_index(at)..].as_ptr())
    }

    fn sqe_index(&self, at: u32) -> usize {
        ((at & (self.sq_entries - 1)) as usize) << u32::from(self.has(IORING_SETUP_SQE128))
    }

    /// The first slot of the completion at this count, from where its entry is in bounds.
    fn cqe_slot(&self, at: u32) -> *mut [u64; 2] {
        UnsafeCell::raw_get(self.cqes[self.cqe_index(at)..].as_ptr())
    }

    fn cqe_index(&self, at: u32) -> usize {
        ((at & (self.cq_entries - 1)) as usize) << u32::from(self.has(IORING_SETUP_CQE32))
    }

    /// Whether an entry that begins at this count would lie across the end of the array.
    fn is_last(at: u32, entries: u32) -> bool {
        (at.wrapping_add(1)) & (entries - 1) == 0
    }

    /// Entries submitted and not yet taken by the engine.
    pub(crate) fn sq_ready(&self) -> u32 {
        let head = self.sq_head.load(Ordering::Acquire);
        let tail = self.sq_tail.load(Ordering::Acquire);
        tail.wrapping_sub(head).min(self.sq_entries)
    }

    pub(crate) fn sq_entries(&self) -> u32 {
        self.sq_entries
    }

    /// Takes the next submission, if `left` slots at most may be taken. Engine side only.
    pub(crate) fn take_sqe(&self, left: u32) -> Option<Submission> {
        let ready = self.sq_ready().min(left);
        if ready == 0 {
            return None;
        }
        let head = self.sq_head.load(Ordering::Relaxed);
        self.sqes_watch.read(self.sqe_index(head), 1);
        // SAFETY: the slot lies in head..tail (sq_ready), so the application does not write it.
        let words = unsafe { *self.sqe_slot(head) };
        // Not of the entry: that would be taken apart there and moved in words that straddle what was stored.
        let [opcode, ..] = words[0].to_ne_bytes();
        let two_slots = self.has(IORING_SETUP_SQE_MIXED)
            && is_wide(opcode)
            && ready >= 2
            && !Self::is_last(head, self.sq_entries);
        let slots = 1 + u32::from(two_slots);
        self.sq_head
            .store(head.wrapping_add(slots), Ordering::Release);
        Some(Submission {
            sqe: Sqe::from_words(words),
            wide: two_slots || self.has(IORING_SETUP_SQE128),
            slots,
        })
    }

    /// Completions posted so far. In a mixed queue, their slots.
    pub(crate) fn cq_tail(&self) -> u32 {
        self.cq_tail.load(Ordering::Relaxed)
    }

    /// Completions posted and not yet taken by the application. In a mixed queue, their slots.
    pub(crate) fn cq_ready(&self) -> u32 {
        let head = self.cq_head.load(Ordering::Acquire);
        self.cq_tail.load(Ordering::Relaxed).wrapping_sub(head)
    }

    pub(crate) fn cq_entries(&self) -> u32 {
        self.cq_entries
    }

    /// Posts a completion; `false` when there is no room. Engine side only. In a mixed queue a last
    /// slot that is too small is filled up with an entry to skip (Linux `io_cqe_cache_refill`).
    pub(crate) fn post_cqe(&self, completion: &Completion) -> bool {
        let mixed = self.has(IORING_SETUP_CQE_MIXED);
        let two_slots = mixed && completion.flags & IORING_CQE_F_32 != 0;
        let tail = self.cq_tail.load(Ordering::Relaxed);
        if two_slots && Self::is_last(tail, self.cq_entries) {
            let filler = Completion {
                flags: IORING_CQE_F_SKIP,
                ..Completion::default()
            };
            if !self.put_cqe(&filler, 1, false) {
                return false;
            }
        }
        let big = two_slots || self.has(IORING_SETUP_CQE32);
        self.put_cqe(completion, 1 + u32::from(two_slots), big)
    }

    /// Whether a completion of 32 bytes finds room, in a ring that has them.
    pub(crate) fn has_room_for_big(&self) -> bool {
        let tail = self.cq_tail.load(Ordering::Relaxed);
        let slots = match self.has(IORING_SETUP_CQE_MIXED) {
            true => 2 + u32::from(Self::is_last(tail, self.cq_entries)),
            false => 1,
        };
        self.cq_ready().saturating_add(slots) <= self.cq_entries
    }

    fn put_cqe(&self, completion: &Completion, slots: u32, big: bool) -> bool {
        // A head that the application advanced too far reads as a full queue: nothing is overwritten.
        if self.cq_ready().saturating_add(slots) > self.cq_entries {
            return false;
        }
        let tail = self.cq_tail.load(Ordering::Relaxed);
        let slot = self.cqe_slot(tail);
        let words = cqe::words(completion.user_data, completion.res, completion.flags);
        self.cqes_watch
            .write(self.cqe_index(tail), 1 + usize::from(big));
        // SAFETY: the entry's slots lie outside head..tail, so the application does not read them. A
        // big one has a second slot: each entry of a CQE32 queue does, and in a mixed queue `post_cqe`
        // begins none in the last slot.
        unsafe {
            *slot = words;
            if big {
                *slot.add(1) = completion.extra;
            }
        }
        self.cq_tail
            .store(tail.wrapping_add(slots), Ordering::Release);
        true
    }
}

/// Operations whose entries have 128 bytes.
fn is_wide(opcode: u8) -> bool {
    matches!(opcode, IORING_OP_NOP128 | IORING_OP_URING_CMD128)
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
#[non_exhaustive]
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
pub struct SubmissionQueue<'a, E: squeue::EntryMarker = squeue::Entry> {
    head: u32,
    tail: u32,
    memory: &'a QueueMemory,
    entries: PhantomData<E>,
}

impl<'a, E: squeue::EntryMarker> SubmissionQueue<'a, E> {
    /// `memory` must have no other `SubmissionQueue`: callers hold an exclusive borrow of the ring,
    /// or have promised it.
    pub(crate) fn new(memory: &'a QueueMemory) -> Self {
        let wide = memory.has(IORING_SETUP_SQE128 | IORING_SETUP_SQE_MIXED);
        assert_eq!(
            size_of::<E>(),
            64 << u32::from(wide),
            "the ring was set up for entries of another size"
        );
        let head = memory.sq_head.load(Ordering::Acquire);
        SubmissionQueue {
            head,
            tail: memory.sq_tail.load(Ordering::Relaxed),
            memory,
            entries: PhantomData,
        }
    }

    /// Publishes what was pushed, and sees what the engine has taken.
    pub fn sync(&mut self) {
        self.memory.sq_tail.store(self.tail, Ordering::Release);
        self.head = self.memory.sq_head.load(Ordering::Acquire);
    }

    /// Whether the polling thread sleeps, and an enter must wake it. `false` without
    /// `setup_sqpoll`.
    ///
    /// `false` means something only if asked after the last [`sync`](Self::sync).
    pub fn need_wakeup(&self) -> bool {
        fence(Ordering::SeqCst);
        self.need_wakeup_after_intermittent_seqcst()
    }

    /// As [`need_wakeup`](Self::need_wakeup), for callers that have had a `SeqCst` fence since the
    /// last [`sync`](Self::sync).
    pub fn need_wakeup_after_intermittent_seqcst(&self) -> bool {
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
        self.memory.sq_flags() & IORING_SQ_TASKRUN != 0
    }

    /// Entries that the queue can hold; of 64 bytes in a mixed queue.
    pub fn capacity(&self) -> usize {
        self.memory.sq_entries as usize
    }

    /// Entries pushed and not yet taken. In a mixed queue one of 128 bytes counts twice.
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

    /// Queues an entry. In a mixed queue only those of the operations with 128 bytes take as much.
    ///
    /// # Errors
    /// [`PushError`] when there is not room for it.
    ///
    /// # Safety
    /// The memory that the entry names must be valid for the whole operation, as with the kernel
    /// (`docs/SAFETY.md`). A message (MSG_RING) to a ring of [`owned`](crate::owned) must have a
    /// `user_data` that [`owned::Ring::push`](crate::owned::Ring::push) allows.
    pub unsafe fn push(&mut self, entry: &E) -> Result<(), PushError> {
        // SAFETY: `E` is at least as large as an `Sqe`, and as aligned: the trait is sealed, and its
        // implementors are `Entry` and `Entry128`, made of integers alone.
        let sqe = unsafe { &*std::ptr::from_ref(entry).cast::<Sqe>() };
        let mixed = self.memory.has(IORING_SETUP_SQE_MIXED);
        let two_slots = mixed && is_wide(sqe.opcode);
        let fill = two_slots && QueueMemory::is_last(self.tail, self.memory.sq_entries);
        let needed = 1 + usize::from(two_slots) + usize::from(fill);
        if self.capacity() - self.len() < needed {
            return Err(PushError);
        }
        if fill {
            self.put(&self.filler().to_entry(), 1);
        }
        match mixed {
            false => self.put(entry, 1),
            true if two_slots => self.put(entry, 2),
            true => self.put(&sqe.to_entry(), 1),
        }
        let links = sqe.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK);
        self.memory.sq_link.store(links, Ordering::Relaxed);
        Ok(())
    }

    /// What stands in a last slot that is too small: a silent NOP, which a chain goes on through.
    fn filler(&self) -> Sqe {
        Sqe {
            opcode: IORING_OP_NOP,
            flags: IOSQE_CQE_SKIP_SUCCESS | self.memory.sq_link.load(Ordering::Relaxed),
            ..Sqe::default()
        }
    }

    /// Writes an entry of `T`, for which there is room, at the tail.
    fn put<T: squeue::EntryMarker>(&mut self, entry: &T, slots: u32) {
        let slot = self.memory.sqe_slot(self.tail).cast::<T>();
        let (first, count) = (
            self.memory.sqe_index(self.tail),
            size_of::<T>() / size_of::<Sqe>(),
        );
        self.memory.sqes_watch.write(first, count);
        // SAFETY: the slots lie outside head..tail, so the engine does not read them. `T` fits: it is
        // one slot, or in a queue of such entries both slots of one (`new` compared the sizes), or two
        // slots of a mixed queue, which `push` begins in no last slot. A slot is aligned as entries are.
        unsafe { slot.write(entry.clone()) };
        self.tail = self.tail.wrapping_add(slots);
    }

    /// Queues all entries or none.
    ///
    /// # Errors
    /// [`PushError`] when there is not room for all.
    ///
    /// # Safety
    /// As for [`push`](Self::push).
    pub unsafe fn push_multiple(&mut self, entries: &[E]) -> Result<(), PushError> {
        let (tail, link) = (self.tail, self.memory.sq_link.load(Ordering::Relaxed));
        for entry in entries {
            // SAFETY: the caller's promise is push's.
            if let Err(full) = unsafe { self.push(entry) } {
                // What lies behind the tail is nobody's.
                self.tail = tail;
                self.memory.sq_link.store(link, Ordering::Relaxed);
                return Err(full);
            }
        }
        Ok(())
    }
}

impl<E: squeue::EntryMarker> Drop for SubmissionQueue<'_, E> {
    fn drop(&mut self) {
        self.memory.sq_tail.store(self.tail, Ordering::Release);
    }
}

/// The application's side of the completion queue: an iterator over what has completed. What was
/// taken makes room for the engine when this is dropped or [`sync`](Self::sync)ed.
///
/// In a mixed queue (`setup_cqe_mixed`) entries of 16 bytes have zeros for the rest, and those that
/// only fill a slot are left out; but the queue's room, and what a wait counts, are slots.
#[derive(Debug)]
pub struct CompletionQueue<'a, E: cqueue::EntryMarker = cqueue::Entry> {
    head: u32,
    tail: u32,
    memory: &'a QueueMemory,
    entries: PhantomData<E>,
}

impl<'a, E: cqueue::EntryMarker> CompletionQueue<'a, E> {
    /// `memory` must have no other `CompletionQueue`: callers hold an exclusive borrow of the ring,
    /// or have promised it.
    pub(crate) fn new(memory: &'a QueueMemory) -> Self {
        let big = memory.has(IORING_SETUP_CQE32 | IORING_SETUP_CQE_MIXED);
        assert_eq!(
            size_of::<E>(),
            16 << u32::from(big),
            "the ring was set up for entries of another size"
        );
        let tail = memory.cq_tail.load(Ordering::Acquire);
        CompletionQueue {
            head: memory.cq_head.load(Ordering::Relaxed),
            tail,
            memory,
            entries: PhantomData,
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

    /// Whether completions do not signal the registered eventfd.
    pub fn eventfd_disabled(&self) -> bool {
        self.memory.eventfd_disabled()
    }

    /// Stops completions from signalling the registered eventfd.
    pub fn disable_eventfd(&self) {
        self.memory
            .cq_flags
            .fetch_or(IORING_CQ_EVENTFD_DISABLED, Ordering::Release);
    }

    /// Lets completions signal the registered eventfd again.
    pub fn enable_eventfd(&self) {
        self.memory
            .cq_flags
            .fetch_and(!IORING_CQ_EVENTFD_DISABLED, Ordering::Release);
    }

    /// Entries that the queue can hold; of 16 bytes in a mixed queue.
    pub fn capacity(&self) -> usize {
        self.memory.cq_entries as usize
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the queue is full.
    pub fn is_full(&self) -> bool {
        self.tail.wrapping_sub(self.head) == self.memory.cq_entries
    }

    /// Takes as many completions as there are, and as fit into `entries`.
    pub fn fill<'b>(&mut self, entries: &'b mut [MaybeUninit<E>]) -> &'b mut [E] {
        let mut len = 0;
        for (room, entry) in entries.iter_mut().zip(&mut *self) {
            room.write(entry);
            len += 1;
        }
        let entries = &mut entries[..len];
        // SAFETY: these elements of the slice have just been written.
        unsafe { &mut *(entries as *mut [MaybeUninit<E>] as *mut [E]) }
    }

    /// The entry at the head of a mixed queue, and how many slots it takes. There is one.
    fn mixed(&self) -> ([u64; 4], u32) {
        let slot = self.memory.cqe_slot(self.head);
        let (watch, first) = (&self.memory.cqes_watch, self.memory.cqe_index(self.head));
        watch.read(first, 1);
        // SAFETY: the slot lies in head..tail: the engine has written it and does not touch it.
        let words = unsafe { *slot };
        if cqe::flags(words) & IORING_CQE_F_32 == 0 {
            return ([words[0], words[1], 0, 0], 1);
        }
        watch.read(first + 1, 1);
        // SAFETY: as above; the engine posts both slots at once, side by side.
        let extra = unsafe { *slot.add(1) };
        ([words[0], words[1], extra[0], extra[1]], 2)
    }
}

impl<E: cqueue::EntryMarker> Iterator for CompletionQueue<'_, E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        let mixed = self.memory.has(IORING_SETUP_CQE_MIXED);
        while self.head != self.tail {
            if !mixed {
                let slot = self.memory.cqe_slot(self.head).cast::<E>();
                let first = self.memory.cqe_index(self.head);
                let count = size_of::<E>() / size_of::<[u64; 2]>();
                self.memory.cqes_watch.read(first, count);
                self.head = self.head.wrapping_add(1);
                // SAFETY: the entry lies in head..tail: the engine has written it and does not touch
                // it. It has the size of `E` (`new` compared them), and is aligned so; `E` is made of
                // integers alone, for which every bit pattern is valid.
                return Some(unsafe { slot.read() });
            }
            let (words, slots) = self.mixed();
            self.head = self.head.wrapping_add(slots);
            if cqe::flags([words[0], words[1]]) & IORING_CQE_F_SKIP == 0 {
                return Some(cqe::entry(words));
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl<E: cqueue::EntryMarker> ExactSizeIterator for CompletionQueue<'_, E> {
    fn len(&self) -> usize {
        if !self.memory.has(IORING_SETUP_CQE_MIXED) {
            return self.tail.wrapping_sub(self.head) as usize;
        }
        // Slots are not entries: they are walked, on a copy that gives nothing back.
        let mut walk = std::mem::ManuallyDrop::new(CompletionQueue::<'_, E> {
            head: self.head,
            tail: self.tail,
            memory: self.memory,
            entries: PhantomData,
        });
        std::iter::from_fn(|| walk.next()).count()
    }
}

impl<E: cqueue::EntryMarker> Drop for CompletionQueue<'_, E> {
    fn drop(&mut self) {
        self.memory.cq_head.store(self.head, Ordering::Release);
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

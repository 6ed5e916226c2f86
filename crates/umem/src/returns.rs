//! What is lent of each RX chunk, and the chunks that came back: a count for each chunk, and a list without
//! locks, through which any thread gives back what the engine's thread takes.

use std::sync::OnceLock;

use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// No chunk: the end of the list.
const END: u32 = u32::MAX;

struct Chunk {
    /// Parts of it that are lent, and the stack's own hold while it lends more of it.
    lent: AtomicU32,
    /// The chunk behind it in the list.
    next: AtomicU32,
    /// Where what is lent begins in it: what lies in front of that is the stack's. 0: it has no such place.
    front: AtomicU32,
}

/// The list is a stack of chunks. A chunk gets into it when its last part comes back and out of it by the one
/// taker, who takes all at once: so it is in it once at most, and its `next` belongs to whoever puts it in.
pub(crate) struct Returns {
    chunks: Box<[Chunk]>,
    head: AtomicU32,
    /// The engine may sleep, and wants what comes back.
    wanted: AtomicBool,
    /// There is no ledger any more.
    closed: AtomicBool,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Returns {
    pub(crate) fn new(chunks: u32) -> Returns {
        let chunk = |_| Chunk {
            lent: AtomicU32::new(0),
            next: AtomicU32::new(END),
            front: AtomicU32::new(0),
        };
        Returns {
            chunks: (0..chunks).map(chunk).collect(),
            head: AtomicU32::new(END),
            wanted: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            wake: OnceLock::new(),
        }
    }

    pub(crate) fn set_wake(&self, wake: Box<dyn Fn() + Send + Sync>) {
        // A second one is of the same engine's.
        let _ = self.wake.set(wake);
    }

    /// Counts parts of a chunk as lent, which the caller has, or has another part of.
    #[inline]
    pub(crate) fn add(&self, chunk: u32, parts: u32) {
        let before = self.chunks[chunk as usize]
            .lent
            .fetch_add(parts, Ordering::Relaxed);
        // As of `Arc`: whoever leaks two billion parts does so on purpose.
        assert!(before < u32::MAX / 2, "returns: too many parts of a chunk");
    }

    /// Counts a part as back, if one is lent; says whether it was the last. What was done to the chunk's
    /// bytes before is over for who is told so.
    #[inline]
    pub(crate) fn subtract(&self, chunk: u32) -> Option<bool> {
        let lent = &self.chunks.get(chunk as usize)?.lent;
        let less = |lent: u32| lent.checked_sub(1);
        let before = lent.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less);
        before.ok().map(|before| before == 1)
    }

    /// Where what is lent begins in a chunk.
    #[inline]
    pub(crate) fn front(&self, chunk: u32) -> u32 {
        let chunk = self.chunks.get(chunk as usize);
        chunk.map_or(0, |chunk| chunk.front.load(Ordering::Acquire))
    }

    /// Says where what is lent begins in a chunk: the caller has all that is lent of it.
    #[inline]
    pub(crate) fn set_front(&self, chunk: u32, front: u32) {
        self.chunks[chunk as usize]
            .front
            .store(front, Ordering::Release);
    }

    /// Parts of a chunk that are lent.
    pub(crate) fn lent(&self, chunk: u32) -> u32 {
        let chunk = self.chunks.get(chunk as usize);
        chunk.map_or(0, |chunk| chunk.lent.load(Ordering::Acquire))
    }

    /// Puts a chunk into the list whose last part has come back, and wakes the engine if it wants that.
    pub(crate) fn put(&self, chunk: u32) {
        let next = &self.chunks[chunk as usize].next;
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            next.store(head, Ordering::Relaxed);
            match self
                .head
                .compare_exchange_weak(head, chunk, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(other) => head = other,
            }
        }
        // One of two swaps comes first. If it is the one in `want`, this one sees the wish; else that one is
        // behind this one, and sees the chunk.
        if self.wanted.swap(false, Ordering::AcqRel)
            && let Some(wake) = self.wake.get()
        {
            wake();
        }
    }

    /// Whether the list is empty.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed) == END
    }

    /// Takes all that is in the list, one after the other.
    pub(crate) fn take(&self, mut each: impl FnMut(u32)) {
        let mut chunk = self.head.swap(END, Ordering::Acquire);
        while chunk != END {
            // Read before the chunk is anybody else's.
            let next = self.chunks[chunk as usize].next.load(Ordering::Relaxed);
            each(chunk);
            chunk = next;
        }
    }

    /// Has the next chunk that is put wake the engine. `false`: one is there already.
    pub(crate) fn want(&self) -> bool {
        // Behind every swap in `put` that did not see it.
        self.wanted.swap(true, Ordering::AcqRel);
        self.head.load(Ordering::Relaxed) == END
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for Returns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Returns").finish_non_exhaustive()
    }
}

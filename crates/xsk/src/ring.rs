//! Single-producer single-consumer rings, in memory that the kernel maps or in plain memory.
//!
//! Indices are free-running `u32`s. The producer stores its index with release after it wrote the
//! entries; the consumer stores its own with release after it read them. What the other side's index
//! says is never trusted further than the ring is long.

use std::cell::UnsafeCell;
use std::sync::Arc;

use crate::desc::Desc;
use crate::sync::{AtomicU32, Ordering, Watch, fence};

/// `XDP_RING_NEED_WAKEUP`.
const NEED_WAKEUP: u32 = 1;

/// What a ring's memory must outlive: the mapping, or the heap block.
type Backing = Arc<dyn Send + Sync>;

/// Where the parts of a ring lie.
pub(crate) struct Layout<T> {
    pub(crate) producer: *const AtomicU32,
    pub(crate) consumer: *const AtomicU32,
    pub(crate) flags: *const AtomicU32,
    pub(crate) entries: *mut T,
    pub(crate) capacity: u32,
    pub(crate) watch: Watch,
}

struct Shared<T> {
    layout: Layout<T>,
    _backing: Backing,
}

impl<T> Shared<T> {
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: `Producer::new` and `Consumer::new` were promised valid, aligned memory for as long as the backing lives.
        unsafe { &*self.layout.producer }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { &*self.layout.consumer }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { &*self.layout.flags }
    }

    /// The number of the slot for this index, and where it is.
    fn slot(&self, index: u32) -> (usize, *mut T) {
        let masked = (index & (self.layout.capacity - 1)) as usize;
        // SAFETY: the capacity is a power of two and the entries are that many: the slot is in the ring.
        (masked, unsafe { self.layout.entries.add(masked) })
    }
}

/// The side that puts entries in.
pub struct Producer<T> {
    shared: Shared<T>,
    /// Entries written, published or not.
    head: u32,
    /// The other side's index when it was last read.
    seen: u32,
}

/// The side that takes entries out.
pub struct Consumer<T> {
    shared: Shared<T>,
    /// Entries read, released or not.
    tail: u32,
    /// The other side's index when it was last read.
    seen: u32,
}

// SAFETY: each side is used by one owner at a time (`&mut self`), the memory is not tied to a thread,
// and the two sides meet only in atomics.
unsafe impl<T: Send> Send for Producer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Consumer<T> {}

impl<T: Copy> Producer<T> {
    /// # Safety
    /// The layout's pointers are valid and aligned while `backing` lives, `capacity` is a power of two and
    /// the number of entries, and no other producer of the ring exists.
    pub(crate) unsafe fn new(layout: Layout<T>, backing: Backing) -> Producer<T> {
        let shared = Shared {
            layout,
            _backing: backing,
        };
        let head = shared.producer().load(Ordering::Relaxed);
        let seen = shared.consumer().load(Ordering::Acquire);
        Producer { shared, head, seen }
    }

    /// Entries that the ring holds.
    pub fn capacity(&self) -> u32 {
        self.shared.layout.capacity
    }

    /// Entries that can be pushed now.
    pub fn free(&mut self) -> u32 {
        self.seen = self.shared.consumer().load(Ordering::Acquire);
        self.room()
    }

    fn room(&self) -> u32 {
        // A consumer index ahead of ours makes the difference huge: the ring then counts as full.
        self.capacity()
            .saturating_sub(self.head.wrapping_sub(self.seen))
    }

    /// Writes an entry; the other side sees it after [`publish`](Self::publish).
    ///
    /// # Errors
    /// Gives the entry back when the ring is full.
    pub fn push(&mut self, entry: T) -> Result<(), T> {
        if self.room() == 0 && self.free() == 0 {
            return Err(entry);
        }
        let (number, slot) = self.shared.slot(self.head);
        self.shared.layout.watch.write(number, 1);
        // SAFETY: the slot is outside what is published and not consumed, so the other side leaves it alone.
        unsafe { slot.write(entry) };
        self.head = self.head.wrapping_add(1);
        Ok(())
    }

    /// Shows the other side what was pushed.
    pub fn publish(&mut self) {
        self.shared.producer().store(self.head, Ordering::Release);
    }

    /// Entries published and not yet consumed.
    pub fn len(&self) -> u32 {
        let published = self.shared.producer().load(Ordering::Relaxed);
        published
            .wrapping_sub(self.shared.consumer().load(Ordering::Acquire))
            .min(self.capacity())
    }

    /// Whether the other side has consumed everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the other side asks to be woken. Ask after [`publish`](Self::publish), and again before
    /// sleeping: some drivers raise the flag without looking at the ring a second time.
    pub fn needs_wakeup(&self) -> bool {
        // The flag must not be read before the index is out: each side would then wait for the other.
        fence(Ordering::SeqCst);
        self.shared.flags().load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }
}

impl<T: Copy> Consumer<T> {
    /// # Safety
    /// As for [`Producer::new`]; no other consumer of the ring exists, and every bit pattern is a valid `T`.
    pub(crate) unsafe fn new(layout: Layout<T>, backing: Backing) -> Consumer<T> {
        let shared = Shared {
            layout,
            _backing: backing,
        };
        let tail = shared.consumer().load(Ordering::Relaxed);
        let seen = shared.producer().load(Ordering::Acquire);
        Consumer { shared, tail, seen }
    }

    /// Entries that the ring holds.
    pub fn capacity(&self) -> u32 {
        self.shared.layout.capacity
    }

    /// Entries that can be popped now.
    pub fn available(&mut self) -> u32 {
        self.seen = self.shared.producer().load(Ordering::Acquire);
        self.ready()
    }

    fn ready(&self) -> u32 {
        match self.seen.wrapping_sub(self.tail) {
            ready if ready <= self.capacity() => ready,
            // No producer can be that far ahead: what it claims is not there.
            _ => 0,
        }
    }

    /// Takes the next entry; its slot is the other side's again after [`release`](Self::release).
    pub fn pop(&mut self) -> Option<T> {
        if self.ready() == 0 && self.available() == 0 {
            return None;
        }
        let (number, slot) = self.shared.slot(self.tail);
        self.shared.layout.watch.read(number, 1);
        // SAFETY: the slot is published and not released, so the other side leaves it alone; every bit
        // pattern is a valid `T` (`new`).
        let entry = unsafe { slot.read() };
        self.tail = self.tail.wrapping_add(1);
        Some(entry)
    }

    /// The entry that so many pops after the next one will take, if it is known to be there.
    #[inline]
    pub fn peek(&self, ahead: u32) -> Option<T> {
        if ahead >= self.ready() {
            return None;
        }
        let (number, slot) = self.shared.slot(self.tail.wrapping_add(ahead));
        self.shared.layout.watch.read(number, 1);
        // SAFETY: as in `pop`.
        Some(unsafe { slot.read() })
    }

    /// Gives the slots of what was popped back.
    pub fn release(&mut self) {
        self.shared.consumer().store(self.tail, Ordering::Release);
    }

    /// Asks the producer to wake this side when it publishes, or not to: the kernel's part, for a
    /// simulated one.
    pub fn set_needs_wakeup(&self, needed: bool) {
        self.shared
            .flags()
            .store(u32::from(needed) * NEED_WAKEUP, Ordering::Relaxed);
    }
}

impl<T> std::fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("head", &self.head)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("tail", &self.tail)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

/// A ring in plain memory.
struct Heap<T> {
    producer: AtomicU32,
    consumer: AtomicU32,
    flags: AtomicU32,
    entries: Box<[UnsafeCell<T>]>,
}

// SAFETY: the entries are reached only through the ring's two sides, which hand each slot over by
// the atomics' release and acquire.
unsafe impl<T: Send> Sync for Heap<T> {}

/// Types for which every bit pattern is a value: what may lie in memory that the kernel writes.
pub trait Entry: Copy + Default + Send + Sync + 'static {}
impl Entry for u64 {}
impl Entry for Desc {}

/// Both sides of a ring in plain memory, for tests and the simulator.
///
/// # Panics
/// If `entries` is no power of two.
pub fn pair<T: Entry>(entries: u32) -> (Producer<T>, Consumer<T>) {
    assert!(entries.is_power_of_two(), "a ring's size is a power of two");
    let heap = Arc::new(Heap {
        producer: AtomicU32::new(0),
        consumer: AtomicU32::new(0),
        flags: AtomicU32::new(0),
        entries: (0..entries)
            .map(|_| UnsafeCell::new(T::default()))
            .collect(),
    });
    let watch = Watch::new(entries as usize);
    let layout = || Layout {
        producer: &raw const heap.producer,
        consumer: &raw const heap.consumer,
        flags: &raw const heap.flags,
        entries: UnsafeCell::raw_get(heap.entries.as_ptr()),
        capacity: entries,
        watch: watch.clone(),
    };
    let (one, other) = (layout(), layout());
    let (one_heap, other_heap): (Backing, Backing) = (heap.clone(), heap);
    // SAFETY: the pointers lead into the heap block that both sides keep alive; one producer and one
    // consumer are made of it.
    unsafe {
        (
            Producer::new(one, one_heap),
            Consumer::new(other, other_heap),
        )
    }
}

/// The four rings of a socket, from the application's side.
#[derive(Debug)]
pub struct Rings {
    /// Chunks for the kernel to receive into.
    pub fill: Producer<u64>,
    /// Chunks that the kernel has sent.
    pub completion: Consumer<u64>,
    /// What was received.
    pub rx: Consumer<Desc>,
    /// What is to be sent.
    pub tx: Producer<Desc>,
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;

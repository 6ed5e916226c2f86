//! An allocator that counts the bytes in use, by account: what each of two hosts in one process has.
//! A host's memory is allocated and freed in calls to that host alone, so an account is right as long as
//! whoever calls a host opens its account first.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

const ACCOUNTS: usize = 3;

static OPEN: AtomicUsize = AtomicUsize::new(0);
static BYTES: [AtomicIsize; ACCOUNTS] = [const { AtomicIsize::new(0) }; ACCOUNTS];
static BLOCKS: [AtomicIsize; ACCOUNTS] = [const { AtomicIsize::new(0) }; ACCOUNTS];

/// Install it with `#[global_allocator]`. The figures are right while one thread alone allocates.
pub struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count(bytes: isize, blocks: isize) {
    CALLS.set(CALLS.get() + 1);
    let account = OPEN.load(Ordering::Relaxed);
    // Not `fetch_add`: a locked instruction in each allocation would be part of what is measured.
    let add = |total: &AtomicIsize, by| {
        total.store(total.load(Ordering::Relaxed) + by, Ordering::Relaxed)
    };
    add(&BYTES[account], bytes);
    add(&BLOCKS[account], blocks);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize, 1);
        // SAFETY: the caller's promise is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize, 1);
        // SAFETY: the caller's promise is `System`'s.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize), -1);
        // SAFETY: the caller's promise is `System`'s.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize, 0);
        // SAFETY: the caller's promise is `System`'s.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Whose memory is allocated from now on: 1 or 2 for the hosts of a pair, 0 for the rest.
pub fn open(account: usize) {
    OPEN.store(account, Ordering::Relaxed);
}

/// Bytes that an account has in use, as asked for: the allocator's own overhead is not in them.
pub fn bytes(account: usize) -> isize {
    BYTES[account].load(Ordering::Relaxed)
}

/// Blocks that an account has in use. A malloc(3) adds 8 bytes to each and rounds up to 16.
pub fn blocks(account: usize) -> isize {
    BLOCKS[account].load(Ordering::Relaxed)
}

/// Calls that this thread has made of the allocator: to allocate, to free, or to resize.
pub fn calls() -> u64 {
    CALLS.get()
}

//! What threads meet in: std's, or loom's in a build with `--cfg loom`, which tries every order of the
//! accesses and every value that a load may see (`scripts/loom.sh`).

#[cfg(not(loom))]
mod imp {
    pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering, fence};
    pub use std::sync::{Mutex, MutexGuard};
    pub use std::thread::yield_now;

    /// Tells loom who touches slots in plain memory. Without loom it is nothing.
    #[derive(Clone, Debug)]
    pub struct Watch;

    impl Watch {
        /// For so many slots.
        #[inline(always)]
        pub fn new(_slots: usize) -> Watch {
            Watch
        }

        /// These slots are about to be read.
        #[inline(always)]
        pub fn read(&self, _first: usize, _slots: usize) {}

        /// These slots are about to be written.
        #[inline(always)]
        pub fn write(&self, _first: usize, _slots: usize) {}
    }
}

#[cfg(loom)]
mod imp {
    pub use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering, fence};
    pub use loom::sync::{Mutex, MutexGuard};
    pub use loom::thread::yield_now;

    use loom::cell::UnsafeCell;

    /// Fails where a slot is touched that another thread has touched without an order between the two.
    #[derive(Clone, Debug)]
    pub struct Watch(std::sync::Arc<[UnsafeCell<()>]>);

    impl Watch {
        /// For so many slots.
        pub fn new(slots: usize) -> Watch {
            Watch((0..slots).map(|_| UnsafeCell::new(())).collect())
        }

        /// These slots are about to be read.
        pub fn read(&self, first: usize, slots: usize) {
            self.0[first..first + slots]
                .iter()
                .for_each(|slot| slot.with(|_| ()));
        }

        /// These slots are about to be written.
        pub fn write(&self, first: usize, slots: usize) {
            self.0[first..first + slots]
                .iter()
                .for_each(|slot| slot.with_mut(|_| ()));
        }
    }

    // SAFETY: nothing lies in the cells; that they are touched in order is what loom looks at.
    unsafe impl Send for Watch {}
    // SAFETY: as above.
    unsafe impl Sync for Watch {}
}

pub use imp::*;

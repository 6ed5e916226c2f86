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
    use std::io;
    use std::os::fd::RawFd;
    use std::time::Duration;

    pub use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering, fence};
    pub use loom::sync::{Mutex, MutexGuard};
    pub use loom::thread::yield_now;

    use loom::cell::UnsafeCell;
    use loom::sync::Condvar;

    /// Fails where a slot is touched that another thread has touched without an order between the two.
    #[derive(Clone, Debug)]
    pub struct Watch(std::sync::Arc<[UnsafeCell<()>]>);

    impl Watch {
        pub fn new(slots: usize) -> Watch {
            Watch((0..slots).map(|_| UnsafeCell::new(())).collect())
        }

        pub fn read(&self, first: usize, slots: usize) {
            self.0[first..first + slots]
                .iter()
                .for_each(|slot| slot.with(|_| ()));
        }

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

    /// An eventfd as loom sees it. As with the kernel's, who writes and who reads are in no order but
    /// that of the calls themselves.
    #[derive(Debug)]
    pub struct Signal {
        number: RawFd,
        raised: Mutex<bool>,
        changed: Condvar,
    }

    impl Signal {
        pub fn new() -> io::Result<Signal> {
            static NEXT: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);
            Ok(Signal {
                number: NEXT.fetch_add(1, Ordering::Relaxed),
                raised: Mutex::new(false),
                changed: Condvar::new(),
            })
        }

        pub fn fd(&self) -> RawFd {
            self.number
        }

        pub fn raise(&self) {
            *self.raised.lock().unwrap() = true;
            self.changed.notify_all();
        }

        pub fn lower(&self) {
            *self.raised.lock().unwrap() = false;
        }

        /// There is no time: it ends when it is raised.
        pub fn wait(&self, _: Option<Duration>, _: Option<&libc::sigset_t>) -> io::Result<()> {
            let mut raised = self.raised.lock().unwrap();
            while !*raised {
                raised = self.changed.wait(raised).unwrap();
            }
            Ok(())
        }
    }
}

pub use imp::*;

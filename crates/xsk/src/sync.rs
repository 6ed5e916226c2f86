//! What threads meet in, with loom's in a build for it; and the eventfd of such a build.

pub use ringwire_umem::sync::*;

#[cfg(loom)]
mod imp {
    use std::io;
    use std::os::fd::RawFd;
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};

    use super::Ordering;

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

#[cfg(loom)]
pub use imp::*;

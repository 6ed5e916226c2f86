//! What the two sides tell each other beside the entries.

use ringwire_abi::flags::{
    IORING_CQ_EVENTFD_DISABLED, IORING_SQ_CQ_OVERFLOW, IORING_SQ_NEED_WAKEUP,
};
use ringwire_xsk::sync::{Ordering, fence};

use super::QueueMemory;

impl QueueMemory {
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// Enables the ring; `false` if it was so already.
    pub(crate) fn enable(&self) -> bool {
        !self.enabled.swap(true, Ordering::AcqRel)
    }

    /// Counts a timeout that fired, or whose number of completions was reached. Engine side only.
    pub(crate) fn count_timeout(&self) {
        self.timed_out.fetch_add(1, Ordering::Release);
    }

    /// How many there were. One more ends any wait, as in the kernel (`cq_timeouts`,
    /// `io_should_wake`).
    pub(crate) fn timed_out(&self) -> u32 {
        self.timed_out.load(Ordering::Acquire)
    }

    /// Whether the application wants no signals at the registered eventfd.
    pub(crate) fn eventfd_disabled(&self) -> bool {
        self.cq_flags.load(Ordering::Acquire) & IORING_CQ_EVENTFD_DISABLED != 0
    }

    /// Sets or clears an `IORING_SQ_*` flag.
    pub(crate) fn set_sq_flag(&self, flag: u32, on: bool) {
        if on {
            self.sq_flags.fetch_or(flag, Ordering::Release);
        } else {
            self.sq_flags.fetch_and(!flag, Ordering::Release);
        }
    }

    pub(crate) fn sq_flags(&self) -> u32 {
        self.sq_flags.load(Ordering::Acquire)
    }

    pub(crate) fn overflowed(&self) -> bool {
        self.sq_flags() & IORING_SQ_CQ_OVERFLOW != 0
    }

    /// Tells who submits from now on to wake the polling thread; whether the thread may sleep, since
    /// nothing was submitted before.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.set_sq_flag(IORING_SQ_NEED_WAKEUP, true);
        // The thread sets the flag, then looks at the tail; who submits stores the tail, then looks at
        // the flag.
        fence(Ordering::SeqCst);
        !self.is_enabled() || self.sq_ready() == 0
    }

    /// Whether the polling thread sleeps, and must be woken for what was submitted before.
    pub(crate) fn is_asleep(&self) -> bool {
        fence(Ordering::SeqCst);
        self.sq_flags() & IORING_SQ_NEED_WAKEUP != 0
    }
}

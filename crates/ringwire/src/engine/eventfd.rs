//! The eventfd that completions signal: once for each batch of them (Linux `io_uring/eventfd.c`).

use ringwire_abi::errno::Errno;
use ringwire_xsk::EventFd;

use super::{Completion, Engine};
use crate::usermem::read_plain;

/// What is signalled, and when.
#[derive(Debug, Default)]
pub(super) struct Signals {
    eventfd: Option<EventFd>,
    /// Only what completes where the kernel has a worker is signalled: a request with `IOSQE_ASYNC`
    /// that does not have to wait (`IORING_REGISTER_EVENTFD_ASYNC`).
    only_workers: bool,
    /// Such a request is being issued.
    pub(super) in_worker: bool,
    /// Something was posted since the last signal.
    due: bool,
}

impl Engine {
    /// `IORING_REGISTER_EVENTFD` and `IORING_REGISTER_EVENTFD_ASYNC`.
    pub(super) fn register_eventfd(&mut self, arg: u64, only_workers: bool) -> Result<i32, Errno> {
        if self.signals.eventfd.is_some() {
            return Err(Errno::EBUSY);
        }
        let eventfd = EventFd::hold(read_plain(arg)?);
        let errno = |error: std::io::Error| error.raw_os_error().and_then(Errno::new);
        let eventfd = eventfd.map_err(|error| errno(error).unwrap_or(Errno::EINVAL))?;
        self.signals = Signals {
            eventfd: Some(eventfd),
            only_workers,
            ..Signals::default()
        };
        Ok(0)
    }

    /// `IORING_UNREGISTER_EVENTFD`.
    pub(super) fn unregister_eventfd(&mut self) -> Result<i32, Errno> {
        self.signals.eventfd.take().ok_or(Errno::ENXIO)?;
        Ok(0)
    }

    /// Puts a completion into the queue, if there is room.
    pub(super) fn place(&mut self, completion: &Completion) -> bool {
        let placed = self.queues.post_cqe(completion);
        self.signals.due |= placed && (!self.signals.only_workers || self.signals.in_worker);
        placed
    }

    /// Tells of what was posted since the last time, unless the application has turned that off.
    pub(super) fn signal(&mut self) {
        if std::mem::take(&mut self.signals.due)
            && let Some(eventfd) = &self.signals.eventfd
            && !self.queues.eventfd_disabled()
        {
            eventfd.signal();
        }
    }
}

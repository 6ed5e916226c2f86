//! What submits and waits: the `io-uring` crate's `Submitter`, over io_uring_enter(2).

use std::io;

use io_uring::squeue;
use io_uring::types::SubmitArgs;
use ringwire_abi::flags::*;
use ringwire_abi::sqe::Sqe;

use crate::enter::Enter;
use crate::mailbox;
use crate::ring::{Shared, os_error};

/// Submits what is queued, waits, and registers buffers and files.
#[derive(Debug)]
pub struct Submitter<'a> {
    pub(crate) shared: &'a Shared,
}

impl Submitter<'_> {
    /// Hands the queued entries to the engine and takes a turn; returns how many were taken. With
    /// `setup_sqpoll`, how many are queued: a thread takes them, which is only woken here if it sleeps.
    ///
    /// # Errors
    /// As for [`enter`](Self::enter).
    pub fn submit(&self) -> io::Result<usize> {
        self.submit_and_wait(0)
    }

    /// As [`submit`](Self::submit), and waits for `want` completions in the queue. If fewer entries
    /// were taken than were queued (an entry could not be prepared), it does not wait.
    ///
    /// # Errors
    /// As for [`enter`](Self::enter).
    pub fn submit_and_wait(&self, want: usize) -> io::Result<usize> {
        self.submit_with(want, 0, 0, 0)
    }

    /// As [`submit_and_wait`](Self::submit_and_wait), with a timeout, a minimum wait, a signal mask.
    ///
    /// # Errors
    /// As for [`enter`](Self::enter).
    pub fn submit_with_args(&self, want: usize, args: &SubmitArgs<'_, '_>) -> io::Result<usize> {
        let addr = std::ptr::from_ref(args) as u64;
        self.submit_with(want, IORING_ENTER_EXT_ARG, addr, size_of_val(args))
    }

    fn submit_with(
        &self,
        want: usize,
        mut flags: u32,
        arg: u64,
        arg_bytes: usize,
    ) -> io::Result<usize> {
        let queues = self.shared.queues();
        let queued = queues.sq_ready();
        let waiting = queues.sq_flags() & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN) != 0;
        if want > 0 || waiting {
            flags |= IORING_ENTER_GETEVENTS;
        }
        if let Some(poller) = &self.shared.poller {
            if queues.is_asleep() {
                flags |= IORING_ENTER_SQ_WAKEUP;
            } else if want == 0 && !waiting {
                self.shared.show_completions(poller);
                return Ok(queued as usize);
            }
        }
        self.io_uring_enter(&Enter {
            to_submit: queued,
            min_complete: u32::try_from(want).unwrap_or(u32::MAX),
            flags,
            arg,
            arg_bytes,
        })
    }

    /// io_uring_enter(2) on this ring, which [`submit`](Self::submit) and its kin are made of: takes
    /// `to_submit` entries at most, and with `IORING_ENTER_GETEVENTS` waits for `min_complete`
    /// completions. Without `IORING_ENTER_EXT_ARG` the argument is a signal mask (`sigset_t`, of which
    /// the kernel takes 8 bytes); with it, an `io_uring_getevents_arg`, which is what `SubmitArgs` is.
    /// Returns how many entries were taken; if some were, an error of the wait is not told.
    ///
    /// # Errors
    /// `EINVAL`: a flag that is not known, or an argument of another size. `EBADF`:
    /// `IORING_ENTER_REGISTERED_RING`, since no ring is registered. `EBADFD`: the ring is not enabled.
    /// `EEXIST`: the ring is another thread's (`setup_single_issuer`), or another thread is inside.
    /// `EOWNERDEAD`: the polling thread has ended.
    /// `EFAULT`: an argument that cannot be memory, or `IORING_ENTER_EXT_ARG_REG`, for want of a
    /// region. `ETIME`, `EINTR`: the timeout or a signal came while the completion queue was empty.
    ///
    /// # Safety
    /// As for the system call: what `arg` and the addresses in it point at is readable.
    pub unsafe fn enter<T: Sized>(
        &self,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        arg: Option<&T>,
    ) -> io::Result<usize> {
        self.io_uring_enter(&Enter {
            to_submit,
            min_complete,
            flags,
            arg: arg.map_or(0, |arg| std::ptr::from_ref(arg) as u64),
            arg_bytes: size_of::<T>(),
        })
    }

    /// Waits until the submission queue has room (`setup_sqpoll`; otherwise it has, after a submit).
    ///
    /// # Errors
    /// As for [`enter`](Self::enter).
    pub fn squeue_wait(&self) -> io::Result<usize> {
        self.io_uring_enter(&Enter {
            to_submit: 0,
            min_complete: 0,
            flags: IORING_ENTER_SQ_WAIT,
            arg: 0,
            arg_bytes: 0,
        })
    }

    fn io_uring_enter(&self, call: &Enter) -> io::Result<usize> {
        let taken = self.shared.io_uring_enter(call).map_err(os_error)?;
        Ok(taken as usize)
    }
}

/// Sends the message of a MSG_RING entry without a ring to send it from: io_uring_register(2)'s
/// `IORING_REGISTER_SEND_MSG_RING`, liburing's `io_uring_register_sync_msg`. The ring is named by its
/// [`as_raw_fd`](std::os::fd::AsRawFd::as_raw_fd), and wakes from a wait. Any thread may do it.
///
/// # Errors
/// `EINVAL`: another operation than MSG_RING with data, or flags; `EBADF`, `EBADFD`: no ring of this
/// process, or one that is not enabled.
///
/// # Safety
/// As for [`SubmissionQueue::push`](crate::SubmissionQueue::push): a message to a ring of
/// [`owned`](crate::owned) must have a `user_data` that is allowed there.
pub unsafe fn register_sync_msg(entry: &squeue::Entry) -> io::Result<()> {
    mailbox::send_entry(&Sqe::from_entry(entry)).map_err(os_error)
}

//! `IoUring` and its submitter, shaped like the `io-uring` crate's.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use io_uring::types::SubmitArgs;
use io_uring::{cqueue, squeue};
use ringwire_abi::errno::Errno;
use ringwire_abi::register::GetEventsArg;
use ringwire_stack::Instant;
use ringwire_umem::{Area, Umem};
use ringwire_xsk::{MulticastMembership, Program, Socket, Waiter, clock};

use crate::builder::Builder;
use crate::engine::Engine;
use crate::queue::{CompletionQueue, QueueMemory, SubmissionQueue};
use crate::report::{Counters, Report};
use crate::usermem;

/// How long the end of a ring waits for the NIC to take what was sent.
const DRAIN: Duration = Duration::from_millis(200);
/// How long the resets of what is left may take.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// What the kernel's side of a ring is here: the engine, and what it holds of the system.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) engine: Engine,
    pub(crate) waiter: Waiter,
    pub(crate) sockets: Arc<[Socket]>,
    pub(crate) program: Program,
    pub(crate) report: Report,
    pub(crate) spin: Duration,
    pub(crate) _memberships: Vec<MulticastMembership>,
}

impl Drop for Core {
    /// Sends have completed as "queued": they go out, and connections are closed, but not for long.
    /// What is left then is reset: nobody will be there to answer.
    fn drop(&mut self) {
        self.engine.hang_up(now());
        self.drain_until(now() + DRAIN);
        self.engine.reset_all(now());
        self.drain_until(now() + LAST_WORDS);
    }
}

impl Core {
    fn drain_until(&mut self, deadline: Instant) {
        while self.engine.drain(now()) && now() < deadline {
            let _ = self.waiter.sleep(Some(Duration::from_millis(1)), None);
        }
    }
}

/// A ring over AF_XDP, driven as the `io-uring` crate's is.
///
/// It runs in inline mode: packets, acknowledgements and timers move only inside
/// [`submit`](Self::submit), [`submit_and_wait`](Self::submit_and_wait) and their kin. An application
/// that computes for long goes deaf; [`Counters::engine`] counts the late turns.
///
/// One thread enters at a time: a second one gets `EEXIST`, as does any but the creating thread with
/// `setup_single_issuer`.
///
/// `S` and `C` are the entries' types, as in that crate: `squeue::Entry128` has 128 bytes,
/// `cqueue::Entry32` has 32.
#[derive(Debug)]
pub struct IoUring<S = squeue::Entry, C = cqueue::Entry>
where
    S: squeue::EntryMarker,
    C: cqueue::EntryMarker,
{
    shared: Shared,
    entries: PhantomData<(S, C)>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    queues: Arc<QueueMemory>,
    core: Mutex<Core>,
    umem: Arc<Umem>,
    /// The thread that alone may enter.
    owner: Option<usize>,
    /// The pollable fd was asked for, so its timer is kept up to date.
    exported: AtomicBool,
    epoll_fd: RawFd,
}

/// When a wait ends.
struct Until {
    want: u32,
    /// With fewer completions than wanted, one is enough from here on.
    min_wait: Option<Instant>,
    deadline: Option<Instant>,
    sigmask: Option<libc::sigset_t>,
}

impl<S: squeue::EntryMarker, C: cqueue::EntryMarker> IoUring<S, C> {
    /// What a ring is made with.
    pub fn builder() -> Builder<S, C> {
        Builder::default()
    }

    pub(crate) fn new(core: Core, umem: Arc<Umem>, single_issuer: bool) -> Self {
        let shared = Shared {
            queues: Arc::clone(core.engine.queues()),
            umem,
            owner: single_issuer.then(thread_token),
            exported: AtomicBool::new(false),
            epoll_fd: core.waiter.epoll_fd(),
            core: Mutex::new(core),
        };
        IoUring {
            shared,
            entries: PhantomData,
        }
    }

    /// What submits and registers.
    pub fn submitter(&self) -> Submitter<'_> {
        Submitter {
            shared: &self.shared,
        }
    }

    /// See [`Submitter::submit`].
    ///
    /// # Errors
    /// As there.
    pub fn submit(&self) -> io::Result<usize> {
        self.submitter().submit()
    }

    /// See [`Submitter::submit_and_wait`].
    ///
    /// # Errors
    /// As there.
    pub fn submit_and_wait(&self, want: usize) -> io::Result<usize> {
        self.submitter().submit_and_wait(want)
    }

    /// The three parts, to be used side by side. The queues must be dropped or synced around a submit.
    pub fn split(
        &mut self,
    ) -> (
        Submitter<'_>,
        SubmissionQueue<'_, S>,
        CompletionQueue<'_, C>,
    ) {
        let shared = &self.shared;
        (
            Submitter { shared },
            SubmissionQueue::new(&shared.queues),
            CompletionQueue::new(&shared.queues),
        )
    }

    /// The submission queue.
    pub fn submission(&mut self) -> SubmissionQueue<'_, S> {
        SubmissionQueue::new(&self.shared.queues)
    }

    /// The completion queue.
    pub fn completion(&mut self) -> CompletionQueue<'_, C> {
        CompletionQueue::new(&self.shared.queues)
    }

    /// Takes a registered area, once. Areas are numbered in the order in which the builder was asked
    /// for them.
    pub fn take_area(&self, area: usize) -> Option<Area> {
        self.shared.umem.take_area(area)
    }

    /// Which mode the ring got, and why not a better one.
    ///
    /// # Errors
    /// `EEXIST` while another thread is inside.
    pub fn report(&self) -> io::Result<Report> {
        Ok(self.shared.enter()?.report.clone())
    }

    /// What was counted so far.
    ///
    /// # Errors
    /// `EEXIST` while another thread is inside; or what the kernel said of its own counters.
    pub fn counters(&self) -> io::Result<Counters> {
        let core = self.shared.enter()?;
        Counters::read(&core.engine, &core.program, &core.sockets)
    }
}

impl<S: squeue::EntryMarker, C: cqueue::EntryMarker> AsRawFd for IoUring<S, C> {
    /// One fd that becomes readable when a submit would move something: packets have arrived, a
    /// timer is due, or completions wait. For an outside event loop.
    fn as_raw_fd(&self) -> RawFd {
        if !self.shared.exported.swap(true, Ordering::AcqRel)
            && let Ok(core) = self.shared.core.try_lock()
        {
            core.waiter.set_timer(Some(Duration::ZERO));
        }
        self.shared.epoll_fd
    }
}

/// Submits what is queued, waits, and registers buffers and files.
#[derive(Debug)]
pub struct Submitter<'a> {
    pub(crate) shared: &'a Shared,
}

impl Submitter<'_> {
    /// Hands the queued entries to the engine and takes a turn; returns how many were taken.
    ///
    /// # Errors
    /// `EEXIST`: another thread is inside, or the ring is another's (`setup_single_issuer`).
    pub fn submit(&self) -> io::Result<usize> {
        self.submit_and_wait(0)
    }

    /// As [`submit`](Self::submit), and waits for `want` completions in the queue. If fewer entries
    /// were taken than were queued (an entry could not be prepared), it does not wait.
    ///
    /// # Errors
    /// As for `submit`; `EINTR` if a signal came while the queue was empty.
    pub fn submit_and_wait(&self, want: usize) -> io::Result<usize> {
        self.shared.submit_until(Until {
            want: clamp(want),
            min_wait: None,
            deadline: None,
            sigmask: None,
        })
    }

    /// As [`submit_and_wait`](Self::submit_and_wait), with a timeout, a minimum wait, a signal mask.
    ///
    /// # Errors
    /// As there; `ETIME` if the timeout came while the queue was empty; `EINVAL` for a negative one;
    /// `EFAULT` for what cannot be a pointer.
    pub fn submit_with_args(&self, want: usize, args: &SubmitArgs<'_, '_>) -> io::Result<usize> {
        let arg = GetEventsArg::from_submit_args(args);
        let start = now();
        let deadline = match arg.timespec {
            0 => None,
            addr => match usermem::read_timespec(addr).map_err(os_error)? {
                (seconds, nanos) if seconds < 0 || nanos < 0 => {
                    return Err(os_error(Errno::EINVAL));
                }
                (seconds, nanos) => Some(
                    start
                        + (Duration::from_secs(seconds as u64)
                            + Duration::from_nanos(nanos as u64)),
                ),
            },
        };
        let min_wait =
            (arg.min_wait_us > 0).then(|| start + Duration::from_micros(arg.min_wait_us.into()));
        let sigmask = match arg.sigmask {
            0 => None,
            addr => Some(usermem::read_sigmask(addr).map_err(os_error)?),
        };
        self.shared.submit_until(Until {
            want: clamp(want),
            min_wait,
            deadline,
            sigmask,
        })
    }
}

impl Shared {
    /// The engine, for the thread that may have it.
    pub(crate) fn enter(&self) -> io::Result<MutexGuard<'_, Core>> {
        if self.owner.is_some_and(|owner| owner != thread_token()) {
            return Err(os_error(Errno::EEXIST));
        }
        match self.core.try_lock() {
            Ok(core) => Ok(core),
            Err(std::sync::TryLockError::WouldBlock) => Err(os_error(Errno::EEXIST)),
            Err(std::sync::TryLockError::Poisoned(_)) => {
                panic!("ring: the engine panicked in another thread")
            }
        }
    }

    fn submit_until(&self, until: Until) -> io::Result<usize> {
        let mut core = self.enter()?;
        let core = &mut *core;
        let queued = self.queues.sq_ready();
        let now = now();
        let taken = core.engine.submit(now, queued);
        core.engine.turn(now);
        let result = if taken < queued || (until.want == 0 && !self.queues.overflowed()) {
            Ok(())
        } else {
            self.wait(core, &until)
        };
        if self.exported.load(Ordering::Acquire) {
            let deadline = if self.queues.cq_ready() > 0 {
                Some(Instant::ZERO)
            } else {
                core.engine.next_deadline()
            };
            core.waiter
                .set_timer(deadline.map(|deadline| Duration::from_nanos(deadline.as_nanos())));
        }
        // What was taken was taken, whatever came of the wait.
        match result {
            Err(error) if taken == 0 => Err(error),
            _ => Ok(taken as usize),
        }
    }

    fn wait(&self, core: &mut Core, until: &Until) -> io::Result<()> {
        let mut spin_until = now() + core.spin;
        loop {
            core.engine.flush_overflow();
            let ready = self.queues.cq_ready();
            let time = now();
            let want = if until.min_wait.is_some_and(|min_wait| time >= min_wait) {
                until.want.min(1)
            } else {
                until.want
            };
            if ready >= want.min(self.queues.cq_entries()) {
                return Ok(());
            }
            if until.deadline.is_some_and(|deadline| time >= deadline) {
                return if ready > 0 {
                    Ok(())
                } else {
                    Err(os_error(Errno::ETIME))
                };
            }
            if !core.engine.has_work() && time >= spin_until {
                match self.sleep(core, until, time) {
                    Err(_) if ready > 0 => return Ok(()),
                    slept => slept?,
                }
                spin_until = now() + core.spin;
            }
            core.engine.turn(now());
        }
    }

    fn sleep(&self, core: &mut Core, until: &Until, now: Instant) -> io::Result<()> {
        let min_wait = until.min_wait.filter(|&min_wait| min_wait > now);
        let next = [core.engine.next_deadline(), until.deadline, min_wait]
            .into_iter()
            .flatten()
            .min();
        core.waiter
            .sleep(next.map(|next| next - now), until.sigmask.as_ref())
    }
}

/// The time on the engine's clock.
pub(crate) fn now() -> Instant {
    Instant::from_nanos(clock(libc::CLOCK_MONOTONIC).as_nanos() as u64)
}

/// Tells threads that live at the same time apart.
fn thread_token() -> usize {
    thread_local! { static TOKEN: u8 = const { 0 } }
    TOKEN.with(|token| std::ptr::from_ref(token).addr())
}

fn clamp(want: usize) -> u32 {
    u32::try_from(want).unwrap_or(u32::MAX)
}

pub(crate) fn os_error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw())
}

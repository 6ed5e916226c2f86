//! `IoUring`, shaped like the `io-uring` crate's, and what its parts share.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, TryLockError};
use std::time::Duration;

use io_uring::{cqueue, squeue};
use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER};
use ringwire_stack::Instant;
use ringwire_umem::{Area, Umem};
use ringwire_xsk::sync::{Mutex, MutexGuard};
use ringwire_xsk::{Program, Socket, Waiter, Waker, clock};

use crate::builder::Builder;
use crate::device::{Device, Presence};
use crate::engine::Engine;
use crate::mailbox::{Listed, Peer};
use crate::params::Parameters;
use crate::poller::{PollThread, Poller};
use crate::queue::{CompletionQueue, QueueMemory, SubmissionQueue};
use crate::report::{Counters, Report};
use crate::submitter::Submitter;

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
    pub(crate) program: Arc<Program>,
    pub(crate) report: Report,
    pub(crate) spin: Duration,
    /// The engine panicked: it is left alone.
    pub(crate) abandoned: bool,
    pub(crate) device: Device,
    pub(crate) presence: Presence,
}

impl Drop for Core {
    /// Sends have completed as "queued": they go out, and connections are closed, but not for long.
    /// What is left then is reset: nobody will be there to answer.
    fn drop(&mut self) {
        if self.abandoned {
            return;
        }
        self.engine.hang_up(now());
        self.drain_until(now() + DRAIN);
        self.engine.reset_all(now());
        self.drain_until(now() + LAST_WORDS);
    }
}

impl Core {
    fn current_report(&self) -> Report {
        Report {
            link: self.engine.link(),
            serving: self.engine.has_sockets(),
            lost: self.engine.lost().map(ToOwned::to_owned),
            ..self.report.clone()
        }
    }

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
/// that computes for long goes deaf; [`Counters::engine`] counts the late turns. One thread enters at a
/// time: a second one gets `EEXIST`.
///
/// With `setup_sqpoll` a thread of the ring's own does all of that, and a submit makes no system call
/// while that thread is awake. Any thread may enter then.
///
/// `S` and `C` are the entries' types, as in that crate: `squeue::Entry128` has 128 bytes,
/// `cqueue::Entry32` has 32.
#[derive(Debug)]
pub struct IoUring<S = squeue::Entry, C = cqueue::Entry>
where
    S: squeue::EntryMarker,
    C: cqueue::EntryMarker,
{
    /// Ends before what it shares with us.
    _thread: Option<PollThread>,
    shared: Arc<Shared>,
    entries: PhantomData<(S, C)>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    /// Goes first, since its file descriptor may be another's afterwards.
    _listed: Listed,
    queues: Arc<QueueMemory>,
    pub(crate) core: Mutex<Core>,
    pub(crate) poller: Option<Poller>,
    umem: Arc<Umem>,
    params: Parameters,
    /// The thread that alone may submit and register; 0 for any.
    owner: AtomicUsize,
    /// The pollable fd was asked for, so its timer is kept up to date.
    exported: AtomicBool,
    pollable: RawFd,
    /// Wakes the engine.
    waker: Waker,
}

impl<S: squeue::EntryMarker, C: cqueue::EntryMarker> IoUring<S, C> {
    /// What a ring is made with.
    pub fn builder() -> Builder<S, C> {
        Builder::default()
    }

    /// `cpu` is where the polling thread is to run, if there is one.
    pub(crate) fn new(
        core: Core,
        umem: Arc<Umem>,
        params: Parameters,
        cpu: Option<u32>,
    ) -> io::Result<Self> {
        // A ring that is not enabled yet is the enabling thread's.
        let owned = params.is_setup_single_issuer() && core.engine.queues().is_enabled();
        let poller = Poller::new(&params, core.waiter.waker())?;
        let pollable = match &poller {
            Some(poller) => poller.shown.as_raw_fd(),
            None => core.waiter.epoll_fd(),
        };
        let peer = Peer {
            mailbox: Arc::clone(core.engine.mailbox()),
            queues: Arc::clone(core.engine.queues()),
            buffers: Arc::clone(core.engine.shown_buffers()),
            waker: core.waiter.waker().clone(),
        };
        let shared = Arc::new(Shared {
            _listed: Listed::new(pollable, peer),
            queues: Arc::clone(core.engine.queues()),
            umem,
            params,
            owner: AtomicUsize::new(if owned { thread_token() } else { 0 }),
            exported: AtomicBool::new(false),
            pollable,
            waker: core.waiter.waker().clone(),
            poller,
            core: Mutex::new(core),
        });
        Ok(IoUring {
            _thread: PollThread::start(&shared, cpu)?,
            shared,
            entries: PhantomData,
        })
    }

    /// What the ring was made with.
    pub fn params(&self) -> &Parameters {
        &self.shared.params
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

    /// The submission queue, from a shared ring.
    ///
    /// # Safety
    /// There is no other submission queue of this ring meanwhile.
    pub unsafe fn submission_shared(&self) -> SubmissionQueue<'_, S> {
        SubmissionQueue::new(&self.shared.queues)
    }

    /// The completion queue, from a shared ring.
    ///
    /// # Safety
    /// There is no other completion queue of this ring meanwhile.
    pub unsafe fn completion_shared(&self) -> CompletionQueue<'_, C> {
        CompletionQueue::new(&self.shared.queues)
    }

    /// Takes a registered area, once. Areas are numbered in the order in which the builder was asked
    /// for them.
    pub fn take_area(&self, area: usize) -> Option<Area> {
        self.shared.umem.take_area(area)
    }

    /// Takes the slots of a registered area, once. A payload begins where its slot does.
    pub fn take_slots(&self, area: usize) -> Option<Vec<Area>> {
        self.shared.umem.take_slots(area)
    }

    /// Which mode the ring got, and why not a better one.
    ///
    /// # Errors
    /// `EEXIST` while another thread is inside.
    pub fn report(&self) -> io::Result<Report> {
        Ok(self.shared.enter()?.current_report())
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
    /// One fd for an outside event loop, which also names the ring in a MSG_RING of another. It becomes
    /// readable when a submit would move something: packets have arrived, a timer is due, another ring
    /// has sent a message, or completions wait. With `setup_sqpoll`, when there are completions, until a
    /// submit finds none.
    ///
    /// From the first call on the kernel wakes it for each packet, whether anybody waits on it or not: without
    /// `setup_sqpoll` a ring that sends and receives many is some percent faster while nobody has asked for it.
    fn as_raw_fd(&self) -> RawFd {
        if !self.shared.exported.swap(true, Ordering::AcqRel) {
            match &self.shared.poller {
                Some(poller) => poller.shown.wake(),
                None => match self.shared.core.try_lock() {
                    Ok(mut core) => core.waiter.show(Some(Duration::ZERO)),
                    // Whoever has it shows it before it gives it back, or may have just looked whether to.
                    Err(_) => self.shared.waker.wake(),
                },
            }
        }
        self.shared.pollable
    }
}

impl Shared {
    /// The engine, for the thread that may have it.
    pub(crate) fn enter(&self) -> io::Result<MutexGuard<'_, Core>> {
        self.check_owner()
            .and_then(|()| self.engine())
            .map_err(os_error)
    }

    /// The engine, if no other thread has it but the polling one.
    pub(crate) fn engine(&self) -> Result<MutexGuard<'_, Core>, Errno> {
        if let Some(poller) = &self.poller {
            return poller.take(&self.core);
        }
        match self.core.try_lock() {
            Ok(core) => Ok(core),
            Err(TryLockError::WouldBlock) => Err(Errno::EEXIST),
            Err(TryLockError::Poisoned(_)) => {
                panic!("ring: the engine panicked in another thread")
            }
        }
    }

    pub(crate) fn check_owner(&self) -> Result<(), Errno> {
        match self.owner.load(Ordering::Acquire) {
            0 => Ok(()),
            owner if owner == thread_token() => Ok(()),
            _ => Err(Errno::EEXIST),
        }
    }

    pub(crate) fn enable(&self) -> Result<(), Errno> {
        let _core = self.engine()?;
        if !self.queues.enable() {
            return Err(Errno::EBADFD);
        }
        if self.has(IORING_SETUP_SINGLE_ISSUER) {
            self.owner.store(thread_token(), Ordering::Release);
        }
        Ok(())
    }

    fn has(&self, setup_flag: u32) -> bool {
        self.params.setup_flags & setup_flag != 0
    }

    /// Whether completions wait for an enter that asks for them.
    pub(crate) fn defers(&self) -> bool {
        self.has(IORING_SETUP_DEFER_TASKRUN)
    }

    pub(crate) fn queues(&self) -> &QueueMemory {
        &self.queues
    }

    pub(crate) fn is_exported(&self) -> bool {
        self.exported.load(Ordering::Acquire)
    }
}

/// The time on the engine's clock.
pub(crate) fn now() -> Instant {
    Instant::from_nanos(clock(libc::CLOCK_MONOTONIC).as_nanos() as u64)
}

/// Tells threads apart, those that are gone too. Never 0.
fn thread_token() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    thread_local! { static TOKEN: usize = NEXT.fetch_add(1, Ordering::Relaxed) }
    TOKEN.with(|token| *token)
}

pub(crate) fn os_error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw())
}

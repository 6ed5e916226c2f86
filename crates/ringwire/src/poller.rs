//! The thread of a ring with `IORING_SETUP_SQPOLL`: it has the engine and takes the turns, so that the
//! application makes no system call while the thread is awake (Linux `io_uring/sqpoll.c`).
//!
//! The thread lets go of the engine between two turns for whoever wants it, to register or to flush the
//! overflow list. Who waits for completions does not want it: it sleeps until the thread tells of some.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_SETUP_SQPOLL, IORING_SQ_NEED_WAKEUP};
use ringwire_stack::Instant;
use ringwire_xsk::sync::{AtomicBool, AtomicU32, Mutex, MutexGuard, Ordering, fence, yield_now};
use ringwire_xsk::{Waker, block_signals, run_on_cpu};

use crate::params::Parameters;
use crate::queue::QueueMemory;
use crate::ring::{Core, Shared, now};

/// How long the thread polls without anything to do, if it was not told (`HZ` jiffies).
const DEFAULT_IDLE: Duration = Duration::from_secs(1);

/// What the polling thread and the application's threads share.
#[derive(Debug)]
pub(crate) struct Poller {
    idle: Duration,
    /// Wakes the thread.
    waker: Waker,
    stop: AtomicBool,
    /// The thread has ended.
    dead: AtomicBool,
    /// Threads that want the engine.
    wanted: AtomicU32,
    sleepers: AtomicU32,
    bells: Mutex<Bells>,
    /// Readable while there may be completions, for an outside event loop.
    pub(crate) shown: Waker,
}

/// What wakes the application's threads that sleep, and what may serve the next ones.
#[derive(Debug, Default)]
struct Bells {
    waiting: Vec<Waker>,
    spare: Vec<Waker>,
}

impl Poller {
    /// For a ring that has a thread; `waker` wakes it.
    pub(crate) fn new(params: &Parameters, waker: &Waker) -> io::Result<Option<Poller>> {
        if params.setup_flags & IORING_SETUP_SQPOLL == 0 {
            return Ok(None);
        }
        let idle = match params.sq_thread_idle {
            0 => DEFAULT_IDLE,
            millis => Duration::from_millis(millis.into()),
        };
        Ok(Some(Poller {
            idle,
            waker: waker.clone(),
            stop: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            wanted: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            bells: Mutex::default(),
            shown: Waker::new()?,
        }))
    }

    /// Wakes the thread, or keeps it from falling asleep.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    pub(crate) fn check(&self) -> Result<(), Errno> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(Errno::EOWNERDEAD);
        }
        Ok(())
    }

    /// The engine, once the thread has let go of it.
    pub(crate) fn take<'a, T>(&self, core: &'a Mutex<T>) -> Result<MutexGuard<'a, T>, Errno> {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        self.waker.wake();
        let taken = core.lock();
        self.wanted.fetch_sub(1, Ordering::SeqCst);
        taken.map_err(|_| Errno::EOWNERDEAD)
    }

    /// Has the engine and takes its turns until the thread is to stop; lets go of it between two for
    /// whoever wants it.
    pub(crate) fn serve<T>(&self, core: &Mutex<T>, mut turn: impl FnMut(&mut T)) {
        while !self.stop.load(Ordering::SeqCst) {
            while self.wanted.load(Ordering::SeqCst) > 0 {
                yield_now();
            }
            let Ok(mut core) = core.lock() else {
                return;
            };
            while self.wanted.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::SeqCst) {
                turn(&mut core);
            }
        }
    }

    /// Ends the thread, after the turn that it is at.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    fn bells(&self) -> MutexGuard<'_, Bells> {
        // A list of wakers is whole whoever panicked.
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread rings from now on whenever it has brought something.
    pub(crate) fn bell(&self) -> Result<Bell<'_>, Errno> {
        let mut bells = self.bells();
        let waker = match bells.spare.pop() {
            Some(waker) => waker,
            None => Waker::new().map_err(errno_of)?,
        };
        bells.waiting.push(waker.clone());
        // The thread posts, then looks for sleepers; a sleeper joins, then looks for completions.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let poller = self;
        Ok(Bell { poller, waker })
    }

    fn has_sleepers(&self) -> bool {
        fence(Ordering::SeqCst);
        self.sleepers.load(Ordering::SeqCst) > 0
    }

    /// Tells those who sleep that something has happened.
    pub(crate) fn tell(&self) {
        if self.has_sleepers() {
            for bell in &self.bells().waiting {
                bell.wake();
            }
        }
    }
}

/// What a thread of the application's sleeps on.
#[derive(Debug)]
pub(crate) struct Bell<'a> {
    poller: &'a Poller,
    waker: Waker,
}

impl Bell<'_> {
    pub(crate) fn sleep(
        &self,
        timeout: Option<Duration>,
        sigmask: Option<&libc::sigset_t>,
    ) -> Result<(), Errno> {
        self.waker.sleep(timeout, sigmask).map_err(errno_of)
    }
}

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.poller.sleepers.fetch_sub(1, Ordering::SeqCst);
        let mut bells = self.poller.bells();
        let fd = self.waker.as_raw_fd();
        bells.waiting.retain(|waiting| waiting.as_raw_fd() != fd);
        self.waker.clear();
        bells.spare.push(self.waker.clone());
    }
}

/// The kernel's reason, as an errno.
pub(crate) fn errno_of(error: io::Error) -> Errno {
    let errno = error.raw_os_error().and_then(Errno::new);
    errno.unwrap_or(Errno::EINTR)
}

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct PollThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl PollThread {
    /// Starts the thread of a ring that is to have one, on this processor.
    ///
    /// # Errors
    /// `EINVAL`: there is no such processor; or what the kernel said of a thread more.
    pub(crate) fn start(shared: &Arc<Shared>, cpu: Option<u32>) -> io::Result<Option<PollThread>> {
        if shared.poller.is_none() {
            return Ok(None);
        }
        let (tell, told) = mpsc::channel();
        let ours = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("ringwire-sq".to_owned());
        let thread = thread.spawn(move || {
            // The application's signals are for its own threads.
            block_signals();
            let bound = cpu.map_or(Ok(()), run_on_cpu);
            let starts = bound.is_ok();
            // Who is to be told waits for it.
            let _ = tell.send(bound);
            drop(tell);
            if starts && let Some(poller) = &ours.poller {
                run(&ours, poller);
            }
        })?;
        let started = PollThread {
            shared: Arc::clone(shared),
            thread: Some(thread),
        };
        told.recv().unwrap_or(Ok(()))?;
        Ok(Some(started))
    }
}

impl Drop for PollThread {
    fn drop(&mut self) {
        if let Some(poller) = &self.shared.poller {
            poller.stop();
        }
        let ended = self.thread.take().map(JoinHandle::join);
        if let (Some(Err(_)), Err(broken)) = (ended, self.shared.core.lock()) {
            // Nothing more can be asked of an engine that panicked.
            broken.into_inner().abandoned = true;
        }
    }
}

/// Says that the thread has ended, however it does.
struct LastWords<'a> {
    queues: &'a QueueMemory,
    poller: &'a Poller,
}

impl Drop for LastWords<'_> {
    fn drop(&mut self) {
        self.poller.dead.store(true, Ordering::SeqCst);
        // So that the application enters, and is told.
        self.queues.set_sq_flag(IORING_SQ_NEED_WAKEUP, true);
        self.poller.tell();
    }
}

fn run(shared: &Shared, poller: &Poller) {
    let queues = shared.queues();
    let _last_words = LastWords { queues, poller };
    let mut active = now();
    poller.serve(&shared.core, |core| {
        let time = now();
        if step(shared, poller, core, time) {
            active = time;
        } else if core.engine.has_work() {
            // The next turn goes on with it.
        } else if time - active < poller.idle {
            yield_now();
        } else {
            doze(shared, core);
        }
    });
}

/// Takes what is submitted and a turn; whether that brought anything.
fn step(shared: &Shared, poller: &Poller, core: &mut Core, time: Instant) -> bool {
    let queues = shared.queues();
    let completed = core.engine.counters().completed;
    core.tend(time);
    let taken = if queues.is_enabled() {
        core.engine.submit(time, queues.sq_ready())
    } else {
        0
    };
    core.engine.turn(time);
    let flushed = queues.overflowed() && poller.has_sleepers() && core.engine.flush_overflow();
    let brought = taken > 0 || flushed || core.engine.counters().completed != completed;
    if brought {
        poller.tell();
        if shared.is_exported() && queues.cq_ready() > 0 {
            poller.shown.wake();
        }
    }
    brought
}

/// Sleeps until a packet comes, a timer is due, or somebody wakes the thread: who submits meanwhile
/// finds the flag that asks for it.
fn doze(shared: &Shared, core: &mut Core) {
    let queues = shared.queues();
    if queues.fall_asleep() && core.engine.may_sleep() {
        let deadline = core.engine.next_deadline();
        // Interrupted or not, the next turn sees what there is. Whoever wants the engine, or the
        // thread to stop, has rung the waker.
        let slept = core
            .waiter
            .sleep(deadline.map(|deadline| deadline - now()), None);
        core.engine.woken(slept.unwrap_or(false));
    }
    queues.set_sq_flag(IORING_SQ_NEED_WAKEUP, false);
}

#[cfg(test)]
#[path = "poller_tests.rs"]
mod tests;

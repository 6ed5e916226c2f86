//! Sleeping until a socket has received something or another thread says so, and the one fd that an
//! outside event loop can poll. Times are on CLOCK_MONOTONIC.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use crate::epoll::Epoll;
use crate::socket::Socket;
#[cfg(loom)]
use crate::sync::Signal;
use crate::sync::{AtomicU8, Ordering, fence};

/// The time on one of the kernel's clocks.
pub fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call fills the struct; the clocks asked for exist everywhere.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Wakes a thread that sleeps on it: an eventfd, which is written only for a thread that has not been
/// woken yet.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Wake>,
}

#[derive(Debug)]
struct Wake {
    signal: Signal,
    state: AtomicU8,
}

/// An eventfd.
#[cfg(not(loom))]
#[derive(Debug)]
struct Signal(OwnedFd);

#[cfg(not(loom))]
impl Signal {
    fn new() -> io::Result<Signal> {
        // SAFETY: no pointers are passed.
        let eventfd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        owned(eventfd).map(Signal)
    }

    fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Makes it readable.
    fn raise(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the 8 bytes live through the call. It fails only where the count is at its end, and
        // then the fd is readable anyway.
        unsafe { libc::write(self.fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes it unreadable.
    fn lower(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the 8 bytes live through the call. It does not block: the fd is not to.
        unsafe { libc::read(self.fd(), count.as_mut_ptr().cast(), count.len()) };
    }

    /// Until it is readable, or for `timeout`.
    fn wait(&self, timeout: Option<Duration>, sigmask: Option<&libc::sigset_t>) -> io::Result<()> {
        poll(&mut [readable(self.fd())], timeout, sigmask)
    }
}

/// The eventfd is not readable.
const QUIET: u8 = 0;
/// Somebody is about to write it.
const RINGING: u8 = 1;
/// It is readable.
const RUNG: u8 = 2;
/// Somebody is about to read it, and looks at what the wakes were for afterwards.
const CLEARING: u8 = 3;

impl Waker {
    /// A waker that nobody has rung.
    ///
    /// # Errors
    /// What the kernel said, for want of fds or memory.
    pub fn new() -> io::Result<Waker> {
        let signal = Signal::new()?;
        let state = AtomicU8::new(QUIET);
        Ok(Waker {
            shared: Arc::new(Wake { signal, state }),
        })
    }

    /// Wakes who sleeps, or who goes to sleep next. What was stored before is seen by whoever
    /// [`clear`](Self::clear)s or wakes up.
    pub fn wake(&self) {
        // Who finds the other clearing rings nothing. Then what was stored before must be seen by that one,
        // which looks for it after it has stored `QUIET`: a fence between store and load, on both sides.
        fence(Ordering::SeqCst);
        if !self.change(QUIET, RINGING) {
            return;
        }
        self.shared.signal.raise();
        self.shared.state.store(RUNG, Ordering::SeqCst);
    }

    /// Makes the fd unreadable, without a system call if it is so.
    pub fn clear(&self) {
        // While it is ringing it stays readable: somebody comes back to it.
        if !self.change(RUNG, CLEARING) {
            return;
        }
        self.shared.signal.lower();
        self.shared.state.store(QUIET, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    fn change(&self, from: u8, to: u8) -> bool {
        let (state, order) = (&self.shared.state, Ordering::SeqCst);
        // The look comes first: mostly there is nothing to change.
        state.load(order) == from && state.compare_exchange(from, to, order, order).is_ok()
    }

    /// Sleeps until it is woken, or for `timeout`.
    ///
    /// # Errors
    /// `EINTR` when a signal was handled.
    pub fn sleep(
        &self,
        timeout: Option<Duration>,
        sigmask: Option<&libc::sigset_t>,
    ) -> io::Result<()> {
        self.shared.signal.wait(timeout, sigmask)?;
        self.clear();
        Ok(())
    }
}

impl AsRawFd for Waker {
    /// Readable after a [`wake`](Self::wake), until it is cleared.
    fn as_raw_fd(&self) -> RawFd {
        self.shared.signal.fd()
    }
}

/// What a sleeping engine waits on, and the one fd that an outside event loop can wait on.
#[derive(Debug)]
pub struct Waiter {
    sockets: Vec<RawFd>,
    timer: OwnedFd,
    waker: Waker,
    /// What else the engine listens to.
    beside: Option<Arc<Epoll>>,
    epoll: Epoll,
    /// The sockets are in the set. Not before it is shown: the kernel wakes it for each packet that comes, and for each
    /// that was sent, which takes as long as a good part of the packet's way.
    shown: bool,
}

impl Waiter {
    /// Watches these sockets.
    ///
    /// # Errors
    /// What the kernel said, for want of fds or memory.
    pub fn new(sockets: &[Socket]) -> io::Result<Waiter> {
        // SAFETY: no pointers are passed.
        let timer = owned(unsafe {
            libc::timerfd_create(
                libc::CLOCK_MONOTONIC,
                libc::TFD_CLOEXEC | libc::TFD_NONBLOCK,
            )
        })?;
        let epoll = Epoll::new()?;
        let sockets: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let waker = Waker::new()?;
        for fd in [timer.as_raw_fd(), waker.as_raw_fd()] {
            epoll.add(fd, 0)?;
        }
        Ok(Waiter {
            sockets,
            timer,
            waker,
            beside: None,
            epoll,
            shown: false,
        })
    }

    /// Watches these in place of the sockets that it was made with, or was given here before: those of them that are to
    /// be closed must be open still. Each is to be readable when there is something to do, and until that is done.
    ///
    /// # Errors
    /// What the kernel said, for want of memory.
    pub fn replace_sockets(&mut self, fds: Vec<RawFd>) -> io::Result<()> {
        let old = std::mem::replace(&mut self.sockets, fds);
        if std::mem::take(&mut self.shown) {
            old.into_iter().for_each(|fd| self.epoll.remove(fd));
            self.show_sockets()?;
        }
        Ok(())
    }

    fn show_sockets(&mut self) -> io::Result<()> {
        if !self.shown {
            for &fd in &self.sockets {
                match self.epoll.add(fd, 0) {
                    // It came in before another one did not.
                    Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                    result => result?,
                }
            }
            self.shown = true;
        }
        Ok(())
    }

    /// Watches what is in this set, too: [`sleep`](Self::sleep) says when that ended it.
    ///
    /// # Errors
    /// What the kernel said, for want of memory.
    pub fn watch(&mut self, beside: Arc<Epoll>) -> io::Result<()> {
        self.epoll.add(beside.as_raw_fd(), 0)?;
        self.beside = Some(beside);
        Ok(())
    }

    /// What another thread wakes this one with.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// The fd that is readable when the timer has gone off, the waker was rung, or, once it is [shown](Self::show), a
    /// socket has received something.
    pub fn epoll_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Makes the pollable fd readable when a socket has received something, and at `deadline`; at once with one that
    /// has passed. Where the kernel has no memory to watch the sockets, too: the next call tries again.
    pub fn show(&mut self, deadline: Option<Duration>) {
        let deadline = match self.show_sockets() {
            Ok(()) => deadline,
            Err(_) => Some(Duration::ZERO),
        };
        // Zero would disarm the timer.
        let at = deadline.map_or(Duration::ZERO, |deadline| {
            deadline.max(Duration::from_nanos(1))
        });
        let spec = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: timespec(at),
        };
        // SAFETY: the spec is read during the call; the fd is a timerfd.
        unsafe {
            libc::timerfd_settime(
                self.timer.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const spec,
                std::ptr::null_mut(),
            )
        };
    }

    /// Sleeps until a packet is there or the waker is rung, or for `timeout`; returns whether what is
    /// [watched](Self::watch) beside has something to say.
    ///
    /// # Errors
    /// `EINTR` when a signal was handled.
    pub fn sleep(
        &self,
        timeout: Option<Duration>,
        sigmask: Option<&libc::sigset_t>,
    ) -> io::Result<bool> {
        let waker = self.waker.as_raw_fd();
        let beside = self.beside.as_ref().map(AsRawFd::as_raw_fd);
        let fds = beside.into_iter().chain([waker]);
        let fds = fds.chain(self.sockets.iter().copied());
        let mut fds: Vec<libc::pollfd> = fds.map(readable).collect();
        poll(&mut fds, timeout, sigmask)?;
        self.waker.clear();
        Ok(self.beside.is_some() && fds[0].revents != 0)
    }
}

fn readable(fd: RawFd) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

fn poll(
    fds: &mut [libc::pollfd],
    timeout: Option<Duration>,
    sigmask: Option<&libc::sigset_t>,
) -> io::Result<()> {
    let time = timeout.map(timespec);
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let mask = sigmask.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: all pointers are null or to values that live through the call, with their length.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, time, mask) };
    if ready < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Binds this thread to a processor.
///
/// # Errors
/// `EINVAL`: there is none with this number that the thread may run on.
pub fn run_on_cpu(cpu: u32) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as u32 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: all zeroes is an empty set; the number lies in it; the set is read during the call.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Keeps signals from this thread, so that others take them.
pub fn block_signals() {
    // SAFETY: the set is filled before it is read, and no old one is asked for.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos().into(),
    }
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
#[path = "waiter_tests.rs"]
mod tests;

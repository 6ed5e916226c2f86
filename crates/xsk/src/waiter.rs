//! Sleeping until a socket has received something, and the one fd that an outside event loop can poll.
//! Times are on CLOCK_MONOTONIC.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::socket::Socket;

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

/// What a sleeping engine waits on, and the one fd that an outside event loop can wait on.
#[derive(Debug)]
pub struct Waiter {
    sockets: Vec<RawFd>,
    timer: OwnedFd,
    epoll: OwnedFd,
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
        // SAFETY: no pointers are passed.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let sockets: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        for &fd in sockets.iter().chain([&timer.as_raw_fd()]) {
            let mut event = libc::epoll_event {
                events: libc::EPOLLIN as u32,
                u64: 0,
            };
            // SAFETY: the event is read during the call.
            let added = unsafe {
                libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event)
            };
            if added != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Waiter {
            sockets,
            timer,
            epoll,
        })
    }

    /// The fd that is readable when a socket has received something or the timer has gone off.
    pub fn epoll_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Makes the pollable fd readable at `deadline`; at once with one that has passed.
    pub fn set_timer(&self, deadline: Option<Duration>) {
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

    /// Sleeps until a packet is there, or for `timeout`.
    ///
    /// # Errors
    /// `EINTR` when a signal was handled.
    pub fn sleep(
        &self,
        timeout: Option<Duration>,
        sigmask: Option<&libc::sigset_t>,
    ) -> io::Result<()> {
        let mut fds: Vec<libc::pollfd> = self
            .sockets
            .iter()
            .map(|&fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
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

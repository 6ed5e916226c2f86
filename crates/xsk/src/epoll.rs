//! epoll(7): which of many file descriptors is readable, and one that is when any of them is.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Descriptors reported at a time.
const BATCH: usize = 32;

/// A set of file descriptors, each with a number. It is itself readable while one of them is.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    /// An empty set.
    ///
    /// # Errors
    /// What the kernel said, for want of fds or memory.
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, and nobody else has it.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds a descriptor under a number. It leaves the set when it, and every copy of it, is closed.
    ///
    /// # Errors
    /// What the kernel said, for want of memory; or `EEXIST`.
    pub fn add(&self, fd: RawFd, number: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, number)
    }

    /// Takes a descriptor out, if it is there.
    pub fn remove(&self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0);
    }

    fn control(&self, operation: i32, fd: RawFd, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: number,
        };
        // SAFETY: the event is read during the call.
        match unsafe { libc::epoll_ctl(self.as_raw_fd(), operation, fd, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Adds the numbers of those that are readable now to `ready`, not all at a time where they are many. It does
    /// not wait.
    pub fn ready(&self, ready: &mut Vec<u64>) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        let (fd, room) = (self.as_raw_fd(), BATCH as i32);
        // SAFETY: the kernel writes at most so many events into the array.
        let count = unsafe { libc::epoll_wait(fd, events.as_mut_ptr(), room, 0) };
        // It fails for signals alone: the next call sees what there is.
        let count = usize::try_from(count).unwrap_or(0);
        ready.extend(events[..count].iter().map(|event| event.u64));
    }
}

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Waker;

    fn ready(epoll: &Epoll) -> Vec<u64> {
        let mut ready = Vec::new();
        epoll.ready(&mut ready);
        ready
    }

    #[test]
    fn only_what_is_readable_is_reported_by_its_number() {
        let (quiet, loud) = (Waker::new().unwrap(), Waker::new().unwrap());
        let epoll = Epoll::new().unwrap();
        epoll.add(quiet.as_raw_fd(), 1).unwrap();
        epoll.add(loud.as_raw_fd(), 2).unwrap();
        assert_eq!(ready(&epoll), []);
        loud.wake();
        assert_eq!(ready(&epoll), [2]);
        loud.clear();
        assert_eq!(ready(&epoll), []);
    }

    #[test]
    fn what_was_taken_out_or_closed_is_reported_no_more() {
        let (out, closed) = (Waker::new().unwrap(), Waker::new().unwrap());
        let epoll = Epoll::new().unwrap();
        epoll.add(out.as_raw_fd(), 1).unwrap();
        epoll.add(closed.as_raw_fd(), 2).unwrap();
        out.wake();
        closed.wake();
        epoll.remove(out.as_raw_fd());
        drop(closed);
        assert_eq!(ready(&epoll), []);
    }
}

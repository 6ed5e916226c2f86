//! epoll(7).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Events that are taken at once.
const EVENTS: usize = 256;

/// An epoll instance, level-triggered.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// # Errors
    /// epoll_create1(2)'s.
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: no memory is concerned.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let none = libc::epoll_event { events: 0, u64: 0 };
        Ok(Epoll {
            // SAFETY: the kernel has just made it.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
            events: vec![none; EVENTS],
        })
    }

    /// Waits on a descriptor for these events, under this number.
    ///
    /// # Errors
    /// epoll_ctl(2)'s.
    pub fn add(&self, fd: RawFd, events: i32, number: usize) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, events, number)
    }

    /// Waits for other events.
    ///
    /// # Errors
    /// epoll_ctl(2)'s.
    pub fn change(&self, fd: RawFd, events: i32, number: usize) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, events, number)
    }

    fn control(&self, what: i32, fd: RawFd, events: i32, number: usize) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: number as u64,
        };
        // SAFETY: the event lives across the call.
        match unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), what, fd, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits for so many milliseconds, -1 for ever; how many events there are. An interruption is none.
    ///
    /// # Errors
    /// epoll_wait(2)'s.
    pub fn wait(&mut self, milliseconds: i32) -> io::Result<usize> {
        let (fd, events) = (self.fd.as_raw_fd(), self.events.as_mut_ptr());
        // SAFETY: there is room for so many events.
        let ready = unsafe { libc::epoll_wait(fd, events, EVENTS as i32, milliseconds) };
        match usize::try_from(ready) {
            Ok(ready) => Ok(ready),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }

    /// The number and the events of one of those that the last wait found.
    pub fn event(&self, index: usize) -> (usize, i32) {
        let event = self.events[index];
        (event.u64 as usize, event.events as i32)
    }
}

//! File descriptors of the application's: eventfds, and whether there is one at all.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

/// An eventfd that the application registered: the same one, by a descriptor of its own.
#[derive(Debug)]
pub struct EventFd(File);

impl EventFd {
    /// Takes hold of the eventfd behind this descriptor, which stays the caller's.
    ///
    /// # Errors
    /// `EBADF`: it is not open; `EINVAL`: it is not an eventfd; `EMFILE`: no descriptor is left.
    pub fn hold(fd: RawFd) -> io::Result<EventFd> {
        // SAFETY: no pointers are passed.
        let own = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
        if own < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, and nobody else has it.
        let own = EventFd(unsafe { File::from_raw_fd(own) });
        let link = format!("/proc/self/fd/{}", own.0.as_raw_fd());
        if std::fs::read_link(link)?.as_os_str() != "anon_inode:[eventfd]" {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(own)
    }

    /// Adds one to its counter; a counter that is full says enough as it is.
    pub fn signal(&self) {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLOUT,
            revents: 0,
        };
        // SAFETY: one pollfd, which lives through the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
        // A write to a full counter would wait.
        if ready == 1 {
            // Nobody could be told of a failure, and there is none: a counter with room takes it.
            let _ = (&self.0).write(&1u64.to_ne_bytes());
        }
    }
}

/// Whether a file descriptor of the process's is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: no pointers are passed.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn eventfd(count: u32) -> File {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::eventfd(count, libc::EFD_CLOEXEC) };
        assert!(fd >= 0, "an eventfd");
        // SAFETY: the kernel has just made it, and nobody else has it.
        unsafe { File::from_raw_fd(fd) }
    }

    fn count(mut eventfd: &File) -> u64 {
        let mut count = [0; 8];
        eventfd.read_exact(&mut count).expect("a counter");
        u64::from_ne_bytes(count)
    }

    #[test]
    fn a_signal_counts_at_the_applications_descriptor() {
        let theirs = eventfd(0);
        let ours = EventFd::hold(theirs.as_raw_fd()).unwrap();
        ours.signal();
        ours.signal();
        assert_eq!(count(&theirs), 2);
    }

    #[test]
    fn a_full_counter_is_left_alone() {
        let mut theirs = eventfd(0);
        theirs.write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
        EventFd::hold(theirs.as_raw_fd()).unwrap().signal();
        assert_eq!(count(&theirs), u64::MAX - 1);
    }

    #[test]
    fn what_is_not_an_eventfd_is_refused() {
        let error = |fd| EventFd::hold(fd).unwrap_err().raw_os_error();
        let file = File::open("/dev/null").unwrap();
        assert_eq!(error(file.as_raw_fd()), Some(libc::EINVAL));
        assert_eq!(error(-1), Some(libc::EBADF));
    }

    #[test]
    fn a_descriptor_is_open_or_not() {
        let file = File::open("/dev/null").unwrap();
        assert!(is_open(file.as_raw_fd()));
        assert!(!is_open(-1));
    }
}

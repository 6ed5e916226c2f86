//! Messages with descriptors over a pair of Unix sockets (unix(7): SOCK_SEQPACKET, SCM_RIGHTS).

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;
use std::time::Duration;

/// The most descriptors that are received with one message.
const MOST_FDS: usize = 8;

/// Room for a control message, aligned as its header is.
type Control = [u64; 8];

// SAFETY: the function computes.
const _: () =
    assert!(unsafe { libc::CMSG_SPACE(4 * MOST_FDS as u32) } as usize <= size_of::<Control>());

/// What came.
#[derive(Debug)]
pub(crate) struct Received {
    /// Its bytes: 0 if the other end is closed.
    pub(crate) len: usize,
    /// Its descriptors, close-on-exec.
    pub(crate) fds: Vec<OwnedFd>,
    /// Nothing was cut off.
    pub(crate) whole: bool,
}

/// Two ends, close-on-exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the call fills the array.
    match unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } {
        // SAFETY: the kernel has just made them, and nobody else has them.
        0 => Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A duplicate of a descriptor that this process has inherited, which is close-on-exec from now on.
///
/// # Errors
/// `EBADF`: it has none of that number. `ENOTSOCK`, `EPROTOTYPE`: it is something else.
pub(crate) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: numbers are passed; the descriptor is left as it is but for what exec does with it.
    let fd = unsafe {
        let fd = libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    check(&fd)?;
    // SAFETY: as above.
    match unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } {
        0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How long [`receive`] waits before it gives `EAGAIN`.
///
/// # Errors
/// As [`duplicate`].
pub(crate) fn set_patience(fd: &OwnedFd, patience: Duration) -> io::Result<()> {
    check(fd)?;
    let time = libc::timeval {
        tv_sec: patience.as_secs() as libc::time_t,
        tv_usec: 0,
    };
    let (value, len) = ((&raw const time).cast(), size_of::<libc::timeval>() as u32);
    let (level, option) = (libc::SOL_SOCKET, libc::SO_RCVTIMEO);
    // SAFETY: the option takes a timeval, and `value` is one for the whole call.
    match unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, value, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// That it is a Unix socket of this kind.
fn check(fd: &OwnedFd) -> io::Result<()> {
    for (option, expected) in [
        (libc::SO_DOMAIN, libc::AF_UNIX),
        (libc::SO_TYPE, libc::SOCK_SEQPACKET),
    ] {
        let (mut value, mut len) = (0i32, size_of::<i32>() as u32);
        let (to, level) = ((&raw mut value).cast(), libc::SOL_SOCKET);
        // SAFETY: both options are an int, and there is room for it.
        let status = unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, to, &raw mut len) };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
        if value != expected {
            return Err(io::Error::from_raw_os_error(libc::EPROTOTYPE));
        }
    }
    Ok(())
}

/// Sends one message, all of it or nothing; `EPIPE` if the other end is closed.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: i32,
) -> io::Result<()> {
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut message = header(&mut part);
    let fds_bytes = (fds.len() * size_of::<RawFd>()) as u32;
    // SAFETY: the function computes.
    let space = unsafe { libc::CMSG_SPACE(fds_bytes) } as usize;
    let mut control = vec![0u64; space.div_ceil(size_of::<u64>())];
    if !fds.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = space as _;
        // SAFETY: the control buffer has room for a header with that many descriptors, and is aligned for it.
        unsafe {
            let head = libc::CMSG_FIRSTHDR(&raw const message);
            (*head).cmsg_level = libc::SOL_SOCKET;
            (*head).cmsg_type = libc::SCM_RIGHTS;
            (*head).cmsg_len = libc::CMSG_LEN(fds_bytes) as _;
            let data = libc::CMSG_DATA(head).cast::<RawFd>();
            for (index, fd) in fds.iter().enumerate() {
                data.add(index).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: the header's parts live across the call, which reads them.
    match unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Receives one message.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control: Control = [0; 8];
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut message = header(&mut part);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header's parts live across the call, which fills them within their lengths.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    if len < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Received {
        len: len as usize,
        fds: descriptors(&message),
        whole: message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) == 0,
    })
}

/// The descriptors of a message that recvmsg(2) has filled.
fn descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel wrote the control messages, each with its true length; the descriptors in them are new,
    // and nobody else has them.
    unsafe {
        let mut head = libc::CMSG_FIRSTHDR(&raw const *message);
        while !head.is_null() {
            if (*head).cmsg_level == libc::SOL_SOCKET && (*head).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*head).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(head).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            head = libc::CMSG_NXTHDR(&raw const *message, head);
        }
    }
    fds
}

/// A message of one part.
fn header(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: zeroes are a msghdr: no name, no control message.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = null_mut();
    message.msg_iov = &raw mut *part;
    message.msg_iovlen = 1;
    message
}

//! What only rtnetlink(7) tells of an interface.

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use crate::interface::new_socket;

/// `struct nlmsghdr` and `struct ifinfomsg`: the question, and how the answer begins.
#[repr(C)]
#[derive(Default)]
struct LinkMessage {
    len: u32,
    kind: u16,
    message_flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    _pad: u8,
    _device_kind: u16,
    index: i32,
    flags: u32,
    _change: u32,
}

const _: () = assert!(size_of::<LinkMessage>() == 32);

/// The interface's flags as they are now, `IFF_LOWER_UP` (the carrier) among them. SIOCGIFFLAGS has but the lower 16
/// bits, and `IFF_RUNNING` there can be a second late (net/core/link_watch.c).
pub(crate) fn link_flags(index: i32) -> io::Result<u32> {
    // Its protocol is 0, NETLINK_ROUTE.
    let socket = new_socket(libc::AF_NETLINK, libc::SOCK_RAW)?;
    let question = LinkMessage {
        len: size_of::<LinkMessage>() as u32,
        kind: libc::RTM_GETLINK,
        message_flags: libc::NLM_F_REQUEST as u16,
        index,
        ..LinkMessage::default()
    };
    // SAFETY: the question is readable for its length, and the kernel copies it.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            (&raw const question).cast(),
            size_of::<LinkMessage>(),
            0,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answer = LinkMessage::default();
    // SAFETY: the answer is writable for its length, and takes any bytes; what exceeds it is cut off.
    let received = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            (&raw mut answer).cast(),
            size_of::<LinkMessage>(),
            0,
        )
    };
    match (usize::try_from(received), answer.kind) {
        (Err(_), _) => Err(io::Error::last_os_error()),
        // The whole of the message, and the interface that was asked about.
        (Ok(32), libc::RTM_NEWLINK) if answer.index == index => Ok(answer.flags),
        _ => Err(io::Error::from_raw_os_error(libc::ENODEV)),
    }
}

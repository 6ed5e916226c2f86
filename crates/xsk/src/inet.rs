//! Kernel sockets of the Internet families on one interface: making them, and what recvmsg(2) says of a
//! packet.

use std::ffi::CString;
use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The index of an interface of the calling thread's network namespace.
///
/// # Errors
/// `ENODEV`: there is none of that name.
pub(crate) fn index_of(interface: &str) -> io::Result<u32> {
    let none = || io::Error::from_raw_os_error(libc::ENODEV);
    let name = CString::new(interface).map_err(|_| none())?;
    // SAFETY: the name ends in a zero, and lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(none()),
        index => Ok(index),
    }
}

/// A socket that does not block and gets only what arrives by this interface.
///
/// # Errors
/// What the kernel says: `EMFILE`, `EAFNOSUPPORT`, `EPERM`, `ENODEV`.
pub(crate) fn socket(index: u32, family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(family, kind, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    set_flag(&fd, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, index as i32)?;
    Ok(fd)
}

/// Sets a socket option that takes an int.
pub(crate) fn set_flag(fd: &OwnedFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: an int is what the option takes, and it has no pointers.
    unsafe { set_option(fd, level, option, &value) }
}

/// Sets a socket option.
///
/// # Safety
/// The option takes a `T`; what a `T` points at is as the option wants it.
pub(crate) unsafe fn set_option<T>(
    fd: &OwnedFd,
    level: i32,
    option: i32,
    value: &T,
) -> io::Result<()> {
    let (value, len) = ((&raw const *value).cast(), size_of::<T>() as u32);
    // SAFETY: the value is readable for its length; the rest is the caller's word.
    checked(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, value, len) })
}

pub(crate) fn bind(fd: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let (address, len) = encode(address);
    // SAFETY: the address is readable for its length.
    checked(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) })
}

pub(crate) fn local_address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    // SAFETY: the struct is integers, for which zero is a value.
    let mut address: libc::sockaddr_storage = unsafe { zeroed() };
    let mut len = size_of::<libc::sockaddr_storage>() as u32;
    // SAFETY: the address is writable for its length.
    let status =
        unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut len) };
    checked(status)?;
    decode(&address).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Sends a packet without waiting.
pub(crate) fn send(fd: &OwnedFd, packet: &[u8], to: IpAddr) -> io::Result<()> {
    let (address, len) = encode(SocketAddr::new(to, 0));
    // SAFETY: packet and address are readable for their lengths.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_NOSIGNAL,
            (&raw const address).cast(),
            len,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// A packet that was received.
pub(crate) struct Packet {
    /// Its sender; an IPv4 one as such, on an IPv6 socket too.
    pub(crate) from: SocketAddr,
    /// Its destination, where the socket was told to say so (`IP_PKTINFO`, `IPV6_RECVPKTINFO`).
    pub(crate) to: Option<IpAddr>,
    /// Its bytes in the buffer.
    pub(crate) len: usize,
    /// It was longer than the buffer.
    pub(crate) truncated: bool,
}

/// Room for one message with the destination.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// The next packet of a socket that does not block; `None`: there is none.
pub(crate) fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Packet>> {
    // SAFETY: the structs are integers and pointers, for which zero is a value.
    let (mut address, mut message): (libc::sockaddr_storage, libc::msghdr) = unsafe { zeroed() };
    let mut control = Control([0; 64]);
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>();
    let len = loop {
        // SAFETY: address, buffer and control are writable for the lengths given, through the call.
        let len = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) };
        if let Ok(len) = usize::try_from(len) {
            break len;
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => return Ok(None),
            _ => return Err(error),
        }
    };
    let from = match decode(&address).ok_or(io::ErrorKind::InvalidData)? {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
            SocketAddr::new(v6.ip().to_canonical(), v6.port())
        }
        from => from,
    };
    Ok(Some(Packet {
        from,
        // SAFETY: recvmsg has filled the header, and what it points at lives on.
        to: unsafe { destination(&message) }.map(|to| to.to_canonical()),
        len: len.min(buffer.len()),
        truncated: message.msg_flags & libc::MSG_TRUNC != 0,
    }))
}

/// What the control messages say of the destination: the address in the packet's header (ip(7), ipv6(7)).
///
/// # Safety
/// The header is as recvmsg(2) left it, and its control buffer is alive.
unsafe fn destination(message: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the caller's word.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a header that lies in the buffer whole.
        let header = unsafe { next.read_unaligned() };
        let len = header.cmsg_len;
        // SAFETY: the data follow the header, and `len` counts both; their length is looked at before
        // they are read.
        let data = unsafe { libc::CMSG_DATA(next) };
        let holds = |bytes: usize| len >= data as usize - next as usize + bytes;
        match (header.cmsg_level, header.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) if holds(size_of::<libc::in_pktinfo>()) => {
                // SAFETY: so many bytes are there, and any are an in_pktinfo.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                return Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if holds(size_of::<libc::in6_pktinfo>()) => {
                // SAFETY: so many bytes are there, and any are an in6_pktinfo.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            // SAFETY: `next` is a header of this buffer.
            _ => next = unsafe { libc::CMSG_NXTHDR(message, next) },
        }
    }
    None
}

fn checked(status: i32) -> io::Result<()> {
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// As the kernel takes it, and its length.
fn encode(address: SocketAddr) -> (libc::sockaddr_storage, u32) {
    // SAFETY: the struct is integers, for which zero is a value.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let len = match address {
        SocketAddr::V4(v4) => {
            let value = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is larger than any address, and aligned for it.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(value) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let value = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(value) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, len as u32)
}

/// `None` for another family than those of the Internet.
fn decode(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the storage is larger than any address and aligned for it; any bytes are one.
            let v4 = unsafe { (&raw const *storage).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { (&raw const *storage).cast::<libc::sockaddr_in6>().read() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

//! What an interface offers to XDP and AF_XDP, as the kernel's generic netlink family `netdev` tells it
//! (Linux 6.3; include/uapi/linux/netdev.h, net/core/netdev-genl.c `netdev_nl_dev_fill`).
//!
//! One question and one answer, of which three numbers are read: too little for a netlink library.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const FAMILY: &[u8] = b"netdev\0";
/// `NETDEV_CMD_DEV_GET`.
const DEV_GET: u8 = 1;
/// `NETDEV_A_DEV_IFINDEX`, `NETDEV_A_DEV_XDP_FEATURES`, `NETDEV_A_DEV_XDP_ZC_MAX_SEGS`,
/// `NETDEV_A_DEV_XSK_FEATURES`.
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;
const DEV_XDP_ZC_MAX_SEGS: u16 = 4;
const DEV_XSK_FEATURES: u16 = 6;
/// `NETDEV_XDP_ACT_XSK_ZEROCOPY`.
const ACT_XSK_ZEROCOPY: u64 = 8;
/// `NETDEV_XSK_FLAGS_TX_CHECKSUM`.
const XSK_TX_CHECKSUM: u64 = 2;

/// Bytes of `struct nlmsghdr`, `struct genlmsghdr` and `struct nlattr`.
const MESSAGE_HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;
/// `NLA_TYPE_MASK`: the two bits above it are flags.
const TYPE_MASK: u16 = 0x3fff;
/// The longest answer, the controller's description of a family, has about 1 KiB.
const ANSWER_BYTES: usize = 16 << 10;

/// What the kernel says that an interface offers. A kernel that does not tell is no error: what is not known
/// is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// Whether the driver can do AF_XDP without copies (Linux 6.3).
    pub zero_copy: Option<bool>,
    /// Descriptors that one packet may have without copies (Linux 6.6); not told by a driver that cannot do
    /// without.
    pub zero_copy_segments: Option<u32>,
    /// Whether the NIC writes the checksums of packets sent without copies (Linux 6.8). Of packets that the
    /// kernel copies it writes them itself, or has the NIC do it, whatever is said here.
    pub tx_checksum: Option<bool>,
    /// Why the kernel told nothing.
    pub unknown: Option<String>,
}

/// Why there was no answer.
#[derive(Debug)]
enum Silence {
    /// The kernel has no such family.
    NoFamily,
    /// Something else was in the way.
    Io(io::Error),
    /// An answer that makes no sense.
    Malformed,
}

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Silence {
        Silence::Io(error)
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Silence::NoFamily => write!(f, "needs Linux 6.3"),
            Silence::Io(error) => write!(f, "generic netlink: {error}"),
            Silence::Malformed => write!(f, "generic netlink: an answer that makes no sense"),
        }
    }
}

impl Features {
    /// Asks about an interface of the calling thread's network namespace.
    pub(crate) fn of(ifindex: u32) -> Features {
        ask(ifindex).unwrap_or_else(|silence| Features {
            unknown: Some(silence.to_string()),
            ..Features::default()
        })
    }

    /// Reads the attributes of an answer.
    fn read(attributes: &[u8]) -> Option<Features> {
        let mut features = Features::default();
        for attribute in Attributes(attributes) {
            let (kind, value) = attribute?;
            match kind {
                DEV_XDP_FEATURES => {
                    features.zero_copy = Some(u64_of(value)? & ACT_XSK_ZEROCOPY != 0);
                }
                DEV_XDP_ZC_MAX_SEGS => {
                    let segments = value.try_into().ok().map(u32::from_ne_bytes)?;
                    // A packet has one descriptor at least.
                    features.zero_copy_segments = Some(segments.max(1));
                }
                DEV_XSK_FEATURES => {
                    features.tx_checksum = Some(u64_of(value)? & XSK_TX_CHECKSUM != 0);
                }
                _ => {}
            }
        }
        Some(features)
    }
}

fn ask(ifindex: u32) -> Result<Features, Silence> {
    let netlink = Netlink::open()?;
    let family = [attribute(libc::CTRL_ATTR_FAMILY_NAME as u16, FAMILY)].concat();
    let get_family = libc::CTRL_CMD_GETFAMILY as u8;
    let answer = netlink.ask(libc::GENL_ID_CTRL as u16, get_family, &family);
    let answer = answer.map_err(|silence| match silence {
        Silence::Io(error) if error.raw_os_error() == Some(libc::ENOENT) => Silence::NoFamily,
        other => other,
    })?;
    let family = Attributes(&answer).find_map(|attribute| match attribute {
        Some((kind, value)) if kind == libc::CTRL_ATTR_FAMILY_ID as u16 => {
            value.try_into().ok().map(u16::from_ne_bytes)
        }
        _ => None,
    });
    let family = family.ok_or(Silence::Malformed)?;
    let device = attribute(DEV_IFINDEX, &ifindex.to_ne_bytes());
    let answer = netlink.ask(family, DEV_GET, &device)?;
    Features::read(&answer).ok_or(Silence::Malformed)
}

/// A generic netlink socket with at most one question under way.
struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    fn open() -> io::Result<Netlink> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_GENERIC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Netlink { socket })
    }

    /// Asks the kernel; returns the attributes of its answer.
    fn ask(&self, family: u16, command: u8, attributes: &[u8]) -> Result<Vec<u8>, Silence> {
        let question = message(family, command, attributes);
        let fd = self.socket.as_raw_fd();
        // SAFETY: the question is readable for its length.
        let sent = unsafe { libc::send(fd, question.as_ptr().cast(), question.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error().into());
        }
        let mut answer = vec![0; ANSWER_BYTES];
        // The kernel has answered when send returns (`netlink_unicast_kernel`), so this need not wait.
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: the buffer is writable for its length; with MSG_TRUNC the kernel writes no more and says
        // how long the answer is.
        let len = unsafe { libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), flags) };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        let answer = answer.get(..len).ok_or(Silence::Malformed)?;
        Ok(answered(answer, family)?.to_vec())
    }
}

/// A question: header, generic header, attributes.
fn message(family: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    let len = MESSAGE_HEADER + GENERIC_HEADER + attributes.len();
    let mut message = Vec::with_capacity(len);
    message.extend((len as u32).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Sequence number and port: one question at a time needs no number, and the kernel knows the port.
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = ATTRIBUTE_HEADER + value.len();
    let mut attribute = Vec::with_capacity(len.next_multiple_of(4));
    attribute.extend((len as u16).to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(len.next_multiple_of(4), 0);
    attribute
}

/// The attributes of an answer, or the error that it is.
fn answered(answer: &[u8], family: u16) -> Result<&[u8], Silence> {
    let (header, _) = answer
        .split_first_chunk::<MESSAGE_HEADER>()
        .ok_or(Silence::Malformed)?;
    let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let payload = answer.get(MESSAGE_HEADER..len).ok_or(Silence::Malformed)?;
    if i32::from(kind) == libc::NLMSG_ERROR {
        let (errno, _) = payload.split_first_chunk().ok_or(Silence::Malformed)?;
        let errno = i32::from_ne_bytes(*errno).saturating_neg();
        return Err(io::Error::from_raw_os_error(errno).into());
    }
    match payload.get(GENERIC_HEADER..) {
        Some(attributes) if kind == family => Ok(attributes),
        _ => Err(Silence::Malformed),
    }
}

fn u64_of(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_ne_bytes)
}

/// The attributes in a row of bytes, each with its type; `None`, and then no more, where the bytes are none.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        let Some((header, _)) = bytes.split_first_chunk::<ATTRIBUTE_HEADER>() else {
            return Some(None);
        };
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let Some(value) = bytes.get(ATTRIBUTE_HEADER..len) else {
            return Some(None);
        };
        // The last one need not be padded.
        self.0 = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Some((kind, value)))
    }
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;

//! Netlink, as far as the kernel is asked for something and answers (netlink(7)): rtnetlink and the generic families
//! `netdev` and `ethtool` are read by it.
//!
//! A walk over messages and one over attributes are all that there is: too little for a library.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Bytes of `struct nlmsghdr`, `struct genlmsghdr` and `struct nlattr`.
pub(crate) const MESSAGE_HEADER: usize = 16;
pub(crate) const GENERIC_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `NLA_TYPE_MASK`: the two bits above it are flags.
const TYPE_MASK: u16 = 0x3fff;
/// No answer read here is longer: the kernel puts at most 32 KiB into a part of a dump (`netlink_dump`), and an
/// interface's offloads have about 4 KiB.
const ANSWER_BYTES: usize = 64 << 10;

/// Why there was no answer.
#[derive(Debug)]
pub(crate) enum Silence {
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

impl From<Silence> for io::Error {
    fn from(silence: Silence) -> io::Error {
        match silence {
            Silence::Io(error) => error,
            other => io::Error::other(other.to_string()),
        }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Silence::NoFamily => write!(f, "this kernel has no such netlink family"),
            Silence::Io(error) => write!(f, "netlink: {error}"),
            Silence::Malformed => write!(f, "netlink: an answer that makes no sense"),
        }
    }
}

/// A netlink socket with at most one question under way.
pub(crate) struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace, of the protocol `NETLINK_ROUTE` or
    /// `NETLINK_GENERIC`.
    pub(crate) fn open(protocol: i32) -> io::Result<Netlink> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Netlink { socket })
    }

    /// Asks for one thing; returns what is in the answer behind its header. `answer` is the answer's type.
    pub(crate) fn ask(&self, kind: u16, question: &[u8], answer: u16) -> Result<Vec<u8>, Silence> {
        self.send(&message(kind, libc::NLM_F_REQUEST as u16, question))?;
        match first(&self.receive()?, answer)? {
            (Some(payload), _) => Ok(payload.to_vec()),
            (None, _) => Err(Silence::Malformed),
        }
    }

    /// Asks for all that there is of a kind; returns each answer as [`ask`](Self::ask) does.
    pub(crate) fn dump(
        &self,
        kind: u16,
        question: &[u8],
        answer: u16,
    ) -> Result<Vec<Vec<u8>>, Silence> {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
        self.send(&message(kind, flags, question))?;
        let mut answers = Vec::new();
        loop {
            let part = self.receive()?;
            let mut rest = part.as_slice();
            while !rest.is_empty() {
                let (payload, behind) = first(rest, answer)?;
                match payload {
                    Some(payload) => answers.push(payload.to_vec()),
                    None => return Ok(answers),
                }
                rest = behind;
            }
        }
    }

    /// The number of a generic family (`CTRL_CMD_GETFAMILY`).
    pub(crate) fn family(&self, name: &str) -> Result<u16, Silence> {
        let name = [name.as_bytes(), b"\0"].concat();
        let name = attribute(libc::CTRL_ATTR_FAMILY_NAME as u16, &name);
        let answer = self.ask_generic(
            libc::GENL_ID_CTRL as u16,
            libc::CTRL_CMD_GETFAMILY as u8,
            &name,
        );
        let answer = answer.map_err(|silence| match silence {
            Silence::Io(error) if error.raw_os_error() == Some(libc::ENOENT) => Silence::NoFamily,
            other => other,
        })?;
        let number = find(&answer, libc::CTRL_ATTR_FAMILY_ID as u16)?;
        number.and_then(u16_of).ok_or(Silence::Malformed)
    }

    /// Asks a generic family; returns the attributes of its answer.
    pub(crate) fn ask_generic(
        &self,
        family: u16,
        command: u8,
        attributes: &[u8],
    ) -> Result<Vec<u8>, Silence> {
        let question = [&[command, 1, 0, 0], attributes].concat();
        let answer = self.ask(family, &question, family)?;
        match answer.get(GENERIC_HEADER..) {
            Some(attributes) => Ok(attributes.to_vec()),
            None => Err(Silence::Malformed),
        }
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        let fd = self.socket.as_raw_fd();
        // SAFETY: the message is readable for its length.
        let sent = unsafe { libc::send(fd, message.as_ptr().cast(), message.len(), 0) };
        match sent {
            ..0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// What the kernel wrote at once: one answer, or a part of a dump.
    fn receive(&self) -> Result<Vec<u8>, Silence> {
        let mut answer = vec![0; ANSWER_BYTES];
        // The kernel has answered when send returns (`netlink_unicast_kernel`), and has written a dump's next part
        // when recv returns (`netlink_recvmsg`), so this need not wait.
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        let fd = self.socket.as_raw_fd();
        // SAFETY: the buffer is writable for its length; with MSG_TRUNC the kernel writes no more and says
        // how long the answer is.
        let len = unsafe { libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), flags) };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        if len > answer.len() {
            return Err(Silence::Malformed);
        }
        answer.truncate(len);
        Ok(answer)
    }
}

/// A message: its header, and what is behind it.
pub(crate) fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let len = MESSAGE_HEADER + payload.len();
    let mut message = Vec::with_capacity(len);
    message.extend((len as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and port: one question at a time needs no number, and the kernel knows the port.
    message.extend([0; 8]);
    message.extend(payload);
    message
}

/// An attribute, padded.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = ATTRIBUTE_HEADER + value.len();
    let mut attribute = Vec::with_capacity(len.next_multiple_of(4));
    attribute.extend((len as u16).to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(len.next_multiple_of(4), 0);
    attribute
}

/// An attribute that holds attributes.
pub(crate) fn nest(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, attributes)
}

/// A message of an answer: what is behind its header, nothing at the end of a dump; and the bytes behind it.
type First<'a> = (Option<&'a [u8]>, &'a [u8]);

/// The first of the messages in a row of bytes: what is behind its header, or the error that it is, or nothing if it
/// is the end of a dump; and the bytes behind it.
pub(crate) fn first(bytes: &[u8], answer: u16) -> Result<First<'_>, Silence> {
    let (header, _) = bytes
        .split_first_chunk::<MESSAGE_HEADER>()
        .ok_or(Silence::Malformed)?;
    let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let payload = bytes.get(MESSAGE_HEADER..len).ok_or(Silence::Malformed)?;
    let rest = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    let errno = || {
        let (errno, _) = payload.split_first_chunk()?;
        Some(i32::from_ne_bytes(*errno).saturating_neg())
    };
    match i32::from(kind) {
        _ if kind == answer => Ok((Some(payload), rest)),
        // A dump's end has an errno too.
        libc::NLMSG_DONE if matches!(errno(), None | Some(0)) => Ok((None, rest)),
        libc::NLMSG_ERROR | libc::NLMSG_DONE => {
            let errno = errno().ok_or(Silence::Malformed)?;
            Err(io::Error::from_raw_os_error(errno).into())
        }
        _ => Err(Silence::Malformed),
    }
}

/// The attribute of a kind, if there is one.
pub(crate) fn find(attributes: &[u8], kind: u16) -> Result<Option<&[u8]>, Silence> {
    for attribute in Attributes(attributes) {
        match attribute.ok_or(Silence::Malformed)? {
            (found, value) if found == kind => return Ok(Some(value)),
            _ => {}
        }
    }
    Ok(None)
}

pub(crate) fn u16_of(value: &[u8]) -> Option<u16> {
    value.try_into().ok().map(u16::from_ne_bytes)
}

pub(crate) fn u32_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

pub(crate) fn u64_of(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_ne_bytes)
}

/// A string with or without its terminator.
pub(crate) fn string_of(value: &[u8]) -> String {
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The attributes in a row of bytes, each with its type; `None`, and then no more, where the bytes are none.
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

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
#[path = "netlink_tests.rs"]
mod tests;

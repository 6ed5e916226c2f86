//! Netlink, as far as the kernel is asked for something and answers (netlink(7)): rtnetlink and the generic families
//! `netdev` and `ethtool` are read by it.
//!
//! Sockets, the walk over messages, and the attributes of the generic families. What rtnetlink's messages hold is in
//! `rtnetlink`.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

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
pub(crate) const ANSWER_BYTES: usize = 64 << 10;
/// So often is a dump asked for again that was not of one moment.
const DUMPS: u32 = 8;

/// Why there was no answer.
#[derive(Debug)]
pub(crate) enum Silence {
    /// The kernel has no such family.
    NoFamily,
    /// Something else was in the way.
    Io(io::Error),
    /// An answer that makes no sense.
    Malformed,
    /// What was asked for changed each time while the kernel told it.
    Unsteady,
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
            Silence::Unsteady => write!(f, "netlink: it changes faster than it can be read"),
        }
    }
}

/// A netlink socket with at most one question under way.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    /// The number of the question that was asked last.
    sequence: Cell<u32>,
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
        Ok(Netlink {
            socket,
            sequence: Cell::new(0),
        })
    }

    /// Has the socket receive what these groups are told: group N by the bit N - 1.
    pub(crate) fn join(&self, groups: u32) -> io::Result<()> {
        let mut address = no_address();
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = groups;
        let len = size_of::<libc::sockaddr_nl>() as u32;
        let fd = self.socket.as_raw_fd();
        // SAFETY: the address is readable for its length.
        match unsafe { libc::bind(fd, (&raw const address).cast(), len) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Asks for one thing; returns what is in the answer behind its header. `answer` is the answer's type.
    pub(crate) fn ask(&self, kind: u16, question: &[u8], answer: u16) -> Result<Vec<u8>, Silence> {
        self.send(kind, libc::NLM_F_REQUEST, question)?;
        match first(&self.receive()?, answer)? {
            (Some(payload), _) => Ok(payload.to_vec()),
            (None, _) => Err(Silence::Malformed),
        }
    }

    /// Has the kernel do something, with the flags that say how.
    pub(crate) fn tell(&self, kind: u16, flags: i32, order: &[u8]) -> Result<(), Silence> {
        self.send(kind, libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags, order)?;
        let answer = self.receive()?;
        let header = Header::of(&answer).ok_or(Silence::Malformed)?;
        match (i32::from(header.kind), header.payload(&answer)) {
            (libc::NLMSG_ERROR, Some(payload)) => match errno(payload) {
                Some(0) => Ok(()),
                Some(errno) => Err(io::Error::from_raw_os_error(errno).into()),
                None => Err(Silence::Malformed),
            },
            _ => Err(Silence::Malformed),
        }
    }

    /// Asks for all that there is of a kind, as it was at one moment; returns each answer as [`ask`](Self::ask) does.
    pub(crate) fn dump(
        &self,
        kind: u16,
        question: &[u8],
        answer: u16,
    ) -> Result<Vec<Vec<u8>>, Silence> {
        for _ in 0..DUMPS {
            if let Some(answers) = self.dump_once(kind, question, answer)? {
                return Ok(answers);
            }
        }
        Err(Silence::Unsteady)
    }

    /// `None` if something changed meanwhile (`NLM_F_DUMP_INTR`), so that an answer may be missing or there twice.
    fn dump_once(
        &self,
        kind: u16,
        question: &[u8],
        answer: u16,
    ) -> Result<Option<Vec<Vec<u8>>>, Silence> {
        self.send(kind, libc::NLM_F_REQUEST | libc::NLM_F_DUMP, question)?;
        let mut answers = Vec::new();
        let mut steady = true;
        loop {
            let part = self.receive()?;
            let mut rest = part.as_slice();
            while !rest.is_empty() {
                let flags = Header::of(rest).map_or(0, |header| header.flags);
                steady &= i32::from(flags) & libc::NLM_F_DUMP_INTR == 0;
                let (payload, behind) = first(rest, answer)?;
                match payload {
                    Some(payload) => answers.push(payload.to_vec()),
                    None => return Ok(steady.then_some(answers)),
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

    fn send(&self, kind: u16, flags: i32, payload: &[u8]) -> io::Result<()> {
        self.sequence.set(self.sequence.get().wrapping_add(1));
        let message = message(kind, flags as u16, self.sequence.get(), payload);
        let fd = self.socket.as_raw_fd();
        // SAFETY: the message is readable for its length.
        let sent = unsafe { libc::send(fd, message.as_ptr().cast(), message.len(), 0) };
        match sent {
            ..0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// What the kernel wrote at once for the last question: one answer, or a part of a dump. What is left of a
    /// question that was given up is passed over.
    fn receive(&self) -> Result<Vec<u8>, Silence> {
        let mut buffer = vec![0; ANSWER_BYTES];
        loop {
            // The kernel has answered when send returns (`netlink_unicast_kernel`), and has written a dump's next part
            // when recv returns (`netlink_recvmsg`), so this need not wait.
            let len = self.receive_into(&mut buffer)?;
            let header = Header::of(&buffer[..len]).ok_or(Silence::Malformed)?;
            if header.sequence == self.sequence.get() {
                buffer.truncate(len);
                return Ok(buffer);
            }
        }
    }

    /// What the kernel wrote at once, of any kind; the number of its bytes. `EAGAIN` if there is nothing.
    pub(crate) fn receive_into(&self, buffer: &mut [u8]) -> Result<usize, Silence> {
        loop {
            let mut from = no_address();
            let mut from_len = size_of::<libc::sockaddr_nl>() as u32;
            let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
            let fd = self.socket.as_raw_fd();
            // SAFETY: the buffer and the address are writable for their lengths; with MSG_TRUNC the kernel writes no
            // more and says how long the message is.
            let len = unsafe {
                libc::recvfrom(
                    fd,
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    flags,
                    (&raw mut from).cast(),
                    &raw mut from_len,
                )
            };
            match usize::try_from(len) {
                // A process may write to this socket too: the kernel alone is port 0.
                Ok(_) if from.nl_pid != 0 => {}
                Ok(len) if len > buffer.len() => return Err(Silence::Malformed),
                Ok(len) => return Ok(len),
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(error.into()),
                },
            }
        }
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn no_address() -> libc::sockaddr_nl {
    // SAFETY: a sockaddr_nl is integers.
    unsafe { zeroed() }
}

/// A message: its header, and what is behind it.
pub(crate) fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let len = MESSAGE_HEADER + payload.len();
    let mut message = Vec::with_capacity(len);
    message.extend((len as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    // The kernel knows the port.
    message.extend([0; 4]);
    message.extend(payload);
    message
}

/// `struct nlmsghdr`, as far as it is used.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    len: usize,
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
}

impl Header {
    /// The header of the first of the messages in a row of bytes.
    pub(crate) fn of(bytes: &[u8]) -> Option<Header> {
        let (header, _) = bytes.split_first_chunk::<MESSAGE_HEADER>()?;
        let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        Some(Header {
            len: word(0) as usize,
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: word(8),
        })
    }

    /// What is behind it; `None` if its length is wrong.
    pub(crate) fn payload<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(MESSAGE_HEADER..self.len)
    }

    /// The bytes behind the message.
    pub(crate) fn rest<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes
            .get(self.len.next_multiple_of(4)..)
            .unwrap_or_default()
    }
}

/// The errno that an error or the end of a dump begins with.
fn errno(payload: &[u8]) -> Option<i32> {
    let (errno, _) = payload.split_first_chunk()?;
    Some(i32::from_ne_bytes(*errno).saturating_neg())
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
    let header = Header::of(bytes).ok_or(Silence::Malformed)?;
    let payload = header.payload(bytes).ok_or(Silence::Malformed)?;
    let rest = header.rest(bytes);
    match i32::from(header.kind) {
        _ if header.kind == answer => Ok((Some(payload), rest)),
        // A dump's end has an errno too.
        libc::NLMSG_DONE if matches!(errno(payload), None | Some(0)) => Ok((None, rest)),
        libc::NLMSG_ERROR | libc::NLMSG_DONE => {
            let errno = errno(payload).ok_or(Silence::Malformed)?;
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

//! What goes into operations and comes back from them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;

use bytes::{Bytes, BytesMut};

use ringwire_umem::{Area, Lent};

use super::group::ProvidedBuffer;
use crate::queue::PushError;

/// A direct descriptor: a slot of the ring's table of files.
///
/// It is a number: what it names is the socket that is in the slot when an operation starts, and the
/// slot of a socket that was closed is given to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Socket(
    /// The slot.
    pub u32,
);

/// An operation that was queued, for [`Ring::cancel`](super::Ring::cancel). It names no other, also
/// when it has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation(pub(super) u64);

/// Bytes in memory that an operation may have: to send, or received.
#[derive(Debug)]
pub enum Payload {
    /// Bytes that others may share.
    Bytes(Bytes),
    /// Bytes of one's own: what was received into is this.
    BytesMut(BytesMut),
    /// Bytes that were received into a buffer of a [`BufferGroup`](super::BufferGroup).
    Provided(ProvidedBuffer),
    /// Bytes that were received, where the NIC wrote them.
    Lent(Lent),
    /// Bytes of a registered area: what a zero-copy send sends from where they lie.
    Area(Area),
}

impl Payload {
    /// The buffer, if it is of the kind that [`Ring::recv`](super::Ring::recv) takes.
    pub fn into_bytes_mut(self) -> Option<BytesMut> {
        match self {
            Payload::BytesMut(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The registered area that it is, if it is one.
    pub fn into_area(self) -> Option<Area> {
        match self {
            Payload::Area(area) => Some(area),
            _ => None,
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Payload::Bytes(bytes) => bytes,
            Payload::BytesMut(bytes) => bytes,
            Payload::Provided(buffer) => buffer,
            Payload::Lent(lent) => lent,
            Payload::Area(area) => area,
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Payload {
        Payload::Bytes(bytes)
    }
}

impl From<BytesMut> for Payload {
    fn from(bytes: BytesMut) -> Payload {
        Payload::BytesMut(bytes)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        Payload::Bytes(bytes.into())
    }
}

impl From<&'static [u8]> for Payload {
    fn from(bytes: &'static [u8]) -> Payload {
        Payload::Bytes(Bytes::from_static(bytes))
    }
}

impl From<Area> for Payload {
    fn from(area: Area) -> Payload {
        Payload::Area(area)
    }
}

impl From<Lent> for Payload {
    fn from(lent: Lent) -> Payload {
        Payload::Lent(lent)
    }
}

impl From<ProvidedBuffer> for Payload {
    fn from(buffer: ProvidedBuffer) -> Payload {
        Payload::Provided(buffer)
    }
}

/// A completion, with the memory that comes back with it.
#[derive(Debug)]
pub struct Completed {
    /// What the operation was given.
    pub user_data: u64,
    /// What came of it: the operation's result (`docs/OPERATIONS.md`), or its errno.
    pub result: io::Result<u32>,
    /// The operation goes on, and what it was given stays with it (`IORING_CQE_F_MORE`).
    pub more: bool,
    /// The completion's flags, `IORING_CQE_F_*`.
    pub flags: u32,
    /// What was received; or what was sent, as it was given.
    pub payload: Option<Payload>,
    /// What follows in other chunks, of a datagram that lies in several: only from a
    /// [lending group](super::Ring::lending_group).
    pub rest: Vec<Lent>,
    /// Who sent what was received, or connected.
    pub address: Option<SocketAddr>,
    /// The datagram was longer than its buffer; what did not fit is lost.
    pub truncated: bool,
    /// Of the last completion of a zero-copy send: its payload was copied, or a part of it, or nothing of it was
    /// sent (`IORING_NOTIF_USAGE_ZC_COPIED`).
    pub copied: bool,
}

impl Completed {
    /// The socket that SOCKET or ACCEPT has made.
    ///
    /// # Errors
    /// The operation's.
    pub fn socket(self) -> io::Result<Socket> {
        self.result.map(Socket)
    }
}

/// The submission queue is full: nothing was queued, and this is what the operation was given.
/// [`Ring::reserve`](super::Ring::reserve) makes room.
pub struct Full<T>(
    /// The memory.
    pub T,
);

impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full")
    }
}

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PushError.fmt(f)
    }
}

impl<T> std::error::Error for Full<T> {}

impl<T> From<Full<T>> for io::Error {
    fn from(_: Full<T>) -> io::Error {
        io::Error::new(io::ErrorKind::WouldBlock, PushError)
    }
}

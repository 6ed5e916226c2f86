//! The operations: each queues one entry.

use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;

use super::Ring;
use super::group::BufferGroup;
use super::payload::{Full, Operation, Payload, Socket};
use super::request::Request;

/// Queued, or the queue is full and the memory comes back.
pub type Queued<T = ()> = Result<Operation, Full<T>>;

/// Flags of a receive whose result is what was stored.
const RECEIVE_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_PEEK | libc::MSG_WAITALL;

/// The operations. `user_data` comes back in their completions; `docs/OPERATIONS.md` has their results
/// and errnos.
///
/// Each fails with [`Full`] when the submission queue is full, and gives the memory back.
impl Ring {
    /// NOP: completes with 0.
    pub fn nop(&mut self, user_data: u64) -> Queued {
        self.plain(user_data, Request::Nop)
    }

    /// SOCKET: makes a socket of a domain (`AF_INET`, `AF_INET6`) and a kind (`SOCK_DGRAM`,
    /// `SOCK_STREAM`) in a free slot: [`Completed::socket`](super::Completed::socket).
    pub fn socket(&mut self, user_data: u64, domain: i32, kind: i32) -> Queued {
        self.plain(user_data, Request::Socket { domain, kind })
    }

    /// BIND.
    pub fn bind(&mut self, user_data: u64, socket: Socket, address: SocketAddr) -> Queued {
        self.plain(user_data, Request::Bind(socket, address))
    }

    /// CONNECT.
    pub fn connect(&mut self, user_data: u64, socket: Socket, address: SocketAddr) -> Queued {
        self.plain(user_data, Request::Connect(socket, address))
    }

    /// LISTEN.
    pub fn listen(&mut self, user_data: u64, socket: Socket, backlog: i32) -> Queued {
        self.plain(user_data, Request::Listen(socket, backlog))
    }

    /// ACCEPT of one connection: its socket is [`Completed::socket`](super::Completed::socket), who
    /// connected is in the completion's `address`.
    pub fn accept(&mut self, user_data: u64, listener: Socket) -> Queued {
        self.plain(user_data, Request::Accept(listener))
    }

    /// ACCEPT of every connection, each by a completion, until it fails or is cancelled.
    pub fn accept_multishot(&mut self, user_data: u64, listener: Socket) -> Queued {
        self.plain(user_data, Request::AcceptMultishot(listener))
    }

    /// SHUTDOWN.
    pub fn shutdown(&mut self, user_data: u64, socket: Socket, how: Shutdown) -> Queued {
        self.plain(user_data, Request::Shutdown(socket, how))
    }

    /// CLOSE. What is in flight on the socket goes on.
    pub fn close(&mut self, user_data: u64, socket: Socket) -> Queued {
        self.plain(user_data, Request::Close(socket))
    }

    /// POLL_ADD: completes with those `POLL*` events that hold, as soon as one does.
    pub fn poll(&mut self, user_data: u64, socket: Socket, events: u32) -> Queued {
        self.plain(user_data, Request::Poll(socket, events))
    }

    /// TIMEOUT: completes with the error `ETIME` when the time has passed.
    pub fn timeout(&mut self, user_data: u64, time: Duration) -> Queued {
        self.plain(user_data, Request::Timeout(time))
    }

    /// ASYNC_CANCEL of one operation, which then completes with `ECANCELED` and gives its memory back;
    /// `ENOENT` if it has completed.
    pub fn cancel(&mut self, user_data: u64, operation: Operation) -> Queued {
        self.plain(user_data, Request::Cancel(operation))
    }

    /// ASYNC_CANCEL of all that is in flight on a socket; the result is how many that were.
    pub fn cancel_all(&mut self, user_data: u64, socket: Socket) -> Queued {
        self.plain(user_data, Request::CancelAll(socket))
    }

    /// SETSOCKOPT (URING_CMD), with the kernel's numbers and values: `docs/OPTIONS.md`.
    pub fn set_option(
        &mut self,
        user_data: u64,
        socket: Socket,
        level: i32,
        name: i32,
        value: impl Into<Payload>,
    ) -> Queued<Payload> {
        let request = Request::SetOption {
            socket,
            level,
            name,
            value: value.into(),
        };
        self.queue(user_data, request).map_err(give_back)
    }

    /// SEND, with `MSG_*` flags. The payload comes back when it has completed; how much of it was
    /// queued is the result.
    pub fn send(
        &mut self,
        user_data: u64,
        socket: Socket,
        payload: impl Into<Payload>,
        flags: i32,
    ) -> Queued<Payload> {
        self.send_as(user_data, socket, payload.into(), flags, None, false)
    }

    /// SEND of a datagram to an address.
    pub fn send_to(
        &mut self,
        user_data: u64,
        socket: Socket,
        payload: impl Into<Payload>,
        to: SocketAddr,
    ) -> Queued<Payload> {
        self.send_as(user_data, socket, payload.into(), 0, Some(to), false)
    }

    /// SEND_ZC, with `MSG_*` flags: a completion with the result and `more`, then one that brings the
    /// payload back, and says whether it was copied. An [`Area`](crate::Area) and what was [`Lent`] are
    /// sent from where they lie (`docs/ZERO_COPY.md`).
    ///
    /// [`Lent`]: super::Lent
    pub fn send_zc(
        &mut self,
        user_data: u64,
        socket: Socket,
        payload: impl Into<Payload>,
        flags: i32,
    ) -> Queued<Payload> {
        self.send_as(user_data, socket, payload.into(), flags, None, true)
    }

    /// SEND_ZC of a datagram to an address.
    pub fn send_zc_to(
        &mut self,
        user_data: u64,
        socket: Socket,
        payload: impl Into<Payload>,
        to: SocketAddr,
    ) -> Queued<Payload> {
        self.send_as(user_data, socket, payload.into(), 0, Some(to), true)
    }

    fn send_as(
        &mut self,
        user_data: u64,
        socket: Socket,
        payload: Payload,
        flags: i32,
        to: Option<SocketAddr>,
        zero_copy: bool,
    ) -> Queued<Payload> {
        let request = Request::Send {
            socket,
            payload,
            flags,
            to,
            zero_copy,
        };
        self.queue(user_data, request).map_err(give_back)
    }

    /// RECV into the spare capacity of `room`, which comes back longer by the result. With no spare
    /// capacity it is a receive of nothing.
    ///
    /// # Panics
    /// For flags other than `MSG_DONTWAIT`, `MSG_PEEK` and `MSG_WAITALL`.
    pub fn recv(
        &mut self,
        user_data: u64,
        socket: Socket,
        room: BytesMut,
        flags: i32,
    ) -> Queued<BytesMut> {
        // With MSG_TRUNC the result is not what was stored.
        assert!(
            flags & !RECEIVE_FLAGS == 0,
            "owned: a receive with flags {flags:#x}"
        );
        let request = Request::Receive {
            socket,
            room,
            flags,
        };
        self.queue(user_data, request).map_err(give_room_back)
    }

    /// RECVMSG of one datagram, as [`recv`](Self::recv); who sent it is in the completion's `address`.
    pub fn recv_from(
        &mut self,
        user_data: u64,
        socket: Socket,
        room: BytesMut,
    ) -> Queued<BytesMut> {
        let request = Request::ReceiveFrom { socket, room };
        self.queue(user_data, request).map_err(give_room_back)
    }

    /// RECV into a buffer of the group, chosen when data has come; `ENOBUFS` if there is none. A lending group
    /// gives what the NIC has written; `ENOBUFS` while too much of that is kept.
    ///
    /// # Panics
    /// If it is a group of another ring, as do the other receives with a group.
    pub fn recv_provided(&mut self, user_data: u64, socket: Socket, group: &BufferGroup) -> Queued {
        let group = self.own(group);
        self.plain(user_data, Request::ReceiveProvided(socket, group))
    }

    /// RECV multishot: each completion brings a buffer of the group. It ends at the end of the stream,
    /// with an error, and with `ENOBUFS` when the group has no buffer left.
    pub fn recv_multishot(
        &mut self,
        user_data: u64,
        socket: Socket,
        group: &BufferGroup,
    ) -> Queued {
        let group = self.own(group);
        self.plain(user_data, Request::ReceiveMultishot(socket, group))
    }

    /// RECVMSG multishot: as [`recv_multishot`](Self::recv_multishot), with the sender's `address`. The
    /// result counts [`BufferGroup::MESSAGE_HEADER_BYTES`] too, the payload does not have them. With a lending
    /// group it is for datagram sockets only: `EINVAL`.
    pub fn recv_from_multishot(
        &mut self,
        user_data: u64,
        socket: Socket,
        group: &BufferGroup,
    ) -> Queued {
        let group = self.own(group);
        self.plain(user_data, Request::ReceiveFromMultishot(socket, group))
    }

    /// Queues an operation that has no memory of the caller's.
    fn plain(&mut self, user_data: u64, request: Request) -> Queued {
        self.queue(user_data, request).map_err(|_| Full(()))
    }
}

fn give_back(request: Request) -> Full<Payload> {
    Full(request.into_payload(0).expect("a send has a payload"))
}

fn give_room_back(request: Request) -> Full<BytesMut> {
    let payload = request.into_payload(0).and_then(Payload::into_bytes_mut);
    Full(payload.expect("a receive has room"))
}

//! RECV and RECVMSG: one-shot and multishot, into the request's memory or provided buffers.

use ringwire_abi::errno::Errno;
use ringwire_abi::request::{MessageTransfer, Op, Transfer};
use ringwire_stack::SocketId;

use super::buffers::Selected;
use super::message::{MultishotLayout, write_message};
use super::request::{Prepared, RequestId};
use super::{Engine, address, errno};
use crate::usermem::{self, Message, Span};

/// Receives of one multishot request before others have their turn (`MULTISHOT_MAX_RETRY`).
const MULTISHOT_BURST: usize = 32;

/// What an attempt to receive came to.
enum Attempt {
    /// Nothing to receive yet.
    Wait,
    /// The last completion of the request; `failed` decides about what is linked behind it.
    Done { res: i32, flags: u32, failed: bool },
    /// A completion of a multishot request that goes on.
    More,
}

/// What one datagram became in the receiver's memory.
struct Received {
    res: i32,
    flags: u32,
    /// MSG_WAITALL was not met (`io_recv`: such a request fails its link).
    short: bool,
    /// A multishot receive ends with it: its payload is empty.
    empty: bool,
}

impl Engine {
    /// First attempt of a receive.
    pub(super) fn issue_receive(&mut self, id: RequestId, socket: SocketId) {
        let file = self
            .files
            .get(socket)
            .expect("receive: a request holds its socket");
        file.receives.push_back(id);
        if file.receives.len() == 1 {
            self.serve_receives(socket);
        } else if !self.may_wait(id) {
            // Others were first, but this one is not to wait in line.
            self.serve_one(id, socket);
        }
    }

    fn may_wait(&self, id: RequestId) -> bool {
        self.receive_flags(id) & libc::MSG_DONTWAIT == 0
    }

    fn receive_flags(&self, id: RequestId) -> i32 {
        match self.requests.get(id).op {
            Op::Recv(transfer) => transfer.msg_flags,
            Op::RecvMsg(message) => message.msg_flags,
            _ => 0,
        }
    }

    /// Serves the receives that wait on a socket, in order.
    pub(super) fn serve_receives(&mut self, socket: SocketId) {
        while let Some(&id) = self
            .files
            .get(socket)
            .and_then(|file| file.receives.front())
        {
            if !self.serve_one(id, socket) {
                return;
            }
        }
    }

    /// Serves one receive; `false` if it goes on waiting.
    fn serve_one(&mut self, id: RequestId, socket: SocketId) -> bool {
        for _ in 0..MULTISHOT_BURST {
            match self.attempt_receive(id, socket) {
                Attempt::More => {}
                Attempt::Wait => return false,
                Attempt::Done { res, flags, failed } => {
                    self.forget_receive(id, socket);
                    self.complete_as(id, res, flags, failed);
                    return true;
                }
            }
        }
        self.stack.udp_again(socket);
        false
    }

    pub(super) fn forget_receive(&mut self, id: RequestId, socket: SocketId) {
        if let Some(file) = self.files.get(socket) {
            file.receives.retain(|&other| other != id);
        }
    }

    fn attempt_receive(&mut self, id: RequestId, socket: SocketId) -> Attempt {
        let request = self.requests.get_mut(id);
        let first = !std::mem::replace(&mut request.attempted, true);
        let (group, limit, poll_first, multishot, msg_flags) = match &request.op {
            Op::Recv(recv) => (
                recv.group,
                recv.len as usize,
                recv.poll_first,
                recv.multishot,
                recv.msg_flags,
            ),
            Op::RecvMsg(recv) => {
                let limit = match &request.prepared {
                    Prepared::Message(message) => {
                        message.buffers.first().map_or(0, |span| span.len)
                    }
                    _ => 0,
                };
                let limit = if recv.multishot { 0 } else { limit };
                (
                    recv.group,
                    limit,
                    recv.poll_first,
                    recv.multishot,
                    recv.msg_flags,
                )
            }
            _ => unreachable!("receive: a request that receives nothing"),
        };
        let readiness = self.stack.udp_readiness(&self.ledger, socket);
        let ready = readiness.readable || readiness.error || readiness.receive_shut;
        if first && poll_first && !ready {
            return Attempt::Wait;
        }
        // The buffer is chosen before the attempt: an empty group fails also where nothing is there.
        let selected = match group
            .map(|group| self.groups.select(group, limit))
            .transpose()
        {
            Ok(selected) => selected,
            Err(error) => return done_with(error),
        };
        if let Some(selected) = selected
            && let Err(error) = self.check_room(id, &selected)
        {
            self.groups.recycle(selected);
            return done_with(error);
        }
        let attempt = self.receive_into(id, socket, selected, msg_flags, ready);
        match attempt {
            Ok(Some(received)) if multishot && !received.empty && received.res > 0 => {
                self.post_received(id, received)
            }
            Ok(Some(Received {
                res, flags, short, ..
            })) => Attempt::Done {
                res,
                flags,
                failed: res < 0 || short,
            },
            Ok(None) => Attempt::Wait,
            Err(error) => done_with(error),
        }
    }

    /// Whether a multishot message's buffer holds its headers, which is asked before there is a message.
    fn check_room(&self, id: RequestId, selected: &Selected) -> Result<(), Errno> {
        let request = self.requests.get(id);
        match (&request.op, &request.prepared) {
            (Op::RecvMsg(recv), Prepared::Message(message)) if recv.multishot => {
                MultishotLayout::new(message, selected.span).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Posts a multishot completion; when the queue is full, it is the last one and carries the data.
    fn post_received(&mut self, id: RequestId, received: Received) -> Attempt {
        let limit_reached = match &mut self.requests.get_mut(id).op {
            Op::Recv(recv) if recv.limit > 0 => {
                recv.limit = recv.limit.saturating_sub(received.res as u32);
                recv.limit == 0
            }
            _ => false,
        };
        if limit_reached || !self.post_more(id, received.res, received.flags) {
            return Attempt::Done {
                res: received.res,
                flags: received.flags,
                failed: false,
            };
        }
        Attempt::More
    }

    /// One receive: an error that waits, a datagram, the end, or nothing (`None`). The buffer is put
    /// back unless data went into it.
    fn receive_into(
        &mut self,
        id: RequestId,
        socket: SocketId,
        selected: Option<Selected>,
        msg_flags: i32,
        ready: bool,
    ) -> Result<Option<Received>, Errno> {
        let recycle = |engine: &mut Engine| {
            if let Some(selected) = selected {
                engine.groups.recycle(selected);
            }
        };
        let error_queue = msg_flags & libc::MSG_ERRQUEUE != 0;
        if !ready || error_queue {
            recycle(self);
            let wait = msg_flags & libc::MSG_DONTWAIT == 0;
            return if wait { Ok(None) } else { Err(Errno::EAGAIN) };
        }
        if let Some(error) = self.stack.udp_take_error(socket) {
            recycle(self);
            return Err(errno(error));
        }
        if self.stack.udp_front(socket).is_none() {
            recycle(self);
            return Ok(Some(Received {
                res: 0,
                flags: 0,
                short: false,
                empty: true,
            }));
        }
        let stored = match self.requests.get(id).op {
            Op::Recv(recv) => self.store_datagram(socket, &recv, selected),
            Op::RecvMsg(recv) => self.store_message(id, socket, &recv, selected),
            _ => unreachable!("receive: a request that receives nothing"),
        };
        match stored {
            Ok(stored) => {
                if msg_flags & libc::MSG_PEEK == 0 {
                    self.stack.udp_consume(&mut self.ledger, socket);
                }
                Ok(Some(self.commit(stored, selected)))
            }
            Err(error) => {
                recycle(self);
                // UDP drops a datagram that it could not copy (`udp_recvmsg`).
                if msg_flags & libc::MSG_PEEK == 0 {
                    self.stack.udp_consume(&mut self.ledger, socket);
                }
                Err(error)
            }
        }
    }

    /// Uses the buffer up, unless nothing went into it.
    fn commit(&mut self, stored: Received, selected: Option<Selected>) -> Received {
        let flags = match selected {
            Some(selected) if stored.res > 0 => self.groups.commit(selected, stored.res as usize),
            Some(selected) => {
                self.groups.recycle(selected);
                0
            }
            None => 0,
        };
        Received {
            flags: stored.flags | flags,
            ..stored
        }
    }

    fn store_datagram(
        &mut self,
        socket: SocketId,
        recv: &Transfer,
        selected: Option<Selected>,
    ) -> Result<Received, Errno> {
        let datagram = self
            .stack
            .udp_front(socket)
            .expect("receive: a datagram is queued");
        let full = datagram.len();
        let span = selected.map_or(
            Span {
                addr: recv.addr,
                len: recv.len as usize,
            },
            |selected| selected.span,
        );
        let stored = full.min(span.len);
        self.copy_payload(socket, &[span])?;
        let wants_all = recv.msg_flags & libc::MSG_WAITALL != 0;
        // With a buffer group MSG_TRUNC's length could exceed the buffer that the completion names.
        let truncated_len = recv.msg_flags & libc::MSG_TRUNC != 0;
        let res = if truncated_len { full } else { stored };
        let short = wants_all && (res < span.len || full > stored);
        Ok(Received {
            res: res as i32,
            flags: 0,
            short,
            empty: full == 0,
        })
    }

    fn store_message(
        &mut self,
        id: RequestId,
        socket: SocketId,
        recv: &MessageTransfer,
        selected: Option<Selected>,
    ) -> Result<Received, Errno> {
        let message = match &self.requests.get(id).prepared {
            Prepared::Message(message) => (**message).clone(),
            _ => unreachable!("receive: a message was copied at submission"),
        };
        match (recv.multishot, selected) {
            (true, Some(selected)) => {
                self.store_multishot_message(socket, recv, &message, selected)
            }
            _ => self.store_single_message(socket, recv, &message, selected),
        }
    }

    fn store_single_message(
        &mut self,
        socket: SocketId,
        recv: &MessageTransfer,
        message: &Message,
        selected: Option<Selected>,
    ) -> Result<Received, Errno> {
        let (name, name_len) = self.sender_of(socket);
        let spans =
            selected.map_or_else(|| message.buffers.clone(), |selected| vec![selected.span]);
        let room: usize = spans.iter().map(|span| span.len).sum();
        let full = self
            .stack
            .udp_front(socket)
            .expect("receive: a datagram is queued")
            .len();
        self.copy_payload(socket, &spans)?;
        usermem::write(message.name, &name[..name_len])?;
        let truncated = full > room;
        let out_flags = if truncated { libc::MSG_TRUNC } else { 0 };
        // The kernel reports the name's length only where a name was asked for.
        let reported = if message.name.addr == 0 {
            0
        } else {
            name_len as u32
        };
        message.write_back(reported, 0, out_flags)?;
        let wants_all = recv.msg_flags & libc::MSG_WAITALL != 0;
        let stored = full.min(room);
        let res = if recv.msg_flags & libc::MSG_TRUNC != 0 {
            full
        } else {
            stored
        };
        let short = wants_all && (res < room || truncated);
        Ok(Received {
            res: res as i32,
            flags: 0,
            short,
            empty: full == 0,
        })
    }

    fn store_multishot_message(
        &mut self,
        socket: SocketId,
        recv: &MessageTransfer,
        message: &Message,
        selected: Selected,
    ) -> Result<Received, Errno> {
        let layout = MultishotLayout::new(message, selected.span)?;
        let (name, name_len) = self.sender_of(socket);
        let full = self
            .stack
            .udp_front(socket)
            .expect("receive: a datagram is queued")
            .len();
        self.copy_payload(socket, &[layout.payload])?;
        let stored = full.min(layout.payload.len);
        let flags = if full > stored { libc::MSG_TRUNC } else { 0 };
        // The length is recvmsg(2)'s: the datagram's only where MSG_TRUNC asks for it.
        let reported = if recv.msg_flags & libc::MSG_TRUNC != 0 {
            full
        } else {
            stored
        };
        write_message(&layout, &name[..name_len], reported, flags)?;
        Ok(Received {
            res: (layout.header_len() + stored) as i32,
            flags: 0,
            short: false,
            empty: full == 0,
        })
    }

    fn sender_of(&self, socket: SocketId) -> ([u8; 28], usize) {
        let from = self
            .stack
            .udp_front(socket)
            .expect("receive: a datagram is queued")
            .from;
        let (family, _) = self
            .stack
            .udp_local(socket)
            .expect("receive: the socket is open");
        address::emit(from, family)
    }

    /// Copies the queued datagram into the application's memory, as far as it goes.
    fn copy_payload(&mut self, socket: SocketId, spans: &[Span]) -> Result<(), Errno> {
        let datagram = self
            .stack
            .udp_front(socket)
            .expect("receive: a datagram is queued");
        let room: usize = spans.iter().map(|span| span.len).sum();
        let mut spans = spans.iter().copied().filter(|span| span.len > 0);
        let mut span = spans.next();
        let mut result = Ok(());
        datagram.for_each(&self.ledger, room, |mut part| {
            while let (Some(into), false, true) = (span, part.is_empty(), result.is_ok()) {
                match usermem::write(into, part) {
                    Ok(written) => {
                        part = &part[written..];
                        let left = Span {
                            addr: into.addr + written as u64,
                            len: into.len - written,
                        };
                        span = if left.len > 0 {
                            Some(left)
                        } else {
                            spans.next()
                        };
                    }
                    Err(error) => result = Err(error),
                }
            }
        });
        result
    }
}

fn done_with(error: Errno) -> Attempt {
    Attempt::Done {
        res: error.res(),
        flags: 0,
        failed: true,
    }
}

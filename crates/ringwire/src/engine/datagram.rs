//! RECV and RECVMSG of datagrams.

use std::net::SocketAddr;

use ringwire_abi::errno::Errno;
use ringwire_abi::request::{MessageTransfer, Op};
use ringwire_stack::{Datagram, SocketId};

use super::buffers::Selected;
use super::message::{MultishotLayout, write_message};
use super::receive::{Attempt, Scatter, Wanted};
use super::request::{Prepared, RequestId};
use super::{Engine, address, errno};
use crate::usermem::{self, Message, Span};

/// What one datagram became in the receiver's memory.
struct Received {
    res: i32,
    flags: u32,
    /// MSG_WAITALL was not met (`io_recv`: such a request fails its link).
    short: bool,
    /// A multishot receive ends with it: its payload is empty, or nothing of it had room.
    empty: bool,
}

impl Engine {
    pub(super) fn attempt_datagram(
        &mut self,
        id: RequestId,
        socket: SocketId,
        wanted: &Wanted,
        first: bool,
    ) -> Attempt {
        let ready = self.stack.udp_can_receive(socket);
        // A multishot read looks for data before it looks for a buffer, but for the first time.
        let looks = first && wanted.poll_first || !first && wanted.reads && wanted.multishot;
        if looks && !ready {
            return Attempt::Wait;
        }
        let selected = match self.select_one(id, wanted) {
            Ok(selected) => selected,
            Err(error) => return Attempt::failed(error),
        };
        match self.receive_into(id, socket, selected, wanted, ready) {
            Ok(Some(received)) if wanted.multishot && !received.empty && received.res > 0 => {
                self.post_received(id, received.res, received.flags)
            }
            Ok(Some(Received {
                res, flags, short, ..
            })) => Attempt::Done {
                res,
                flags,
                failed: res < 0 || short,
            },
            Ok(None) => Attempt::Wait,
            Err(error) => Attempt::failed(error),
        }
    }

    /// One receive: an error that waits, a datagram, the end, or nothing (`None`). The buffer is put
    /// back unless data went into it.
    fn receive_into(
        &mut self,
        id: RequestId,
        socket: SocketId,
        selected: Option<Selected>,
        wanted: &Wanted,
        ready: bool,
    ) -> Result<Option<Received>, Errno> {
        let recycle = |engine: &mut Engine| {
            if let Some(selected) = selected {
                engine.groups.recycle(selected);
            }
        };
        let msg_flags = wanted.msg_flags;
        if !ready {
            recycle(self);
            return nothing_yet(wanted);
        }
        if let Some(error) = self.stack.take_error(socket) {
            recycle(self);
            return Err(errno(error));
        }
        let Some(datagram) = self.stack.udp_front(socket) else {
            // Receiving was shut down. Only who waits alone learns of it: datagrams still come
            // (`__skb_recv_udp`).
            if wanted.multishot || wanted.has(libc::MSG_DONTWAIT) {
                recycle(self);
                return nothing_yet(wanted);
            }
            let end = Received {
                res: 0,
                flags: 0,
                short: wanted.reads && wanted.whole(),
                empty: true,
            };
            return Ok(Some(self.commit(end, selected, wanted)));
        };
        let stored = match &self.requests.get(id).op {
            Op::Recv(_) | Op::Read(_) => self.store_datagram(id, datagram, selected, wanted),
            Op::RecvMsg(recv) => self.store_message(id, socket, datagram, recv, selected),
            _ => unreachable!("receive: a request that receives nothing"),
        };
        match stored {
            Ok(stored) => {
                if msg_flags & libc::MSG_PEEK == 0 {
                    self.stack.udp_consume(&mut self.ledger, socket);
                }
                Ok(Some(self.commit(stored, selected, wanted)))
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

    /// Uses the buffer up, unless nothing went into it and it is no read's (`kiocb_done`).
    fn commit(
        &mut self,
        stored: Received,
        selected: Option<Selected>,
        wanted: &Wanted,
    ) -> Received {
        let uses = stored.res > 0 || wanted.reads && !wanted.multishot;
        let flags = match selected {
            Some(selected) if uses => self.groups.commit(selected, stored.res as usize),
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
        &self,
        id: RequestId,
        datagram: &Datagram,
        selected: Option<Selected>,
        wanted: &Wanted,
    ) -> Result<Received, Errno> {
        let full = datagram.len();
        let mut single = [Span::default()];
        let spans = match &selected {
            Some(selected) => std::slice::from_ref(&selected.span),
            None => self.requests.get(id).own_memory(&mut single),
        };
        let room: usize = spans.iter().map(|span| span.len).sum();
        let stored = full.min(room);
        self.copy_payload(datagram, spans)?;
        // With a buffer group MSG_TRUNC's length could exceed the buffer that the completion names.
        let res = if wanted.has(libc::MSG_TRUNC) {
            full
        } else {
            stored
        };
        let cut = full > stored && wanted.has(libc::MSG_WAITALL);
        let short = wanted.whole() && (res < room || cut);
        Ok(Received {
            res: res as i32,
            flags: 0,
            short,
            empty: full == 0,
        })
    }

    fn store_message(
        &self,
        id: RequestId,
        socket: SocketId,
        datagram: &Datagram,
        recv: &MessageTransfer,
        selected: Option<Selected>,
    ) -> Result<Received, Errno> {
        let Prepared::Message(message) = &self.requests.get(id).prepared else {
            unreachable!("receive: a message was copied at submission")
        };
        let (name, name_len) = self.sender_of(socket, datagram.from);
        let name = &name[..name_len];
        match (recv.multishot, selected) {
            (true, Some(selected)) => {
                self.store_multishot_message(datagram, name, recv, message, selected)
            }
            _ => self.store_single_message(datagram, name, recv, message, selected),
        }
    }

    fn store_single_message(
        &self,
        datagram: &Datagram,
        name: &[u8],
        recv: &MessageTransfer,
        message: &Message,
        selected: Option<Selected>,
    ) -> Result<Received, Errno> {
        let spans = match &selected {
            Some(selected) => std::slice::from_ref(&selected.span),
            None => &message.buffers,
        };
        let room: usize = spans.iter().map(|span| span.len).sum();
        let full = datagram.len();
        self.copy_payload(datagram, spans)?;
        usermem::write(message.name, name)?;
        let truncated = full > room;
        let out_flags = if truncated { libc::MSG_TRUNC } else { 0 };
        message.write_back(name.len() as u32, 0, out_flags)?;
        let wants_all = recv.msg_flags & libc::MSG_WAITALL != 0;
        let waits_for_all = wants_all && message.control_area == 0;
        let stored = full.min(room);
        let res = if recv.msg_flags & libc::MSG_TRUNC != 0 {
            full
        } else {
            stored
        };
        let short = waits_for_all && res < room || wants_all && truncated;
        Ok(Received {
            res: res as i32,
            flags: 0,
            short,
            empty: full == 0,
        })
    }

    fn store_multishot_message(
        &self,
        datagram: &Datagram,
        name: &[u8],
        recv: &MessageTransfer,
        message: &Message,
        selected: Selected,
    ) -> Result<Received, Errno> {
        let layout = MultishotLayout::new(message, selected.span)?;
        let full = datagram.len();
        self.copy_payload(datagram, &[layout.payload])?;
        let stored = full.min(layout.payload.len);
        let flags = if full > stored { libc::MSG_TRUNC } else { 0 };
        // The length is recvmsg(2)'s: the datagram's only where MSG_TRUNC asks for it.
        let reported = if recv.msg_flags & libc::MSG_TRUNC != 0 {
            full
        } else {
            stored
        };
        write_message(&layout, name, reported, flags)?;
        Ok(Received {
            res: (layout.header_len() + stored) as i32,
            flags: 0,
            short: false,
            empty: reported == 0,
        })
    }

    pub(super) fn sender_of(&self, socket: SocketId, from: SocketAddr) -> ([u8; 28], usize) {
        let family = self.stack.family(socket);
        address::emit(from, family.expect("receive: the socket is open"))
    }

    /// Copies a datagram into the application's memory, as far as it goes.
    fn copy_payload(&self, datagram: &Datagram, spans: &[Span]) -> Result<(), Errno> {
        // Nearly always from one place to another.
        if let ([span], Some(bytes)) = (spans, datagram.bytes(&self.ledger))
            && !bytes.is_empty()
            && span.len > 0
        {
            return usermem::write(*span, bytes).map(drop);
        }
        let room: usize = spans.iter().map(|span| span.len).sum();
        let mut scatter = Scatter::new(spans, 0);
        datagram.for_each(&self.ledger, room, |part| scatter.write(part));
        scatter.error.map_or(Ok(()), Err)
    }
}

/// There is nothing to receive: who may wait does.
fn nothing_yet<T>(wanted: &Wanted) -> Result<Option<T>, Errno> {
    match wanted.has(libc::MSG_DONTWAIT) {
        true => Err(Errno::EAGAIN),
        false => Ok(None),
    }
}

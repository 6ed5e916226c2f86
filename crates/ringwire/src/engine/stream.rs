//! RECV and RECVMSG on streams: what MSG_WAITALL, bundles and the rest of it mean (Linux `io_recv`,
//! `tcp_recvmsg`).

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_CQE_F_BUF_MORE, IORING_CQE_F_SOCK_NONEMPTY};
use ringwire_abi::request::Op;
use ringwire_stack::SocketId;

use super::buffers::{Bundle, Selected};
use super::message::{MultishotLayout, write_message};
use super::receive::{Attempt, Scatter, Wanted};
use super::request::{Kept, Prepared, RequestId};
use super::{Engine, errno, memory};
use crate::usermem::{Message, Span};

/// Where received bytes go.
enum Room {
    /// The request's own memory.
    Own,
    One(Selected),
    Many(Bundle),
}

impl Room {
    fn spans<'a>(
        &'a self,
        op: &Op,
        prepared: &'a Prepared,
        single: &'a mut [Span; 1],
    ) -> &'a [Span] {
        match self {
            Room::Many(bundle) => &bundle.spans,
            Room::One(selected) => std::slice::from_ref(&selected.span),
            Room::Own => memory::own(op, prepared, single),
        }
    }
}

impl Engine {
    pub(super) fn attempt_stream(
        &mut self,
        id: RequestId,
        socket: SocketId,
        wanted: &Wanted,
        first: bool,
    ) -> Attempt {
        let readiness = self.stack.readiness(&self.ledger, socket);
        let ready =
            readiness.readable || readiness.error || readiness.receive_shut || readiness.hung_up;
        if first && wanted.poll_first && !ready {
            return Attempt::Wait;
        }
        let room = match self.take_room(id, wanted) {
            Ok(room) => room,
            Err(error) => return Attempt::failed(error),
        };
        // There is no urgent data (RFC 6093).
        if wanted.has(libc::MSG_OOB) {
            self.give_up(id, room);
            return Attempt::failed(Errno::EINVAL);
        }
        match self.stack.tcp_available(socket).map_err(errno) {
            Err(Errno::EAGAIN) => self.wait_for_data(id, wanted, room),
            Err(error) => self.finish_without(id, room, error.res()),
            Ok(0) => self.finish_at_end(id, socket, wanted, room),
            Ok(available) => self.receive_bytes(id, socket, wanted, room, available),
        }
    }

    /// The buffers of this attempt: those that an earlier one has kept, or new ones.
    fn take_room(&mut self, id: RequestId, wanted: &Wanted) -> Result<Room, Errno> {
        match self.requests.get_mut(id).kept.take() {
            Some(Kept::One(selected)) => return Ok(Room::One(selected)),
            Some(Kept::Many(bundle)) => return Ok(Room::Many(bundle)),
            None => {}
        }
        let Some(group) = wanted.group else {
            return Ok(Room::Own);
        };
        if wanted.bundle {
            let request = self.requests.get(id);
            let mut limit = match wanted.limit {
                0 => request.inq.filter(|&inq| inq > 1).unwrap_or(0),
                limit => limit,
            };
            if let Op::Recv(recv) = request.op
                && recv.limit > 0
            {
                let left = recv.limit as usize;
                limit = if limit == 0 { left } else { limit.min(left) };
            }
            return self.groups.peek_bundle(group, limit).map(Room::Many);
        }
        let selected = self.select_one(id, wanted)?;
        Ok(selected.map_or(Room::Own, Room::One))
    }

    /// Puts buffers back that nothing was received into.
    fn give_up(&mut self, id: RequestId, room: Room) {
        // What an earlier attempt has filled in part is used up with it.
        if self.requests.get(id).done > 0 {
            return;
        }
        match room {
            Room::Own => {}
            Room::One(selected) => self.groups.recycle(selected),
            Room::Many(bundle) => self.groups.recycle_bundle(bundle),
        }
    }

    fn keep(&mut self, id: RequestId, room: Room) {
        self.requests.get_mut(id).kept = match room {
            Room::Own => None,
            Room::One(selected) => Some(Kept::One(selected)),
            Room::Many(bundle) => Some(Kept::Many(bundle)),
        };
    }

    fn wait_for_data(&mut self, id: RequestId, wanted: &Wanted, room: Room) -> Attempt {
        if wanted.has(libc::MSG_DONTWAIT) {
            return self.finish_without(id, room, Errno::EAGAIN.res());
        }
        if self.requests.get(id).done > 0 {
            self.keep(id, room);
        } else {
            self.give_up(id, room);
        }
        Attempt::Wait
    }

    /// Ends a request that has received nothing in this attempt, by an error or at the end of the
    /// stream: what came before counts.
    fn finish_without(&mut self, id: RequestId, room: Room, res: i32) -> Attempt {
        let done = self.requests.get(id).done;
        if done == 0 {
            self.give_up(id, room);
            return Attempt::Done {
                res,
                flags: 0,
                failed: res < 0,
            };
        }
        let flags = self.commit_room(room, done);
        Attempt::Done {
            res: done as i32,
            flags,
            failed: true,
        }
    }

    fn finish_at_end(
        &mut self,
        id: RequestId,
        socket: SocketId,
        wanted: &Wanted,
        room: Room,
    ) -> Attempt {
        let nonempty = self.nonempty(id, socket);
        let mut single = [Span::default()];
        let request = self.requests.get(id);
        // Nothing is all of nothing.
        let short = total(room.spans(&request.op, &request.prepared, &mut single)) > 0;
        let multishot_message =
            wanted.multishot && matches!(self.requests.get(id).op, Op::RecvMsg(_));
        let mut attempt = match room {
            // A message without payload, which is the last.
            Room::One(selected) if multishot_message => self.end_message(id, selected),
            // A read uses its buffer up for nothing (`kiocb_done`).
            room if wanted.reads && !wanted.multishot => Attempt::Done {
                res: 0,
                flags: self.commit_room(room, 0),
                failed: short,
            },
            room => self.finish_without(id, room, 0),
        };
        if let Attempt::Done { flags, failed, .. } = &mut attempt {
            *flags |= nonempty;
            *failed |= short && wanted.whole();
        }
        attempt
    }

    /// Receives what is there, as far as it fits.
    fn receive_bytes(
        &mut self,
        id: RequestId,
        socket: SocketId,
        wanted: &Wanted,
        room: Room,
        available: usize,
    ) -> Attempt {
        let stored = match self.store_bytes(id, socket, wanted, &room, available) {
            Ok(stored) => stored,
            // The data stays where it is.
            Err(error) => return self.finish_without(id, room, error.res()),
        };
        let Stored {
            count,
            header,
            size,
        } = stored;
        let inq = self.stack.tcp_inq(socket);
        let request = self.requests.get_mut(id);
        request.inq = Some(inq);
        let short = count < size;
        if short && wanted.waits_for_all() && count > 0 {
            request.done += count;
            return self.await_rest(id, socket, wanted, room);
        }
        let done = std::mem::take(&mut request.done);
        if let Room::Many(bundle) = room {
            return self.finish_bundle(id, socket, wanted, bundle, done + count, count == size);
        }
        let res = done + header + count;
        let mut flags = self.nonempty(id, socket);
        if res > 0 {
            flags |= self.commit_room(room, res);
        } else {
            self.give_up(id, room);
        }
        if wanted.multishot && count == 0 {
            // Nothing of the stream fits, though headers may have been written: that ends it.
            return Attempt::Done {
                res: res as i32,
                flags,
                failed: false,
            };
        }
        let behind = Behind::new(inq, self.has_ended(socket));
        self.deliver(id, wanted, res, flags, behind, short)
    }

    /// MSG_WAITALL has received something, but not all.
    fn await_rest(
        &mut self,
        id: RequestId,
        socket: SocketId,
        wanted: &Wanted,
        mut room: Room,
    ) -> Attempt {
        if wanted.has(libc::MSG_DONTWAIT) {
            return self.finish_without(id, room, Errno::EAGAIN.res());
        }
        if let Room::One(selected) = &mut room {
            self.groups.hold(selected);
        }
        self.keep(id, room);
        if wanted.has(libc::MSG_PEEK) {
            // What was looked at is still there, and fills the rest: others have their turn first.
            return Attempt::Requeue;
        }
        // The end of the stream, or an error, may be behind what was received.
        self.attempt_stream(id, socket, wanted, false)
    }

    /// The completion of received bytes, and what comes after it.
    pub(super) fn deliver(
        &mut self,
        id: RequestId,
        wanted: &Wanted,
        res: usize,
        flags: u32,
        behind: Behind,
        short: bool,
    ) -> Attempt {
        let res = res as i32;
        if !wanted.multishot || res == 0 {
            return Attempt::Done {
                res,
                flags,
                failed: short && wanted.whole(),
            };
        }
        let capped = matches!(self.requests.get(id).op, Op::Recv(_))
            && wanted.bundle
            && wanted.limit > 0
            && res as usize >= wanted.limit;
        match self.post_received(id, res, flags) {
            // Only what is known to be there is asked for again: an empty group is no error before.
            Attempt::More if behind == Behind::Nothing => Attempt::Wait,
            Attempt::More if capped || behind == Behind::End => Attempt::Requeue,
            attempt => attempt,
        }
    }

    /// Whether an error is there to be reported, or has been, or receiving was shut down: no event will
    /// tell of that again.
    pub(super) fn has_ended(&self, socket: SocketId) -> bool {
        let readiness = self.stack.readiness(&self.ledger, socket);
        readiness.error || readiness.hung_up || readiness.receive_shut
    }

    /// A bundle's buffers are filled: one more pass takes what is known to be left, into the same
    /// completion (`IORING_RECV_RETRY`).
    fn finish_bundle(
        &mut self,
        id: RequestId,
        socket: SocketId,
        wanted: &Wanted,
        bundle: Bundle,
        res: usize,
        full: bool,
    ) -> Attempt {
        let mut res = res;
        let mut flags = self.groups.commit_bundle(&bundle, res);
        let (group, cut, mut exhausted) = (bundle.group, bundle.cut, bundle.exhausted);
        self.groups.let_go(bundle);
        let inq = self.stack.tcp_inq(socket);
        // Only of a multishot receive is the length the most of a completion (`mshot_len`).
        let capped = wanted.multishot && wanted.limit > 0 && res >= wanted.limit;
        let limit_left = match self.requests.get(id).op {
            Op::Recv(recv) if recv.limit > 0 => (recv.limit as usize).saturating_sub(res),
            _ => usize::MAX,
        };
        let again = full && inq > 1 && !exhausted && !cut && !capped && limit_left > 0;
        if again && let Ok(more) = self.groups.peek_bundle(group, inq.min(limit_left)) {
            let count = self
                .copy_bytes(socket, wanted, &more.spans, 0, inq)
                .unwrap_or(0);
            if count == 0 {
                self.groups.recycle_bundle(more);
            } else {
                // The buffers follow those of the first pass: its id names them all.
                flags |= self.groups.commit_bundle(&more, count) & IORING_CQE_F_BUF_MORE;
                exhausted = more.exhausted;
                self.groups.let_go(more);
                res += count;
            }
        }
        let inq = self.stack.tcp_inq(socket);
        self.requests.get_mut(id).inq = Some(inq);
        flags |= self.nonempty(id, socket);
        if exhausted {
            return Attempt::Done {
                res: res as i32,
                flags,
                failed: false,
            };
        }
        let behind = Behind::new(inq, self.has_ended(socket));
        self.deliver(id, wanted, res, flags, behind, false)
    }

    /// What a receive says of what is left; a read does not.
    pub(super) fn nonempty(&self, id: RequestId, socket: SocketId) -> u32 {
        match self.stack.tcp_inq(socket) {
            0 => 0,
            _ if matches!(self.requests.get(id).op, Op::Read(_)) => 0,
            _ => IORING_CQE_F_SOCK_NONEMPTY,
        }
    }

    fn commit_room(&mut self, room: Room, used: usize) -> u32 {
        match room {
            Room::Own => 0,
            Room::One(selected) => self.groups.commit(selected, used),
            Room::Many(bundle) => {
                let flags = self.groups.commit_bundle(&bundle, used);
                self.groups.let_go(bundle);
                flags
            }
        }
    }

    /// Copies what is there to where the request wants it, and takes it off the stream.
    fn store_bytes(
        &mut self,
        id: RequestId,
        socket: SocketId,
        wanted: &Wanted,
        room: &Room,
        available: usize,
    ) -> Result<Stored, Errno> {
        let prepared = std::mem::take(&mut self.requests.get_mut(id).prepared);
        let stored = self.store_with(id, socket, wanted, room, &prepared, available);
        self.requests.get_mut(id).prepared = prepared;
        stored
    }

    fn store_with(
        &mut self,
        id: RequestId,
        socket: SocketId,
        wanted: &Wanted,
        room: &Room,
        prepared: &Prepared,
        available: usize,
    ) -> Result<Stored, Errno> {
        if let (Room::One(selected), Prepared::Message(message), true) =
            (room, prepared, wanted.multishot)
        {
            return self.store_stream_message(socket, wanted, selected, message, available);
        }
        let request = self.requests.get(id);
        let mut single = [Span::default()];
        let spans = room.spans(&request.op, prepared, &mut single);
        let done = request.done;
        let count = self.copy_bytes(socket, wanted, spans, done, available)?;
        if let Prepared::Message(message) = prepared {
            // A connection's peer is no name of a message (`tcp_recvmsg`).
            message.write_back(0, 0, 0)?;
        }
        Ok(Stored {
            count,
            header: 0,
            size: total(spans) - done,
        })
    }

    /// A message of a multishot receive: headers, then payload.
    fn store_stream_message(
        &mut self,
        socket: SocketId,
        wanted: &Wanted,
        selected: &Selected,
        message: &Message,
        available: usize,
    ) -> Result<Stored, Errno> {
        let layout = MultishotLayout::new(message, selected.span)?;
        let count = self.copy_bytes(socket, wanted, &[layout.payload], 0, available)?;
        write_message(&layout, &[], count, 0)?;
        Ok(Stored {
            count,
            header: layout.header_len(),
            size: layout.payload.len,
        })
    }

    /// Copies bytes to the spans, after the first `skip` bytes of them. A pointer that cannot be one is
    /// an error only if nothing could be copied before.
    fn copy_bytes(
        &mut self,
        socket: SocketId,
        wanted: &Wanted,
        spans: &[Span],
        skip: usize,
        available: usize,
    ) -> Result<usize, Errno> {
        let room = total(spans).saturating_sub(skip).min(available);
        let count = if wanted.has(libc::MSG_TRUNC) {
            room
        } else {
            let mut scatter = Scatter::new(spans, skip);
            let each = &mut |part: &[u8]| scatter.write(part);
            self.stack.tcp_for_each(&self.ledger, socket, room, each);
            match scatter.error {
                Some(error) if scatter.written == 0 => return Err(error),
                _ => scatter.written,
            }
        };
        if !wanted.has(libc::MSG_PEEK) {
            self.stack.tcp_consume(&mut self.ledger, socket, count);
        }
        Ok(count)
    }

    /// The end of the stream, for a multishot RECVMSG: a message without payload.
    fn end_message(&mut self, id: RequestId, selected: Selected) -> Attempt {
        let Prepared::Message(message) = &self.requests.get(id).prepared else {
            unreachable!("stream: a message was copied at submission");
        };
        let written = MultishotLayout::new(message, selected.span).and_then(|layout| {
            write_message(&layout, &[], 0, 0)?;
            Ok(layout.header_len())
        });
        match written {
            Ok(len) => Attempt::Done {
                res: len as i32,
                flags: self.groups.commit(selected, len),
                failed: false,
            },
            Err(error) => {
                self.groups.recycle(selected);
                Attempt::failed(error)
            }
        }
    }
}

/// What a receive leaves behind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    Nothing,
    Data,
    /// It is a poll that finds it, on the kernel: other requests may take it before, if it is an error.
    End,
}

impl Behind {
    pub(super) fn new(inq: usize, has_ended: bool) -> Behind {
        match (inq, has_ended) {
            (0, false) => Behind::Nothing,
            (0, true) => Behind::End,
            _ => Behind::Data,
        }
    }
}

/// What was copied.
struct Stored {
    /// Bytes of the stream.
    count: usize,
    /// Bytes in front of them in the buffer.
    header: usize,
    /// Bytes that would have fitted.
    size: usize,
}

fn total(spans: &[Span]) -> usize {
    spans.iter().map(|span| span.len).sum()
}

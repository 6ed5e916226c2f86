//! SEND and SENDMSG: copied at issue; the completion means "queued", as in the kernel.

use ringwire_abi::errno::Errno;
use ringwire_abi::request::{Op, Transfer};
use ringwire_stack::{SendOptions, SocketId};

use super::request::{Prepared, RequestId, Spare};
use super::{Engine, address, errno, message, read_write};
use crate::usermem::{self, Message, RawAddress, Span};

/// Copies a SEND's destination and its iovecs, if it has any (Linux `io_send_setup`).
pub(super) fn prepare(send: &Transfer, spare: &mut Spare) -> Result<Prepared, Errno> {
    let to = match send.to {
        (0, _) => None,
        (addr, len) => Some(RawAddress::read(addr, len.into())?),
    };
    if send.vectored {
        let buffers = usermem::read_iovecs(send.addr, send.len, true, spare.spans())?;
        return Ok(spare.message(Message::of(buffers, to)));
    }
    let own = send.group.is_none() && send.fixed.is_none();
    let (addr, len) = (send.addr, send.len as usize);
    if own && !(Span { addr, len }).is_in_range() {
        return Err(Errno::EFAULT);
    }
    Ok(to.map_or(Prepared::Nothing, Prepared::Address))
}

impl Engine {
    /// First attempt of a send.
    pub(super) fn issue_send(&mut self, id: RequestId, socket: SocketId) {
        let bound = self
            .bind_to_slot(id)
            .and_then(|()| self.bind_to_socket(id, socket));
        let ready = bound.and_then(|()| self.import_memory(id));
        if let Err(error) = ready {
            return self.complete(id, error.res(), 0);
        }
        let file = self
            .files
            .get(socket)
            .expect("send: a request holds its socket");
        // Sends that wait keep their order.
        let others_wait = !file.sends.is_empty();
        if others_wait || self.waits_for_poll(id, socket) || !self.attempt_send(id, socket) {
            self.await_room(id, socket);
        }
    }

    fn await_room(&mut self, id: RequestId, socket: SocketId) {
        let (msg_flags, _) = self.send_flags(id);
        if msg_flags & libc::MSG_DONTWAIT != 0 {
            let res = match self.requests.get(id).done {
                0 => Errno::EAGAIN.res(),
                done => done as i32,
            };
            // Provided buffers that it has taken are used up, and are to be named.
            let flags = self.let_go_of_buffers(id);
            return self.complete_as(id, res, flags, true);
        }
        self.files
            .get(socket)
            .expect("send: a request holds its socket")
            .sends
            .push_back(id);
    }

    /// A send's `MSG_*` flags, and whether it polls first.
    pub(super) fn send_flags(&self, id: RequestId) -> (i32, bool) {
        match &self.requests.get(id).op {
            Op::Send(send) => (send.msg_flags, send.poll_first),
            Op::SendMsg(send) => (send.msg_flags, send.poll_first),
            Op::Write(write) => (read_write::message_flags(write), false),
            _ => unreachable!("send: a request that sends nothing"),
        }
    }

    /// Whether the first attempt waits until the socket can send (`IORING_RECVSEND_POLL_FIRST`). Of a
    /// request that is not to wait it is left out all the same.
    fn waits_for_poll(&self, id: RequestId, socket: SocketId) -> bool {
        let (msg_flags, poll_first) = self.send_flags(id);
        if !poll_first || msg_flags & libc::MSG_DONTWAIT != 0 {
            return poll_first;
        }
        let readiness = self.stack.readiness(&self.ledger, socket);
        !readiness.writable && !readiness.hung_up && !readiness.error
    }

    /// Serves the sends that wait for room, and a connect that they wait for, in order.
    pub(super) fn serve_sends(&mut self, socket: SocketId) {
        while let Some(&id) = self.files.get(socket).and_then(|file| file.sends.front()) {
            // Off the list first: completing it may end the socket.
            self.forget_send(id, socket);
            if !self.attempt_send(id, socket) {
                if let Some(file) = self.files.get(socket) {
                    file.sends.push_front(id);
                }
                return;
            }
        }
    }

    pub(super) fn forget_send(&mut self, id: RequestId, socket: SocketId) {
        if let Some(file) = self.files.get(socket) {
            file.sends.retain(|&other| other != id);
        }
    }

    /// Tries to send; `false` if there is no room yet.
    fn attempt_send(&mut self, id: RequestId, socket: SocketId) -> bool {
        if let Op::Connect { .. } = self.requests.get(id).op {
            return self.attempt_connect(id, socket);
        }
        self.attempt_transfer(id, socket)
    }

    /// Sends what the request has as one datagram; says how long that was.
    pub(super) fn send_datagram(
        &mut self,
        id: RequestId,
        socket: SocketId,
    ) -> Result<usize, Errno> {
        let mut options = SendOptions::default();
        let request = self.requests.get(id);
        let to = match &request.prepared {
            Prepared::Address(address) => Some(address),
            Prepared::Message(message) => {
                if message.control.len > 0 {
                    message::read_control(message.control, &mut options)?;
                }
                message.to.as_ref()
            }
            _ => None,
        };
        let mut single = [Span::default()];
        let mut spans = request.payload(&mut single);
        if let Some(to) = to {
            let family = self.stack.family(socket).ok_or(Errno::EBADF)?;
            options.to = match address::parse(to.bytes(), family)? {
                address::Given::Address(to) => Some(to),
                address::Given::Unspecified => return Err(Errno::EAFNOSUPPORT),
            };
        }
        let mut len = 0usize;
        for span in spans {
            span.check()?;
            len = len.checked_add(span.len).ok_or(Errno::EMSGSIZE)?;
        }
        if request.promise.is_some() {
            if let Some(parts) = self.borrow_all(id) {
                let lent = self.lend_datagram(id, socket, &options, parts);
                return lent.map(|()| len);
            }
            spans = self.requests.get(id).payload(&mut single);
        }
        let mut source = Gather::new(spans, 0);
        let sent = self.stack.udp_send(
            self.now,
            &mut self.ledger,
            socket,
            &options,
            len,
            &mut |part| source.fill(part),
        );
        sent.map(|()| len).map_err(errno)
    }
}

/// Reads a message's payload out of the application's memory, part by part.
pub(super) struct Gather<'a> {
    spans: &'a [Span],
    /// Bytes of the first span that have been read.
    at: usize,
}

impl<'a> Gather<'a> {
    /// Begins after the first `skip` bytes of the spans, which were checked.
    pub(super) fn new(spans: &'a [Span], skip: usize) -> Gather<'a> {
        let (mut spans, mut at) = (spans, skip);
        while let Some(span) = spans.first()
            && at >= span.len
        {
            at -= span.len;
            spans = &spans[1..];
        }
        Gather { spans, at }
    }

    pub(super) fn fill(&mut self, mut part: &mut [u8]) {
        while let (Some(span), false) = (self.spans.first(), part.is_empty()) {
            let left = Span {
                addr: span.addr + self.at as u64,
                len: span.len - self.at,
            };
            let take = left.len.min(part.len());
            usermem::read(left, &mut part[..take]).expect("send: the span was checked");
            part = &mut part[take..];
            self.at += take;
            if self.at == span.len {
                self.spans = &self.spans[1..];
                self.at = 0;
            }
        }
    }
}

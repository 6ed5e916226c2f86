//! RECV, RECVMSG and ACCEPT: the line of requests that wait on a socket, and what they have in common.

use ringwire_abi::errno::Errno;
use ringwire_abi::request::Op;
use ringwire_stack::{Protocol, SocketId};

use super::buffers::Selected;
use super::message::MultishotLayout;
use super::request::{Prepared, RequestId};
use super::{Engine, read_write};
use crate::usermem::{self, Span};

/// Receives of one multishot request before others have their turn: the first, and as many again as the kernel
/// allows (`MULTISHOT_MAX_RETRY`).
const MULTISHOT_BURST: usize = 1 + 32;

/// What an attempt to receive came to.
pub(super) enum Attempt {
    /// Nothing to receive yet, or nothing more.
    Wait,
    /// The last completion of the request; `failed` decides about what is linked behind it.
    Done { res: i32, flags: u32, failed: bool },
    /// A completion of a multishot request that goes on, and may find more at once.
    More,
    /// The same, but others have their turn first.
    Requeue,
}

impl Attempt {
    pub(super) fn failed(error: Errno) -> Attempt {
        Attempt::Done {
            res: error.res(),
            flags: 0,
            failed: true,
        }
    }
}

/// What a receive asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) group: Option<u16>,
    /// Most bytes of a buffer, or of a bundle (0: no limit).
    pub(super) limit: usize,
    pub(super) poll_first: bool,
    pub(super) multishot: bool,
    pub(super) bundle: bool,
    pub(super) msg_flags: i32,
    /// It is a READ.
    pub(super) reads: bool,
    /// It has room for control messages.
    pub(super) control: bool,
}

impl Wanted {
    pub(super) fn has(&self, flag: i32) -> bool {
        self.msg_flags & flag != 0
    }

    /// Whether what is linked behind it is cancelled if it receives less than it asked for.
    pub(super) fn whole(&self) -> bool {
        self.waits_for_all() || self.reads && !self.multishot
    }

    /// Whether it waits for more than comes first. Room for control messages takes MSG_WAITALL this meaning
    /// (`io_recvmsg`).
    pub(super) fn waits_for_all(&self) -> bool {
        self.has(libc::MSG_WAITALL) && !self.control
    }
}

impl Engine {
    /// First attempt of a receive, or of an accept. Its memory is looked at even if it is to wait in line.
    pub(super) fn issue_receive(&mut self, id: RequestId, socket: SocketId) {
        if let Err(error) = self.import_memory(id) {
            return self.complete(id, error.res(), 0);
        }
        if self.takes_errors(id) {
            return self.issue_error_receive(id, socket);
        }
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
        match self.requests.get(id).op {
            Op::Recv(transfer) => transfer.msg_flags & libc::MSG_DONTWAIT == 0,
            Op::RecvMsg(message) => message.msg_flags & libc::MSG_DONTWAIT == 0,
            Op::Accept(accept) => !accept.dont_wait,
            Op::Read(read) => read_write::message_flags(&read) == 0,
            _ => true,
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
        if self.woken_for_nothing(id, socket) {
            return false;
        }
        for _ in 0..MULTISHOT_BURST {
            match self.attempt_receive(id, socket) {
                Attempt::More => {}
                Attempt::Wait => return false,
                Attempt::Requeue => break,
                Attempt::Done { res, flags, failed } => {
                    self.forget_receive(id, socket);
                    self.complete_as(id, res, flags, failed);
                    return true;
                }
            }
        }
        self.stack.again(socket);
        false
    }

    /// Whether a multishot receive waits on: what woke it is nothing to receive, and an empty group is no
    /// error then (Linux `io_poll_check_events`).
    fn woken_for_nothing(&self, id: RequestId, socket: SocketId) -> bool {
        let request = self.requests.get(id);
        if !request.attempted || !is_multishot(&request.op) {
            return false;
        }
        if socket.protocol() == Protocol::Udp {
            return !self.stack.udp_can_receive(socket);
        }
        let readiness = self.stack.readiness(&self.ledger, socket);
        !(readiness.readable || readiness.error || readiness.receive_shut || readiness.hung_up)
    }

    pub(super) fn forget_receive(&mut self, id: RequestId, socket: SocketId) {
        if let Some(file) = self.files.get(socket) {
            file.receives.retain(|&other| other != id);
        }
    }

    fn attempt_receive(&mut self, id: RequestId, socket: SocketId) -> Attempt {
        let request = self.requests.get_mut(id);
        let first = !std::mem::replace(&mut request.attempted, true);
        if let Op::Accept(accept) = request.op {
            return self.attempt_accept(id, socket, &accept, first);
        }
        if let Op::RecvZc(receive) = request.op {
            return self.attempt_lend(id, socket, &receive, first);
        }
        let wanted = self.wanted(id);
        // The first attempt is left out, and there is to be no other.
        if first && wanted.poll_first && wanted.has(libc::MSG_DONTWAIT) {
            return Attempt::failed(Errno::EAGAIN);
        }
        if let Some(group) = wanted.group.filter(|&group| self.groups.is_lent(group)) {
            return self.attempt_lent(id, socket, &wanted, group, first);
        }
        match socket.protocol() {
            Protocol::Udp => self.attempt_datagram(id, socket, &wanted, first),
            Protocol::Tcp => self.attempt_stream(id, socket, &wanted, first),
        }
    }

    pub(super) fn wanted(&self, id: RequestId) -> Wanted {
        let request = self.requests.get(id);
        match &request.op {
            Op::Recv(recv) => Wanted {
                group: recv.group,
                limit: recv.len as usize,
                poll_first: recv.poll_first,
                multishot: recv.multishot,
                bundle: recv.bundle,
                msg_flags: recv.msg_flags,
                reads: false,
                control: false,
            },
            Op::Read(read) => Wanted {
                group: read.group,
                limit: match &request.prepared {
                    Prepared::Spans(spans) => spans.first().map_or(0, |span| span.len),
                    _ => read.len as usize,
                },
                poll_first: false,
                multishot: read.multishot,
                bundle: false,
                msg_flags: read_write::message_flags(read),
                reads: true,
                control: false,
            },
            Op::RecvMsg(recv) => {
                let limit = match &request.prepared {
                    Prepared::Message(message) if !recv.multishot => {
                        message.buffers.first().map_or(0, |span| span.len)
                    }
                    _ => 0,
                };
                Wanted {
                    group: recv.group,
                    limit,
                    poll_first: recv.poll_first,
                    multishot: recv.multishot,
                    bundle: false,
                    msg_flags: recv.msg_flags,
                    reads: false,
                    control: matches!(&request.prepared,
                        Prepared::Message(message) if message.control_area > 0),
                }
            }
            _ => unreachable!("receive: a request that receives nothing"),
        }
    }

    /// Takes the buffer of one attempt. It is chosen before the attempt: an empty group fails also
    /// where nothing is there.
    pub(super) fn select_one(
        &mut self,
        id: RequestId,
        wanted: &Wanted,
    ) -> Result<Option<Selected>, Errno> {
        let Some(group) = wanted.group else {
            return Ok(None);
        };
        let selected = match wanted.bundle {
            true => self.groups.select_known(group, wanted.limit)?,
            false => self.groups.select(group, wanted.limit)?,
        };
        if let Err(error) = self.check_room(id, &selected) {
            self.groups.recycle(selected);
            return Err(error);
        }
        Ok(Some(selected))
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

    /// Posts a multishot completion. Its limit reached, or the queue full, it is the last one, and
    /// carries the data.
    pub(super) fn post_received(&mut self, id: RequestId, res: i32, flags: u32) -> Attempt {
        let limit_reached = match &mut self.requests.get_mut(id).op {
            Op::Recv(recv) if recv.limit > 0 => {
                recv.limit = recv.limit.saturating_sub(res as u32);
                recv.limit == 0
            }
            _ => false,
        };
        if limit_reached || !self.post_more(id, res, flags) {
            return Attempt::Done {
                res,
                flags,
                failed: false,
            };
        }
        Attempt::More
    }
}

fn is_multishot(op: &Op) -> bool {
    match op {
        Op::Recv(recv) => recv.multishot,
        Op::RecvMsg(recv) => recv.multishot,
        Op::Read(read) => read.multishot,
        Op::RecvZc(_) => true,
        _ => false,
    }
}

/// Writes what comes in parts to spans of the application's memory, one after the other.
pub(super) struct Scatter<'a> {
    spans: &'a [Span],
    /// Bytes of the first span that are written.
    at: usize,
    /// Bytes of the parts that were written.
    pub(super) written: usize,
    /// What stopped it.
    pub(super) error: Option<Errno>,
}

impl<'a> Scatter<'a> {
    /// Begins after the first `skip` bytes of the spans.
    pub(super) fn new(spans: &'a [Span], skip: usize) -> Scatter<'a> {
        let mut scatter = Scatter {
            spans,
            at: skip,
            written: 0,
            error: None,
        };
        scatter.next_span();
        scatter
    }

    /// Leaves the spans behind that are full.
    fn next_span(&mut self) {
        while let Some(span) = self.spans.first()
            && self.at >= span.len
        {
            self.at -= span.len;
            self.spans = &self.spans[1..];
        }
    }

    pub(super) fn write(&mut self, mut part: &[u8]) {
        let before = self.written;
        while let (Some(span), false, None) = (self.spans.first(), part.is_empty(), self.error) {
            let into = Span {
                addr: span.addr.wrapping_add(self.at as u64),
                len: span.len - self.at,
            };
            match usermem::write(into, part) {
                Ok(count) => {
                    part = &part[count..];
                    self.at += count;
                    self.written += count;
                    self.next_span();
                }
                Err(error) => {
                    // A part that cannot be copied whole is not received (`tcp_recvmsg_locked`).
                    self.written = before;
                    self.error = Some(error);
                }
            }
        }
    }
}

//! POLL_ADD: one-shot after a look at the state, multishot by edges.

use ringwire_abi::errno::Errno;
use ringwire_abi::request::{Op, PollUpdate};
use ringwire_stack::{Event, Readiness, SocketId};

use super::Engine;
use super::chain::Work;
use super::request::RequestId;

const IN: u32 = (libc::POLLIN | libc::POLLRDNORM) as u32;
const OUT: u32 = (libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND) as u32;
const ERR: u32 = libc::POLLERR as u32;
const HUP: u32 = libc::POLLHUP as u32;
const RDHUP: u32 = libc::POLLRDHUP as u32;

impl Engine {
    pub(super) fn issue_poll(&mut self, id: RequestId, socket: SocketId, events: u32) {
        self.files
            .get(socket)
            .expect("poll: a request holds its socket")
            .polls
            .push(id);
        let Op::PollAdd { multishot, .. } = self.requests.get(id).op else {
            unreachable!("poll: a request that polls nothing")
        };
        // A multishot poll is armed first, and then told (`__io_arm_poll_handler`).
        if multishot {
            self.work.push_back(Work::Poll(id));
        } else {
            self.look(id, socket, events);
        }
    }

    /// Reports what is so already of a poll that is armed.
    pub(super) fn look_at_poll(&mut self, id: RequestId) {
        let request = self.requests.get(id);
        if let (Op::PollAdd { events, .. }, Some(socket)) = (request.op, request.socket) {
            self.look(id, socket, events);
        }
    }

    fn look(&mut self, id: RequestId, socket: SocketId, events: u32) {
        let state = mask(&self.stack.readiness(&self.ledger, socket)) | self.queued_error(socket);
        self.report_poll(id, socket, events, state);
    }

    fn queued_error(&mut self, socket: SocketId) -> u32 {
        match self.has_queued_error(socket) {
            true => ERR,
            false => 0,
        }
    }

    /// Serves the polls of a socket after something happened on one of its sides.
    pub(super) fn serve_polls(&mut self, event: &Event) {
        // An edge reports only what it is about: a multishot poll is not told twice.
        let sides = if event.receive { IN | RDHUP } else { 0 } | if event.send { OUT } else { 0 };
        let socket = event.socket;
        self.each_poll(socket, |engine, id, events| {
            let mut state = mask(&engine.stack.readiness(&engine.ledger, socket));
            // An end is told with all that is so, the arrival of data is not (`sk_state_change`).
            if state & (HUP | RDHUP) != 0 {
                state |= engine.queued_error(socket);
            }
            engine.report_poll(id, socket, events & sides, state);
        });
    }

    /// Serves the polls of a socket after something came into its error queue.
    pub(super) fn report_queued_error(&mut self, socket: SocketId) {
        if self.has_queued_error(socket) {
            self.each_poll(socket, |engine, id, _| {
                engine.report_poll(id, socket, 0, ERR)
            });
        }
    }

    fn each_poll(&mut self, socket: SocketId, serve: impl Fn(&mut Engine, RequestId, u32)) {
        let mut at = 0;
        while let Some(id) = self.poll_at(socket, at) {
            if let Op::PollAdd { events, .. } = self.requests.get(id).op {
                serve(self, id, events);
            }
            // One that has ended has left its place to the next.
            at += usize::from(self.poll_at(socket, at) == Some(id));
        }
    }

    fn poll_at(&mut self, socket: SocketId, at: usize) -> Option<RequestId> {
        self.files.get(socket)?.polls.get(at).copied()
    }

    /// POLL_REMOVE: ends a poll, or changes what it waits for or its `user_data` (Linux
    /// `io_poll_remove`).
    pub(super) fn remove_poll(&mut self, update: &PollUpdate) -> Result<i32, Errno> {
        let polls = self.requests.iter().filter(|(_, request)| {
            let polls = matches!(request.op, Op::PollAdd { .. }) && request.socket.is_some();
            polls && request.user_data == update.user_data
        });
        let (id, request) = polls
            .max_by_key(|(_, request)| request.serial)
            .ok_or(Errno::ENOENT)?;
        if request.cancelled {
            return Err(Errno::EALREADY);
        }
        if update.events.is_none() && update.new_user_data.is_none() {
            self.cancel_later(id);
            return Ok(0);
        }
        let request = self.requests.get_mut(id);
        if let (Op::PollAdd { events, .. }, Some((new, _))) = (&mut request.op, update.events) {
            // Whether it is multishot stays as it is.
            *events = new;
        }
        if let Some(user_data) = update.new_user_data {
            request.user_data = user_data;
        }
        // It is armed anew, and told what is so already.
        self.work.push_back(Work::Poll(id));
        Ok(0)
    }

    fn report_poll(&mut self, id: RequestId, socket: SocketId, events: u32, state: u32) {
        // These are reported whether asked for or not (`IO_POLL_UNMASK`).
        let mask = state & (events | ERR | HUP | RDHUP);
        if mask == 0 {
            return;
        }
        let Op::PollAdd { multishot, .. } = self.requests.get(id).op else {
            unreachable!("poll: a request that polls nothing")
        };
        if multishot && self.post_more(id, mask as i32, 0) {
            return;
        }
        self.forget_poll(id, socket);
        self.complete(id, mask as i32, 0);
    }

    pub(super) fn forget_poll(&mut self, id: RequestId, socket: SocketId) {
        if let Some(file) = self.files.get(socket) {
            file.polls.retain(|&other| other != id);
        }
    }
}

/// The state as poll(2) shows a UDP socket's (Linux `datagram_poll`).
fn mask(readiness: &Readiness) -> u32 {
    let bits = [
        (readiness.error, ERR),
        (readiness.readable, IN),
        (readiness.receive_shut, RDHUP | IN),
        (readiness.hung_up, HUP),
        (readiness.writable, OUT),
    ];
    bits.iter()
        .filter(|(set, _)| *set)
        .fold(0, |mask, (_, bits)| mask | bits)
}

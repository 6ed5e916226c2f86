//! Taking submissions: checks, chains, drains, and the rule that stops a batch at a bad entry.

use std::time::Duration;

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::*;
use ringwire_abi::request::{self, Nop, Op, Target};
use ringwire_abi::sqe::Sqe;
use ringwire_stack::Instant;

use super::Engine;
use super::request::{Prepared, Request, RequestId};
use super::{read_write, send};
use crate::queue::Submission;
use crate::usermem::{self, Message, RawAddress, Span};

/// Stands for what a request would have done that is not issued.
const FAILED: Op = Op::Nop(Nop {
    inject: None,
    file: None,
    buffer: None,
    extra: None,
});

/// Whether the engine has the operation.
pub(super) fn is_there(op: &Op) -> bool {
    match op {
        Op::Nop(nop) => nop.file.is_none() && nop.buffer.is_none(),
        Op::Timeout { flags, .. } => flags & IORING_TIMEOUT_IMMEDIATE_ARG == 0,
        Op::LinkTimeout { .. } | Op::TimeoutRemove { .. } | Op::PollRemove(_) => false,
        _ => true,
    }
}

/// The chain that a batch is in the middle of.
#[derive(Debug, Default)]
struct Chain {
    head: Option<RequestId>,
    last: Option<RequestId>,
}

impl Engine {
    /// Takes up to `count` submissions and issues them; returns how many were taken. In a mixed queue
    /// one of 128 bytes counts twice. An entry that cannot be prepared completes with its error and
    /// ends the batch, unless the ring was set up with `IORING_SETUP_SUBMIT_ALL` (Linux
    /// `io_submit_sqes`).
    pub fn submit(&mut self, now: Instant, count: u32) -> u32 {
        self.now = now;
        let mut taken = 0;
        let mut chain = Chain::default();
        while taken < count {
            let Some(submission) = self.queues.take_sqe(count - taken) else {
                break;
            };
            taken += submission.slots;
            let submit_all = self.setup_flags & IORING_SETUP_SUBMIT_ALL != 0;
            let sqe = narrow(&submission);
            if self.submit_one(&sqe, &mut chain).is_err() && !submit_all {
                break;
            }
        }
        // A chain ends with its batch.
        if let Some(head) = chain.head.take() {
            self.queue(head);
        }
        self.counters.submitted += u64::from(taken);
        self.signal();
        taken
    }

    fn submit_one(&mut self, sqe: &Sqe, chain: &mut Chain) -> Result<(), Errno> {
        let checked = self.check(sqe);
        let notify = checked.ok().and_then(|()| request::notification(sqe));
        let prepared = checked.and_then(|()| self.prepare(sqe));
        let error = prepared.as_ref().err().copied();
        let (op, prepared) = prepared.unwrap_or((FAILED, Prepared::Nothing));
        let mut request = Request::new(sqe.user_data, sqe.flags, op);
        request.prepared = prepared;
        request.notify = notify;
        if let Some(error) = error {
            request.set_failed(error.res());
        }
        let linked = request.is_linked();
        let id = self.requests.insert(request);
        match chain.last {
            None => chain.head = Some(id),
            Some(last) => self.requests.get_mut(last).link = Some(id),
        }
        chain.last = Some(id);
        if let (Some(_), Some(head)) = (error, chain.head)
            && self.requests.get(head).failed.is_none()
        {
            self.requests
                .get_mut(head)
                .set_failed(Errno::ECANCELED.res());
        }
        if linked {
            return Ok(());
        }
        let head = chain
            .head
            .take()
            .expect("submit: the chain holds this entry at least");
        chain.last = None;
        self.queue(head);
        error.map_or(Ok(()), Err)
    }

    /// The checks that are the same for every operation.
    fn check(&mut self, sqe: &Sqe) -> Result<(), Errno> {
        request::check_flags(sqe)?;
        if sqe.flags & IOSQE_CQE_SKIP_SUCCESS != 0 {
            self.skip_seen = true;
        }
        if self.skip_seen && sqe.flags & IOSQE_IO_DRAIN != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        self.check_restrictions(sqe)?;
        request::check_priority(sqe, |id| self.settings.has_personality(id))
    }

    /// The operation's own checks, and what is copied at submission.
    fn prepare(&self, sqe: &Sqe) -> Result<(Op, Prepared), Errno> {
        let op = request::parse(sqe)?;
        if !is_there(&op) {
            return Err(Errno::EOPNOTSUPP);
        }
        if matches!(op, Op::Nop(Nop { extra: Some(_), .. })) && !self.has_big_completions() {
            return Err(Errno::EINVAL);
        }
        let prepared = prepare_pointers(&op)?;
        Ok((op, prepared))
    }

    fn has_big_completions(&self) -> bool {
        self.setup_flags & (IORING_SETUP_CQE32 | IORING_SETUP_CQE_MIXED) != 0
    }

    /// Starts a chain, or lets it wait for a drain.
    fn queue(&mut self, head: RequestId) {
        if self.requests.get(head).failed.is_some() {
            return self.fail_chain(head);
        }
        let drain = self.chain_has_drain(head);
        if drain {
            // A drain inside a chain holds the chain's head back.
            self.requests.get_mut(head).flags |= IOSQE_IO_DRAIN;
            self.drain_active = true;
        }
        if !self.drain_active {
            return self.start(head);
        }
        // Everything behind a drain queues, until it and what is queued have gone (`io_drain_req`).
        self.deferred.push_back(head);
        self.start_deferred();
        if !drain && self.deferred.is_empty() {
            self.drain_active = false;
        }
    }

    fn chain_has_drain(&self, head: RequestId) -> bool {
        let mut next = Some(head);
        while let Some(id) = next {
            let request = self.requests.get(id);
            if request.is_drain() {
                return true;
            }
            next = request.link;
        }
        false
    }

    /// Issues a request, after those whose turn came before.
    pub(super) fn start(&mut self, id: RequestId) {
        self.outstanding += 1;
        self.ready.push_back(id);
        // A chain that completes at once starts its next request from here, not from deeper down.
        if std::mem::replace(&mut self.starting, true) {
            return;
        }
        while let Some(id) = self.ready.pop_front() {
            self.start_one(id);
        }
        self.starting = false;
    }

    /// Looks a request's socket up and makes the first attempt.
    fn start_one(&mut self, id: RequestId) {
        let request = self.requests.get(id);
        if let Some(target) = request.op.target() {
            let socket = match target {
                Target::Fixed(index) => self.files.lookup(index),
                // No file descriptor is a socket of ours.
                Target::Fd(_) => Err(Errno::EBADF),
            };
            match socket {
                Ok(socket) => {
                    self.files.hold(socket);
                    self.requests.get_mut(id).socket = Some(socket);
                }
                Err(error) => return self.complete(id, error.res(), 0),
            }
        }
        self.signals.in_worker = self.requests.get(id).flags & IOSQE_ASYNC != 0;
        self.issue(id);
        self.signals.in_worker = false;
    }
}

/// An operation with 128 bytes, in an entry that has them, is its little sister: nothing that a
/// socket takes lies in the second half. Elsewhere there is no such operation.
fn narrow(submission: &Submission) -> Sqe {
    let opcode = match submission.sqe.opcode {
        IORING_OP_NOP128 if submission.wide => IORING_OP_NOP,
        IORING_OP_URING_CMD128 if submission.wide => IORING_OP_URING_CMD,
        opcode => opcode,
    };
    Sqe {
        opcode,
        ..submission.sqe
    }
}

/// Copies what the kernel copies at submission, so that the application may free it.
fn prepare_pointers(op: &Op) -> Result<Prepared, Errno> {
    match *op {
        Op::Bind { addr, len, .. } | Op::Connect { addr, len, .. } => {
            RawAddress::read(addr, len as usize).map(Prepared::Address)
        }
        Op::Send(send) => send::prepare(&send),
        Op::Read(transfer) | Op::Write(transfer) => read_write::prepare(&transfer),
        Op::Recv(recv) => {
            let own = recv.group.is_none() && recv.fixed.is_none();
            let (addr, len) = (recv.addr, recv.len as usize);
            if own && !(Span { addr, len }).is_in_range() {
                return Err(Errno::EFAULT);
            }
            Ok(Prepared::Nothing)
        }
        Op::SendMsg(send) => {
            let mut message = Message::read(send.header, send.fixed.is_some())?;
            if message.name.len > 0 {
                message.to = Some(RawAddress::read(message.name.addr, message.name.len)?);
            }
            Ok(Prepared::Message(Box::new(message)))
        }
        Op::RecvMsg(recv) => {
            let message = Message::read(recv.header, recv.group.is_some())?;
            if recv.group.is_some() && message.buffers.len() > 1 {
                return Err(Errno::EINVAL);
            }
            let areas = message.name_area.checked_add(message.control_area);
            if recv.multishot && areas.is_none_or(|areas| areas > i32::MAX as usize - 16) {
                return Err(Errno::EOVERFLOW);
            }
            Ok(Prepared::Message(Box::new(message)))
        }
        Op::ProvideBuffers {
            addr, len, count, ..
        } => {
            let len = len as usize * count as usize;
            let span = Span { addr, len };
            span.is_in_range()
                .then_some(Prepared::Nothing)
                .ok_or(Errno::EFAULT)
        }
        Op::Timeout { timespec, .. } => {
            let (seconds, nanos) = usermem::read_timespec(timespec)?;
            if seconds < 0 || nanos < 0 {
                return Err(Errno::EINVAL);
            }
            Ok(Prepared::Time(
                Duration::from_secs(seconds as u64) + Duration::from_nanos(nanos as u64),
            ))
        }
        _ => Ok(Prepared::Nothing),
    }
}

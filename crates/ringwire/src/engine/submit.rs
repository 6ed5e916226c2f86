//! Taking submissions: checks, chains, drains, and the rule that stops a batch at a bad entry.

use std::time::Duration;

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::*;
use ringwire_abi::request::{self, Nop, Op, Target};
use ringwire_abi::sqe::Sqe;
use ringwire_stack::Instant;

use super::Engine;
use super::chain::Chain;
use super::request::{Prepared, RequestId, Spare};
use super::zero_copy::Promise;
use super::{read_write, send};
use crate::usermem::{self, Message, RawAddress, Span};

impl Engine {
    /// Takes up to `count` submissions and issues them; returns how many were taken. In a mixed queue
    /// one of 128 bytes counts twice. An entry that cannot be prepared completes with its error and
    /// ends the batch, unless the ring was set up with `IORING_SETUP_SUBMIT_ALL` (Linux
    /// `io_submit_sqes`).
    pub fn submit(&mut self, now: Instant, count: u32) -> u32 {
        self.now = now;
        self.deferring = self.setup_flags & IORING_SETUP_DEFER_TASKRUN != 0;
        let mut taken = 0;
        let mut chain = Chain::default();
        while taken < count {
            let Some(submission) = self.queues.take_sqe(count - taken) else {
                break;
            };
            taken += submission.slots;
            let submit_all = self.setup_flags & IORING_SETUP_SUBMIT_ALL != 0;
            let narrowed;
            let sqe = match submission.wide {
                false => &submission.sqe,
                true => {
                    narrowed = narrow(&submission.sqe);
                    &narrowed
                }
            };
            if self.submit_one(sqe, &mut chain).is_err() && !submit_all {
                break;
            }
        }
        // A chain ends with its batch.
        self.end_chain(&mut chain);
        self.let_go();
        // With task work deferred, it waits for an enter that asks for completions.
        if !std::mem::take(&mut self.deferring) {
            self.run_work();
        }
        self.counters.submitted += u64::from(taken);
        self.signal();
        taken
    }

    fn submit_one(&mut self, sqe: &Sqe, chain: &mut Chain) -> Result<(), Errno> {
        let mut flags = sqe.flags;
        let checked = self.check(sqe, &mut flags, chain);
        let notify = checked.ok().and_then(|()| request::notification(sqe));
        let id = self.requests.insert(sqe.user_data, flags);
        let prepared = checked.and_then(|()| self.prepare(id, sqe, chain));
        let request = self.requests.get_mut(id);
        request.promise = notify.map(Promise::Request);
        if let Err(error) = prepared {
            request.forget_operation();
            request.set_failed(error.res());
        }
        let linked = request.is_linked();
        self.extend(chain, id, sqe.opcode);
        // A bad entry inside a chain does not end the batch.
        if linked { Ok(()) } else { prepared }
    }

    /// The checks that are the same for every operation, and what flags mean for later entries
    /// (`io_init_req`).
    fn check(&mut self, sqe: &Sqe, flags: &mut u8, chain: &Chain) -> Result<(), Errno> {
        request::check_flags(sqe)?;
        if sqe.flags & IOSQE_CQE_SKIP_SUCCESS != 0 {
            self.skip_seen = true;
        }
        if sqe.flags & IOSQE_IO_DRAIN != 0 {
            if self.skip_seen {
                return Err(Errno::EOPNOTSUPP);
            }
            self.begin_drain(chain);
        }
        self.check_restrictions(sqe)?;
        if self.takes_drain(chain) {
            *flags |= IOSQE_IO_DRAIN;
        }
        request::check_priority(sqe, |id| self.settings.has_personality(id))
    }

    /// The operation, its own checks, and what is copied at submission.
    fn prepare(&mut self, id: RequestId, sqe: &Sqe, chain: &Chain) -> Result<(), Errno> {
        let big = self.has_big_completions();
        let (request, spare) = self.requests.get_with_spare(id);
        request.op = request::parse(sqe)?;
        // Nearly always nothing, which it has: nothing is moved then.
        match prepare_pointers(&request.op, spare)? {
            Prepared::Nothing => {}
            prepared => request.prepared = prepared,
        }
        match &request.op {
            Op::Nop(Nop { extra: Some(_), .. }) if !big => Err(Errno::EINVAL),
            Op::LinkTimeout { .. } if !chain.takes_link_timeout() => Err(Errno::EINVAL),
            &Op::RecvZc(receive) => self.check_zcrx(&receive),
            _ => Ok(()),
        }
    }

    pub(super) fn has_big_completions(&self) -> bool {
        self.setup_flags & (IORING_SETUP_CQE32 | IORING_SETUP_CQE_MIXED) != 0
    }

    /// Looks a request's socket up and makes the first attempt. What has a LINK_TIMEOUT and waits is
    /// timed from then on.
    pub(super) fn start(&mut self, id: RequestId) {
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
        let in_worker = self.requests.get(id).flags & IOSQE_ASYNC != 0;
        if in_worker {
            // What a worker completes it posts itself.
            self.post_finished();
            self.signals.in_worker = true;
        }
        self.issue(id);
        if in_worker {
            self.post_finished();
            self.signals.in_worker = false;
        }
        if self.requests.waits(id)
            && let Some(timeout) = self.link_timeout(id)
        {
            self.arm_link_timeout(timeout, id);
        }
    }
}

/// An operation with 128 bytes, in an entry that has them, is its little sister: nothing that a
/// socket takes lies in the second half. Elsewhere there is no such operation.
#[cold]
fn narrow(sqe: &Sqe) -> Sqe {
    let opcode = match sqe.opcode {
        IORING_OP_NOP128 => IORING_OP_NOP,
        IORING_OP_URING_CMD128 => IORING_OP_URING_CMD,
        opcode => opcode,
    };
    Sqe { opcode, ..*sqe }
}

/// Copies what the kernel copies at submission, so that the application may free it.
fn prepare_pointers(op: &Op, spare: &mut Spare) -> Result<Prepared, Errno> {
    match *op {
        Op::Bind { addr, len, .. } | Op::Connect { addr, len, .. } => {
            RawAddress::read(addr, len as usize).map(Prepared::Address)
        }
        Op::Send(send) => send::prepare(&send, spare),
        Op::Read(transfer) | Op::Write(transfer) => read_write::prepare(&transfer, spare),
        Op::Recv(recv) => {
            let own = recv.group.is_none() && recv.fixed.is_none();
            let (addr, len) = (recv.addr, recv.len as usize);
            if own && !(Span { addr, len }).is_in_range() {
                return Err(Errno::EFAULT);
            }
            Ok(Prepared::Nothing)
        }
        Op::SendMsg(send) => {
            let mut message = Message::read(send.header, send.fixed.is_some(), spare.spans())?;
            if message.name.len > 0 {
                message.to = Some(RawAddress::read(message.name.addr, message.name.len)?);
            }
            Ok(spare.message(message))
        }
        Op::RecvMsg(recv) => {
            let message = Message::read(recv.header, recv.group.is_some(), spare.spans())?;
            if recv.group.is_some() && message.buffers.len() > 1 {
                return Err(Errno::EINVAL);
            }
            let areas = message.name_area.checked_add(message.control_area);
            if recv.multishot && areas.is_none_or(|areas| areas > i32::MAX as usize - 16) {
                return Err(Errno::EOVERFLOW);
            }
            Ok(spare.message(message))
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
        Op::Timeout {
            timespec, flags, ..
        }
        | Op::LinkTimeout { timespec, flags } => read_time(timespec, flags).map(Prepared::Time),
        Op::TimeoutRemove {
            update: Some(update),
            ..
        } => read_time(update.timespec, update.flags).map(Prepared::Time),
        _ => Ok(Prepared::Nothing),
    }
}

/// The time of a timeout.
fn read_time(timespec: u64, flags: u32) -> Result<Duration, Errno> {
    if flags & IORING_TIMEOUT_IMMEDIATE_ARG != 0 {
        let nanos = i64::try_from(timespec).map_err(|_| Errno::EINVAL)?;
        return Ok(Duration::from_nanos(nanos as u64));
    }
    let (seconds, nanos) = usermem::read_timespec(timespec)?;
    if seconds < 0 || nanos < 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Duration::from_secs(seconds as u64) + Duration::from_nanos(nanos as u64))
}

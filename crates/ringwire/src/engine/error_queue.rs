//! MSG_ZEROCOPY: sends that their socket numbers, and their notifications, which wait in its error queue (Linux
//! `net/core/skbuff.c`, `msg_zerocopy_*`) or come back with a later send.

use std::collections::VecDeque;

use ringwire_abi::errno::Errno;
use ringwire_abi::error_queue::{CODE_ZEROCOPY_COPIED, ORIGIN_ZEROCOPY, ZeroCopyRange};
use ringwire_abi::request::Op;
use ringwire_stack::{Family, Protocol, SocketId};

use super::Engine;
use super::address::{IN_BYTES, IN6_BYTES};
use super::buffers::Selected;
use super::chain::Work;
use super::files::File;
use super::message::{self, MultishotLayout};
use super::receive::{Attempt, Wanted};
use super::request::{Prepared, RequestId};
use super::zero_copy::Promise;
use crate::usermem::Span;

/// Most sends and entries of a socket that wait: what `net.core.optmem_max`, of 128 KiB, leaves room for. Each is
/// charged 832 bytes, and one more is let in while 576 are left (`sock_omalloc`).
const MOST: usize = 157;
/// Bytes of `struct sock_extended_err`.
const EXTENDED_ERROR: usize = 16;

/// A socket's zero-copy sends by number, and what is said of them.
#[derive(Debug, Default)]
pub(super) struct ErrorQueue {
    /// The number of the next send.
    next: u32,
    /// Sends that have a number, or may get one, and are not repaid.
    promised: usize,
    entries: VecDeque<ZeroCopyRange>,
    /// Receives that wait for an entry.
    waiters: VecDeque<RequestId>,
    /// Those that wait, and the polls, are to be told, and have not had their turn.
    telling: bool,
}

impl ErrorQueue {
    fn take_number(&mut self) -> u32 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        number
    }

    /// Adds a number; to the last entry, if it continues that (`skb_zerocopy_notify_extend`).
    fn add(&mut self, number: u32, zerocopy: bool) {
        let (zerocopy, pad) = (zerocopy.into(), [0; 3]);
        match self.entries.back_mut() {
            Some(last)
                if number == last.hi.wrapping_add(1)
                    && zerocopy == last.zerocopy
                    && last.hi.wrapping_sub(last.lo) < u32::MAX - 1 =>
            {
                last.hi = number;
            }
            _ => self.entries.push_back(ZeroCopyRange {
                lo: number,
                hi: number,
                zerocopy,
                pad,
            }),
        }
    }
}

/// Where a send wants ranges: a control message with an array.
#[derive(Clone, Copy, Debug)]
pub(super) struct RangeArray {
    /// Bytes of control messages in front of it.
    pub(super) offset: usize,
    /// Elements.
    pub(super) room: usize,
}

/// Sends.
impl Engine {
    /// Promises a number to a send that asks for it, and looks at where it wants ranges.
    pub(super) fn bind_to_socket(&mut self, id: RequestId, socket: SocketId) -> Result<(), Errno> {
        let (msg_flags, _) = self.send_flags(id);
        let request = self.requests.get(id);
        let array = match (&request.op, &request.prepared) {
            (Op::SendMsg(_), Prepared::Message(message)) if message.control.len > 0 => {
                message::range_array(message.control)?
            }
            _ => None,
        };
        let numbered = msg_flags & libc::MSG_ZEROCOPY != 0 && request.promise.is_none();
        if !numbered && array.is_none() {
            return Ok(());
        }
        let empty = socket.protocol() == Protocol::Tcp && request.is_empty();
        let has_notification = request.promise.is_some();
        let numbers = self.stack.options(socket).is_ok_and(|it| it.zero_copy);
        let file = self.files.get(socket).filter(|_| numbers);
        let queue = file.map(File::errors);
        if array.is_some() && (queue.is_none() || has_notification) {
            return Err(Errno::EINVAL);
        }
        let request = self.requests.get_mut(id);
        request.ranges = array;
        if let Some(queue) = queue.filter(|_| numbered && !empty) {
            if queue.promised + queue.entries.len() >= MOST {
                return Err(Errno::ENOBUFS);
            }
            queue.promised += 1;
            request.promise = Some(Promise::Socket(socket, None));
        }
        Ok(())
    }

    /// Numbers what a completion says was sent, and ends its loan: from there on it may be notified of.
    pub(super) fn number_sent(&mut self, id: RequestId, res: i32) {
        let Some(Promise::Socket(socket, _)) = self.requests.get(id).promise else {
            return;
        };
        let file = self.files.get(socket);
        let queue = file.and_then(|file| file.errors.as_deref_mut());
        // A datagram without payload is one.
        let sent = res > 0 || res == 0 && socket.protocol() == Protocol::Udp;
        let number = queue.filter(|_| sent).map(ErrorQueue::take_number);
        self.end_loan_as(id, Promise::Socket(socket, number));
    }

    /// As [`number_sent`](Self::number_sent), of a bundle that goes on with other buffers.
    pub(super) fn number_part(&mut self, id: RequestId, res: i32) {
        if let Some(Promise::Socket(socket, _)) = self.requests.get(id).promise {
            if let Some(queue) = self
                .files
                .get(socket)
                .and_then(|it| it.errors.as_deref_mut())
            {
                queue.promised += 1;
            }
            self.number_sent(id, res);
        }
    }

    /// Nothing needs the memory of a send any more, which has this number unless it failed. A socket that is
    /// closed says nothing.
    pub(super) fn note_repaid(&mut self, socket: SocketId, number: Option<u32>, copied: bool) {
        let Some(file) = self.files.get(socket) else {
            return;
        };
        let Some(queue) = file.errors.as_deref_mut() else {
            return;
        };
        queue.promised -= 1;
        if let Some(number) = number {
            queue.add(number, !copied);
        }
        let told = !queue.waiters.is_empty() || number.is_some() && !file.polls.is_empty();
        // What ends at once is told of once.
        if told && !std::mem::replace(&mut queue.telling, true) {
            self.work.push_back(Work::ErrorQueue(socket));
        }
    }

    /// Writes ranges where a send wants them that has not failed. What cannot be written stays in the queue.
    pub(super) fn write_ranges(&mut self, id: RequestId) {
        let request = self.requests.get(id);
        let (Some(array), Prepared::Message(message)) = (request.ranges, &request.prepared) else {
            return;
        };
        let socket = request.socket.filter(|_| request.result.0 >= 0);
        let file = socket.and_then(|socket| self.files.get(socket));
        let Some(queue) = file.and_then(|file| file.errors.as_deref_mut()) else {
            return;
        };
        let count = queue.entries.len().min(array.room);
        let ranges = queue.entries.iter().take(count);
        if message::write_ranges(message, array, ranges).is_ok() {
            queue.entries.drain(..count);
        }
    }
}

/// Receives with MSG_ERRQUEUE.
impl Engine {
    /// Whether a request receives from the error queue.
    pub(super) fn takes_errors(&self, id: RequestId) -> bool {
        let msg_flags = match self.requests.get(id).op {
            Op::Recv(transfer) => transfer.msg_flags,
            Op::RecvMsg(message) => message.msg_flags,
            _ => 0,
        };
        msg_flags & libc::MSG_ERRQUEUE != 0
    }

    /// First attempt of a receive from the error queue. It has nothing to do with those that wait for data.
    pub(super) fn issue_error_receive(&mut self, id: RequestId, socket: SocketId) {
        let wanted = self.wanted(id);
        // The first attempt is left out, and there is to be no other.
        let attempt = match wanted.poll_first && wanted.has(libc::MSG_DONTWAIT) {
            true => Attempt::failed(Errno::EAGAIN),
            false => self.attempt_error(id, socket, &wanted),
        };
        match attempt {
            Attempt::Done { res, flags, failed } => self.complete_as(id, res, flags, failed),
            _ => {
                let file = self.files.get(socket);
                let file = file.expect("error queue: a request holds its socket");
                file.errors().waiters.push_back(id);
            }
        }
    }

    pub(super) fn forget_error_receive(&mut self, id: RequestId, socket: SocketId) {
        let file = self.files.get(socket);
        if let Some(queue) = file.and_then(|file| file.errors.as_deref_mut()) {
            queue.waiters.retain(|&other| other != id);
        }
    }

    /// Something came into a socket's error queue: tells its polls and serves those that wait.
    pub(super) fn serve_error_queue(&mut self, socket: SocketId) {
        let file = self.files.get(socket);
        if let Some(queue) = file.and_then(|file| file.errors.as_deref_mut()) {
            queue.telling = false;
        }
        self.report_queued_error(socket);
        self.serve_error_receives(socket);
    }

    /// Serves the receives that wait for an entry, or for the end of what entries come of.
    pub(super) fn serve_error_receives(&mut self, socket: SocketId) {
        let mut at = 0;
        while let Some(id) = self.error_waiter(socket, at) {
            let wanted = self.wanted(id);
            match self.attempt_error(id, socket, &wanted) {
                Attempt::Done { res, flags, failed } => {
                    self.forget_error_receive(id, socket);
                    self.complete_as(id, res, flags, failed);
                }
                // Of those behind it another may end.
                _ => at += 1,
            }
        }
    }

    fn error_waiter(&mut self, socket: SocketId, at: usize) -> Option<RequestId> {
        let file = self.files.get(socket)?;
        let queue = file.errors.as_deref()?;
        queue.waiters.get(at).copied()
    }

    /// Whether something is in a socket's error queue.
    pub(super) fn has_queued_error(&mut self, socket: SocketId) -> bool {
        let file = self.files.get(socket);
        let queue = file.and_then(|file| file.errors.as_deref());
        queue.is_some_and(|queue| !queue.entries.is_empty())
    }

    /// Takes the first entry, if there is one (`ip_recv_error`). A buffer is chosen before, as for data.
    fn attempt_error(&mut self, id: RequestId, socket: SocketId, wanted: &Wanted) -> Attempt {
        if wanted.group.is_some_and(|group| self.groups.is_lent(group)) {
            // Its frames have what the NIC received, and an entry is none of that.
            return Attempt::failed(Errno::EINVAL);
        }
        let selected = match self.select_one(id, wanted) {
            Ok(selected) => selected,
            Err(error) => return Attempt::failed(error),
        };
        let Some(range) = self.take_error(socket) else {
            self.put_back(selected);
            let in_vain = !wanted.multishot && self.is_over(socket);
            return match wanted.has(libc::MSG_DONTWAIT) || in_vain {
                true => Attempt::failed(Errno::EAGAIN),
                false => Attempt::Wait,
            };
        };
        match self.store_error(id, socket, range, selected, wanted) {
            Ok(attempt) => attempt,
            Err(error) => {
                self.put_back(selected);
                Attempt::failed(error)
            }
        }
    }

    /// Whether nothing is to be waited for: an error of the socket, or the end of what it receives, would wake the
    /// receive again and again, as in the kernel (`APOLL_MAX_RETRY`), and no number is missing.
    fn is_over(&mut self, socket: SocketId) -> bool {
        let readiness = self.stack.readiness(&self.ledger, socket);
        let file = self.files.get(socket);
        let queue = file.and_then(|file| file.errors.as_deref());
        let promised = queue.map_or(0, |queue| queue.promised);
        let wakes = readiness.error || readiness.hung_up || readiness.receive_shut;
        wakes && promised == 0
    }

    fn take_error(&mut self, socket: SocketId) -> Option<ZeroCopyRange> {
        let file = self.files.get(socket)?;
        let queue = file.errors.as_deref_mut()?;
        let range = queue.entries.pop_front()?;
        // Those that poll hear of the next one (`sock_dequeue_err_skb`).
        let told = !queue.entries.is_empty() && !file.polls.is_empty();
        if told && !std::mem::replace(&mut queue.telling, true) {
            self.work.push_back(Work::ErrorQueue(socket));
        }
        Some(range)
    }

    fn put_back(&mut self, selected: Option<Selected>) {
        if let Some(selected) = selected {
            self.groups.recycle(selected);
        }
    }

    /// Writes an entry where the receive has room for control messages. It has no payload.
    fn store_error(
        &mut self,
        id: RequestId,
        socket: SocketId,
        range: ZeroCopyRange,
        selected: Option<Selected>,
        wanted: &Wanted,
    ) -> Result<Attempt, Errno> {
        let family = self.stack.family(socket).ok_or(Errno::EBADF)?;
        let (level, kind, bytes) = match family {
            Family::V4 => (libc::SOL_IP, libc::IP_RECVERR, EXTENDED_ERROR + IN_BYTES),
            Family::V6 => (
                libc::SOL_IPV6,
                libc::IPV6_RECVERR,
                EXTENDED_ERROR + IN6_BYTES,
            ),
        };
        let error = extended_error(range);
        let put = |area: Span| message::put_control(area, (level, kind), &error[..bytes]);
        let request = self.requests.get(id);
        let mut single = [Span::default()];
        let room: usize = match &selected {
            Some(selected) => selected.span.len,
            None => request
                .own_memory(&mut single)
                .iter()
                .map(|it| it.len)
                .sum(),
        };
        let (mut res, mut cut) = (0, libc::MSG_CTRUNC);
        if let (Op::RecvMsg(_), Prepared::Message(message)) = (&request.op, &request.prepared) {
            if let Some(selected) = selected.filter(|_| wanted.multishot) {
                let layout = MultishotLayout::new(message, selected.span)?;
                let used;
                (used, cut) = put(layout.control());
                message::write_error(&layout, used, cut | libc::MSG_ERRQUEUE)?;
                res = layout.header_len();
            } else {
                let used;
                (used, cut) = put(message.control);
                message.write_back(0, used, cut | libc::MSG_ERRQUEUE)?;
            }
        }
        let flags = match selected {
            Some(selected) if res > 0 => self.groups.commit(selected, res),
            selected => {
                self.put_back(selected);
                0
            }
        };
        Ok(Attempt::Done {
            res: res as i32,
            flags,
            failed: wanted.waits_for_all() && room > 0 || wanted.has(libc::MSG_WAITALL) && cut != 0,
        })
    }
}

/// `struct sock_extended_err`, and behind it the offender's address, which is all zeroes: there is none.
fn extended_error(range: ZeroCopyRange) -> [u8; EXTENDED_ERROR + IN6_BYTES] {
    let mut bytes = [0; EXTENDED_ERROR + IN6_BYTES];
    bytes[4] = ORIGIN_ZEROCOPY;
    bytes[6] = match range.zerocopy {
        0 => CODE_ZEROCOPY_COPIED,
        _ => 0,
    };
    bytes[8..12].copy_from_slice(&range.lo.to_ne_bytes());
    bytes[12..16].copy_from_slice(&range.hi.to_ne_bytes());
    bytes
}

#[cfg(test)]
#[path = "error_queue_tests.rs"]
mod tests;

//! RECV, RECVMSG and READ with a lent buffer group: as with another, but nothing is copied.

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::IORING_CQE_F_BUF_MORE;
use ringwire_abi::request::Op;
use ringwire_stack::{Protocol, SocketId};

use super::lent_group::{LentBytes, flags_of};
use super::message::{emit_message, header_len};
use super::receive::{Attempt, Wanted};
use super::request::{Prepared, RequestId};
use super::stream::Behind;
use super::{Engine, errno};
use crate::usermem::{self, MAX_TRANSFER};

/// What leaves data where it is, waits for more than a frame, or throws it away is not lent.
const REFUSED: i32 = libc::MSG_PEEK | libc::MSG_WAITALL | libc::MSG_TRUNC;
/// Most parts of one bundle (`PEEK_MAX_IMPORT`).
const MOST_PARTS: usize = 256;

impl Engine {
    pub(super) fn attempt_lent(
        &mut self,
        id: RequestId,
        socket: SocketId,
        wanted: &Wanted,
        group: u16,
        first: bool,
    ) -> Attempt {
        let streams = socket.protocol() == Protocol::Tcp;
        // A stream has no names, and the bytes in front of a part may be lent themselves.
        let message = wanted.multishot && matches!(self.requests.get(id).op, Op::RecvMsg(_));
        if wanted.has(REFUSED) || streams && message {
            return Attempt::failed(Errno::EINVAL);
        }
        let readiness = self.stack.readiness(&self.ledger, socket);
        let ready = readiness.readable
            || readiness.error
            || readiness.receive_shut
            || streams && readiness.hung_up;
        // A multishot read looks for data before it looks for a buffer, but for the first time.
        let looks =
            first && wanted.poll_first || !streams && !first && wanted.reads && wanted.multishot;
        if looks && !ready {
            return Attempt::Wait;
        }
        if let Err(error) = self.check_credit(group, socket) {
            return Attempt::failed(error);
        }
        if streams {
            return self.attempt_lent_bytes(id, socket, wanted, group);
        }
        match ready {
            false if wanted.has(libc::MSG_DONTWAIT) => Attempt::failed(Errno::EAGAIN),
            false => Attempt::Wait,
            true => self
                .lend_message(id, socket, wanted, group)
                .unwrap_or_else(Attempt::failed),
        }
    }

    fn attempt_lent_bytes(
        &mut self,
        id: RequestId,
        socket: SocketId,
        wanted: &Wanted,
        group: u16,
    ) -> Attempt {
        // As without a group (`attempt_stream`).
        if wanted.has(libc::MSG_OOB) {
            return Attempt::failed(Errno::EINVAL);
        }
        match self.stack.tcp_available(socket).map_err(errno) {
            Err(Errno::EAGAIN) if !wanted.has(libc::MSG_DONTWAIT) => Attempt::Wait,
            Err(error) => Attempt::failed(error),
            Ok(0) => Attempt::Done {
                res: 0,
                flags: self.nonempty(id, socket),
                failed: wanted.whole(),
            },
            Ok(_) => self
                .lend_stream(id, socket, wanted, group)
                .unwrap_or_else(Attempt::failed),
        }
    }

    /// One completion of bytes that are there: of one part, or with a bundle of several.
    fn lend_stream(
        &mut self,
        id: RequestId,
        socket: SocketId,
        wanted: &Wanted,
        group: u16,
    ) -> Result<Attempt, Errno> {
        let request = self.requests.get(id);
        if let Prepared::Message(message) = &request.prepared {
            // A connection's peer is no name of a message (`tcp_recvmsg`).
            message.write_back(0, 0, 0)?;
        }
        let mut limit = most(wanted.limit);
        if let Op::Recv(recv) = request.op
            && wanted.bundle
            && recv.limit > 0
        {
            limit = limit.min(recv.limit as usize);
        }
        let LentBytes {
            bid,
            len: mut res,
            mut more,
        } = self.lend_stream_part(group, socket, limit)?;
        if wanted.bundle {
            for _ in 1..MOST_PARTS {
                // A frame of which more comes is the last of its completion.
                if more || res == limit {
                    break;
                }
                let Ok(part) = self.lend_stream_part(group, socket, limit - res) else {
                    break;
                };
                res += part.len;
                more = part.more;
            }
        }
        let inq = self.stack.tcp_inq(socket);
        self.requests.get_mut(id).inq = Some(inq);
        let mut flags = flags_of(bid) | self.nonempty(id, socket);
        if more {
            flags |= IORING_CQE_F_BUF_MORE;
        }
        let behind = Behind::new(inq, self.has_ended(socket));
        let short = wanted.limit > 0 && res < wanted.limit;
        Ok(self.deliver(id, wanted, res, flags, behind, short))
    }

    /// One completion of what a datagram socket has: an error, a datagram, or the end.
    fn lend_message(
        &mut self,
        id: RequestId,
        socket: SocketId,
        wanted: &Wanted,
        group: u16,
    ) -> Result<Attempt, Errno> {
        if let Some(error) = self.stack.take_error(socket) {
            return Err(errno(error));
        }
        let Some(front) = self.stack.udp_front(socket) else {
            // As without a group (`receive_into`).
            if wanted.has(libc::MSG_DONTWAIT) {
                return Err(Errno::EAGAIN);
            }
            if wanted.multishot {
                return Ok(Attempt::Wait);
            }
            return Ok(Attempt::Done {
                res: 0,
                flags: 0,
                failed: wanted.reads && wanted.whole(),
            });
        };
        let (full, from) = (front.len(), front.from);
        let limit = most(wanted.limit);
        let count = full.min(limit);
        let mut room = 0;
        let mut areas = (0, 0);
        let (mut name, mut name_len) = ([0; 28], 0);
        if let Prepared::Message(message) = &self.requests.get(id).prepared {
            (name, name_len) = self.sender_of(socket, from);
            let name = &name[..name_len];
            if wanted.multishot {
                areas = (message.name_area, message.control_area);
                room = header_len(areas);
            } else {
                let truncated = if full > count { libc::MSG_TRUNC } else { 0 };
                let written = usermem::write(message.name, name)
                    .and_then(|_| message.write_back(name_len as u32, 0, truncated));
                if let Err(error) = written {
                    // UDP drops a datagram that it could not tell of (`udp_recvmsg`).
                    self.stack.udp_consume(&mut self.ledger, socket);
                    return Err(error);
                }
            }
        }
        let header = &mut |bytes: &mut [u8]| emit_message(bytes, areas, &name[..name_len], count);
        let flags = self.lend_datagram_parts(group, socket, room, header, limit)?;
        let res = (room + count) as i32;
        if wanted.multishot && full > 0 {
            return Ok(self.post_received(id, res, flags));
        }
        Ok(Attempt::Done {
            res,
            flags,
            failed: wanted.whole() && wanted.limit > count,
        })
    }
}

/// Most bytes of a completion whose request says this.
fn most(limit: usize) -> usize {
    match limit {
        0 => MAX_TRANSFER,
        limit => limit.min(MAX_TRANSFER),
    }
}

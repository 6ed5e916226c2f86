//! Issuing a request: which operation does what.

use std::net::SocketAddr;

use ringwire_abi::errno::Errno;
use ringwire_abi::request::{Nop, Op, Slot, Target};
use ringwire_stack::{Family, Protocol, Shutdown, SocketId};

use super::address::{self, Given};
use super::chain::Work;
use super::request::{Prepared, RequestId};
use super::{Engine, errno};

/// The kernel knows no socket type from here on (`SOCK_MAX`).
const SOCK_MAX: i32 = 11;
/// Nor a protocol from here on (`IPPROTO_MAX`).
const IPPROTO_MAX: i32 = 263;

impl Engine {
    /// Makes the first attempt. The request has its socket, if it needs one.
    pub(super) fn issue(&mut self, id: RequestId) {
        let request = self.requests.get(id);
        let held = request.socket;
        let socket = || held.expect("issue: the socket was looked up");
        match request.op {
            Op::Recv(_) | Op::RecvMsg(_) | Op::RecvZc(_) | Op::Accept(_) => {
                self.issue_receive(id, socket());
            }
            Op::Send(_) | Op::SendMsg(_) => self.issue_send(id, socket()),
            Op::Read(_) | Op::Write(_) => self.issue_read_write(id, socket()),
            Op::PollAdd { events, .. } => self.issue_poll(id, socket(), events),
            Op::Timeout { count, flags, .. } => self.issue_timeout(id, count, flags),
            Op::Watch => self.issue_watch(id),
            Op::AsyncCancel(key) => self.issue_cancel(id, &key),
            Op::Nop(nop) if nop.by_task_work => self.work.push_back(Work::Nop(id)),
            Op::Nop(_) => self.issue_nop(id),
            Op::Socket {
                domain,
                kind,
                protocol,
                slot,
            } => {
                let (result, failed) = match self.open_socket(domain, kind, protocol, slot) {
                    Ok(socket) => (self.install(slot, socket), false),
                    Err(error) => (Err(error), true),
                };
                // One that finds no slot breaks no link (`io_socket`).
                self.complete_as(id, result.unwrap_or_else(Errno::res), 0, failed);
            }
            Op::Bind { .. } => {
                let result = self.bind(id, socket());
                self.complete_with(id, result);
            }
            Op::Listen { backlog, .. } => {
                let result = self.listen(socket(), backlog);
                self.complete_with(id, result);
            }
            Op::Connect { .. } if socket().protocol() == Protocol::Tcp => {
                let socket = socket();
                self.issue_connect_stream(id, socket);
            }
            Op::Connect { .. } => {
                let result = self.connect(id, socket());
                self.complete_with(id, result);
            }
            Op::Shutdown { how, .. } => {
                let result = self.shutdown(socket(), how);
                self.complete_with(id, result);
            }
            Op::Close { target } => {
                let result = self.close(target);
                self.complete_with(id, result);
            }
            Op::SocketCommand { command, .. } => {
                let result = self.socket_command(socket(), &command);
                self.complete_with(id, result);
            }
            Op::FilesUpdate {
                files,
                count,
                offset,
            } => {
                let result = self.files_update(files, count, offset);
                self.complete_with(id, result);
            }
            Op::FlushSlots { first, count, tag } => {
                let result = self.flush_slots(first, count, tag);
                self.complete_with(id, result);
            }
            Op::ProvideBuffers {
                group,
                addr,
                len,
                count,
                bid,
            } => {
                let result = self
                    .groups
                    .provide(group, addr, len, count, bid)
                    .map(|()| 0);
                self.complete_with(id, result);
            }
            Op::MsgRing(message) => {
                let result = self.send_message(&message);
                self.complete_with(id, result);
            }
            Op::RemoveBuffers { group, count } => {
                let result = self.groups.remove(group, count).map(|count| count as i32);
                self.complete_with(id, result);
            }
            Op::LinkTimeout { .. } => unreachable!("issue: it waits with its request"),
            Op::TimeoutRemove { user_data, update } => {
                let result = self.remove_timeout(id, user_data, update);
                self.complete_with(id, result);
            }
            Op::PollRemove(update) => {
                let result = self.remove_poll(&update);
                self.complete_with(id, result);
            }
        }
    }

    pub(super) fn issue_nop(&mut self, id: RequestId) {
        let Op::Nop(nop) = self.requests.get(id).op else {
            unreachable!("issue: a NOP is one")
        };
        let res = self.nop(&nop).unwrap_or_else(Errno::res);
        match nop.extra {
            Some(extra) => self.complete_big(id, res, extra),
            None => self.complete(id, res, 0),
        }
    }

    /// Looks up what it is told to.
    fn nop(&self, nop: &Nop) -> Result<i32, Errno> {
        match nop.file {
            Some(Target::Fixed(index)) => drop(self.files.lookup(index)?),
            // No file descriptor is ours.
            Some(Target::Fd(_)) => return Err(Errno::EBADF),
            None => {}
        }
        if let Some(index) = nop.buffer {
            self.registered.node(index).map_err(|_| Errno::EFAULT)?;
        }
        Ok(nop.inject.unwrap_or(0))
    }

    fn complete_with(&mut self, id: RequestId, result: Result<i32, Errno>) {
        self.complete(id, result.unwrap_or_else(Errno::res), 0);
    }

    fn open_socket(
        &mut self,
        domain: i32,
        kind: i32,
        protocol: i32,
        slot: Slot,
    ) -> Result<SocketId, Errno> {
        let family = match domain {
            libc::AF_INET => Family::V4,
            libc::AF_INET6 => Family::V6,
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        if !(0..SOCK_MAX).contains(&kind) || !(0..IPPROTO_MAX).contains(&protocol) {
            return Err(Errno::EINVAL);
        }
        let protocol = match (kind, protocol) {
            (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Protocol::Udp,
            (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Protocol::Tcp,
            (libc::SOCK_DGRAM | libc::SOCK_STREAM, _) => return Err(Errno::EPROTONOSUPPORT),
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        // A library without file descriptors of its own makes no plain socket.
        if slot == Slot::None {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(self.stack.open(protocol, family))
    }

    pub(super) fn given(&self, id: RequestId, family: Family) -> Result<Given, Errno> {
        match &self.requests.get(id).prepared {
            Prepared::Address(raw) => address::parse(raw.bytes(), family),
            _ => unreachable!("issue: an address was copied at submission"),
        }
    }

    fn bind(&mut self, id: RequestId, socket: SocketId) -> Result<i32, Errno> {
        let family = self.stack.family(socket).ok_or(Errno::EBADF)?;
        match self.given(id, family)? {
            Given::Address(address) => self.stack.bind(socket, address).map(|()| 0).map_err(errno),
            Given::Unspecified => Err(Errno::EAFNOSUPPORT),
        }
    }

    fn connect(&mut self, id: RequestId, socket: SocketId) -> Result<i32, Errno> {
        let family = self.stack.family(socket).ok_or(Errno::EBADF)?;
        let to = match self.given(id, family)? {
            Given::Unspecified => None,
            Given::Address(to) => Some(SocketAddr::new(to.ip(), to.port())),
        };
        self.stack
            .udp_connect(socket, to)
            .map(|()| 0)
            .map_err(errno)
    }

    fn shutdown(&mut self, socket: SocketId, how: i32) -> Result<i32, Errno> {
        let how = match how {
            libc::SHUT_RD => Shutdown::Receive,
            libc::SHUT_WR => Shutdown::Send,
            libc::SHUT_RDWR => Shutdown::Both,
            _ => return Err(Errno::EINVAL),
        };
        self.stack
            .shutdown(self.now, &mut self.ledger, socket, how)
            .map(|()| 0)
            .map_err(errno)
    }

    fn close(&mut self, target: Target) -> Result<i32, Errno> {
        match target {
            // No file descriptor is ours to close.
            Target::Fd(_) => Err(Errno::EBADF),
            Target::Fixed(index) => {
                let socket = self.files.take(index)?;
                self.drop_file(socket);
                Ok(0)
            }
        }
    }
}

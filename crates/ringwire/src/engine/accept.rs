//! LISTEN, ACCEPT and CONNECT on streams.

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::IORING_CQE_F_SOCK_NONEMPTY;
use ringwire_abi::request::{Accept, Slot};
use ringwire_stack::{Accepted, SocketError, SocketId};

use super::address::{self, Given};
use super::receive::Attempt;
use super::request::RequestId;
use super::{Engine, errno};
use crate::usermem;

impl Engine {
    pub(super) fn listen(&mut self, socket: SocketId, backlog: i32) -> Result<i32, Errno> {
        // An int in the kernel's eyes, compared unsigned: a negative backlog is the longest.
        self.stack
            .tcp_listen(socket, backlog as u32)
            .map(|()| 0)
            .map_err(errno)
    }

    pub(super) fn attempt_accept(
        &mut self,
        id: RequestId,
        socket: SocketId,
        accept: &Accept,
        first: bool,
    ) -> Attempt {
        // A library without file descriptors of its own makes no plain socket.
        if accept.slot == Slot::None {
            return Attempt::failed(Errno::EOPNOTSUPP);
        }
        if first && accept.poll_first {
            // The first attempt is left out, and there is to be no other.
            if accept.dont_wait {
                return Attempt::failed(Errno::EAGAIN);
            }
            // A connection that is readable will not be accepted from, but fails at once.
            let readiness = self.stack.readiness(&self.ledger, socket);
            if !(readiness.readable || readiness.receive_shut || readiness.hung_up) {
                return Attempt::Wait;
            }
        }
        let accepted = match self.stack.tcp_accept(socket) {
            Ok(accepted) => accepted,
            Err(SocketError::WouldBlock) if accept.dont_wait => {
                return Attempt::failed(Errno::EAGAIN);
            }
            Err(SocketError::WouldBlock) => return Attempt::Wait,
            Err(error) => return Attempt::failed(errno(error)),
        };
        let flags = match accepted.more {
            true => IORING_CQE_F_SOCK_NONEMPTY,
            false => 0,
        };
        match self.install_accepted(accept, &accepted) {
            Ok(res) if accept.multishot && self.post_more(id, res, flags) => Attempt::More,
            result => Attempt::Done {
                res: result.unwrap_or_else(Errno::res),
                flags,
                failed: result.is_err(),
            },
        }
    }

    /// Writes the peer's address, and puts the socket into its slot. A connection that nobody can be
    /// given is lost, as with the kernel.
    fn install_accepted(&mut self, accept: &Accept, accepted: &Accepted) -> Result<i32, Errno> {
        if let Err(error) = self.write_peer(accept, accepted) {
            let (now, ledger) = (self.now, &mut self.ledger);
            self.stack.close(now, ledger, accepted.socket);
            return Err(error);
        }
        self.install(accept.slot, accepted.socket)
    }

    fn write_peer(&self, accept: &Accept, accepted: &Accepted) -> Result<(), Errno> {
        if accept.addr == 0 {
            return Ok(());
        }
        let family = self.stack.family(accepted.socket).ok_or(Errno::EBADF)?;
        let (bytes, len) = address::emit(accepted.peer, family);
        usermem::write_address(accept.addr, accept.addr_len, &bytes[..len])
    }

    /// Begins to connect a stream, and waits for what comes of it.
    pub(super) fn issue_connect_stream(&mut self, id: RequestId, socket: SocketId) {
        let to = match self.stack.family(socket) {
            Some(family) => self.given(id, family),
            None => Err(Errno::EBADF),
        };
        let to = match to {
            Ok(Given::Unspecified) => None,
            Ok(Given::Address(to)) => Some(to),
            Err(error) => return self.complete(id, error.res(), 0),
        };
        let (now, ledger) = (self.now, &mut self.ledger);
        match self.stack.tcp_connect(now, ledger, socket, to) {
            Err(SocketError::InProgress) => self
                .files
                .get(socket)
                .expect("connect: a request holds its socket")
                .sends
                .push_back(id),
            Ok(()) => self.complete(id, 0, 0),
            Err(error) => self.complete(id, errno(error).res(), 0),
        }
    }

    /// Completes a CONNECT whose outcome is known; `false` while it is not.
    pub(super) fn attempt_connect(&mut self, id: RequestId, socket: SocketId) -> bool {
        let res = match self.stack.tcp_connected(socket) {
            None => return false,
            Some(Ok(())) => 0,
            Some(Err(error)) => errno(error).res(),
        };
        self.complete(id, res, 0);
        true
    }
}

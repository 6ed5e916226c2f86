//! MSG_RING: a completion for another ring of the process, or for this one (Linux
//! `io_uring/msg_ring.c`).

use std::sync::Arc;

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_MSG_DATA, IORING_MSG_SEND_FD};
use ringwire_abi::request::{RingMessage, Target};

use super::Engine;
use crate::mailbox;

impl Engine {
    /// Sends a message; the result of the operation. It is posted over there in the next turn that
    /// completes anything, and if there is no room, it waits in that ring's overflow list.
    pub(super) fn send_message(&mut self, message: &RingMessage) -> Result<i32, Errno> {
        let peer = match message.target {
            Target::Fd(fd) => mailbox::find(fd)?,
            // A slot has a socket, or nothing.
            Target::Fixed(index) => {
                return Err(self
                    .files
                    .lookup(index)
                    .map_or_else(|error| error, |_| Errno::EBADFD));
            }
        };
        let own = Arc::ptr_eq(&peer.mailbox, &self.mailbox);
        match message.command {
            IORING_MSG_DATA => {
                let completion = peer.data(message)?;
                if own {
                    self.post(completion);
                } else {
                    peer.send(completion);
                }
                Ok(0)
            }
            IORING_MSG_SEND_FD => {
                if message.res != 0 || own {
                    return Err(Errno::EINVAL);
                }
                peer.check_enabled()?;
                let slot = u32::try_from(message.source).map_err(|_| Errno::EBADF)?;
                self.files.lookup(slot)?;
                // A socket is its ring's, with the addresses and the memory that it uses.
                Err(Errno::EOPNOTSUPP)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Posts what other rings have sent.
    pub(super) fn take_messages(&mut self) {
        if !self.mailbox.is_filled() {
            return;
        }
        for message in self.mailbox.take() {
            self.post(message);
        }
    }
}

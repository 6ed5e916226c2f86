//! Messages between the rings of a process (MSG_RING): who they are, by file descriptor, and what was
//! sent to them.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::RawFd;
use std::sync::{Arc, PoisonError};

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_MSG_DATA, IORING_MSG_RING_FLAGS_PASS, IORING_OP_MSG_RING};
use ringwire_abi::request::{self, Op, RingMessage};
use ringwire_abi::sqe::Sqe;
use ringwire_xsk::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use ringwire_xsk::{Waker, is_open};

use crate::engine::Shown;
use crate::queue::{Completion, QueueMemory};

/// What other rings have sent to one, in order. Like the overflow list it has no bound but memory.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    messages: Mutex<VecDeque<Completion>>,
    /// Something is in it, so that nobody has to lock it to find nothing. Written under the lock.
    filled: AtomicBool,
}

impl Mailbox {
    fn messages(&self) -> MutexGuard<'_, VecDeque<Completion>> {
        // A list of plain values is whole whoever panicked.
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, message: Completion) {
        let mut messages = self.messages();
        messages.push_back(message);
        self.filled.store(true, Ordering::Release);
    }

    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// Takes what there is.
    pub(crate) fn take(&self) -> VecDeque<Completion> {
        if !self.is_filled() {
            return VecDeque::new();
        }
        let mut messages = self.messages();
        self.filled.store(false, Ordering::Release);
        std::mem::take(&mut *messages)
    }
}

/// A ring, as others see it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) queues: Arc<QueueMemory>,
    /// The registered buffers, for a clone.
    pub(crate) buffers: Arc<Shown>,
    /// Wakes whoever takes the ring's turns.
    pub(crate) waker: Waker,
}

impl Peer {
    pub(crate) fn send(&self, message: Completion) {
        self.mailbox.put(message);
        self.waker.wake();
    }

    /// The completion that a message of data becomes here (Linux `__io_msg_ring_data`).
    pub(crate) fn data(&self, message: &RingMessage) -> Result<Completion, Errno> {
        let passes = message.flags & IORING_MSG_RING_FLAGS_PASS != 0;
        if message.source != 0
            || message.flags & !IORING_MSG_RING_FLAGS_PASS != 0
            || (!passes && message.destination != 0)
        {
            return Err(Errno::EINVAL);
        }
        self.check_enabled()?;
        Ok(Completion {
            user_data: message.user_data,
            res: message.res,
            flags: message.destination,
            extra: [0; 2],
        })
    }

    pub(crate) fn check_enabled(&self) -> Result<(), Errno> {
        if self.queues.is_enabled() {
            Ok(())
        } else {
            Err(Errno::EBADFD)
        }
    }
}

/// The rings of the process, by the file descriptors that they are known by.
static RINGS: std::sync::Mutex<BTreeMap<RawFd, Peer>> = std::sync::Mutex::new(BTreeMap::new());

fn rings() -> std::sync::MutexGuard<'static, BTreeMap<RawFd, Peer>> {
    RINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ring with this file descriptor.
///
/// # Errors
/// `EBADFD`: it is something else's; `EBADF`: nothing's.
pub(crate) fn find(fd: RawFd) -> Result<Peer, Errno> {
    match rings().get(&fd) {
        Some(peer) => Ok(peer.clone()),
        None if is_open(fd) => Err(Errno::EBADFD),
        None => Err(Errno::EBADF),
    }
}

/// Sends the message of a MSG_RING entry (Linux `io_uring_sync_msg_ring`).
pub(crate) fn send_entry(sqe: &Sqe) -> Result<(), Errno> {
    if sqe.flags != 0 || sqe.opcode != IORING_OP_MSG_RING || sqe.personality != 0 {
        return Err(Errno::EINVAL);
    }
    let Op::MsgRing(message) = request::parse(sqe)? else {
        return Err(Errno::EINVAL);
    };
    if message.command != IORING_MSG_DATA {
        return Err(Errno::EINVAL);
    }
    let peer = find(sqe.fd)?;
    peer.send(peer.data(&message)?);
    Ok(())
}

/// Keeps a ring on the list: it is to be dropped before the file descriptor is closed.
#[derive(Debug)]
pub(crate) struct Listed(RawFd);

impl Listed {
    pub(crate) fn new(fd: RawFd, peer: Peer) -> Listed {
        rings().insert(fd, peer);
        Listed(fd)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        rings().remove(&self.0);
    }
}

#[cfg(test)]
#[path = "mailbox_tests.rs"]
mod tests;

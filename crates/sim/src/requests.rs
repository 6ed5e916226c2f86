//! The requests of an application, and the rule that each is answered exactly once: completions that
//! say `F_MORE` come only for multishot requests, and after one that does not say it there is no other.

use std::collections::{BTreeMap, VecDeque};

use io_uring::squeue;
use ringwire_abi::flags::{
    IORING_OP_ACCEPT, IORING_OP_POLL_ADD, IORING_OP_RECV, IORING_OP_RECVMSG, IORING_OP_SEND,
    IORING_OP_TIMEOUT, IOSQE_CQE_SKIP_SUCCESS,
};
use ringwire_abi::sqe::Sqe;

use crate::client;
use crate::server;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its result does not matter.
    Quiet,
    Server(server::Step),
    Client(client::Step),
    /// Of no use to anybody; `allocates`: it opens sockets in slots that the ring chooses.
    Hostile {
        allocates: bool,
    },
}

struct Open {
    purpose: Purpose,
    opcode: u8,
    may_be_silent: bool,
}

/// What waits to be submitted, and what has not completed for good.
#[derive(Default)]
pub(crate) struct Requests {
    queue: VecDeque<squeue::Entry>,
    open: BTreeMap<u64, Open>,
    serial: u64,
}

impl Requests {
    /// Queues a request; it gets a `user_data` of its own, which is returned.
    pub(crate) fn push(&mut self, entry: squeue::Entry, purpose: Purpose) -> u64 {
        self.serial += 1;
        let sqe = Sqe::from_entry(&entry);
        let open = Open {
            purpose,
            opcode: sqe.opcode,
            may_be_silent: sqe.flags & IOSQE_CQE_SKIP_SUCCESS != 0,
        };
        self.open.insert(self.serial, open);
        self.queue.push_back(entry.user_data(self.serial));
        self.serial
    }

    pub(crate) fn front(&self) -> Option<&squeue::Entry> {
        self.queue.front()
    }

    pub(crate) fn pop_front(&mut self) {
        self.queue.pop_front();
    }

    /// Takes a completion.
    ///
    /// # Errors
    /// There must not be one.
    pub(crate) fn completed(&mut self, user_data: u64, more: bool) -> Result<Purpose, String> {
        let Some(open) = self.open.get(&user_data) else {
            return Err(format!(
                "request {user_data:#x} completed twice, or never was"
            ));
        };
        let (purpose, opcode) = (open.purpose, open.opcode);
        if !more {
            self.open.remove(&user_data);
        } else if !may_repeat(opcode) {
            return Err(format!("opcode {opcode} says that more completions come"));
        }
        Ok(purpose)
    }

    /// A request's completion may be left out, for the sake of another in its chain.
    pub(crate) fn may_be_silent(&mut self, user_data: u64) {
        if let Some(open) = self.open.get_mut(&user_data) {
            open.may_be_silent = true;
        }
    }

    /// The hostile requests that have not completed.
    pub(crate) fn hostile(&self) -> Vec<u64> {
        let is_hostile = |open: &Open| matches!(open.purpose, Purpose::Hostile { .. });
        let open = self.open.iter().filter(|(_, open)| is_hostile(open));
        open.map(|(&user_data, _)| user_data).collect()
    }

    /// One of the requests that have not completed, by its number modulo theirs.
    pub(crate) fn any_open(&self, number: u64) -> Option<u64> {
        let count = self.open.len().max(1) as u64;
        self.open.keys().nth((number % count) as usize).copied()
    }

    /// Requests that must still complete.
    pub(crate) fn unanswered(&self) -> usize {
        self.open
            .values()
            .filter(|open| !open.may_be_silent)
            .count()
    }
}

fn may_repeat(opcode: u8) -> bool {
    matches!(
        opcode,
        IORING_OP_ACCEPT
            | IORING_OP_POLL_ADD
            | IORING_OP_RECV
            | IORING_OP_RECVMSG
            | IORING_OP_SEND
            | IORING_OP_TIMEOUT
    )
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;

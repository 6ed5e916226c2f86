//! Direct descriptors: the table, and the sockets behind it.

use std::collections::VecDeque;

use ringwire_abi::errno::Errno;
use ringwire_abi::request::Slot;
use ringwire_stack::SocketId;

use super::Engine;
use super::request::RequestId;

/// Most slots (`IORING_MAX_FIXED_FILES`).
const MAX_SLOTS: u32 = 1 << 20;

/// A socket, and the requests that wait on it.
#[derive(Debug)]
pub(super) struct File {
    pub(super) socket: SocketId,
    /// Slots and requests that hold it: the socket ends with the last.
    references: u32,
    /// Receives and accepts.
    pub(super) receives: VecDeque<RequestId>,
    /// Sends, and a connect before them.
    pub(super) sends: VecDeque<RequestId>,
    pub(super) polls: Vec<RequestId>,
}

#[derive(Debug, Default)]
pub(super) struct Files {
    slots: Option<Vec<Option<SocketId>>>,
    /// Where the search for a free slot begins.
    hint: usize,
    /// By the index of the stack's socket.
    files: Vec<Option<File>>,
}

impl Files {
    pub(super) fn register(&mut self, slots: u32) -> Result<(), Errno> {
        if self.slots.is_some() {
            return Err(Errno::EBUSY);
        }
        match slots {
            0 => Err(Errno::EINVAL),
            slots if slots > MAX_SLOTS => Err(Errno::EMFILE),
            slots => {
                self.slots = Some(vec![None; slots as usize]);
                self.hint = 0;
                Ok(())
            }
        }
    }

    /// Empties the table; the caller drops the references that it held.
    pub(super) fn unregister(&mut self) -> Result<Vec<SocketId>, Errno> {
        Ok(self
            .slots
            .take()
            .ok_or(Errno::ENXIO)?
            .into_iter()
            .flatten()
            .collect())
    }

    /// Whether a new socket can be put there; the slot that it would get.
    pub(super) fn find_slot(&self, slot: Slot) -> Result<usize, Errno> {
        match (slot, &self.slots) {
            // A library without file descriptors of its own makes no plain socket.
            (Slot::None, _) => Err(Errno::EOPNOTSUPP),
            (Slot::Alloc, None) => Err(Errno::ENFILE),
            (Slot::Index(_), None) => Err(Errno::ENXIO),
            (Slot::Index(index), Some(slots)) if (index as usize) < slots.len() => {
                Ok(index as usize)
            }
            (Slot::Index(_), Some(_)) => Err(Errno::EINVAL),
            (Slot::Alloc, Some(slots)) => {
                let free = |&index: &usize| slots[index].is_none();
                let found = (self.hint..slots.len()).chain(0..self.hint).find(free);
                found.ok_or(Errno::ENFILE)
            }
        }
    }

    /// Puts a socket into a slot; returns the one that it replaces.
    pub(super) fn install(&mut self, index: usize, socket: SocketId) -> Option<SocketId> {
        let slots = self
            .slots
            .as_mut()
            .expect("files: the slot was found in the table");
        self.hint = index + 1;
        if self.hint >= slots.len() {
            self.hint = 0;
        }
        slots[index].replace(socket)
    }

    /// Empties a slot.
    pub(super) fn take(&mut self, index: u32) -> Result<SocketId, Errno> {
        let slots = self.slots.as_mut().ok_or(Errno::ENXIO)?;
        let slot = slots.get_mut(index as usize).ok_or(Errno::EINVAL)?;
        let socket = slot.take().ok_or(Errno::EBADF)?;
        self.hint = self.hint.min(index as usize);
        Ok(socket)
    }

    pub(super) fn lookup(&self, index: u32) -> Result<SocketId, Errno> {
        let slot = self
            .slots
            .as_ref()
            .and_then(|slots| slots.get(index as usize));
        slot.copied().flatten().ok_or(Errno::EBADF)
    }

    pub(super) fn add(&mut self, socket: SocketId) {
        let index = socket.index();
        if self.files.len() <= index {
            self.files.resize_with(index + 1, || None);
        }
        let file = File {
            socket,
            references: 1,
            receives: VecDeque::new(),
            sends: VecDeque::new(),
            polls: Vec::new(),
        };
        self.files[index] = Some(file);
    }

    pub(super) fn get(&mut self, socket: SocketId) -> Option<&mut File> {
        self.files
            .get_mut(socket.index())?
            .as_mut()
            .filter(|file| file.socket == socket)
    }

    pub(super) fn hold(&mut self, socket: SocketId) {
        self.get(socket)
            .expect("files: a socket in the table is open")
            .references += 1;
    }

    /// Lets go of a socket; `true` when that was the last reference.
    fn let_go(&mut self, socket: SocketId) -> bool {
        let Some(file) = self.get(socket) else {
            return false;
        };
        file.references -= 1;
        let last = file.references == 0;
        if last {
            self.files[socket.index()] = None;
        }
        last
    }
}

impl Engine {
    /// Lets go of a socket, and ends it with its last reference.
    pub(super) fn drop_file(&mut self, socket: SocketId) {
        if self.files.let_go(socket) {
            self.stack.close(self.now, &mut self.ledger, socket);
        }
    }
}

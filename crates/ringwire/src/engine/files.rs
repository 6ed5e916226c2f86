//! Direct descriptors: the table, and the sockets behind it.

use std::collections::VecDeque;
use std::ops::Range;

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::IORING_FILE_INDEX_ALLOC;
use ringwire_abi::register::{
    FileIndexRange, IORING_REGISTER_FILES_SKIP, RsrcRegister, RsrcUpdate, RsrcUpdate2,
};
use ringwire_abi::request::Slot;
use ringwire_stack::SocketId;

use super::Engine;
use super::error_queue::ErrorQueue;
use super::request::RequestId;
use crate::usermem::{read_element, read_plain, read_tag};

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
    /// What a socket needs that numbers its zero-copy sends, or that is asked for errors.
    pub(super) errors: Option<Box<ErrorQueue>>,
}

impl File {
    pub(super) fn errors(&mut self) -> &mut ErrorQueue {
        self.errors.get_or_insert_default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Files {
    slots: Option<Vec<Option<SocketId>>>,
    /// Where the search for a free slot begins.
    hint: usize,
    /// Where it is made (`IORING_REGISTER_FILE_ALLOC_RANGE`).
    range: Range<usize>,
    /// By the index of the stack's socket.
    files: Vec<Option<File>>,
}

impl Files {
    /// A table of empty slots (Linux `io_sqe_files_register`).
    pub(super) fn register(&mut self, slots: u32) -> Result<(), Errno> {
        if self.slots.is_some() {
            return Err(Errno::EBUSY);
        }
        match slots {
            0 => Err(Errno::EINVAL),
            slots if slots > MAX_SLOTS => Err(Errno::EMFILE),
            slots => {
                self.slots = Some(vec![None; slots as usize]);
                self.set_range(0..slots as usize);
                Ok(())
            }
        }
    }

    /// Empties the table; the caller drops the references that it held.
    pub(super) fn unregister(&mut self) -> Result<Vec<SocketId>, Errno> {
        let slots = self.slots.take().ok_or(Errno::ENXIO)?;
        self.set_range(0..0);
        Ok(slots.into_iter().flatten().collect())
    }

    /// Slots of the table, if there is one.
    pub(super) fn slots(&self) -> Option<u32> {
        self.slots.as_ref().map(|slots| slots.len() as u32)
    }

    /// Where free slots are searched from here on; they lie in the table.
    pub(super) fn set_range(&mut self, range: Range<usize>) {
        self.hint = range.start;
        self.range = range;
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
                // The slot used last may lie beside the range (Linux `io_file_bitmap_get`).
                let Range { start, end } = self.range;
                let hint = if (start..end).contains(&self.hint) {
                    self.hint
                } else {
                    start
                };
                let free = |&index: &usize| slots[index].is_none();
                let found = (hint..end).chain(start..hint).find(free);
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
        let replaced = slots[index].replace(socket);
        if replaced.is_none() {
            self.hint = index + 1;
        }
        replaced
    }

    /// Empties a slot.
    pub(super) fn take(&mut self, index: u32) -> Result<SocketId, Errno> {
        let slots = self.slots.as_mut().ok_or(Errno::ENXIO)?;
        let slot = slots.get_mut(index as usize).ok_or(Errno::EINVAL)?;
        let socket = slot.take().ok_or(Errno::EBADF)?;
        self.hint = index as usize;
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
            errors: None,
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
    /// Puts a new socket into its slot; says what a completion says of it. A socket that finds none ends.
    pub(super) fn install(&mut self, slot: Slot, socket: SocketId) -> Result<i32, Errno> {
        let index = self.files.find_slot(slot).inspect_err(|_| {
            self.stack.close(self.now, &mut self.ledger, socket);
        })?;
        self.files.add(socket);
        if let Some(replaced) = self.files.install(index, socket) {
            self.drop_file(replaced);
        }
        Ok(if slot == Slot::Alloc { index as i32 } else { 0 })
    }

    /// Lets go of a socket, and ends it with its last reference.
    pub(super) fn drop_file(&mut self, socket: SocketId) {
        if self.files.let_go(socket) {
            self.stack.close(self.now, &mut self.ledger, socket);
        }
    }

    /// `IORING_REGISTER_FILES`, and with tags `IORING_REGISTER_FILES2`: a table of direct
    /// descriptors. A socket has no file descriptor here, so every slot begins empty, and as the
    /// table takes no descriptors of the process's, RLIMIT_NOFILE does not bound it.
    pub(super) fn register_files(&mut self, fds: u64, nr: u32, tags: u64) -> Result<i32, Errno> {
        self.files.register(nr)?;
        for index in 0..nr {
            if let Err(error) = check_empty(fds, index, tags) {
                self.unregister_files()?;
                return Err(error);
            }
        }
        Ok(0)
    }

    /// `IORING_REGISTER_FILES2`.
    pub(super) fn register_files2(&mut self, arg: u64) -> Result<i32, Errno> {
        let register: RsrcRegister = read_plain(arg)?;
        register.check()?;
        self.register_files(register.data, register.nr, register.tags)
    }

    /// `IORING_UNREGISTER_FILES`: sockets live on while requests use them.
    pub(super) fn unregister_files(&mut self) -> Result<i32, Errno> {
        for socket in self.files.unregister()? {
            self.drop_file(socket);
        }
        Ok(0)
    }

    /// `IORING_REGISTER_FILES_UPDATE`.
    pub(super) fn register_files_update(&mut self, arg: u64, nr: u32) -> Result<i32, Errno> {
        if nr == 0 {
            return Err(Errno::EINVAL);
        }
        let RsrcUpdate { offset, resv, data } = read_plain(arg)?;
        if resv != 0 {
            return Err(Errno::EINVAL);
        }
        self.update_files(offset, data, 0, nr)
    }

    /// `IORING_REGISTER_FILES_UPDATE2`.
    pub(super) fn register_files_update2(&mut self, arg: u64) -> Result<i32, Errno> {
        let update: RsrcUpdate2 = read_plain(arg)?;
        update.check()?;
        self.update_files(update.offset, update.data, update.tags, update.nr)
    }

    /// The operation FILES_UPDATE: slots from `offset` on become what `len` file descriptors at
    /// `addr` say. Without sockets among them, none can be put into a slot of the table's choice.
    pub(super) fn files_update(&mut self, addr: u64, len: u32, offset: u32) -> Result<i32, Errno> {
        if offset != IORING_FILE_INDEX_ALLOC {
            return self.update_files(offset, addr, 0, len);
        }
        self.files.slots().ok_or(Errno::ENXIO)?;
        read_plain::<i32>(addr)?;
        Err(Errno::EBADF)
    }

    /// Returns how many slots were updated: an error is only heard of at the first one
    /// (Linux `__io_sqe_files_update`).
    fn update_files(&mut self, offset: u32, fds: u64, tags: u64, nr: u32) -> Result<i32, Errno> {
        let end = offset.checked_add(nr).ok_or(Errno::EOVERFLOW)?;
        if end > self.files.slots().ok_or(Errno::ENXIO)? {
            return Err(Errno::EINVAL);
        }
        for done in 0..nr {
            match self.update_file(offset + done, read_element(fds, done), read_tag(tags, done)) {
                Ok(()) => {}
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done as i32),
            }
        }
        Ok(nr as i32)
    }

    fn update_file(
        &mut self,
        slot: u32,
        fd: Result<i32, Errno>,
        tag: Result<u64, Errno>,
    ) -> Result<(), Errno> {
        let (tag, fd) = (tag?, fd?);
        if tag != 0 && (fd == IORING_REGISTER_FILES_SKIP || fd == -1) {
            return Err(Errno::EINVAL);
        }
        if fd == IORING_REGISTER_FILES_SKIP {
            return Ok(());
        }
        // The slot is emptied even if what should come into it is none.
        if let Ok(socket) = self.files.take(slot) {
            self.drop_file(socket);
        }
        if fd == -1 { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// `IORING_REGISTER_FILE_ALLOC_RANGE`.
    pub(super) fn register_file_alloc_range(&mut self, arg: u64) -> Result<i32, Errno> {
        let range: FileIndexRange = read_plain(arg)?;
        let end = range.off.checked_add(range.len).ok_or(Errno::EOVERFLOW)?;
        if range.resv != 0 || end > self.files.slots().unwrap_or(0) {
            return Err(Errno::EINVAL);
        }
        self.files.set_range(range.off as usize..end as usize);
        Ok(0)
    }
}

/// What a new table's slot is given: only an empty one without a tag is possible.
fn check_empty(fds: u64, index: u32, tags: u64) -> Result<(), Errno> {
    let tag = read_tag(tags, index)?;
    let fd = match fds {
        0 => -1,
        fds => read_element(fds, index)?,
    };
    match fd {
        -1 if tag == 0 => Ok(()),
        -1 => Err(Errno::EINVAL),
        _ => Err(Errno::EBADF),
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;

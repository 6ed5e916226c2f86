//! Registered buffers: memory of the application's that requests name by an index. Nothing is pinned
//! or mapped here: registering memory is the promise that it stays, and using it is checked against
//! what was registered (Linux `io_uring/rsrc.c`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwire_abi::errno::Errno;
use ringwire_abi::register::{
    CloneBuffers, IORING_REGISTER_DST_REPLACE, IORING_REGISTER_SRC_REGISTERED, RsrcRegister,
    RsrcUpdate2, unpack_registered,
};

use super::{Completion, Engine};
use crate::usermem::{MAX_TRANSFER, Span, read_iovec, read_plain, read_tag};

/// Most buffers of a table (`IORING_MAX_REG_BUFFERS`).
const MAX_BUFFERS: u32 = 1 << 14;
/// Most bytes of a buffer.
const MAX_BUFFER_BYTES: usize = 1 << 40;

/// Names a registered buffer while something holds it: its slot in the table, or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BufferNode(u32);

#[derive(Clone, Copy, Debug)]
struct Node {
    span: Span,
    /// What its end is told with in a completion; 0: it is not.
    tag: u64,
    /// Slots and requests that hold it.
    references: u32,
}

/// A table before it is registered: each slot's buffer with its tag.
type Slots = Vec<Option<(Span, u64)>>;

/// The buffers of a ring: the table, and what requests still hold of those that left it.
#[derive(Debug, Default)]
pub(super) struct Registered {
    table: Option<Vec<Option<BufferNode>>>,
    nodes: Vec<Option<Node>>,
    free: Vec<u32>,
    shown: Arc<Shown>,
}

impl Registered {
    /// The buffer at an index of the table. Whoever keeps it holds it.
    pub(super) fn node(&self, index: u16) -> Result<BufferNode, Errno> {
        let table = self.table.as_deref().unwrap_or_default();
        let slot = table.get(usize::from(index)).copied();
        slot.flatten().ok_or(Errno::EFAULT)
    }

    /// A span that lies in a buffer; one of no bytes may also lie at its end
    /// (Linux `validate_fixed_range`).
    pub(super) fn span(&self, node: BufferNode, addr: u64, len: usize) -> Result<Span, Errno> {
        let buffer = self.get(node).span;
        let end = addr.checked_add(len as u64).ok_or(Errno::EFAULT)?;
        let inside = addr >= buffer.addr && end <= buffer.addr + buffer.len as u64;
        if !inside || len > MAX_TRANSFER {
            return Err(Errno::EFAULT);
        }
        Ok(Span { addr, len })
    }

    /// The buffer and the span in it that an entry of a buffer ring names. It is some bytes, so that what was sent
    /// tells how many entries that were.
    pub(super) fn entry(&self, addr: u64, len: usize) -> Result<(BufferNode, Span), Errno> {
        let (index, offset) = unpack_registered(addr);
        let node = self.node(u16::try_from(index).map_err(|_| Errno::EFAULT)?)?;
        let buffer = self.get(node).span;
        let size = buffer.len as u64;
        if offset >= size || len == 0 {
            return Err(Errno::EFAULT);
        }
        let end = offset.checked_add(len as u64).ok_or(Errno::EOVERFLOW)?;
        if end > size {
            return Err(Errno::EOVERFLOW);
        }
        let addr = buffer.addr + offset;
        Ok((node, Span { addr, len }))
    }

    pub(super) fn hold(&mut self, node: BufferNode) {
        self.get_mut(node).references += 1;
    }

    /// Lets go of a buffer; with its last reference, returns its tag.
    fn let_go(&mut self, node: BufferNode) -> Option<u64> {
        let held = self.get_mut(node);
        held.references -= 1;
        if held.references > 0 {
            return None;
        }
        let tag = held.tag;
        self.nodes[node.0 as usize] = None;
        self.free.push(node.0);
        Some(tag)
    }

    fn get(&self, node: BufferNode) -> &Node {
        let node = self.nodes[node.0 as usize].as_ref();
        node.expect("registered: a buffer that is held is there")
    }

    fn get_mut(&mut self, node: BufferNode) -> &mut Node {
        let node = self.nodes[node.0 as usize].as_mut();
        node.expect("registered: a buffer that is held is there")
    }

    /// A new buffer, held once.
    fn insert(&mut self, span: Span, tag: u64) -> BufferNode {
        let node = Some(Node {
            span,
            tag,
            references: 1,
        });
        match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                BufferNode(index)
            }
            None => {
                self.nodes.push(node);
                BufferNode((self.nodes.len() - 1) as u32)
            }
        }
    }

    fn insert_all(&mut self, slots: Slots) -> Vec<Option<BufferNode>> {
        let nodes = slots.into_iter();
        nodes
            .map(|slot| slot.map(|(span, tag)| self.insert(span, tag)))
            .collect()
    }

    /// Puts a table in the place of the one before, which is returned.
    fn set_table(&mut self, table: Option<Vec<Option<BufferNode>>>) -> Vec<Option<BufferNode>> {
        let span = |slot: &Option<BufferNode>| slot.map(|node| self.get(node).span);
        let spans = table.as_ref().map(|table| table.iter().map(span).collect());
        *self.shown.lock() = spans;
        std::mem::replace(&mut self.table, table).unwrap_or_default()
    }

    /// Puts a buffer into a slot; returns the one before.
    fn set_slot(&mut self, index: usize, node: Option<BufferNode>) -> Option<BufferNode> {
        let span = node.map(|node| self.get(node).span);
        if let Some(spans) = &mut *self.shown.lock() {
            spans[index] = span;
        }
        let table = self.table.as_mut();
        let slot = &mut table.expect("registered: the range was checked")[index];
        std::mem::replace(slot, node)
    }
}

/// The memory of each slot, as other rings see it: what they can clone.
#[derive(Debug, Default)]
pub(crate) struct Shown(Mutex<Option<Vec<Option<Span>>>>);

impl Shown {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Option<Span>>>> {
        // A list of plain values is whole whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy, if there is a table.
    pub(crate) fn spans(&self) -> Option<Vec<Option<Span>>> {
        self.lock().clone()
    }
}

impl Engine {
    /// Lets go of a buffer; the end of the last user's is told with the buffer's tag.
    pub(super) fn let_go_of_buffer(&mut self, node: BufferNode) {
        if let Some(tag) = self.registered.let_go(node)
            && tag != 0
        {
            let completion = Completion {
                user_data: tag,
                ..Completion::default()
            };
            self.post(completion);
        }
    }

    /// `IORING_REGISTER_BUFFERS`, and with tags `IORING_REGISTER_BUFFERS2`; without iovecs every slot
    /// is empty (Linux `io_sqe_buffers_register`).
    pub(super) fn register_buffers(
        &mut self,
        iovecs: u64,
        nr: u32,
        tags: u64,
    ) -> Result<i32, Errno> {
        if self.registered.table.is_some() {
            return Err(Errno::EBUSY);
        }
        if nr == 0 || nr > MAX_BUFFERS {
            return Err(Errno::EINVAL);
        }
        let slots = (0..nr).map(|index| read_slot(iovecs, tags, index));
        let slots = slots.collect::<Result<Slots, Errno>>()?;
        let table = self.registered.insert_all(slots);
        self.registered.set_table(Some(table));
        Ok(0)
    }

    /// `IORING_REGISTER_BUFFERS2`.
    pub(super) fn register_buffers2(&mut self, arg: u64) -> Result<i32, Errno> {
        let register: RsrcRegister = read_plain(arg)?;
        register.check()?;
        self.register_buffers(register.data, register.nr, register.tags)
    }

    /// `IORING_UNREGISTER_BUFFERS`, from the last slot to the first, as the kernel's.
    pub(super) fn unregister_buffers(&mut self) -> Result<i32, Errno> {
        if self.registered.table.is_none() {
            return Err(Errno::ENXIO);
        }
        let table = self.registered.set_table(None);
        for node in table.into_iter().rev().flatten() {
            self.let_go_of_buffer(node);
        }
        Ok(0)
    }

    /// `IORING_REGISTER_BUFFERS_UPDATE`. Returns how many slots were updated: an error is only heard
    /// of at the first one (Linux `__io_sqe_buffers_update`).
    pub(super) fn update_buffers(&mut self, arg: u64) -> Result<i32, Errno> {
        let update: RsrcUpdate2 = read_plain(arg)?;
        update.check()?;
        let end = update.offset.checked_add(update.nr);
        let end = end.ok_or(Errno::EOVERFLOW)? as usize;
        if end > self.registered.table.as_ref().ok_or(Errno::ENXIO)?.len() {
            return Err(Errno::EINVAL);
        }
        for done in 0..update.nr {
            match read_slot(update.data, update.tags, done) {
                Ok(slot) => self.put_buffer((update.offset + done) as usize, slot),
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done as i32),
            }
        }
        Ok(update.nr as i32)
    }

    fn put_buffer(&mut self, index: usize, slot: Option<(Span, u64)>) {
        let node = slot.map(|(span, tag)| self.registered.insert(span, tag));
        if let Some(replaced) = self.registered.set_slot(index, node) {
            self.let_go_of_buffer(replaced);
        }
    }

    /// What another ring's `IORING_REGISTER_CLONE_BUFFERS` takes from this one.
    pub(crate) fn shown_buffers(&self) -> &Arc<Shown> {
        &self.registered.shown
    }

    /// `IORING_REGISTER_CLONE_BUFFERS`, up to where the source is looked at
    /// (Linux `io_register_clone_buffers`).
    pub(crate) fn check_clone(&self, clone: &CloneBuffers) -> Result<(), Errno> {
        let known = IORING_REGISTER_SRC_REGISTERED | IORING_REGISTER_DST_REPLACE;
        if clone.flags & !known != 0 {
            return Err(Errno::EINVAL);
        }
        if self.registered.table.is_some() && clone.flags & IORING_REGISTER_DST_REPLACE == 0 {
            return Err(Errno::EBUSY);
        }
        if clone.pad != [0; 3] {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// `IORING_REGISTER_CLONE_BUFFERS`: copies slots of another table, which bring no tags, into this
    /// one, among what it has (Linux `io_clone_buffers`).
    pub(crate) fn clone_buffers(
        &mut self,
        clone: &CloneBuffers,
        source: Option<Vec<Option<Span>>>,
    ) -> Result<i32, Errno> {
        if clone.nr == 0 && (clone.dst_off != 0 || clone.src_off != 0) {
            return Err(Errno::EINVAL);
        }
        let source = source.ok_or(Errno::ENXIO)?;
        let nr = match clone.nr {
            0 => source.len() as u32,
            nr if nr as usize > source.len() => return Err(Errno::EINVAL),
            nr => nr,
        };
        let taken = nr.checked_add(clone.src_off);
        let taken = taken.filter(|&end| end as usize <= source.len());
        let taken = clone.src_off as usize..taken.ok_or(Errno::EOVERFLOW)? as usize;
        let end = nr.checked_add(clone.dst_off).ok_or(Errno::EOVERFLOW)?;
        if end > MAX_BUFFERS {
            return Err(Errno::EINVAL);
        }
        let begin = clone.dst_off as usize;
        let mut table = self.registered.table.clone().unwrap_or_default();
        table.resize(table.len().max(end as usize), None);
        for (slot, span) in table[begin..].iter_mut().zip(&source[taken]) {
            *slot = span.map(|span| self.registered.insert(span, 0));
        }
        let old = self.registered.set_table(Some(table));
        let replaced = old.into_iter().take(end as usize).skip(begin);
        for node in replaced.rev().flatten() {
            self.let_go_of_buffer(node);
        }
        Ok(0)
    }
}

/// What a slot is given: an iovec with its tag. An empty slot has none.
fn read_slot(iovecs: u64, tags: u64, index: u32) -> Result<Option<(Span, u64)>, Errno> {
    let span = match iovecs {
        0 => Span { addr: 0, len: 0 },
        iovecs => read_iovec(iovecs, index)?,
    };
    let tag = read_tag(tags, index)?;
    match check_buffer(span)? {
        None if tag != 0 => Err(Errno::EINVAL),
        span => Ok(span.map(|span| (span, tag))),
    }
}

/// What may be registered: nothing, or some bytes (Linux `io_validate_user_buf_range`).
fn check_buffer(span: Span) -> Result<Option<Span>, Errno> {
    match span {
        Span { addr: 0, len: 0 } => Ok(None),
        Span { len, .. } if len == 0 || len > MAX_BUFFER_BYTES => Err(Errno::EFAULT),
        span => span.check().map(Some),
    }
}

#[cfg(test)]
#[path = "registered_tests.rs"]
mod tests;

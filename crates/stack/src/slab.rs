//! Sockets by slot: an id names its socket as long as it is there, and nothing after. The slots lie in
//! pages that never move: a socket is reached by one pointer, and neighbours lie side by side.

use crate::socket::{Protocol, SocketId};

const PAGE_BITS: u32 = 5;
const PAGE_SLOTS: u32 = 1 << PAGE_BITS;

// In this order: the generation is read with the first of the socket.
#[repr(C)]
#[derive(Debug)]
struct Slot<S> {
    generation: u32,
    socket: Option<S>,
}

/// The sockets of one protocol.
#[derive(Debug)]
pub(crate) struct Slab<S> {
    protocol: Protocol,
    pages: Vec<Box<[Slot<S>]>>,
    free: Vec<u32>,
}

impl<S> Slab<S> {
    pub(crate) fn new(protocol: Protocol) -> Slab<S> {
        Slab {
            protocol,
            pages: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, socket: S) -> SocketId {
        if self.free.is_empty() {
            self.add_page();
        }
        let slot = self.free.pop().expect("slab: a page has free slots");
        let entry = &mut self.pages[(slot / PAGE_SLOTS) as usize][(slot % PAGE_SLOTS) as usize];
        entry.socket = Some(socket);
        SocketId {
            protocol: self.protocol,
            slot,
            generation: entry.generation,
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.pages.len() * PAGE_SLOTS as usize - self.free.len()
    }

    fn add_page(&mut self) {
        let first = self.pages.len() as u32 * PAGE_SLOTS;
        let slots = (0..PAGE_SLOTS).map(|_| Slot {
            generation: 0,
            socket: None,
        });
        self.pages.push(slots.collect());
        // The lowest on top.
        self.free.extend((first..first + PAGE_SLOTS).rev());
    }

    #[inline]
    pub(crate) fn get(&self, id: SocketId) -> Option<&S> {
        let page = self.pages.get((id.slot / PAGE_SLOTS) as usize)?;
        let slot = &page[(id.slot % PAGE_SLOTS) as usize];
        let named = slot.generation == id.generation && id.protocol == self.protocol;
        slot.socket.as_ref().filter(|_| named)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut S> {
        let page = self.pages.get_mut((id.slot / PAGE_SLOTS) as usize)?;
        let slot = &mut page[(id.slot % PAGE_SLOTS) as usize];
        let named = slot.generation == id.generation && id.protocol == self.protocol;
        slot.socket.as_mut().filter(|_| named)
    }

    /// Takes a socket out; its id names nothing from now on.
    pub(crate) fn remove(&mut self, id: SocketId) -> Option<S> {
        self.get(id)?;
        let slot =
            &mut self.pages[(id.slot / PAGE_SLOTS) as usize][(id.slot % PAGE_SLOTS) as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        slot.socket.take()
    }

    /// Every id. Walks all slots.
    pub(crate) fn ids(&self) -> Vec<SocketId> {
        let slots = self.pages.iter().flatten().enumerate();
        let open = slots.filter(|(_, slot)| slot.socket.is_some());
        open.map(|(index, slot)| SocketId {
            protocol: self.protocol,
            slot: index as u32,
            generation: slot.generation,
        })
        .collect()
    }
}

//! Sockets by slot: an id names its socket as long as it is there, and nothing after.

use crate::socket::{Protocol, SocketId};

#[derive(Debug)]
struct Slot<S> {
    generation: u32,
    socket: Option<Box<S>>,
}

/// The sockets of one protocol.
#[derive(Debug)]
pub(crate) struct Slab<S> {
    protocol: Protocol,
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
}

impl<S> Slab<S> {
    pub(crate) fn new(protocol: Protocol) -> Slab<S> {
        Slab {
            protocol,
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, socket: S) -> SocketId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                socket: None,
            });
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.socket = Some(Box::new(socket));
        SocketId {
            protocol: self.protocol,
            slot,
            generation: entry.generation,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn get(&self, id: SocketId) -> Option<&S> {
        let slot = self.slots.get(id.slot as usize)?;
        let named = slot.generation == id.generation && id.protocol == self.protocol;
        slot.socket.as_deref().filter(|_| named)
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut S> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        let named = slot.generation == id.generation && id.protocol == self.protocol;
        slot.socket.as_deref_mut().filter(|_| named)
    }

    /// Takes a socket out; its id names nothing from now on.
    pub(crate) fn remove(&mut self, id: SocketId) -> Option<Box<S>> {
        self.get(id)?;
        let slot = &mut self.slots[id.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        slot.socket.take()
    }

    /// Every id. Walks all slots.
    pub(crate) fn ids(&self) -> Vec<SocketId> {
        let slots = self.slots.iter().enumerate();
        let open = slots.filter(|(_, slot)| slot.socket.is_some());
        open.map(|(index, slot)| SocketId {
            protocol: self.protocol,
            slot: index as u32,
            generation: slot.generation,
        })
        .collect()
    }
}

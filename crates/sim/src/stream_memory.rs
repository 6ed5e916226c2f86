//! The memory that an application's streams send from or receive into, and the ways to do so.

use std::ops::Range;

use io_uring::{opcode, squeue, types};
use memmap2::MmapMut;
use ringwire::engine::Engine;

use crate::registered;

/// After how long streams give a request up, to make it again.
pub(crate) static TIMEOUTS: [types::Timespec; 4] = [
    types::Timespec::new(),
    types::Timespec::new().nsec(3_000_000),
    types::Timespec::new().nsec(50_000_000),
    types::Timespec::new().sec(2),
];

/// Bytes of each part.
pub(crate) const STREAM_BYTES: usize = 8192;

/// A part for each slot, all of them registered as one buffer.
pub(crate) struct StreamMemory {
    memory: MmapMut,
    index: u16,
    first: u32,
}

impl StreamMemory {
    pub(crate) fn register(engine: &mut Engine, index: u16, slots: Range<u32>) -> StreamMemory {
        let len = slots.len() * STREAM_BYTES;
        let mut memory = MmapMut::map_anon(len).expect("memory for streams");
        let whole = libc::iovec {
            iov_base: memory.as_mut_ptr().cast(),
            iov_len: len,
        };
        registered::put(engine, index, &[whole]);
        StreamMemory {
            memory,
            index,
            first: slots.start,
        }
    }

    /// The part of a slot.
    pub(crate) fn part(&mut self, slot: u32) -> &mut [u8] {
        let start = (slot - self.first) as usize * STREAM_BYTES;
        &mut self.memory[start..start + STREAM_BYTES]
    }

    /// A request that sends so much of a slot's part; only some ways take `MSG_*`.
    pub(crate) fn send(
        &mut self,
        way: Send,
        slot: u32,
        range: Range<usize>,
        flags: i32,
    ) -> squeue::Entry {
        let (socket, index) = (types::Fixed(slot), self.index);
        let bytes = &self.part(slot)[range];
        let (addr, len) = (bytes.as_ptr(), bytes.len() as u32);
        let zero_copy = opcode::SendZc::new(socket, addr, len).flags(flags);
        match way {
            Send::Plain => opcode::Send::new(socket, addr, len).flags(flags).build(),
            Send::ZeroCopy => zero_copy.build(),
            Send::ZeroCopyFixed => zero_copy.buf_index(Some(index)).build(),
            Send::Write => opcode::Write::new(socket, addr, len).build(),
            Send::WriteFixed => opcode::WriteFixed::new(socket, addr, len, index).build(),
        }
    }

    /// A request that receives into a slot's part; only one way takes `MSG_*`.
    pub(crate) fn receive(
        &mut self,
        way: Receive,
        slot: u32,
        len: u32,
        flags: i32,
    ) -> squeue::Entry {
        let (socket, index) = (types::Fixed(slot), self.index);
        let addr = self.part(slot).as_mut_ptr();
        match way {
            Receive::Plain => opcode::Recv::new(socket, addr, len).flags(flags).build(),
            Receive::Read => opcode::Read::new(socket, addr, len).build(),
            Receive::ReadFixed => opcode::ReadFixed::new(socket, addr, len, index).build(),
        }
    }
}

/// Ways to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Send {
    Plain,
    ZeroCopy,
    ZeroCopyFixed,
    Write,
    WriteFixed,
}

impl Send {
    pub(crate) const ALL: [Send; 5] = [
        Send::Plain,
        Send::ZeroCopy,
        Send::ZeroCopyFixed,
        Send::Write,
        Send::WriteFixed,
    ];
    /// Those that take `MSG_*`.
    pub(crate) const WITH_FLAGS: [Send; 3] = [Send::Plain, Send::ZeroCopy, Send::ZeroCopyFixed];
}

/// Ways to receive without provided buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receive {
    Plain,
    Read,
    ReadFixed,
}

impl Receive {
    pub(crate) const ALL: [Receive; 3] = [Receive::Plain, Receive::Read, Receive::ReadFixed];
}

/// Overwrites what was sent, once it is the application's again: whoever still reads it sends this.
pub(crate) fn scribble(bytes: &mut [u8]) {
    bytes.fill(0xa5);
}

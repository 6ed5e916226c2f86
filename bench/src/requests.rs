//! Single requests in memory: one is submitted and waited for, and then the next.

use ringwire::{opcode, squeue, types};

use crate::engines::{Engines, first, second};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// A NOP, from submission to completion.
    Nop,
    /// A SEND and a RECV of so many bytes, on a stream.
    Stream(usize),
    /// The same with datagrams.
    Datagram(usize),
}

/// A SEND of all of it.
pub fn send(slot: u32, from: &[u8]) -> squeue::Entry {
    opcode::Send::new(types::Fixed(slot), from.as_ptr(), from.len() as u32).build()
}

/// A RECV that waits for all of it.
pub fn recv(slot: u32, to: &mut [u8]) -> squeue::Entry {
    opcode::Recv::new(types::Fixed(slot), to.as_mut_ptr(), to.len() as u32)
        .flags(libc::MSG_WAITALL)
        .build()
}

/// Two engines in memory. The entries' memory lives beside them.
pub struct Bed {
    engines: Engines,
    entries: Option<[squeue::Entry; 2]>,
    _memory: [Box<[u8]>; 2],
}

impl Bed {
    /// Engines that have sockets.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn new(measured: Measured) -> Bed {
        let mut engines = Engines::new();
        let (slot, bytes) = match measured {
            Measured::Nop => (0, 0),
            Measured::Stream(bytes) => (0, bytes),
            Measured::Datagram(bytes) => (2, bytes),
        };
        engines.connect_streams();
        engines.connect_datagrams();
        let from = vec![1; bytes].into_boxed_slice();
        let mut to = vec![0; bytes].into_boxed_slice();
        let entries = (bytes > 0).then(|| [send(slot, &from), recv(slot, &mut to)]);
        Bed {
            engines,
            entries,
            _memory: [from, to],
        }
    }

    /// One of them.
    ///
    /// # Panics
    /// If it is an error.
    pub fn operation(&mut self) {
        let Some([send, recv]) = &self.entries else {
            // SAFETY: a NOP points at nothing.
            unsafe { self.engines.a.push(&opcode::Nop::new().build()) };
            self.engines.turn_first();
            return assert_eq!(self.engines.a.engine.completion().count(), 1);
        };
        // SAFETY: the buffers live as long as the engines, and each request is waited for.
        unsafe {
            self.engines.b.push(recv);
            self.engines.a.push(send);
        }
        self.engines
            .wait(second, 1, |cqe| assert!(cqe.result() > 0));
        self.engines.wait(first, 1, |cqe| assert!(cqe.result() > 0));
    }
}

//! Requests and answers between two engines in memory: a message goes to the second, which sends it back; the
//! next one is another connection's.

use ringwire::squeue;

use crate::engines::{Engines, Protocol, Setup, V4, Which, first, second};
use crate::requests::{recv, send};

/// Slots from here on are of the connections behind the first.
const MORE: u32 = 3;

/// Two engines, of which the second echoes. The entries' memory lives beside them.
pub struct Bed {
    engines: Engines,
    protocol: Protocol,
    connections: u32,
    /// The one that is used next.
    turn: u32,
    /// What the first sends, what the second has, and what comes back.
    memory: [Box<[u8]>; 3],
}

impl Bed {
    /// Messages of so many bytes, over so many connections or over one pair of UDP sockets; the addresses are a
    /// kernel's, too, or not.
    ///
    /// # Panics
    /// If they cannot be made.
    pub fn new(protocol: Protocol, connections: u32, bytes: usize, shared: bool) -> Bed {
        let mut engines = Engines::with(&Setup {
            shared_addresses: shared,
            slots: MORE + connections,
            ..Setup::default()
        });
        engines.connect(protocol);
        for index in 1..connections {
            engines.connect_stream(MORE + index, V4[1]);
        }
        Bed {
            engines,
            protocol,
            connections,
            turn: 0,
            memory: [7, 0, 0].map(|byte| vec![byte; bytes].into_boxed_slice()),
        }
    }

    /// One message there and back.
    ///
    /// # Panics
    /// If it does not come back as it was.
    pub fn operation(&mut self) {
        let slot = match self.turn {
            0 => self.protocol.socket().0,
            index => MORE + index,
        };
        self.turn = (self.turn + 1) % self.connections;
        let [asked, there, back] = &mut self.memory;
        let entries: [(Which, squeue::Entry); 3] = [
            (first, recv(slot, back)),
            (second, recv(slot, there)),
            (first, send(slot, asked)),
        ];
        for (end, entry) in &entries {
            // SAFETY: the memory lives as long as the engines, and each request is waited for.
            unsafe { end(&mut self.engines).push(entry) };
        }
        self.wait(second, 1);
        let answer = send(slot, &self.memory[1]);
        // SAFETY: as above.
        unsafe { self.engines.b.push(&answer) };
        self.wait(first, 2);
        self.wait(second, 1);
        let [asked, _, back] = &mut self.memory;
        assert_eq!(asked, back);
        back[0] = 0;
    }

    fn wait(&mut self, end: Which, completions: u32) {
        let bytes = self.memory[0].len() as i32;
        self.engines
            .wait(end, completions, |cqe| assert_eq!(cqe.result(), bytes));
    }
}

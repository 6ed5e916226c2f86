//! A stream of full segments from one of two engines in memory to the other, by requests of many segments each.

use crate::engines::{End, Engines, first, second};
use crate::hosts::SEGMENT_BYTES;
use crate::requests::{recv, send};

/// Segments of a request.
pub const SEGMENTS: usize = 44;

/// Two engines, of which the first sends. The requests' memory lives beside them.
pub struct Bed {
    engines: Engines,
    /// For the end that sends, and the one that receives; the wire is in neither.
    clocks: [fn() -> u64; 2],
    memory: [Box<[u8]>; 2],
}

impl Bed {
    /// Engines that are connected.
    ///
    /// # Panics
    /// If they cannot be.
    pub fn new(clocks: [fn() -> u64; 2]) -> Bed {
        let mut engines = Engines::new();
        engines.connect_streams();
        Bed {
            engines,
            clocks,
            memory: [7, 0].map(|byte| vec![byte; SEGMENTS * SEGMENT_BYTES].into()),
        }
    }

    /// One SEND and the RECV that takes it, to their completions.
    ///
    /// # Panics
    /// If not all of it arrives.
    pub fn operation(&mut self) {
        let [from, to] = &mut self.memory;
        // SAFETY: the memory lives as long as the engines, and both requests are waited for.
        unsafe {
            self.engines.a.push(&send(0, from));
            self.engines.b.push(&recv(0, to));
        }
        let mut done = [false; 2];
        while done != [true; 2] {
            timed(self.clocks[0], || self.engines.turn_first());
            self.engines.carry_from_first();
            timed(self.clocks[1], || self.engines.turn_second());
            self.engines.carry_from_second();
            done[0] |= completed(first(&mut self.engines));
            done[1] |= completed(second(&mut self.engines));
        }
    }
}

fn timed(clock: fn() -> u64, work: impl FnOnce()) {
    clock();
    work();
    clock();
}

fn completed(end: &mut End) -> bool {
    let all = (SEGMENTS * SEGMENT_BYTES) as i32;
    let completions = end.engine.completion();
    completions.fold(false, |_, cqe| {
        assert_eq!(cqe.result(), all);
        true
    })
}

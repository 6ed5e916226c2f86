//! Requests of so many bytes between two engines in memory, sent and received with copies or without, in bursts.

use std::collections::VecDeque;

use ringwire::{Area, cqueue, opcode};
use ringwire_umem::AreaLayout;

use crate::engines::{Engines, Protocol, Setup};
use crate::groups::Group;

/// Ids of a lent group, and the most sends under way.
pub const IDS: usize = 256;
/// From one place of an area to the next.
pub const CHUNK_BYTES: usize = 4096;
const GROUP: u16 = 1;
const RECEIVE: u64 = u64::MAX;

/// How requests send and receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// SEND, received into buffers of the application's.
    Copy,
    /// SEND_ZC from slots: headers go in front of the payload. What is received is lent.
    InPlace,
    /// SEND_ZC from an area: headers are a descriptor of their own. What is received is lent.
    Scatter,
}

/// What a request takes at both ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// At the end that sends.
    pub send: f64,
    /// At the end that receives.
    pub receive: f64,
}

/// Two engines, one of which sends and the other receives in one way.
pub struct Bed {
    protocol: Protocol,
    way: Way,
    bytes: usize,
    engines: Engines,
    /// For what is sent, and what is received.
    clocks: [fn() -> u64; 2],
    /// What the sender sends from.
    memory: Vec<Area>,
    places: usize,
    /// Those that nothing is sent from.
    free: VecDeque<usize>,
    group: Group,
    /// Its ids, and the one that is used next.
    ids: u16,
    next_bid: u16,
}

impl Bed {
    /// Sends requests of so many bytes from so many places in turn.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn new(
        protocol: Protocol,
        way: Way,
        bytes: usize,
        places: usize,
        clocks: [fn() -> u64; 2],
    ) -> Bed {
        let slots = way == Way::InPlace;
        let setup = Setup {
            // One packet for each request, TCP's options included.
            mtu: 1500.max(bytes as u16 + 52),
            areas: vec![match slots {
                true => AreaLayout::Slots {
                    count: places as u32,
                    payload_bytes: bytes as u32,
                },
                false => AreaLayout::Plain(places * CHUNK_BYTES),
            }],
            ..Setup::default()
        };
        let mut engines = Engines::with(&setup);
        engines.connect(protocol);
        let mut memory = match slots {
            true => engines.a.slots(0),
            false => vec![engines.a.area(0)],
        };
        // What was never written to is one page of zeroes.
        memory.iter_mut().for_each(|area| area.fill(7));
        let receiver = &mut engines.b.engine;
        let (group, ids) = match way {
            Way::Copy => (Group::own(receiver, GROUP, places as u16, bytes), places),
            Way::InPlace | Way::Scatter => (Group::lent(receiver, GROUP, IDS as u16), IDS),
        };
        let mut bed = Bed {
            protocol,
            way,
            bytes,
            engines,
            clocks,
            memory,
            places,
            free: (0..places).collect(),
            group,
            ids: ids as u16,
            next_bid: 0,
        };
        bed.arm();
        bed
    }

    /// How it sends.
    pub fn way(&self) -> Way {
        self.way
    }

    fn arm(&mut self) {
        let receive = opcode::RecvMulti::new(self.protocol.socket(), GROUP).build();
        // SAFETY: it points at nothing.
        unsafe { self.engines.b.push(&receive.user_data(RECEIVE)) };
    }

    /// Sends and receives so many requests; what one took.
    pub fn run(&mut self, requests: usize) -> Cost {
        let (mut sent, mut received) = (0, 0);
        let (mut send, mut receive) = (0, 0);
        let [sender, receiver] = self.clocks;
        // What reading a clock takes is no part of it.
        let own = self.clocks.map(|clock| {
            let readings = (0..16).map(|_| {
                let start = clock();
                clock() - start
            });
            readings.min().unwrap_or(0)
        });
        while received < requests * self.bytes {
            let start = sender();
            sent += self.send(requests - sent);
            self.engines.turn_first();
            send += (sender() - start).saturating_sub(own[0]);
            self.engines.carry_from_first();
            let start = receiver();
            self.engines.turn_second();
            received += self.receive();
            receive += (receiver() - start).saturating_sub(own[1]);
            self.engines.carry_from_second();
            let start = sender();
            self.engines.turn_first();
            self.complete();
            send += (sender() - start).saturating_sub(own[0]);
        }
        Cost {
            send: send as f64 / requests as f64,
            receive: receive as f64 / requests as f64,
        }
    }

    /// Queues a burst of sends, `most` at most; returns how many.
    fn send(&mut self, most: usize) -> usize {
        // A turn receives 64 descriptors, and what is longer than a chunk with its headroom takes two.
        let burst = if self.bytes > 3700 { 32 } else { 64 };
        let under_way = self.places - self.free.len();
        let count = burst.min(most).min(IDS - under_way);
        for _ in 0..count {
            let place = self.free.pop_front().expect("as many were counted");
            let first = match self.way {
                Way::InPlace => self.memory[place].as_ptr(),
                Way::Copy | Way::Scatter => self.memory[0][place * CHUNK_BYTES..].as_ptr(),
            };
            let (socket, len) = (self.protocol.socket(), self.bytes as u32);
            let entry = match self.way {
                Way::Copy => opcode::Send::new(socket, first, len)
                    .flags(libc::MSG_WAITALL)
                    .build(),
                Way::InPlace | Way::Scatter => opcode::SendZc::new(socket, first, len)
                    .flags(libc::MSG_WAITALL)
                    .build(),
            };
            // SAFETY: it lies in UMEM, which outlives the engines' turns; nobody writes to it.
            unsafe { self.engines.a.push(&entry.user_data(place as u64)) };
        }
        count
    }

    /// Takes the sender's completions.
    fn complete(&mut self) {
        for cqe in self.engines.a.engine.completion() {
            assert!(cqe.result() >= 0, "{cqe:?}");
            if !cqueue::more(cqe.flags()) {
                self.free.push_back(cqe.user_data() as usize);
            }
        }
    }

    /// Takes the receiver's completions, and gives their buffers back at once; returns the bytes.
    fn receive(&mut self) -> usize {
        let (mut received, mut ended) = (0, false);
        for cqe in self.engines.b.engine.completion() {
            assert!(cqe.result() > 0, "{cqe:?}");
            ended |= !cqueue::more(cqe.flags());
            let mut left = cqe.result() as usize;
            received += left;
            // Buffers come in the ring's order, in which they are given back.
            while left > 0 {
                let bid = self.next_bid;
                self.next_bid = (bid + 1) % self.ids;
                left -= self.group.bytes(bid, left).len();
                self.group.give(bid);
            }
        }
        if ended {
            self.arm();
        }
        received
    }
}

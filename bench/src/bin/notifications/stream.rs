//! A connection in memory, whose receiver reads what comes where it lies.

use ringwire::{Area, cqueue, opcode, squeue, types};
use ringwire_bench::clock::cpu_nanos;
use ringwire_bench::engines::{Engines, Setup};
use ringwire_bench::groups::Group;

use crate::rig::Rig;

/// Ids of the receiver's group.
const IDS: u16 = 256;
const GROUP: u16 = 1;
/// Both ends' socket.
pub const SOCKET: types::Fixed = types::Fixed(0);

/// A sender, and its receiver.
pub struct Stream {
    pub engines: Engines,
    pub area: Area,
    group: Group,
    next_bid: u16,
    aside: u64,
}

impl Stream {
    /// A connection of ordinary packets. What `setup` has of areas is the sender's, the first of them a row.
    pub fn new(setup: &Setup) -> Stream {
        let mut engines = Engines::with(setup);
        engines.connect_streams();
        let mut area = engines.a.area(0);
        area.fill(7);
        let group = Group::lent(&mut engines.b.engine, GROUP, IDS);
        let mut stream = Stream {
            engines,
            area,
            group,
            next_bid: 0,
            aside: 0,
        };
        stream.arm();
        stream
    }

    fn arm(&mut self) {
        let receive = opcode::RecvMulti::new(SOCKET, GROUP).build();
        // SAFETY: it points at nothing.
        unsafe { self.engines.b.push(&receive) };
    }

    fn receive(&mut self) {
        self.engines.carry_from_first();
        self.engines.turn_second();
        let mut ended = false;
        for cqe in self.engines.b.engine.completion() {
            assert!(cqe.result() > 0, "{cqe:?}");
            ended |= !cqueue::more(cqe.flags());
            let mut left = cqe.result() as usize;
            while left > 0 {
                let bid = self.next_bid;
                self.next_bid = (bid + 1) % IDS;
                left -= self.group.bytes(bid, left).len();
                self.group.give(bid);
            }
        }
        if ended {
            self.arm();
        }
        self.engines.carry_from_second();
    }
}

impl Rig for Stream {
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller's promise.
        unsafe { self.engines.a.push(entry) };
    }

    fn enter(&mut self, want: usize) {
        loop {
            self.engines.turn_first();
            let start = cpu_nanos();
            self.receive();
            self.aside += cpu_nanos() - start;
            if self.engines.a.engine.completions_ready() as usize >= want {
                return;
            }
        }
    }

    fn each(&mut self, each: &mut dyn FnMut(cqueue::Entry)) {
        self.engines.a.engine.completion().for_each(each);
    }

    fn aside(&self) -> u64 {
        self.aside
    }

    unsafe fn register(&mut self, opcode: u32, arg: u64, nr: u32) {
        // SAFETY: the caller's promise.
        unsafe { self.engines.a.engine.register(opcode, arg, nr) }.expect("a registration");
    }
}

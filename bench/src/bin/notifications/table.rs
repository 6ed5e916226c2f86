//! Datagrams that are sent and dropped: what zero copy and its notifications cost, by size.

use ringwire::slots;
use ringwire::{cqueue, opcode, squeue};
use ringwire_bench::clock::{cpu_nanos, median};

use crate::rig::{Memory, PLACES, Rig, SOCKET, Wire, register_slot};

/// Bytes of a datagram.
const SIZES: [usize; 6] = [600, 1000, 1200, 1500, 4000, 8000];
/// Requests that are submitted together.
const BATCH: usize = 8;
/// Requests that may have no completion yet.
const LAG: usize = 128;
/// Requests of a measurement, and over veth.
const REQUESTS: usize = 8192;
const REQUESTS_OVER_VETH: usize = 65_536;
/// `user_data` of the notifications of slot 0.
const TAG: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// SEND.
    Plain,
    /// Bound to a slot that is not flushed: no notification.
    Bound,
    /// One notification for a batch.
    FlushBatch,
    /// One for each request, by a slot that it flushes.
    Flush,
    /// One for each request, as Linux has it: SEND_ZC.
    Request,
}

pub const WAYS: [(&str, Way); 5] = [
    ("plain", Way::Plain),
    ("zc", Way::Bound),
    ("zc+flush/8", Way::FlushBatch),
    ("zc+flush", Way::Flush),
    ("SEND_ZC", Way::Request),
];

/// A sender in one way.
struct Sender {
    rig: Box<dyn Rig>,
    places: Vec<*const u8>,
    way: Way,
    bytes: usize,
    next: usize,
    /// Requests without a completion, and notifications that have not come.
    waiting: usize,
    promised: usize,
}

impl Sender {
    fn new(mut rig: Box<dyn Rig>, places: Vec<*const u8>, way: Way, bytes: usize) -> Sender {
        register_slot(&mut *rig, TAG);
        Sender {
            rig,
            places,
            way,
            bytes,
            next: 0,
            waiting: 0,
            promised: 0,
        }
    }

    /// Sends so many, a multiple of a batch, to their last completion.
    fn run(&mut self, requests: usize) {
        for first in (0..requests).step_by(BATCH) {
            for index in 0..BATCH {
                let entry = self.entry(index + 1 == BATCH);
                // SAFETY: the memory outlives the rings, and nobody writes to it.
                unsafe { self.rig.push(&entry) };
            }
            self.waiting += BATCH;
            self.promised += match self.way {
                Way::Plain | Way::Bound => 0,
                Way::FlushBatch => 1,
                Way::Flush | Way::Request => BATCH,
            };
            let last = first + BATCH == requests;
            let want = if last {
                0
            } else {
                self.waiting.saturating_sub(LAG)
            };
            self.rig.enter(want.min(BATCH));
            self.take();
            while last && self.waiting + self.promised > 0 {
                self.rig.enter(1);
                self.take();
            }
        }
    }

    fn entry(&mut self, last: bool) -> squeue::Entry {
        let first = self.places[self.next];
        self.next = (self.next + 1) % PLACES;
        let len = self.bytes as u32;
        match self.way {
            Way::Plain => opcode::Send::new(SOCKET, first, len).build(),
            Way::Request => opcode::SendZc::new(SOCKET, first, len).build(),
            way => {
                let flush = way == Way::Flush || way == Way::FlushBatch && last;
                slots::SendZc::new(SOCKET, 0, first, len)
                    .flush(flush)
                    .build()
            }
        }
    }

    fn take(&mut self) {
        let (waiting, promised) = (&mut self.waiting, &mut self.promised);
        self.rig.each(&mut |cqe| {
            if cqe.user_data() == TAG || cqueue::notif(cqe.flags()) {
                *promised -= 1;
            } else {
                assert!(cqe.result() > 0, "{cqe:?}");
                *waiting -= 1;
            }
        });
    }
}

/// One way, so many times, without a clock: for an instruction counter.
pub fn count(way: Way, bytes: usize, requests: usize) {
    let memory = Memory::new(bytes);
    let places = memory.places.clone();
    Sender::new(Box::new(memory), places, way, bytes).run(requests);
}

pub fn in_memory(rounds: usize) {
    println!(
        "datagrams that are dropped, in memory, no checksums: CPU ns for a request, and how many times as fast as plain"
    );
    table(rounds, REQUESTS, |bytes| {
        let memory = Memory::new(bytes);
        let places = memory.places.clone();
        (Box::new(memory), places)
    });
}

pub fn over_veth(rounds: usize) {
    println!("the same over veth into XDP_DROP, with checksums: time for a request, in ns");
    table(rounds, REQUESTS_OVER_VETH, |bytes| {
        let wire = Wire::new(bytes);
        let places = wire.places.clone();
        (Box::new(wire), places)
    });
}

fn table(rounds: usize, requests: usize, make: impl Fn(usize) -> (Box<dyn Rig>, Vec<*const u8>)) {
    print!("{:>6}", "bytes");
    WAYS.iter().for_each(|(name, _)| print!(" {name:>15}"));
    println!();
    for bytes in SIZES {
        let mut times = vec![Vec::new(); WAYS.len()];
        let mut senders: Vec<Sender> = WAYS
            .iter()
            .map(|&(_, way)| {
                let (rig, places) = make(bytes);
                Sender::new(rig, places, way, bytes)
            })
            .collect();
        for round in 0..rounds + 1 {
            for (sender, times) in senders.iter_mut().zip(&mut times) {
                let start = cpu_nanos();
                sender.run(requests);
                // The first one warms up.
                if round > 0 {
                    times.push((cpu_nanos() - start) as f64 / requests as f64);
                }
            }
        }
        print!("{bytes:6}");
        for own in &times {
            let ratios = own.iter().zip(&times[0]).map(|(own, plain)| plain / own);
            let nanos = median(own.clone());
            print!(
                " {:>15}",
                format!("{nanos:.0} ({:.2})", median(ratios.collect()))
            );
        }
        println!();
    }
}

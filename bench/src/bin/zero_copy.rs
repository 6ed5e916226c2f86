//! What zero copy saves in memory, on one core, checksums off on both sides: requests that send and receive so
//! many bytes each, copied (SEND, and RECV into buffers of the application's), and not (SEND_ZC from slots,
//! whose headers go in front, or from an area, whose headers are a descriptor of their own; RECV with a lent
//! group). CPU time of one thread: the sender's, the receiver's, and nothing of the wire's. Nobody looks at
//! the bytes. Rounds of all ways alternate. The applications' memory is either in the cache or much larger,
//! as it is where each payload is another one.
//!
//!     zero_copy [ROUNDS]
//!     zero_copy PROTOCOL WAY BYTES COUNT    one way, so many times, without a clock: for an instruction counter

use std::collections::VecDeque;

use ringwire::{Area, cqueue, opcode, types};
use ringwire_bench::clock::{cpu_nanos, median};
use ringwire_bench::engines::{Engines, Setup};
use ringwire_bench::groups::Group;
use ringwire_umem::AreaLayout;

/// Requests in a measurement.
const REQUESTS: usize = 8192;
/// Payloads of each application's memory, by which it is 1 MiB or 64 MiB. They are used in turn.
const MEMORIES: [(&str, usize); 2] = [("near", 256), ("far", 16_384)];
/// Ids of a lent group, and the most sends under way.
const IDS: usize = 256;
const CHUNK_BYTES: usize = 4096;
const GROUP: u16 = 1;
const RECEIVE: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Udp,
    Tcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Copy,
    InPlace,
    Scatter,
}

const PROTOCOLS: [(&str, Protocol); 2] = [("udp", Protocol::Udp), ("tcp", Protocol::Tcp)];
const WAYS: [(&str, Way); 3] = [
    ("copy", Way::Copy),
    ("in-place", Way::InPlace),
    ("scatter", Way::Scatter),
];
/// Bytes of a request. A slot has 3968 at most, and a segment from one 12 fewer.
const SIZES: [usize; 5] = [600, 1000, 1400, 3900, 4000];
const LONGEST_SLOT: usize = 3900;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [protocol, way, bytes, count] = &words[..] {
        let protocol = PROTOCOLS.iter().find(|it| it.0 == protocol);
        let way = WAYS.iter().find(|it| it.0 == way);
        let bytes = bytes.parse().expect("a number of bytes");
        let &(_, protocol) = protocol.expect("udp or tcp");
        let mut bed = Bed::new(protocol, way.expect("a way").1, bytes, IDS, || 0);
        bed.run(count.parse().expect("a number of requests"));
        return;
    }
    let rounds = words.first().and_then(|word| word.parse().ok());
    let rounds = rounds.unwrap_or(7);
    println!("CPU ns for a request, in memory, no checksums, without the wire; and how many times");
    println!(
        "as fast as copied. Sending: SEND, SEND_ZC with headers in front, with headers beside;"
    );
    println!("receiving: RECV into own buffers, lent; both together");
    for (name, places) in MEMORIES {
        println!(
            "the applications' memory is {name}: {} MiB",
            (places * CHUNK_BYTES) >> 20
        );
        for (name, protocol) in PROTOCOLS {
            for bytes in SIZES {
                table((name, protocol), bytes, places, rounds);
            }
        }
    }
}

/// A part of the cost, by name.
type Part = (&'static str, fn(&Cost) -> f64);

/// What a request takes at both ends.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    send: f64,
    receive: f64,
}

fn table((name, protocol): (&str, Protocol), bytes: usize, places: usize, rounds: usize) {
    let ways = WAYS.iter().map(|way| way.1);
    let ways = ways.filter(|&way| way != Way::InPlace || bytes <= LONGEST_SLOT);
    let mut beds: Vec<Bed> = ways
        .map(|way| Bed::new(protocol, way, bytes, places, cpu_nanos))
        .collect();
    let mut costs = vec![Vec::new(); beds.len()];
    for round in 0..rounds + 1 {
        for (bed, costs) in beds.iter_mut().zip(&mut costs) {
            let cost = bed.run(REQUESTS);
            // The first one warms up.
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    let parts: [Part; 3] = [
        ("send", |cost| cost.send),
        ("receive", |cost| cost.receive),
        ("both", |cost| cost.send + cost.receive),
    ];
    for (part, of) in parts {
        print!("{name} {bytes:5} {part:8}");
        for (bed, own) in beds.iter().zip(&costs) {
            let nanos = median(own.iter().map(of).collect());
            let times = own.iter().zip(&costs[0]);
            let times = median(times.map(|(own, copied)| of(copied) / of(own)).collect());
            print!("  {:?} {nanos:5.0} ({times:.2})", bed.way);
        }
        println!();
    }
}

/// Two engines, one of which sends and the other receives in one way.
struct Bed {
    protocol: Protocol,
    way: Way,
    bytes: usize,
    engines: Engines,
    clock: fn() -> u64,
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
    fn new(protocol: Protocol, way: Way, bytes: usize, places: usize, clock: fn() -> u64) -> Bed {
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
        match protocol {
            Protocol::Udp => engines.connect_datagrams(),
            Protocol::Tcp => engines.connect_streams(),
        }
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
            clock,
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

    fn socket(&self) -> types::Fixed {
        match self.protocol {
            Protocol::Tcp => types::Fixed(0),
            Protocol::Udp => types::Fixed(2),
        }
    }

    fn arm(&mut self) {
        let receive = opcode::RecvMulti::new(self.socket(), GROUP).build();
        // SAFETY: it points at nothing.
        unsafe { self.engines.b.push(&receive.user_data(RECEIVE)) };
    }

    /// Sends and receives so many requests; what one took.
    fn run(&mut self, requests: usize) -> Cost {
        let (mut sent, mut received) = (0, 0);
        let (mut send, mut receive) = (0, 0);
        let clock = self.clock;
        // What reading the clock takes is no part of it.
        let own = (0..16).map(|_| {
            let start = clock();
            clock() - start
        });
        let own = own.min().unwrap_or(0);
        while received < requests * self.bytes {
            let start = clock();
            sent += self.send(requests - sent);
            self.engines.turn_first();
            send += (clock() - start).saturating_sub(own);
            self.engines.carry_from_first();
            let start = clock();
            self.engines.turn_second();
            received += self.receive();
            receive += (clock() - start).saturating_sub(own);
            self.engines.carry_from_second();
            let start = clock();
            self.engines.turn_first();
            self.complete();
            send += (clock() - start).saturating_sub(own);
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
            let (socket, len) = (self.socket(), self.bytes as u32);
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

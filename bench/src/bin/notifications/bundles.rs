//! 4 KB sends on a connection: copied, each with its notification, and from provided registered buffers, by ones and
//! in bundles with one notification each.

use ringwire::{cqueue, opcode, provided, squeue};
use ringwire_abi::register::IORING_REGISTER_BUFFERS;
use ringwire_bench::clock::{cpu_nanos, median};
use ringwire_bench::engines::Setup;
use ringwire_bench::groups::Group;
use ringwire_umem::AreaLayout;

use crate::rig::Rig;
use crate::stream::{SOCKET, Stream};

const BYTES: usize = 4096;
/// Pieces of the sender's memory, and the most that are being sent.
const PIECES: usize = 64;
const GROUP: u16 = 2;
/// Pieces of a measurement.
const COUNT: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Send,
    SendZc,
    /// So many pieces a request.
    Provided(usize),
}

const WAYS: [(&str, Way); 5] = [
    ("SEND", Way::Send),
    ("SEND_ZC", Way::SendZc),
    ("provided", Way::Provided(1)),
    ("bundle/8", Way::Provided(8)),
    ("bundle/32", Way::Provided(32)),
];

struct Sender {
    stream: Stream,
    group: Group,
    way: Way,
    next: usize,
    /// Pieces that are being sent.
    under_way: usize,
}

impl Sender {
    fn new(way: Way) -> Sender {
        let mut stream = Stream::new(&Setup {
            areas: vec![AreaLayout::Plain(PIECES * BYTES)],
            ..Setup::default()
        });
        let buffer = libc::iovec {
            iov_base: stream.area.as_ptr().cast_mut().cast(),
            iov_len: PIECES * BYTES,
        };
        // SAFETY: the memory is the area's, which lives as long as the engine; the iovec lives through the call.
        unsafe { stream.register(IORING_REGISTER_BUFFERS, &raw const buffer as u64, 1) };
        let group = Group::registered(&mut stream.engines.a.engine, GROUP, PIECES as u16, BYTES);
        Sender {
            stream,
            group,
            way,
            next: 0,
            under_way: 0,
        }
    }

    fn pieces(&self) -> usize {
        match self.way {
            Way::Send | Way::SendZc => 1,
            Way::Provided(pieces) => pieces,
        }
    }

    fn entry(&self) -> squeue::Entry {
        let first = self.stream.area[self.next * BYTES..].as_ptr();
        let len = BYTES as u32;
        match self.way {
            Way::Send => opcode::Send::new(SOCKET, first, len)
                .flags(libc::MSG_WAITALL)
                .build(),
            Way::SendZc => opcode::SendZc::new(SOCKET, first, len)
                .flags(libc::MSG_WAITALL)
                .build(),
            Way::Provided(pieces) => provided::send_zc(SOCKET, GROUP, (pieces * BYTES) as u32)
                .bundle()
                .build(),
        }
    }

    /// Sends so many pieces, to the last notification; returns the sender's CPU nanoseconds.
    fn run(&mut self, count: usize) -> u64 {
        let (start, aside) = (cpu_nanos(), self.stream.aside());
        let pieces = self.pieces();
        let mut sent = 0;
        while sent < count || self.under_way > 0 {
            while sent < count && self.under_way + pieces <= PIECES {
                // SAFETY: the memory outlives the engine, and nobody writes to it.
                unsafe { self.stream.push(&self.entry()) };
                self.next = (self.next + pieces) % PIECES;
                self.under_way += pieces;
                sent += pieces;
            }
            self.stream.enter(1);
            self.take(pieces);
        }
        cpu_nanos() - start - (self.stream.aside() - aside)
    }

    fn take(&mut self, pieces: usize) {
        let mut done = 0;
        self.stream.each(&mut |cqe| {
            assert!(cqe.result() >= 0, "{cqe:?}");
            done += usize::from(!cqueue::more(cqe.flags())) * pieces;
        });
        for _ in 0..done {
            if let Way::Provided(_) = self.way {
                let bid = (self.next + PIECES - self.under_way) % PIECES;
                self.group.give(bid as u16);
            }
            self.under_way -= 1;
        }
    }
}

pub fn table(rounds: usize) {
    println!(
        "4 KB pieces on a connection, in memory, no checksums: the sender's CPU ns for a piece, and how many times as fast as SEND"
    );
    let mut senders = WAYS.map(|(_, way)| Sender::new(way));
    let mut times = vec![Vec::new(); WAYS.len()];
    for round in 0..rounds + 1 {
        for (sender, times) in senders.iter_mut().zip(&mut times) {
            let nanos = sender.run(COUNT) as f64 / COUNT as f64;
            // The first one warms up.
            if round > 0 {
                times.push(nanos);
            }
        }
    }
    for ((name, _), own) in WAYS.iter().zip(&times) {
        let ratios = own.iter().zip(&times[0]).map(|(own, plain)| plain / own);
        let nanos = median(own.clone());
        println!("{name:>12} {nanos:6.0} ({:.2})", median(ratios.collect()));
    }
}

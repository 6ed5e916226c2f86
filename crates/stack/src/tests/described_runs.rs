//! Segments of the application's memory that go out together are those that would go out one by one.

use std::time::Duration;

use ringwire_tcp::Info;
use ringwire_umem::LoanId;

use super::described::{Memory, ROW, SLOT, repaid, with_areas, without_scatter};
use super::harness::{InFlight, Pair, Random, Setup, pattern};
use super::offload::offloading;
use super::tcp::SERVER_V4;
use crate::{Counters, PlanLimits, SocketError, SocketId, TxFlags};

/// Packets of a NIC, descriptor by descriptor, and their bytes.
type Sent = (Vec<(u64, u32, TxFlags)>, Vec<u8>);

/// What is queued.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Slots,
    /// Parts of slots, of the same length.
    PartsOfSlots,
    Row,
    Copied,
}

const BORROWED: &[Kind] = &[Kind::Slots, Kind::PartsOfSlots, Kind::Row];
const ALL: &[Kind] = &[Kind::Slots, Kind::PartsOfSlots, Kind::Row, Kind::Copied];

/// What a sender comes to.
#[derive(Debug, PartialEq)]
struct Outcome {
    sent: Vec<Sent>,
    read: Vec<u8>,
    repaid: Vec<(LoanId, bool)>,
    counters: Counters,
    info: Option<Info>,
}

/// Packets that went out behind another of the same call: in one descriptor, and in several.
type Followed = [usize; 2];

struct Bed {
    pair: Pair,
    client: SocketId,
    server: SocketId,
    memory: Memory,
    kinds: &'static [Kind],
    one_by_one: bool,
    random: Random,
    queued: Vec<u8>,
    /// What the NIC has not reported yet.
    in_flight: Vec<InFlight>,
    followed: Followed,
    outcome: Outcome,
}

impl Bed {
    fn new(
        change: impl Fn(&mut Setup),
        kinds: &'static [Kind],
        one_by_one: bool,
        seed: u64,
    ) -> Bed {
        let mut pair = Pair::with(change);
        let mut random = Random(seed);
        let listener = pair.b.listener(SERVER_V4, 8);
        if random.below(2) == 0 {
            let mut options = pair.b.stack.options(listener).unwrap();
            options.ask_receive_buffer(10_000);
            pair.b.stack.set_options(listener, options).unwrap();
        }
        let client = pair.a.connecting(SERVER_V4);
        pair.exchange();
        let server = pair.b.accept(listener).unwrap();
        if random.below(2) == 0 {
            pair.a.no_delay(client);
        }
        let memory = Memory::of(&pair.a);
        let outcome = Outcome {
            sent: Vec::new(),
            read: Vec::new(),
            repaid: Vec::new(),
            counters: Counters::default(),
            info: None,
        };
        Bed {
            pair,
            client,
            server,
            memory,
            kinds,
            one_by_one,
            random,
            queued: Vec::new(),
            in_flight: Vec::new(),
            followed: [0; 2],
            outcome,
        }
    }

    /// Queues several parts of one kind, perhaps of one slot twice.
    fn queue(&mut self) {
        let kind = self.kinds[self.random.below(self.kinds.len())];
        let len = match kind {
            Kind::Slots => SLOT,
            Kind::PartsOfSlots => 1 + self.random.below(SLOT),
            _ => 1 + self.random.below(5000),
        };
        for _ in 0..1 + self.random.below(12) {
            let more = self.random.below(8) == 0;
            let sent = match kind {
                Kind::Slots | Kind::PartsOfSlots => {
                    let slot = self.random.below(self.memory.slots.len());
                    let area = &self.memory.slots[slot];
                    borrow(&mut self.pair, self.client, area, (0, len), more)
                }
                Kind::Row => {
                    let start = self.random.below(ROW - len);
                    let area = &self.memory.row;
                    borrow(&mut self.pair, self.client, area, (start, len), more)
                }
                Kind::Copied => {
                    let bytes = pattern(len);
                    let sent = self.pair.a.write_more(self.client, &bytes, more);
                    sent.map(|count| bytes[..count].to_vec())
                }
            };
            match sent {
                Ok(bytes) => self.queued.extend(bytes),
                Err(error) => assert_eq!(error, SocketError::WouldBlock),
            }
        }
    }

    /// Gives to the NIC what fits into so many descriptors.
    fn post(&mut self, mut room: u32) -> Vec<Vec<u8>> {
        let mut posted = InFlight::default();
        loop {
            let mut pieces = Vec::new();
            let host = &mut self.pair.a;
            if self.one_by_one {
                host.stack.end_turn();
            }
            let post = |addr, len, flags: TxFlags| pieces.push((addr, len, flags));
            let (stack, ledger) = (&mut host.stack, &mut host.ledger);
            let count = stack.transmit(host.now, ledger, 0, room, post);
            assert_eq!(count, pieces.len() as u32);
            if count == 0 {
                break;
            }
            room -= count;
            for (index, packet) in pieces.split_inclusive(|it| !it.2.more).enumerate() {
                self.followed[usize::from(packet.len() > 1)] += usize::from(index > 0);
                let frame = host.describe(packet);
                self.outcome.sent.push((packet.to_vec(), frame.clone()));
                posted.descriptors.extend(packet.iter().map(|it| it.0));
                posted.frames.push(frame);
            }
        }
        let frames = posted.frames.clone();
        self.in_flight.push(posted);
        frames
    }

    /// What was posted reaches the peer, which reads and answers; some of it does not.
    fn carry(&mut self, frames: Vec<Vec<u8>>, loses: bool, reads: bool) {
        for frame in frames {
            if !loses || self.random.below(40) > 0 {
                self.pair.b.receive(&frame);
            }
        }
        if reads {
            let read = self.pair.b.read(self.server, usize::MAX);
            self.outcome.read.extend(read.unwrap_or_default());
        }
        for answer in self.pair.b.sent() {
            self.pair.a.receive(&answer);
        }
    }

    /// The NIC reports some of what it has.
    fn complete(&mut self, count: usize) {
        for posted in self.in_flight.drain(..count) {
            self.pair.a.complete(posted);
        }
    }

    fn pass(&mut self, millis: usize) {
        let time = Duration::from_millis(millis as u64);
        self.pair.a.pass(time);
        self.pair.b.pass(time);
    }

    /// A stream with everything that may happen to it.
    fn run(mut self) -> (Outcome, Followed) {
        for _ in 0..60 {
            self.queue();
            // The last descriptors go to copied segments together, and not to one where borrowed ones wait.
            let room = match self.random.below(60) as u32 {
                room @ 0..40 if !self.kinds.contains(&Kind::Copied) => room,
                _ => u32::MAX,
            };
            let frames = self.post(room);
            let reads = self.random.below(3) > 0;
            self.carry(frames, true, reads);
            let count = self.random.below(self.in_flight.len() + 1);
            self.complete(count);
            let millis = [0, 1, 3, 300][self.random.below(4)];
            self.pass(millis);
            self.outcome.repaid.extend(repaid(&mut self.pair.a));
        }
        // What was queued last may wait for more.
        self.pair.a.write(self.client, b"end").unwrap_or(0);
        for _ in 0..2000 {
            let frames = self.post(u32::MAX);
            self.carry(frames, false, true);
            self.complete(self.in_flight.len());
            self.pass(50);
        }
        self.outcome.repaid.extend(repaid(&mut self.pair.a));
        self.outcome.counters = self.pair.a.stack.counters();
        let host = &self.pair.a;
        self.outcome.info = host.stack.tcp_info(host.now, self.client);
        let len = self.queued.len();
        assert!(self.outcome.read[..len] == self.queued, "other bytes");
        (self.outcome, self.followed)
    }
}

/// Queues a part of an area; the bytes that were taken of it.
fn borrow(
    pair: &mut Pair,
    client: SocketId,
    area: &ringwire_umem::FrozenArea,
    (start, len): (usize, usize),
    more: bool,
) -> Result<Vec<u8>, SocketError> {
    let host = &mut pair.a;
    let loan = host.ledger.begin_loan();
    let place = (start as u32, len as u32);
    let part = host.ledger.borrow_frozen(loan, area, place);
    let (stack, ledger) = (&mut host.stack, &mut host.ledger);
    let sent = stack.tcp_send_borrowed(ledger, client, part, more);
    host.ledger.end_loan(loan);
    sent.map(|count| area[start..start + count].to_vec())
}

/// The same streams come to the same whether segments go out together or one by one; returns how many
/// followed another.
fn compare(change: impl Fn(&mut Setup), kinds: &'static [Kind]) -> Followed {
    let mut all = [0; 2];
    for seed in 1..16 {
        let (together, followed) = Bed::new(&change, kinds, false, seed).run();
        let (one_by_one, alone) = Bed::new(&change, kinds, true, seed).run();
        assert_eq!(alone, [0; 2]);
        let sent = together.sent.iter().zip(&one_by_one.sent);
        for (index, (together, alone)) in sent.enumerate() {
            assert!(together == alone, "seed {seed}, packet {index}");
        }
        assert_eq!(together.counters, one_by_one.counters, "seed {seed}");
        assert_eq!(together.info, one_by_one.info, "seed {seed}");
        assert!(together == one_by_one, "seed {seed}");
        all = [0, 1].map(|kind| all[kind] + followed[kind]);
    }
    all
}

fn with_plan(descriptors: u32) -> impl Fn(&mut Setup) {
    move |setup| {
        with_areas(setup);
        setup.config.plan = PlanLimits {
            descriptors,
            ..setup.config.plan
        };
    }
}

#[test]
fn a_run_of_segments_is_what_they_would_be_one_by_one() {
    for kinds in [ALL, BORROWED] {
        let followed = compare(with_areas, kinds);
        assert!(followed.iter().all(|&count| count > 100), "{followed:?}");
    }
}

#[test]
fn so_it_is_with_three_descriptors_for_a_packet() {
    let followed = compare(with_plan(3), BORROWED);
    assert!(followed.iter().all(|&count| count > 100), "{followed:?}");
}

#[test]
fn so_it_is_where_nothing_is_scattered() {
    let [in_place, scattered] = compare(without_scatter, ALL);
    assert!(in_place > 100 && scattered == 0);
}

#[test]
fn so_it_is_where_checksums_are_written_behind_us() {
    let change = |setup: &mut Setup| {
        offloading(setup);
        with_areas(setup);
    };
    // What stands in front of a slot's headers no test can read.
    let [_, scattered] = compare(change, &[Kind::Row]);
    assert!(scattered > 100, "{scattered}");
}

#[test]
fn so_it_is_where_short_payloads_are_copied() {
    let change = |setup: &mut Setup| {
        with_areas(setup);
        setup.config.plan.scatter_from_bytes = 1000;
    };
    let followed = compare(change, ALL);
    assert!(followed.iter().all(|&count| count > 100), "{followed:?}");
}

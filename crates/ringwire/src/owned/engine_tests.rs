//! The slab and groups with the engine itself, on a network that ends in the stack: what random operations
//! are given comes back once and unharmed. Under Miri every access of the engine's is looked at, too.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use ringwire_abi::register::{BufReg, IORING_REGISTER_PBUF_RING, IORING_UNREGISTER_PBUF_RING};
use ringwire_stack::Instant;

use super::group::{BufferGroup, Group, Memory};
use super::lending::Lending;
use super::payload::{Completed, Operation, Payload, Socket};
use super::request::Request;
use super::slab::Slab;
use crate::engine::bed::{Bed, ENTRIES};
use crate::lent::{IOU_PBUF_RING_LENT, LentBuffers};

const RUNS: u64 = if cfg!(miri) { 2 } else { 200 };
const STEPS: u32 = if cfg!(miri) { 150 } else { 2_000 };

const OWN: &str = "10.0.0.1";
/// Both are datagram sockets, on port 1 above their slot.
const SOCKETS: [Socket; 2] = [Socket(0), Socket(1)];
/// The operations that make them.
const SETUP: u64 = 4;
const BUFFERS: u16 = 4;
/// The group that lends.
const LENDING: u16 = u16::MAX;
const BUFFER_BYTES: u32 = 64 + BufferGroup::MESSAGE_HEADER_BYTES;

/// What a random run is made of; dropped as in [`Ring`](super::Ring).
struct World {
    bed: Bed,
    slab: Slab,
    group: Rc<Memory>,
    lending: Rc<Lending>,
    /// What the application holds, with the byte that all of it is made of.
    held: Vec<(u8, Payload)>,
    in_flight: Vec<(u64, Operation)>,
    /// By `user_data`, the byte that a send's payload, or a receive's room, is made of.
    fill: HashMap<u64, u8>,
    next: u64,
    now: Instant,
    random: u64,
    met: Met,
}

/// What the runs have met with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Met {
    in_room: bool,
    in_buffer: bool,
    lent: bool,
    starved: bool,
    cancelled: bool,
    sent_again: bool,
}

const ALL: Met = Met {
    in_room: true,
    in_buffer: true,
    lent: true,
    starved: true,
    cancelled: true,
    sent_again: true,
};

impl World {
    fn new(seed: u64, met: Met) -> World {
        let mut bed = Bed::with_slots(2);
        let lending = lending(&mut bed);
        let mut world = World {
            bed,
            lending,
            slab: Slab::default(),
            group: Memory::new(0, BUFFERS, BUFFER_BYTES),
            held: Vec::new(),
            in_flight: Vec::new(),
            fill: HashMap::new(),
            next: 0,
            now: Instant::ZERO,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            met,
        };
        // The address is the engine's from its first turn on.
        world.turn();
        for socket in SOCKETS {
            let (domain, kind) = (libc::AF_INET, libc::SOCK_DGRAM);
            world.queue(Request::Socket { domain, kind });
            world.queue(Request::Bind(socket, address(socket)));
            world.turn();
        }
        world.register_group();
        world
    }

    /// A number below `end` (xorshift64).
    fn random(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    fn queue(&mut self, request: Request) -> u64 {
        self.next += 1;
        if self.bed.engine.submission().is_full() {
            self.turn();
        }
        let (operation, entry) = self.slab.insert(self.next, request);
        // SAFETY: the slab owns what the entry names.
        unsafe { self.bed.engine.submission().push(&entry) }.expect("room");
        self.in_flight.push((self.next, operation));
        self.next
    }

    fn register_group(&mut self) {
        let reg = BufReg {
            ring_addr: self.group.ring_address(),
            ring_entries: BUFFERS.into(),
            bgid: self.group.id,
            ..BufReg::default()
        };
        let registered = self.bed.register(IORING_REGISTER_PBUF_RING, reg, 1);
        registered.expect("a group");
    }

    /// Unregisters the group: only operations and guards keep it. Another has another id.
    fn replace_group(&mut self) {
        let reg = BufReg {
            bgid: self.group.id,
            ..BufReg::default()
        };
        let removed = self.bed.register(IORING_UNREGISTER_PBUF_RING, reg, 1);
        removed.expect("it is registered");
        self.group = Memory::new(self.group.id + 1, BUFFERS, BUFFER_BYTES);
        self.register_group();
    }

    fn run(&mut self, steps: u32) {
        for _ in 0..steps {
            self.act();
            if self.random(3) == 0 {
                self.turn();
            }
        }
    }

    /// One random thing that an application does.
    fn act(&mut self) {
        let socket = SOCKETS[self.random(2) as usize];
        let group = match self.random(3) {
            0 => Group::Lent(Rc::clone(&self.lending)),
            _ => Group::Own(Rc::clone(&self.group)),
        };
        match self.random(16) {
            0..=4 => self.send(socket),
            5 | 6 => {
                let (room, byte) = self.room();
                let user_data = self.queue(Request::ReceiveFrom { socket, room });
                self.fill.insert(user_data, byte);
            }
            7 => {
                let (room, byte) = self.room();
                let flags = 0;
                let user_data = self.queue(Request::Receive {
                    socket,
                    room,
                    flags,
                });
                self.fill.insert(user_data, byte);
            }
            8 => {
                self.queue(Request::ReceiveProvided(socket, group));
            }
            9 | 10 => {
                self.queue(Request::ReceiveFromMultishot(socket, group));
            }
            11 => {
                let operation = self.any_operation();
                self.queue(Request::Cancel(operation));
            }
            12 => {
                self.queue(Request::CancelAll(socket));
            }
            13 => {
                let time = Duration::from_millis(self.random(5));
                self.queue(Request::Timeout(time));
            }
            14 if self.random(8) == 0 => self.replace_group(),
            _ => self.let_go(),
        }
    }

    fn any_operation(&mut self) -> Operation {
        let index = self.random(self.in_flight.len().max(1) as u64) as usize;
        self.in_flight
            .get(index)
            .map_or(Operation(0), |&(_, operation)| operation)
    }

    /// Sends what is held, or something new.
    fn send(&mut self, from: Socket) {
        let (byte, payload) = match self.random(2) {
            0 if !self.held.is_empty() => {
                let index = self.random(self.held.len() as u64) as usize;
                self.met.sent_again |= matches!(self.held[index].1, Payload::Provided(_));
                self.held.swap_remove(index)
            }
            _ => {
                let (byte, len) = (self.random(256) as u8, self.random(65) as usize);
                (byte, vec![byte; len].into())
            }
        };
        let to = SOCKETS[self.random(2) as usize];
        let user_data = self.queue(Request::Send {
            socket: from,
            payload,
            flags: 0,
            to: Some(address(to)),
            zero_copy: false,
        });
        self.fill.insert(user_data, byte);
    }

    /// Room to receive into, behind bytes that must stay.
    fn room(&mut self) -> (BytesMut, u8) {
        let byte = self.random(256) as u8;
        let mut room = BytesMut::with_capacity(80);
        room.resize(5, byte);
        (room, byte)
    }

    fn let_go(&mut self) {
        if !self.held.is_empty() {
            let index = self.random(self.held.len() as u64) as usize;
            let (byte, payload) = self.held.swap_remove(index);
            assert!(is_all(&payload, byte), "what is held has changed");
        }
    }

    /// Submits, lets time pass, and takes what has completed.
    fn turn(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        self.bed.engine.submit(self.now, ENTRIES);
        self.bed.engine.turn(self.now);
        self.bed.engine.flush_overflow();
        let completions: Vec<_> = self.bed.engine.completion().collect();
        for entry in completions {
            let completed = self.slab.complete(&entry);
            self.take(completed);
        }
    }

    fn take(&mut self, completed: Completed) {
        if !completed.more {
            let index = self
                .in_flight
                .iter()
                .position(|&(user_data, _)| user_data == completed.user_data);
            self.in_flight
                .swap_remove(index.expect("it completes once for the last time"));
        }
        if let Some(from) = completed.address {
            assert!(SOCKETS.map(address).contains(&from), "{from}");
        }
        let given = self.fill.remove(&completed.user_data);
        let errno = completed
            .result
            .err()
            .and_then(|error| error.raw_os_error());
        assert!(
            self.next > SETUP || errno.is_none(),
            "a socket is made or bound"
        );
        self.met.starved |= errno == Some(libc::ENOBUFS);
        self.met.cancelled |= errno == Some(libc::ECANCELED) && given.is_some();
        match (completed.payload, given) {
            (None, None) => {}
            (Some(Payload::BytesMut(room)), Some(byte)) => {
                self.met.in_room |= room.len() > 5;
                assert!(is_all(&room[..5], byte), "what was there has changed");
                assert!(
                    is_all(&room[5..], *room.get(5).unwrap_or(&0)),
                    "two datagrams in one"
                );
            }
            (Some(payload), given) => {
                self.met.lent |= matches!(payload, Payload::Lent(_));
                self.met.in_buffer |= matches!(payload, Payload::Provided(_)) && given.is_none();
                let byte = given.or(payload.first().copied()).unwrap_or(0);
                assert!(is_all(&payload, byte), "a payload has changed");
                self.held.push((byte, payload));
            }
            (None, Some(_)) => panic!("the memory of an operation has not come back"),
        }
    }

    /// Ends all operations; everything has come back then.
    fn finish(mut self) -> Met {
        for socket in SOCKETS {
            self.queue(Request::CancelAll(socket));
        }
        for _ in 0..10 {
            self.turn();
        }
        assert_eq!((self.slab.len(), self.in_flight.len()), (0, 0));
        assert!(self.fill.is_empty());
        while !self.held.is_empty() {
            self.let_go();
        }
        assert_eq!(self.group.lent(), 0);
        // What was lent comes back in a turn.
        self.turn();
        let census = self.bed.engine.census();
        assert_eq!((census.app, census.rx), (0, 0));
        self.met
    }
}

/// A group that lends, registered.
fn lending(bed: &mut Bed) -> Rc<Lending> {
    let registered = Lending::new(LENDING, BUFFERS, |ring_addr| {
        let reg = BufReg {
            ring_addr,
            ring_entries: BUFFERS.into(),
            bgid: LENDING,
            flags: IOU_PBUF_RING_LENT,
            ..BufReg::default()
        };
        let registered = bed.register(IORING_REGISTER_PBUF_RING, reg, 1);
        registered.expect("a group");
        let table = bed.engine.lend_table(LENDING).expect("it is registered");
        Ok(LentBuffers::of(table))
    });
    registered.expect("a group")
}

fn address(socket: Socket) -> SocketAddr {
    SocketAddr::new(OWN.parse().expect("an address"), socket.0 as u16 + 1)
}

fn is_all(bytes: &[u8], byte: u8) -> bool {
    bytes.iter().all(|&other| other == byte)
}

#[test]
fn what_random_operations_are_given_comes_back_once_and_unharmed() {
    let mut met = Met::default();
    for seed in 1..=RUNS {
        let mut world = World::new(seed, met);
        world.run(STEPS);
        met = world.finish();
    }
    assert_eq!(met, ALL);
}

#[test]
fn a_world_is_dropped_in_the_middle() {
    for seed in 1..=RUNS {
        let mut world = World::new(seed, Met::default());
        world.run(STEPS / 10);
        let held = std::mem::take(&mut world.held);
        drop(world);
        assert!(held.iter().all(|(byte, payload)| is_all(payload, *byte)));
    }
}

//! The client on a ring: it sends datagrams and checks the echoes, and opens streams and checks them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use io_uring::{opcode, squeue, types};
use ringwire::engine::Engine;

use crate::areas::{Areas, Name};
use crate::buffers::Buffers;
use crate::loans::Connection;
use crate::payload;
use crate::random::Random;
use crate::requests::{Purpose, Requests};
use crate::stream_memory::{Receive, STREAM_BYTES, Send, StreamMemory, TIMEOUTS, scribble};
use crate::traffic::{self, DATAGRAM_PORT, STREAM_PORT, Stream, Tally};

/// Sockets for datagrams, IPv4's and IPv6's.
const SOCKETS: [u32; 2] = [0, 1];
const STREAMS: Range<u32> = 2..10;
/// The first slot that is not the client's.
pub(crate) const SLOTS_END: u32 = STREAMS.end;
const DATAGRAMS: u16 = 1;
const DATAGRAM_BYTES: usize = 10_000;
/// Streams that receive by multishot share this group.
const PARTS: u16 = 3;
const PART_BYTES: usize = 3000;
/// Registered buffers.
const OUTGOING: u16 = 0;
const INCOMING: u16 = 1;
/// Streams that are to be told from others on the wire have ports from here on.
const FIRST_PORT: u16 = 20_000;

/// What a request of the client's is for; streams by serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The echoes of a family.
    Receive(usize),
    Datagram(u64),
    /// A datagram in the areas, by its number there.
    LentDatagram(u64),
    Connect(u32),
    Send(u32),
    /// What of a stream lies in the areas, by its number there.
    LentSend(u32, u64),
    StreamReceive(u32),
    Shutdown(u32),
    Close(u32),
}

/// A datagram that is being sent, and where to.
struct Sending {
    bytes: Box<[u8]>,
    _to: Box<Name>,
}

struct Open {
    stream: Stream,
    slot: u32,
    _names: [Option<Box<Name>>; 2],
    multishot: bool,
    /// What it is on the wire, if that is known.
    connection: Option<Connection>,
    connected: bool,
    /// Until the memory is the client's again.
    sending: bool,
    receiving: bool,
    shutting: bool,
    shut: bool,
    closing: bool,
}

/// What streams send from and receive into.
struct Memory {
    areas: Areas,
    outgoing: StreamMemory,
    incoming: StreamMemory,
    parts: Buffers,
}

pub(crate) struct Client {
    datagrams: Buffers,
    memory: Memory,
    receiving: [bool; 2],
    sending: BTreeMap<u64, Sending>,
    /// What lies in the areas, is being sent, and may be written over; and its bytes that must stay.
    spoilable: BTreeMap<u64, usize>,
    streams: BTreeMap<u32, Open>,
    free: Vec<u32>,
    most_bytes: u64,
    finishing: bool,
    pub(crate) tally: Tally,
}

impl Client {
    /// A client of a server that takes datagrams of so many bytes.
    pub(crate) fn new(
        engine: &mut Engine,
        requests: &mut Requests,
        areas: Areas,
        most_bytes: u64,
    ) -> Client {
        for (slot, domain) in SOCKETS.into_iter().zip([libc::AF_INET, libc::AF_INET6]) {
            let socket = opcode::Socket::new(domain, libc::SOCK_DGRAM, 0);
            requests.push(
                socket.file_index(Some(target(slot))).build(),
                Purpose::Quiet,
            );
        }
        Client {
            datagrams: Buffers::register(engine, DATAGRAMS, 32, DATAGRAM_BYTES),
            memory: Memory {
                areas,
                outgoing: StreamMemory::register(engine, OUTGOING, STREAMS),
                incoming: StreamMemory::register(engine, INCOMING, STREAMS),
                parts: Buffers::register(engine, PARTS, 32, PART_BYTES),
            },
            receiving: [false; 2],
            sending: BTreeMap::new(),
            spoilable: BTreeMap::new(),
            streams: BTreeMap::new(),
            free: STREAMS.rev().collect(),
            most_bytes,
            finishing: false,
            tally: Tally::default(),
        }
    }

    /// Streams that are not done.
    pub(crate) fn open(&self) -> usize {
        self.streams.len()
    }

    /// Sends a datagram.
    pub(crate) fn send(&mut self, requests: &mut Requests, random: &mut Random) -> u64 {
        let v6 = random.chance(500);
        let (serial, mut bytes) = self.tally.datagram(random, self.most_bytes);
        if random.chance(500) {
            let spoils = random.chance(100);
            if spoils {
                payload::mark_spoiled(&mut bytes);
            }
            if let Some(number) = self.memory.areas.place(&bytes) {
                self.send_lent(requests, v6, number);
                if spoils {
                    self.spoilable.insert(number, payload::HEADER);
                }
                return serial;
            }
        }
        let (bytes, to) = (
            bytes.into_boxed_slice(),
            name(traffic::server(v6, DATAGRAM_PORT)),
        );
        let socket = types::Fixed(SOCKETS[usize::from(v6)]);
        let (addr, len) = (bytes.as_ptr(), bytes.len() as u32);
        let address = std::ptr::from_ref(&to.0).cast();
        let send = if random.chance(500) {
            let send = opcode::SendZc::new(socket, addr, len).dest_addr(address);
            send.dest_addr_len(to.1).build()
        } else {
            let send = opcode::Send::new(socket, addr, len).dest_addr(address);
            send.dest_addr_len(to.1).build()
        };
        requests.push(send, Purpose::Client(Step::Datagram(serial)));
        let sending = Sending { bytes, _to: to };
        self.sending.insert(serial, sending);
        serial
    }

    fn send_lent(&mut self, requests: &mut Requests, v6: bool, number: u64) {
        let socket = SOCKETS[usize::from(v6)];
        let to = *name(traffic::server(v6, DATAGRAM_PORT));
        let (send, lent) = self.memory.areas.send(number, socket, Some(to), 0);
        let purpose = Purpose::Client(Step::LentDatagram(number));
        requests.push_lent(send, purpose, lent);
    }

    /// Writes over what is being sent: harm to nothing but that. Returns how often.
    pub(crate) fn spoil(&mut self) -> u64 {
        for (&number, &keep) in &self.spoilable {
            self.memory.areas.spoil(number, keep);
        }
        self.spoilable.len() as u64
    }

    /// Begins another stream, if there is a slot for it.
    pub(crate) fn connect(&mut self, requests: &mut Requests, random: &mut Random, may_fail: bool) {
        let Some(slot) = self.free.pop() else { return };
        let stream = self.tally.stream(random, may_fail);
        let (serial, domain) = (
            stream.serial,
            [libc::AF_INET, libc::AF_INET6][usize::from(stream.v6)],
        );
        let to = name(traffic::server(stream.v6, STREAM_PORT));
        let socket = opcode::Socket::new(domain, libc::SOCK_STREAM, 0);
        requests.push(
            socket.file_index(Some(target(slot))).build(),
            Purpose::Quiet,
        );
        let mut from = None;
        let connection = random.chance(700).then(|| Connection {
            v6: stream.v6,
            local: FIRST_PORT + serial as u16,
            remote: STREAM_PORT,
        });
        if let Some(Connection { v6, local, .. }) = connection {
            let any: [IpAddr; 2] = [[0; 4].into(), [0; 16].into()];
            let local = (any[usize::from(v6)], local).into();
            bind(requests, slot, from.insert(name(local)));
        }
        let address = std::ptr::from_ref(&to.0).cast();
        let connect = opcode::Connect::new(types::Fixed(slot), address, to.1).build();
        requests.push(connect, Purpose::Client(Step::Connect(serial)));
        let open = Open {
            stream,
            slot,
            _names: [Some(to), from],
            multishot: random.chance(500),
            connection,
            connected: false,
            sending: false,
            receiving: false,
            shutting: false,
            shut: false,
            closing: false,
        };
        self.streams.insert(serial, open);
    }

    /// Asks for whatever can be asked for; a slow client does not, now and then.
    pub(crate) fn step(&mut self, requests: &mut Requests, random: &mut Random) {
        if self.finishing {
            return;
        }
        for (family, slot) in SOCKETS.into_iter().enumerate() {
            if !std::mem::replace(&mut self.receiving[family], true) {
                let receive = opcode::RecvMulti::new(types::Fixed(slot), DATAGRAMS);
                requests.push(receive.build(), Purpose::Client(Step::Receive(family)));
            }
        }
        for open in self.streams.values_mut() {
            open.step(requests, random, &mut self.memory);
        }
    }

    pub(crate) fn completed(&mut self, requests: &mut Requests, step: Step, res: i32, flags: u32) {
        match step {
            Step::Receive(family) => {
                self.receiving[family] = io_uring::cqueue::more(flags);
                if let Some(bid) = io_uring::cqueue::buffer_select(flags) {
                    self.tally
                        .echo(self.datagrams.get(bid, res.max(0) as usize));
                    self.datagrams.provide(bid);
                }
            }
            Step::Datagram(serial) if !io_uring::cqueue::more(flags) => self.sent(serial),
            Step::Datagram(_) => {}
            Step::LentDatagram(number) if !io_uring::cqueue::more(flags) => self.take_back(number),
            Step::LentDatagram(_) => {}
            Step::Close(serial) => {
                let closed = self.streams.remove(&serial).expect("closed once");
                self.free.push(closed.slot);
            }
            Step::Connect(serial)
            | Step::Send(serial)
            | Step::LentSend(serial, _)
            | Step::StreamReceive(serial)
            | Step::Shutdown(serial) => {
                let open = self.streams.get_mut(&serial).expect("closed last");
                if let Step::LentSend(_, number) = step
                    && open.stream.spoils
                    && io_uring::cqueue::more(flags)
                {
                    self.spoilable.insert(number, 0);
                }
                let found = open.completed(&mut self.tally, &mut self.memory, step, res, flags);
                if let Err(violation) = found {
                    self.tally.violate(violation);
                }
                open.close_when_idle(requests);
            }
        }
    }

    /// The memory of a zero-copy send is the client's again.
    pub(crate) fn notified(&mut self, requests: &mut Requests, step: Step) {
        match step {
            Step::Datagram(serial) => self.sent(serial),
            Step::Send(serial) => {
                let open = self.streams.get_mut(&serial).expect("closed last");
                open.is_given_back(&mut self.memory);
                open.close_when_idle(requests);
            }
            // The stream may be no more.
            Step::LentDatagram(number) | Step::LentSend(_, number) => self.take_back(number),
            _ => unreachable!("a notification of a request that sends nothing"),
        }
    }

    fn take_back(&mut self, number: u64) {
        self.spoilable.remove(&number);
        self.memory.areas.take_back(number);
    }

    fn sent(&mut self, serial: u64) {
        let mut sending = self.sending.remove(&serial).expect("sent once");
        scribble(&mut sending.bytes);
    }

    /// Whether a slot is the client's now.
    pub(crate) fn uses(&self, slot: u32) -> bool {
        SOCKETS.contains(&slot) || self.streams.values().any(|open| open.slot == slot)
    }

    pub(crate) fn finish(&mut self) {
        self.finishing = true;
    }
}

impl Open {
    fn step(&mut self, requests: &mut Requests, random: &mut Random, memory: &mut Memory) {
        if !self.connected || self.closing {
            return;
        }
        if !self.receiving && random.chance(700) {
            self.receive(requests, random, memory);
        }
        if self.sending || self.shutting || self.shut {
            return;
        }
        if self.stream.is_sent() {
            self.shut_down(requests);
        } else if random.chance(600) {
            self.send(requests, random, memory);
        }
    }

    fn receive(&mut self, requests: &mut Requests, random: &mut Random, memory: &mut Memory) {
        self.receiving = true;
        let socket = types::Fixed(self.slot);
        let purpose = Purpose::Client(Step::StreamReceive(self.stream.serial));
        if !self.multishot {
            let way = *random.one_of(&Receive::ALL);
            let most = 1 + random.below(STREAM_BYTES as u64) as u32;
            let is_timed = random.chance(300);
            // What waits for all it asked for has what there is when it is given up.
            let flags = if is_timed { libc::MSG_WAITALL } else { 0 };
            let receive = memory.incoming.receive(way, self.slot, most, flags);
            if is_timed {
                requests.push_with_timeout(receive, purpose, random.one_of(&TIMEOUTS));
            } else {
                requests.push(receive, purpose);
            }
            return;
        }
        let receive = if random.chance(500) {
            opcode::RecvMulti::new(socket, PARTS).build()
        } else {
            let read = opcode::ReadMulti::new(socket, 0, PARTS).build();
            // The builder forgets it.
            read.flags(squeue::Flags::FIXED_FILE)
        };
        requests.push(receive, purpose);
    }

    /// Sends the next part; the last one now and then together with the end.
    fn send(&mut self, requests: &mut Requests, random: &mut Random, memory: &mut Memory) {
        self.sending = true;
        if random.chance(500) && self.send_lent(requests, random, memory) {
            return;
        }
        let bytes = self.stream.next(1 + random.below(8000));
        memory.outgoing.part(self.slot)[..bytes.len()].copy_from_slice(&bytes);
        let last = self.stream.sent + bytes.len() as u64 == self.stream.total;
        let linked = last && random.chance(500);
        let mut flags = if linked { libc::MSG_WAITALL } else { 0 };
        if !last && random.chance(100) {
            flags |= libc::MSG_MORE;
        }
        let ways: &[Send] = match flags {
            0 => &Send::ALL,
            _ => &Send::WITH_FLAGS,
        };
        let way = *random.one_of(ways);
        let mut send = memory.outgoing.send(way, self.slot, 0..bytes.len(), flags);
        if linked {
            send = send.flags(squeue::Flags::IO_LINK);
        }
        requests.push(send, Purpose::Client(Step::Send(self.stream.serial)));
        if linked {
            self.shut_down(requests);
        }
    }

    /// The same of what lies in the areas; `false` if there is no room there.
    fn send_lent(
        &mut self,
        requests: &mut Requests,
        random: &mut Random,
        memory: &mut Memory,
    ) -> bool {
        let bytes = self.stream.next(1 + random.below(20_000));
        let Some(number) = memory.areas.place(&bytes) else {
            return false;
        };
        let flags = [0, libc::MSG_WAITALL, libc::MSG_MORE];
        let last = self.stream.sent + bytes.len() as u64 == self.stream.total;
        let flags = *random.one_of(if last { &flags[..2] } else { &flags });
        let (send, lent) = memory.areas.send(number, self.slot, None, flags);
        let lent = lent.on(self.connection, self.stream.sent);
        let purpose = Purpose::Client(Step::LentSend(self.stream.serial, number));
        requests.push_lent(send, purpose, lent);
        true
    }

    /// What was sent is the client's again.
    fn is_given_back(&mut self, memory: &mut Memory) {
        self.sending = false;
        scribble(memory.outgoing.part(self.slot));
    }

    fn shut_down(&mut self, requests: &mut Requests) {
        self.shutting = true;
        let shutdown = opcode::Shutdown::new(types::Fixed(self.slot), libc::SHUT_WR).build();
        requests.push(
            shutdown,
            Purpose::Client(Step::Shutdown(self.stream.serial)),
        );
    }

    /// Takes a completion. What a hostile request cancelled is tried again, a connection attempt given up.
    fn completed(
        &mut self,
        tally: &mut Tally,
        memory: &mut Memory,
        step: Step,
        res: i32,
        flags: u32,
    ) -> Result<(), String> {
        let serial = self.stream.serial;
        match step {
            Step::Connect(_) => {
                self.connected = res == 0;
                self.closing = res != 0;
                let no_answer = [-libc::EHOSTUNREACH, -libc::ETIMEDOUT].contains(&res);
                let excused = res == -libc::ECANCELED || no_answer && self.stream.may_fail;
                if res != 0 && !excused {
                    return Err(format!("stream {serial}: connecting failed: {res}"));
                }
            }
            Step::Send(_) | Step::LentSend(..) => {
                let more = io_uring::cqueue::more(flags);
                match step {
                    Step::LentSend(_, number) => {
                        self.sending = false;
                        if !more {
                            memory.areas.take_back(number);
                        }
                    }
                    _ if !more => self.is_given_back(memory),
                    _ => {}
                }
                self.stream.sent += res.max(0) as u64;
                if res < 0 && res != -libc::ECANCELED {
                    return Err(format!("stream {serial}: sending failed: {res}"));
                }
            }
            Step::Shutdown(_) => {
                self.shutting = false;
                self.shut = res == 0;
                // A short send breaks the link.
                if res < 0 && res != -libc::ECANCELED {
                    return Err(format!("stream {serial}: shutting down failed: {res}"));
                }
            }
            _ => return self.received(tally, memory, res, flags),
        }
        Ok(())
    }

    fn received(
        &mut self,
        tally: &mut Tally,
        memory: &mut Memory,
        res: i32,
        flags: u32,
    ) -> Result<(), String> {
        self.receiving = io_uring::cqueue::more(flags);
        let serial = self.stream.serial;
        match (res, io_uring::cqueue::buffer_select(flags)) {
            (1.., Some(bid)) => {
                let received = self.stream.received(memory.parts.get(bid, res as usize));
                memory.parts.provide(bid);
                received?;
            }
            (1.., None) => {
                let part = memory.incoming.part(self.slot);
                self.stream.received(&part[..res as usize])?;
            }
            (0, bid) => {
                bid.into_iter().for_each(|bid| memory.parts.provide(bid));
                if !self.closing {
                    self.stream.ended()?;
                    tally.finished += 1;
                }
                self.closing = true;
            }
            (error, _) if [-libc::ECANCELED, -libc::ENOBUFS].contains(&error) => {}
            (error, _) => return Err(format!("stream {serial}: receiving failed: {error}")),
        }
        tally.bytes += res.max(0) as u64;
        Ok(())
    }

    /// Closes the socket once it is done and no request uses its memory.
    fn close_when_idle(&mut self, requests: &mut Requests) {
        if self.closing && !self.sending && !self.receiving && !self.shutting {
            let close = opcode::Close::new(types::Fixed(self.slot)).build();
            requests.push(close, Purpose::Client(Step::Close(self.stream.serial)));
        }
    }
}

fn bind(requests: &mut Requests, slot: u32, name: &Name) {
    let address = std::ptr::from_ref(&name.0).cast();
    let bind = opcode::Bind::new(types::Fixed(slot), address, name.1);
    requests.push(bind.build(), Purpose::Quiet);
}

fn name(address: SocketAddr) -> Box<Name> {
    // SAFETY: all zeroes is a valid sockaddr_in6.
    let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    name.sin6_port = address.port().to_be();
    match address {
        SocketAddr::V4(v4) => {
            // `sockaddr_in` has its address where this one has its flow information.
            name.sin6_family = libc::AF_INET as u16;
            name.sin6_flowinfo = u32::from_ne_bytes(v4.ip().octets());
            Box::new(Name(name, size_of::<libc::sockaddr_in>() as u32))
        }
        SocketAddr::V6(v6) => {
            name.sin6_family = libc::AF_INET6 as u16;
            name.sin6_addr.s6_addr = v6.ip().octets();
            Box::new(Name(name, size_of::<libc::sockaddr_in6>() as u32))
        }
    }
}

fn target(slot: u32) -> types::DestinationSlot {
    types::DestinationSlot::try_from_slot_target(slot).expect("a small slot")
}

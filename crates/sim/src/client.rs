//! The client on a ring: it sends datagrams and checks the echoes, and opens streams and checks them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use io_uring::{opcode, types};
use ringwire::engine::Engine;

use crate::areas::{Areas, Name};
use crate::buffers::Buffers;
use crate::client_stream::{Memory, Open, Way};
use crate::lending::{Lending, Lent, Manner};
use crate::loans::Connection;
use crate::payload;
use crate::random::Random;
use crate::received::LentGroup;
use crate::requests::{Purpose, Requests};
use crate::stream_memory::scribble;
use crate::traffic::{self, DATAGRAM_PORT, STREAM_PORT, Tally};

/// Sockets for datagrams, IPv4's and IPv6's.
const SOCKETS: [u32; 2] = [0, 1];
const STREAMS: Range<u32> = 2..10;
/// The first slot that is not the client's.
pub(crate) const SLOTS_END: u32 = STREAMS.end;
const DATAGRAMS: u16 = 1;
const DATAGRAM_BYTES: usize = 10_000;
/// A lent group, and how many ids each has.
const LENT_DATAGRAMS: u16 = 2;
const IDS: u16 = 32;
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

pub(crate) struct Client {
    datagrams: Buffers,
    lent_datagrams: Option<LentGroup>,
    /// Which group the echoes of a family are received with.
    lends: [bool; 2],
    memory: Memory,
    receiving: [bool; 2],
    sending: BTreeMap<u64, Sending>,
    /// What lies in the areas, is being sent, and may be written over; and its bytes that must stay.
    spoilable: BTreeMap<u64, usize>,
    streams: BTreeMap<u32, Open>,
    free: Vec<u32>,
    most_bytes: u64,
    /// The kernel beside the ring may refuse ports, ways and addresses.
    beside: bool,
    finishing: bool,
    pub(crate) tally: Tally,
}

impl Client {
    /// A client of a server that takes datagrams of so many bytes.
    pub(crate) fn new(
        engine: &mut Engine,
        requests: &mut Requests,
        mut lending: Lending,
        (most_bytes, beside): (u64, bool),
    ) -> Client {
        for (slot, domain) in SOCKETS.into_iter().zip([libc::AF_INET, libc::AF_INET6]) {
            let socket = opcode::Socket::new(domain, libc::SOCK_DGRAM, 0);
            requests.push(
                socket.file_index(Some(target(slot))).build(),
                Purpose::Quiet,
            );
            requests.number(slot, false);
        }
        let lent_datagrams = lending.group(engine, LENT_DATAGRAMS, IDS);
        Client {
            lent_datagrams,
            lends: [false; 2],
            datagrams: Buffers::register(engine, DATAGRAMS, 32, DATAGRAM_BYTES),
            memory: Memory::register(engine, lending, IDS, STREAMS),
            receiving: [false; 2],
            sending: BTreeMap::new(),
            spoilable: BTreeMap::new(),
            streams: BTreeMap::new(),
            free: STREAMS.rev().collect(),
            most_bytes,
            beside,
            finishing: false,
            tally: Tally::default(),
        }
    }

    /// Ports that streams are bound to, connected, and not to be closed yet.
    pub(crate) fn bound_ports(&self) -> impl Iterator<Item = u16> {
        let used = self.streams.values();
        let used = used.filter(|open| open.connected && !open.closing);
        used.filter_map(|open| open.connection.map(|connection| connection.local))
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
            if let Some(number) = self.memory.lending.areas.place(&bytes) {
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
        let areas = &mut self.memory.lending.areas;
        let (send, lent) = match requests.takes_number(socket) {
            true => areas.send_numbered(number, socket, Some(to), 0),
            false => areas.send(number, socket, Some(to), 0),
        };
        let purpose = Purpose::Client(Step::LentDatagram(number));
        requests.push_lent(send, purpose, lent);
    }

    /// Writes over what is being sent: harm to nothing but that. Returns how often.
    pub(crate) fn spoil(&mut self) -> u64 {
        for (&number, &keep) in &self.spoilable {
            self.memory.lending.areas.spoil(number, keep);
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
        if random.chance(800) {
            requests.number(slot, true);
        }
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
            way: *random.one_of(&[Way::Own, Way::Parts, Way::Lent, Way::ZeroCopy]),
            connection,
            beside: self.beside,
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
    pub(crate) fn step(&mut self, requests: &mut Requests, random: &mut Random, manner: Manner) {
        let given = self.give_back(manner);
        given.unwrap_or_else(|violation| self.tally.violate(violation));
        if self.finishing {
            return;
        }
        for (family, slot) in SOCKETS.into_iter().enumerate() {
            if !std::mem::replace(&mut self.receiving[family], true) {
                self.lends[family] = self.lent_datagrams.is_some() && random.chance(500);
                let group = [DATAGRAMS, LENT_DATAGRAMS][usize::from(self.lends[family])];
                let receive = opcode::RecvMulti::new(types::Fixed(slot), group);
                requests.push(receive.build(), Purpose::Client(Step::Receive(family)));
            }
        }
        for open in self.streams.values_mut() {
            open.step(requests, random, &mut self.memory);
        }
    }

    /// Gives some of what was lent back; all of it at the end.
    fn give_back(&mut self, manner: Manner) -> Result<(), String> {
        let Manner { per_mille, bad } = manner;
        let per_mille = if self.finishing { 1000 } else { per_mille };
        let groups = [&mut self.lent_datagrams, &mut self.memory.lent];
        for group in groups.into_iter().flatten() {
            group.give_back(per_mille, bad)?;
        }
        match &mut self.memory.lending.refills {
            Some(refills) => refills.give_back(per_mille, bad),
            None => Ok(()),
        }
    }

    pub(crate) fn areas(&mut self) -> &mut Areas {
        &mut self.memory.lending.areas
    }

    /// What it was lent.
    pub(crate) fn lent(&self) -> Lent {
        let groups = [&self.lent_datagrams, &self.memory.lent];
        let mut lent = Lent::default();
        groups
            .into_iter()
            .flatten()
            .for_each(|group| lent += group.counts);
        if let Some(refills) = &self.memory.lending.refills {
            lent += refills.counts;
        }
        lent
    }

    /// An echo that was lent.
    fn echo_lent(&mut self, bid: u16, len: usize) -> Result<(), String> {
        let group = self.lent_datagrams.as_mut().expect("it was registered");
        let ids = group.message(bid, len)?;
        let parts: Vec<&[u8]> = ids.iter().map(|&bid| group.get(bid)).collect();
        self.tally.echo(&parts.concat());
        ids.into_iter().for_each(|bid| group.keep(bid));
        Ok(())
    }

    pub(crate) fn completed(
        &mut self,
        requests: &mut Requests,
        step: Step,
        (res, flags, place): (i32, u32, u64),
    ) {
        match step {
            Step::Receive(family) => {
                self.receiving[family] = io_uring::cqueue::more(flags);
                let bid = io_uring::cqueue::buffer_select(flags);
                if self.lends[family] {
                    if let Some(bid) = bid
                        && let Err(violation) = self.echo_lent(bid, res.max(0) as usize)
                    {
                        self.tally.violate(violation);
                    }
                } else if let Some(bid) = bid {
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
                if let Some(lent) = &mut self.memory.lent {
                    lent.closed(closed.slot);
                }
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
                let found =
                    open.completed(&mut self.tally, &mut self.memory, step, (res, flags, place));
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
        self.memory.lending.areas.take_back(number);
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

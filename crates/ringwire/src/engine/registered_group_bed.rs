//! An engine with registered buffers, and a group whose entries name them.

use std::time::Duration;

use io_uring::{opcode, squeue, types};
use ringwire_abi::register::{
    BufReg, IORING_REGISTER_BUFFERS2, IORING_REGISTER_PBUF_RING, RsrcRegister,
};
use ringwire_stack::Instant;
use ringwire_umem::{Area, AreaLayout};

use super::super::bed::Bed;
use crate::provided::{ProvidedSend, entry_addr};
use crate::usermem::tests::AppRing;

pub(super) const GROUP: u16 = 5;
pub(super) const SLOT: usize = 1000;
pub(super) const ROW: usize = 1 << 16;

/// The registered buffers: the row, all slots, nothing, a part of the row.
pub(super) const IN_ROW: u32 = 0;
pub(super) const IN_SLOTS: u32 = 1;
pub(super) const EMPTY: u32 = 2;
pub(super) const PART: u32 = 3;
pub(super) const PART_LEN: usize = 4000;
pub(super) const TAGS: [u64; 4] = [90, 91, 0, 93];

/// The sockets: datagrams, a connection of the engine's with itself.
pub(super) const DATAGRAMS: types::Fixed = types::Fixed(0);
pub(super) const STREAM: types::Fixed = types::Fixed(1);
const LISTENER: types::Fixed = types::Fixed(2);
const ACCEPTED: types::Fixed = types::Fixed(3);
/// Receives what is sent to ourselves.
pub(super) const OTHER: types::Fixed = types::Fixed(4);

/// A socket address; leaked, as entries point at it.
fn name(v6: bool, address: &str, port: u16) -> (*const libc::sockaddr, u32) {
    if v6 {
        let address: std::net::Ipv6Addr = address.parse().unwrap();
        let name = libc::sockaddr_in6 {
            sin6_family: libc::AF_INET6 as u16,
            sin6_port: port.to_be(),
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr {
                s6_addr: address.octets(),
            },
            sin6_scope_id: 0,
        };
        return (std::ptr::from_ref(Box::leak(Box::new(name))).cast(), 28);
    }
    let address: std::net::Ipv4Addr = address.parse().unwrap();
    let name = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.octets()),
        },
        sin_zero: [0; 8],
    };
    (std::ptr::from_ref(Box::leak(Box::new(name))).cast(), 16)
}

/// An engine with a group, registered buffers, and a UDP socket.
pub(super) struct Group {
    pub(super) bed: Bed,
    pub(super) app: AppRing,
    pub(super) row: Area,
    pub(super) slots: Vec<Area>,
    v6: bool,
    /// The time of the engine, in milliseconds.
    at: u64,
}

impl Group {
    pub(super) fn new(v6: bool) -> Group {
        Group::with(v6, 0)
    }

    pub(super) fn with(v6: bool, ring_flags: u16) -> Group {
        let slots = AreaLayout::Slots {
            count: 4,
            payload_bytes: SLOT as u32,
        };
        let areas = vec![slots, AreaLayout::Plain(ROW)];
        let mut bed = Bed::with_addresses(0, areas, &["10.0.0.1/24", "fd00::1/64"]);
        bed.add_slots(8);
        let umem = bed.engine.ledger.umem();
        let slots = umem.take_slots(0).unwrap();
        let mut row = umem.take_area(1).unwrap();
        for (index, byte) in row.iter_mut().enumerate() {
            *byte = (index % 251) as u8;
        }
        let (app, _) = AppRing::new();
        let mut group = Group {
            bed,
            app,
            row,
            slots,
            v6,
            at: 0,
        };
        group.register_ring(ring_flags);
        group.register_buffers();
        group.open(DATAGRAMS, libc::SOCK_DGRAM);
        group.pass(5);
        group.discard();
        group
    }

    fn register_ring(&mut self, flags: u16) {
        let reg = BufReg {
            ring_addr: self.app.address(),
            ring_entries: AppRing::ENTRIES.into(),
            bgid: GROUP,
            flags,
            ..BufReg::default()
        };
        self.bed
            .register(IORING_REGISTER_PBUF_RING, reg, 1)
            .unwrap();
    }

    fn register_buffers(&mut self) {
        let part = [self.row.as_ptr(), self.row[100..].as_ptr()];
        let first = self.slots[0].as_ptr();
        let end = self.in_slots(3) + SLOT;
        let empty = std::ptr::null();
        let buffers = [
            (part[0], ROW),
            (first, end),
            (empty, 0),
            (part[1], PART_LEN),
        ];
        self.register(&buffers, &TAGS);
    }

    pub(super) fn register(&mut self, buffers: &[(*const u8, usize)], tags: &[u64]) {
        let iovecs: Vec<_> = buffers
            .iter()
            .map(|&(from, iov_len)| libc::iovec {
                iov_base: from.cast_mut().cast(),
                iov_len,
            })
            .collect();
        let register = RsrcRegister {
            nr: iovecs.len() as u32,
            data: iovecs.as_ptr() as u64,
            tags: tags.as_ptr() as u64,
            ..RsrcRegister::default()
        };
        self.bed
            .register(IORING_REGISTER_BUFFERS2, register, 32)
            .unwrap();
    }

    fn domain(&self) -> i32 {
        if self.v6 {
            libc::AF_INET6
        } else {
            libc::AF_INET
        }
    }

    /// Our own address.
    pub(super) fn own(&self, port: u16) -> (*const libc::sockaddr, u32) {
        let address = if self.v6 { "fd00::1" } else { "10.0.0.1" };
        name(self.v6, address, port)
    }

    pub(super) fn open(&mut self, slot: types::Fixed, kind: i32) {
        let destination = types::DestinationSlot::try_from_slot_target(slot.0).unwrap();
        let socket = opcode::Socket::new(self.domain(), kind, 0);
        let socket = socket.file_index(Some(destination)).build();
        assert_eq!(self.bed.run(socket), [(0, 0, 0)]);
    }

    pub(super) fn bind(&mut self, slot: types::Fixed, port: u16) {
        let (address, len) = self.own(port);
        let bind = opcode::Bind::new(slot, address, len).build();
        assert_eq!(self.bed.run(bind), [(0, 0, 0)]);
    }

    /// Connects a stream to another; each sends and receives little at a time if it is to be narrow.
    pub(super) fn connect(&mut self, narrow: bool) {
        self.open(LISTENER, libc::SOCK_STREAM);
        self.bind(LISTENER, 80);
        let listen = opcode::Listen::new(LISTENER, 4).build();
        assert_eq!(self.bed.run(listen), [(0, 0, 0)]);
        self.open(STREAM, libc::SOCK_STREAM);
        if narrow {
            self.narrow(LISTENER);
            self.narrow(STREAM);
        }
        let (address, len) = self.own(80);
        self.bed
            .push(opcode::Connect::new(STREAM, address, len).build());
        let none = std::ptr::null_mut();
        let accept = opcode::Accept::new(LISTENER, none, none.cast());
        let slot = types::DestinationSlot::try_from_slot_target(ACCEPTED.0).unwrap();
        self.bed.push(accept.file_index(Some(slot)).build());
        self.bed.engine.submit(self.now(), 2);
        self.pass(10);
        assert_eq!(self.bed.completions(), [(0, 0, 0), (0, 0, 0)]);
    }

    /// Has the socket in a slot send and receive little at a time.
    fn narrow(&mut self, slot: types::Fixed) {
        let engine = &mut self.bed.engine;
        let socket = engine.files.lookup(slot.0).unwrap();
        let mut options = engine.stack.options(socket).unwrap();
        options.ask_send_buffer(4096);
        options.ask_receive_buffer(4096);
        engine.stack.set_options(socket, options).unwrap();
    }

    /// Has the socket in a slot number its sends with MSG_ZEROCOPY.
    pub(super) fn number_sends(&mut self, slot: types::Fixed) {
        let engine = &mut self.bed.engine;
        let socket = engine.files.lookup(slot.0).unwrap();
        let mut options = engine.stack.options(socket).unwrap();
        options.zero_copy = true;
        engine.stack.set_options(socket, options).unwrap();
    }

    fn now(&self) -> Instant {
        Instant::ZERO + Duration::from_millis(self.at)
    }

    /// Takes a turn each millisecond.
    pub(super) fn pass(&mut self, millis: u64) {
        for _ in 0..millis {
            self.at += 1;
            self.bed.engine.turn(self.now());
        }
    }

    /// Has the NIC send what it was given; returns how many descriptors that were.
    pub(super) fn discard(&mut self) -> usize {
        let sent = self.bed.sent();
        self.bed.report_sent(&sent);
        self.pass(1);
        sent.len()
    }

    /// Provides `len` bytes at `offset` in a registered buffer.
    pub(super) fn give(&mut self, index: u32, offset: usize, len: usize, bid: u16) {
        let addr = entry_addr(index, offset as u64);
        self.app.provide(addr, len as u32, bid);
    }

    /// Where a slot begins in the registered buffer of them all.
    pub(super) fn in_slots(&self, slot: usize) -> usize {
        self.slots[slot].as_ptr() as usize - self.slots[0].as_ptr() as usize
    }

    /// A datagram to a group, which has no neighbour to be found first.
    pub(super) fn to_group(&self, send: ProvidedSend) -> ProvidedSend {
        let address = if self.v6 { "ff0e::1:2" } else { "239.1.2.3" };
        let (address, len) = name(self.v6, address, 9);
        send.dest_addr(address, len as u16)
    }

    pub(super) fn run(&mut self, send: ProvidedSend) -> Vec<(u64, i32, u32)> {
        self.submit(send.build().user_data(1))
    }

    pub(super) fn submit(&mut self, entry: squeue::Entry) -> Vec<(u64, i32, u32)> {
        self.bed.push(entry);
        let now = self.now();
        self.bed.engine.submit(now, 1);
        self.bed.completions()
    }

    /// What a datagram to a group first completes with.
    pub(super) fn first(&mut self, send: ProvidedSend) -> (i32, u32) {
        let send = self.to_group(send);
        let (_, res, flags) = self.run(send)[0];
        (res, flags)
    }

    /// Receives so many bytes of the stream; `meanwhile` gets what else completes.
    pub(super) fn read(&mut self, len: usize, meanwhile: &mut Vec<(u64, i32, u32)>) -> Vec<u8> {
        let mut to = vec![0u8; len];
        let recv = opcode::Recv::new(ACCEPTED, to.as_mut_ptr(), len as u32);
        let recv = recv.flags(libc::MSG_WAITALL).build().user_data(3);
        let mut completions = self.submit(recv);
        for _ in 0..400 {
            if completions.iter().any(|completion| completion.0 == 3) {
                break;
            }
            self.pass(50);
            completions.extend(self.bed.completions());
        }
        self.pass(100);
        completions.extend(self.bed.completions());
        let (received, others): (Vec<_>, Vec<_>) = completions
            .into_iter()
            .partition(|completion| completion.0 == 3);
        assert_eq!(received, [(3, len as i32, 0)]);
        meanwhile.extend(others);
        to
    }
}

//! Does ringwire touch a byte of payload on its zero-copy paths? Under Valgrind's memcheck, two engines in
//! memory send to each other; no byte of payload may be loaded or stored but by the application and the wire:
//! from when the application has filled its memory until the notification, and from when the NIC has written
//! to its chunk until it writes there again, memcheck has these bytes as memory that nobody may access.
//! Checksums are off. Operations that copy go last: there it must find something.
//!
//!     valgrind --partial-loads-ok=no zero_copy_audit [CASE...]

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::process::ExitCode;

use ringwire::{Area, Lent, cqueue, opcode, squeue, types};
use ringwire_bench::engines::{End, Engines, Setup, V4, V6};
use ringwire_bench::groups::Group;
use ringwire_bench::memcheck;
use ringwire_bench::refill::ZeroCopyReceive;
use ringwire_stack::TxChecksum;
use ringwire_umem::AreaLayout;

const GROUP: u16 = 1;
/// Buffers of a group.
const BUFFERS: u16 = 128;
/// Sends that an application has under way.
const PLACES: usize = 16;
const SLOT_BYTES: u32 = 1440;
/// From one payload to the next in the area without slots: they begin anywhere, and cross chunks.
const STRIDE: usize = 14_001;
/// `IORING_SEND_ZC_REPORT_USAGE`.
const REPORT_USAGE: u16 = 8;
/// The `user_data` of the receive; sends have their place.
const RECEIVE: u64 = u64::MAX;
const PATIENCE_TURNS: usize = 50_000;

/// Six segments and a half, over IPv4 and IPv6: every second one lies in two sends, and none is short.
const STRADDLING: [usize; 2] = [6 * 1448 + 724, 6 * 1428 + 714];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Udp,
    Tcp,
}

/// Where payloads are sent from, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Send {
    /// SEND_ZC of slots, which have room for headers.
    Slots,
    /// SEND_ZC of an area without.
    Row,
    /// SEND.
    Copied,
}

/// How they are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    /// RECV with a lent group.
    Lent,
    /// RECV_ZC.
    ZeroCopy,
    /// The same, and SEND_ZC of what was lent, back to where it came from, which is looked at there.
    Forwarded,
    /// RECV into buffers of the application's.
    Copied,
    /// The same, and not looked at: what comes in fragments is put together.
    Unseen,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    protocol: Protocol,
    send: Send,
    receive: Receive,
    /// Bytes of a send over IPv4 and IPv6, and how many sends there are.
    bytes: [usize; 2],
    sends: usize,
    mtu: u16,
    /// Packets that are lost on the way.
    lost: usize,
    tx_checksum: TxChecksum,
    /// Whether payload is touched.
    copies: bool,
}

const CASE: Case = Case {
    name: "",
    protocol: Protocol::Udp,
    send: Send::Slots,
    receive: Receive::Lent,
    bytes: [1400; 2],
    sends: 64,
    mtu: 1500,
    lost: 0,
    tx_checksum: TxChecksum::Omit,
    copies: false,
};

const TCP: Case = Case {
    protocol: Protocol::Tcp,
    ..CASE
};

const CASES: &[Case] = &[
    Case {
        name: "datagrams, headers in front",
        ..CASE
    },
    Case {
        name: "datagrams, headers beside",
        send: Send::Row,
        ..CASE
    },
    Case {
        name: "datagrams in several chunks",
        send: Send::Row,
        bytes: [8000; 2],
        mtu: 9000,
        ..CASE
    },
    Case {
        name: "datagrams sent in fragments",
        send: Send::Row,
        receive: Receive::Unseen,
        bytes: [8000; 2],
        sends: 16,
        ..CASE
    },
    Case {
        name: "datagrams forwarded",
        receive: Receive::Forwarded,
        ..CASE
    },
    Case {
        name: "stream, headers in front",
        ..TCP
    },
    Case {
        name: "stream, headers beside",
        send: Send::Row,
        bytes: STRADDLING,
        ..TCP
    },
    Case {
        name: "stream in segments of several chunks",
        send: Send::Row,
        bytes: [13_422, 13_392],
        mtu: 9000,
        ..TCP
    },
    Case {
        name: "stream, headers in front, segments lost",
        lost: 5,
        ..TCP
    },
    Case {
        name: "stream, headers beside, segments lost",
        send: Send::Row,
        bytes: STRADDLING,
        lost: 5,
        ..TCP
    },
    Case {
        name: "stream by RECV_ZC",
        receive: Receive::ZeroCopy,
        ..TCP
    },
    Case {
        name: "stream by RECV_ZC, segments lost",
        send: Send::Row,
        bytes: STRADDLING,
        receive: Receive::ZeroCopy,
        lost: 5,
        ..TCP
    },
    Case {
        name: "stream forwarded",
        receive: Receive::Forwarded,
        ..TCP
    },
    Case {
        name: "datagrams copied by SEND",
        send: Send::Copied,
        copies: true,
        ..CASE
    },
    Case {
        name: "datagrams copied by RECV",
        receive: Receive::Copied,
        copies: true,
        ..CASE
    },
    Case {
        name: "datagrams, checksums summed",
        tx_checksum: TxChecksum::Compute,
        copies: true,
        ..CASE
    },
    Case {
        name: "stream copied by SEND",
        send: Send::Copied,
        copies: true,
        ..TCP
    },
    Case {
        name: "stream copied by RECV",
        receive: Receive::Copied,
        copies: true,
        ..TCP
    },
    // A frame for each is too much: the stack puts them together, and counts it (`tcp_compacted`).
    Case {
        name: "stream of short segments, put together",
        bytes: [100; 2],
        copies: true,
        ..TCP
    },
    Case {
        name: "stream, checksums summed",
        tx_checksum: TxChecksum::Compute,
        copies: true,
        ..TCP
    },
];

fn main() -> ExitCode {
    if !memcheck::is_running() {
        eprintln!("zero_copy_audit: only under valgrind (scripts/audit.sh)");
        return ExitCode::from(2);
    }
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut failed = false;
    for case in CASES {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == case.name) {
            continue;
        }
        for ips in [V4, V6] {
            let before = memcheck::errors();
            run(case, ips);
            let touched = memcheck::errors() - before;
            let good = (touched > 0) == case.copies;
            failed |= !good;
            println!(
                "{} {:39} IPv{}  {touched} loads and stores{}",
                if good { "ok    " } else { "FAILED" },
                case.name,
                if ips[0].is_ipv4() { 4 } else { 6 },
                if case.copies { ", as it must" } else { "" },
            );
        }
    }
    ExitCode::from(u8::from(failed))
}

fn run(case: &Case, ips: [IpAddr; 2]) {
    for from in [0, 1] {
        let mut bed = Bed::new(case, ips, from);
        bed.arm();
        let mut turns = 0;
        while !bed.is_done() {
            turns += 1;
            assert!(turns < PATIENCE_TURNS, "{}: stuck: {bed}", case.name);
            bed.send();
            bed.engines.turn();
            bed.complete();
        }
        let lost = case.lost - end(&mut bed.engines, from).nic.loses;
        assert_eq!(lost, case.lost, "{}: packets lost", case.name);
    }
}

/// One direction of a case.
struct Bed<'a> {
    case: &'a Case,
    /// Bytes of a send.
    bytes: usize,
    engines: Engines,
    /// The end that sends, and the one that receives first.
    from: usize,
    plain: Area,
    slots: Vec<Area>,
    /// Places that nothing is sent from.
    free: Vec<usize>,
    sent: usize,
    /// Of each end that receives: its group, and the ids in the ring's order.
    groups: HashMap<usize, (Group, VecDeque<u16>)>,
    /// What the other end has registered for RECV_ZC.
    zero_copy: Option<ZeroCopyReceive>,
    /// Bytes that the end which looks at them has received.
    received: usize,
    /// What is being forwarded, by the `user_data` of its send.
    forwarded: HashMap<u64, Lent>,
    next_forward: u64,
}

impl std::fmt::Display for Bed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sent, received, free) = (self.sent, self.received, self.free.len());
        write!(f, "{sent} sent, {received} bytes came, {free} places free")
    }
}

/// The byte at an offset of everything that is sent.
fn byte(offset: usize) -> u8 {
    (offset * 31 + (offset >> 8) * 7) as u8
}

impl<'a> Bed<'a> {
    fn new(case: &'a Case, ips: [IpAddr; 2], from: usize) -> Bed<'a> {
        let setup = Setup {
            mtu: case.mtu,
            areas: vec![
                AreaLayout::Plain(PLACES * STRIDE),
                AreaLayout::Slots {
                    count: PLACES as u32,
                    payload_bytes: SLOT_BYTES,
                },
            ],
            tx_checksum: case.tx_checksum,
            zero_copy_receive: case.receive == Receive::ZeroCopy,
            ..Setup::default()
        };
        let mut engines = Engines::with(&setup);
        match case.protocol {
            Protocol::Udp => engines.connect_datagrams_over(ips),
            Protocol::Tcp => engines.connect_streams_over(ips),
        }
        let [a, b] = [&mut engines.a.nic, &mut engines.b.nic];
        let (sender, receiver) = if from == 0 { (a, b) } else { (b, a) };
        sender.seals = true;
        receiver.seals = case.receive != Receive::Unseen;
        let mut bed = Bed {
            case,
            bytes: case.bytes[usize::from(ips[0].is_ipv6())],
            plain: end(&mut engines, from).area(0),
            slots: end(&mut engines, from).slots(1),
            engines,
            from,
            free: (0..PLACES).collect(),
            sent: 0,
            groups: HashMap::new(),
            zero_copy: None,
            received: 0,
            forwarded: HashMap::new(),
            next_forward: PLACES as u64,
        };
        bed.add_group(1 - from);
        if case.receive == Receive::Forwarded {
            bed.add_group(from);
        }
        bed
    }

    /// Registers what an end receives with.
    fn add_group(&mut self, at: usize) {
        let engine = &mut end(&mut self.engines, at).engine;
        let group = match self.case.receive {
            Receive::Lent | Receive::Forwarded => Group::lent(engine, GROUP, BUFFERS),
            Receive::Copied | Receive::Unseen => Group::own(engine, GROUP, BUFFERS, self.bytes),
            Receive::ZeroCopy => {
                self.zero_copy = Some(ZeroCopyReceive::register(engine));
                return;
            }
        };
        self.groups.insert(at, (group, (0..BUFFERS).collect()));
    }

    fn socket(&self) -> types::Fixed {
        match self.case.protocol {
            Protocol::Tcp => types::Fixed(0),
            Protocol::Udp => types::Fixed(2),
        }
    }

    fn push(&mut self, at: usize, entry: &squeue::Entry) {
        // SAFETY: what is sent lies in UMEM, and is written to again only when the notification is there, or
        // for SEND the completion; it outlives the engines' turns.
        unsafe { end(&mut self.engines, at).push(entry) }
    }

    /// Begins to receive wherever something is received.
    fn arm(&mut self) {
        let mut ends: Vec<usize> = self.groups.keys().copied().collect();
        if self.zero_copy.is_some() {
            ends.push(1 - self.from);
        }
        ends.into_iter().for_each(|at| self.arm_at(at));
    }

    fn arm_at(&mut self, at: usize) {
        let receive = match &self.zero_copy {
            Some(zero_copy) => opcode::RecvZc::new(self.socket(), 0)
                .ifq(zero_copy.id)
                .build(),
            None => opcode::RecvMulti::new(self.socket(), GROUP).build(),
        };
        self.push(at, &receive.user_data(RECEIVE));
    }

    fn total(&self) -> usize {
        self.case.sends * self.bytes
    }

    fn is_done(&self) -> bool {
        self.received == self.total() && self.free.len() == PLACES && self.forwarded.is_empty()
    }

    fn place(&mut self, place: usize) -> &mut [u8] {
        let bytes = self.bytes;
        match self.case.send {
            Send::Slots => &mut self.slots[place][..bytes],
            Send::Row | Send::Copied => &mut self.plain[place * STRIDE..][..bytes],
        }
    }

    /// Sends from the places that are free.
    fn send(&mut self) {
        let (socket, bytes) = (self.socket(), self.bytes);
        while self.sent < self.case.sends
            && let Some(place) = self.free.pop()
        {
            let offset = self.sent * bytes;
            self.sent += 1;
            // In the middle of it all.
            if self.sent == self.case.sends / 2 {
                end(&mut self.engines, self.from).nic.loses = self.case.lost;
            }
            let memory = self.place(place);
            memcheck::open(memory.as_ptr(), bytes);
            for (index, to) in memory.iter_mut().enumerate() {
                *to = byte(offset + index);
            }
            memcheck::seal(memory.as_ptr(), bytes);
            let (first, len) = (memory.as_ptr(), bytes as u32);
            let entry = match self.case.send {
                Send::Copied => opcode::Send::new(socket, first, len)
                    .flags(libc::MSG_WAITALL)
                    .build(),
                Send::Slots | Send::Row => send_zc(socket, first, len),
            };
            self.push(self.from, &entry.user_data(place as u64));
        }
    }

    fn complete(&mut self) {
        for at in [0, 1] {
            let mut completions = Vec::new();
            end(&mut self.engines, at)
                .each_completion(|cqe, offset| completions.push((cqe, offset)));
            for (cqe, offset) in completions {
                match cqe.user_data() {
                    RECEIVE => self.receive(at, &cqe, offset),
                    _ => self.sent(&cqe),
                }
            }
        }
    }

    /// A send has completed, or been notified of.
    fn sent(&mut self, cqe: &cqueue::Entry) {
        let name = self.case.name;
        if cqueue::notif(cqe.flags()) {
            assert_eq!(cqe.result(), 0, "{name}: a send was copied");
        } else {
            assert!(cqe.result() > 0, "{name}: {cqe:?}");
        }
        if cqueue::more(cqe.flags()) {
            return;
        }
        match usize::try_from(cqe.user_data()) {
            Ok(place) if place < PLACES => self.free.push(place),
            _ => drop(self.forwarded.remove(&cqe.user_data())),
        }
    }

    fn receive(&mut self, at: usize, cqe: &cqueue::Entry, offset: u64) {
        let name = self.case.name;
        assert!(cqe.result() > 0, "{name}: {cqe:?}");
        if !cqueue::more(cqe.flags()) {
            self.arm_at(at);
        }
        let mut left = cqe.result() as usize;
        if let Some(zero_copy) = &mut self.zero_copy {
            look(zero_copy.bytes(offset, left), self.received, name);
            self.received += left;
            return zero_copy.give(offset);
        }
        let mut bid = cqueue::buffer_select(cqe.flags()).expect("a buffer");
        while left > 0 {
            let (group, order) = self.groups.get_mut(&at).expect("a group");
            assert_eq!(order.pop_front(), Some(bid), "{name}: the ring's order");
            let lent = group.take(bid, left);
            group.give(bid);
            order.push_back(bid);
            bid = order[0];
            let Some(lent) = lent else {
                self.received += left;
                return;
            };
            left -= lent.len();
            if self.case.receive == Receive::Forwarded && at != self.from {
                self.forward(at, lent);
            } else {
                look(&lent, self.received, name);
                self.received += lent.len();
            }
        }
    }

    /// Sends lent bytes back.
    fn forward(&mut self, at: usize, lent: Lent) {
        let user_data = self.next_forward;
        self.next_forward += 1;
        let entry = send_zc(self.socket(), lent.as_ptr(), lent.len() as u32);
        self.push(at, &entry.user_data(user_data));
        self.forwarded.insert(user_data, lent);
    }
}

/// Looks at lent bytes, from an offset of everything on: the application's right.
fn look(lent: &[u8], offset: usize, name: &str) {
    memcheck::open(lent.as_ptr(), lent.len());
    for (index, &seen) in lent.iter().enumerate() {
        assert_eq!(seen, byte(offset + index), "{name}");
    }
    memcheck::seal(lent.as_ptr(), lent.len());
}

fn end(engines: &mut Engines, which: usize) -> &mut End {
    match which {
        0 => &mut engines.a,
        _ => &mut engines.b,
    }
}

fn send_zc(socket: types::Fixed, first: *const u8, len: u32) -> squeue::Entry {
    opcode::SendZc::new(socket, first, len)
        .flags(libc::MSG_WAITALL)
        .zc_flags(REPORT_USAGE)
        .build()
}

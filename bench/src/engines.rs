//! Two engines in memory, with the kernel's side of their rings between them: requests, and all that is
//! below them, without a NIC.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ringwire::engine::{Engine, EngineConfig, Port};
use ringwire::{cqueue, opcode, squeue, types};
use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{
    IORING_SETUP_CQE32, IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER,
};
use ringwire_abi::register::{IORING_REGISTER_FILES2, IORING_RSRC_REGISTER_SPARSE, RsrcRegister};
use ringwire_stack::{Config, DadConfig, Instant, PlanLimits, RxChecksum, Stack, TxChecksum};
use ringwire_umem::{Area, AreaLayout, Layout, Ledger, Pool, Umem};
use ringwire_xsk::{Rings, pair};

use crate::beside::Beside;
use crate::nic::Nic;

const ENTRIES: u32 = 256;
const START: Instant = Instant::from_nanos(1_000_000_000);
/// What a turn takes on the engines' clock.
const TURN: Duration = Duration::from_micros(100);

/// Nobody is to be kicked: the wire looks by itself.
#[derive(Debug)]
struct Wire;

impl Port for Wire {
    fn kick_tx(&mut self, _: u16) -> Result<(), Errno> {
        Ok(())
    }

    fn kick_rx(&mut self, _: u16) -> Result<(), Errno> {
        Ok(())
    }

    fn clock(&self, _: libc::clockid_t) -> Duration {
        Duration::ZERO
    }
}

/// What a ring needs for RECV_ZC.
const RECEIVE_FLAGS: u32 =
    IORING_SETUP_CQE32 | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER;

/// How both engines are made.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// Registered areas.
    pub areas: Vec<AreaLayout>,
    /// Whether checksums are written. They are never verified.
    pub tx_checksum: TxChecksum,
    /// Completions of 32 bytes, and what else RECV_ZC asks for.
    pub zero_copy_receive: bool,
    /// Whether the addresses are a kernel's too ([`Beside`]).
    pub shared_addresses: bool,
    /// Slots of direct descriptors.
    pub slots: u32,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            mtu: 1500,
            areas: vec![],
            tx_checksum: TxChecksum::Omit,
            zero_copy_receive: false,
            shared_addresses: false,
            slots: 16,
        }
    }
}

/// An engine and its NIC.
pub struct End {
    /// The engine.
    pub engine: Engine,
    /// The far side of its rings.
    pub nic: Nic,
    big: bool,
}

impl End {
    fn new(last: u8, setup: &Setup) -> End {
        let layout = Layout {
            chunk_bytes: 4096,
            rx_chunks: 2 * ENTRIES,
            header_chunks: 64,
            send_chunks: 512,
            lend_reserve_chunks: 64,
            areas: setup.areas.clone(),
        };
        let mut ledger = Ledger::new(Umem::new(layout).expect("memory"));
        let (mut fill, nic_fill) = pair(ENTRIES);
        let (nic_completion, completion) = pair(4 * ENTRIES);
        let (nic_rx, rx) = pair(ENTRIES);
        let (tx, nic_tx) = pair(ENTRIES);
        for _ in 0..ENTRIES {
            let frame = ledger.alloc(Pool::Rx).expect("a free chunk");
            fill.push(ledger.post_fill(frame, 0)).expect("room");
        }
        fill.publish();
        let umem = Arc::clone(ledger.umem());
        let nic = Nic::new(umem, nic_fill, nic_completion, nic_rx, nic_tx);
        let rings = Rings {
            fill,
            completion,
            rx,
            tx,
        };
        let config = Config {
            mac: [2, 0, 0, 0, 0, last],
            mtu: setup.mtu,
            plan: PlanLimits::SCATTER,
            queues: 1,
            addresses: [format!("10.0.0.{last}/24"), format!("fd00::{last}/64")]
                .map(|cidr| cidr.parse().expect("an address"))
                .to_vec(),
            gateways: vec![],
            rx_checksum: RxChecksum::Trust,
            tx_checksum: setup.tx_checksum,
            dad: DadConfig::OFF,
        };
        let random = [last.into(), 2, 3];
        let stack = match setup.shared_addresses {
            false => Stack::new(START, config, &ledger, random),
            true => Stack::beside(START, config, Box::new(Beside::default()), &ledger, random),
        };
        let config = EngineConfig {
            sq_entries: ENTRIES,
            cq_entries: 2 * ENTRIES,
            setup_flags: match setup.zero_copy_receive {
                true => RECEIVE_FLAGS,
                false => 0,
            },
        };
        let mut engine = Engine::new(START, config, ledger, stack, vec![rings], Box::new(Wire));
        let table = RsrcRegister {
            nr: setup.slots,
            flags: IORING_RSRC_REGISTER_SPARSE,
            ..RsrcRegister::default()
        };
        let bytes = size_of::<RsrcRegister>() as u32;
        // SAFETY: the argument lives through the call, and points nowhere.
        unsafe { engine.register(IORING_REGISTER_FILES2, &raw const table as u64, bytes) }
            .expect("a table of direct descriptors");
        End {
            engine,
            nic,
            big: setup.zero_copy_receive,
        }
    }

    /// Queues an entry.
    ///
    /// # Panics
    /// If the queue is full.
    ///
    /// # Safety
    /// As for `SubmissionQueue::push`: what it points at lives until it completes.
    pub unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller's promise.
        unsafe { self.engine.submission().push(entry) }.expect("room in the queue");
    }

    /// Takes a plain registered area.
    ///
    /// # Panics
    /// If it is none, or was taken.
    pub fn area(&self, area: usize) -> Area {
        self.nic.umem.take_area(area).expect("a registered area")
    }

    /// Takes a registered area of slots.
    ///
    /// # Panics
    /// If it is none, or was taken.
    pub fn slots(&self, area: usize) -> Vec<Area> {
        self.nic.umem.take_slots(area).expect("registered slots")
    }

    /// Takes the completions that are there; of those of 32 bytes each with the offset that RECV_ZC says.
    pub fn each_completion(&mut self, mut each: impl FnMut(cqueue::Entry, u64)) {
        match self.big {
            false => self.engine.completion().for_each(|cqe| each(cqe, 0)),
            true => self
                .engine
                .completion_of()
                .for_each(|cqe: cqueue::Entry32| {
                    let offset = cqe.big_cqe()[0];
                    each(cqe.into(), offset);
                }),
        }
    }

    /// Submits what is queued and takes a turn, as `IoUring::submit` does.
    fn enter(&mut self, now: Instant) {
        self.engine.submit(now, ENTRIES);
        self.engine.turn(now);
    }
}

/// What a pair of sockets speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Datagrams, each one message.
    Udp,
    /// A stream.
    Tcp,
}

impl Protocol {
    /// Both, by name.
    pub const NAMED: [(&str, Protocol); 2] = [("udp", Protocol::Udp), ("tcp", Protocol::Tcp)];

    /// The socket of the pair, the same at both ends, that [`Engines::connect`] makes.
    pub fn socket(self) -> types::Fixed {
        match self {
            Protocol::Tcp => types::Fixed(0),
            Protocol::Udp => types::Fixed(2),
        }
    }
}

/// [`first`] or [`second`].
pub type Which = fn(&mut Engines) -> &mut End;

/// Two engines, one wire.
pub struct Engines {
    /// 10.0.0.1
    pub a: End,
    /// 10.0.0.2
    pub b: End,
    now: Instant,
}

impl Default for Engines {
    fn default() -> Engines {
        Engines::new()
    }
}

impl Engines {
    /// Engines that have just been made.
    pub fn new() -> Engines {
        Engines::with(&Setup::default())
    }

    /// The same, made so.
    pub fn with(setup: &Setup) -> Engines {
        Engines {
            a: End::new(1, setup),
            b: End::new(2, setup),
            now: START,
        }
    }

    /// Both submit what is queued and take a turn; then the wire moves.
    pub fn turn(&mut self) {
        self.now = self.now + TURN;
        self.a.enter(self.now);
        self.b.enter(self.now);
        self.carry_from_first();
        self.carry_from_second();
    }

    /// The first submits what is queued and takes a turn.
    pub fn turn_first(&mut self) {
        self.now = self.now + TURN;
        self.a.enter(self.now);
    }

    /// The second does.
    pub fn turn_second(&mut self) {
        self.now = self.now + TURN;
        self.b.enter(self.now);
    }

    /// The wire carries what the first has sent.
    pub fn carry_from_first(&mut self) {
        self.a.nic.carry(&mut self.b.nic);
    }

    /// The wire drops what the first has sent.
    pub fn drop_from_first(&mut self) {
        self.a.nic.discard();
    }

    /// The wire carries what the second has sent.
    pub fn carry_from_second(&mut self) {
        self.b.nic.carry(&mut self.a.nic);
    }

    /// Takes turns until an end has so many completions; hands them on.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait(&mut self, end: Which, want: u32, mut each: impl FnMut(cqueue::Entry)) {
        for _ in 0..100_000 {
            if end(self).engine.completions_ready() >= want {
                end(self).each_completion(|cqe, _| each(cqe));
                return;
            }
            self.turn();
        }
        panic!("the completions do not come");
    }

    /// One request at one end, to its completion; its result.
    ///
    /// # Panics
    /// If it does not complete.
    ///
    /// # Safety
    /// As for [`End::push`].
    pub unsafe fn run(&mut self, end: Which, entry: &squeue::Entry) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { end(self).push(entry) };
        let mut res = 0;
        self.wait(end, 1, |cqe| res = cqe.result());
        res
    }

    /// A pair of sockets that are connected.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn connect(&mut self, protocol: Protocol) {
        match protocol {
            Protocol::Udp => self.connect_datagrams(),
            Protocol::Tcp => self.connect_streams(),
        }
    }

    /// A connection from slot 0 of the first to slot 0 of the second, whose listener has slot 1.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn connect_streams(&mut self) {
        self.connect_streams_over(V4);
    }

    /// The same between these addresses of theirs.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn connect_streams_over(&mut self, [_, server]: [IpAddr; 2]) {
        let name = Name::of(SocketAddr::new(server, 80));
        self.must(second, socket(1, server, libc::SOCK_STREAM));
        self.must(second, name.bind(1));
        self.must(second, opcode::Listen::new(types::Fixed(1), 4).build());
        self.connect_stream(0, server);
    }

    /// A connection more, to this address of the second's, once there is a listener: in this slot of both.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn connect_stream(&mut self, slot: u32, server: IpAddr) {
        let name = Name::of(SocketAddr::new(server, 80));
        self.must(first, socket(slot, server, libc::SOCK_STREAM));
        // Else each small segment would wait for the delayed acknowledgement of the one before.
        let on = 1i32;
        let (level, option) = (libc::IPPROTO_TCP as u32, libc::TCP_NODELAY as u32);
        let value = (&raw const on).cast();
        let no_delay = || opcode::SetSockOpt::new(types::Fixed(slot), level, option, value, 4);
        self.must(first, no_delay().build());
        self.must(first, name.connect(slot));
        let to = types::DestinationSlot::try_from_slot_target(slot).expect("a slot");
        let accept =
            opcode::Accept::new(types::Fixed(1), std::ptr::null_mut(), std::ptr::null_mut());
        self.must(second, accept.file_index(Some(to)).build());
        self.must(second, no_delay().build());
    }

    /// UDP sockets in slot 2 of both, bound to port 90 and connected to each other.
    ///
    /// # Panics
    /// If they cannot be made.
    pub fn connect_datagrams(&mut self) {
        self.connect_datagrams_over(V4);
    }

    /// The same between these addresses of theirs.
    ///
    /// # Panics
    /// If they cannot be made.
    pub fn connect_datagrams_over(&mut self, [a, b]: [IpAddr; 2]) {
        let ends: [(Which, IpAddr, IpAddr); 2] = [(first, a, b), (second, b, a)];
        for (end, own, peer) in ends {
            let [own, peer] = [own, peer].map(|ip| Name::of(SocketAddr::new(ip, 90)));
            self.must(end, socket(2, a, libc::SOCK_DGRAM));
            self.must(end, own.bind(2));
            self.must(end, peer.connect(2));
        }
    }

    /// A request of a set-up, whose memory lives until it is done.
    fn must(&mut self, end: Which, entry: squeue::Entry) {
        // SAFETY: each caller has what the entry points at.
        let res = unsafe { self.run(end, &entry) };
        assert!(res >= 0, "{res}");
    }
}

/// The addresses of the two.
pub const V4: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)),
];
/// The same in IPv6.
pub const V6: [IpAddr; 2] = [
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
];

/// The end with 10.0.0.1.
pub fn first(engines: &mut Engines) -> &mut End {
    &mut engines.a
}

/// The end with 10.0.0.2.
pub fn second(engines: &mut Engines) -> &mut End {
    &mut engines.b
}

/// A `sockaddr_in` or `sockaddr_in6`.
struct Name {
    bytes: [u8; 28],
    len: u32,
}

impl Name {
    fn of(address: SocketAddr) -> Name {
        let mut bytes = [0; 28];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let (family, len) = match address.ip() {
            IpAddr::V4(ip) => {
                bytes[4..8].copy_from_slice(&ip.octets());
                (libc::AF_INET, 16)
            }
            IpAddr::V6(ip) => {
                bytes[8..24].copy_from_slice(&ip.octets());
                (libc::AF_INET6, 28)
            }
        };
        bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        Name { bytes, len }
    }

    fn bind(&self, slot: u32) -> squeue::Entry {
        opcode::Bind::new(types::Fixed(slot), self.bytes.as_ptr().cast(), self.len).build()
    }

    fn connect(&self, slot: u32) -> squeue::Entry {
        opcode::Connect::new(types::Fixed(slot), self.bytes.as_ptr().cast(), self.len).build()
    }
}

fn socket(slot: u32, address: IpAddr, kind: i32) -> squeue::Entry {
    let slot = types::DestinationSlot::try_from_slot_target(slot).expect("a slot");
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    opcode::Socket::new(family, kind, 0)
        .file_index(Some(slot))
        .build()
}

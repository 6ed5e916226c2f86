//! Rings that send datagrams to where everything is dropped: in memory, and over veth.

use std::net::Ipv4Addr;

use ringwire::{Area, IoUring, cqueue, opcode, squeue, types};
use ringwire_abi::notifier::{NotifierRegister, NotifierSlot, RINGWIRE_REGISTER_NOTIFIERS};
use ringwire_bench::engines::{Engines, Setup};
use ringwire_bench::sink::Sink;
use ringwire_tests::net::{RING_INTERFACE, RING_V4, Veth};
use ringwire_umem::AreaLayout;

/// Entries of the rings.
const ENTRIES: u32 = 256;
/// Bytes of the largest packet, for all sizes.
const MTU: u16 = 9000;
/// Payloads of the sender's memory.
pub const PLACES: usize = 64;
/// The longest payload that has a slot; longer ones lie in a row.
pub const LONGEST_SLOT: usize = 3900;
/// The sender's socket, which is connected to a group that has no neighbour to be found first.
pub const SOCKET: types::Fixed = types::Fixed(0);

static GROUP: libc::sockaddr_in = libc::sockaddr_in {
    sin_family: libc::AF_INET as u16,
    sin_port: 9u16.to_be(),
    sin_addr: libc::in_addr {
        s_addr: u32::from_ne_bytes(Ipv4Addr::new(239, 1, 2, 3).octets()),
    },
    sin_zero: [0; 8],
};

/// A ring, whose socket is connected.
pub trait Rig {
    /// Queues an entry.
    ///
    /// # Safety
    /// As for `SubmissionQueue::push`.
    unsafe fn push(&mut self, entry: &squeue::Entry);

    /// Submits what is queued, and waits for so many completions.
    fn enter(&mut self, want: usize);

    /// Takes the completions that are there.
    fn each(&mut self, each: &mut dyn FnMut(cqueue::Entry));

    /// CPU nanoseconds that were not the sender's.
    fn aside(&self) -> u64 {
        0
    }

    /// io_uring_register(2).
    ///
    /// # Safety
    /// As for `Submitter::register`.
    unsafe fn register(&mut self, opcode: u32, arg: u64, nr: u32);
}

/// Registers a notification slot.
pub fn register_slot(rig: &mut dyn Rig, tag: u64) {
    let slot = NotifierSlot { tag, resv: [0; 3] };
    let register = NotifierRegister {
        nr_slots: 1,
        data: &raw const slot as u64,
        ..NotifierRegister::default()
    };
    let (arg, bytes) = (&raw const register as u64, size_of_val(&register) as u32);
    // SAFETY: both live through the call.
    unsafe { rig.register(RINGWIRE_REGISTER_NOTIFIERS, arg, bytes) };
}

/// Connects the socket of a rig.
fn connect(rig: &mut dyn Rig) {
    let slot = types::DestinationSlot::try_from_slot_target(SOCKET.0).expect("a slot");
    let socket = opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0);
    let name = (&raw const GROUP).cast();
    let len = size_of_val(&GROUP) as u32;
    for entry in [
        socket.file_index(Some(slot)).build(),
        opcode::Connect::new(SOCKET, name, len).build(),
    ] {
        // SAFETY: it points at a static.
        unsafe { rig.push(&entry) };
        rig.enter(1);
        rig.each(&mut |cqe| assert_eq!(cqe.result(), 0, "{cqe:?}"));
    }
}

/// What a sender of so many bytes sends from: in slots, or in a row.
fn layout(bytes: usize) -> AreaLayout {
    match bytes <= LONGEST_SLOT {
        true => AreaLayout::Slots {
            count: PLACES as u32,
            payload_bytes: bytes as u32,
        },
        false => AreaLayout::Plain(PLACES * bytes),
    }
}

/// The payloads of such memory, touched, so that it is memory.
fn places(mut areas: Vec<Area>, bytes: usize) -> (Vec<Area>, Vec<*const u8>) {
    areas.iter_mut().for_each(|area| area.fill(7));
    let places = match &areas[..] {
        [row] => row.chunks(bytes).map(<[u8]>::as_ptr).collect(),
        slots => slots.iter().map(|slot| slot.as_ptr()).collect(),
    };
    (areas, places)
}

/// An engine in memory. What it sends is taken at once.
pub struct Memory {
    engines: Engines,
    /// Keeps what `places` points into.
    _areas: Vec<Area>,
    pub places: Vec<*const u8>,
}

impl Memory {
    pub fn new(bytes: usize) -> Memory {
        let engines = Engines::with(&Setup {
            mtu: MTU,
            areas: vec![layout(bytes)],
            ..Setup::default()
        });
        let areas = match layout(bytes) {
            AreaLayout::Slots { .. } => engines.a.slots(0),
            AreaLayout::Plain(_) => vec![engines.a.area(0)],
        };
        let (areas, places) = places(areas, bytes);
        let mut memory = Memory {
            engines,
            _areas: areas,
            places,
        };
        connect(&mut memory);
        memory
    }
}

impl Rig for Memory {
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller's promise.
        unsafe { self.engines.a.push(entry) };
    }

    fn enter(&mut self, want: usize) {
        loop {
            self.engines.turn_first();
            self.engines.drop_from_first();
            if self.engines.a.engine.completions_ready() as usize >= want {
                return;
            }
        }
    }

    fn each(&mut self, each: &mut dyn FnMut(cqueue::Entry)) {
        self.engines.a.engine.completion().for_each(each);
    }

    unsafe fn register(&mut self, opcode: u32, arg: u64, nr: u32) {
        // SAFETY: the caller's promise.
        unsafe { self.engines.a.engine.register(opcode, arg, nr) }.expect("a registration");
    }
}

/// A ring over veth. The peer drops what it receives.
pub struct Wire {
    ring: IoUring,
    _areas: Vec<Area>,
    pub places: Vec<*const u8>,
    _sink: Sink,
    _veth: Veth,
}

impl Wire {
    pub fn new(bytes: usize) -> Wire {
        let veth = Veth::new(1, MTU.into(), false);
        let sink = veth.in_peer(|| {
            let peer = ringwire_xsk::Interface::by_name("rw1").expect("the peer's interface");
            Sink::attach(peer.index).expect("an XDP program")
        });
        let ring = veth.in_ring(|| {
            let mut builder = IoUring::builder();
            match layout(bytes) {
                AreaLayout::Slots {
                    count,
                    payload_bytes,
                } => builder.registered_slots(count, payload_bytes),
                AreaLayout::Plain(bytes) => builder.registered_area(bytes),
            };
            builder
                .interface(RING_INTERFACE)
                .address(format!("{RING_V4}/24").parse().expect("an address"))
                .detect_duplicates(false)
                .build(ENTRIES)
                .expect("a ring")
        });
        let files = ring.submitter().register_files_sparse(4);
        files.expect("a table");
        let areas = match layout(bytes) {
            AreaLayout::Slots { .. } => ring.take_slots(0),
            AreaLayout::Plain(_) => ring.take_area(0).map(|area| vec![area]),
        };
        let (areas, places) = places(areas.expect("memory"), bytes);
        let mut wire = Wire {
            ring,
            _areas: areas,
            places,
            _sink: sink,
            _veth: veth,
        };
        connect(&mut wire);
        wire
    }
}

impl Rig for Wire {
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller's promise.
        unsafe { self.ring.submission().push(entry) }.expect("room in the queue");
    }

    fn enter(&mut self, want: usize) {
        self.ring.submit_and_wait(want).expect("an enter");
    }

    fn each(&mut self, each: &mut dyn FnMut(cqueue::Entry)) {
        self.ring.completion().for_each(each);
    }

    unsafe fn register(&mut self, opcode: u32, arg: u64, nr: u32) {
        // SAFETY: the caller's promise.
        unsafe { self.ring.submitter().register(opcode, arg as *const _, nr) }
            .expect("a registration");
    }
}

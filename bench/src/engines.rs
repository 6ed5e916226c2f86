//! Two engines in memory, with the kernel's side of their rings between them: requests, and all that is
//! below them, without a NIC.

use std::sync::Arc;
use std::time::Duration;

use ringwire::engine::{Engine, EngineConfig, Port};
use ringwire::{cqueue, opcode, squeue, types};
use ringwire_abi::register::{IORING_REGISTER_FILES2, IORING_RSRC_REGISTER_SPARSE, RsrcRegister};
use ringwire_stack::{Config, DadConfig, Instant, PlanLimits, RxChecksum, Stack, TxChecksum};
use ringwire_umem::{Layout, Ledger, Pool, Umem};
use ringwire_xsk::{Consumer, Desc, Producer, Rings, pair};

use crate::wire;

/// The first host's address; the second has the next one.
pub const ADDRESS: [u8; 4] = [10, 0, 0, 1];
const ENTRIES: u32 = 256;
const START: Instant = Instant::from_nanos(1_000_000_000);
/// What a turn takes on the engines' clock.
const TURN: Duration = Duration::from_micros(100);
/// Slots of direct descriptors.
const SLOTS: u32 = 16;

/// Nobody is to be kicked: the wire looks by itself.
#[derive(Debug)]
struct Wire;

impl Port for Wire {
    fn kick_tx(&mut self, _: u16) {}
    fn kick_rx(&mut self, _: u16) {}
    fn clock(&self, _: libc::clockid_t) -> Duration {
        Duration::ZERO
    }
}

/// The kernel's side of an engine's rings.
struct Nic {
    umem: Arc<Umem>,
    fill: Consumer<u64>,
    completion: Producer<u64>,
    rx: Producer<Desc>,
    tx: Consumer<Desc>,
}

impl Nic {
    /// Carries what this one sends to the other one.
    fn carry(&mut self, other: &mut Nic) {
        while other.fill.available() > 0
            && let Some(sent) = self.tx.pop()
        {
            let addr = other.fill.pop().expect("there was one");
            // SAFETY: the ledgers checked both spans when they gave them out; a chunk that is described
            // or filled is the NIC's, which is this code, and the UMEMs are different mappings.
            let (from, to) = unsafe {
                let from = self.umem.as_ptr().add(sent.addr as usize);
                let to = other.umem.as_ptr().add(addr as usize);
                let len = sent.len as usize;
                (
                    std::slice::from_raw_parts(from, len),
                    std::slice::from_raw_parts_mut(to, len),
                )
            };
            wire::carry(from, to);
            let received = Desc { addr, ..sent };
            other
                .rx
                .push(received)
                .expect("room for all that is filled");
            self.completion
                .push(sent.addr)
                .expect("room for all that is sent");
        }
        self.tx.release();
        self.completion.publish();
        other.fill.release();
        other.rx.publish();
    }
}

/// An engine and its NIC.
pub struct End {
    /// The engine.
    pub engine: Engine,
    nic: Nic,
}

impl End {
    fn new(last: u8) -> End {
        let layout = Layout {
            chunk_bytes: 4096,
            rx_chunks: 2 * ENTRIES,
            header_chunks: 64,
            send_chunks: 512,
            lend_reserve_chunks: 64,
            areas: vec![],
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
        let nic = Nic {
            umem: Arc::clone(ledger.umem()),
            fill: nic_fill,
            completion: nic_completion,
            rx: nic_rx,
            tx: nic_tx,
        };
        let rings = Rings {
            fill,
            completion,
            rx,
            tx,
        };
        let config = Config {
            mac: [2, 0, 0, 0, 0, last],
            mtu: 1500,
            plan: PlanLimits::SCATTER,
            queues: 1,
            addresses: vec![format!("10.0.0.{last}/24").parse().expect("an address")],
            gateways: vec![],
            rx_checksum: RxChecksum::Trust,
            tx_checksum: TxChecksum::Omit,
            dad: DadConfig::OFF,
        };
        let stack = Stack::new(START, config, &ledger, [last.into(), 2, 3]);
        let config = EngineConfig {
            sq_entries: ENTRIES,
            cq_entries: 2 * ENTRIES,
            setup_flags: 0,
        };
        let mut engine = Engine::new(START, config, ledger, stack, vec![rings], Box::new(Wire));
        let table = RsrcRegister {
            nr: SLOTS,
            flags: IORING_RSRC_REGISTER_SPARSE,
            ..RsrcRegister::default()
        };
        let bytes = size_of::<RsrcRegister>() as u32;
        // SAFETY: the argument lives through the call, and points nowhere.
        unsafe { engine.register(IORING_REGISTER_FILES2, &raw const table as u64, bytes) }
            .expect("a table of direct descriptors");
        End { engine, nic }
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

    /// Submits what is queued and takes a turn, as `IoUring::submit` does.
    fn enter(&mut self, now: Instant) {
        self.engine.submit(now, ENTRIES);
        self.engine.turn(now);
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
        Engines {
            a: End::new(1),
            b: End::new(2),
            now: START,
        }
    }

    /// Both submit what is queued and take a turn; then the wire moves.
    pub fn turn(&mut self) {
        self.now = self.now + TURN;
        self.a.enter(self.now);
        self.b.enter(self.now);
        self.a.nic.carry(&mut self.b.nic);
        self.b.nic.carry(&mut self.a.nic);
    }

    /// As [`turn`](Self::turn), at the first end alone.
    pub fn turn_first(&mut self) {
        self.now = self.now + TURN;
        self.a.enter(self.now);
    }

    /// Takes turns until an end has so many completions; hands them on.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait(&mut self, end: Which, want: u32, mut each: impl FnMut(cqueue::Entry)) {
        for _ in 0..100_000 {
            if end(self).engine.completions_ready() >= want {
                end(self).engine.completion().for_each(&mut each);
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

    /// A connection from slot 0 of the first to slot 0 of the second, whose listener has slot 1.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn connect_streams(&mut self) {
        let to = address(2, 80);
        let bind = address(2, 80);
        let run = |engines: &mut Engines, end: Which, entry| {
            // SAFETY: the addresses live as long as the requests.
            let res = unsafe { engines.run(end, &entry) };
            assert!(res >= 0, "{res}");
        };
        run(self, second, socket(1, libc::SOCK_STREAM));
        run(self, second, bind_entry(1, &bind));
        run(
            self,
            second,
            opcode::Listen::new(types::Fixed(1), 4).build(),
        );
        run(self, first, socket(0, libc::SOCK_STREAM));
        // Else each small segment would wait for the delayed acknowledgement of the one before.
        let on = 1i32;
        let (level, name) = (libc::IPPROTO_TCP as u32, libc::TCP_NODELAY as u32);
        let value = (&raw const on).cast();
        let no_delay = opcode::SetSockOpt::new(types::Fixed(0), level, name, value, 4).build();
        run(self, first, no_delay);
        let connect = opcode::Connect::new(types::Fixed(0), (&raw const to).cast(), 16).build();
        run(self, first, connect);
        let slot = types::DestinationSlot::try_from_slot_target(0).expect("a slot");
        let accept =
            opcode::Accept::new(types::Fixed(1), std::ptr::null_mut(), std::ptr::null_mut())
                .file_index(Some(slot))
                .build();
        run(self, second, accept);
    }

    /// UDP sockets in slot 2 of both, bound to port 90 and connected to each other.
    ///
    /// # Panics
    /// If they cannot be made.
    pub fn connect_datagrams(&mut self) {
        let ends: [(Which, u8, u8); 2] = [(first, 1, 2), (second, 2, 1)];
        for (end, own, peer) in ends {
            let (own, peer) = (address(own, 90), address(peer, 90));
            let connect = opcode::Connect::new(types::Fixed(2), (&raw const peer).cast(), 16);
            for entry in [
                socket(2, libc::SOCK_DGRAM),
                bind_entry(2, &own),
                connect.build(),
            ] {
                // SAFETY: the addresses live as long as the requests.
                let res = unsafe { self.run(end, &entry) };
                assert!(res >= 0, "{res}");
            }
        }
    }
}

/// The end with 10.0.0.1.
pub fn first(engines: &mut Engines) -> &mut End {
    &mut engines.a
}

/// The end with 10.0.0.2.
pub fn second(engines: &mut Engines) -> &mut End {
    &mut engines.b
}

fn address(last: u8, port: u16) -> libc::sockaddr_in {
    let [a, b, c, _] = ADDRESS;
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([a, b, c, last]),
        },
        sin_zero: [0; 8],
    }
}

fn socket(slot: u32, kind: i32) -> squeue::Entry {
    let slot = types::DestinationSlot::try_from_slot_target(slot).expect("a slot");
    opcode::Socket::new(libc::AF_INET, kind, 0)
        .file_index(Some(slot))
        .build()
}

fn bind_entry(slot: u32, address: &libc::sockaddr_in) -> squeue::Entry {
    opcode::Bind::new(types::Fixed(slot), std::ptr::from_ref(address).cast(), 16).build()
}

//! An engine on no network, for the tests of what needs none.

use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue;
use ringwire_abi::errno::Errno;
use ringwire_abi::register::{IORING_REGISTER_FILES2, IORING_RSRC_REGISTER_SPARSE, RsrcRegister};
use ringwire_stack::{Config, DadConfig, Instant, PlanLimits, RxChecksum, Stack, TxChecksum};
use ringwire_umem::{AreaLayout, Layout, Ledger, Umem};
use ringwire_xsk::{Consumer, Desc, Producer, Rings, pair};

use super::{Engine, EngineConfig, Port};

/// Entries of both queues, and of the NIC's rings.
pub(crate) const ENTRIES: u32 = 16;

#[derive(Debug)]
struct Nowhere;

impl Port for Nowhere {
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

pub(crate) struct Bed {
    pub(crate) engine: Engine,
    far: Far,
}

/// The far side of the rings.
struct Far {
    fill: Consumer<u64>,
    rx: Producer<Desc>,
    tx: Consumer<Desc>,
    completion: Producer<u64>,
}

fn both_ends() -> (Rings, Far) {
    let (near_fill, fill) = pair(ENTRIES);
    let (rx, near_rx) = pair(ENTRIES);
    let (near_tx, tx) = pair(ENTRIES);
    let (completion, near_completion) = pair(ENTRIES);
    let near = Rings {
        fill: near_fill,
        completion: near_completion,
        rx: near_rx,
        tx: near_tx,
    };
    let far = Far {
        fill,
        rx,
        tx,
        completion,
    };
    (near, far)
}

/// The Ethernet address of the engine's end.
pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Bytes that the kernel leaves free in front of what it received (`XDP_PACKET_HEADROOM`).
const KERNEL_HEADROOM: usize = 256;

impl Bed {
    pub(crate) fn new(setup_flags: u32) -> Bed {
        Bed::with_areas(setup_flags, vec![])
    }

    /// One with registered areas.
    pub(crate) fn with_areas(setup_flags: u32, areas: Vec<AreaLayout>) -> Bed {
        Bed::with_addresses(setup_flags, areas, &["10.0.0.1/24"])
    }

    /// One with registered areas and these addresses.
    pub(crate) fn with_addresses(
        setup_flags: u32,
        areas: Vec<AreaLayout>,
        addresses: &[&str],
    ) -> Bed {
        let layout = Layout {
            chunk_bytes: 4096,
            rx_chunks: 2 * ENTRIES,
            header_chunks: 16,
            send_chunks: 128,
            lend_reserve_chunks: 4,
            areas,
        };
        let ledger = Ledger::new(Umem::new(layout).expect("memory for the engine"));
        let (rings, far) = both_ends();
        let config = Config {
            mac: MAC,
            mtu: 1500,
            plan: PlanLimits::SCATTER,
            queues: 1,
            addresses: addresses
                .iter()
                .map(|cidr| cidr.parse().expect("an address with a prefix"))
                .collect(),
            gateways: vec![],
            rx_checksum: RxChecksum::Verify,
            tx_checksum: TxChecksum::Compute,
            dad: DadConfig::OFF,
        };
        let now = Instant::ZERO;
        let stack = Stack::new(now, config, &ledger, [1; 3]);
        let config = EngineConfig {
            sq_entries: ENTRIES,
            cq_entries: ENTRIES,
            setup_flags,
        };
        let engine = Engine::new(now, config, ledger, stack, vec![rings], Box::new(Nowhere));
        Bed { engine, far }
    }

    /// The near ends of new rings, whose far ends are the bed's from now on.
    pub(crate) fn new_rings(&mut self) -> Rings {
        let (rings, far) = both_ends();
        self.far = far;
        rings
    }

    /// Puts chunks into the fill ring of rings that the engine is to have.
    pub(crate) fn fill(mut rings: Rings, chunks: &[u64]) -> Rings {
        for &addr in chunks {
            rings.fill.push(addr).expect("room in the fill ring");
        }
        rings.fill.publish();
        rings
    }

    /// One with a table of so many direct descriptors.
    pub(crate) fn with_slots(slots: u32) -> Bed {
        let mut bed = Bed::new(0);
        bed.add_slots(slots);
        bed
    }

    /// Makes a table of so many direct descriptors.
    pub(crate) fn add_slots(&mut self, slots: u32) {
        let table = RsrcRegister {
            nr: slots,
            flags: IORING_RSRC_REGISTER_SPARSE,
            ..RsrcRegister::default()
        };
        self.register(IORING_REGISTER_FILES2, table, size_of_val(&table) as u32)
            .expect("a table");
    }

    /// What the NIC was given to send since the last time.
    pub(crate) fn sent(&mut self) -> Vec<Desc> {
        let sent = std::iter::from_fn(|| self.far.tx.pop()).collect();
        self.far.tx.release();
        sent
    }

    /// Has the NIC report descriptors as sent, for the next turn.
    pub(crate) fn report_sent(&mut self, sent: &[Desc]) {
        for descriptor in sent {
            let pushed = self.far.completion.push(descriptor.addr);
            pushed.expect("room in the completion ring");
        }
        self.far.completion.publish();
    }

    /// Has the NIC ask to be woken for what it is to send, and for what it is to receive into.
    pub(crate) fn ask_for_wakeups(&self, to_send: bool, to_receive: bool) {
        self.far.tx.set_needs_wakeup(to_send);
        self.far.fill.set_needs_wakeup(to_receive);
    }

    /// Has the NIC receive a frame, in pieces of at most so many bytes, and takes a turn.
    pub(crate) fn receive(&mut self, frame: &[u8], piece_bytes: usize) {
        self.arrive(frame, piece_bytes);
        self.engine.turn(Instant::ZERO);
    }

    /// Has the NIC receive a frame.
    pub(crate) fn arrive(&mut self, frame: &[u8], piece_bytes: usize) {
        let umem = Arc::clone(self.engine.ledger.umem());
        let mut pieces = frame.chunks(piece_bytes).peekable();
        while let Some(piece) = pieces.next() {
            assert!(self.far.fill.available() > 0, "a chunk in the fill ring");
            let addr = self.far.fill.pop().expect("a chunk") + KERNEL_HEADROOM as u64;
            // SAFETY: a chunk in the fill ring is the kernel's to write to, whose part this plays, and the
            // piece fits into one.
            unsafe {
                let to = umem.as_ptr().add(addr as usize);
                std::ptr::copy_nonoverlapping(piece.as_ptr(), to, piece.len());
            }
            let options = if pieces.peek().is_some() {
                Desc::CONTINUED
            } else {
                0
            };
            let len = piece.len() as u32;
            let pushed = self.far.rx.push(Desc { addr, len, options });
            pushed.expect("room in the RX ring");
        }
        self.far.fill.release();
        self.far.rx.publish();
    }

    /// io_uring_register(2) with this structure.
    pub(crate) fn register<T>(&mut self, opcode: u32, mut arg: T, nr: u32) -> Result<i32, Errno> {
        self.register_at(opcode, &raw mut arg as u64, nr)
    }

    /// io_uring_register(2) with this argument; what it points at lives in the test.
    pub(crate) fn register_at(&mut self, opcode: u32, arg: u64, nr: u32) -> Result<i32, Errno> {
        // SAFETY: the tests pass what their opcodes take, and leak what stays registered.
        unsafe { self.engine.register(opcode, arg, nr) }
    }

    /// Submits one entry and takes the completions that are there then.
    pub(crate) fn run(&mut self, entry: squeue::Entry) -> Vec<(u64, i32, u32)> {
        self.push(entry);
        self.engine.submit(Instant::ZERO, 1);
        self.completions()
    }

    /// Queues an entry.
    pub(crate) fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: the tests' entries point at what lives in the test, or at nothing.
        unsafe { self.engine.submission().push(&entry) }.expect("room in the queue");
    }

    pub(crate) fn completions(&mut self) -> Vec<(u64, i32, u32)> {
        let completions = self.engine.completion();
        completions
            .map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags()))
            .collect()
    }
}

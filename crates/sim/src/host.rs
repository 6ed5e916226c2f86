//! A host with ringwire: the engine, the application on its queues, and the kernel on the far side of
//! its rings.

use std::sync::Arc;

use ringwire::engine::{Engine, EngineConfig};
use ringwire_abi::flags::IORING_SETUP_CQE_MIXED;
use ringwire_abi::register::{IORING_REGISTER_FILES2, IORING_RSRC_REGISTER_SPARSE, RsrcRegister};
use ringwire_stack::{
    DadConfig, Instant, METADATA_BYTES, PlanLimits, RxChecksum, Stack, TxChecksum,
};
use ringwire_umem::{Layout, Ledger, Pool, Umem};
use ringwire_xsk::TxMetadata;

use crate::areas::{self, Areas};
use crate::beside::Beside;
use crate::client::{self, Client};
use crate::config::{Address, Faults, Shape};
use crate::coverage::Coverage;
use crate::hostile::Hostile;
use crate::kernel::{Kicks, Queue, SimPort};
use crate::lending::{self, Lending, Manner, setup_flags};
use crate::loans::Acknowledgements;
use crate::nic::Nic;
use crate::numbers::Numbers;
use crate::pieces;
use crate::random::Random;
use crate::registered;
use crate::requests::{Purpose, Requests};
use crate::server::{self, Server};
use crate::slots::Slots;

mod completions;

/// Direct descriptors; those behind the application's own are for requests that are none of its own.
const SLOTS: u32 = 24;
/// Registered buffers; as above.
const REGISTERED: u32 = 8;

pub(crate) enum Role {
    Server(Box<Server>),
    Client(Box<Client>),
}

pub(crate) struct Host {
    engine: Engine,
    pub(crate) requests: Requests,
    pub(crate) role: Role,
    hostile: Hostile,
    nic: Nic,
    acknowledgements: Acknowledgements,
    /// The kernel, if the addresses are its.
    beside: Option<Beside>,
    chunks: u32,
    /// Those of the registered areas.
    registered: u32,
    /// Completions have 32 bytes.
    big: bool,
    pub(crate) completions: u64,
    /// The ring is gone but for what is queued.
    leaving: bool,
    violation: Option<String>,
}

/// What of a host the network sees.
pub(crate) struct HostConfig<'a> {
    pub(crate) seed: u64,
    pub(crate) address: &'a Address,
    pub(crate) mtu: u16,
    pub(crate) shape: Shape,
    /// Whether the host's streams may be in the way of the server's clients: smoltcp has no backlog.
    pub(crate) may_crowd: bool,
    /// Whether its Ethernet address may change: smoltcp keeps the old one for a minute.
    pub(crate) may_move: bool,
    /// Whether its NIC may keep some of what it sends for good.
    pub(crate) resets: bool,
}

impl Role {
    fn areas(&mut self) -> &mut Areas {
        match self {
            Role::Server(server) => server.areas(),
            Role::Client(client) => client.areas(),
        }
    }
}

impl Host {
    pub(crate) fn server(now: Instant, config: &HostConfig<'_>) -> Host {
        let role = |engine: &mut Engine, requests: &mut Requests, lending| {
            Role::Server(Box::new(Server::new(engine, requests, lending)))
        };
        Host::new(now, config, server::SLOTS_END, role)
    }

    /// A client whose server takes datagrams of so many bytes.
    pub(crate) fn client(now: Instant, config: &HostConfig<'_>, most_bytes: u64) -> Host {
        let role = |engine: &mut Engine, requests: &mut Requests, lending| {
            let manner = (most_bytes, config.shape.shared);
            Role::Client(Box::new(Client::new(engine, requests, lending, manner)))
        };
        Host::new(now, config, client::SLOTS_END, role)
    }

    fn new(
        now: Instant,
        config: &HostConfig<'_>,
        first_slot: u32,
        role: impl FnOnce(&mut Engine, &mut Requests, Lending) -> Role,
    ) -> Host {
        let Shape {
            queues: queue_count,
            ring_entries,
            cq_entries,
            ..
        } = config.shape;
        let mut ledger =
            Ledger::new(Umem::new(layout(config.shape)).expect("memory for the engine"));
        let (mut queues, mut rings) = (Vec::new(), Vec::new());
        for index in 0..queue_count {
            let fill = |_| {
                let frame = ledger.alloc(Pool::Rx);
                let frame = frame.expect("twice as many chunks as the rings hold");
                ledger.post_fill(frame, index)
            };
            let filled: Vec<u64> = (0..ring_entries).map(fill).collect();
            let (mut queue, ring) = Queue::new(Arc::clone(ledger.umem()), ring_entries, &filled);
            queue.writes_checksums = config.shape.offload;
            queues.push(queue);
            rings.push(ring);
        }
        let shared = config.shape.shared;
        let beside = shared.then(|| Beside::new(now, config));
        let (stack_config, random) = (stack_config(config), [config.seed; 3]);
        let stack = match &beside {
            None => Stack::new(now, stack_config, &ledger, random),
            Some(beside) => Stack::beside(now, stack_config, beside.kernel(), &ledger, random),
        };
        let (chunks, registered) = (ledger.census().total(), ledger.census().app);
        let engine_config = EngineConfig {
            sq_entries: 64,
            cq_entries,
            setup_flags: setup_flags(config.shape),
        };
        let kicks = Arc::new(Kicks::default());
        let umem = Arc::clone(ledger.umem());
        let mut nic = Nic::new(&umem, queues, Arc::clone(&kicks));
        if shared {
            nic.watch();
        }
        let port = Box::new(SimPort(kicks));
        let mut engine = Engine::new(now, engine_config, ledger, stack, rings, port);
        let table = RsrcRegister {
            nr: SLOTS,
            flags: IORING_RSRC_REGISTER_SPARSE,
            ..RsrcRegister::default()
        };
        let bytes = size_of::<RsrcRegister>() as u32;
        // SAFETY: the argument lives through the call, and points nowhere.
        unsafe { engine.register(IORING_REGISTER_FILES2, &raw const table as u64, bytes) }
            .expect("a table of direct descriptors");
        registered::table(&mut engine, REGISTERED);
        let mut requests = Requests::default();
        let numbers = || Numbers::new(Random::new(config.seed.rotate_left(24)));
        requests.numbers = config.shape.numbers.then(numbers);
        let lending = Lending::new(&mut engine, &umem, config.shape, config.seed);
        let registered_slots = register_slots(&mut engine, &mut requests, config);
        Host {
            role: role(&mut engine, &mut requests, lending),
            hostile: Hostile::new(&mut engine, first_slot..SLOTS, config.may_crowd),
            engine,
            requests,
            nic,
            acknowledgements: Acknowledgements::default(),
            beside,
            chunks,
            registered,
            big: config.shape.big_completions != 0,
            completions: 0,
            leaving: false,
            violation: registered_slots.err(),
        }
    }

    /// Receives a packet; `false` if it was dropped, as a NIC does with a full ring.
    pub(crate) fn receive(&mut self, frame: &[u8], random: &mut Random) -> bool {
        let beside = self.beside.as_ref();
        if beside.is_some_and(|beside| !beside.steers(frame)) {
            return true;
        }
        let taken = self.nic.receive(frame, random);
        if taken {
            self.acknowledgements.received(frame);
            if let Some(beside) = &self.beside {
                beside.taken(frame);
            }
        }
        taken
    }

    /// The Ethernet address that it has now, if its kernel may change it.
    pub(crate) fn mac(&self) -> Option<[u8; 6]> {
        self.beside.as_ref().map(Beside::mac)
    }

    /// The kernel beside the ring has its turn; returns what it sends.
    fn step_beside(
        &mut self,
        now: Instant,
        faults: &Faults,
        coverage: &mut Coverage,
    ) -> Vec<Vec<u8>> {
        let beside = self.beside.as_ref();
        beside.map_or(Vec::new(), |beside| {
            beside.step(now, faults.beside, coverage)
        })
    }

    /// What the ring did beside the kernel must be right.
    fn look_beside(&mut self) {
        let Some(beside) = &self.beside else {
            return;
        };
        beside.posted(&self.nic.posted(), self.nic.had_room());
        if let Role::Client(client) = &self.role {
            client.bound_ports().for_each(|port| beside.uses(port));
        }
        if let Some(violation) = beside.violation() {
            self.violates(violation);
        }
    }

    /// A chunk that was filled never comes back.
    pub(crate) fn steal(&mut self) {
        self.nic.steal();
    }

    /// The application, the engine and the kernel do something; returns what goes out.
    pub(crate) fn step(
        &mut self,
        now: Instant,
        faults: &Faults,
        random: &mut Random,
        coverage: &mut Coverage,
    ) -> Vec<Vec<u8>> {
        let mut sent = self.step_beside(now, faults, coverage);
        if self.leaving {
            self.engine.drain(now);
            coverage.described_at_exit += self.look_at_descriptors();
            self.look_beside();
            sent.extend(self.nic.step(faults, random, coverage));
            return sent;
        }
        let requests = &mut self.requests;
        if faults.hostile && random.chance(300) {
            coverage.hostile_requests += self.hostile.step(requests, random);
        }
        match &mut self.role {
            Role::Server(server) => server.step(requests, Manner::new(faults)),
            Role::Client(client) => client.step(requests, random, Manner::new(faults)),
        }
        self.requests.flush_slots();
        self.requests.receive_numbers();
        if let Some(send) = self.role.areas().pieces.take_wrong() {
            self.requests.push(send, Purpose::WrongPiece);
        }
        self.submit();
        self.engine_turn(now);
        self.renew_slots(coverage);
        self.look_at_descriptors();
        self.look_beside();
        // A slow application leaves its completions where they are, now and then.
        if random.chance(900) {
            self.take(coverage);
        }
        if let Role::Client(client) = &mut self.role
            && random.chance(faults.spoiling)
        {
            coverage.spoiled += client.spoil();
        }
        if random.chance(faults.device_reset) {
            let lost = self.nic.reset(random);
            coverage.lost_descriptors += lost.len() as u64;
            self.requests.give_up(&lost);
        }
        let packets = self.nic.step(faults, random, coverage);
        for packet in &packets {
            self.acknowledgements.sent(packet);
        }
        sent.extend(packets);
        sent
    }

    fn submit(&mut self) {
        let mut queue = self.engine.submission();
        while let Some(entry) = self.requests.front() {
            // SAFETY: what the entries name is the application's, which lives as long as the engine, or
            // lies in the first page.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.requests.pop_front();
        }
    }

    fn engine_turn(&mut self, now: Instant) {
        let count = self.engine.submission().len() as u32;
        self.engine.submit(now, count);
        self.engine.turn(now);
        self.engine.flush_overflow();
    }

    /// Registers all slots again, now and then, while nothing waits to be issued.
    fn renew_slots(&mut self, coverage: &mut Coverage) {
        let nothing_waits = self.requests.front().is_none() && self.engine.submission().is_empty();
        let slots = self.requests.slots.as_mut().filter(|_| nothing_waits);
        match slots.map(|slots| slots.renew(&mut self.engine)) {
            Some(Ok(renewed)) => coverage.slots_renewed += u64::from(renewed),
            Some(Err(violation)) => self.violates(violation),
            None => {}
        }
    }

    /// What the engine has handed over must not lie in memory that is the application's again. Returns how much lies
    /// in the areas.
    fn look_at_descriptors(&mut self) -> u64 {
        let described = self.nic.after_turn();
        if let Some(at) = self.role.areas().first_not_lent(&described) {
            self.violates(format!(
                "the NIC is to read {at:#x}, which is the application's: {described:x?}"
            ));
        }
        described.len() as u64
    }

    fn violates(&mut self, violation: String) {
        self.violation.get_or_insert(violation);
    }

    /// Numbers that must still be told.
    pub(crate) fn untold_numbers(&self) -> usize {
        self.requests.numbers.as_ref().map_or(0, Numbers::untold)
    }

    /// Numbers that were lost with the sockets that gave them.
    pub(crate) fn forgone_numbers(&self) -> u64 {
        self.requests.numbers.as_ref().map_or(0, |it| it.forgone)
    }

    /// The hostile requests end: what they opened is closed.
    pub(crate) fn calm(&mut self) {
        self.beside.iter().for_each(Beside::calm);
        if let Some(numbers) = &mut self.requests.numbers {
            numbers.calm();
        }
        let in_use = |slot| match &self.role {
            Role::Server(server) => server.uses(slot),
            Role::Client(client) => client.uses(slot),
        };
        self.hostile.retire(&mut self.requests, in_use);
    }

    /// Ends everything: cancels what waits, and closes every slot.
    pub(crate) fn finish(&mut self) {
        self.beside.iter().for_each(Beside::end);
        match &mut self.role {
            Role::Server(server) => server.finish(),
            Role::Client(client) => client.finish(),
        }
        self.requests.end_slots();
        self.cancel_all();
        for slot in 0..SLOTS {
            let close = io_uring::opcode::Close::new(io_uring::types::Fixed(slot));
            self.requests.push(close.build(), Purpose::Quiet);
        }
    }

    pub(crate) fn cancel_all(&mut self) {
        let any = io_uring::types::CancelBuilder::any();
        let cancel = io_uring::opcode::AsyncCancel2::new(any).build();
        self.requests.push(cancel, Purpose::Quiet);
    }

    /// The ring is dropped: no request is served any more, but what is queued goes out.
    pub(crate) fn leave(&mut self, now: Instant) {
        // What was promised back by now is the application's.
        self.take(&mut Coverage::default());
        self.leaving = true;
        self.beside.iter().for_each(Beside::end);
        self.engine.hang_up(now);
    }

    /// Nobody waits for what is left.
    pub(crate) fn reset_all(&mut self, now: Instant) {
        self.engine.reset_all(now);
    }

    /// What the application was lent.
    pub(crate) fn lent(&self) -> lending::Lent {
        match &self.role {
            Role::Server(server) => server.lent(),
            Role::Client(client) => client.lent(),
        }
    }

    /// What its sends took of provided registered buffers.
    pub(crate) fn pieces(&mut self) -> pieces::Counts {
        self.role.areas().pieces.counts
    }

    /// Requests of nobody's that succeeded.
    pub(crate) fn hostile_successes(&self) -> u64 {
        self.hostile.succeeded
    }

    /// What must hold after every step.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        let census = self.engine.census();
        if census.total() != self.chunks {
            return Err(format!(
                "frames are not conserved: {census:?} of {}",
                self.chunks
            ));
        }
        let counters = self.engine.nic_counters();
        let wrong = self.nic.wrong_completions();
        if counters.bad_rx_descriptors > 0 || counters.bad_tx_completions != wrong {
            return Err(format!(
                "the engine and the kernel disagree about a chunk: {wrong} wrong completions, {counters:?}"
            ));
        }
        let lent = self.lent();
        let counters = self.engine.counters();
        if !self.leaving
            && (counters.bad_lent_bids, counters.bad_refills) != (lent.bad_ids, lent.bad_places)
        {
            return Err(format!(
                "of what was given back the engine knows other faults: {lent:?}, {counters:?}"
            ));
        }
        let of_role = match &mut self.role {
            Role::Server(server) => server.violation.take(),
            Role::Client(client) => client.tally.violation.take(),
        };
        self.violation.take().or(of_role).map_or(Ok(()), Err)
    }

    /// No request pends, nothing is owed to the application, and no chunk is anywhere but in its pool or a fill ring,
    /// or with a NIC that keeps it.
    pub(crate) fn is_at_rest(&self) -> bool {
        let census = self.engine.census();
        self.nic.is_at_rest(&census)
            && census.app == self.registered
            && self.engine.pending_requests() == 0
            // A connection that is closed may have memory of the application's only.
            && self.requests.unanswered() == 0
            && self.beside.as_ref().is_none_or(Beside::is_at_rest)
    }

    /// What must hold once everything is closed and at rest.
    pub(crate) fn check_end(&mut self) -> Result<(), String> {
        self.take(&mut Coverage::default());
        let census = self.engine.census();
        let in_rings = self.nic.held();
        if in_rings != census.fill {
            return Err(format!(
                "the kernel has {in_rings} chunks, but the ledger says {}",
                census.fill
            ));
        }
        match self.requests.unanswered() {
            0 => Ok(()),
            count => Err(format!("{count} requests never completed")),
        }
    }

    /// Where things stand, for a violation's text.
    pub(crate) fn state(&self) -> String {
        let pending = self.engine.pending_requests();
        let owed = self.requests.unanswered();
        let census = self.engine.census();
        let held = self.beside.as_ref().map_or(String::new(), Beside::held);
        format!("{census:?}, {pending} requests pend, {owed} are owed an answer; {held}")
    }
}

/// Registers notification slots, if the application uses any and its ring can have them.
fn register_slots(
    engine: &mut Engine,
    requests: &mut Requests,
    config: &HostConfig<'_>,
) -> Result<(), String> {
    if !config.shape.slots {
        return Ok(());
    }
    let random = Random::new(config.seed.rotate_left(16));
    let mut slots = Slots::new(config.resets, random);
    let mixed = config.shape.big_completions == IORING_SETUP_CQE_MIXED;
    slots.register(engine, mixed)?;
    requests.slots = slots.are_registered().then_some(slots);
    Ok(())
}

fn layout(shape: Shape) -> Layout {
    let rx_chunks = 2 * shape.ring_entries * u32::from(shape.queues);
    Layout {
        chunk_bytes: 4096,
        rx_chunks,
        header_chunks: shape.header_chunks,
        send_chunks: shape.send_chunks,
        lend_reserve_chunks: rx_chunks / 8,
        areas: areas::layout(shape),
    }
}

fn stack_config(config: &HostConfig<'_>) -> ringwire_stack::Config {
    let cidr = |ip: std::net::IpAddr, prefix: u8| {
        let cidr = format!("{ip}/{prefix}").parse();
        cidr.expect("an address with a prefix")
    };
    let offload = config.shape.offload;
    ringwire_stack::Config {
        mac: config.address.mac,
        mtu: config.mtu,
        plan: PlanLimits {
            descriptors: config.shape.descriptors,
            scatter_from_bytes: config.shape.scatter_from_bytes,
            headroom: if offload { METADATA_BYTES as u32 } else { 0 },
        },
        queues: config.shape.queues,
        addresses: vec![cidr(config.address.v4, 24), cidr(config.address.v6, 64)],
        gateways: vec![],
        rx_checksum: RxChecksum::Verify,
        tx_checksum: if offload {
            TxChecksum::Offload(|at| *TxMetadata::checksum(at.start, at.field).bytes())
        } else {
            TxChecksum::Compute
        },
        dad: DadConfig::OFF,
    }
}

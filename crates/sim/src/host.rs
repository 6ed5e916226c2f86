//! A host with ringwire: the engine, the application on its queues, and the kernel on the far side of
//! its rings.

use std::sync::Arc;

use io_uring::cqueue;
use ringwire::engine::{Engine, EngineConfig};
use ringwire_abi::flags::{IORING_CQE_F_MORE, IORING_SETUP_CQE_MIXED};
use ringwire_abi::register::{IORING_REGISTER_FILES2, IORING_RSRC_REGISTER_SPARSE, RsrcRegister};
use ringwire_stack::{
    DadConfig, Instant, METADATA_BYTES, PlanLimits, RxChecksum, Stack, TxChecksum,
};
use ringwire_umem::{Layout, Ledger, Pool, Umem};
use ringwire_xsk::TxMetadata;

use crate::areas::{self, Areas};
use crate::client::{self, Client};
use crate::config::{Address, Faults, Shape};
use crate::coverage::Coverage;
use crate::hostile::Hostile;
use crate::kernel::{Kicks, Queue, SimPort};
use crate::lending::{self, Lending, Manner, setup_flags};
use crate::loans::{Acknowledgements, Lent};
use crate::nic::Nic;
use crate::pieces;
use crate::random::Random;
use crate::registered;
use crate::requests::{Answer, Purpose, Requests};
use crate::server::{self, Server};
use crate::slots::{self, Slots};

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
            Role::Client(Box::new(Client::new(engine, requests, lending, most_bytes)))
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
        let stack = Stack::new(now, stack_config(config), &ledger, [config.seed; 3]);
        let (chunks, registered) = (ledger.census().total(), ledger.census().app);
        let engine_config = EngineConfig {
            sq_entries: 64,
            cq_entries,
            setup_flags: setup_flags(config.shape),
        };
        let kicks = Arc::new(Kicks::default());
        let umem = Arc::clone(ledger.umem());
        let nic = Nic::new(&umem, queues, Arc::clone(&kicks));
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
        let lending = Lending::new(&mut engine, &umem, config.shape, config.seed);
        let registered_slots = register_slots(&mut engine, &mut requests, config);
        Host {
            role: role(&mut engine, &mut requests, lending),
            hostile: Hostile::new(&mut engine, first_slot..SLOTS, config.may_crowd),
            engine,
            requests,
            nic,
            acknowledgements: Acknowledgements::default(),
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
        let taken = self.nic.receive(frame, random);
        if taken {
            self.acknowledgements.received(frame);
        }
        taken
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
        if self.leaving {
            self.engine.drain(now);
            self.nic.after_turn();
            return self.nic.step(faults, random, coverage);
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
        if let Some(send) = self.role.areas().pieces.take_wrong() {
            self.requests.push(send, Purpose::WrongPiece);
        }
        self.submit();
        self.engine_turn(now);
        self.renew_slots(coverage);
        self.nic.after_turn();
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
        packets
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

    fn violates(&mut self, violation: String) {
        self.violation.get_or_insert(violation);
    }

    fn take(&mut self, coverage: &mut Coverage) {
        for (user_data, res, flags, place) in self.completions() {
            self.completions += 1;
            if slots::is_tag(user_data) {
                self.slot_told((user_data, res, flags), coverage);
                continue;
            }
            match self.requests.completed(user_data, res, flags) {
                Ok(Answer::Result(purpose)) => {
                    self.took_pieces(purpose, res, flags);
                    self.completed(purpose, (res, flags, place));
                }
                Ok(Answer::Bound(purpose)) => {
                    // To the application it is a zero-copy send like others.
                    self.completed(purpose, (res, flags | IORING_CQE_F_MORE, place));
                }
                Ok(Answer::Notification(purpose)) => {
                    if let Some(lent) = self.requests.repaid.take() {
                        self.check_repaid(&lent, coverage);
                    }
                    self.notified(purpose);
                }
                Err(violation) => self.violates(violation),
            }
        }
    }

    /// What a send says of the provided registered buffers that it has taken must be so.
    fn took_pieces(&mut self, purpose: Purpose, res: i32, flags: u32) {
        use {client::Step as Client, server::Step as Server};
        let number = match purpose {
            Purpose::WrongPiece => 0,
            Purpose::Client(Client::LentDatagram(number) | Client::LentSend(_, number))
            | Purpose::Server(Server::LentReply(number) | Server::LentSend(_, number)) => number,
            _ => return,
        };
        let pieces = &mut self.role.areas().pieces;
        if let Err(violation) = pieces.completed(number, res, flags) {
            self.violates(violation);
        }
    }

    fn completed(&mut self, purpose: Purpose, (res, flags, place): (i32, u32, u64)) {
        match (purpose, &mut self.role) {
            (Purpose::Server(step), Role::Server(server)) => {
                server.completed(&mut self.requests, step, res, flags);
            }
            (Purpose::Client(step), Role::Client(client)) => {
                client.completed(&mut self.requests, step, (res, flags, place));
            }
            (Purpose::Hostile { allocates }, _) => self.hostile.completed(allocates, res),
            _ => {}
        }
    }

    /// All that a slot's sends lent is the application's again.
    fn slot_told(&mut self, (tag, res, flags): (u64, i32, u32), coverage: &mut Coverage) {
        if tag & slots::HOSTILE_TAG != 0 {
            coverage.hostile_slots_told += 1;
            return;
        }
        let sends = match self.requests.told(tag, res, flags) {
            Ok(sends) => sends,
            Err(violation) => return self.violates(violation),
        };
        coverage.slots_told += 1;
        coverage.slots_told_of_several += u64::from(sends.len() > 1);
        for mut send in sends {
            let silently = send.silently();
            coverage.bound += 1;
            coverage.bound_silently += u64::from(silently.is_some());
            coverage.bound_flushing += u64::from(send.flushes);
            if let Some(lent) = &mut send.lent {
                lent.res = silently.unwrap_or(lent.res);
                self.check_repaid(lent, coverage);
            }
            if let Some(res) = silently {
                self.completed(send.purpose, (res, IORING_CQE_F_MORE, 0));
            }
            self.notified(send.purpose);
        }
    }

    /// What has completed: `user_data`, result, flags, and the first of the other 16 bytes.
    fn completions(&mut self) -> Vec<(u64, i32, u32, u64)> {
        if !self.big {
            let small = |cqe: cqueue::Entry| (cqe.user_data(), cqe.result(), cqe.flags(), 0);
            return self.engine.completion().map(small).collect();
        }
        let big = |cqe: cqueue::Entry32| {
            let place = cqe.big_cqe()[0];
            (cqe.user_data(), cqe.result(), cqe.flags(), place)
        };
        self.engine.completion_of().map(big).collect()
    }

    fn notified(&mut self, purpose: Purpose) {
        match (purpose, &mut self.role) {
            (Purpose::Server(step), Role::Server(server)) => {
                server.notified(&mut self.requests, step);
            }
            (Purpose::Client(step), Role::Client(client)) => {
                client.notified(&mut self.requests, step);
            }
            _ => {}
        }
    }

    /// What is the application's again must be nobody else's, and with the peer.
    fn check_repaid(&mut self, lent: &Lent, coverage: &mut Coverage) {
        let is_whole = lent.uncopied && lent.res > 0;
        coverage.uncopied += u64::from(is_whole);
        coverage.maybe_copied += u64::from(!is_whole);
        // What waits for a neighbour may be dropped, and what waits for a peer that hangs up.
        let dropped = match lent.stream {
            Some((connection, _)) => self.acknowledgements.is_reset(connection),
            None => self.engine.stack().counters().tx_unresolved > 0,
        };
        // What was copied may be forgotten before it is acknowledged.
        let count = match is_whole {
            true => lent.res as u64,
            false => self.nic.read_in_place(lent),
        };
        if let Err(violation) = self.nic.check_repaid(lent, dropped) {
            self.violates(violation);
        }
        if let Some((connection, offset)) = lent.stream.filter(|_| count > 0) {
            let end = offset + count;
            if !self.acknowledgements.has(connection, end) {
                self.violates(format!(
                    "notified of a send before {end} bytes of {connection:?} were acknowledged"
                ));
            }
        }
    }

    /// The hostile requests end: what they opened is closed.
    pub(crate) fn calm(&mut self) {
        let in_use = |slot| match &self.role {
            Role::Server(server) => server.uses(slot),
            Role::Client(client) => client.uses(slot),
        };
        self.hostile.retire(&mut self.requests, in_use);
    }

    /// Ends everything: cancels what waits, and closes every slot.
    pub(crate) fn finish(&mut self) {
        match &mut self.role {
            Role::Server(server) => server.finish(),
            Role::Client(client) => client.finish(),
        }
        self.requests.end_slots();
        let any = io_uring::types::CancelBuilder::any();
        let cancel = io_uring::opcode::AsyncCancel2::new(any).build();
        self.requests.push(cancel, Purpose::Quiet);
        for slot in 0..SLOTS {
            let close = io_uring::opcode::Close::new(io_uring::types::Fixed(slot));
            self.requests.push(close.build(), Purpose::Quiet);
        }
    }

    /// The ring is dropped: no request is served any more, but what is queued goes out.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.leaving = true;
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

    /// No request pends, and no chunk is anywhere but in its pool or a fill ring, or with a NIC that keeps it.
    pub(crate) fn is_at_rest(&self) -> bool {
        let census = self.engine.census();
        self.nic.is_at_rest(&census)
            && census.app == self.registered
            && self.engine.pending_requests() == 0
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
        format!("{:?}, {pending} requests pend", self.engine.census())
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

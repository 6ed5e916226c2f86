//! A deterministic simulator: ringwire's engine, unchanged, over rings and UMEM in plain memory, with
//! the kernel, the network, the peer and the application simulated around it in virtual time.
//!
//! Everything follows from one seed: [`run`] with the same [`Config`] gives the same [`Outcome`],
//! digest included. Checkers look from outside: frames are conserved, every delivered
//! datagram equals one that was sent, every byte of a stream is a function of its offset; and once
//! faults stop, everything gets through.

mod app;
pub mod fuzz;
mod kernel;
mod network;
mod payload;
mod peer;
mod random;
mod streams;

use std::hash::Hasher;
use std::sync::Arc;

use ringwire::engine::{Engine, EngineConfig};
use ringwire_stack::{DadConfig, Instant, RxChecksum, Stack, TxChecksum};
use ringwire_umem::{Layout, Ledger, Pool, Umem};

use app::App;
use kernel::{Kicks, Queue, SimPort};
use network::Wire;
use peer::Peer;
use random::Random;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Datagrams that must come back once faults have stopped.
const FINAL_DATAGRAMS: usize = 20;
/// Virtual time that they may take.
const PATIENCE_NS: u64 = 120_000_000_000;
/// The same for streams, whose timers may have backed off.
const STREAM_PATIENCE_NS: u64 = 600_000_000_000;
/// Streams at a time.
const MOST_CLIENTS: usize = 8;

/// Faults, in so many of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Packets lost on the wire.
    pub loss: u32,
    /// Packets doubled.
    pub duplication: u32,
    /// Packets delayed past others.
    pub reordering: u32,
    /// Packets with a flipped bit.
    pub corruption: u32,
    /// Kicks that the kernel does not hear.
    pub deaf: u32,
    /// Steps in which the kernel reports nothing that it has sent.
    pub late_completions: u32,
    /// Steps with a frame that no honest host sends.
    pub garbage: u32,
    /// Whether the application makes wrong requests.
    pub hostile: bool,
}

/// A deliberate break, to see that the checkers find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// A datagram is altered, with a checksum to match.
    AlteredPayload,
    /// A chunk that was filled never comes back.
    StolenFrame,
}

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The seed of everything.
    pub seed: u64,
    /// Steps with faults.
    pub steps: u32,
    /// Which faults.
    pub faults: Faults,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// NIC queues, 1 or 2.
    pub queues: u16,
    /// Entries of each AF_XDP ring.
    pub ring_entries: u32,
    /// Entries of the completion queue.
    pub cq_entries: u32,
    /// A break for the checkers to find.
    pub broken: Option<Break>,
}

impl Config {
    /// A run whose shape and faults the seed chooses.
    pub fn from_seed(seed: u64) -> Config {
        let mut random = Random::new(seed ^ 0x5eed);
        let mut up_to = |most: u64| random.below(most + 1) as u32;
        Config {
            seed,
            steps: 800,
            faults: Faults {
                loss: up_to(100),
                duplication: up_to(50),
                reordering: up_to(200),
                corruption: up_to(50),
                deaf: up_to(500),
                late_completions: up_to(900),
                garbage: up_to(200),
                hostile: up_to(1) == 1,
            },
            mtu: if up_to(1) == 1 { 9000 } else { 1500 },
            queues: 1 + up_to(1) as u16,
            ring_entries: 32 << up_to(3),
            cq_entries: 8 << up_to(4),
            broken: None,
        }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Over all that happened: equal for equal seeds.
    pub digest: u64,
    /// Virtual time.
    pub virtual_ns: u64,
    /// Packets that reached the engine.
    pub packets: u64,
    /// Datagrams that came back to the peer.
    pub echoes: u64,
    /// Streams that were echoed to their end.
    pub streams: u64,
    /// Their bytes.
    pub stream_bytes: u64,
    /// Completions that the application took.
    pub completions: u64,
    /// Faults on the wire.
    pub faults: u64,
}

/// Runs a simulation.
///
/// # Errors
/// What a checker found, with the seed to replay it by.
pub fn run(config: Config) -> Result<Outcome, String> {
    let mut world = World::new(config);
    world.run().map_err(|violation| {
        format!(
            "{violation}\nreplay: cargo run -p ringwire-sim -- --seed {}",
            config.seed
        )
    })
}

struct World {
    config: Config,
    random: Random,
    now: Instant,
    engine: Engine,
    app: App,
    peer: Peer,
    queues: Vec<Queue>,
    kicks: Arc<Kicks>,
    to_engine: Wire,
    to_peer: Wire,
    chunks: u32,
    packets: u64,
    digest: std::hash::DefaultHasher,
}

impl World {
    fn new(config: Config) -> World {
        let now = Instant::from_nanos(1_000_000_000);
        let per_queue = config.ring_entries;
        let rx_chunks = 2 * per_queue * u32::from(config.queues);
        let layout = Layout {
            chunk_bytes: 4096,
            rx_chunks,
            header_chunks: 16,
            send_chunks: 128,
            lend_reserve_chunks: rx_chunks / 8,
            registered_bytes: vec![],
        };
        let umem = Umem::new(layout).expect("memory for the engine");
        let mut ledger = Ledger::new(Arc::clone(&umem));
        let (mut queues, mut rings) = (Vec::new(), Vec::new());
        for index in 0..config.queues {
            let filled: Vec<u64> = (0..per_queue)
                .map(|_| {
                    let frame = ledger
                        .alloc(Pool::Rx)
                        .expect("twice as many chunks as the rings hold");
                    ledger.post_fill(frame, index)
                })
                .collect();
            let (queue, ring) = Queue::new(Arc::clone(&umem), per_queue, &filled);
            queues.push(queue);
            rings.push(ring);
        }
        let stack_config = ringwire_stack::Config {
            mac: MAC,
            mtu: config.mtu,
            scatter: true,
            queues: config.queues,
            addresses: vec![
                "10.0.0.2/24".parse().expect("an address"),
                "fd00::2/64".parse().expect("an address"),
            ],
            gateways: vec![],
            rx_checksum: RxChecksum::Verify,
            tx_checksum: TxChecksum::Compute,
            dad: DadConfig::OFF,
        };
        let stack = Stack::new(now, stack_config, &ledger, [config.seed; 3]);
        let chunks = ledger.census().total();
        let engine_config = EngineConfig {
            sq_entries: 64,
            cq_entries: config.cq_entries,
            setup_flags: 0,
        };
        let kicks = Arc::new(Kicks::default());
        let port = Box::new(SimPort(Arc::clone(&kicks)));
        let mut engine = Engine::new(now, engine_config, ledger, stack, rings, port);
        let app = App::new(&mut engine);
        World {
            random: Random::new(config.seed),
            now,
            engine,
            app,
            peer: Peer::new(now, config.mtu, !config.seed),
            queues,
            kicks,
            to_engine: Wire::default(),
            to_peer: Wire::default(),
            chunks,
            packets: 0,
            digest: std::hash::DefaultHasher::new(),
            config,
        }
    }

    fn run(&mut self) -> Result<Outcome, String> {
        let faults = self.config.faults;
        for step in 0..self.config.steps {
            if step == self.config.steps / 2 && self.config.broken == Some(Break::StolenFrame) {
                self.queues[0].steal = 1;
            }
            if self.random.chance(400) {
                self.peer.send(self.now, &mut self.random);
            }
            // The listener is there by then; a SYN before would be refused, and rightly.
            if step >= 50 && self.peer.clients.open() < MOST_CLIENTS && self.random.chance(50) {
                self.peer.connect(self.now, &mut self.random);
            }
            self.step(&faults, faults.hostile)?;
        }
        self.final_round()?;
        self.final_streams()?;
        self.end()?;
        Ok(Outcome {
            digest: self.digest.finish(),
            virtual_ns: self.now.as_nanos(),
            packets: self.packets,
            echoes: self.peer.echoes.len() as u64,
            streams: self.peer.clients.finished,
            stream_bytes: self.peer.clients.bytes,
            completions: self.app.completions,
            faults: self.to_engine.faults_done + self.to_peer.faults_done,
        })
    }

    /// Faults have stopped: what is sent now must come back.
    fn final_round(&mut self) -> Result<(), String> {
        let calm = Faults::default();
        let deadline = self.now.as_nanos() + PATIENCE_NS;
        // One lost to the faults of before, an answer late by a retry: datagrams are sent again, as a
        // client would; each of the wanted ones must come back in the end.
        let mut returned = 0;
        while returned < FINAL_DATAGRAMS {
            let serial = self.peer.send(self.now, &mut self.random);
            let patience = self.now.as_nanos() + 2_000_000_000;
            while serial.is_none_or(|serial| !self.peer.echoes.contains(&serial))
                && self.now.as_nanos() < patience
            {
                self.step(&calm, false)?;
            }
            returned +=
                usize::from(serial.is_some_and(|serial| self.peer.echoes.contains(&serial)));
            if self.now.as_nanos() > deadline {
                let pending = self.engine.pending_requests();
                return Err(format!(
                    "no progress: {returned} of {FINAL_DATAGRAMS} came back, {pending} requests pend"
                ));
            }
        }
        Ok(())
    }

    /// Faults have stopped: every stream comes to its end, and so does a new one.
    fn final_streams(&mut self) -> Result<(), String> {
        let calm = Faults::default();
        self.peer.connect(self.now, &mut self.random);
        let deadline = self.now.as_nanos() + STREAM_PATIENCE_NS;
        while self.peer.clients.open() > 0 {
            self.step(&calm, false)?;
            if self.now.as_nanos() > deadline {
                let open = self.peer.clients.open();
                return Err(format!("no progress: {open} streams are not done"));
            }
        }
        Ok(())
    }

    /// Everything is cancelled and closed: every frame is in its pool or in a fill ring.
    fn end(&mut self) -> Result<(), String> {
        let calm = Faults::default();
        self.app.finish();
        for _ in 0..2000 {
            self.step(&calm, false)?;
        }
        let census = self.engine.census();
        let at_rest = census.rx + census.stack + census.tx + census.descriptors_in_flight == 0;
        if !at_rest || self.engine.pending_requests() > 0 || !self.to_engine.is_empty() {
            let pending = self.engine.pending_requests();
            return Err(format!(
                "not at rest at the end: {census:?}, {pending} requests pend"
            ));
        }
        if self.app.unanswered() > 0 {
            return Err(format!(
                "{} requests never completed",
                self.app.unanswered()
            ));
        }
        let in_rings: u32 = self.queues.iter_mut().map(Queue::held).sum();
        if in_rings != census.fill {
            return Err(format!(
                "the kernel has {in_rings} chunks, but the ledger says {}",
                census.fill
            ));
        }
        Ok(())
    }

    fn step(&mut self, faults: &Faults, hostile: bool) -> Result<(), String> {
        self.now = Instant::from_nanos(self.now.as_nanos() + 1_000 + self.random.below(2_000_000));
        let now = self.now.as_nanos();
        while let Some(packet) = self.to_engine.arrived(now) {
            self.packets += 1;
            self.note(&packet);
            let queue = self.random.below(self.queues.len() as u64) as usize;
            // A full ring drops, as a NIC does.
            self.queues[queue].receive(&packet);
        }
        if self.random.chance(faults.garbage) {
            let frame = peer::garbage(&mut self.random, MAC);
            self.queues[0].receive(&frame);
        }
        self.app
            .step(self.now, &mut self.engine, &mut self.random, hostile);
        self.kernel_step(now, faults);
        while let Some(packet) = self.to_peer.arrived(now) {
            self.note(&packet);
            self.peer.receive(self.now, &packet);
        }
        for packet in self.peer.step(self.now, &mut self.random) {
            let packet = self.maybe_alter(packet);
            self.to_engine.send(now, packet, faults, &mut self.random);
        }
        self.check()
    }

    /// The kernel sends, if it heard that it should, and reports what it has sent, sooner or later.
    fn kernel_step(&mut self, now: u64, faults: &Faults) {
        let heard = self.kicks.take_tx() && !self.random.chance(faults.deaf);
        for index in 0..self.queues.len() {
            if heard || self.random.chance(100) {
                // As in copy mode: a batch for each call.
                let batch = 1 + self.random.below(32);
                for packet in self.queues[index].transmit(batch) {
                    self.to_peer.send(now, packet, faults, &mut self.random);
                }
            }
            if !self.random.chance(faults.late_completions) {
                let batch = 1 + self.random.below(64);
                self.queues[index].report(batch);
            }
            self.queues[index].ask_for_wakeups(&mut self.random);
        }
    }

    fn check(&mut self) -> Result<(), String> {
        let census = self.engine.census();
        if census.total() != self.chunks {
            return Err(format!(
                "frames are not conserved: {census:?} of {}",
                self.chunks
            ));
        }
        let counters = self.engine.nic_counters();
        if counters.bad_rx_descriptors + counters.bad_tx_completions > 0 {
            return Err(format!(
                "the engine and the kernel disagree about a chunk: {counters:?}"
            ));
        }
        let found = self
            .app
            .violation
            .take()
            .or_else(|| self.peer.violation.take());
        found.map_or(Ok(()), Err)
    }

    /// The break of [`Break::AlteredPayload`]: bytes change, and the checksum, which is then left out
    /// (0 in IPv4), cannot tell.
    fn maybe_alter(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        let alter = self.config.broken == Some(Break::AlteredPayload);
        if alter
            && packet.len() > 60
            && packet[12..14] == [8, 0]
            && packet[23] == 17
            && packet[20..22] == [0x40, 0]
        {
            packet[40..42].fill(0);
            packet[59] ^= 0x55;
        }
        packet
    }

    fn note(&mut self, packet: &[u8]) {
        self.digest.write_u64(self.now.as_nanos());
        self.digest.write(packet);
    }
}

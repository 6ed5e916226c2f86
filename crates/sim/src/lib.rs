//! A deterministic simulator: ringwire's engine, unchanged, over rings and UMEM in plain memory, with
//! the kernel, the network, the peer and the application simulated around it in virtual time.
//!
//! Everything follows from one seed: [`run`] with the same [`Config`] gives the same [`Outcome`],
//! digest included. Checkers look from outside: frames are conserved, every delivered
//! datagram equals one that was sent, every byte of a stream is a function of its offset; and once
//! faults stop, everything gets through.

mod app;
mod capture;
mod config;
mod coverage;
pub mod fuzz;
mod kernel;
mod network;
mod payload;
mod peer;
mod random;
mod streams;
mod sweep;
mod too_big;

use std::hash::Hasher;
use std::sync::Arc;

use ringwire::engine::{Engine, EngineConfig};
use ringwire_stack::{DadConfig, Instant, RxChecksum, Stack, TxChecksum};
use ringwire_umem::{Layout, Ledger, Pool, Umem};

pub use capture::{Capture, InterfaceId, Way};
pub use config::{Break, Config, Faults, LONGEST_PARTITION_NS, Path};
pub use coverage::Coverage;
pub use sweep::{Summary, sweep};

use app::App;
use kernel::{Kicks, Queue, SimPort};
use network::{Direction, Network};
use peer::Peer;
use random::Random;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Datagrams that must come back once faults have stopped.
const FINAL_DATAGRAMS: usize = 20;
/// Virtual time that they may take.
const PATIENCE_NS: u64 = 120_000_000_000;
/// The same for streams, whose timers may have backed off.
const STREAM_PATIENCE_NS: u64 = 600_000_000_000;
/// The same for everything to come to rest, once it is closed.
const REST_PATIENCE_NS: u64 = 300_000_000_000;
/// Steps in which what was closed may still be answered.
const LEAST_LAST_STEPS: u32 = 500;
/// Streams at a time.
const MOST_CLIENTS: usize = 8;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Over all that happened: equal for equal seeds.
    pub digest: u64,
    /// Virtual time.
    pub virtual_ns: u64,
    /// Packets that reached the engine.
    pub packets: u64,
    /// TCP segments that arrived, at either end.
    pub segments: u64,
    /// Datagrams that came back to the peer.
    pub echoes: u64,
    /// Streams that were echoed to their end.
    pub streams: u64,
    /// Their bytes.
    pub stream_bytes: u64,
    /// Completions that the application took.
    pub completions: u64,
    /// What went wrong, and was meant to.
    pub coverage: Coverage,
}

/// Runs a simulation.
///
/// # Errors
/// What a checker found, with the seed to replay it by; a panic is a finding too.
pub fn run(config: Config) -> Result<Outcome, String> {
    World::new(config).finding()
}

/// Runs a simulation, and captures what both hosts send and receive.
///
/// # Errors
/// As [`run`]; the capture goes as far as the run did.
pub fn run_captured(config: Config) -> (Result<Outcome, String>, Capture) {
    let mut world = World::new(config);
    world.trace = Some(Trace::new());
    let outcome = world.finding();
    let trace = world.trace.expect("it was put there");
    (outcome, trace.capture)
}

/// A capture at both ends of the wire.
struct Trace {
    capture: Capture,
    server: InterfaceId,
    client: InterfaceId,
}

impl Trace {
    fn new() -> Trace {
        let mut capture = Capture::new();
        Trace {
            server: capture.interface("server"),
            client: capture.interface("client"),
            capture,
        }
    }
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
    network: Network,
    chunks: u32,
    packets: u64,
    segments: u64,
    digest: std::hash::DefaultHasher,
    trace: Option<Trace>,
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
            network: Network::new(config.paths, config.reports_too_big),
            chunks,
            packets: 0,
            segments: 0,
            digest: std::hash::DefaultHasher::new(),
            trace: None,
            config,
        }
    }

    fn finding(&mut self) -> Result<Outcome, String> {
        let run = std::panic::AssertUnwindSafe(|| self.run());
        let found = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("a panic: {}", text.unwrap_or("without a message")))
        });
        found.map_err(|violation| {
            let seconds = self.now.as_nanos() as f64 / 1e9;
            let seed = self.config.seed;
            format!(
                "{violation}, at {seconds:.6} s\n\
                 replay: cargo run -p ringwire-sim -- --seed {seed} --trace {seed}.pcapng"
            )
        })
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
                self.peer.connect(self.now, &mut self.random, true);
            }
            self.network
                .step(self.now.as_nanos(), &faults, &mut self.random);
            self.step(&faults, faults.hostile)?;
        }
        self.network.calm();
        self.final_round()?;
        self.final_streams()?;
        self.end()?;
        Ok(Outcome {
            digest: self.digest.finish(),
            virtual_ns: self.now.as_nanos(),
            packets: self.packets,
            segments: self.segments,
            echoes: self.peer.echoes.len() as u64,
            streams: self.peer.clients.finished,
            stream_bytes: self.peer.clients.bytes,
            completions: self.app.completions,
            coverage: Coverage {
                hostile_requests: self.app.hostile_requests,
                ..self.network.coverage
            },
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
        self.peer.connect(self.now, &mut self.random, false);
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
        let deadline = self.now.as_nanos() + REST_PATIENCE_NS;
        for _ in 0..LEAST_LAST_STEPS {
            self.step(&calm, false)?;
        }
        while !self.is_at_rest() {
            self.step(&calm, false)?;
            if self.now.as_nanos() > deadline {
                let (census, pending) = (self.engine.census(), self.engine.pending_requests());
                return Err(format!(
                    "not at rest at the end: {census:?}, {pending} requests pend"
                ));
            }
        }
        let census = self.engine.census();
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

    /// Nothing is on its way, and no chunk is anywhere but in its pool or a fill ring.
    fn is_at_rest(&self) -> bool {
        let census = self.engine.census();
        census.rx + census.stack + census.tx + census.descriptors_in_flight == 0
            && self.engine.pending_requests() == 0
            && self.network.next_arrival().is_none()
    }

    /// Time passes: a little, or more where the wire is long, or cut, and little would happen.
    fn pass(&mut self) {
        let most = (self.config.round_trip_ns() / 16).max(2_000_000);
        let most = if self.network.is_cut() {
            20 * most
        } else {
            most
        };
        let passed = 1_000 + self.random.below(most);
        self.now = Instant::from_nanos(self.now.as_nanos() + passed);
    }

    fn step(&mut self, faults: &Faults, hostile: bool) -> Result<(), String> {
        self.pass();
        let now = self.now.as_nanos();
        while let Some(packet) = self.network.arrived(Direction::ToServer, now) {
            self.packets += 1;
            self.note(Direction::ToServer, &packet);
            let queue = self.random.below(self.queues.len() as u64) as usize;
            // A full ring drops, as a NIC does.
            let taken = self.queues[queue].receive(&packet);
            self.network.coverage.ring_full += u64::from(!taken);
        }
        if self.random.chance(faults.garbage) {
            self.network.coverage.garbage += 1;
            let frame = peer::garbage(&mut self.random, MAC);
            self.queues[0].receive(&frame);
        }
        self.app
            .step(self.now, &mut self.engine, &mut self.random, hostile);
        self.kernel_step(faults);
        while let Some(packet) = self.network.arrived(Direction::ToClient, now) {
            self.note(Direction::ToClient, &packet);
            self.peer.receive(self.now, &packet);
        }
        for packet in self.peer.step(self.now, &mut self.random) {
            let packet = self.maybe_alter(packet);
            self.send(Direction::ToServer, packet, faults);
        }
        self.check()
    }

    /// The kernel sends, if it heard that it should, and reports what it has sent, sooner or later.
    fn kernel_step(&mut self, faults: &Faults) {
        let kicked = self.kicks.take_tx();
        let heard = kicked && !self.random.chance(faults.deaf);
        self.network.coverage.unheard_kicks += u64::from(kicked && !heard);
        for index in 0..self.queues.len() {
            if heard || self.random.chance(100) {
                // As in copy mode: a batch for each call.
                let batch = 1 + self.random.below(32);
                for packet in self.queues[index].transmit(batch) {
                    self.send(Direction::ToClient, packet, faults);
                }
            }
            if !self.random.chance(faults.late_completions) {
                let batch = 1 + self.random.below(64);
                self.queues[index].report(batch);
            } else {
                self.network.coverage.late_completions += 1;
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

    /// A packet has arrived.
    fn note(&mut self, direction: Direction, packet: &[u8]) {
        self.segments += u64::from(is_tcp(packet));
        self.digest.write_u64(self.now.as_nanos());
        self.digest.write(packet);
        self.trace(direction, Way::In, packet);
    }

    fn send(&mut self, direction: Direction, packet: Vec<u8>, faults: &Faults) {
        self.trace(direction, Way::Out, &packet);
        let now = self.now.as_nanos();
        self.network
            .send(direction, now, packet, faults, &mut self.random);
    }

    fn trace(&mut self, direction: Direction, way: Way, packet: &[u8]) {
        let Some(trace) = &mut self.trace else { return };
        let interface = match (direction, way) {
            (Direction::ToServer, Way::In) | (Direction::ToClient, Way::Out) => trace.server,
            (Direction::ToServer, Way::Out) | (Direction::ToClient, Way::In) => trace.client,
        };
        let now = self.now.as_nanos();
        trace.capture.packet(interface, now, way, packet);
    }
}

fn is_tcp(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([8, 0]) => frame.get(23) == Some(&6),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&6),
        _ => false,
    }
}

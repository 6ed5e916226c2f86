//! A run: two hosts, the wire between them, and time.

use std::hash::Hasher;

use ringwire_stack::Instant;

use crate::capture::{Capture, InterfaceId, Way};
use crate::config::{Break, CLIENT, Config, Faults, SERVER};
use crate::coverage::Coverage;
use crate::end::End;
use crate::garbage::garbage;
use crate::host::Host;
use crate::lending::Lent;
use crate::network::{Direction, Network};
use crate::random::Random;
use crate::too_big::ROUTER_MAC;
use crate::traffic::Tally;

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
/// Steps before the first stream: the listener is there by then, and a SYN before would be refused.
const FIRST_STREAM_STEP: u32 = 50;
/// So many steps without a packet are a pause; each further one may take twice as long, so many times.
const QUIET_STEPS: u32 = 8;
const MOST_DOUBLINGS: u32 = 6;
/// Steps with another datagram before rings end in the middle of it all; how long they drain, and what is left of
/// connections is reset.
const LAST_REQUESTS: u32 = 30;
const DRAIN_NS: u64 = 200_000_000;
const LAST_WORDS_NS: u64 = 20_000_000;
/// Streams at a time.
const MOST_STREAMS: usize = 8;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Over all that happened: equal for equal seeds.
    pub digest: u64,
    /// Virtual time.
    pub virtual_ns: u64,
    /// Packets that arrived, at either end.
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
    server: End,
    client: End,
    network: Network,
    packets: u64,
    segments: u64,
    /// Steps since a packet moved.
    quiet: u32,
    /// The hosts with ringwire have ended their rings.
    leaving: bool,
    digest: std::hash::DefaultHasher,
    trace: Option<Trace>,
}

impl World {
    fn new(config: Config) -> World {
        let now = Instant::from_nanos(1_000_000_000);
        World {
            random: Random::new(config.seed),
            now,
            server: End::server(now, &config),
            client: End::client(now, &config),
            network: Network::new(config.paths, config.path_mtu, config.reports_too_big),
            packets: 0,
            segments: 0,
            quiet: 0,
            leaving: false,
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
            let steals = self.config.broken == Some(Break::StolenFrame);
            if steals && step == self.config.steps / 2 {
                self.hosts().for_each(Host::steal);
            }
            if self.random.chance(400) {
                self.client.send(&mut self.random);
            }
            let may_connect = step >= FIRST_STREAM_STEP && self.client.open() < MOST_STREAMS;
            if may_connect && self.random.chance(50) {
                self.client.connect(&mut self.random, true);
            }
            let now = self.now.as_nanos();
            self.network.step(now, &faults, &mut self.random);
            self.step(&faults)?;
        }
        self.network.calm();
        self.hosts().for_each(Host::calm);
        self.final_datagrams()?;
        self.final_streams()?;
        if self.config.leaves {
            self.leave()?;
        } else {
            self.end()?;
        }
        Ok(self.outcome())
    }

    fn outcome(&mut self) -> Outcome {
        let completions = self.hosts().map(|host| host.completions).sum();
        let successes = self.hosts().map(|host| host.hostile_successes()).sum();
        self.network.coverage.hostile_successes = successes;
        self.network.coverage.forgone_numbers =
            self.hosts().map(|host| host.forgone_numbers()).sum();
        let mut lent = Lent::default();
        self.hosts().for_each(|host| lent += host.lent());
        self.network.coverage.lent = lent.parts;
        self.network.coverage.forwarded = lent.forwarded;
        for pieces in self.hosts().map(|host| host.pieces()).collect::<Vec<_>>() {
            self.network.coverage.bundles += pieces.bundles;
            self.network.coverage.pieces += pieces.taken;
            self.network.coverage.wrong_pieces += pieces.bad;
        }
        self.network.coverage.bad_returns = lent.bad_ids + lent.bad_places;
        let tally = self.tally();
        let (echoes, streams) = (tally.echoes.len() as u64, tally.finished);
        Outcome {
            stream_bytes: tally.bytes,
            digest: self.digest.finish(),
            virtual_ns: self.now.as_nanos(),
            packets: self.packets,
            segments: self.segments,
            echoes,
            streams,
            completions,
            coverage: self.network.coverage,
        }
    }

    /// The hosts with ringwire.
    fn hosts(&mut self) -> impl Iterator<Item = &mut Host> {
        let ends = [&mut self.server, &mut self.client];
        ends.into_iter().filter_map(End::ringwire)
    }

    fn tally(&mut self) -> &mut Tally {
        self.client.tally().expect("a client has a tally")
    }

    /// Faults have stopped: what is sent now must come back.
    fn final_datagrams(&mut self) -> Result<(), String> {
        let deadline = self.now.as_nanos() + PATIENCE_NS;
        // One lost to the faults of before, an answer late by a retry: datagrams are sent again, as a
        // client would; each of the wanted ones must come back in the end.
        let mut returned = 0;
        while returned < FINAL_DATAGRAMS {
            let serial = self.client.send(&mut self.random);
            let patience = self.now.as_nanos() + 2_000_000_000;
            let mut is_back = false;
            while !is_back && self.now.as_nanos() < patience {
                self.step(&Faults::default())?;
                is_back = serial.is_some_and(|serial| self.tally().echoes.contains(&serial));
            }
            returned += usize::from(is_back);
            if self.now.as_nanos() > deadline {
                let states = self.states();
                return Err(format!(
                    "no progress: {returned} of {FINAL_DATAGRAMS} datagrams came back; {states}"
                ));
            }
        }
        Ok(())
    }

    /// Faults have stopped: every stream comes to its end, and so does a new one.
    fn final_streams(&mut self) -> Result<(), String> {
        let deadline = self.now.as_nanos() + STREAM_PATIENCE_NS;
        let mut begun = false;
        while self.client.open() > 0 || !begun {
            if !begun && self.client.open() < MOST_STREAMS {
                self.client.connect(&mut self.random, false);
                begun = true;
            }
            self.step(&Faults::default())?;
            if self.now.as_nanos() > deadline {
                let (open, states) = (self.client.open(), self.states());
                return Err(format!(
                    "no progress: {open} streams are not done; {states}"
                ));
            }
        }
        Ok(())
    }

    /// Everything is cancelled and closed: every frame is in its pool or in a fill ring.
    fn end(&mut self) -> Result<(), String> {
        let deadline = self.now.as_nanos() + REST_PATIENCE_NS;
        while let untold @ 1.. = self.hosts().map(|host| host.untold_numbers()).sum() {
            self.step(&Faults::default())?;
            if self.now.as_nanos() > deadline {
                return Err(format!(
                    "{untold} numbers are never told; {}",
                    self.states()
                ));
            }
        }
        self.hosts().for_each(Host::finish);
        let deadline = self.now.as_nanos() + REST_PATIENCE_NS;
        for _ in 0..LEAST_LAST_STEPS {
            self.step(&Faults::default())?;
        }
        // What a hostile chain had behind a request that ended well just then has begun since.
        if self.config.faults.hostile {
            self.hosts().for_each(Host::cancel_all);
        }
        while self.network.next_arrival().is_some() || !self.hosts().all(|host| host.is_at_rest()) {
            self.step(&Faults::default())?;
            if self.now.as_nanos() > deadline {
                return Err(format!("not at rest at the end; {}", self.states()));
            }
        }
        self.hosts().try_for_each(Host::check_end)
    }

    /// The rings end while datagrams and streams are under way: no chunk is lost, whatever is in flight.
    fn leave(&mut self) -> Result<(), String> {
        for _ in 0..LAST_REQUESTS {
            self.client.send(&mut self.random);
            if self.client.open() < MOST_STREAMS {
                self.client.connect(&mut self.random, false);
            }
            self.step(&Faults::default())?;
        }
        let now = self.now;
        self.leaving = true;
        self.hosts().for_each(|host| host.leave(now));
        self.steps_for(DRAIN_NS)?;
        let now = self.now;
        self.hosts().for_each(|host| host.reset_all(now));
        self.steps_for(LAST_WORDS_NS)
    }

    fn steps_for(&mut self, ns: u64) -> Result<(), String> {
        let deadline = self.now.as_nanos() + ns;
        while self.now.as_nanos() < deadline {
            self.step(&Faults::default())?;
        }
        Ok(())
    }

    fn states(&mut self) -> String {
        let states: Vec<String> = self.hosts().map(|host| host.state()).collect();
        states.join("; ")
    }

    /// Time passes: a little, or more where the wire is long, or cut, or quiet, and little would happen.
    fn pass(&mut self) {
        let most = (self.config.round_trip_ns() / 16).max(2_000_000);
        let most = most << self.quiet.saturating_sub(QUIET_STEPS).min(MOST_DOUBLINGS);
        let most = if self.network.is_cut() {
            20 * most
        } else {
            most
        };
        let passed = 1_000 + self.random.below(most);
        self.now = Instant::from_nanos(self.now.as_nanos() + passed);
    }

    fn step(&mut self, faults: &Faults) -> Result<(), String> {
        self.pass();
        self.quiet += 1;
        for direction in Direction::BOTH {
            self.deliver(direction, faults);
            let random = &mut self.random;
            let (end, out) = match direction {
                Direction::ToServer => (&mut self.server, Direction::ToClient),
                Direction::ToClient => (&mut self.client, Direction::ToServer),
            };
            let sent = end.step(self.now, faults, random, &mut self.network.coverage);
            // A host that is left sees its streams end before their time.
            if !self.leaving || end.ringwire().is_some() {
                end.check()?;
            }
            for packet in sent {
                self.quiet = 0;
                let packet = self.maybe_alter(packet);
                let packet = self.forward(out, packet);
                self.trace(out, Way::Out, &packet);
                let (now, random) = (self.now.as_nanos(), &mut self.random);
                self.network.send(out, now, packet, faults, random);
            }
        }
        Ok(())
    }

    /// What has arrived by now reaches its host, and so does what nobody sent.
    fn deliver(&mut self, direction: Direction, faults: &Faults) {
        while let Some(packet) = self.network.arrived(direction, self.now.as_nanos()) {
            self.packets += 1;
            self.quiet = 0;
            self.segments += u64::from(is_tcp(&packet));
            self.digest.write_u64(self.now.as_nanos());
            self.digest.write(&packet);
            self.trace(direction, Way::In, &packet);
            self.hand_over(direction, &packet);
        }
        let (end, address) = match direction {
            Direction::ToServer => (&mut self.server, &SERVER),
            Direction::ToClient => (&mut self.client, &CLIENT),
        };
        if end.ringwire().is_some() && self.random.chance(faults.garbage) {
            self.network.coverage.garbage += 1;
            let frame = garbage(&mut self.random, address);
            self.trace(direction, Way::In, &frame);
            self.hand_over(direction, &frame);
        }
    }

    fn hand_over(&mut self, direction: Direction, frame: &[u8]) {
        let end = match direction {
            Direction::ToServer => &mut self.server,
            Direction::ToClient => &mut self.client,
        };
        let taken = end.receive(self.now, frame, &mut self.random);
        self.network.coverage.ring_full += u64::from(!taken);
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

    /// What goes to the router, the wire hands on to the other host.
    fn forward(&self, out: Direction, mut packet: Vec<u8>) -> Vec<u8> {
        if packet[..6] == ROUTER_MAC {
            let to = match out {
                Direction::ToServer => self.server.mac(&SERVER),
                Direction::ToClient => self.client.mac(&CLIENT),
            };
            packet[..6].copy_from_slice(&to);
        }
        packet
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

//! Two hosts of ours.

use std::collections::{HashMap, VecDeque};

use ringwire_stack::{
    Config, DadConfig, Family, Instant, Packet, PlanLimits, Protocol, RxChecksum, SocketId, Stack,
    TxChecksum,
};
use ringwire_umem::{Layout, Ledger, Pool, TxDone, Umem};

use crate::{count, wire};

/// Bytes of payload in a full segment: an MSS of 1460 less the timestamps option.
pub const SEGMENT_BYTES: usize = 1448;
/// Ports that the second host listens on: a client's ephemeral ports suffice for 28,232 connections
/// with each.
pub const PORTS: u16 = 8;
const BASE_PORT: u16 = 80;
/// Descriptors that the wire takes at once.
const ROOM: u32 = 64;
const START: Instant = Instant::from_nanos(1_000_000_000);

/// What the applications do with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// Copy them from and to memory of their own, as send(2) and recv(2) do.
    Copied,
    /// Nothing: they are made, and used, where the stack has them.
    InPlace,
}

/// A host and its memory.
pub struct Host {
    pub stack: Stack,
    pub ledger: Ledger,
    /// Frames that have come and were not taken: address and length.
    arrived: VecDeque<(u64, u32)>,
    /// Descriptors that the stack has given out and the wire has not taken.
    posted: Vec<(u64, u32)>,
    account: usize,
}

impl Host {
    fn new(account: usize) -> Host {
        count::open(0);
        let last = account + 1;
        let layout = Layout {
            chunk_bytes: 4096,
            rx_chunks: 2048,
            header_chunks: 64,
            send_chunks: 2048,
            lend_reserve_chunks: 64,
            areas: vec![],
        };
        let mut ledger = Ledger::new(Umem::new(layout).expect("memory"));
        let config = Config {
            mac: [2, 0, 0, 0, 0, last as u8],
            mtu: 1500,
            plan: PlanLimits::SCATTER,
            queues: 1,
            addresses: vec![format!("10.0.0.{last}/24").parse().expect("an address")],
            gateways: vec![],
            rx_checksum: RxChecksum::Trust,
            tx_checksum: TxChecksum::Omit,
            dad: DadConfig::OFF,
        };
        count::open(account);
        let mut stack = Stack::new(START, config, &ledger, [last as u64, 2, 3]);
        // The address is usable from the first look at the time on.
        stack.poll(START, &mut ledger);
        count::open(0);
        Host {
            stack,
            ledger,
            arrived: VecDeque::with_capacity(2048),
            posted: Vec::new(),
            account,
        }
    }

    /// Hands what it has to send to the other host's wire; says whether there was anything.
    fn transmit(&mut self, now: Instant, other: &mut Host) -> bool {
        let mut any = false;
        let mut posted = std::mem::take(&mut self.posted);
        while other.ledger.free_chunks(Pool::Rx) > 64 {
            let post = |addr, len, _| posted.push((addr, len));
            count::open(self.account);
            let count = self.stack.transmit(now, &mut self.ledger, 0, ROOM, post);
            count::open(0);
            if count == 0 {
                break;
            }
            any = true;
            for (addr, len) in posted.drain(..) {
                self.carry(addr, len, other);
            }
        }
        self.posted = posted;
        any
    }

    /// A descriptor goes to the other host, and comes back.
    fn carry(&mut self, addr: u64, len: u32, other: &mut Host) {
        let bytes = self.ledger.described(addr, len).expect("in flight");
        let mut frame = other.ledger.alloc(Pool::Rx).expect("a free chunk");
        wire::carry(bytes, other.ledger.bytes_mut(&mut frame));
        other
            .arrived
            .push_back((other.ledger.post_fill(frame, 0), len));
        if let Ok(TxDone::Freed(chunk)) = self.ledger.tx_done(0, addr) {
            self.stack.chunk_freed(chunk);
        }
    }

    /// Takes the frames that have come.
    fn receive(&mut self, now: Instant) {
        count::open(self.account);
        let arrived = &mut self.arrived;
        let next = |ledger: &mut Ledger| {
            let (addr, len) = arrived.pop_front()?;
            let piece = ledger.claim(0, addr, len).expect("a filled chunk");
            Some(Packet::new(piece))
        };
        self.stack.receive(now, &mut self.ledger, 0, next);
        count::open(0);
    }

    fn poll(&mut self, now: Instant) {
        count::open(self.account);
        self.stack.poll(now, &mut self.ledger);
        count::open(0);
    }

    /// Queues what fits; returns how many bytes did.
    pub fn write(&mut self, id: SocketId, source: &[u8], bytes: Bytes) -> usize {
        count::open(self.account);
        let mut at = 0;
        let fill = &mut |part: &mut [u8]| {
            if bytes == Bytes::Copied {
                part.copy_from_slice(&source[at..at + part.len()]);
            }
            at += part.len();
        };
        let sent = self
            .stack
            .tcp_send(&mut self.ledger, id, source.len(), false, fill)
            .unwrap_or(0);
        count::open(0);
        sent
    }

    /// Reads what has come for every socket that has heard of something; returns how many bytes.
    pub fn read_ready(&mut self, sink: &mut [u8], bytes: Bytes) -> usize {
        count::open(self.account);
        let mut read = 0;
        while let Some(event) = self.stack.next_event() {
            let id = event.socket;
            let len = self.stack.tcp_available(id).unwrap_or(0).min(sink.len());
            if len == 0 {
                continue;
            }
            let mut at = 0;
            self.stack.tcp_for_each(&self.ledger, id, len, &mut |part| {
                if bytes == Bytes::Copied {
                    sink[at..at + part.len()].copy_from_slice(part);
                }
                at += part.len();
            });
            self.stack.tcp_consume(&mut self.ledger, id, len);
            read += len;
        }
        count::open(0);
        read
    }

    /// Closes a socket.
    pub fn close(&mut self, now: Instant, id: SocketId) {
        count::open(self.account);
        self.stack.close(now, &mut self.ledger, id);
        count::open(0);
    }
}

/// Two hosts on a wire: the first connects, the second listens.
pub struct Pair {
    pub a: Host,
    pub b: Host,
    pub now: Instant,
    listeners: Vec<SocketId>,
    /// The connections' sockets at the first host.
    pub clients: Vec<SocketId>,
    /// Their other ends, in the same order.
    pub servers: Vec<SocketId>,
}

impl Pair {
    /// Two hosts and no connection.
    pub fn new() -> Pair {
        let (a, mut b) = (Host::new(1), Host::new(2));
        count::open(2);
        let listeners = (0..PORTS)
            .map(|port| {
                let listener = b.stack.open(Protocol::Tcp, Family::V4);
                b.stack.bind(listener, server(port)).expect("a free port");
                b.stack.tcp_listen(listener, 4096).expect("a bound socket");
                listener
            })
            .collect();
        count::open(0);
        let mut pair = Pair {
            a,
            b,
            now: START,
            listeners,
            clients: Vec::new(),
            servers: Vec::new(),
        };
        // The neighbours learn of each other.
        pair.connect(1);
        pair
    }

    /// Moves frames until both have nothing to send.
    pub fn exchange(&mut self) {
        loop {
            let there = self.a.transmit(self.now, &mut self.b);
            self.b.receive(self.now);
            let back = self.b.transmit(self.now, &mut self.a);
            self.a.receive(self.now);
            if !there && !back {
                return;
            }
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, nanos: u64) {
        self.now = Instant::from_nanos(self.now.as_nanos() + nanos);
        self.a.poll(self.now);
        self.b.poll(self.now);
    }

    /// Begins connections, a few at a time; nothing is carried.
    pub fn begin(&mut self, count: usize) -> Vec<SocketId> {
        count::open(1);
        let opened = (0..count)
            .map(|index| {
                let id = self.a.stack.open(Protocol::Tcp, Family::V4);
                let to = server((self.clients.len() + index) as u16 % PORTS);
                let (stack, ledger) = (&mut self.a.stack, &mut self.a.ledger);
                let _ = stack.tcp_connect(self.now, ledger, id, Some(to));
                id
            })
            .collect();
        count::open(0);
        opened
    }

    /// Carries what the first host sends to the second, and takes the answers of the second off its
    /// queue: they are lost.
    pub fn half_exchange(&mut self) {
        self.a.transmit(self.now, &mut self.b);
        self.b.receive(self.now);
        self.b.transmit(self.now, &mut self.a);
        while let Some((addr, len)) = self.a.arrived.pop_front() {
            let piece = self.a.ledger.claim(0, addr, len).expect("a filled chunk");
            self.a.ledger.release(piece.frame);
        }
    }

    /// Makes connections.
    ///
    /// # Panics
    /// If one is not made.
    pub fn connect(&mut self, count: usize) {
        const AT_ONCE: usize = 64;
        let target = self.clients.len() + count;
        while self.clients.len() < target {
            let step = AT_ONCE.min(target - self.clients.len());
            let opened = self.begin(step);
            self.exchange();
            let mut accepted = HashMap::with_capacity(step);
            count::open(2);
            for &listener in &self.listeners {
                while let Ok(one) = self.b.stack.tcp_accept(listener) {
                    let (_, local) = self.b.stack.local(one.socket).expect("a socket");
                    accepted.insert((one.peer, local), one.socket);
                }
            }
            while self.b.stack.next_event().is_some() {}
            count::open(0);
            for client in opened {
                let (_, local) = self.a.stack.local(client).expect("a socket");
                let ends = (local.expect("connected"), self.a.stack.tcp_peer(client));
                let server = accepted.remove(&ends).expect("a connection");
                self.clients.push(client);
                self.servers.push(server);
            }
            count::open(1);
            while self.a.stack.next_event().is_some() {}
            count::open(0);
            self.pass(10_000);
        }
    }

    /// One turn: a connection writes `source`, and the second host reads and acknowledges it. Returns
    /// the bytes read.
    pub fn turn(
        &mut self,
        client: SocketId,
        source: &[u8],
        sink: &mut [u8],
        bytes: Bytes,
    ) -> usize {
        self.a.write(client, source, bytes);
        self.a.transmit(self.now, &mut self.b);
        self.b.receive(self.now);
        let read = self.b.read_ready(sink, bytes);
        self.b.transmit(self.now, &mut self.a);
        self.a.receive(self.now);
        self.a.read_ready(sink, bytes);
        self.pass((source.len() / SEGMENT_BYTES) as u64 * SEGMENT_NANOS);
        read
    }
}

/// Virtual time that passes for a segment, as at 10 Gbit/s.
const SEGMENT_NANOS: u64 = 1_200;

impl Default for Pair {
    fn default() -> Pair {
        Pair::new()
    }
}

fn server(port: u16) -> std::net::SocketAddr {
    ([10, 0, 0, 3], BASE_PORT + port).into()
}

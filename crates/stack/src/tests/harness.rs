//! A stack with its memory and a clock that the test moves: frames go in and come out as bytes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringwire_umem::{Layout, Ledger, Pool, TxDone, Umem};

pub(super) use super::random::{Random, pattern};
use super::{build, offload};
use crate::neighbour::dad::Probing;
use crate::{
    Config, DadConfig, Event, Family, Instant, Linger, METADATA_BYTES, Packet, PlanLimits,
    Protocol, RxChecksum, SendOptions, SocketError, SocketId, Stack, TxChecksum, TxFlags,
};

pub(super) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub(super) const OUR_V4: &str = "10.0.0.2";
pub(super) const OUR_V6: &str = "fd00::2";
pub(super) const PEER_V4: &str = "10.0.0.9";
pub(super) const PEER_V6: &str = "fd00::9";

/// What the kernel leaves in front of a received packet (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;
/// Frames that a NIC of the pair has received when the stack looks.
const BURST: usize = 16;
/// Longer than any answer of a neighbour is waited for.
const GIVE_UP: Duration = Duration::from_secs(20);

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A datagram as the application sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) from: SocketAddr,
    pub(super) payload: Vec<u8>,
}

/// Packets that the NIC has and has not reported as sent: their bytes, and their descriptors.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) descriptors: Vec<u64>,
}

/// One machine. When it goes, everything it had must be back in its pools.
pub(super) struct Host {
    pub(super) ledger: Ledger,
    pub(super) stack: Stack,
    pub(super) now: Instant,
    pub(super) config: Config,
    sockets: Vec<SocketId>,
    chunks: u32,
    /// Those of registered areas.
    area_chunks: u32,
}

/// What a host is made with.
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) layout: Layout,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            config: Config {
                mac: OUR_MAC,
                mtu: 1500,
                plan: PlanLimits::SCATTER,
                queues: 1,
                addresses: vec![
                    "10.0.0.2/24".parse().unwrap(),
                    "fd00::2/64".parse().unwrap(),
                ],
                gateways: Vec::new(),
                rx_checksum: RxChecksum::Verify,
                tx_checksum: TxChecksum::Compute,
                dad: DadConfig {
                    ipv4: Probing::OFF,
                    ipv6: Probing::OFF,
                },
            },
            layout: Layout {
                chunk_bytes: 2048,
                rx_chunks: 256,
                header_chunks: 0,
                send_chunks: 256,
                lend_reserve_chunks: 32,
                areas: Vec::new(),
            },
        }
    }
}

impl Host {
    /// A host with its addresses usable, that knows nobody yet.
    pub(super) fn new() -> Host {
        Host::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Setup)) -> Host {
        let mut setup = Setup::default();
        change(&mut setup);
        let chunks = setup.layout.check().unwrap();
        let mut ledger = Ledger::new(Umem::new(setup.layout).unwrap());
        let area_chunks = ledger.census().app;
        let now = Instant::from_nanos(1_000_000_000);
        let config = setup.config;
        let mut stack = Stack::new(now, config.clone(), &ledger, [7, 8, 9]);
        stack.poll(now, &mut ledger);
        let mut host = Host {
            ledger,
            stack,
            now,
            config,
            sockets: Vec::new(),
            chunks,
            area_chunks,
        };
        // What it says by itself (multicast reports) is no answer to the test.
        host.sent();
        host
    }

    /// A host that knows its peer.
    pub(super) fn ready() -> Host {
        Host::ready_with(|_| {})
    }

    pub(super) fn ready_with(change: impl FnOnce(&mut Setup)) -> Host {
        let mut host = Host::with(change);
        host.meet_peer();
        host
    }

    /// Has the peer ask for our addresses, so that it is known.
    pub(super) fn meet_peer(&mut self) {
        self.receive(&build::arp_request(PEER_MAC, PEER_V4, OUR_V4));
        self.receive(&build::neighbour_solicit(PEER_MAC, PEER_V6, OUR_V6));
        self.sent();
    }

    /// Lets time pass, with every deadline on the way served when it comes.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        // Each deadline served asks for a later one, or for none.
        while let Some(due) = self.stack.next_deadline(self.now).filter(|&due| due <= end) {
            let before = self.now;
            self.now = due.max(self.now);
            self.stack.poll(self.now, &mut self.ledger);
            let next = self.stack.next_deadline(self.now);
            let stuck = self.now == before && next.is_some_and(|next| next <= before);
            assert!(!stuck, "a deadline that was served stands still");
        }
        self.now = end;
        self.stack.poll(end, &mut self.ledger);
    }

    /// Takes a frame from the wire, in pieces as long as chunks allow.
    pub(super) fn receive(&mut self, frame: &[u8]) {
        self.receive_in(frame, self.most_in_a_piece());
    }

    /// Takes frames that the NIC has received together. One that finds no chunk is lost.
    pub(super) fn receive_together(&mut self, frames: &[Vec<u8>]) {
        let most = self.most_in_a_piece();
        let frames = frames.iter();
        let packets: Vec<_> = frames
            .filter_map(|frame| self.arrived(frame, most))
            .collect();
        self.take(packets);
    }

    /// Takes a frame in pieces of this many bytes. A NIC with no chunk to write to loses it.
    pub(super) fn receive_in(&mut self, frame: &[u8], piece_bytes: usize) {
        let packet = self.arrived(frame, piece_bytes);
        self.take(packet);
    }

    fn most_in_a_piece(&self) -> usize {
        self.ledger.chunk_bytes() as usize - HEADROOM
    }

    fn take(&mut self, packets: impl IntoIterator<Item = Packet>) {
        let mut packets = packets.into_iter();
        self.stack
            .receive(self.now, &mut self.ledger, 0, |_| packets.next());
    }

    /// A frame as the NIC has written it, if there are chunks for it.
    fn arrived(&mut self, frame: &[u8], piece_bytes: usize) -> Option<Packet> {
        let mut pieces = Vec::new();
        let parts: Vec<&[u8]> = match frame {
            [] => vec![frame],
            _ => frame.chunks(piece_bytes).collect(),
        };
        if parts.len() as u32 > self.ledger.free_chunks(Pool::Rx) {
            return None;
        }
        for part in parts {
            let mut frame = self.ledger.alloc(Pool::Rx).unwrap();
            self.ledger.bytes_mut(&mut frame)[HEADROOM..HEADROOM + part.len()]
                .copy_from_slice(part);
            let addr = self.ledger.post_fill(frame, 0) + HEADROOM as u64;
            pieces.push(self.ledger.claim(0, addr, part.len() as u32).unwrap());
        }
        let mut packet = Packet::new(pieces.remove(0));
        packet.rest = pieces;
        Some(packet)
    }

    /// Gives what waits to the NIC, which does not report it as sent yet.
    pub(super) fn post(&mut self) -> InFlight {
        let mut posted = InFlight::default();
        loop {
            let mut pieces = Vec::new();
            let post = |addr, len, flags: TxFlags| pieces.push((addr, len, flags));
            let (stack, ledger) = (&mut self.stack, &mut self.ledger);
            if stack.transmit(self.now, ledger, 0, u32::MAX, post) == 0 {
                break;
            }
            for packet in pieces.split_inclusive(|&(_, _, flags)| !flags.more) {
                let frame = self.describe(packet);
                let descriptors = packet.iter().map(|&(addr, ..)| addr);
                posted.descriptors.extend(descriptors);
                posted.frames.push(frame);
            }
        }
        posted
    }

    /// The bytes of a packet that was posted in these pieces.
    pub(super) fn describe(&mut self, pieces: &[(u64, u32, TxFlags)]) -> Vec<u8> {
        assert!(
            pieces.len() as u32 <= self.config.plan.descriptors,
            "{} pieces of a packet",
            pieces.len()
        );
        let mut frame = Vec::new();
        for (index, &(addr, len, flags)) in pieces.iter().enumerate() {
            assert!(len > 0, "an empty descriptor");
            let room = addr as u32 & (self.ledger.chunk_bytes() - 1);
            assert!(
                room >= self.config.plan.headroom,
                "a descriptor has {room} bytes in front of it"
            );
            assert!(
                index == 0 || !flags.metadata,
                "only a packet's first descriptor has metadata"
            );
            frame.extend_from_slice(self.ledger.described(addr, len).unwrap());
        }
        assert!(
            frame.len() <= usize::from(self.config.mtu) + 14,
            "a frame of {} bytes is over the MTU",
            frame.len()
        );
        if pieces[0].2.metadata {
            let addr = pieces[0].0 - METADATA_BYTES as u64;
            let metadata = self.ledger.described(addr, METADATA_BYTES as u32);
            offload::complete(&mut frame, metadata.unwrap());
        }
        frame
    }

    /// What the NIC would read now of packets that consist of one piece each.
    pub(super) fn described(&mut self, posted: &InFlight) -> Vec<Vec<u8>> {
        let pieces = posted.descriptors.iter().zip(&posted.frames);
        let read = pieces.map(|(&addr, frame)| {
            self.ledger
                .described(addr, frame.len() as u32)
                .unwrap()
                .to_vec()
        });
        read.collect()
    }

    /// Has the NIC report packets as sent.
    pub(super) fn complete(&mut self, posted: InFlight) -> Vec<Vec<u8>> {
        for addr in posted.descriptors {
            if let TxDone::Freed(chunk) = self.ledger.tx_done(0, addr).unwrap() {
                self.stack.chunk_freed(chunk);
            }
        }
        posted.frames
    }

    /// Everything that goes out now.
    pub(super) fn sent(&mut self) -> Vec<Vec<u8>> {
        let posted = self.post();
        self.complete(posted)
    }

    /// A listener on an address; the family is the address's.
    pub(super) fn listener(&mut self, local: &str, backlog: u32) -> SocketId {
        let local = at(local);
        let family = if local.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        let id = self.stack.open(Protocol::Tcp, family);
        self.sockets.push(id);
        self.stack.bind(id, local).unwrap();
        self.stack.tcp_listen(id, backlog).unwrap();
        id
    }

    /// A socket that begins to connect.
    pub(super) fn connecting(&mut self, remote: &str) -> SocketId {
        let remote = at(remote);
        let family = if remote.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        let id = self.stack.open(Protocol::Tcp, family);
        self.sockets.push(id);
        let begun = self
            .stack
            .tcp_connect(self.now, &mut self.ledger, id, Some(remote));
        assert_eq!(begun, Err(SocketError::InProgress));
        id
    }

    /// Takes a connection off a listener's queue.
    pub(super) fn accept(&mut self, listener: SocketId) -> Result<SocketId, SocketError> {
        let accepted = self.stack.tcp_accept(listener)?;
        self.sockets.push(accepted.socket);
        Ok(accepted.socket)
    }

    /// Has small segments go at once.
    pub(super) fn no_delay(&mut self, id: SocketId) {
        let mut options = self.stack.tcp_options(id).expect("a TCP socket");
        options.no_delay = true;
        self.stack.tcp_set_options(self.now, id, options);
    }

    /// Queues bytes on a stream; how many fitted.
    pub(super) fn write(&mut self, id: SocketId, bytes: &[u8]) -> Result<usize, SocketError> {
        self.write_more(id, bytes, false)
    }

    pub(super) fn write_more(
        &mut self,
        id: SocketId,
        bytes: &[u8],
        more: bool,
    ) -> Result<usize, SocketError> {
        let mut taken = 0;
        let mut fill = |part: &mut [u8]| {
            part.copy_from_slice(&bytes[taken..taken + part.len()]);
            taken += part.len();
        };
        let (stack, ledger) = (&mut self.stack, &mut self.ledger);
        let result = stack.tcp_send(ledger, id, bytes.len(), more, &mut fill);
        assert_eq!(taken, result.unwrap_or(0));
        result
    }

    /// Reads what is there of a stream, up to a limit.
    pub(super) fn read(&mut self, id: SocketId, limit: usize) -> Result<Vec<u8>, SocketError> {
        let there = self.stack.tcp_available(id)?.min(limit);
        let mut bytes = Vec::new();
        self.stack
            .tcp_for_each(&self.ledger, id, there, &mut |part| {
                bytes.extend_from_slice(part);
            });
        assert_eq!(bytes.len(), there);
        self.stack.tcp_consume(&mut self.ledger, id, there);
        Ok(bytes)
    }

    /// Hands a frame in and returns what goes out because of it.
    pub(super) fn answer(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.receive(frame);
        self.sent()
    }

    pub(super) fn open(&mut self, family: Family) -> SocketId {
        let id = self.stack.open(Protocol::Udp, family);
        self.sockets.push(id);
        id
    }

    /// A socket bound to an address; the family is the address's.
    pub(super) fn bound(&mut self, local: &str) -> SocketId {
        let local = at(local);
        let family = if local.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        let id = self.open(family);
        self.stack.bind(id, local).unwrap();
        id
    }

    /// A socket bound and connected.
    pub(super) fn connected(&mut self, local: &str, remote: &str) -> SocketId {
        let id = self.bound(local);
        self.stack.udp_connect(id, Some(at(remote))).unwrap();
        id
    }

    pub(super) fn close(&mut self, id: SocketId) {
        self.sockets.retain(|&other| other != id);
        self.stack.close(self.now, &mut self.ledger, id);
    }

    pub(super) fn local(&self, id: SocketId) -> SocketAddr {
        self.stack.local(id).unwrap().1.unwrap()
    }

    pub(super) fn send(
        &mut self,
        id: SocketId,
        to: &str,
        payload: &[u8],
    ) -> Result<(), SocketError> {
        let options = SendOptions {
            to: Some(at(to)),
            ..SendOptions::default()
        };
        self.send_with(id, &options, payload)
    }

    /// Sends, and checks that the payload was asked for in full or not at all.
    pub(super) fn send_with(
        &mut self,
        id: SocketId,
        options: &SendOptions,
        payload: &[u8],
    ) -> Result<(), SocketError> {
        let mut taken = 0;
        let mut fill = |part: &mut [u8]| {
            part.copy_from_slice(&payload[taken..taken + part.len()]);
            taken += part.len();
        };
        let len = payload.len();
        let (stack, ledger) = (&mut self.stack, &mut self.ledger);
        let result = stack.udp_send(self.now, ledger, id, options, len, &mut fill);
        assert_eq!(taken, if result.is_ok() { len } else { 0 });
        result
    }

    /// Takes the next datagram of a socket.
    pub(super) fn recv(&mut self, id: SocketId) -> Option<Received> {
        let datagram = self.stack.udp_front(id)?;
        let mut payload = Vec::new();
        datagram.for_each(&self.ledger, usize::MAX, |part| {
            payload.extend_from_slice(part)
        });
        assert_eq!(payload.len(), datagram.len());
        let from = datagram.from;
        self.stack.udp_consume(&mut self.ledger, id);
        Some(Received { from, payload })
    }

    /// Takes the payload of the next datagram of a socket, and checks where it came from.
    pub(super) fn recv_from(&mut self, id: SocketId, from: &str) -> Option<Vec<u8>> {
        let received = self.recv(id)?;
        assert_eq!(received.from, at(from));
        Some(received.payload)
    }

    pub(super) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.stack.next_event()).collect()
    }

    pub(super) fn free(&self, pool: Pool) -> u32 {
        self.ledger.free_chunks(pool)
    }

    /// Has closing reset the connection.
    pub(super) fn reset_on_close(&mut self, id: SocketId) {
        if let Ok(mut options) = self.stack.options(id) {
            options.linger = Linger {
                on: true,
                seconds: 0,
            };
            self.stack.set_options(id, options).expect("it is there");
        }
    }

    /// Checks that no chunk is missing or counted twice.
    pub(super) fn check_census(&self) {
        assert_eq!(self.ledger.census().total(), self.chunks, "chunks in all");
    }

    /// Closes everything (connections by a reset), waits for every neighbour, and checks that every chunk is in its pool.
    fn check_nothing_leaked(&mut self) {
        self.check_census();
        for id in std::mem::take(&mut self.sockets) {
            // The peer is gone: nobody would answer a FIN.
            self.reset_on_close(id);
            self.stack.close(self.now, &mut self.ledger, id);
        }
        self.pass(GIVE_UP);
        self.sent();
        let census = self.ledger.census();
        let pools = self.chunks - self.area_chunks;
        assert_eq!(census.free, pools, "leaked: {census:?}");
        assert_eq!(census.descriptors_in_flight, 0);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_nothing_leaked();
        }
    }
}

/// Two hosts on one wire: `a` is 10.0.0.2 and fd00::2, `b` is 10.0.0.3 and fd00::3.
pub(super) struct Pair {
    pub(super) a: Host,
    pub(super) b: Host,
}

impl Pair {
    pub(super) fn new() -> Pair {
        Pair::with(|_| {})
    }

    /// Both hosts with the same change.
    pub(super) fn with(change: impl Fn(&mut Setup)) -> Pair {
        let a = Host::with(&change);
        let b = Host::with(|setup| {
            change(setup);
            setup.config.mac = [2, 0, 0, 0, 0, 3];
            setup.config.addresses = vec![
                "10.0.0.3/24".parse().unwrap(),
                "fd00::3/64".parse().unwrap(),
            ];
        });
        Pair { a, b }
    }

    /// A connection from `a` to `b`, both ends in this order.
    pub(super) fn connect(&mut self, to: &str) -> (SocketId, SocketId) {
        let listener = self.b.listener(to, 8);
        let client = self.a.connecting(to);
        self.exchange();
        assert_eq!(self.a.stack.tcp_connected(client), Some(Ok(())));
        let server = self.b.accept(listener).unwrap();
        self.b.close(listener);
        (client, server)
    }

    /// Lets time pass for both, carrying frames at each deadline.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.a.now + time;
        let mut stuck = 0;
        loop {
            self.exchange();
            let now = self.a.now;
            let due = [&mut self.a, &mut self.b].map(|host| host.stack.next_deadline(now));
            match due.into_iter().flatten().min().filter(|&due| due <= end) {
                Some(due) => {
                    stuck = if due > now { 0 } else { stuck + 1 };
                    assert!(stuck < 10, "a deadline that was served stands still");
                    for host in [&mut self.a, &mut self.b] {
                        host.now = due.max(now);
                        host.stack.poll(host.now, &mut host.ledger);
                    }
                }
                None => break,
            }
        }
        for host in [&mut self.a, &mut self.b] {
            host.now = end;
        }
    }

    /// Carries frames both ways until nobody has anything to say.
    pub(super) fn exchange(&mut self) {
        for _ in 0..10_000 {
            let (to_b, to_a) = (self.a.sent(), self.b.sent());
            if to_b.is_empty() && to_a.is_empty() {
                return;
            }
            to_b.chunks(BURST)
                .for_each(|burst| self.b.receive_together(burst));
            to_a.chunks(BURST)
                .for_each(|burst| self.a.receive_together(burst));
        }
        panic!("the hosts do not stop talking");
    }
}

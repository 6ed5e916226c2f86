//! The protocol stack between frames and sockets: Ethernet, ARP, neighbour discovery, IP, ICMP,
//! UDP and TCP over UMEM frames. Headers are read and written with `smoltcp::wire`.
//!
//! The stack does no I/O and reads no clock: packets, time and randomness are arguments. The owner
//! (one engine, one thread) hands it received packets ([`Stack::receive`]), takes what is to be sent
//! ([`Stack::transmit`]), and calls [`Stack::poll`] when [`Stack::next_deadline`] is reached.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

// Breaks on purpose what the simulator must then find. Whoever gets the feature by accident (all features at
// once, say) gets this error and no library.
#[cfg(feature = "broken-checksum")]
const _: () = assert!(
    option_env!("RINGWIRE_BROKEN").is_some(),
    "the feature broken-checksum makes ringwire wrong on purpose: it is for scripts/broken.sh only"
);

mod address;
mod borrowed;
mod checksum;
mod control;
mod counters;
mod egress;
mod ends_map;
mod error;
mod extension;
mod group;
mod headers;
mod icmp;
mod ingress;
mod kernel;
mod lend;
mod limit;
mod link;
pub mod neighbour;
mod offload;
mod options;
mod packet;
mod path_mtu;
mod plan;
pub mod reassembly;
mod relink;
mod reserved;
mod rss;
mod siblings;
mod slab;
mod socket;
mod tcp;
mod udp;
mod way;

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use ringwire_umem::{Ledger, Pool};

pub use address::{Cidr, CidrError, multicast_mac, solicited_node};
pub use borrowed::BorrowedParts;
pub use counters::Counters;
pub use error::SocketError;
pub use kernel::{Kernel, KernelEvent, Neighbour, Reservation, Route};
pub use lend::{LendError, LentPart};
pub use neighbour::dad::{AddressState, DadConfig};
pub use offload::{ChecksumPlace, METADATA_BYTES, Metadata, TxChecksum, TxFlags};
pub use options::{Linger, SocketOptions};
pub use packet::{Packet, TxPacket};
pub use plan::PlanLimits;
pub use ringwire_tcp::{
    Algorithm, CongestionState, Info as TcpInfo, Instant, KeepAlive, State, TcpOptions,
    Totals as TcpTotals,
};
pub use rss::{HashFields, HashedFields, Rss};
pub use siblings::Sibling;
pub use socket::{Event, Family, Protocol, Readiness, Shutdown, SocketId};
pub use tcp::Accepted;
pub use udp::Datagram;
pub use udp::send::{MAX_SEGMENTS, SendOptions};

use address::Addresses;
use control::Control;
use kernel::Shared;
use limit::TokenBucket;
use neighbour::dad::Dad;
use path_mtu::PathMtus;
use reassembly::Reassembler;
use udp::Sockets;
use way::Ways;

/// Most addresses that a stack can have (the control plane's table is this long).
pub const MAX_ADDRESSES: usize = 8;

/// Control packets answered in a second, and at once: Linux's `icmp_msgs_per_sec` and
/// `icmp_msgs_burst` are 1000 and 50; pings count here too, hence more.
const CONTROL_RATE_PER_S: u32 = 10_000;
const CONTROL_BURST: u32 = 1000;

/// What to do about the checksum of a received datagram or TCP segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RxChecksum {
    /// Verify it; a wrong one is dropped and counted, and so is a partial one.
    #[default]
    Verify,
    /// Verify it, but accept one that covers the pseudo-header alone: what a kernel peer on the same
    /// machine (veth, virtio) leaves to its device. Such a packet is not protected by a checksum.
    AcceptPartial,
    /// Do not look: the NIC has verified it.
    Trust,
}

/// What a stack is made for.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our Ethernet address.
    pub mac: [u8; 6],
    /// Bytes of the largest IP packet on the link: 576 at least, 1280 with IPv6.
    pub mtu: u16,
    /// Packets of several descriptors.
    pub plan: PlanLimits,
    /// NIC queues.
    pub queues: u16,
    /// Our addresses, [`MAX_ADDRESSES`] at most.
    pub addresses: Vec<Cidr>,
    /// The way off the link, one for each family at most.
    pub gateways: Vec<IpAddr>,
    /// Checksums on receive.
    pub rx_checksum: RxChecksum,
    /// Checksums on transmit.
    pub tx_checksum: TxChecksum,
    /// Duplicate address detection.
    pub dad: DadConfig,
}

/// The stack of one engine.
#[derive(Debug)]
pub struct Stack {
    config: Config,
    addresses: Addresses,
    /// `None`: the addresses are ours alone.
    shared: Option<Shared>,
    dad: Dad,
    neighbours: neighbour::Table<TxPacket>,
    reassembler: Reassembler,
    paths: PathMtus,
    ways: Ways,
    control: Control,
    control_limit: TokenBucket,
    /// Where answers of the control plane leave: the queue of the last packet received.
    control_queue: u16,
    sockets: Sockets,
    tcp: tcp::Table,
    /// Whose event comes next.
    tcp_first: bool,
    /// Sockets that found no free send chunk.
    starved: HashSet<SocketId, FixedState>,
    egress: Vec<VecDeque<TxPacket>>,
    /// Which socket a send chunk is charged to.
    chunk_owner: Vec<Option<SocketId>>,
    /// How the NIC chooses the queue that a flow arrives on, where that is known and not every queue is ours.
    rss: Option<Rss>,
    /// `None`: no other stack has queues of the interface.
    sibling: Option<Arc<Sibling>>,
    /// What is being dealt with was handed over, and is not to be once more.
    taking_over: bool,
    counters: Counters,
    random: u64,
}

impl Stack {
    /// A stack that begins to probe its addresses. Of the three random numbers the first chooses ports,
    /// identifications and waits; the others are the secret behind TCP's sequence numbers (RFC 6528).
    /// They must come from the operating system's generator, or anybody can guess them.
    ///
    /// # Panics
    /// If there are more than [`MAX_ADDRESSES`] addresses, no queue, an MTU below 576, or no headroom where
    /// checksums are written behind us.
    pub fn new(now: Instant, config: Config, ledger: &Ledger, random: [u64; 3]) -> Stack {
        let [seed, secret @ ..] = random;
        assert!(
            config.addresses.len() <= MAX_ADDRESSES,
            "a stack has at most {MAX_ADDRESSES} addresses"
        );
        assert!(config.queues > 0, "a stack has at least one queue");
        assert!(config.mtu >= 576, "a stack has an MTU of at least 576");
        assert!(
            !matches!(config.tx_checksum, TxChecksum::Offload(_))
                || config.plan.headroom as usize >= METADATA_BYTES,
            "a stack whose checksums are written behind it has headroom to ask for them"
        );
        let mut dad = Dad::new(config.dad, seed);
        for cidr in &config.addresses {
            dad.start(now, cidr.address);
        }
        let chunks = ledger.umem().len_bytes() / ledger.chunk_bytes() as usize;
        // A 64 KiB datagram in fragments of the smallest MTU that is common is 128 packets.
        let defaults = neighbour::Config::default();
        // Whoever sends from addresses that nobody has must not have all chunks wait for them.
        let layout = ledger.umem().layout();
        let half = (layout.header_chunks + layout.send_chunks) as usize / 2;
        let neighbours = neighbour::Config {
            pending_per_neighbour: 128,
            pending_total: defaults.pending_total.min(half.max(1)),
            ..defaults
        };
        Stack {
            addresses: Addresses::new(&config.addresses, &config.gateways),
            shared: None,
            dad,
            neighbours: neighbour::Table::new(neighbours, seed),
            reassembler: Reassembler::new(reassembly::Config::default()),
            paths: PathMtus::new(seed),
            ways: Ways::default(),
            control: Control::new(now, seed),
            control_limit: TokenBucket::new(CONTROL_RATE_PER_S, CONTROL_BURST),
            control_queue: 0,
            sockets: Sockets::new(seed),
            tcp: tcp::Table::new(seed, secret, config.queues),
            starved: HashSet::with_hasher(FixedState::with_seed(seed)),
            tcp_first: false,
            egress: (0..config.queues).map(|_| VecDeque::new()).collect(),
            chunk_owner: vec![None; chunks],
            rss: None,
            sibling: None,
            taking_over: false,
            counters: Counters::default(),
            random: seed,
            config,
        }
    }

    /// A stack whose addresses, any number of them, are the kernel's too, and usable at once. It has no gateways of its
    /// own, and what else [`Config`] says of addresses means nothing.
    ///
    /// # Panics
    /// As [`Stack::new`].
    pub fn beside(
        now: Instant,
        config: Config,
        kernel: Box<dyn Kernel>,
        ledger: &Ledger,
        random: [u64; 3],
    ) -> Stack {
        let addresses = config.addresses;
        let config = Config {
            addresses: Vec::new(),
            gateways: Vec::new(),
            ..config
        };
        let mut stack = Stack::new(now, config, ledger, random);
        stack.addresses.replace(&addresses);
        stack.shared = Some(Shared::new(now, kernel, random[0]));
        stack
    }

    /// Says how the NIC chooses the queue that a flow arrives on. Sockets that connect without being bound take
    /// ports whose answers arrive on a queue of this stack's, then; without it, any.
    pub fn set_rss(&mut self, rss: Option<Rss>) {
        self.rss = rss;
    }

    /// Leaves the probing of the addresses to another stack that has the same, until
    /// [`settle_addresses`](Self::settle_addresses): they are tentative, and one that somebody else is heard to have is
    /// lost. To be called before anything else.
    pub fn follow_addresses(&mut self) {
        self.dad.follow();
    }

    /// The addresses were probed and are ours.
    pub fn settle_addresses(&mut self, now: Instant, ledger: &mut Ledger) {
        self.dad.settle(now);
        self.poll_addresses(now, ledger);
    }

    /// Does what is due: probes, retries, expiries.
    pub fn poll(&mut self, now: Instant, ledger: &mut Ledger) {
        self.poll_kernel(now, ledger);
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if due(self.dad.next_deadline()) {
            self.poll_addresses(now, ledger);
        }
        if due(self.neighbours.next_deadline()) {
            self.poll_neighbours(now, ledger);
        }
        if due(self.reassembler.next_deadline()) {
            let mut expired = Vec::new();
            self.reassembler.poll(now, &mut expired);
            for datagram in expired {
                self.report_expired(now, ledger, &datagram);
            }
        }
        self.paths.expire(now);
        if due(self.control.next_deadline(now)) {
            self.poll_control(now, ledger);
        }
        if due(self.tcp_deadline()) {
            self.tcp_poll(now, ledger);
        }
        self.deliver_looped(now, ledger);
        self.take_over(now, ledger);
        self.wake_starved(ledger);
        self.release_ports();
    }

    /// Has those who found no send chunk try again, once some are free.
    fn wake_starved(&mut self, ledger: &Ledger) {
        if self.starved.is_empty() {
            return;
        }
        if ledger.free_chunks(Pool::Send) < 2 * egress::CONTROL_RESERVE_CHUNKS {
            return;
        }
        for id in self.starved.drain() {
            // One that is gone would take the event of whoever has its slot now.
            match id.protocol() {
                Protocol::Udp if self.sockets.get(id).is_some() => {
                    self.sockets.events.mark(id, false, true);
                }
                Protocol::Tcp if self.tcp.get(id).is_some() => {
                    self.tcp.events.mark(id, false, true);
                }
                _ => {}
            }
        }
    }

    /// When [`Stack::poll`] has something to do next.
    pub fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let deadlines = [
            self.dad.next_deadline(),
            self.neighbours.next_deadline(),
            self.reassembler.next_deadline(),
            self.paths.next_deadline(),
            self.control.next_deadline(now),
            self.tcp_deadline(),
            (self.has_looped() || self.has_handed_over()).then_some(now),
            self.has_kernel_events().then_some(now),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Whether packets wait to be sent on a queue.
    pub fn has_tx(&self, queue: u16) -> bool {
        !self.egress[usize::from(queue)].is_empty() || self.tcp.has_ready(queue)
    }

    /// Says that a send chunk is back in its pool, so that its socket can use another.
    pub fn chunk_freed(&mut self, chunk: u32) {
        let Some(id) = self
            .chunk_owner
            .get_mut(chunk as usize)
            .and_then(Option::take)
        else {
            return;
        };
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.chunks_in_use -= 1;
            self.sockets.events.mark(id, false, true);
        }
    }

    /// The state of one of our addresses; `None` if it is not ours.
    pub fn address_state(&self, address: IpAddr) -> Option<AddressState> {
        self.dad.state(address)
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What the neighbour table counted.
    pub fn neighbour_counters(&self) -> neighbour::Counters {
        self.neighbours.counters()
    }

    /// What the reassembler counted.
    pub fn reassembly_counters(&self) -> reassembly::Counters {
        self.reassembler.counters()
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): ports and identifications, no secrets.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests;

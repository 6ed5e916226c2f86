//! What a run is made of: the shape that a seed chooses, and the faults.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringwire_abi::flags::{IORING_SETUP_CQE_MIXED, IORING_SETUP_CQE32};

use crate::random::Random;

/// Faults, in so many of a thousand: packets on the wire, or steps of the simulation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Packets lost on the wire.
    pub loss: u32,
    /// Packets doubled.
    pub duplication: u32,
    /// Packets delayed past others.
    pub reordering: u32,
    /// Packets with a flipped bit, of every layer.
    pub corruption: u32,
    /// Steps in which the wire is cut, one way or both, for up to [`LONGEST_PARTITION_NS`].
    pub partition: u32,
    /// Steps in which the path's MTU changes.
    pub mtu_change: u32,
    /// Kicks that the kernel does not hear.
    pub deaf: u32,
    /// Steps in which the kernel reports nothing that it has sent.
    pub late_completions: u32,
    /// Steps in which the kernel reports what it has sent in another order.
    pub disorder: u32,
    /// Steps in which it reports what it was not given, or has reported before.
    pub wrong_completions: u32,
    /// Steps with a device reset: some of what was sent is never reported.
    pub device_reset: u32,
    /// Whether the application keeps what it is lent for as long as there are faults.
    pub keeps: bool,
    /// Steps in which the application writes over what it has sent without waiting for the notification.
    pub spoiling: u32,
    /// Steps with a frame that no honest host sends.
    pub garbage: u32,
    /// Whether the application makes wrong requests.
    pub hostile: bool,
    /// Steps in which something changes in the kernel beside a ring, if its addresses are shared.
    pub beside: u32,
}

/// A cut wire heals after this time at the latest.
pub const LONGEST_PARTITION_NS: u64 = 4_000_000_000;

/// One direction of the wire. It is what it is, faults or no faults.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Bytes that leave the bottleneck in a second; 0 is no bottleneck.
    pub rate_bytes_per_s: u64,
    /// Bytes that may wait in front of it; of what exceeds them more is dropped the more there is.
    pub queue_bytes: u64,
    /// Propagation.
    pub delay_ns: u64,
    /// What is added to it at most. Jitter alone does not reorder.
    pub jitter_ns: u64,
}

/// What a host's rings and its memory are like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// NIC queues, 1 or 2.
    pub queues: u16,
    /// Entries of each AF_XDP ring.
    pub ring_entries: u32,
    /// Entries of the completion queue.
    pub cq_entries: u32,
    /// Chunks for what is sent, of all sockets together. With few of them sends wait for each other.
    pub send_chunks: u32,
    /// Chunks for headers of what lies elsewhere.
    pub header_chunks: u32,
    /// Bytes of each slot of the registered area with slots.
    pub slot_bytes: u32,
    /// Most descriptors of a packet: 1 is a port without scatter.
    pub descriptors: u32,
    /// Whether the application receives with lent groups, and forwards what it is lent.
    pub lends: bool,
    /// Whether it receives with RECV_ZC too, and what its completions are then: 0, or `IORING_SETUP_CQE32` or
    /// `IORING_SETUP_CQE_MIXED`.
    pub big_completions: u32,
    /// Whether some of its zero-copy sends are bound to notification slots.
    pub slots: bool,
    /// Whether it sends some of its datagrams and of its streams with MSG_ZEROCOPY.
    pub numbers: bool,
    /// Payloads of fewer bytes are copied behind their headers.
    pub scatter_from_bytes: u32,
    /// Whether the kernel writes the checksums of what is sent.
    pub offload: bool,
    /// Whether its addresses are the kernel's, which it is beside.
    pub shared: bool,
}

/// Whose stacks the two hosts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Two whole hosts with rings, each on a simulated kernel.
    Ringwire,
    /// ringwire serves smoltcp's clients.
    SmoltcpClient,
    /// ringwire's clients are served by smoltcp.
    SmoltcpServer,
}

/// A host's addresses.
pub(crate) struct Address {
    pub(crate) mac: [u8; 6],
    pub(crate) v4: IpAddr,
    pub(crate) v6: IpAddr,
}

pub(crate) const SERVER: Address = address(2);
pub(crate) const CLIENT: Address = address(1);

const fn address(number: u8) -> Address {
    Address {
        mac: [2, 0, 0, 0, 0, number],
        v4: IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)),
        v6: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number as u16)),
    }
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
    /// The wire towards the server, and back.
    pub paths: [Path; 2],
    /// The path's MTU, where it is less than the interfaces': it stays so when faults stop.
    pub path_mtu: Option<u16>,
    /// Whether the path says so when it drops a packet that exceeds its MTU (RFC 1191, RFC 8201); a
    /// switch, or a firewall in front of a router, does not.
    pub reports_too_big: bool,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// Whose stacks meet.
    pub peers: Peers,
    /// Whether the hosts end their rings in the middle of it all, once faults have stopped.
    pub leaves: bool,
    /// The server's rings and the client's, where they have any.
    pub shapes: [Shape; 2],
    /// A break for the checkers to find.
    pub broken: Option<Break>,
}

impl Config {
    /// A run whose shape and faults the seed chooses.
    pub fn from_seed(seed: u64) -> Config {
        let mut random = Random::new(seed ^ 0x5eed);
        let mut up_to = |most: u64| random.below(most + 1) as u32;
        let mut config = Config {
            seed,
            steps: 800,
            faults: Faults {
                loss: up_to(100),
                duplication: up_to(50),
                reordering: up_to(200),
                corruption: up_to(50),
                partition: up_to(4).saturating_sub(2),
                mtu_change: up_to(10).saturating_sub(5),
                deaf: up_to(500),
                late_completions: up_to(900),
                garbage: up_to(200),
                hostile: up_to(1) == 1,
                disorder: up_to(400).saturating_sub(100),
                wrong_completions: up_to(100).saturating_sub(50),
                device_reset: up_to(8).saturating_sub(4),
                keeps: up_to(3) == 0,
                spoiling: up_to(400).saturating_sub(200),
                beside: 0,
            },
            mtu: if up_to(1) == 1 { 9000 } else { 1500 },
            peers: match up_to(3) {
                0 => Peers::SmoltcpClient,
                1 => Peers::SmoltcpServer,
                _ => Peers::Ringwire,
            },
            shapes: [shape(&mut random), shape(&mut random)],
            paths: paths(&mut random),
            path_mtu: None,
            reports_too_big: random.chance(500),
            leaves: random.chance(300),
            broken: None,
        };
        // smoltcp has no path MTU discovery: between it and us such a path is a wall.
        if config.peers == Peers::Ringwire && random.chance(300) {
            config.path_mtu = Some([1280, 1400, 1480][random.below(3) as usize]);
        }
        for shape in &mut config.shapes {
            // Of memory that is spoiled before it is sent the kernel's checksum would be right.
            shape.offload = random.chance(400) && config.faults.spoiling == 0;
        }
        config.share();
        config
    }

    /// Chooses whether addresses are shared, by chance of its own: all else is as without.
    fn share(&mut self) {
        let mut random = Random::new(self.seed ^ 0xbe51de);
        if random.chance(400) {
            let [server, client] = &mut self.shapes;
            server.shared = random.chance(700);
            client.shared = !server.shared || random.chance(500);
            self.faults.beside = random.below(20) as u32;
        }
    }

    /// The longest way there and back without a queue.
    pub(crate) fn round_trip_ns(&self) -> u64 {
        let one_way = |path: &Path| path.delay_ns + path.jitter_ns;
        self.paths.iter().map(one_way).sum()
    }
}

fn shape(random: &mut Random) -> Shape {
    Shape {
        queues: 1 + random.below(2) as u16,
        ring_entries: 32 << random.below(4),
        cq_entries: 8 << random.below(5),
        send_chunks: 48 + random.below(100) as u32,
        header_chunks: 1 + random.below(24) as u32,
        slot_bytes: [64, 700, 1472, 3968][random.below(4) as usize],
        descriptors: [1, 2, 4, 17, 17][random.below(5) as usize],
        lends: random.chance(600),
        big_completions: [0, IORING_SETUP_CQE32, IORING_SETUP_CQE_MIXED][random.below(3) as usize],
        scatter_from_bytes: [0, 0, 300][random.below(3) as usize],
        slots: random.chance(600),
        numbers: random.chance(600),
        offload: false,
        shared: false,
    }
}

/// A rack, a city, or a continent away, at a rate that matters or not; now and then the two ways differ.
fn paths(random: &mut Random) -> [Path; 2] {
    let mut path = || {
        let most_delay_ns = [20_000, 1_000_000, 20_000_000, 100_000_000][random.below(4) as usize];
        let rate = [0, 0, 1_250_000_000, 12_500_000, 1_250_000][random.below(5) as usize];
        let delay_ns = 5_000 + random.below(most_delay_ns);
        Path {
            rate_bytes_per_s: rate,
            queue_bytes: 20_000 + random.below(200_000),
            delay_ns,
            jitter_ns: random.below(delay_ns / 2),
        }
    };
    let there = path();
    let back = path();
    if random.chance(700) {
        [there, there]
    } else {
        [there, back]
    }
}

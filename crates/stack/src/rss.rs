//! Which of a NIC's queues a flow arrives on: receive-side scaling.
//!
//! The NIC hashes a packet's addresses and ports with a key (the Toeplitz hash, of Microsoft's "RSS hashing
//! types" and "RSS hashing functions"), and the hash names an entry of its indirection table, which names a queue
//! (Documentation/networking/scaling.rst).

use std::net::{IpAddr, SocketAddr};

use crate::socket::Protocol;

/// Bytes of the longest input: two IPv6 addresses and two ports.
const MAX_INPUT: usize = 36;
/// Ports that are looked at for one whose answers arrive on a queue of ours: with one queue of a hundred, all of
/// them are elsewhere in one search of 20,000.
pub(crate) const MAX_TRIES: usize = 1024;

/// What a NIC hashes of the packets of one kind (`ethtool -n INTERFACE rx-flow-hash tcp4`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashFields {
    /// Something that is not foreseen here, or not known.
    #[default]
    Unknown,
    /// Both addresses.
    Addresses,
    /// Both addresses and both ports.
    AddressesAndPorts,
}

/// What a NIC hashes of each kind of packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashedFields {
    /// TCP over IPv4.
    pub tcp_v4: HashFields,
    /// TCP over IPv6.
    pub tcp_v6: HashFields,
    /// UDP over IPv4.
    pub udp_v4: HashFields,
    /// UDP over IPv6.
    pub udp_v6: HashFields,
}

impl HashedFields {
    fn of(&self, protocol: Protocol, ip: IpAddr) -> HashFields {
        match (protocol, ip) {
            (Protocol::Tcp, IpAddr::V4(_)) => self.tcp_v4,
            (Protocol::Tcp, IpAddr::V6(_)) => self.tcp_v6,
            (Protocol::Udp, IpAddr::V4(_)) => self.udp_v4,
            (Protocol::Udp, IpAddr::V6(_)) => self.udp_v6,
        }
    }
}

/// How the NIC spreads flows over its queues, and which of them are this stack's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    key: Vec<u8>,
    ours: Vec<bool>,
    fields: HashedFields,
}

impl Rss {
    /// Of a NIC with this key, for each entry of its indirection table whether the queue is this stack's, and
    /// what is hashed. `None`: the NIC's choice cannot be foreseen, or makes no difference.
    pub fn new(key: Vec<u8>, ours: Vec<bool>, fields: HashedFields) -> Option<Rss> {
        let differs = ours.contains(&true) && ours.contains(&false);
        // Each bit of the input takes 32 bits of the key.
        let long_enough = key.len() >= MAX_INPUT + 4;
        (differs && long_enough).then_some(Rss { key, ours, fields })
    }

    /// Whether of few ports there are some whose answers arrive here: one in eight.
    pub(crate) fn is_common(&self) -> bool {
        let ours = self.ours.iter().filter(|ours| **ours).count();
        8 * ours >= self.ours.len()
    }

    /// Whether the port of ours decides which queue a flow arrives on.
    pub(crate) fn depends_on_port(&self, protocol: Protocol, remote: IpAddr) -> bool {
        self.fields.of(protocol, remote) == HashFields::AddressesAndPorts
    }

    /// Whether what `remote` sends to `local` arrives on a queue of ours, if the ports are hashed.
    pub(crate) fn arrives_here(&self, remote: SocketAddr, local: SocketAddr) -> bool {
        let hash = toeplitz(&self.key, &input(remote, local, true));
        self.ours[hash as usize % self.ours.len()]
    }
}

/// What is hashed of a packet: bytes of the packet, the source's first.
struct Input {
    bytes: [u8; MAX_INPUT],
    len: usize,
}

impl std::ops::Deref for Input {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn input(source: SocketAddr, destination: SocketAddr, ports: bool) -> Input {
    let mut input = Input {
        bytes: [0; MAX_INPUT],
        len: 0,
    };
    let mut add = |bytes: &[u8]| {
        input.bytes[input.len..input.len + bytes.len()].copy_from_slice(bytes);
        input.len += bytes.len();
    };
    for ip in [source.ip(), destination.ip()] {
        match ip {
            IpAddr::V4(v4) => add(&v4.octets()),
            IpAddr::V6(v6) => add(&v6.octets()),
        }
    }
    if ports {
        add(&source.port().to_be_bytes());
        add(&destination.port().to_be_bytes());
    }
    input
}

/// The sum, without carries, of the 32 bits of the key that begin at each bit that is set in the input.
fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let mut hash = 0;
    for (at, &byte) in input.iter().enumerate() {
        let window = key[at..at + 5].iter();
        let window = window.fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
        for bit in 0..8 {
            if byte & (0x80 >> bit) != 0 {
                hash ^= (window >> (8 - bit)) as u32;
            }
        }
    }
    hash
}

#[cfg(test)]
#[path = "rss_tests.rs"]
mod tests;

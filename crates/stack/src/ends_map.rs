//! Maps from the two ends of a connection, and from one. The families are apart, so that an entry of IPv4's, hashed
//! by two multiplications, is a third as long as one that could hold either: at 100,000 connections each
//! lookup fetches the entry from memory.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::FixedState;

use crate::tcp::Ends;

/// Addresses and ports, local before remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct V4 {
    addresses: [u32; 2],
    ports: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct V6 {
    addresses: [[u64; 2]; 2],
    ports: u32,
}

impl Hash for V4 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [local, remote] = self.addresses;
        state.write_u64(u64::from(local) << 32 | u64::from(remote));
        state.write_u32(self.ports);
    }
}

impl Hash for V6 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for half in self.addresses.into_iter().flatten() {
            state.write_u64(half);
        }
        state.write_u32(self.ports);
    }
}

enum Key {
    V4(V4),
    V6(V6),
}

impl Key {
    #[inline]
    fn new(ends: &Ends) -> Key {
        let (local, remote) = ends;
        let ports = u32::from(local.port()) << 16 | u32::from(remote.port());
        match (local.ip(), remote.ip()) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => Key::V4(V4 {
                addresses: [local.to_bits(), remote.to_bits()],
                ports,
            }),
            (local, remote) => Key::V6(V6 {
                addresses: [halves(local), halves(remote)],
                ports,
            }),
        }
    }
}

#[inline]
fn halves(ip: IpAddr) -> [u64; 2] {
    let bits = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

/// An address and a port of ours as a key, of which scope and flow label are no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    address: [u64; 2],
    port: u16,
}

impl Hash for End {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [high, low] = self.address;
        state.write_u64(high);
        // In one word with the port: nobody else chooses our addresses.
        state.write_u64(low.rotate_left(16) ^ u64::from(self.port));
    }
}

impl From<SocketAddr> for End {
    #[inline]
    fn from(end: SocketAddr) -> End {
        End {
            address: halves(end.ip()),
            port: end.port(),
        }
    }
}

/// A map from the two ends of a connection; scopes and flow labels are no part of them.
#[derive(Debug)]
pub(crate) struct EndsMap<V> {
    v4: HashMap<V4, V, FixedState>,
    v6: HashMap<V6, V, FixedState>,
}

impl<V> EndsMap<V> {
    pub(crate) fn new(seed: u64) -> EndsMap<V> {
        EndsMap {
            v4: HashMap::with_hasher(FixedState::with_seed(seed)),
            v6: HashMap::with_hasher(FixedState::with_seed(seed)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    #[inline(always)]
    pub(crate) fn get(&self, ends: &Ends) -> Option<&V> {
        match Key::new(ends) {
            Key::V4(key) => self.v4.get(&key),
            Key::V6(key) => self.v6.get(&key),
        }
    }

    pub(crate) fn get_mut(&mut self, ends: &Ends) -> Option<&mut V> {
        match Key::new(ends) {
            Key::V4(key) => self.v4.get_mut(&key),
            Key::V6(key) => self.v6.get_mut(&key),
        }
    }

    pub(crate) fn get_or_default(&mut self, ends: Ends) -> &mut V
    where
        V: Default,
    {
        match Key::new(&ends) {
            Key::V4(key) => self.v4.entry(key).or_default(),
            Key::V6(key) => self.v6.entry(key).or_default(),
        }
    }

    pub(crate) fn contains_key(&self, ends: &Ends) -> bool {
        self.get(ends).is_some()
    }

    pub(crate) fn insert(&mut self, ends: Ends, value: V) -> Option<V> {
        match Key::new(&ends) {
            Key::V4(key) => self.v4.insert(key, value),
            Key::V6(key) => self.v6.insert(key, value),
        }
    }

    pub(crate) fn remove(&mut self, ends: &Ends) -> Option<V> {
        match Key::new(ends) {
            Key::V4(key) => self.v4.remove(&key),
            Key::V6(key) => self.v6.remove(&key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(local: &str, remote: &str) -> Ends {
        (local.parse().unwrap(), remote.parse().unwrap())
    }

    #[test]
    fn every_part_of_the_ends_tells_connections_apart() {
        let all = [
            ends("10.0.0.1:1", "10.0.0.2:2"),
            ends("10.0.0.2:1", "10.0.0.1:2"),
            ends("10.0.0.1:2", "10.0.0.2:1"),
            ends("10.0.0.1:1", "10.0.0.2:3"),
            ends("[fd00::1]:1", "[fd00::2]:2"),
            ends("[fd00::2]:1", "[fd00::1]:2"),
            ends("[fd00:0:0:1::1]:1", "[fd00::2]:2"),
            ends("[fd00::1]:1", "[fd00::2]:3"),
        ];
        let mut map = EndsMap::new(1);
        for (index, ends) in all.into_iter().enumerate() {
            assert_eq!(map.insert(ends, index), None);
        }
        for (index, ends) in all.iter().enumerate() {
            assert_eq!(map.get(ends), Some(&index));
        }
        assert_eq!(map.len(), all.len());
    }

    #[test]
    fn every_part_of_an_end_tells_sockets_apart() {
        let all = [
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:1",
            "10.0.0.1:2",
            "10.0.0.2:1",
            "[fd00::1]:1",
            "[fd00::2]:1",
            "[fd00:0:0:1::1]:1",
        ];
        let mut map = HashMap::with_hasher(FixedState::with_seed(1));
        for end in all {
            let key = End::from(end.parse::<SocketAddr>().unwrap());
            assert_eq!(map.insert(key, end), None);
        }
        for end in all {
            let key = End::from(end.parse::<SocketAddr>().unwrap());
            assert_eq!(map.get(&key), Some(&end));
        }
    }

    #[test]
    fn what_was_removed_is_gone_and_the_rest_is_not() {
        for pair in [
            ends("10.0.0.1:1", "10.0.0.2:2"),
            ends("[fd00::1]:1", "[fd00::2]:2"),
        ] {
            let other = (pair.1, pair.0);
            let mut map = EndsMap::new(1);
            map.insert(pair, 'a');
            map.insert(other, 'b');
            assert_eq!(map.remove(&pair), Some('a'));
            assert!(!map.contains_key(&pair));
            assert_eq!(map.get(&other), Some(&'b'));
        }
    }
}

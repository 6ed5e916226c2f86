//! The sockets that are bound to one address: nearly always one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::FixedState;

use crate::socket::{Family, SocketId};

#[derive(Clone, Copy, Debug)]
struct Member {
    id: SocketId,
    family: Family,
    /// It was bound with `SO_REUSEPORT`.
    spreads: bool,
}

/// Sockets that have an address in common, in the order in which they took it.
#[derive(Debug, Default)]
pub(crate) struct Group(Vec<Member>);

impl Group {
    pub(crate) fn add(&mut self, id: SocketId, family: Family, spreads: bool) {
        self.0.push(Member {
            id,
            family,
            spreads,
        });
    }

    /// Takes a socket out; says whether nobody is left.
    pub(crate) fn remove(&mut self, id: SocketId) -> bool {
        self.0.retain(|member| member.id != id);
        self.0.is_empty()
    }

    /// Who takes what comes from `remote` to `local`. A socket made for IPv4 comes before one for
    /// both families (`compute_score`); then the last that was bound takes it, or any of those bound
    /// with `SO_REUSEPORT`, always the same for the same addresses (`reuseport_select_sock`).
    #[inline]
    pub(crate) fn pick(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        hasher: &FixedState,
    ) -> Option<SocketId> {
        if let [only] = &self.0[..] {
            return Some(only.id);
        }
        self.pick_of_many(local, remote, hasher)
    }

    fn pick_of_many(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        hasher: &FixedState,
    ) -> Option<SocketId> {
        let made_for = |member: &Member| match local.ip() {
            IpAddr::V4(_) => member.family == Family::V4,
            IpAddr::V6(_) => true,
        };
        let any_made_for = self.0.iter().any(made_for);
        let mut candidates = self
            .0
            .iter()
            .filter(|member| !any_made_for || made_for(member));
        let last = candidates.clone().next_back()?;
        if !last.spreads {
            return Some(last.id);
        }
        let count = candidates.clone().filter(|member| member.spreads).count();
        let hash = hasher.hash_one((local, remote));
        let index = (u128::from(hash) * count as u128) >> 64;
        candidates
            .by_ref()
            .filter(|member| member.spreads)
            .nth(index as usize)
            .map(|member| member.id)
    }
}

/// Takes a socket out of the group that has this key.
pub(crate) fn leave<K: Eq + Hash>(
    groups: &mut HashMap<K, Group, FixedState>,
    key: K,
    id: SocketId,
) {
    if let Entry::Occupied(mut entry) = groups.entry(key)
        && entry.get_mut().remove(id)
    {
        entry.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Protocol;

    fn id(slot: u32) -> SocketId {
        SocketId {
            protocol: Protocol::Udp,
            slot,
            generation: 0,
        }
    }

    fn pick(group: &Group, remote_port: u16) -> Option<SocketId> {
        let local = "10.0.0.2:7".parse().unwrap();
        let remote = SocketAddr::new("10.0.0.9".parse().unwrap(), remote_port);
        group.pick(local, remote, &FixedState::with_seed(1))
    }

    #[test]
    fn the_last_bound_takes_all_that_comes() {
        let mut group = Group::default();
        group.add(id(1), Family::V4, false);
        group.add(id(2), Family::V4, false);
        assert_eq!(pick(&group, 1), Some(id(2)));
        group.remove(id(2));
        assert_eq!(pick(&group, 1), Some(id(1)));
        group.remove(id(1));
        assert_eq!(pick(&group, 1), None);
    }

    #[test]
    fn those_that_spread_have_about_the_same_share() {
        let mut group = Group::default();
        for slot in 0..4 {
            group.add(id(slot), Family::V4, true);
        }
        let mut shares = [0; 4];
        for port in 0..4000 {
            let picked = pick(&group, port).unwrap();
            assert_eq!(
                pick(&group, port),
                Some(picked),
                "the same for the same peer"
            );
            shares[picked.slot as usize] += 1;
        }
        assert!(
            shares.iter().all(|share| (900..1100).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn ipv4_goes_to_a_socket_made_for_it() {
        let mut group = Group::default();
        group.add(id(1), Family::V4, true);
        group.add(id(2), Family::V6, true);
        assert!((0..100).all(|port| pick(&group, port) == Some(id(1))));
    }
}

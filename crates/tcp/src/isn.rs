//! Initial sequence numbers and timestamp offsets (RFC 6528; RFC 7323, section 5.4): a clock plus a
//! keyed hash of the connection's addresses, so that nobody outside can guess them.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

use siphasher::sip::SipHasher13;

use crate::seq::SeqNumber;
use crate::time::Instant;

/// RFC 6528: the clock ticks every 4 microseconds.
const TICK_NS: u64 = 4000;

/// Makes initial sequence numbers.
#[derive(Clone)]
pub struct Isn {
    secret: [u64; 2],
}

/// The secret is not shown.
impl std::fmt::Debug for Isn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Isn").finish_non_exhaustive()
    }
}

impl Isn {
    /// A generator with a secret, which must come from the operating system's generator.
    pub fn new(secret: [u64; 2]) -> Isn {
        Isn { secret }
    }

    /// The initial sequence number of a connection that begins now.
    pub fn sequence(&self, now: Instant, local: SocketAddr, remote: SocketAddr) -> SeqNumber {
        let clock = (now.as_nanos() / TICK_NS) as u32;
        SeqNumber((self.hash(0, local, remote) as u32).wrapping_add(clock))
    }

    /// What is added to the clock in timestamps sent to a peer.
    pub fn timestamp_offset(&self, local: SocketAddr, remote: SocketAddr) -> u32 {
        self.hash(1, local, remote) as u32
    }

    /// Where the search for a local port for a peer begins (RFC 6056, section 3.3.3).
    pub fn port_offset(&self, local: std::net::IpAddr, remote: SocketAddr) -> u64 {
        self.hash(2, SocketAddr::new(local, 0), remote)
    }

    fn hash(&self, purpose: u8, local: SocketAddr, remote: SocketAddr) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.secret[0], self.secret[1]);
        (purpose, local, remote).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(port: u16) -> (SocketAddr, SocketAddr) {
        (
            SocketAddr::from(([10, 0, 0, 2], 80)),
            SocketAddr::from(([10, 0, 0, 9], port)),
        )
    }

    #[test]
    fn another_secret_gives_another_number() {
        let (local, remote) = pair(1);
        let number = |secret| Isn::new(secret).sequence(Instant::ZERO, local, remote);
        assert_ne!(number([1, 2]), number([1, 3]));
        assert_ne!(number([1, 2]), number([2, 2]));
        assert_eq!(number([1, 2]), number([1, 2]));
    }

    #[test]
    fn another_peer_gives_another_number() {
        let isn = Isn::new([1, 2]);
        let number = |port| isn.sequence(Instant::ZERO, pair(port).0, pair(port).1);
        assert_ne!(number(1), number(2));
    }

    #[test]
    fn the_numbers_of_one_peer_advance_with_the_clock() {
        let isn = Isn::new([1, 2]);
        let (local, remote) = pair(1);
        let at = |nanos| isn.sequence(Instant::from_nanos(nanos), local, remote);
        assert_eq!(at(4_000_000).since(at(0)), 1000);
    }

    #[test]
    fn number_and_timestamp_offset_tell_nothing_of_each_other() {
        let isn = Isn::new([1, 2]);
        let (local, remote) = pair(1);
        let sequence = isn.sequence(Instant::ZERO, local, remote).0;
        assert_ne!(sequence, isn.timestamp_offset(local, remote));
    }
}

//! IP reassembly with bounds: IPv4 (RFC 791, RFC 815) and IPv6 (RFC 8200, section 4.5).
//!
//! Fragments are copied out of their frames, so that a datagram that is never completed pins no
//! chunk. Overlapping fragments are an attack and discard the whole datagram without a word, in both
//! families (RFC 5722; Linux does the same). Memory is bounded in all and for each source, with what
//! the book-keeping costs included.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use ringwire_tcp::Instant;

mod partial;

use partial::Partial;

/// Bytes charged for each fragment beside its payload: an entry of a list, and the allocator's part.
const FRAGMENT_OVERHEAD: usize = 48;
/// Bytes charged for each datagram beside its fragments.
const DATAGRAM_OVERHEAD: usize = 512;
/// No source may hold more than one part in so many of the bounds, if it has several datagrams.
const SOURCE_SHARE: usize = 4;
/// Most bytes of an IP packet: IPv4's total length, and IPv6's payload length.
const MAX_LEN: usize = 65535;
/// Lengths of the IPv6 header, which IPv6's payload length leaves out, and of the fragment header,
/// which the whole datagram does not have.
const IPV6_UNCOUNTED_LEN: usize = 40 + 8;

/// The limits and times of a [`Reassembler`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most datagrams under way.
    pub max_datagrams: usize,
    /// Most bytes held, book-keeping included.
    pub max_bytes: usize,
    /// Most fragments of one datagram.
    pub max_fragments_per_datagram: usize,
    /// How long an IPv4 datagram may take from its first fragment on (Linux's `ipfrag_time`).
    pub ipv4_timeout: Duration,
    /// How long an IPv6 datagram may take (RFC 8200, section 4.5).
    pub ipv6_timeout: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_datagrams: 1024,
            // Linux's `ipfrag_high_thresh`.
            max_bytes: 4 << 20,
            // 65535 bytes in the smallest fragments that a sane IPv4 path makes (576 bytes).
            max_fragments_per_datagram: 128,
            ipv4_timeout: Duration::from_secs(30),
            ipv6_timeout: Duration::from_secs(60),
        }
    }
}

/// What the fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// The protocol of an IPv4 packet. 0 for IPv6, where the first fragment alone says it.
    pub protocol: u8,
    /// The identification: 16 bits of IPv4, 32 of IPv6.
    pub id: u32,
}

/// A datagram put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The header given with the fragment at offset 0, unchanged: its length field, and IPv4's
    /// fragment field and checksum, are still that fragment's.
    pub header: Vec<u8>,
    /// What followed the header before the datagram was fragmented.
    pub payload: Vec<u8>,
    /// Number of fragments it came in.
    pub parts: usize,
}

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It was the last one missing.
    Complete(Datagram),
    /// Others are missing.
    Waiting,
    /// It was not kept.
    Dropped(DropReason),
}

/// Why a fragment was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// It carries nothing.
    Empty,
    /// Its offset, or its length though others follow, is no multiple of 8. For IPv6 the source is
    /// told (ICMPv6 parameter problem, RFC 8200, section 4.5).
    Unaligned,
    /// The datagram would be longer than 65535 bytes. For IPv6 the source is told.
    TooLong,
    /// It overlaps another fragment: the datagram is discarded.
    Overlap,
    /// It disagrees about where the datagram ends: the datagram is discarded.
    Inconsistent,
    /// The datagram came in too many fragments, and is discarded.
    TooManyFragments,
    /// It belongs to a datagram that was discarded.
    Discarded,
    /// There is no room for it.
    NoRoom,
}

/// A datagram that was not completed in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Which datagram.
    pub key: Key,
    /// The fragment at offset 0, header and payload, if it arrived: only then does the source get
    /// an ICMP time exceeded (RFC 792; RFC 8200, section 4.5).
    pub first_fragment: Option<Vec<u8>>,
}

/// Events since the reassembler was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Fragments received.
    pub fragments: u64,
    /// Datagrams put together.
    pub completed: u64,
    /// Fragments received twice.
    pub duplicates: u64,
    /// Datagrams not completed in time.
    pub expired: u64,
    /// Datagrams that made way for newer ones.
    pub evicted: u64,
    /// Fragments that no datagram can have: empty, unaligned, or too long.
    pub malformed: u64,
    /// Datagrams discarded because fragments overlapped.
    pub overlaps: u64,
    /// Datagrams discarded because fragments disagreed about the end.
    pub inconsistent: u64,
    /// Datagrams discarded because they came in too many fragments.
    pub too_many_fragments: u64,
    /// Fragments of datagrams that were already discarded.
    pub late: u64,
    /// Fragments for which there was no room.
    pub no_room: u64,
}

/// A fragment on its way in.
struct Fragment<'a> {
    start: usize,
    end: usize,
    more: bool,
    header: &'a [u8],
    payload: &'a [u8],
}

/// Datagrams are numbered as they begin, so the order of the numbers is the order of their ages.
type Serial = u64;

/// What one source holds.
#[derive(Debug, Default)]
struct Source {
    bytes: usize,
    datagrams: BTreeSet<Serial>,
}

/// The datagrams of which some fragments are missing.
#[derive(Debug)]
pub struct Reassembler {
    config: Config,
    /// Trees where peers choose the keys: no choice of theirs makes them slow.
    by_key: BTreeMap<Key, Serial>,
    partials: BTreeMap<Serial, Partial>,
    expiries: BTreeSet<(Instant, Serial)>,
    sources: HashMap<IpAddr, Source>,
    bytes: usize,
    next_serial: Serial,
    counters: Counters,
}

impl Reassembler {
    /// An empty reassembler.
    pub fn new(config: Config) -> Reassembler {
        Reassembler {
            config,
            by_key: BTreeMap::new(),
            partials: BTreeMap::new(),
            expiries: BTreeSet::new(),
            sources: HashMap::new(),
            bytes: 0,
            next_serial: 0,
            counters: Counters::default(),
        }
    }

    /// Datagrams under way, and discarded ones that are remembered until they would have expired.
    pub fn len(&self) -> usize {
        self.partials.len()
    }

    /// Whether no datagram is under way.
    pub fn is_empty(&self) -> bool {
        self.partials.is_empty()
    }

    /// Bytes held, book-keeping included: never more than [`Config::max_bytes`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Events so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes a fragment: `payload` at `offset_bytes` of the datagram's, with `more` to follow.
    ///
    /// `header` is what stands before the fragmented part (the IPv4 header with its options; the
    /// IPv6 header with the extension headers up to the fragment header, which is the last). It is kept from the
    /// fragment at offset 0, and may be empty in others if it is that of IPv4.
    ///
    /// A fragment that is the whole datagram completes at once and disturbs no other (RFC 6946).
    pub fn insert(
        &mut self,
        now: Instant,
        key: Key,
        offset_bytes: usize,
        more: bool,
        header: &[u8],
        payload: &[u8],
    ) -> Outcome {
        self.counters.fragments += 1;
        let fragment = match Fragment::check(&key, offset_bytes, more, header, payload) {
            Ok(fragment) => fragment,
            Err(reason) => {
                self.counters.malformed += 1;
                return Outcome::Dropped(reason);
            }
        };
        if fragment.start == 0 && !more {
            self.counters.completed += 1;
            return Outcome::Complete(Datagram {
                header: header.to_vec(),
                payload: payload.to_vec(),
                parts: 1,
            });
        }
        match self.by_key.get(&key).copied() {
            None => self.insert_first(now, key, &fragment),
            Some(serial) => self.insert_next(serial, &fragment),
        }
    }

    /// The first fragment to arrive of a datagram.
    fn insert_first(&mut self, now: Instant, key: Key, fragment: &Fragment) -> Outcome {
        let serial = self.next_serial;
        let charge = DATAGRAM_OVERHEAD + fragment.charge();
        if self.config.max_fragments_per_datagram == 0 || !self.make_room(key.src, serial, charge) {
            self.counters.no_room += 1;
            return Outcome::Dropped(DropReason::NoRoom);
        }
        self.next_serial += 1;
        let timeout = match key.src {
            IpAddr::V4(_) => self.config.ipv4_timeout,
            IpAddr::V6(_) => self.config.ipv6_timeout,
        };
        let expires_at = now + timeout;
        let mut partial = Partial::new(key, expires_at, DATAGRAM_OVERHEAD);
        partial.add(fragment);
        self.by_key.insert(key, serial);
        self.partials.insert(serial, partial);
        self.expiries.insert((expires_at, serial));
        let source = self.sources.entry(key.src).or_default();
        source.datagrams.insert(serial);
        source.bytes += charge;
        self.bytes += charge;
        Outcome::Waiting
    }

    /// Another fragment of a datagram.
    fn insert_next(&mut self, serial: Serial, fragment: &Fragment) -> Outcome {
        let max_fragments = self.config.max_fragments_per_datagram;
        let partial = self
            .partials
            .get_mut(&serial)
            .expect("by_key names partials");
        let src = partial.key.src;
        match partial.admit(fragment, max_fragments) {
            Ok(true) => {}
            Ok(false) => {
                self.counters.duplicates += 1;
                return Outcome::Waiting;
            }
            Err(reason) => return self.refuse(serial, reason),
        }
        let charge = fragment.charge();
        if !self.make_room(src, serial, charge) {
            self.counters.no_room += 1;
            self.remove(serial);
            return Outcome::Dropped(DropReason::NoRoom);
        }
        let partial = self
            .partials
            .get_mut(&serial)
            .expect("room is made at the others' expense");
        partial.add(fragment);
        let complete = partial.is_complete();
        self.bytes += charge;
        self.sources.get_mut(&src).expect("it has a datagram").bytes += charge;
        if complete {
            self.complete(serial)
        } else {
            Outcome::Waiting
        }
    }

    fn complete(&mut self, serial: Serial) -> Outcome {
        let partial = &self.partials[&serial];
        // Only now is the header known that will stand before the whole.
        if partial.is_too_long() {
            self.counters.malformed += 1;
            self.remove(serial);
            return Outcome::Dropped(DropReason::TooLong);
        }
        self.counters.completed += 1;
        Outcome::Complete(self.remove(serial).into_datagram())
    }

    /// Discards a datagram, but remembers that, so that its other fragments do not begin it anew
    /// (RFC 5722: "including those not yet received").
    fn refuse(&mut self, serial: Serial, reason: DropReason) -> Outcome {
        let counter = match reason {
            DropReason::Overlap => &mut self.counters.overlaps,
            DropReason::Inconsistent => &mut self.counters.inconsistent,
            DropReason::TooManyFragments => &mut self.counters.too_many_fragments,
            DropReason::Discarded => &mut self.counters.late,
            DropReason::Empty
            | DropReason::Unaligned
            | DropReason::TooLong
            | DropReason::NoRoom => {
                unreachable!("found before a datagram is looked at")
            }
        };
        *counter += 1;
        let partial = self.partials.get_mut(&serial).expect("the caller found it");
        let freed = partial.discard(DATAGRAM_OVERHEAD);
        self.bytes -= freed;
        self.sources
            .get_mut(&partial.key.src)
            .expect("it has a datagram")
            .bytes -= freed;
        Outcome::Dropped(reason)
    }

    /// Gives up the datagrams whose time is over, the oldest of each family first.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<Expired>) {
        while let Some(&(expires_at, serial)) = self.expiries.first() {
            if expires_at > now {
                break;
            }
            let partial = self.remove(serial);
            // One that was discarded has been counted, and is not spoken of.
            if !partial.is_discarded() {
                self.counters.expired += 1;
                out.push(Expired {
                    key: partial.key,
                    first_fragment: partial.into_first_fragment(),
                });
            }
        }
    }

    /// When [`Reassembler::poll`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.expiries.first().map(|&(expires_at, _)| expires_at)
    }

    /// Makes room for `charge` more bytes of the datagram `serial`, which may be new, at the expense
    /// of others: of the same source's if it holds its share already, then of the oldest.
    fn make_room(&mut self, src: IpAddr, serial: Serial, charge: usize) -> bool {
        let is_new = usize::from(serial == self.next_serial);
        while let Some(source) = self.sources.get(&src) {
            let bytes_over = source.bytes + charge > self.config.max_bytes / SOURCE_SHARE;
            let share = (self.config.max_datagrams / SOURCE_SHARE).max(1);
            let over = bytes_over || source.datagrams.len() + is_new > share;
            let oldest = source
                .datagrams
                .iter()
                .copied()
                .find(|&other| other != serial);
            match oldest.filter(|_| over) {
                Some(oldest) => self.evict(oldest),
                None => break,
            }
        }
        while self.bytes + charge > self.config.max_bytes
            || self.partials.len() + is_new > self.config.max_datagrams
        {
            match self.partials.keys().copied().find(|&other| other != serial) {
                Some(oldest) => self.evict(oldest),
                None => return false,
            }
        }
        true
    }

    fn evict(&mut self, serial: Serial) {
        self.remove(serial);
        self.counters.evicted += 1;
    }

    fn remove(&mut self, serial: Serial) -> Partial {
        let partial = self.partials.remove(&serial).expect("the caller found it");
        self.by_key.remove(&partial.key);
        self.expiries.remove(&(partial.expires_at, serial));
        self.bytes -= partial.charged;
        let source = self
            .sources
            .get_mut(&partial.key.src)
            .expect("it has a datagram");
        source.bytes -= partial.charged;
        source.datagrams.remove(&serial);
        if source.datagrams.is_empty() {
            self.sources.remove(&partial.key.src);
        }
        partial
    }
}

impl<'a> Fragment<'a> {
    /// What can be said of a fragment without its fellows.
    fn check(
        key: &Key,
        start: usize,
        more: bool,
        header: &'a [u8],
        payload: &'a [u8],
    ) -> Result<Fragment<'a>, DropReason> {
        let whole = start == 0 && !more;
        if payload.is_empty() && !whole {
            return Err(DropReason::Empty);
        }
        if !start.is_multiple_of(8) || (more && !payload.len().is_multiple_of(8)) {
            return Err(DropReason::Unaligned);
        }
        let end = start
            .checked_add(payload.len())
            .ok_or(DropReason::TooLong)?;
        if end > max_payload(key, header) {
            return Err(DropReason::TooLong);
        }
        Ok(Fragment {
            start,
            end,
            more,
            header,
            payload,
        })
    }

    /// What holding it costs.
    fn charge(&self) -> usize {
        let header_len = if self.start == 0 {
            self.header.len()
        } else {
            0
        };
        FRAGMENT_OVERHEAD + header_len + self.payload.len()
    }
}

/// Most bytes that can follow this header.
fn max_payload(key: &Key, header: &[u8]) -> usize {
    let counted = match key.src {
        IpAddr::V4(_) => header.len(),
        IpAddr::V6(_) => header.len().saturating_sub(IPV6_UNCOUNTED_LEN),
    };
    MAX_LEN.saturating_sub(counted)
}

#[cfg(test)]
mod tests;

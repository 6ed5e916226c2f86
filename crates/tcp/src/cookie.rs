//! SYN cookies (RFC 4987, section 3.6): a SYN-ACK whose sequence number says what there is to know of
//! the SYN, so that nothing is kept until the peer has shown that it is where it says it is. The number
//! is made as Linux makes it (`net/ipv4/syncookies.c`): a keyed hash of the addresses, the peer's
//! number, the minute, and an index into a table of segment sizes. What else the SYN offered comes back
//! in the low bits of the timestamp that the peer echoes; from a peer without timestamps it is lost.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::config::Config;
use crate::segment::{Options, Segment, Timestamps};
use crate::seq::SeqNumber;
use crate::time::Instant;
use crate::timestamps::Clock;
use crate::window::{MAX_SCALE, scale_for};

/// The minute takes the upper bits of the number, and the index, hidden by a hash, the lower ones.
const INDEX_BITS: u32 = 24;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
const PERIOD: Duration = Duration::from_secs(60);
/// Periods in which a cookie is good: the one that it was made in, and the next.
const MAX_AGE: u32 = 2;

/// What a peer may be sent by its MSS, as Linux has them. The first is what every host takes.
const MSS_V4: [u16; 4] = [536, 1300, 1440, 1460];
const MSS_V6: [u16; 4] = [1220, 1420, 1440, 8940];

/// In the timestamp: the peer's window scale, where [`NO_SCALE`] is none, SACK and ECN.
const SCALE_MASK: u32 = 0xf;
const NO_SCALE: u32 = 0xf;
const SACK: u32 = 0x10;
const ECN: u32 = 0x20;
const TIMESTAMP_MASK: u32 = 0x3f;

/// Makes and checks SYN cookies.
#[derive(Clone)]
pub struct SynCookies {
    /// Of the part that does not change with time, and of the one that does.
    keys: [[u64; 2]; 2],
}

/// The secret is not shown.
impl std::fmt::Debug for SynCookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SynCookies").finish_non_exhaustive()
    }
}

impl SynCookies {
    /// How long after the last cookie one can still come back: a listener that has sent none for this
    /// long need not look at acknowledgements.
    pub const VALID: Duration = Duration::from_secs(MAX_AGE as u64 * PERIOD.as_secs());

    /// A generator with a secret, which must come from the operating system's generator. It may be the
    /// one that [`Isn`](crate::Isn) has: the keys are derived from it and tell nothing of each other.
    pub fn new(secret: [u64; 2]) -> SynCookies {
        let derive = |label: &str| {
            let mut hasher = SipHasher24::new_with_keys(secret[0], secret[1]);
            ("syn cookie", label).hash(&mut hasher);
            hasher.finish()
        };
        SynCookies {
            keys: [
                [derive("fixed 0"), derive("fixed 1")],
                [derive("timed 0"), derive("timed 1")],
            ],
        }
    }

    /// The SYN-ACK that answers a SYN without anything being kept of it. `timestamp_offset`: as of the
    /// connection that it may become.
    pub fn answer(
        &self,
        now: Instant,
        config: &Config,
        timestamp_offset: u32,
        (local, remote): (SocketAddr, SocketAddr),
        syn: &Segment,
    ) -> Segment {
        let mss = syn.options.mss.unwrap_or(config.default_mss);
        let index = table(remote).iter().rposition(|&least| mss >= least);
        let index = index.unwrap_or(0) as u32;
        let minute = minute(now);
        let hidden = self.timed(minute, local, remote).wrapping_add(index) & INDEX_MASK;
        let number = self
            .fixed(local, remote)
            .wrapping_add(syn.seq.0)
            .wrapping_add(minute << INDEX_BITS)
            .wrapping_add(hidden);
        let timestamps = syn.options.timestamps.map(|option| Timestamps {
            value: timestamp(now, syn).wrapping_add(timestamp_offset),
            echo: option.value,
        });
        // Without timestamps nobody will remember the rest.
        let remembers = timestamps.is_some();
        let scaled = remembers && syn.options.window_scale.is_some();
        Segment {
            seq: SeqNumber(number),
            ack: Some(syn.seq + 1),
            window: config.receive_buffer.min(u16::MAX.into()) as u16,
            syn: true,
            ece: remembers && asks_for_ecn(syn),
            options: Options {
                mss: Some(config.mss),
                window_scale: scaled.then(|| scale_for(config.receive_buffer)),
                sack_permitted: remembers && syn.options.sack_permitted,
                timestamps,
                ..Options::default()
            },
            ..Segment::default()
        }
    }

    /// The SYN as it is remembered by the acknowledgement of a cookie, for
    /// [`Connection::from_cookie`](crate::Connection::from_cookie); `None` if that acknowledges none
    /// that was sent to this peer within the last one or two minutes.
    pub fn check(
        &self,
        now: Instant,
        timestamp_offset: u32,
        (local, remote): (SocketAddr, SocketAddr),
        segment: &Segment,
    ) -> Option<Segment> {
        let first = segment.seq - 1;
        let number = (segment.ack? - 1).0;
        let number = number
            .wrapping_sub(self.fixed(local, remote))
            .wrapping_sub(first.0);
        let age = minute(now).wrapping_sub(number >> INDEX_BITS) & (u32::MAX >> INDEX_BITS);
        if age >= MAX_AGE {
            return None;
        }
        let then = minute(now).wrapping_sub(age);
        let index = number.wrapping_sub(self.timed(then, local, remote)) & INDEX_MASK;
        let mss = *table(remote).get(index as usize)?;
        let timestamps = segment.options.timestamps;
        let remembered = timestamps.map(|option| option.echo.wrapping_sub(timestamp_offset));
        let offered = |bit| remembered.is_some_and(|bits| bits & bit != 0);
        Some(Segment {
            seq: first,
            syn: true,
            ece: offered(ECN),
            cwr: offered(ECN),
            window: segment.window,
            options: Options {
                mss: Some(mss),
                window_scale: remembered.and_then(scale),
                sack_permitted: offered(SACK),
                timestamps,
                ..Options::default()
            },
            ..Segment::default()
        })
    }

    fn fixed(&self, local: SocketAddr, remote: SocketAddr) -> u32 {
        let [key, _] = self.keys;
        hash(key, (local, remote))
    }

    fn timed(&self, minute: u32, local: SocketAddr, remote: SocketAddr) -> u32 {
        let [_, key] = self.keys;
        hash(key, (minute, local, remote))
    }
}

fn hash([high, low]: [u64; 2], of: impl Hash) -> u32 {
    let mut hasher = SipHasher24::new_with_keys(high, low);
    of.hash(&mut hasher);
    hasher.finish() as u32
}

fn table(remote: SocketAddr) -> &'static [u16; 4] {
    match remote {
        SocketAddr::V4(_) => &MSS_V4,
        SocketAddr::V6(_) => &MSS_V6,
    }
}

fn minute(now: Instant) -> u32 {
    (now.as_nanos() / PERIOD.as_nanos() as u64) as u32
}

fn asks_for_ecn(syn: &Segment) -> bool {
    syn.ece && syn.cwr
}

/// Our clock, without its offset, with what the SYN offers in its low bits: not later than it is, or
/// what is sent next would be from before.
fn timestamp(now: Instant, syn: &Segment) -> u32 {
    let clock = Clock::new(0).value(now);
    let scale = syn.options.window_scale.map(|scale| scale.min(MAX_SCALE));
    let mut bits = scale.map_or(NO_SCALE, u32::from);
    if syn.options.sack_permitted {
        bits |= SACK;
    }
    if asks_for_ecn(syn) {
        bits |= ECN;
    }
    let value = clock & !TIMESTAMP_MASK | bits;
    if value > clock {
        value.wrapping_sub(TIMESTAMP_MASK + 1)
    } else {
        value
    }
}

fn scale(timestamp: u32) -> Option<u8> {
    let scale = timestamp & SCALE_MASK;
    (scale != NO_SCALE).then_some(scale as u8)
}

#[cfg(test)]
#[path = "cookie_tests.rs"]
mod tests;

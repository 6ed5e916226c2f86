//! Datagrams that a kernel puts together, since a steering program cannot tell whose their fragments are.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use ringwire_stack::Instant;

/// How long a datagram's fragments are waited for (`IP_FRAG_TIME`).
const PATIENCE_NS: u64 = 30_000_000_000;

/// What all fragments of a datagram have in common.
type Key = (IpAddr, IpAddr, u8, u32);

/// One fragment.
pub(super) struct Fragment<'a> {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) protocol: u8,
    id: u32,
    offset: usize,
    more: bool,
    bytes: &'a [u8],
}

/// Reads an IPv4 fragment, whose header's checksum is right, or an IPv6 one without other extension headers.
pub(super) fn fragment(frame: &[u8]) -> Option<Fragment<'_>> {
    let ip = frame.get(14..)?;
    match (frame.get(12..14)?, ip.len()) {
        ([8, 0], 20..) => {
            let packet = smoltcp::wire::Ipv4Packet::new_checked(ip).ok()?;
            let is_one = packet.more_frags() || packet.frag_offset() > 0;
            (is_one && packet.verify_checksum()).then(|| Fragment {
                from: packet.src_addr().into(),
                to: packet.dst_addr().into(),
                protocol: ip[9],
                id: packet.ident().into(),
                offset: packet.frag_offset().into(),
                more: packet.more_frags(),
                bytes: packet.payload(),
            })
        }
        ([0x86, 0xdd], 48..) if ip[6] == 44 => {
            let packet = smoltcp::wire::Ipv6Packet::new_checked(ip).ok()?;
            let payload = packet.payload();
            let header = payload.get(..8)?;
            let place = u16::from_be_bytes([header[2], header[3]]);
            let address = |at: usize| {
                let octets: [u8; 16] = ip[at..at + 16].try_into().expect("sixteen");
                IpAddr::V6(Ipv6Addr::from(octets))
            };
            Some(Fragment {
                from: address(8),
                to: address(24),
                protocol: header[0],
                id: u32::from_be_bytes(header[4..8].try_into().expect("four")),
                offset: usize::from(place & !7),
                more: place & 1 != 0,
                bytes: &payload[8..],
            })
        }
        _ => None,
    }
}

struct Parts {
    since: Instant,
    parts: BTreeMap<usize, Vec<u8>>,
    len: Option<usize>,
}

#[derive(Default)]
pub(super) struct Fragments(BTreeMap<Key, Parts>);

impl Fragments {
    /// Takes a fragment; returns what is behind the IP header if that was the last one.
    pub(super) fn take(&mut self, now: Instant, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        let is_late = |parts: &Parts| now.as_nanos() > parts.since.as_nanos() + PATIENCE_NS;
        self.0.retain(|_, parts| !is_late(parts));
        let key = (fragment.from, fragment.to, fragment.protocol, fragment.id);
        let parts = self.0.entry(key).or_insert(Parts {
            since: now,
            parts: BTreeMap::new(),
            len: None,
        });
        if !fragment.more {
            parts.len = Some(fragment.offset + fragment.bytes.len());
        }
        parts.parts.insert(fragment.offset, fragment.bytes.to_vec());
        let mut whole = Vec::new();
        for (&offset, bytes) in &parts.parts {
            if offset != whole.len() {
                return None;
            }
            whole.extend_from_slice(bytes);
        }
        if parts.len != Some(whole.len()) {
            return None;
        }
        self.0.remove(&key);
        Some(whole)
    }
}

//! Ethernet and IP headers of packets that are sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv6FragmentHeader, Ipv6FragmentRepr, Ipv6Packet,
};

pub(crate) const ETHERNET_HEADER: usize = 14;
pub(crate) const IPV4_HEADER: usize = 20;
pub(crate) const IPV6_HEADER: usize = 40;
pub(crate) const IPV6_FRAGMENT_HEADER: usize = 8;

/// The fields of an IP header that a sender chooses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpMeta {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: IpProtocol,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
}

/// Where one packet's part of an IP payload lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    pub(crate) offset: usize,
    pub(crate) len: usize,
    /// `None` for a packet that is not fragmented.
    pub(crate) id: Option<u32>,
    pub(crate) more: bool,
}

impl Fragment {
    /// Bytes of the Ethernet and IP headers in front of it.
    pub(crate) fn headers_len(&self, to: IpAddr) -> usize {
        let fragment = self.id.is_some() && to.is_ipv6();
        headers_len(to) + if fragment { IPV6_FRAGMENT_HEADER } else { 0 }
    }

    /// A payload that is not fragmented.
    pub(crate) fn whole(len: usize) -> Fragment {
        Fragment {
            offset: 0,
            len,
            id: None,
            more: false,
        }
    }
}

/// Bytes of the Ethernet and IP headers of a packet that is not fragmented.
pub(crate) fn headers_len(to: IpAddr) -> usize {
    ETHERNET_HEADER
        + match to {
            IpAddr::V4(_) => IPV4_HEADER,
            IpAddr::V6(_) => IPV6_HEADER,
        }
}

/// Writes Ethernet and IP headers, but for the Ethernet destination; returns where the payload begins.
#[inline(always)]
pub(crate) fn write_headers(
    mac: [u8; 6],
    bytes: &mut [u8],
    meta: &IpMeta,
    part: Fragment,
) -> usize {
    match (meta.source, meta.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let words = ipv4_header(meta, source, destination, part);
            let header: &mut [u8; ETHERNET_HEADER + IPV4_HEADER] = bytes
                .first_chunk_mut()
                .expect("egress: a packet has room for its headers");
            header[6..12].copy_from_slice(&mac);
            header[12..14].copy_from_slice(&u16::from(EthernetProtocol::Ipv4).to_be_bytes());
            for (place, word) in header[ETHERNET_HEADER..].chunks_exact_mut(4).zip(words) {
                place.copy_from_slice(&word.to_be_bytes());
            }
            header.len()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            write_ipv6(mac, bytes, meta, (source, destination), part)
        }
        _ => unreachable!("egress: source and destination of different families"),
    }
}

/// The same for IPv6 (RFC 8200, section 3).
fn write_ipv6(
    mac: [u8; 6],
    bytes: &mut [u8],
    meta: &IpMeta,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    part: Fragment,
) -> usize {
    let mut ethernet = EthernetFrame::new_unchecked(&mut *bytes);
    ethernet.set_src_addr(smoltcp::wire::EthernetAddress(mac));
    ethernet.set_ethertype(EthernetProtocol::Ipv6);
    let fragment_header = if part.id.is_some() {
        IPV6_FRAGMENT_HEADER
    } else {
        0
    };
    let mut ip = Ipv6Packet::new_unchecked(&mut bytes[ETHERNET_HEADER..]);
    ip.set_version(6);
    ip.set_traffic_class(meta.traffic_class);
    ip.set_flow_label(0);
    ip.set_payload_len((fragment_header + part.len) as u16);
    ip.set_next_header(if part.id.is_some() {
        IpProtocol::Ipv6Frag
    } else {
        meta.protocol
    });
    ip.set_hop_limit(meta.hop_limit);
    ip.set_src_addr(source);
    ip.set_dst_addr(destination);
    let at = ETHERNET_HEADER + IPV6_HEADER;
    if let Some(ident) = part.id {
        // The wire type covers all but the next-header octet and the reserved one.
        bytes[at] = meta.protocol.into();
        bytes[at + 1] = 0;
        let repr = Ipv6FragmentRepr {
            frag_offset: (part.offset / 8) as u16,
            more_frags: part.more,
            ident,
        };
        repr.emit(&mut Ipv6FragmentHeader::new_unchecked(
            &mut bytes[at + 2..at + IPV6_FRAGMENT_HEADER],
        ));
    }
    at + fragment_header
}

/// An IPv4 header without options (RFC 791, section 3.1). As five numbers, which the checksum is taken
/// of: read back right after it was written, the header would have to be waited for.
#[inline(always)]
fn ipv4_header(
    meta: &IpMeta,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    part: Fragment,
) -> [u32; IPV4_HEADER / 4] {
    // RFC 6864: a datagram that may not be fragmented needs no identification.
    let dont_fragment = u16::from(part.id.is_none()) << 14;
    let more = u16::from(part.more) << 13;
    let offset = (part.offset / 8) as u16;
    let mut words = [
        0x4500_0000 | u32::from(meta.traffic_class) << 16 | (IPV4_HEADER + part.len) as u32,
        part.id.unwrap_or(0) << 16 | u32::from(dont_fragment | more | offset),
        u32::from(meta.hop_limit) << 24 | u32::from(u8::from(meta.protocol)) << 16,
        source.to_bits(),
        destination.to_bits(),
    ];
    let sum: u64 = words.iter().map(|&word| u64::from(word)).sum();
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    words[2] |= !(sum as u32) & 0xffff;
    words
}

//! ICMP errors (RFC 792, RFC 4443): those about our packets, and the ones we write ourselves.
//! Everything else of ICMP is smoltcp's interface's.

use std::net::{IpAddr, SocketAddr};

use ringwire_tcp::SeqNumber;
use ringwire_umem::Ledger;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpProtocol, IpRepr, Ipv4Packet,
    Ipv6Packet,
};

use crate::checksum::Checksum;
use crate::error::SocketError;
use crate::extension::{Walk, walk_extensions};
use crate::ingress::IpIn;
use crate::packet::Payload;
use crate::socket::Protocol;

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The packet did not arrive, and why (Linux's `icmp_err_convert` and `tab_unreach`). `hard`: another
    /// would not either, so UDP sockets see it.
    Undelivered { error: SocketError, hard: bool },
    /// It was longer than the path takes: bytes of the largest IP packet.
    TooBig { mtu: u32 },
}

/// What an ICMP error quotes: a packet that claims to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quote {
    pub(crate) protocol: Protocol,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// The sequence number of a TCP segment.
    pub(crate) seq: SeqNumber,
}

/// What an ICMP message is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// An error about a packet of ours.
    Error(Quote, Problem),
    /// An error about something else, or malformed.
    OtherError,
    /// No error: the control plane's.
    Query,
}

pub(crate) fn classify_v4(icmp: &[u8]) -> Message {
    let Ok(packet) = Icmpv4Packet::new_checked(icmp) else {
        return Message::OtherError;
    };
    let problem = match packet.msg_type() {
        Icmpv4Message::DstUnreachable if packet.msg_code() == 4 => {
            // Zero is what routers said before RFC 1191.
            match u32::from(u16::from_be_bytes([icmp[6], icmp[7]])) {
                0 => return Message::OtherError,
                mtu => Problem::TooBig { mtu },
            }
        }
        Icmpv4Message::DstUnreachable => unreachable_v4(packet.msg_code()),
        Icmpv4Message::TimeExceeded => undelivered(SocketError::HostUnreachable, false),
        Icmpv4Message::ParamProblem => undelivered(SocketError::Protocol, true),
        Icmpv4Message::Redirect => return Message::OtherError,
        _ => return Message::Query,
    };
    quoted_v4(&icmp[8..]).map_or(Message::OtherError, |quote| Message::Error(quote, problem))
}

fn undelivered(error: SocketError, hard: bool) -> Problem {
    Problem::Undelivered { error, hard }
}

/// RFC 1122, section 3.2.2.1, as Linux reads it.
fn unreachable_v4(code: u8) -> Problem {
    use SocketError::{
        HostDown, HostUnreachable, NetworkUnreachable, NoNetwork, NotSupported,
        ProtocolUnreachable, Refused,
    };
    match code {
        0 | 11 => undelivered(NetworkUnreachable, false),
        2 => undelivered(ProtocolUnreachable, true),
        3 => undelivered(Refused, true),
        5 => undelivered(NotSupported, false),
        6 | 9 => undelivered(NetworkUnreachable, true),
        7 => undelivered(HostDown, true),
        8 => undelivered(NoNetwork, true),
        10 | 13..=15 => undelivered(HostUnreachable, true),
        _ => undelivered(HostUnreachable, false),
    }
}

pub(crate) fn classify_v6(icmp: &[u8]) -> Message {
    let Ok(packet) = Icmpv6Packet::new_checked(icmp) else {
        return Message::OtherError;
    };
    let problem = match (packet.msg_type(), packet.msg_code()) {
        (Icmpv6Message::DstUnreachable, 0) => undelivered(SocketError::NetworkUnreachable, false),
        (Icmpv6Message::DstUnreachable, 1 | 5 | 6) => undelivered(SocketError::Access, true),
        (Icmpv6Message::DstUnreachable, 4) => undelivered(SocketError::Refused, true),
        (Icmpv6Message::DstUnreachable, _) => undelivered(SocketError::HostUnreachable, false),
        (Icmpv6Message::PktTooBig, _) => Problem::TooBig {
            mtu: u32::from_be_bytes([icmp[4], icmp[5], icmp[6], icmp[7]]),
        },
        (Icmpv6Message::TimeExceeded, _) => undelivered(SocketError::HostUnreachable, false),
        (Icmpv6Message::ParamProblem, _) => undelivered(SocketError::Protocol, true),
        (kind, _) if kind.is_error() => return Message::OtherError,
        (Icmpv6Message::Redirect, _) => return Message::OtherError,
        _ => return Message::Query,
    };
    quoted_v6(&icmp[8..]).map_or(Message::OtherError, |quote| Message::Error(quote, problem))
}

/// What an ICMP error says of the UDP datagram or TCP segment that it quotes.
fn quoted_v4(bytes: &[u8]) -> Option<Quote> {
    // A quoted packet is cut off: its total length says nothing about these bytes.
    if bytes.len() < 20 {
        return None;
    }
    let ip = Ipv4Packet::new_unchecked(bytes);
    let header_len = usize::from(ip.header_len());
    let first = ip.version() == 4 && header_len >= 20 && ip.frag_offset() == 0;
    if !first {
        return None;
    }
    let (source, destination) = (ip.src_addr().into(), ip.dst_addr().into());
    quoted_header(
        ip.next_header(),
        bytes.get(header_len..)?,
        source,
        destination,
    )
}

fn quoted_v6(bytes: &[u8]) -> Option<Quote> {
    if bytes.len() < 40 {
        return None;
    }
    let ip = Ipv6Packet::new_unchecked(bytes);
    let walk = walk_extensions(ip.next_header(), &bytes[40..])?;
    let Walk::Upper { protocol, len } = walk else {
        return None;
    };
    let (source, destination) = (ip.src_addr().into(), ip.dst_addr().into());
    quoted_header(protocol, &bytes[40 + len..], source, destination)
}

/// Ports, and what tells whether a segment was ours: its number (RFC 5927, section 4.1).
fn quoted_header(
    protocol: IpProtocol,
    header: &[u8],
    source: IpAddr,
    destination: IpAddr,
) -> Option<Quote> {
    let protocol = match protocol {
        IpProtocol::Udp => Protocol::Udp,
        IpProtocol::Tcp => Protocol::Tcp,
        _ => return None,
    };
    let ports = header.get(..4)?;
    let number = match protocol {
        Protocol::Udp => 0,
        Protocol::Tcp => u32::from_be_bytes(header.get(4..8)?.try_into().ok()?),
    };
    Some(Quote {
        protocol,
        local: SocketAddr::new(source, u16::from_be_bytes([ports[0], ports[1]])),
        remote: SocketAddr::new(destination, u16::from_be_bytes([ports[2], ports[3]])),
        seq: SeqNumber(number),
    })
}

/// A "fragment reassembly time exceeded" message as a whole IP packet: type 11 (IPv4) or 3 (IPv6),
/// code 1.
pub(crate) fn time_exceeded(source: IpAddr, to: IpAddr, fragment: &[u8]) -> Vec<u8> {
    let kind = if source.is_ipv4() { 11 } else { 3 };
    error(source, to, (kind, 1), fragment)
}

/// A "port unreachable" message as a whole IP packet: type 3, code 3 (IPv4) or type 1, code 4 (IPv6).
pub(crate) fn port_unreachable(source: IpAddr, to: IpAddr, packet: &[u8]) -> Vec<u8> {
    let kind = if source.is_ipv4() { (3, 3) } else { (1, 4) };
    error(source, to, kind, packet)
}

/// An error of this type and code, quoting as much of the packet as an error may (RFC 1812, 4.3.2.3;
/// RFC 4443, 2.4(c)).
fn error(source: IpAddr, to: IpAddr, (kind, code): (u8, u8), packet: &[u8]) -> Vec<u8> {
    let (header_len, max_len) = if source.is_ipv4() {
        (20, 576)
    } else {
        (40, 1280)
    };
    let quoted = &packet[..packet.len().min(max_len - header_len - 8)];
    let mut icmp = vec![kind, code, 0, 0, 0, 0, 0, 0];
    icmp.extend_from_slice(quoted);
    let protocol = if source.is_ipv4() {
        IpProtocol::Icmp
    } else {
        IpProtocol::Icmpv6
    };
    let mut bytes = header(source, to, protocol, icmp.len());
    // ICMPv6 sums a pseudo-header too, ICMP does not.
    let mut sum = match source {
        IpAddr::V4(_) => Checksum::new(),
        IpAddr::V6(_) => Checksum::pseudo(source, to, protocol.into(), icmp.len() as u32),
    };
    sum.add(&icmp);
    icmp[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    bytes.extend_from_slice(&icmp);
    bytes
}

/// A whole IP packet around a UDP datagram, for an error to quote: options and extension headers are
/// left out.
pub(crate) fn rebuild(ip: &IpIn, payload: &Payload, ledger: &Ledger) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(payload.len());
    payload.for_each(ledger, usize::MAX, |part| datagram.extend_from_slice(part));
    let mut bytes = header(ip.source, ip.destination, ip.protocol, datagram.len());
    bytes.extend_from_slice(&datagram);
    bytes
}

/// An IP header with no options.
fn header(source: IpAddr, to: IpAddr, protocol: IpProtocol, payload_len: usize) -> Vec<u8> {
    let (source, to, hop_limit) = (source.into(), to.into(), 64);
    let repr = IpRepr::new(source, to, protocol, payload_len, hop_limit);
    let mut bytes = vec![0; repr.header_len()];
    repr.emit(&mut bytes[..], &ChecksumCapabilities::default());
    bytes
}

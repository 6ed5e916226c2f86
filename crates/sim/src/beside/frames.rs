//! What a kernel says on the wire by itself: ARP (RFC 826), neighbour discovery (RFC 4861), and RST for what is nobody's
//! (RFC 9293, section 3.5.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringwire_stack::{multicast_mac, solicited_node};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, NdiscNeighborFlags, NdiscRepr,
    RawHardwareAddress, TcpPacket, TcpSeqNumber, checksum,
};

pub(super) type Mac = [u8; 6];

const ETHERNET: usize = 14;
const IPV6: usize = 40;

/// What a frame says of neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Somebody asks for an address, and says who that is.
    Asked {
        target: IpAddr,
        by: IpAddr,
        mac: Mac,
    },
    /// Somebody says where an address is.
    Told { address: IpAddr, mac: Mac },
}

pub(super) fn heard(frame: &[u8]) -> Option<Heard> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    match frame.ethertype() {
        EthernetProtocol::Arp => heard_arp(frame.payload()),
        EthernetProtocol::Ipv6 => heard_ndisc(frame.payload()),
        _ => None,
    }
}

fn heard_arp(packet: &[u8]) -> Option<Heard> {
    let packet = ArpPacket::new_checked(packet).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: mac,
        source_protocol_addr: by,
        target_protocol_addr: target,
        ..
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    match operation {
        ArpOperation::Request => Some(Heard::Asked {
            target: target.into(),
            by: by.into(),
            mac: mac.0,
        }),
        ArpOperation::Reply => Some(Heard::Told {
            address: by.into(),
            mac: mac.0,
        }),
        _ => None,
    }
}

fn heard_ndisc(packet: &[u8]) -> Option<Heard> {
    let packet = Ipv6Packet::new_checked(packet).ok()?;
    if packet.next_header() != IpProtocol::Icmpv6 || packet.hop_limit() != 255 {
        return None;
    }
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let checked = ChecksumCapabilities::default();
    let mac = |raw: Option<RawHardwareAddress>| Mac::try_from(raw?.as_bytes()).ok();
    match Icmpv6Repr::parse(&from, &to, &message, &checked).ok()? {
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
            target_addr,
            lladdr,
        }) => Some(Heard::Asked {
            target: target_addr.into(),
            by: from.into(),
            mac: mac(lladdr)?,
        }),
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
            target_addr,
            lladdr,
            ..
        }) => Some(Heard::Told {
            address: target_addr.into(),
            mac: mac(lladdr)?,
        }),
        _ => None,
    }
}

/// Asks for an address.
pub(super) fn request(from: (Mac, IpAddr), target: IpAddr) -> Option<Vec<u8>> {
    match (from.1, target) {
        (IpAddr::V4(ours), IpAddr::V4(target)) => {
            let everybody = [0xff; 6];
            let (from, to) = ((from.0, ours), ([0; 6], target));
            Some(arp(ArpOperation::Request, from, to, everybody))
        }
        (IpAddr::V6(ours), IpAddr::V6(target)) => {
            let to = solicited_node(target);
            let message = NdiscRepr::NeighborSolicit {
                target_addr: target,
                lladdr: Some(EthernetAddress(from.0).into()),
            };
            Some(ndisc(
                (from.0, ours),
                (multicast_mac(to.into()), to),
                message,
            ))
        }
        _ => None,
    }
}

/// Answers who has asked; with nobody in particular, tells everybody.
pub(super) fn answer(ours: (Mac, IpAddr), asked: Option<(Mac, IpAddr)>) -> Option<Vec<u8>> {
    match (ours.1, asked) {
        (IpAddr::V4(ip), Some((mac, IpAddr::V4(by)))) => {
            Some(arp(ArpOperation::Reply, (ours.0, ip), (mac, by), mac))
        }
        (IpAddr::V4(ip), None) => {
            let everybody = [0xff; 6];
            let (from, to) = ((ours.0, ip), (ours.0, ip));
            Some(arp(ArpOperation::Request, from, to, everybody))
        }
        (IpAddr::V6(ip), Some((mac, IpAddr::V6(by)))) => {
            let flags = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
            Some(advert(flags, (ours.0, ip), (mac, by)))
        }
        (IpAddr::V6(ip), None) => {
            let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let to = (multicast_mac(all_nodes.into()), all_nodes);
            Some(advert(NdiscNeighborFlags::OVERRIDE, (ours.0, ip), to))
        }
        _ => None,
    }
}

fn arp(
    operation: ArpOperation,
    from: (Mac, Ipv4Addr),
    to: (Mac, Ipv4Addr),
    destination: Mac,
) -> Vec<u8> {
    let message = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(from.0),
        source_protocol_addr: from.1,
        target_hardware_addr: EthernetAddress(to.0),
        target_protocol_addr: to.1,
    };
    let mut frame = [&destination[..], &from.0, &[8, 6]].concat();
    frame.resize(ETHERNET + message.buffer_len(), 0);
    message.emit(&mut ArpPacket::new_unchecked(&mut frame[ETHERNET..]));
    frame
}

fn advert(flags: NdiscNeighborFlags, from: (Mac, Ipv6Addr), to: (Mac, Ipv6Addr)) -> Vec<u8> {
    let message = NdiscRepr::NeighborAdvert {
        flags,
        target_addr: from.1,
        lladdr: Some(EthernetAddress(from.0).into()),
    };
    ndisc(from, to, message)
}

fn ndisc(from: (Mac, Ipv6Addr), to: (Mac, Ipv6Addr), message: NdiscRepr<'_>) -> Vec<u8> {
    let message = Icmpv6Repr::Ndisc(message);
    let len = message.buffer_len();
    let mut frame = [&to.0[..], &from.0, &[0x86, 0xdd]].concat();
    frame.extend_from_slice(&v6_header(from.1, to.1, 58, len));
    frame.resize(ETHERNET + IPV6 + len, 0);
    let packet = &mut frame[ETHERNET + IPV6..];
    let checked = ChecksumCapabilities::default();
    message.emit(
        &from.1,
        &to.1,
        &mut Icmpv6Packet::new_unchecked(packet),
        &checked,
    );
    frame
}

fn v6_header(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, len: usize) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend_from_slice(&(len as u16).to_be_bytes());
    header.extend_from_slice(&[protocol, 255]);
    header.extend_from_slice(&from.octets());
    header.extend_from_slice(&to.octets());
    header
}

/// Refuses a segment that is not a RST itself, which came from this Ethernet address.
pub(super) fn refusal(
    mac: Mac,
    to: Mac,
    (from_ip, to_ip): (IpAddr, IpAddr),
    segment: &TcpPacket<&[u8]>,
) -> Option<Vec<u8>> {
    const TCP: usize = 20;
    if segment.rst() {
        return None;
    }
    let mut bytes = [0; TCP];
    let mut reset = TcpPacket::new_unchecked(&mut bytes[..]);
    reset.set_src_port(segment.dst_port());
    reset.set_dst_port(segment.src_port());
    reset.set_header_len(TCP as u8);
    reset.clear_flags();
    reset.set_header_len(TCP as u8);
    reset.set_rst(true);
    if segment.ack() {
        reset.set_seq_number(segment.ack_number());
    } else {
        reset.set_ack(true);
        let len = segment.segment_len();
        let TcpSeqNumber(first) = segment.seq_number();
        reset.set_ack_number(TcpSeqNumber(first.wrapping_add(len as i32)));
    }
    reset.fill_checksum(&to_ip.into(), &from_ip.into());
    let (ethertype, header) = match (to_ip, from_ip) {
        (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
            let mut header = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
            header.extend_from_slice(&ours.octets());
            header.extend_from_slice(&theirs.octets());
            let sum = !checksum::data(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            ([8, 0], header)
        }
        (IpAddr::V6(ours), IpAddr::V6(theirs)) => ([0x86, 0xdd], v6_header(ours, theirs, 6, TCP)),
        _ => return None,
    };
    Some([&to[..], &mac, &ethertype, &header, &bytes].concat())
}

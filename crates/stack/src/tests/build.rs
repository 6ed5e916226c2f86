//! Packets written and read with `smoltcp::wire`, which knows nothing of the stack under test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv4Packet, Icmpv6Packet, Icmpv6Repr, IpAddress, IpProtocol, IpRepr,
    Ipv4Packet, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
    TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};

use super::harness::{OUR_MAC, PEER_MAC, at, ip};
use crate::address::{multicast_mac, solicited_node};

pub(super) const ETHERNET: usize = 14;
pub(super) const UNSPECIFIED_V6: &str = "::";
pub(super) const ALL_NODES: &str = "ff02::1";

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn checksums() -> ChecksumCapabilities {
    ChecksumCapabilities::default()
}

pub(super) fn ethernet(
    from: [u8; 6],
    to: [u8; 6],
    ethertype: EthernetProtocol,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET];
    let repr = EthernetRepr {
        src_addr: EthernetAddress(from),
        dst_addr: EthernetAddress(to),
        ethertype,
    };
    repr.emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    frame.extend_from_slice(payload);
    frame
}

/// An IP packet from the peer in an Ethernet frame for us.
pub(super) fn frame(packet: &[u8]) -> Vec<u8> {
    let ethertype = match packet[0] >> 4 {
        4 => EthernetProtocol::Ipv4,
        _ => EthernetProtocol::Ipv6,
    };
    ethernet(PEER_MAC, OUR_MAC, ethertype, packet)
}

/// An IP packet with no options.
pub(super) fn ip_packet(
    from: IpAddr,
    to: IpAddr,
    protocol: IpProtocol,
    hop_limit: u8,
    payload: &[u8],
) -> Vec<u8> {
    let repr = IpRepr::new(from.into(), to.into(), protocol, payload.len(), hop_limit);
    let mut packet = vec![0; repr.header_len()];
    repr.emit(&mut packet[..], &checksums());
    packet.extend_from_slice(payload);
    packet
}

/// A UDP datagram: header and payload, with its checksum.
pub(super) fn udp_datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let repr = UdpRepr {
        src_port: from.port(),
        dst_port: to.port(),
    };
    let mut datagram = vec![0; 8 + payload.len()];
    repr.emit(
        &mut UdpPacket::new_unchecked(&mut datagram[..]),
        &from.ip().into(),
        &to.ip().into(),
        payload.len(),
        |bytes| bytes.copy_from_slice(payload),
        &checksums(),
    );
    datagram
}

/// A whole frame from the peer with a UDP datagram.
pub(super) fn udp(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    frame(&udp_packet(from, to, payload))
}

/// An IP packet with a UDP datagram.
pub(super) fn udp_packet(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (at(from), at(to));
    let datagram = udp_datagram(from, to, payload);
    ip_packet(from.ip(), to.ip(), IpProtocol::Udp, 64, &datagram)
}

/// A frame from the peer whose UDP header was changed after its checksum was written.
pub(super) fn udp_changed(
    from: &str,
    to: &str,
    payload: &[u8],
    change: impl FnOnce(&mut UdpPacket<&mut [u8]>),
) -> Vec<u8> {
    let mut packet = udp_packet(from, to, payload);
    let header = if at(from).is_ipv4() { 20 } else { 40 };
    change(&mut UdpPacket::new_unchecked(&mut packet[header..]));
    frame(&packet)
}

/// A frame from the peer with a SYN.
pub(super) fn tcp_syn(from: &str, to: &str) -> Vec<u8> {
    let (from, to) = (at(from), at(to));
    let repr = TcpRepr {
        src_port: from.port(),
        dst_port: to.port(),
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(from.port().into()),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: Some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let mut segment = vec![0; repr.buffer_len()];
    let mut packet = TcpPacket::new_unchecked(&mut segment[..]);
    repr.emit(
        &mut packet,
        &from.ip().into(),
        &to.ip().into(),
        &checksums(),
    );
    frame(&ip_packet(
        from.ip(),
        to.ip(),
        IpProtocol::Tcp,
        64,
        &segment,
    ))
}

/// An IPv4 packet with options, padded with zeros to a multiple of 4 bytes.
pub(super) fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let padded = options.len().next_multiple_of(4);
    let mut longer = packet[..20].to_vec();
    longer.extend_from_slice(options);
    longer.resize(20 + padded, 0);
    longer.extend_from_slice(&packet[20..]);
    let total = longer.len() as u16;
    let mut ip = Ipv4Packet::new_unchecked(&mut longer[..]);
    ip.set_header_len((20 + padded) as u8);
    ip.set_total_len(total);
    ip.fill_checksum();
    longer
}

/// An IPv6 packet with extension headers: (protocol, the header's bytes from its third on).
pub(super) fn with_extensions(packet: &[u8], headers: &[(IpProtocol, &[u8])]) -> Vec<u8> {
    let upper = Ipv6Packet::new_unchecked(packet).next_header();
    let mut extensions = Vec::new();
    for (index, (_, body)) in headers.iter().enumerate() {
        let next = headers
            .get(index + 1)
            .map_or(upper, |(protocol, _)| *protocol);
        assert_eq!((body.len() + 2) % 8, 0);
        extensions.push(next.into());
        extensions.push(((body.len() + 2) / 8 - 1) as u8);
        extensions.extend_from_slice(body);
    }
    let mut longer = packet[..40].to_vec();
    longer.extend_from_slice(&extensions);
    longer.extend_from_slice(&packet[40..]);
    let payload_len = (longer.len() - 40) as u16;
    let mut ip = Ipv6Packet::new_unchecked(&mut longer[..]);
    ip.set_payload_len(payload_len);
    if let Some((first, _)) = headers.first() {
        ip.set_next_header(*first);
    }
    longer
}

/// Cuts an IP packet into fragments that carry at most `step` bytes, a multiple of 8.
pub(super) fn fragments(packet: &[u8], id: u16, step: usize) -> Vec<Vec<u8>> {
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let len = packet.len() - header;
    (0..len)
        .step_by(step)
        .map(|offset| fragment(packet, id, offset, step.min(len - offset)))
        .collect()
}

/// One fragment of an IP packet.
pub(super) fn fragment(packet: &[u8], id: u16, offset: usize, len: usize) -> Vec<u8> {
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let payload = &packet[header..];
    let part = &payload[offset..offset + len];
    let more = offset + len < payload.len();
    let mut out = packet[..header].to_vec();
    if header == 20 {
        out.extend_from_slice(part);
        let mut ip = Ipv4Packet::new_unchecked(&mut out[..]);
        ip.set_total_len((20 + len) as u16);
        ip.set_ident(id);
        ip.clear_flags();
        ip.set_more_frags(more);
        ip.set_frag_offset(offset as u16);
        ip.fill_checksum();
        return out;
    }
    let field = (offset as u16) | u16::from(more);
    out.extend_from_slice(&[packet[6], 0]);
    out.extend_from_slice(&field.to_be_bytes());
    out.extend_from_slice(&u32::from(id).to_be_bytes());
    out.extend_from_slice(part);
    let mut ip = Ipv6Packet::new_unchecked(&mut out[..]);
    ip.set_payload_len((8 + len) as u16);
    ip.set_next_header(IpProtocol::Ipv6Frag);
    out
}

/// An ICMP or ICMPv6 message, as the addresses have it: type, code, the four bytes after the
/// checksum, and the rest.
pub(super) fn icmp(
    from: &str,
    to: &str,
    kind: u8,
    code: u8,
    word: [u8; 4],
    data: &[u8],
) -> Vec<u8> {
    let (from, to) = (ip(from), ip(to));
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(&word);
    message.extend_from_slice(data);
    let protocol = if from.is_ipv4() {
        Icmpv4Packet::new_unchecked(&mut message[..]).fill_checksum();
        IpProtocol::Icmp
    } else {
        let (IpAddress::Ipv6(from), IpAddress::Ipv6(to)) = (from.into(), to.into()) else {
            panic!("addresses of two families");
        };
        Icmpv6Packet::new_unchecked(&mut message[..]).fill_checksum(&from, &to);
        IpProtocol::Icmpv6
    };
    ip_packet(from, to, protocol, 255, &message)
}

/// A ping.
pub(super) fn echo_request(from: &str, to: &str, data: &[u8]) -> Vec<u8> {
    let kind = if ip(from).is_ipv4() { 8 } else { 128 };
    icmp(from, to, kind, 0, [0, 1, 0, 2], data)
}

/// A port unreachable message that quotes a packet.
pub(super) fn port_unreachable(from: &str, to: &str, quoted: &[u8]) -> Vec<u8> {
    let (kind, code) = if ip(from).is_ipv4() { (3, 3) } else { (1, 4) };
    icmp(from, to, kind, code, [0; 4], quoted)
}

fn arp(operation: ArpOperation, from: [u8; 6], sender: &str, to: [u8; 6], target: &str) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(from),
        source_protocol_addr: v4(sender),
        target_hardware_addr: EthernetAddress(to),
        target_protocol_addr: v4(target),
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
    ethernet(from, to, EthernetProtocol::Arp, &bytes)
}

/// "Who has `target`?", by broadcast.
pub(super) fn arp_request(from: [u8; 6], sender: &str, target: &str) -> Vec<u8> {
    arp(ArpOperation::Request, from, sender, [0xff; 6], target)
}

/// "`sender` is at `from`", to us.
pub(super) fn arp_reply(from: [u8; 6], sender: &str, target: &str) -> Vec<u8> {
    arp(ArpOperation::Reply, from, sender, OUR_MAC, target)
}

/// A neighbour discovery message in its frame.
pub(super) fn discovery(
    from: [u8; 6],
    source: &str,
    to: &str,
    hop_limit: u8,
    message: NdiscRepr<'_>,
) -> Vec<u8> {
    let (source, to) = (v6(source), v6(to));
    let icmp = Icmpv6Repr::Ndisc(message);
    let header = Ipv6Repr {
        src_addr: source,
        dst_addr: to,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit,
    };
    let mut packet = vec![0; 40 + icmp.buffer_len()];
    header.emit(&mut Ipv6Packet::new_unchecked(&mut packet[..]));
    let mut message = Icmpv6Packet::new_unchecked(&mut packet[40..]);
    icmp.emit(&source, &to, &mut message, &checksums());
    let mac = if to.is_multicast() {
        multicast_mac(to.into())
    } else {
        OUR_MAC
    };
    ethernet(from, mac, EthernetProtocol::Ipv6, &packet)
}

/// A solicitation to the target's solicited-node group; from `::` it is a probe and has no address.
pub(super) fn neighbour_solicit(from: [u8; 6], source: &str, target: &str) -> Vec<u8> {
    neighbour_solicit_at(from, source, target, 255)
}

pub(super) fn neighbour_solicit_at(
    from: [u8; 6],
    source: &str,
    target: &str,
    hop_limit: u8,
) -> Vec<u8> {
    let probe = source == UNSPECIFIED_V6;
    let message = NdiscRepr::NeighborSolicit {
        target_addr: v6(target),
        lladdr: (!probe).then(|| RawHardwareAddress::from(EthernetAddress(from))),
    };
    let group = solicited_node(v6(target)).to_string();
    discovery(from, source, &group, hop_limit, message)
}

pub(super) fn neighbour_advert(from: [u8; 6], source: &str, to: &str, solicited: bool) -> Vec<u8> {
    let mut flags = NdiscNeighborFlags::OVERRIDE;
    flags.set(NdiscNeighborFlags::SOLICITED, solicited);
    let message = NdiscRepr::NeighborAdvert {
        flags,
        target_addr: v6(source),
        lladdr: Some(RawHardwareAddress::from(EthernetAddress(from))),
    };
    discovery(from, source, to, 255, message)
}

/// An Ethernet frame taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ethernet {
    pub(super) to: [u8; 6],
    pub(super) from: [u8; 6],
    pub(super) ethertype: EthernetProtocol,
    pub(super) payload: Vec<u8>,
}

pub(super) fn read_ethernet(frame: &[u8]) -> Ethernet {
    let ethernet = EthernetFrame::new_checked(frame).unwrap();
    Ethernet {
        to: ethernet.dst_addr().0,
        from: ethernet.src_addr().0,
        ethertype: ethernet.ethertype(),
        payload: ethernet.payload().to_vec(),
    }
}

/// An IP packet taken apart, its lengths and header checksum checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ip {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) protocol: IpProtocol,
    pub(super) hop_limit: u8,
    pub(super) traffic_class: u8,
    pub(super) payload: Vec<u8>,
}

pub(super) fn read_ip(packet: &[u8]) -> Ip {
    if packet[0] >> 4 == 4 {
        let ip = Ipv4Packet::new_checked(packet).unwrap();
        assert!(ip.verify_checksum(), "IPv4 header checksum");
        assert_eq!(packet.len(), usize::from(ip.total_len()));
        return Ip {
            from: ip.src_addr().into(),
            to: ip.dst_addr().into(),
            protocol: ip.next_header(),
            hop_limit: ip.hop_limit(),
            traffic_class: ip.dscp() << 2 | ip.ecn(),
            payload: ip.payload().to_vec(),
        };
    }
    let ip = Ipv6Packet::new_checked(packet).unwrap();
    assert_eq!(packet.len(), ip.total_len());
    Ip {
        from: ip.src_addr().into(),
        to: ip.dst_addr().into(),
        protocol: ip.next_header(),
        hop_limit: ip.hop_limit(),
        traffic_class: ip.traffic_class(),
        payload: ip.payload().to_vec(),
    }
}

/// A UDP datagram taken apart: (from, to, payload), its checksum checked by smoltcp.
pub(super) fn read_udp(frame: &[u8]) -> (SocketAddr, SocketAddr, Vec<u8>) {
    let ip = read_ip(&read_ethernet(frame).payload);
    assert_eq!(ip.protocol, IpProtocol::Udp);
    let udp = UdpPacket::new_checked(&ip.payload[..]).unwrap();
    assert_ne!(udp.checksum(), 0, "a checksum is always sent");
    UdpRepr::parse(&udp, &ip.from.into(), &ip.to.into(), &checksums()).expect("UDP checksum");
    (
        SocketAddr::new(ip.from, udp.src_port()),
        SocketAddr::new(ip.to, udp.dst_port()),
        udp.payload().to_vec(),
    )
}

/// An ICMP or ICMPv6 message taken apart, its checksum checked: type, code, and what follows the
/// first 8 bytes.
pub(super) fn read_icmp(frame: &[u8]) -> (Ip, u8, u8, Vec<u8>) {
    let ip = read_ip(&read_ethernet(frame).payload);
    let message = &ip.payload;
    match (ip.protocol, ip.from, ip.to) {
        (IpProtocol::Icmp, ..) => {
            let packet = Icmpv4Packet::new_checked(&message[..]).unwrap();
            assert!(packet.verify_checksum(), "ICMP checksum");
        }
        (IpProtocol::Icmpv6, IpAddr::V6(from), IpAddr::V6(to)) => {
            let packet = Icmpv6Packet::new_checked(&message[..]).unwrap();
            assert!(packet.verify_checksum(&from, &to), "ICMPv6 checksum");
        }
        other => panic!("not ICMP: {other:?}"),
    }
    let (kind, code, data) = (message[0], message[1], message[8..].to_vec());
    (ip, kind, code, data)
}

/// An ARP packet taken apart.
pub(super) fn read_arp(frame: &[u8]) -> (Ethernet, ArpRepr) {
    let ethernet = read_ethernet(frame);
    assert_eq!(ethernet.ethertype, EthernetProtocol::Arp);
    let repr = ArpRepr::parse(&ArpPacket::new_checked(&ethernet.payload[..]).unwrap()).unwrap();
    (ethernet, repr)
}

/// A neighbour advertisement or solicitation taken apart: (frame, IP, type, target, flags).
pub(super) fn read_discovery(frame: &[u8]) -> (Ethernet, Ip, u8, Ipv6Addr, NdiscNeighborFlags) {
    let (ip, kind, code, data) = read_icmp(frame);
    assert_eq!((code, ip.hop_limit), (0, 255));
    let target: [u8; 16] = data[..16].try_into().unwrap();
    let flags = NdiscNeighborFlags::from_bits_truncate(ip.payload[4]);
    (read_ethernet(frame), ip, kind, target.into(), flags)
}

/// What of these frames is neither ARP, nor neighbour discovery, nor a multicast report.
pub(super) fn without_noise(frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames
        .into_iter()
        .filter(|frame| {
            let ethernet = read_ethernet(frame);
            let ip = &ethernet.payload;
            let discovery = || ip[6] == 58 && matches!(ip[40], 135 | 136);
            match ethernet.ethertype {
                EthernetProtocol::Arp => false,
                EthernetProtocol::Ipv6 => ip[6] != 0 && !discovery(),
                _ => true,
            }
        })
        .collect()
}

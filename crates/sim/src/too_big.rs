//! What a router answers to a packet that the next link does not take: "fragmentation needed" (RFC 792,
//! RFC 1191) and "packet too big" (RFC 4443, section 3.2).

use smoltcp::wire::checksum;

const ETHERNET: usize = 14;
/// The router's Ethernet and IP addresses, on the hosts' own link.
pub(crate) const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
pub(crate) const ROUTER_V4: [u8; 4] = [10, 0, 0, 254];
pub(crate) const ROUTER_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe];
/// Bytes of a packet that an IPv4 report quotes: what RFC 1812, section 4.3.2.3, allows.
const QUOTED_V4: usize = 576 - 20 - 8;
/// An IPv6 report is of the least MTU at most.
const QUOTED_V6: usize = 1280 - 40 - 8;

/// The frame that tells a packet's sender about the MTU. `None` where there is none to tell: not IP, an
/// IPv4 packet that may be fragmented, an ICMP error.
pub(crate) fn report(frame: &[u8], mtu: usize) -> Option<Vec<u8>> {
    let (ethertype, ip) = (frame.get(12..14)?, frame.get(ETHERNET..)?);
    let packet = match ethertype {
        [8, 0] if ip.len() >= 28 && ip[6] & 0x40 != 0 && ip[9] != 1 => {
            fragmentation_needed(ip, mtu)
        }
        [0x86, 0xdd] if ip.len() >= 48 && ip[6] != 58 => packet_too_big(ip, mtu),
        _ => return None,
    };
    Some([&frame[6..12], &ROUTER_MAC, ethertype, &packet[..]].concat())
}

fn fragmentation_needed(ip: &[u8], mtu: usize) -> Vec<u8> {
    let quoted = &ip[..ip.len().min(QUOTED_V4)];
    let mut icmp = vec![3, 4, 0, 0, 0, 0];
    icmp.extend_from_slice(&(mtu as u16).to_be_bytes());
    icmp.extend_from_slice(quoted);
    let sum = !checksum::data(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut header = vec![0x45, 0xc0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0];
    header.extend_from_slice(&ROUTER_V4);
    header.extend_from_slice(&ip[12..16]);
    header[2..4].copy_from_slice(&((20 + icmp.len()) as u16).to_be_bytes());
    let sum = !checksum::data(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [header, icmp].concat()
}

fn packet_too_big(ip: &[u8], mtu: usize) -> Vec<u8> {
    let quoted = &ip[..ip.len().min(QUOTED_V6)];
    let mut icmp = vec![2, 0, 0, 0];
    icmp.extend_from_slice(&(mtu as u32).to_be_bytes());
    icmp.extend_from_slice(quoted);
    let mut pseudo = [&ROUTER_V6[..], &ip[8..24]].concat();
    pseudo.extend_from_slice(&(icmp.len() as u32).to_be_bytes());
    pseudo.extend_from_slice(&[0, 0, 0, 58]);
    let sum = !checksum::combine(&[checksum::data(&pseudo), checksum::data(&icmp)]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut header = vec![0x60, 0, 0, 0];
    header.extend_from_slice(&(icmp.len() as u16).to_be_bytes());
    header.extend_from_slice(&[58, 64]);
    header.extend_from_slice(&ROUTER_V6);
    header.extend_from_slice(&ip[8..24]);
    [header, icmp].concat()
}

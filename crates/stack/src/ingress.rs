//! Packets on their way in: Ethernet, IP, and what each is for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringwire_umem::Ledger;
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet};

use crate::address::is_bad_source;
use crate::checksum::Checksum;
use crate::extension::{Walk, walk_extensions};
use crate::headers::{ETHERNET_HEADER, IPV4_HEADER};
use crate::packet::{Packet, Payload};
use crate::reassembly::{Expired, Key, Outcome};
use crate::{RxChecksum, Stack};
use ringwire_tcp::{Ecn, Instant};

/// The IP packet inside a received Ethernet frame, by offsets: headers parsed and checked, no byte moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpIn {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: IpProtocol,
    /// Where the IP header begins, where its payload begins, and the payload's length.
    pub(crate) header_at: usize,
    pub(crate) payload_at: usize,
    pub(crate) payload_len: usize,
    /// What routers have said of congestion.
    pub(crate) ecn: Ecn,
}

/// An IP packet that is a fragment.
#[derive(Clone, Copy, Debug)]
struct FragmentIn {
    ip: IpIn,
    offset: usize,
    more: bool,
    id: u32,
}

/// What the headers say about a packet.
enum Parsed {
    Whole(IpIn),
    Fragment(FragmentIn),
}

/// Why a packet is dropped; each has its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reject {
    Malformed,
    NotOurs,
    BadSource,
    SourceRouted,
    BadChecksum,
}

impl Stack {
    /// Takes the packets that a NIC queue has received, as `next` hands them out, until there is none; each
    /// begins with its Ethernet header. Returns how many there were.
    pub fn receive(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        queue: u16,
        mut next: impl FnMut(&mut Ledger) -> Option<Packet>,
    ) -> usize {
        let before = self.counters.rx_packets;
        let mut ahead = None;
        while let Some(packet) = ahead.take().or_else(|| next(ledger)) {
            self.count_received(1, packet.len());
            let head = ledger.piece(&packet.first);
            // Not moved out of the option, nor copied: whoever does so right after its fields were written
            // waits for the stores.
            if let Some((id, header)) = &self.find_flow(head) {
                let id = *id;
                ahead = self.receive_in_flow(now, ledger, packet, queue, id, header, &mut next);
            } else {
                self.receive_packet(now, ledger, packet, queue);
            }
        }
        (self.counters.rx_packets - before) as usize
    }

    #[inline]
    pub(crate) fn count_received(&mut self, packets: u64, bytes: usize) {
        self.counters.rx_packets += packets;
        self.counters.rx_bytes += bytes as u64;
    }

    /// Takes a packet that is no part of the last one's flow.
    fn receive_packet(&mut self, now: Instant, ledger: &mut Ledger, packet: Packet, queue: u16) {
        let head = ledger.piece(&packet.first);
        let Ok(ethernet) = EthernetFrame::new_checked(head) else {
            return self.reject(ledger, packet, Reject::Malformed);
        };
        let to = ethernet.dst_addr();
        if to.0 != self.config.mac && to.is_unicast() {
            return self.reject(ledger, packet, Reject::NotOurs);
        }
        self.control_queue = queue;
        let parsed = match ethernet.ethertype() {
            EthernetProtocol::Ipv4 => parse_ipv4(head, packet.len()),
            EthernetProtocol::Ipv6 => parse_ipv6(head, packet.len()),
            // With shared addresses the kernel answers it.
            EthernetProtocol::Arp if self.shared.is_none() => {
                let arp = head[ETHERNET_HEADER..].to_vec();
                packet.release(ledger);
                return self.receive_arp(now, ledger, &arp);
            }
            _ => Err(Reject::NotOurs),
        };
        self.receive_ip(now, ledger, packet, queue, &parsed);
    }

    #[inline]
    fn receive_ip(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        packet: Packet,
        queue: u16,
        parsed: &Result<Parsed, Reject>,
    ) {
        let checked = match parsed {
            Ok(Parsed::Whole(ip) | Parsed::Fragment(FragmentIn { ip, .. })) => self.check_ip(ip),
            Err(reject) => Err(*reject),
        };
        match (checked, parsed) {
            (Ok(()), Ok(Parsed::Whole(ip))) => self.receive_whole(now, ledger, packet, queue, ip),
            (Ok(()), Ok(Parsed::Fragment(fragment))) => {
                self.receive_fragment(now, ledger, packet, queue, fragment)
            }
            (Err(reject), _) => self.reject(ledger, packet, reject),
            (_, Err(reject)) => self.reject(ledger, packet, *reject),
        }
    }

    /// Whether a packet is for us, and from an address that a host may have.
    #[inline]
    fn check_ip(&self, ip: &IpIn) -> Result<(), Reject> {
        if self.addresses.is_between_hosts(ip.source, ip.destination) {
            return Ok(());
        }
        self.check_any_ip(ip)
    }

    #[cold]
    fn check_any_ip(&self, ip: &IpIn) -> Result<(), Reject> {
        if !self.is_for_us(ip.destination) {
            return Err(Reject::NotOurs);
        }
        // A host that probes its address has none yet; what else comes so is refused later.
        let probe = ip.protocol == IpProtocol::Icmpv6 && ip.source == Ipv6Addr::UNSPECIFIED;
        if (is_bad_source(ip.source) && !probe)
            || self.addresses.is_local(ip.source)
            || self.addresses.is_broadcast(ip.source)
        {
            return Err(Reject::BadSource);
        }
        Ok(())
    }

    fn is_for_us(&self, to: IpAddr) -> bool {
        self.addresses.is_configured(to) || to.is_multicast() || self.addresses.is_broadcast(to)
    }

    #[inline]
    fn receive_whole(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        packet: Packet,
        queue: u16,
        ip: &IpIn,
    ) {
        if ip.protocol == IpProtocol::Udp {
            let payload = Payload::Frames {
                packet,
                start: ip.payload_at,
                len: ip.payload_len,
            };
            return self.receive_udp(now, ledger, payload, Some(queue), ip);
        }
        if ip.protocol == IpProtocol::Tcp {
            let payload = Payload::Frames {
                packet,
                start: ip.payload_at,
                len: ip.payload_len,
            };
            return self.receive_tcp(now, ledger, payload, queue, ip);
        }
        if self.shared.is_some() {
            return self.reject(ledger, packet, Reject::NotOurs);
        }
        let len = ip.payload_at + ip.payload_len - ip.header_at;
        let bytes = packet.to_vec(ledger, ip.header_at, len);
        packet.release(ledger);
        self.receive_control(now, ledger, &bytes, ip);
    }

    #[cold]
    fn receive_fragment(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        packet: Packet,
        queue: u16,
        fragment: &FragmentIn,
    ) {
        let ip = &fragment.ip;
        let header = packet.to_vec(ledger, ip.header_at, ip.payload_at - ip.header_at);
        let payload = packet.to_vec(ledger, ip.payload_at, ip.payload_len);
        packet.release(ledger);
        let protocol = if ip.source.is_ipv4() {
            ip.protocol.into()
        } else {
            0
        };
        let key = Key {
            src: ip.source,
            dst: ip.destination,
            protocol,
            id: fragment.id,
        };
        let Outcome::Complete(datagram) =
            self.reassembler
                .insert(now, key, fragment.offset, fragment.more, &header, &payload)
        else {
            return;
        };
        self.counters.rx_reassembled += 1;
        let Some((bytes, ip)) = whole_packet(datagram.header, &datagram.payload) else {
            self.counters.rx_malformed += 1;
            return;
        };
        if ip.protocol == IpProtocol::Udp {
            let payload = Payload::heap(bytes[ip.payload_at..].to_vec());
            self.receive_udp(now, ledger, payload, Some(queue), &ip);
        } else if ip.protocol == IpProtocol::Tcp {
            let payload = Payload::heap(bytes[ip.payload_at..].to_vec());
            self.receive_tcp(now, ledger, payload, queue, &ip);
        } else if self.shared.is_some() {
            self.count_reject(Reject::NotOurs);
        } else {
            self.receive_control(now, ledger, &bytes, &ip);
        }
    }

    /// Verifies the checksum of a transport header and what follows it. `None`: it was refused and
    /// counted.
    #[inline]
    pub(crate) fn verify(
        &mut self,
        ledger: &Ledger,
        payload: &Payload,
        ip: &IpIn,
        protocol: IpProtocol,
        len: usize,
        checksum: u16,
    ) -> Result<(), Option<Reject>> {
        if self.trusts_checksums() {
            return Ok(());
        }
        let mut sum = Checksum::new();
        payload.for_each(ledger, len, |part| sum.add(part));
        self.verify_sum(sum, ip, protocol, len, checksum)
    }

    #[inline]
    pub(crate) fn trusts_checksums(&self) -> bool {
        self.config.rx_checksum == RxChecksum::Trust || cfg!(feature = "broken-checksum")
    }

    /// The same, given the sum of those `len` bytes.
    pub(crate) fn verify_sum(
        &mut self,
        bytes: Checksum,
        ip: &IpIn,
        protocol: IpProtocol,
        len: usize,
        checksum: u16,
    ) -> Result<(), Option<Reject>> {
        if checksum == 0 && protocol == IpProtocol::Udp {
            return Err(Some(Reject::BadChecksum));
        }
        let pseudo = Checksum::pseudo(ip.source, ip.destination, protocol.into(), len as u32);
        let mut sum = pseudo;
        sum.add_u16(bytes.fold());
        if sum.finish() == 0 {
            return Ok(());
        }
        if checksum != pseudo.fold() {
            return Err(Some(Reject::BadChecksum));
        }
        if self.config.rx_checksum == RxChecksum::AcceptPartial {
            self.counters.rx_partial_accepted += 1;
            return Ok(());
        }
        self.counters.rx_partial_checksum += 1;
        Err(None)
    }

    #[cold]
    pub(crate) fn reject(&mut self, ledger: &mut Ledger, packet: Packet, why: Reject) {
        packet.release(ledger);
        self.count_reject(why);
    }

    pub(crate) fn count_reject(&mut self, why: Reject) {
        *match why {
            Reject::Malformed => &mut self.counters.rx_malformed,
            Reject::NotOurs => &mut self.counters.rx_not_ours,
            Reject::BadSource => &mut self.counters.rx_bad_source,
            Reject::SourceRouted => &mut self.counters.rx_source_routed,
            Reject::BadChecksum => &mut self.counters.rx_bad_checksum,
        } += 1;
    }

    /// Tells the source that its datagram was not completed, if its first fragment came (RFC 792;
    /// RFC 8200, section 4.5).
    pub(crate) fn report_expired(&mut self, now: Instant, ledger: &mut Ledger, expired: &Expired) {
        let Some(fragment) = &expired.first_fragment else {
            return;
        };
        // With shared addresses ICMP is the kernel's.
        let silent = self.shared.is_some() || expired.key.dst.is_multicast();
        if silent || !self.control_limit.take(now) {
            return;
        }
        let packet = crate::icmp::time_exceeded(expired.key.dst, expired.key.src, fragment);
        self.send_ip(now, ledger, &packet);
    }
}

/// Reads an IPv4 header in the first piece of a frame of `frame_len` bytes.
#[inline]
fn parse_ipv4(head: &[u8], frame_len: usize) -> Result<Parsed, Reject> {
    let bytes = &head[ETHERNET_HEADER..];
    // A packet may go on in another piece: its lengths are checked against the frame's.
    let Some(fixed) = bytes.first_chunk::<IPV4_HEADER>() else {
        return Err(Reject::Malformed);
    };
    let number = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let header_len = usize::from(fixed[0] & 0xf) * 4;
    let total_len = usize::from(number(2));
    let fits = header_len >= IPV4_HEADER
        && header_len <= bytes.len()
        && header_len <= total_len
        && ETHERNET_HEADER + total_len <= frame_len;
    if fixed[0] >> 4 != 4 || !fits {
        return Err(Reject::Malformed);
    }
    let mut sum = ipv4_header_sum(fixed);
    if header_len > IPV4_HEADER {
        sum.add(&bytes[IPV4_HEADER..header_len]);
    }
    if sum.finish() != 0 {
        return Err(Reject::BadChecksum);
    }
    if header_len > IPV4_HEADER {
        check_options(&bytes[IPV4_HEADER..header_len])?;
    }
    let address = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
    let parsed = IpIn {
        source: address(12).into(),
        destination: address(16).into(),
        protocol: fixed[9].into(),
        header_at: ETHERNET_HEADER,
        payload_at: ETHERNET_HEADER + header_len,
        payload_len: total_len - header_len,
        ecn: ecn(fixed[1]),
    };
    const MORE_FRAGMENTS: u16 = 0x2000;
    const OFFSET: u16 = 0x1fff;
    let fragment = number(6);
    if fragment & (MORE_FRAGMENTS | OFFSET) != 0 {
        return Ok(Parsed::Fragment(FragmentIn {
            ip: parsed,
            offset: usize::from(fragment & OFFSET) * 8,
            more: fragment & MORE_FRAGMENTS != 0,
            id: u32::from(number(4)),
        }));
    }
    Ok(Parsed::Whole(parsed))
}

/// The sum of an IPv4 header without options.
#[inline]
pub(crate) fn ipv4_header_sum(header: &[u8; IPV4_HEADER]) -> Checksum {
    // RFC 1071: words in memory order sum up as well as those in network order.
    let words = header.chunks_exact(4);
    let words =
        words.map(|word| u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]])));
    Checksum::of_words(words.sum())
}

/// The ECN field of a traffic class (RFC 3168, section 5).
pub(crate) fn ecn(traffic_class: u8) -> Ecn {
    match traffic_class & 3 {
        0 => Ecn::Incapable,
        3 => Ecn::Congested,
        _ => Ecn::Capable,
    }
}

/// IPv4 options are skipped, but malformed ones and source routes are not (RFC 7126).
fn check_options(mut options: &[u8]) -> Result<(), Reject> {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    while let Some(&kind) = options.first() {
        match kind {
            END => return Ok(()),
            NOP => options = &options[1..],
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(Reject::SourceRouted),
            _ => {
                let len = usize::from(*options.get(1).ok_or(Reject::Malformed)?);
                if len < 2 || len > options.len() {
                    return Err(Reject::Malformed);
                }
                options = &options[len..];
            }
        }
    }
    Ok(())
}

/// Reads an IPv6 header and the extension headers behind it.
#[inline(never)]
fn parse_ipv6(head: &[u8], frame_len: usize) -> Result<Parsed, Reject> {
    let bytes = &head[ETHERNET_HEADER..];
    if bytes.len() < 40 {
        return Err(Reject::Malformed);
    }
    let ip = Ipv6Packet::new_unchecked(bytes);
    let payload_len = usize::from(ip.payload_len());
    if ip.version() != 6 || ETHERNET_HEADER + 40 + payload_len > frame_len {
        return Err(Reject::Malformed);
    }
    let end = bytes.len().min(40 + payload_len);
    let walk = walk_extensions(ip.next_header(), &bytes[40..end]).ok_or(Reject::Malformed)?;
    let (protocol, headers_len) = match walk {
        Walk::Upper { protocol, len } => (protocol, len),
        Walk::Fragment {
            next_header, len, ..
        } => (next_header, len),
        Walk::SourceRoute => return Err(Reject::SourceRouted),
    };
    let parsed = IpIn {
        source: ip.src_addr().into(),
        destination: ip.dst_addr().into(),
        protocol,
        header_at: ETHERNET_HEADER,
        payload_at: ETHERNET_HEADER + 40 + headers_len,
        payload_len: payload_len - headers_len,
        ecn: ecn(ip.traffic_class()),
    };
    match walk {
        Walk::Upper { .. } | Walk::SourceRoute => Ok(Parsed::Whole(parsed)),
        Walk::Fragment {
            offset, more, id, ..
        } => Ok(Parsed::Fragment(FragmentIn {
            ip: parsed,
            offset,
            more,
            id,
        })),
    }
}

/// Makes one packet of a reassembled datagram. `header_at` of the result is 0.
fn whole_packet(header: Vec<u8>, payload: &[u8]) -> Option<(Vec<u8>, IpIn)> {
    let mut bytes = header;
    if bytes.first()? >> 4 == 4 {
        let header_len = bytes.len();
        let total_len = u16::try_from(header_len + payload.len()).ok()?;
        bytes.extend_from_slice(payload);
        let mut ip = Ipv4Packet::new_unchecked(&mut bytes[..]);
        ip.set_total_len(total_len);
        ip.clear_flags();
        ip.set_frag_offset(0);
        ip.fill_checksum();
        let parsed = IpIn {
            source: ip.src_addr().into(),
            destination: ip.dst_addr().into(),
            protocol: ip.next_header(),
            header_at: 0,
            payload_at: header_len,
            payload_len: payload.len(),
            ecn: ecn(ip.ecn()),
        };
        return Some((bytes, parsed));
    }
    // The extension headers before the fragment header are done with: a plain header replaces them.
    let next_header = IpProtocol::from(fragment_next_header(&bytes)?);
    bytes.truncate(40);
    bytes.extend_from_slice(payload);
    let payload_len = u16::try_from(payload.len()).ok()?;
    let mut ip = Ipv6Packet::new_unchecked(&mut bytes[..]);
    ip.set_payload_len(payload_len);
    ip.set_next_header(next_header);
    let (source, destination) = (ip.src_addr().into(), ip.dst_addr().into());
    let traffic_class = ip.traffic_class();
    let Walk::Upper { protocol, len } = walk_extensions(next_header, payload)? else {
        return None;
    };
    let parsed = IpIn {
        source,
        destination,
        protocol,
        header_at: 0,
        payload_at: 40 + len,
        payload_len: payload.len() - len,
        ecn: ecn(traffic_class),
    };
    Some((bytes, parsed))
}

/// What follows the fragment header, which is the last 8 bytes of the kept headers.
fn fragment_next_header(headers: &[u8]) -> Option<u8> {
    headers
        .len()
        .checked_sub(8)
        .filter(|&at| at >= 40)
        .map(|at| headers[at])
}

//! The flow that the last segment belonged to: nearly always the next one does too, and what its headers
//! say beside its own numbers was found out before (as Linux compares headers in GRO).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringwire_tcp::{Instant, SeqNumber};
use ringwire_umem::Ledger;
use smoltcp::wire::IpProtocol;

use super::input::{CONNECTED, note_delivery};
use super::receive_queue::SMALL_BYTES;
use super::wire::{self, Header};
use super::{Ends, IN_TABLE};
use crate::Stack;
use crate::checksum::Checksum;
use crate::ends_map::EndsMap;
use crate::headers::{ETHERNET_HEADER, IPV4_HEADER};
use crate::ingress::{IpIn, ecn, ipv4_header_sum};
use crate::packet::{Packet, Payload};
use crate::siblings::Sibling;
use crate::socket::{Protocol, SocketId};

/// Where the length of the IP packet stands.
const LENGTH_AT: usize = ETHERNET_HEADER + 2;
/// Bytes of the Ethernet and IPv4 headers, and of the ports.
const COMPARED: usize = ETHERNET_HEADER + IPV4_HEADER + 4;

/// Where TCP begins in a packet of a flow.
const IN_FLOW_AT: usize = ETHERNET_HEADER + IPV4_HEADER;

/// What all packets of a flow begin with: these bytes without the IP header's length, identification and
/// checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    /// Ethernet header, version and header length, type of service.
    link: u128,
    /// Fragmentation, time to live, protocol.
    way: u32,
    addresses: u64,
    ports: u32,
}

impl Key {
    #[inline(always)]
    fn new(head: &[u8; COMPARED]) -> Key {
        Key {
            link: u128::from_ne_bytes(*part(head, 0)),
            way: u32::from_ne_bytes(*part(head, 20)),
            addresses: u64::from_ne_bytes(*part(head, 26)),
            ports: u32::from_ne_bytes(*part(head, 34)),
        }
    }
}

#[inline(always)]
fn part<const LEN: usize>(head: &[u8; COMPARED], at: usize) -> &[u8; LEN] {
    head[at..].first_chunk().expect("a part of the headers")
}

/// A flow of TCP segments over IPv4 without options, each in a packet of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    key: Key,
    /// As it was read from one of its packets.
    ip: IpIn,
    /// The socket in the table of connections.
    pub(crate) id: SocketId,
}

impl Flow {
    /// The TCP header of a packet of this flow, if it is in one piece, sound as far as one can tell without
    /// its payload, and says no more than most do.
    #[inline(always)]
    pub(crate) fn header(&self, packet: &[u8]) -> Option<Header> {
        let head: &[u8; COMPARED] = packet.first_chunk()?;
        if ipv4_header_sum(part(head, ETHERNET_HEADER)).finish() != 0 {
            return None;
        }
        let total_len = usize::from(u16::from_be_bytes(*part(head, LENGTH_AT)));
        let tcp = packet.get(IN_FLOW_AT..ETHERNET_HEADER + total_len)?;
        wire::parse_plain(tcp, self.ip.ecn)
    }
}

/// The ends of the flow that a packet is of by its addresses and ports, local before remote, and its IP
/// header, if it is of this kind and for this Ethernet address.
#[inline]
fn parse(head: &[u8; COMPARED], mac: [u8; 6]) -> Option<(Ends, IpIn)> {
    /// IPv4, with a header of five words.
    const KIND: [u8; 3] = [0x08, 0x00, 0x45];
    const DO_NOT_FRAGMENT: u16 = 0x4000;
    const TCP: u8 = 6;
    let number = |at| u16::from_be_bytes(*part(head, at));
    let plain = *part(head, 12) == KIND
        && number(ETHERNET_HEADER + 6) & !DO_NOT_FRAGMENT == 0
        && head[ETHERNET_HEADER + 9] == TCP;
    if !plain || *part(head, 0) != mac {
        return None;
    }
    let address = |at| IpAddr::from(*part::<4>(head, at));
    let (source, destination) = (address(26), address(30));
    let ends = (
        SocketAddr::new(destination, number(IN_FLOW_AT + 2)),
        SocketAddr::new(source, number(IN_FLOW_AT)),
    );
    let ip = IpIn {
        source,
        destination,
        protocol: IpProtocol::Tcp,
        header_at: ETHERNET_HEADER,
        payload_at: IN_FLOW_AT,
        payload_len: usize::from(number(LENGTH_AT)).saturating_sub(IPV4_HEADER),
        ecn: ecn(head[ETHERNET_HEADER + 1]),
    };
    Some((ends, ip))
}

/// Segments of a flow that follow one another and are alike but for their numbers, and PSH, as they come
/// from a sender that has much to send (as Linux collects them in GRO).
#[derive(Debug)]
struct Run {
    key: Key,
    /// The IP packets' length as it stands there, and the frames' at least.
    ip_len: [u8; 2],
    frame_len: usize,
    tcp: wire::Alike,
    /// Where the payload begins, and how long it is.
    payload_at: usize,
    segment_len: u32,
    /// The number of the next one.
    next: SeqNumber,
}

impl Run {
    /// The run that a packet begins, whose header was read.
    #[inline(always)]
    fn new(packet: &[u8], header: &Header) -> Run {
        let head = packet.first_chunk().expect("flow: its header was read");
        let payload_at = IN_FLOW_AT + header.len;
        let segment = &header.segment;
        Run {
            key: Key::new(head),
            ip_len: *part(head, LENGTH_AT),
            frame_len: payload_at + segment.len as usize,
            tcp: wire::Alike::new(&packet[IN_FLOW_AT..payload_at]),
            payload_at,
            segment_len: segment.len,
            next: segment.end(),
        }
    }

    /// Whether a packet is the next of the run, its header sound as far as one can tell without its payload.
    #[inline(always)]
    fn goes_on_with(&self, packet: &[u8]) -> bool {
        let Some(head) = packet
            .first_chunk()
            .filter(|_| packet.len() >= self.frame_len)
        else {
            return false;
        };
        let sound = ipv4_header_sum(part(head, ETHERNET_HEADER)).finish() == 0;
        let alike = Key::new(head) == self.key && *part(head, LENGTH_AT) == self.ip_len;
        let tcp = &packet[IN_FLOW_AT..self.payload_at];
        sound && alike && self.tcp.matches(tcp, self.next)
    }
}

/// The connections by their ends, and the flow of the one whose segment came last.
#[derive(Debug)]
pub(crate) struct Connections {
    map: EndsMap<SocketId>,
    flow: Option<Flow>,
    sibling: Option<Arc<Sibling>>,
}

impl Connections {
    pub(crate) fn new(seed: u64) -> Connections {
        Connections {
            map: EndsMap::new(seed),
            flow: None,
            sibling: None,
        }
    }

    pub(crate) fn join(&mut self, sibling: &Arc<Sibling>) {
        self.sibling = Some(Arc::clone(sibling));
    }

    /// Whether another stack has a connection with these ends.
    pub(crate) fn is_elsewhere(&self, ends: &Ends) -> bool {
        let sibling = self.sibling.as_ref();
        sibling.is_some_and(|sibling| sibling.owner(Protocol::Tcp, ends).is_some())
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    #[inline(always)]
    pub(crate) fn get(&self, ends: &Ends) -> Option<SocketId> {
        self.map.get(ends).copied()
    }

    pub(crate) fn insert(&mut self, ends: Ends, id: SocketId) {
        self.flow = None;
        self.map.insert(ends, id);
        if let Some(sibling) = &self.sibling {
            sibling.open(Protocol::Tcp, &ends);
        }
    }

    pub(crate) fn remove(&mut self, ends: &Ends) {
        self.flow = None;
        let had = self.map.remove(ends).is_some();
        if let Some(sibling) = self.sibling.as_ref().filter(|_| had) {
            sibling.close(Protocol::Tcp, ends);
        }
    }

    /// The flow of the last segment: its connection is still there.
    #[inline(always)]
    pub(crate) fn flow(&self) -> Option<&Flow> {
        self.flow.as_ref()
    }

    pub(crate) fn set_flow(&mut self, flow: Option<Flow>) {
        self.flow = flow;
    }
}

impl Stack {
    /// The flow of a connection that a packet belongs to, by its addresses and ports, and its header as
    /// [`Flow::header`] has it.
    #[inline(always)]
    pub(crate) fn find_flow(&mut self, packet: &[u8]) -> Option<(SocketId, Header)> {
        let head = packet.first_chunk()?;
        let key = Key::new(head);
        if self.tcp.flow().is_none_or(|flow| flow.key != key) {
            let (ends, ip) = parse(head, self.config.mac)?;
            if !self.addresses.is_between_hosts(ip.source, ip.destination) {
                return None;
            }
            let id = self.tcp.connections.get(&ends)?;
            self.tcp.get(id).expect(IN_TABLE).fetch();
            self.tcp.connections.set_flow(Some(Flow { key, ip, id }));
        }
        let flow = self.tcp.flow()?;
        Some((flow.id, flow.header(packet)?))
    }

    /// Takes the next segment of the flow, whose header was read, and those of `next` that follow it and
    /// are alike; returns the first packet that is none of them, if there is one.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    pub(crate) fn receive_in_flow(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        packet: Packet,
        queue: u16,
        id: SocketId,
        header: &Header,
        next: &mut impl FnMut(&mut Ledger) -> Option<Packet>,
    ) -> Option<Packet> {
        self.control_queue = queue;
        let segment = &header.segment;
        let (start, len) = (IN_FLOW_AT + header.len, segment.len as usize);
        if !self.check_in_flow(ledger, &packet, header.len + len) {
            packet.release(ledger);
            return None;
        }
        // A few bytes, or what comes while memory is short, are copied.
        let whole = len > SMALL_BYTES && !self.rx_runs_short(ledger);
        let socket = self.tcp.slab.get_mut(id).expect(IN_TABLE);
        let connection = socket.connection.as_mut().expect(CONNECTED);
        if !(whole && connection.on_predicted(now, segment)) {
            let payload = Payload::Frames { packet, start, len };
            self.continue_connection(now, ledger, id, segment, payload, queue);
            return None;
        }
        socket.nic_queue = queue;
        let most = connection.offered_room();
        let mut run = Run::new(ledger.piece(&packet.first), header);
        let spares = &mut self.tcp.receive_spares;
        socket.receive.store_next(spares, packet, start, len);
        let (ahead, count) = self.receive_run(ledger, id, &mut run, most, next);
        let socket = self.tcp.slab.get_mut(id).expect(IN_TABLE);
        let connection = socket.connection.as_mut().expect(CONNECTED);
        connection.on_following(now, segment, count);
        note_delivery(socket, &mut self.tcp.events, id);
        self.await_turn(id);
        ahead
    }

    /// Keeps the segments of `next` that a run goes on with, of `most` bytes at most in all; returns the
    /// first packet that is none of them, and how many they were.
    #[inline(always)]
    fn receive_run(
        &mut self,
        ledger: &mut Ledger,
        id: SocketId,
        run: &mut Run,
        most: u32,
        next: &mut impl FnMut(&mut Ledger) -> Option<Packet>,
    ) -> (Option<Packet>, u32) {
        let (mut left, mut count) = (most, 0);
        while left >= run.segment_len {
            let Some(packet) = next(ledger) else {
                break;
            };
            if !run.goes_on_with(ledger.piece(&packet.first)) {
                return (Some(packet), count);
            }
            self.count_received(1, packet.len());
            let (start, len) = (run.payload_at, run.segment_len as usize);
            if !self.check_in_flow(ledger, &packet, start - IN_FLOW_AT + len) {
                packet.release(ledger);
                continue;
            }
            let socket = self.tcp.slab.get_mut(id).expect(IN_TABLE);
            let spares = &mut self.tcp.receive_spares;
            socket.receive.store_next(spares, packet, start, len);
            run.next += run.segment_len;
            left -= run.segment_len;
            count += 1;
        }
        (None, count)
    }

    /// Whether the checksum of a packet of the flow is right, over so many bytes of TCP; counts it.
    #[inline(always)]
    fn check_in_flow(&mut self, ledger: &Ledger, packet: &Packet, len: usize) -> bool {
        if self.trusts_checksums() {
            self.counters.tcp_rx_segments += 1;
            return true;
        }
        self.sum_in_flow(ledger, packet, len)
    }

    #[inline(never)]
    fn sum_in_flow(&mut self, ledger: &Ledger, packet: &Packet, len: usize) -> bool {
        let Some(ip) = self.tcp.flow().map(|flow| flow.ip) else {
            return false;
        };
        let checksum = wire::checksum(&ledger.piece(&packet.first)[IN_FLOW_AT..]);
        let mut sum = Checksum::new();
        packet.for_each(ledger, IN_FLOW_AT, len, |part| sum.add(part));
        let checked = self.verify_sum(sum, &ip, IpProtocol::Tcp, len, checksum);
        self.count_checked(checked)
    }
}

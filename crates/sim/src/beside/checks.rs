//! What a ring beside a kernel may send, and how long it must hold a port.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ringwire_stack::{Instant, Protocol};
use smoltcp::wire::{EthernetFrame, EthernetProtocol, Ipv4Packet, Ipv6Packet, TcpPacket};

use super::State;
use crate::traffic::{DATAGRAM_PORT, STREAM_PORT};

/// Ports that the server has until it closes everything.
pub(super) const SERVED: [u16; 2] = [DATAGRAM_PORT, STREAM_PORT];
/// How long a connection stays in TIME-WAIT (Linux `TCP_TIMEWAIT_LEN`).
const TIME_WAIT_NS: u64 = 60_000_000_000;

/// A packet that is not a fragment, or a first one.
pub(super) struct Head<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) protocol: u8,
    /// What is behind the IP header.
    pub(super) payload: &'a [u8],
}

/// Reads a packet whose IP header is right, of any length.
pub(super) fn packet(frame: &[u8]) -> Option<Head<'_>> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let (from, to, protocol, payload): (IpAddr, IpAddr, u8, &[u8]) = match frame.ethertype() {
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
            let (from, to) = (packet.src_addr(), packet.dst_addr());
            let protocol = packet.next_header().into();
            (from.into(), to.into(), protocol, packet.payload())
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(frame.payload()).ok()?;
            let (from, to) = (packet.src_addr(), packet.dst_addr());
            let protocol = packet.next_header().into();
            (from.into(), to.into(), protocol, packet.payload())
        }
        _ => return None,
    };
    let port = |at: usize| {
        let bytes = payload.get(at..at + 2).filter(|_| has_ports(protocol));
        bytes.map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    Some(Head {
        from: SocketAddr::new(from, port(0)),
        to: SocketAddr::new(to, port(2)),
        protocol,
        payload,
    })
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17)
}

/// What the wire has seen of a connection's end.
#[derive(Debug, Default)]
struct Flow {
    /// The ring has sent its FIN.
    sent: bool,
    /// The peer's came, first at this time.
    came: Option<Instant>,
    /// The ring's was first: TIME-WAIT is its.
    waits: bool,
}

/// Connections by the ring's port and the peer.
#[derive(Default)]
pub(super) struct Flows(BTreeMap<(u16, SocketAddr), Flow>);

impl State {
    /// Looks at what the ring has handed over in its turn, then at what it gave back.
    pub(super) fn look_at(&mut self, heads: &[Vec<u8>], all: bool) {
        for head in heads {
            if let Err(what) = self.judge(head) {
                self.violates(format!("{what}: {head:02x?}"));
            }
        }
        if all {
            self.may_send = self.told;
        }
        for (protocol, local) in std::mem::take(&mut self.released) {
            self.check_released(protocol, local);
        }
    }

    fn judge(&mut self, head: &[u8]) -> Result<(), &'static str> {
        let to = head.first_chunk::<6>().ok_or("a packet without a header")?;
        if to[0] & 1 == 0 && !self.told_macs.contains(to) {
            return Err("a packet to an Ethernet address that the kernel never told");
        }
        let ip = &head[14..];
        let (source, protocol, begin): (IpAddr, u8, usize) = match head[12..14] {
            [8, 0] => {
                let source: [u8; 4] = ip[12..16].try_into().expect("four");
                let is_later = (u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff) > 0;
                let begin = if is_later { usize::MAX } else { 20 };
                (source.into(), ip[9], begin)
            }
            [0x86, 0xdd] => {
                let source: [u8; 16] = ip[8..24].try_into().expect("sixteen");
                let begin = if ip[6] == 44 { usize::MAX } else { 40 };
                let protocol = if ip[6] == 44 { ip[40] } else { ip[6] };
                (source.into(), protocol, begin)
            }
            _ => return Err("what is neither IPv4 nor IPv6 is the kernel's to send"),
        };
        if !has_ports(protocol) {
            return Err("what is neither TCP nor UDP is the kernel's to send");
        }
        let [v4, v6] = self.may_send;
        let was_told = [(self.v4, v4), (self.v6, v6)].contains(&(source, true));
        // It may be back, and the news of that still to come.
        if !was_told && !self.has(source) {
            return Err("a packet from an address that the host has not got");
        }
        match ip.get(begin..) {
            Some(segment) if protocol == 6 => self.judge_segment(head, source, segment),
            _ => Ok(()),
        }
    }

    fn judge_segment(
        &mut self,
        head: &[u8],
        source: IpAddr,
        segment: &[u8],
    ) -> Result<(), &'static str> {
        let segment = TcpPacket::new_checked(segment).map_err(|_| "half a TCP header")?;
        let local = SocketAddr::new(source, segment.src_port());
        let remote = match source {
            IpAddr::V4(_) => IpAddr::from(<[u8; 4]>::try_from(&head[30..34]).expect("four")),
            IpAddr::V6(_) => IpAddr::from(<[u8; 16]>::try_from(&head[38..54]).expect("sixteen")),
        };
        let key = (local.port(), SocketAddr::new(remote, segment.dst_port()));
        if segment.rst() {
            self.flows.0.remove(&key);
            return Ok(());
        }
        if segment.syn() {
            self.flows.0.insert(key, Flow::default());
        }
        if segment.fin()
            && let Some(flow) = self.flows.0.get_mut(&key)
        {
            flow.waits |= !flow.sent && flow.came.is_none();
            flow.sent = true;
        }
        match self.covers(Protocol::Tcp, local) {
            true => Ok(()),
            // The socket of what waited to be sent may be gone.
            false if self.ending || segment.syn() && !segment.ack() => Ok(()),
            false => Err("a segment from a port that is not held"),
        }
    }

    /// The ring has been given a packet.
    pub(super) fn note_received(&mut self, frame: &[u8]) {
        let now = self.now;
        let flows = &mut self.flows.0;
        crate::loans::each_segment(frame, true, |_, segment| {
            let packet = packet(frame).expect("it has a segment");
            let key = (packet.to.port(), packet.from);
            if segment.rst() || segment.syn() {
                flows.remove(&key);
            } else if segment.fin()
                && let Some(flow) = flows.get_mut(&key)
            {
                flow.came.get_or_insert(now);
            }
        });
    }

    /// No port is given back while a connection from it is in TIME-WAIT.
    fn check_released(&mut self, protocol: Protocol, local: SocketAddr) {
        if protocol != Protocol::Tcp || self.ending {
            return;
        }
        let now = self.now.as_nanos();
        let waits = |flow: &Flow| {
            let came = flow.came.filter(|_| flow.waits);
            came.is_some_and(|came| now < came.as_nanos() + TIME_WAIT_NS)
        };
        let of_port = self.flows.0.iter();
        let mut of_port = of_port.filter(|((port, remote), _)| {
            *port == local.port() && remote.is_ipv4() == local.is_ipv4()
        });
        if let Some((key, _)) = of_port.find(|(_, flow)| waits(flow)) {
            let text = format!("{local} is released while it waits for {}", key.1);
            self.violates(text);
        }
    }
}

//! The control plane: what no socket of ours takes goes to smoltcp's `Interface`, which answers
//! pings, refuses unknown protocols, and reports our multicast groups.
//!
//! The interface works on IP packets (`Medium::Ip`). ARP and neighbour discovery are ours
//! (`link.rs`), since the neighbour table is; so its answers take the same way out as everything
//! else: our neighbours, our fragmentation.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ringwire_umem::Ledger;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::wire::{HardwareAddress, IpCidr, IpProtocol};

use crate::Stack;
use crate::address::{Cidr, solicited_node};
use crate::checksum;
use crate::icmp::{Message, classify_v4, classify_v6};
use crate::ingress::{IpIn, Reject};
use crate::socket::Protocol;
use ringwire_tcp::Instant;

/// Neighbour solicitation and advertisement (RFC 4861, sections 4.3 and 4.4).
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// RFC 3810, section 5.1.
const MULTICAST_LISTENER_QUERY: u8 = 130;

pub(crate) struct Control {
    interface: Interface,
    sockets: SocketSet<'static>,
    device: Queue,
    /// When the answer to a multicast query is due at the latest: `poll_at` of smoltcp 0.14 leaves
    /// out what it has put off.
    report_due: Option<Instant>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Control {
    pub(crate) fn new(now: Instant, seed: u64) -> Control {
        let mut device = Queue::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let interface = Interface::new(config, &mut device, smoltcp_instant(now));
        Control {
            interface,
            sockets: SocketSet::new(Vec::new()),
            device,
            report_due: None,
        }
    }

    /// Replaces the interface's addresses.
    pub(crate) fn set_addresses(&mut self, cidrs: impl Iterator<Item = Cidr>) {
        let cidrs: Vec<Cidr> = cidrs.collect();
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            for cidr in &cidrs {
                // More than the interface can hold are refused when the stack is made.
                let _ = addresses.push(IpCidr::new(cidr.address.into(), cidr.prefix_bits));
            }
        });
    }

    fn join(&mut self, address: Ipv6Addr) {
        // The table is longer than that of addresses, so it is never full.
        let _ = self.interface.join_multicast_group(solicited_node(address));
    }

    pub(crate) fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let at = self
            .interface
            .poll_at(smoltcp_instant(now), &self.sockets)
            .map(|at| Instant::from_nanos(at.total_micros().max(0) as u64 * 1000));
        at.into_iter().chain(self.report_due).min()
    }

    /// Notes a multicast query (RFC 3810, section 5.1.3): smoltcp answers it after a random part of
    /// its Maximum Response Code, which it takes for milliseconds.
    fn note_query(&mut self, now: Instant, icmp: &[u8]) {
        if let [MULTICAST_LISTENER_QUERY, _, _, _, high, low, ..] = *icmp {
            let most_ms = u16::from_be_bytes([high, low]);
            self.report_due = Some(now + Duration::from_millis(most_ms.into()));
        }
    }

    fn poll(&mut self, now: Instant) {
        self.report_due = self.report_due.filter(|&due| due > now);
        self.interface
            .poll(smoltcp_instant(now), &mut self.device, &mut self.sockets);
    }
}

impl Stack {
    /// Takes a whole IP packet that is not for a UDP socket.
    pub(crate) fn receive_control(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        packet: &[u8],
        ip: &IpIn,
    ) {
        let payload = &packet[ip.payload_at - ip.header_at..];
        let message = match (ip.protocol, ip.source) {
            (IpProtocol::Icmp, IpAddr::V4(_)) => {
                let mut sum = checksum::Checksum::new();
                sum.add(payload);
                if sum.finish() != 0 {
                    return self.count_reject(Reject::BadChecksum);
                }
                classify_v4(payload)
            }
            (IpProtocol::Icmpv6, IpAddr::V6(source)) => {
                let len = payload.len() as u32;
                let mut sum =
                    checksum::Checksum::pseudo(ip.source, ip.destination, ip.protocol.into(), len);
                sum.add(payload);
                if sum.finish() != 0 {
                    return self.count_reject(Reject::BadChecksum);
                }
                if let Some(&(NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT)) = payload.first() {
                    return self.receive_discovery(now, ledger, source, packet[7], payload);
                }
                if source.is_unspecified() {
                    return self.count_reject(Reject::BadSource);
                }
                self.control.note_query(now, payload);
                classify_v6(payload)
            }
            _ => Message::Query,
        };
        match message {
            Message::Query => self.answer(now, ledger, packet),
            Message::Error(quote, problem) if self.hand_over_error(now, quote, problem) => {}
            error => self.take_icmp(now, ledger, error),
        }
    }

    /// Takes an ICMP error; another message is nobody's.
    pub(crate) fn take_icmp(&mut self, now: Instant, ledger: &mut Ledger, message: Message) {
        match message {
            Message::Error(quote, problem) => match quote.protocol {
                Protocol::Udp => self.receive_udp_error(now, quote.local, quote.remote, problem),
                Protocol::Tcp => {
                    let ends = (quote.local, quote.remote);
                    self.receive_tcp_error(now, ledger, ends, quote.seq, problem);
                }
            },
            Message::OtherError | Message::Query => self.counters.rx_icmp_ignored += 1,
        }
    }

    /// Lets smoltcp's interface answer a packet, within the limit of control traffic.
    pub(crate) fn answer(&mut self, now: Instant, ledger: &mut Ledger, packet: &[u8]) {
        if self.admit_control(now) {
            self.control.device.received.push_back(packet.to_vec());
            self.poll_control(now, ledger);
        }
    }

    /// Whether a packet may be answered: counted, and within the limit of control traffic.
    pub(crate) fn admit_control(&mut self, now: Instant) -> bool {
        let admitted = self.control_limit.take(now);
        *if admitted {
            &mut self.counters.control_packets
        } else {
            &mut self.counters.control_limited
        } += 1;
        admitted
    }

    /// Lets smoltcp's interface do what is due, and sends what it wrote.
    pub(crate) fn poll_control(&mut self, now: Instant, ledger: &mut Ledger) {
        self.control.poll(now);
        while let Some(mut packet) = self.control.device.written.pop_front() {
            correct_join(&mut packet);
            self.send_ip(now, ledger, &packet);
        }
    }

    /// Joins the solicited-node group of an IPv6 address, and says so: switches that snoop carry
    /// nothing for the group before, neither what is asked about the address nor what defends it
    /// against a probe of ours (RFC 4862, section 5.4.2).
    pub(crate) fn join_group(&mut self, now: Instant, ledger: &mut Ledger, address: Ipv6Addr) {
        self.control.join(address);
        self.poll_control(now, ledger);
    }
}

/// smoltcp 0.14 reports a group that was joined as "change to include nobody", which is to leave it
/// (RFC 3810, section 5.2.12). Groups are never left here, so such a report means the joining.
fn correct_join(packet: &mut [u8]) {
    // An IPv6 header, a hop-by-hop header of 8 bytes with the router alert, and the report.
    const REPORT_AT: usize = 48;
    const REPORT: u8 = 143;
    const CHANGE_TO_INCLUDE: u8 = 3;
    const CHANGE_TO_EXCLUDE: u8 = 4;
    let is_report = packet.len() > REPORT_AT + 8
        && packet[0] >> 4 == 6
        && packet[6] == IpProtocol::HopByHop.into()
        && packet[40..42] == [IpProtocol::Icmpv6.into(), 0]
        && packet[REPORT_AT] == REPORT;
    if !is_report || packet[REPORT_AT + 8] != CHANGE_TO_INCLUDE {
        return;
    }
    packet[REPORT_AT + 8] = CHANGE_TO_EXCLUDE;
    // RFC 1624: the checksum of what changed is added to the old one, inverted.
    let field = REPORT_AT + 2..REPORT_AT + 4;
    let old = u16::from_be_bytes([packet[field.start], packet[field.start + 1]]);
    let mut sum = checksum::Checksum::new();
    sum.add_u16(!old);
    sum.add_u16(u16::from(CHANGE_TO_EXCLUDE - CHANGE_TO_INCLUDE) << 8);
    packet[field].copy_from_slice(&sum.finish().to_be_bytes());
}

/// The interface's device: a queue each way.
#[derive(Debug, Default)]
struct Queue {
    received: VecDeque<Vec<u8>>,
    written: VecDeque<Vec<u8>>,
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Written<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Written<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Queue {
    type RxToken<'a> = Received;
    type TxToken<'a> = Written<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Written<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Received(packet), Written(&mut self.written)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Written<'_>> {
        Some(Written(&mut self.written))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        // Our egress fragments, so an answer may be as long as the question was.
        capabilities.max_transmission_unit = usize::from(u16::MAX);
        capabilities
    }
}

fn smoltcp_instant(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros((now.as_nanos() / 1000) as i64)
}

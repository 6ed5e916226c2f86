//! The control plane: what no socket of ours takes goes to smoltcp's `Interface`, which answers
//! pings, refuses closed ports, and reports our multicast groups.
//!
//! The interface works on IP packets (`Medium::Ip`). ARP and neighbour discovery are ours
//! (`link.rs`), since the neighbour table is; so its answers take the same way out as everything
//! else: our neighbours, our fragmentation.

use std::collections::VecDeque;
use std::net::IpAddr;

use ringwire_umem::Ledger;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::wire::{HardwareAddress, IpCidr, IpProtocol};

use crate::Stack;
use crate::address::{Cidr, solicited_node};
use crate::checksum;
use crate::icmp::{Message, classify_v4, classify_v6};
use crate::ingress::{IpIn, Reject};
use crate::time::Instant;

/// Neighbour solicitation and advertisement (RFC 4861, sections 4.3 and 4.4).
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

pub(crate) struct Control {
    interface: Interface,
    sockets: SocketSet<'static>,
    device: Queue,
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
        }
    }

    /// Replaces the interface's addresses, and joins the solicited-node group of each IPv6 one.
    pub(crate) fn set_addresses(&mut self, cidrs: impl Iterator<Item = Cidr>) {
        let cidrs: Vec<Cidr> = cidrs.collect();
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            for cidr in &cidrs {
                // More than the interface can hold are refused when the stack is made.
                let _ = addresses.push(IpCidr::new(cidr.address.into(), cidr.prefix_bits));
            }
        });
        for cidr in cidrs {
            if let IpAddr::V6(address) = cidr.address {
                // Joined before or table full: the NIC's own filter lets the group through anyway.
                let _ = self.interface.join_multicast_group(solicited_node(address));
            }
        }
    }

    pub(crate) fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let at = self
            .interface
            .poll_at(smoltcp_instant(now), &self.sockets)?;
        Some(Instant::from_nanos(at.total_micros().max(0) as u64 * 1000))
    }

    fn poll(&mut self, now: Instant) {
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
        let message = match ip.protocol {
            IpProtocol::Icmp => {
                let mut sum = checksum::Checksum::new();
                sum.add(payload);
                if sum.finish() != 0 {
                    return self.count_reject(Reject::BadChecksum);
                }
                classify_v4(payload)
            }
            IpProtocol::Icmpv6 => {
                let len = payload.len() as u32;
                let mut sum =
                    checksum::Checksum::pseudo(ip.source, ip.destination, ip.protocol.into(), len);
                sum.add(payload);
                if sum.finish() != 0 {
                    return self.count_reject(Reject::BadChecksum);
                }
                if let (
                    Some(&(NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT)),
                    IpAddr::V6(source),
                ) = (payload.first(), ip.source)
                {
                    return self.receive_discovery(now, ledger, source, packet[7], payload);
                }
                classify_v6(payload)
            }
            _ => Message::Query,
        };
        match message {
            Message::Udp(error) => self.receive_udp_error(error),
            Message::OtherError => self.counters.rx_icmp_ignored += 1,
            Message::Query => self.answer(now, ledger, packet),
        }
    }

    /// Lets smoltcp's interface answer a packet, within the limit of control traffic.
    pub(crate) fn answer(&mut self, now: Instant, ledger: &mut Ledger, packet: &[u8]) {
        if !self.control_limit.take(now) {
            self.counters.control_limited += 1;
            return;
        }
        self.counters.control_packets += 1;
        self.control.device.received.push_back(packet.to_vec());
        self.poll_control(now, ledger);
    }

    /// Lets smoltcp's interface do what is due, and sends what it wrote.
    pub(crate) fn poll_control(&mut self, now: Instant, ledger: &mut Ledger) {
        self.control.poll(now);
        while let Some(packet) = self.control.device.written.pop_front() {
            self.send_ip(now, ledger, &packet);
        }
    }
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
        // UDP comes here verified already, perhaps as a partial sum; TCP only to be refused.
        capabilities.checksum.udp = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

fn smoltcp_instant(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros((now.as_nanos() / 1000) as i64)
}

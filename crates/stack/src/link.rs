//! ARP (RFC 826, RFC 5227) and IPv6 neighbour discovery (RFC 4861, RFC 4862) on the wire: what we
//! ask, what we answer, and what we learn.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringwire_umem::Ledger;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags,
    NdiscRepr, RawHardwareAddress,
};

use crate::Stack;
use crate::address::{multicast_mac, solicited_node};
use crate::headers::ETHERNET_HEADER;
use crate::ingress::Reject;
use crate::neighbour::dad::DadAction;
use crate::neighbour::{Action, Learn, Mac};
use crate::packet::TxPacket;
use ringwire_tcp::Instant;

const BROADCAST: Mac = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

impl Stack {
    /// Takes an ARP packet (without its Ethernet header).
    pub(crate) fn receive_arp(&mut self, now: Instant, ledger: &mut Ledger, bytes: &[u8]) {
        let arp = ArpPacket::new_checked(bytes).and_then(|arp| ArpRepr::parse(&arp));
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: mac,
            source_protocol_addr: sender,
            target_protocol_addr: target,
            ..
        }) = arp
        else {
            return self.count_reject(Reject::Malformed);
        };
        if mac.0 == self.config.mac {
            return;
        }
        let probe = sender.is_unspecified();
        if self.addresses.is_configured(sender.into()) {
            return self.conflict(now, ledger, sender.into(), mac.0);
        }
        if probe
            && self.addresses.is_configured(target.into())
            && !self.addresses.is_local(target.into())
        {
            return self.conflict(now, ledger, target.into(), mac.0);
        }
        let to_us = self.addresses.is_local(target.into());
        if !probe {
            let how = match operation {
                ArpOperation::Request if to_us => Learn::Request,
                ArpOperation::Reply if to_us => Learn::Solicited { overrides: true },
                _ => Learn::Unsolicited { overrides: true },
            };
            self.hear(now, ledger, sender.into(), Some(mac.0), how);
        }
        if to_us && operation == ArpOperation::Request {
            let reply = self.arp(ArpOperation::Reply, target, mac.0, sender, mac.0);
            self.send_frame(ledger, &reply, self.control_queue);
        }
    }

    /// Takes a neighbour solicitation or advertisement; the ICMPv6 checksum has been verified.
    pub(crate) fn receive_discovery(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        source: Ipv6Addr,
        hop_limit: u8,
        icmp: &[u8],
    ) {
        let parsed = Icmpv6Packet::new_checked(icmp).and_then(|packet| NdiscRepr::parse(&packet));
        // RFC 4861, section 7.1: a packet from another link has a smaller hop limit.
        let (Ok(message), 255) = (parsed, hop_limit) else {
            return self.count_reject(Reject::Malformed);
        };
        match message {
            NdiscRepr::NeighborSolicit {
                target_addr,
                lladdr,
            } => {
                self.solicited(now, ledger, source, target_addr, mac_of(lladdr));
            }
            NdiscRepr::NeighborAdvert {
                flags,
                target_addr,
                lladdr,
            } => {
                self.advertised(now, ledger, flags, target_addr, mac_of(lladdr));
            }
            _ => {}
        }
    }

    fn solicited(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        source: Ipv6Addr,
        target: Ipv6Addr,
        mac: Option<Mac>,
    ) {
        if mac == Some(self.config.mac) {
            return;
        }
        let probe = source.is_unspecified();
        if !self.addresses.is_local(target.into()) {
            if probe && self.addresses.is_configured(target.into()) {
                self.conflict(now, ledger, target.into(), mac.unwrap_or_default());
            }
            return;
        }
        if let (false, Some(mac)) = (probe, mac) {
            self.hear(now, ledger, source.into(), Some(mac), Learn::Request);
        }
        let (to, to_mac) = match (
            probe,
            mac.or_else(|| self.neighbours.lookup(now, source.into())),
        ) {
            (false, Some(mac)) => (source, mac),
            (true, _) => (ALL_NODES, multicast_mac(ALL_NODES.into())),
            // Asked by unicast without its address: it knows ours, and its own request will follow.
            (false, None) => return,
        };
        let flags = NdiscNeighborFlags::OVERRIDE
            | if probe {
                NdiscNeighborFlags::empty()
            } else {
                NdiscNeighborFlags::SOLICITED
            };
        let advert = self.neighbour_advert(target, to, to_mac, flags);
        self.send_frame(ledger, &advert, self.control_queue);
    }

    fn advertised(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        flags: NdiscNeighborFlags,
        target: Ipv6Addr,
        mac: Option<Mac>,
    ) {
        if self.addresses.is_configured(target.into()) {
            if mac != Some(self.config.mac) {
                self.conflict(now, ledger, target.into(), mac.unwrap_or_default());
            }
            return;
        }
        let overrides = flags.contains(NdiscNeighborFlags::OVERRIDE);
        let solicited = flags.contains(NdiscNeighborFlags::SOLICITED);
        let how = match solicited {
            true => Learn::Solicited { overrides },
            false => Learn::Unsolicited { overrides },
        };
        if mac.is_some() || solicited {
            self.hear(now, ledger, target.into(), mac, how);
        }
    }

    /// Takes a neighbour's word on its Ethernet address (`None`: it is what it was), and tells our siblings.
    fn hear(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        ip: IpAddr,
        mac: Option<Mac>,
        how: Learn,
    ) {
        self.share_neighbour(now, ip, mac, how);
        match mac {
            Some(mac) => self.learn(now, ledger, ip, mac, how),
            None => self.neighbours.confirm(now, ip),
        }
    }

    pub(crate) fn learn(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        ip: IpAddr,
        mac: Mac,
        how: Learn,
    ) {
        let mut sendable: Vec<TxPacket> = Vec::new();
        self.neighbours.learn(now, ip, mac, how, &mut sendable);
        for packet in sendable {
            self.enqueue(ledger, packet, mac);
        }
    }

    fn conflict(&mut self, now: Instant, ledger: &mut Ledger, ip: IpAddr, mac: Mac) {
        self.counters.address_conflicts += 1;
        self.dad.on_conflict(now, ip, mac);
        self.poll_addresses(now, ledger);
    }

    /// Takes the due steps of duplicate address detection.
    pub(crate) fn poll_addresses(&mut self, now: Instant, ledger: &mut Ledger) {
        for action in self.dad.poll(now) {
            match action {
                DadAction::Probe(ip) => {
                    if let IpAddr::V6(address) = ip {
                        self.join_group(now, ledger, address);
                    }
                    self.probe_address(ledger, ip);
                }
                DadAction::Announce(ip) => self.announce_address(ledger, ip),
                DadAction::Ready(ip) => {
                    self.addresses.set_usable(ip, true);
                    self.tcp.forget_flow();
                    self.control.set_addresses(self.addresses.usable());
                    if let IpAddr::V6(address) = ip {
                        self.join_group(now, ledger, address);
                    }
                }
            }
        }
    }

    fn probe_address(&mut self, ledger: &mut Ledger, ip: IpAddr) {
        let frame = match ip {
            IpAddr::V4(ip) => self.arp(
                ArpOperation::Request,
                Ipv4Addr::UNSPECIFIED,
                [0; 6],
                ip,
                BROADCAST,
            ),
            IpAddr::V6(ip) => self.neighbour_solicit(Ipv6Addr::UNSPECIFIED, ip, None),
        };
        self.send_frame(ledger, &frame, 0);
    }

    fn announce_address(&mut self, ledger: &mut Ledger, ip: IpAddr) {
        let frame = match ip {
            IpAddr::V4(ip) => self.arp(ArpOperation::Request, ip, [0; 6], ip, BROADCAST),
            IpAddr::V6(ip) => self.neighbour_advert(
                ip,
                ALL_NODES,
                multicast_mac(ALL_NODES.into()),
                NdiscNeighborFlags::OVERRIDE,
            ),
        };
        self.send_frame(ledger, &frame, 0);
    }

    /// Takes the due steps of the neighbour table.
    pub(crate) fn poll_neighbours(&mut self, now: Instant, ledger: &mut Ledger) {
        let mut actions = Vec::new();
        self.neighbours.poll(now, &mut actions);
        for action in actions {
            match action {
                Action::Solicit { ip, unicast } => self.solicit(now, ledger, ip, unicast),
                Action::Failed { packets, .. } => {
                    for packet in packets {
                        self.drop_unreachable(ledger, packet);
                    }
                }
            }
        }
    }

    /// Asks a neighbour for its Ethernet address.
    pub(crate) fn solicit(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        ip: IpAddr,
        unicast: Option<Mac>,
    ) {
        if self.shared.is_some() {
            return self.ask_kernel(now, ledger, ip);
        }
        let frame = match (ip, self.addresses.source_for(ip)) {
            (IpAddr::V4(ip), Some(IpAddr::V4(source))) => self.arp(
                ArpOperation::Request,
                source,
                [0; 6],
                ip,
                unicast.unwrap_or(BROADCAST),
            ),
            (IpAddr::V6(ip), Some(IpAddr::V6(source))) => {
                self.neighbour_solicit(source, ip, unicast)
            }
            _ => return,
        };
        self.send_frame(ledger, &frame, self.control_queue);
    }

    fn arp(
        &self,
        operation: ArpOperation,
        source: Ipv4Addr,
        target_mac: Mac,
        target: Ipv4Addr,
        to: Mac,
    ) -> Vec<u8> {
        let repr = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(self.config.mac),
            source_protocol_addr: source,
            target_hardware_addr: EthernetAddress(target_mac),
            target_protocol_addr: target,
        };
        let mut bytes = self.ethernet(EthernetProtocol::Arp, to, repr.buffer_len());
        repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET_HEADER..]));
        bytes
    }

    fn neighbour_solicit(
        &self,
        source: Ipv6Addr,
        target: Ipv6Addr,
        unicast: Option<Mac>,
    ) -> Vec<u8> {
        let group = solicited_node(target);
        let (to, to_mac) = match unicast {
            Some(mac) => (target, mac),
            None => (group, multicast_mac(group.into())),
        };
        // RFC 4862, section 5.4.2: a probe carries no address, since it may not be ours.
        let lladdr = (!source.is_unspecified()).then(|| self.lladdr());
        let message = NdiscRepr::NeighborSolicit {
            target_addr: target,
            lladdr,
        };
        self.discovery(source, to, to_mac, message)
    }

    fn neighbour_advert(
        &self,
        target: Ipv6Addr,
        to: Ipv6Addr,
        to_mac: Mac,
        flags: NdiscNeighborFlags,
    ) -> Vec<u8> {
        let message = NdiscRepr::NeighborAdvert {
            flags,
            target_addr: target,
            lladdr: Some(self.lladdr()),
        };
        self.discovery(target, to, to_mac, message)
    }

    fn discovery(
        &self,
        source: Ipv6Addr,
        to: Ipv6Addr,
        to_mac: Mac,
        message: NdiscRepr<'_>,
    ) -> Vec<u8> {
        let icmp = Icmpv6Repr::Ndisc(message);
        let ip = Ipv6Repr {
            src_addr: source,
            dst_addr: to,
            next_header: IpProtocol::Icmpv6,
            payload_len: icmp.buffer_len(),
            hop_limit: 255,
        };
        let mut bytes = self.ethernet(
            EthernetProtocol::Ipv6,
            to_mac,
            ip.buffer_len() + icmp.buffer_len(),
        );
        let (ip_bytes, icmp_bytes) = bytes[ETHERNET_HEADER..].split_at_mut(ip.buffer_len());
        ip.emit(&mut Ipv6Packet::new_unchecked(ip_bytes));
        let checksums = ChecksumCapabilities::default();
        icmp.emit(
            &source,
            &to,
            &mut Icmpv6Packet::new_unchecked(icmp_bytes),
            &checksums,
        );
        bytes
    }

    fn ethernet(&self, ethertype: EthernetProtocol, to: Mac, payload_len: usize) -> Vec<u8> {
        let mut bytes = vec![0; ETHERNET_HEADER + payload_len];
        let repr = EthernetRepr {
            src_addr: EthernetAddress(self.config.mac),
            dst_addr: EthernetAddress(to),
            ethertype,
        };
        repr.emit(&mut EthernetFrame::new_unchecked(&mut bytes[..]));
        bytes
    }

    fn lladdr(&self) -> RawHardwareAddress {
        RawHardwareAddress::from(EthernetAddress(self.config.mac))
    }
}

fn mac_of(lladdr: Option<RawHardwareAddress>) -> Option<Mac> {
    lladdr.and_then(|address| address.as_bytes().try_into().ok())
}

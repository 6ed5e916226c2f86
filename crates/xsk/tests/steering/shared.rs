//! Addresses of the kernel's: only their claimed ports are steered.

use std::net::{Ipv4Addr, Ipv6Addr};

use ringwire_xsk::Protocol;

use crate::support::{ethernet, ipv4, udp};
use crate::{
    Bench, FRAGMENT, ICMPV6, IPV4, IPV6, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, OURS,
    PORT, TCP, THEIRS, UDP, arp, fragment_header, group, icmpv6_about, ipv6, ours6,
};

pub fn a_claim_takes_its_protocol_address_and_port() {
    let bench = Bench::new();
    bench.share(&[OURS.into(), THEIRS.into(), ours6().into()]);
    bench.claim(Protocol::Udp, OURS.into());
    bench.claim(Protocol::Tcp, ours6().into());
    let (datagram, other_port) = (udp(9, PORT, b"hello"), udp(PORT, 9, b"hello"));
    for options in [0, 1, 10] {
        let packet = ipv4(OURS, UDP, 0x4000, options, &datagram);
        bench.redirects(&ethernet(IPV4, &packet), "claim");
    }
    bench.passes(
        &ethernet(IPV4, &ipv4(OURS, UDP, 0, 0, &other_port)),
        "foreign",
    );
    bench.passes(
        &ethernet(IPV4, &ipv4(OURS, TCP, 0, 0, &datagram)),
        "foreign",
    );
    bench.passes(&ethernet(IPV4, &ipv4(OURS, 1, 0, 0, &datagram)), "foreign");
    bench.passes(
        &ethernet(IPV4, &ipv4(THEIRS, UDP, 0, 0, &datagram)),
        "foreign",
    );
    bench.redirects(&ethernet(IPV6, &ipv6(ours6(), TCP, 64, &datagram)), "claim");
    bench.passes(
        &ethernet(IPV6, &ipv6(ours6(), UDP, 64, &datagram)),
        "foreign",
    );
}

pub fn a_port_claimed_twice_is_steered_until_it_is_given_up_twice() {
    let bench = Bench::new();
    bench.share(&[OURS.into()]);
    let packet = ethernet(IPV4, &ipv4(OURS, UDP, 0, 0, &udp(9, PORT, b"hello")));
    let unclaim = || bench.program.unclaim(Protocol::Udp, OURS.into(), PORT);
    bench.claim(Protocol::Udp, OURS.into());
    bench.claim(Protocol::Udp, OURS.into());
    unclaim().unwrap();
    bench.redirects(&packet, "claim");
    unclaim().unwrap();
    bench.passes(&packet, "foreign");
    unclaim().unwrap(); // nobody had it any more
    bench.claim(Protocol::Udp, OURS.into());
    bench.redirects(&packet, "claim");
    unclaim().unwrap();
    bench.passes(&packet, "foreign");
}

/// What the host forwards has an address that is not its own.
pub fn a_claim_is_for_shared_addresses_only() {
    let bench = Bench::new();
    bench.claim(Protocol::Udp, OURS.into());
    bench.claim(Protocol::Udp, ours6().into());
    let datagram = udp(9, PORT, b"hello");
    let packet4 = ethernet(IPV4, &ipv4(OURS, UDP, 0, 0, &datagram));
    let packet6 = ethernet(IPV6, &ipv6(ours6(), UDP, 64, &datagram));
    bench.passes(&packet4, "foreign");
    bench.passes(&packet6, "foreign");
    bench.share(&[OURS.into(), ours6().into()]);
    bench.redirects(&packet4, "claim");
    bench.redirects(&packet6, "claim");
    bench.program.unshare_address(OURS.into()).unwrap();
    bench.program.unshare_address(ours6().into()).unwrap();
    bench.passes(&packet4, "foreign");
    bench.passes(&packet6, "foreign");
    bench.program.unshare_address(OURS.into()).unwrap(); // no failure
}

pub fn the_unspecified_address_claims_the_shared_ones_of_its_family() {
    let bench = Bench::new();
    bench.share(&[OURS.into(), ours6().into()]);
    let datagram = udp(9, PORT, b"hello");
    let packet4 = |to| ethernet(IPV4, &ipv4(to, UDP, 0, 0, &datagram));
    let packet6 = |to| ethernet(IPV6, &ipv6(to, UDP, 64, &datagram));
    bench.claim(Protocol::Udp, Ipv4Addr::UNSPECIFIED.into());
    bench.redirects(&packet4(OURS), "claim");
    bench.passes(&packet6(ours6()), "foreign");
    bench
        .program
        .unclaim(Protocol::Udp, Ipv4Addr::UNSPECIFIED.into(), PORT)
        .unwrap();
    bench.claim(Protocol::Udp, Ipv6Addr::UNSPECIFIED.into());
    bench.passes(&packet4(OURS), "foreign");
    bench.redirects(&packet6(ours6()), "claim");
}

pub fn broadcast_multicast_and_forwarded_packets_are_the_kernels_whatever_is_claimed() {
    let bench = Bench::new();
    bench.share(&[OURS.into(), ours6().into()]);
    bench.claim(Protocol::Udp, Ipv4Addr::UNSPECIFIED.into());
    bench.claim(Protocol::Udp, Ipv6Addr::UNSPECIFIED.into());
    let datagram = udp(9, PORT, b"hello");
    for to in ["255.255.255.255", "192.0.2.255", "224.0.0.251", "192.0.2.2"] {
        let to = to.parse().unwrap();
        let whole = ethernet(IPV4, &ipv4(to, UDP, 0, 0, &datagram));
        bench.passes(&whole, "foreign");
        let piece = ethernet(IPV4, &ipv4(to, UDP, 0x2000, 0, &datagram));
        bench.passes(&piece, "foreign");
    }
    let piece = [fragment_header(UDP, 1), datagram.clone()].concat();
    for to in ["ff02::1", "ff02::fb", "2001:db8::2"] {
        let to = to.parse().unwrap();
        bench.passes(&ethernet(IPV6, &ipv6(to, UDP, 64, &datagram)), "foreign");
        let piece = ethernet(IPV6, &ipv6(to, FRAGMENT, 64, &piece));
        bench.passes(&piece, "foreign");
    }
}

pub fn arp_nd_and_icmp_of_a_shared_address_are_the_kernels() {
    let bench = Bench::new();
    bench.share(&[OURS.into(), ours6().into()]);
    bench.claim(Protocol::Udp, Ipv4Addr::UNSPECIFIED.into());
    bench.claim(Protocol::Tcp, Ipv6Addr::UNSPECIFIED.into());
    bench.passes(&arp(1, THEIRS, OURS), "foreign");
    bench.passes(&arp(2, OURS, THEIRS), "foreign");
    let echo = [8, 0, 0, 0, 0, 0, 0, 0];
    bench.passes(&ethernet(IPV4, &ipv4(OURS, 1, 0, 0, &echo)), "foreign");
    let solicitation = {
        let message = icmpv6_about(NEIGHBOUR_SOLICITATION, ours6());
        ethernet(IPV6, &ipv6(group(), ICMPV6, 255, &message))
    };
    bench.passes(&solicitation, "foreign");
    for to in [ours6(), "ff02::1".parse().unwrap()] {
        let message = icmpv6_about(NEIGHBOUR_ADVERTISEMENT, ours6());
        bench.passes(&ethernet(IPV6, &ipv6(to, ICMPV6, 255, &message)), "foreign");
    }
}

pub fn an_address_is_owned_or_shared_and_the_last_word_counts() {
    let bench = Bench::new();
    let address = ours6().into();
    let solicitation = {
        let message = icmpv6_about(NEIGHBOUR_SOLICITATION, ours6());
        ethernet(IPV6, &ipv6(group(), ICMPV6, 255, &message))
    };
    let packet = ethernet(IPV6, &ipv6(ours6(), UDP, 64, &udp(9, PORT, b"hello")));
    bench.share(&[address]);
    bench.program.own_address(address).unwrap();
    bench.program.unshare_address(address).unwrap(); // it is not shared
    bench.redirects(&packet, "owned");
    bench.redirects(&solicitation, "neighbor");
    bench.share(&[address]);
    bench.program.disown_address(address).unwrap(); // it is not owned
    bench.passes(&packet, "foreign");
    bench.passes(&solicitation, "foreign");
    bench.claim(Protocol::Udp, address);
    bench.redirects(&packet, "claim");
}

pub fn fragments_to_a_claimed_port_are_passed() {
    let bench = Bench::new();
    bench.share(&[OURS.into(), ours6().into()]);
    bench.claim(Protocol::Udp, OURS.into());
    bench.claim(Protocol::Udp, ours6().into());
    let datagram = udp(9, PORT, b"hello");
    for fragment in [0x2000, 0x2001, 0x0001, 0x1fff] {
        bench.passes(
            &ethernet(IPV4, &ipv4(OURS, UDP, fragment, 0, &datagram)),
            "fragment",
        );
    }
    for fragment in [0x0001, 0x0009, 0x0008, 0xfff8] {
        let payload = [fragment_header(UDP, fragment), datagram.clone()].concat();
        bench.passes(
            &ethernet(IPV6, &ipv6(ours6(), FRAGMENT, 64, &payload)),
            "fragment",
        );
    }
    // The reserved bits say nothing, and an atomic fragment is a whole packet.
    let atomic = [fragment_header(UDP, 0x0006), datagram].concat();
    bench.redirects(
        &ethernet(IPV6, &ipv6(ours6(), FRAGMENT, 64, &atomic)),
        "claim",
    );
}

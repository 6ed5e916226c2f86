use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addresses() -> Addresses {
    let cidrs = ["10.0.0.2/24", "10.0.0.130/25", "fd00::2/64"].map(|text| text.parse().unwrap());
    let mut addresses = Addresses::new(&cidrs, &[ip("10.0.0.1")]);
    for cidr in cidrs {
        addresses.set_usable(cidr.address, true);
    }
    addresses
}

#[test]
fn a_prefix_is_parsed_and_refused() {
    assert_eq!("fd00::2/64".parse::<Cidr>().unwrap().prefix_bits, 64);
    for bad in [
        "10.0.0.2",
        "10.0.0.2/33",
        "10.0.0.2/x",
        "0.0.0.0/8",
        "224.0.0.1/4",
        "fd00::2/129",
    ] {
        assert!(bad.parse::<Cidr>().is_err(), "{bad}");
    }
}

#[test]
fn destinations_are_told_apart() {
    let ours = addresses();
    assert_eq!(ours.reach(ip("10.0.0.2")), Reach::Local);
    assert_eq!(ours.reach(ip("10.0.0.9")), Reach::Via(ip("10.0.0.9")));
    assert_eq!(ours.reach(ip("10.0.0.255")), Reach::Broadcast);
    assert_eq!(ours.reach(ip("224.0.0.1")), Reach::Multicast);
    assert_eq!(ours.reach(ip("192.0.2.1")), Reach::Via(ip("10.0.0.1")));
    assert_eq!(
        ours.reach(ip("2001:db8::1")),
        Reach::None,
        "no IPv6 gateway"
    );
    assert_eq!(ours.reach(ip("fe80::1")), Reach::Via(ip("fe80::1")));
}

#[test]
fn an_address_in_doubt_is_not_used() {
    let mut ours = addresses();
    ours.set_usable(ip("10.0.0.2"), false);
    assert!(!ours.is_local(ip("10.0.0.2")));
    assert!(ours.is_configured(ip("10.0.0.2")));
    assert_eq!(ours.source_for(ip("10.0.0.131")), Some(ip("10.0.0.130")));
}

#[test]
fn the_source_shares_the_longest_prefix() {
    let ours = addresses();
    assert_eq!(ours.source_for(ip("10.0.0.200")), Some(ip("10.0.0.130")));
    assert_eq!(ours.source_for(ip("10.0.0.5")), Some(ip("10.0.0.2")));
    assert_eq!(
        ours.source_for(ip("192.0.2.1")),
        Some(ip("10.0.0.2")),
        "by its gateway"
    );
    assert_eq!(ours.source_for(ip("fd00::9")), Some(ip("fd00::2")));
}

#[test]
fn every_prefix_length_is_compared_without_overflow() {
    for bits in 0..=32 {
        let cidr: Cidr = format!("10.0.0.2/{bits}").parse().unwrap();
        assert!(cidr.contains(ip("10.0.0.2")));
        assert_eq!(cidr.contains(ip("138.0.0.2")), bits == 0, "{bits}");
    }
}

#[test]
fn groups_have_their_ethernet_addresses() {
    assert_eq!(
        multicast_mac(ip("239.129.2.3")),
        [0x01, 0x00, 0x5e, 0x01, 2, 3]
    );
    let group = solicited_node("fd00::1:aabb:ccdd".parse().unwrap());
    assert_eq!(group, "ff02::1:ffbb:ccdd".parse::<Ipv6Addr>().unwrap());
    assert_eq!(
        multicast_mac(group.into()),
        [0x33, 0x33, 0xff, 0xbb, 0xcc, 0xdd]
    );
}

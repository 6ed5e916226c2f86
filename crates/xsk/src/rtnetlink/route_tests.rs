use super::*;
use crate::netlink::attribute;
use crate::rtnetlink::tests::{INDEX, damaged, hex};

/// To 192.0.2.5, on the link.
const ON_LINK: &str = "02200000fe0000010002000008000f00fe00000008000100c0000205080004000300000008000700c00002010800190000\
                       00000024000c000200000000000000000000000000000000000000000000000000000000000000";
/// To 198.51.100.7 by 192.0.2.254, with an MTU of 1300.
const ROUTED: &str = "02200000fe0000010002000008000f00fe00000008000100c6336407080004000300000008000700c00002010800\
                      0500c00002fe0c0008000800020014050000080019000000000024000c00020000000000000000000000000000000000\
                      0000000000000000000000000000";
/// To 203.0.113.7 by fe80::9.
const BY_V6: &str = "02200000fe0000010002000008000f00fe00000008000100cb007107080004000300000008000700c0000201160012\
                     000a00fe8000000000000000000000000000090000080019000000000024000c00020000000000000000000000000000\
                     0000000000000000000000000000000000";
/// To 192.0.2.1, which is the host's.
const LOCAL: &str = "02200000fe0000020002008008000f00fe00000008000100c0000201080004000100000008000700c0000201080019\
                     000000000024000c000100000000000000000000000000000000000000000000000000000000000000";
/// To 192.0.2.255.
const BROADCAST: &str = "02200000fe0000030002009008000f00fe00000008000100c00002ff080004000300000008000700c000020108\
                         0019000000000024000c000200000000000000000000000000000000000000000000000000000000000000";
/// To fd01::5 by fd00::9.
const V6_ROUTED: &str = "0a808000fe0300010000000008000f00fe00000014000100fd0100000000000000000000000000051400020000000000\
                         00000000000000000000000014000700fd00000000000000000000000000000108000600000400001400\
                         0500fd000000000000000000000000000009080004000300000024000c00020000000000000000000000\
                         00000000000000000000000000000000000000000500140000000000";
/// To fd00::1, which is the host's.
const V6_LOCAL: &str = "0a808000ff0200020000000008000f00ff00000014000100fd00000000000000000000000000000114000200\
                        0000000000000000000000000000000014000700fd000000000000000000000000000001080006000000000008\
                        0004000100000024000c00020000000000000000000000000000000000000000000000000000000000000005\
                        00140000000000";
/// To 198.18.0.1, inside a packet to 192.0.2.8.
const WRAPPED: &str = "02200000fe0000010002000008000f00fe00000008000100c61200010800040003000000380016000c00010000000000\
                       0000000108000200c000020808000300000000000500050000000000050004000000000006000600000000000600\
                       15000200000008000700c000020108000500c0000207080019000000000024000c00020000000000000000000000\
                       0000000000000000000000000000000000000000";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn read(text: &str, to: &str) -> Route {
    Route::read(&hex(text), INDEX, None, ip(to)).expect("a route")
}

fn via(neighbour: &str, source: &str, mtu: Option<u32>) -> Route {
    Route::Via {
        neighbour: ip(neighbour),
        source: Some(ip(source)),
        mtu,
    }
}

#[test]
fn a_neighbour_on_the_link_is_its_own_next_hop() {
    let expected = via("192.0.2.5", "192.0.2.1", None);
    assert_eq!(read(ON_LINK, "192.0.2.5"), expected);
}

#[test]
fn a_router_is_the_next_hop_and_the_routes_mtu_counts() {
    let expected = via("192.0.2.254", "192.0.2.1", Some(1300));
    assert_eq!(read(ROUTED, "198.51.100.7"), expected);
    let expected = via("fd00::9", "fd00::1", None);
    assert_eq!(read(V6_ROUTED, "fd01::5"), expected);
}

#[test]
fn an_ipv6_router_routes_ipv4() {
    let expected = via("fe80::9", "192.0.2.1", None);
    assert_eq!(read(BY_V6, "203.0.113.7"), expected);
}

#[test]
fn the_source_that_was_asked_with_stays() {
    let from = ip("192.0.2.77");
    let route = Route::read(&hex(ON_LINK), INDEX, Some(from), ip("192.0.2.5"));
    let expected = via("192.0.2.5", "192.0.2.77", None);
    assert_eq!(route.expect("a route"), expected);
}

#[test]
fn the_hosts_own_addresses_are_local_by_whatever_interface() {
    assert_eq!(read(LOCAL, "192.0.2.1"), Route::Local);
    assert_eq!(read(V6_LOCAL, "fd00::1"), Route::Local);
}

#[test]
fn broadcasts_and_groups_are_told_from_neighbours() {
    assert_eq!(read(BROADCAST, "192.0.2.255"), Route::Broadcast);
    assert_eq!(read(ON_LINK, "224.0.0.5"), Route::Multicast);
}

#[test]
fn another_interfaces_route_is_elsewhere() {
    for (text, to) in [(ON_LINK, "192.0.2.5"), (BROADCAST, "192.0.2.255")] {
        let route = Route::read(&hex(text), INDEX + 1, None, ip(to));
        let elsewhere = Route::Elsewhere { index: INDEX };
        assert_eq!(route.expect("a route"), elsewhere);
    }
}

#[test]
fn a_route_that_puts_packets_into_others_is_not_to_be_taken_as_it_is() {
    let elsewhere = Route::Elsewhere { index: INDEX };
    assert_eq!(read(WRAPPED, "198.18.0.1"), elsewhere);
}

#[test]
fn a_route_may_say_no() {
    for (kind, errno) in [
        (libc::RTN_UNREACHABLE, libc::EHOSTUNREACH),
        (libc::RTN_PROHIBIT, libc::EACCES),
        (libc::RTN_BLACKHOLE, libc::EINVAL),
    ] {
        let mut answer = hex(ON_LINK);
        answer[7] = kind;
        let route = Route::read(&answer, INDEX, None, ip("192.0.2.5"));
        assert_eq!(route.expect("a route"), Route::None { errno });
    }
}

#[test]
fn a_route_without_its_interface_is_malformed() {
    let header = &hex(ON_LINK)[..HEADER];
    for attributes in [
        vec![],
        attribute(libc::RTA_OIF, &[3, 0, 0]),
        attribute(libc::RTA_GATEWAY, &[192, 0, 2, 254]),
    ] {
        let answer = [header, &attributes].concat();
        let route = Route::read(&answer, INDEX, None, ip("192.0.2.5"));
        assert!(matches!(route, Err(Silence::Malformed)));
    }
}

#[test]
fn an_interface_is_asked_with_only_where_the_address_means_nothing_without() {
    let asks_with_interface = |to: &str| {
        let question = question(INDEX, None, ip(to)).expect("a question");
        let oif = attribute(libc::RTA_OIF, &INDEX.to_ne_bytes());
        question.ends_with(&oif)
    };
    for to in ["fe80::1", "ff02::1", "ff12::1", "ff01::1"] {
        assert!(asks_with_interface(to), "{to}");
    }
    for to in [
        "fd00::1",
        "2001:db8::1",
        "ff05::1",
        "192.0.2.1",
        "169.254.0.1",
    ] {
        assert!(!asks_with_interface(to), "{to}");
    }
}

#[test]
fn addresses_of_two_families_make_no_question() {
    let question = question(INDEX, Some(ip("fd00::1")), ip("192.0.2.1"));
    let error = question.expect_err("no question");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_damaged_route_is_never_fatal() {
    for text in [ROUTED, BY_V6, V6_ROUTED, WRAPPED] {
        damaged(&hex(text), |bytes| {
            drop(Route::read(bytes, INDEX, None, ip("192.0.2.5")));
        });
    }
}

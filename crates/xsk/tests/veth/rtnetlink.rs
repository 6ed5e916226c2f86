//! What rtnetlink tells of one end of a veth pair, whose other end is in a network namespace of its own.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ringwire_xsk::{Change, Interface, Neighbour, Route, Rtnetlink};

use crate::pair::{Pair, set};
use crate::support::{keep_capabilities, run, trial};

/// How long something is waited for that is to come.
const PATIENCE: Duration = Duration::from_secs(10);
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

pub fn cases() -> Vec<Trial> {
    vec![
        trial("rtnetlink::addresses_come_and_go", addresses_come_and_go),
        trial(
            "rtnetlink::an_ipv6_address_is_listed_once_it_is_known_to_be_nobody_elses",
            an_ipv6_address_is_listed_once_it_is_known_to_be_nobody_elses,
        ),
        trial(
            "rtnetlink::an_ipv6_address_that_another_has_is_not_listed",
            an_ipv6_address_that_another_has_is_not_listed,
        ),
        trial(
            "rtnetlink::changes_of_routes_rules_and_nexthops_are_told",
            changes_of_routes_rules_and_nexthops_are_told,
        ),
        trial(
            "rtnetlink::a_neighbour_is_resolved_and_told",
            a_neighbour_is_resolved_and_told,
        ),
        trial(
            "rtnetlink::a_neighbour_that_does_not_answer_has_failed",
            a_neighbour_that_does_not_answer_has_failed,
        ),
        trial(
            "rtnetlink::resolving_takes_a_privilege_and_asking_none",
            resolving_takes_a_privilege_and_asking_none,
        ),
        trial(
            "rtnetlink::mtu_mac_state_and_carrier_are_told",
            mtu_mac_state_and_carrier_are_told,
        ),
        trial(
            "rtnetlink::a_removed_interface_is_told_and_gone",
            a_removed_interface_is_told_and_gone,
        ),
        trial(
            "rtnetlink::an_ipv4_packet_goes_where_the_host_would_send_it",
            an_ipv4_packet_goes_where_the_host_would_send_it,
        ),
        trial(
            "rtnetlink::an_ipv6_packet_goes_where_the_host_would_send_it",
            an_ipv6_packet_goes_where_the_host_would_send_it,
        ),
        trial(
            "rtnetlink::the_source_address_chooses_the_route_where_a_rule_says_so",
            the_source_address_chooses_the_route_where_a_rule_says_so,
        ),
        trial(
            "rtnetlink::changes_that_were_not_taken_in_time_are_lost_and_later_ones_told",
            changes_that_were_not_taken_in_time_are_lost_and_later_ones_told,
        ),
        trial(
            "rtnetlink::what_another_process_sends_is_no_change",
            what_another_process_sends_is_no_change,
        ),
    ]
}

pub fn open(interface: &str) -> Rtnetlink {
    let interface = Interface::by_name(interface).unwrap();
    Rtnetlink::open(interface.index).expect("rtnetlink")
}

/// Adds an IPv6 address without duplicate address detection. The kernel makes it its own a little later, by a worker
/// (`addrconf_dad_completed`, net/ipv6/addrconf.c).
fn add_v6(interface: &str, address: &str) {
    let mut rtnetlink = open(interface);
    run(&format!("ip addr add {address}/64 dev {interface} nodad"));
    until(&mut rtnetlink, address, |rtnetlink, _| {
        rtnetlink.route(None, ip(address)).unwrap() == Route::Local
    });
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Waits until the descriptor is readable; false if it is not by then.
fn readable(rtnetlink: &Rtnetlink, until: Instant) -> bool {
    let mut fd = libc::pollfd {
        fd: rtnetlink.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let left = until.saturating_duration_since(Instant::now());
    // SAFETY: one pollfd, for the whole call.
    let ready = unsafe { libc::poll(&raw mut fd, 1, left.as_millis() as i32) };
    assert!(ready >= 0, "poll: {}", io::Error::last_os_error());
    ready == 1
}

/// Takes changes until one is as wanted.
pub fn until(
    rtnetlink: &mut Rtnetlink,
    what: &str,
    mut wanted: impl FnMut(&mut Rtnetlink, Change) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(readable(rtnetlink, deadline), "never told: {what}");
        while let Some(change) = rtnetlink.next_change() {
            if wanted(rtnetlink, change) {
                return;
            }
        }
    }
}

/// Takes all that is told already. The kernel has told of what a command did when the command is over.
fn drain(rtnetlink: &mut Rtnetlink) -> Vec<Change> {
    let mut changes = Vec::new();
    while readable(rtnetlink, Instant::now()) {
        changes.extend(std::iter::from_fn(|| rtnetlink.next_change()));
    }
    changes
}

fn addresses_come_and_go() {
    let _pair = Pair::new();
    let mut rtnetlink = open("local");
    run("ip addr add 198.51.100.1/24 dev lo");
    assert!(
        !drain(&mut rtnetlink).contains(&Change::Addresses),
        "another's"
    );
    assert_eq!(rtnetlink.addresses().unwrap(), []);
    let (v4, v6) = ((ip("192.0.2.1"), 24), (ip("fd00::1"), 64));
    for (command, listed) in [
        ("ip addr add 192.0.2.1/24 dev local", vec![v4]),
        ("ip addr add fd00::1/64 dev local nodad", vec![v4, v6]),
        ("ip addr del 192.0.2.1/24 dev local", vec![v6]),
        ("ip addr del fd00::1/64 dev local", vec![]),
    ] {
        run(command);
        until(&mut rtnetlink, command, |_, change| {
            change == Change::Addresses
        });
        assert_eq!(rtnetlink.addresses().unwrap(), listed, "{command}");
    }
}

fn an_ipv6_address_is_listed_once_it_is_known_to_be_nobody_elses() {
    // Without a carrier nobody can be asked.
    let pair = Pair::without_carrier();
    run("ip addr add fd00::1/64 dev local");
    let mut rtnetlink = open("local");
    assert_eq!(rtnetlink.addresses().unwrap(), []);
    pair.at_peer("ip link set peer up");
    let listed = [(ip("fd00::1"), 64)];
    until(&mut rtnetlink, "it is usable", |rtnetlink, change| {
        change == Change::Addresses && rtnetlink.addresses().unwrap() == listed
    });
}

fn an_ipv6_address_that_another_has_is_not_listed() {
    let pair = Pair::new();
    pair.in_peer(|| add_v6("peer", "fd00::1"));
    let mut rtnetlink = open("local");
    run("ip addr add fd00::1/64 dev local");
    until(&mut rtnetlink, "it is taken", |_, change| {
        change == Change::Addresses
            && run("ip -6 addr show dev local dadfailed").contains("fd00::1")
    });
    assert_eq!(rtnetlink.addresses().unwrap(), []);
}

fn changes_of_routes_rules_and_nexthops_are_told() {
    let _pair = Pair::new();
    run("ip addr add 192.0.2.1/24 dev local");
    // Otherwise the routes of a nexthop are told with it.
    set("/proc/sys/net/ipv4/nexthop_compat_mode", 0);
    run("ip nexthop add id 7 via 192.0.2.8 dev local");
    run("ip route add 203.0.113.0/24 nhid 7");
    let mut rtnetlink = open("local");
    for command in [
        "ip route add 198.51.100.0/24 via 192.0.2.254",
        "ip route change 198.51.100.0/24 via 192.0.2.253",
        "ip route del 198.51.100.0/24",
        "ip route add fd01::/64 dev local",
        "ip route del fd01::/64 dev local",
        "ip rule add from 192.0.2.1 table 7",
        "ip -6 rule add from fd00::1 table 7",
        "ip nexthop replace id 7 via 192.0.2.9 dev local",
    ] {
        assert_eq!(drain(&mut rtnetlink), [], "before {command}");
        run(command);
        assert_eq!(drain(&mut rtnetlink), [Change::Routes], "{command}");
    }
}

fn a_neighbour_is_resolved_and_told() {
    let pair = Pair::new();
    run("ip addr add 192.0.2.1/24 dev local");
    add_v6("local", "fd00::1");
    // The kernel asks from a link-local address, as nothing waits to be sent from another (`ndisc_send_ns`).
    add_v6("local", "fe80::1");
    pair.at_peer("ip addr add 192.0.2.2/24 dev peer");
    pair.in_peer(|| add_v6("peer", "fd00::2"));
    let mut rtnetlink = open("local");
    for text in ["192.0.2.2", "fd00::2"] {
        let address = ip(text);
        assert_eq!(rtnetlink.neighbour(address).unwrap(), Neighbour::Unknown);
        rtnetlink.resolve(address).unwrap();
        let is = Neighbour::Known {
            mac: PEER_MAC,
            sure: true,
        };
        until(&mut rtnetlink, text, |_, change| {
            change == Change::Neighbour { address, is }
        });
        assert_eq!(rtnetlink.neighbour(address).unwrap(), is);
        run(&format!("ip neigh del {text} dev local"));
        let gone = Change::Neighbour {
            address,
            is: Neighbour::Unknown,
        };
        assert!(drain(&mut rtnetlink).contains(&gone));
        assert_eq!(rtnetlink.neighbour(address).unwrap(), Neighbour::Unknown);
    }
}

fn a_neighbour_that_does_not_answer_has_failed() {
    let _pair = Pair::new();
    run("ip addr add 192.0.2.1/24 dev local");
    add_v6("local", "fd00::1");
    let mut rtnetlink = open("local");
    for text in ["192.0.2.77", "fd00::77"] {
        let address = ip(text);
        rtnetlink.resolve(address).unwrap();
        let failed = Change::Neighbour {
            address,
            is: Neighbour::Failed,
        };
        until(&mut rtnetlink, text, |_, change| change == failed);
        assert_eq!(rtnetlink.neighbour(address).unwrap(), Neighbour::Failed);
    }
}

fn resolving_takes_a_privilege_and_asking_none() {
    let _pair = Pair::new();
    run("ip addr add 192.0.2.1/24 dev local");
    keep_capabilities(&[]);
    let mut rtnetlink = open("local");
    let refused = rtnetlink.resolve(ip("192.0.2.2")).expect_err("a privilege");
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    let neighbour = rtnetlink.neighbour(ip("192.0.2.2"));
    assert_eq!(neighbour.unwrap(), Neighbour::Unknown);
    assert_eq!(rtnetlink.addresses().unwrap()[0], (ip("192.0.2.1"), 24));
    let route = rtnetlink.route(None, ip("192.0.2.2")).unwrap();
    assert!(matches!(route, Route::Via { .. }));
    assert_eq!(rtnetlink.link().unwrap().name, "local");
}

fn mtu_mac_state_and_carrier_are_told() {
    let pair = Pair::new();
    run("ip link set local address 02:00:00:00:00:01");
    let mut rtnetlink = open("local");
    let link = |mac, mtu, up, carrier| Change::Link {
        mac,
        mtu,
        up,
        carrier,
    };
    let (mac, other) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]);
    let last = |rtnetlink: &mut Rtnetlink| {
        let mut changes = drain(rtnetlink).into_iter();
        changes.rfind(|change| matches!(change, Change::Link { .. }))
    };
    run("ip link set local mtu 1400");
    assert_eq!(last(&mut rtnetlink), Some(link(mac, 1400, true, true)));
    run("ip link set local address 02:00:00:00:00:09");
    assert_eq!(last(&mut rtnetlink), Some(link(other, 1400, true, true)));
    // That the carrier has changed is told later, by a worker of the kernel's (net/core/link_watch.c).
    pair.at_peer("ip link set peer down");
    let lost = link(other, 1400, true, false);
    until(&mut rtnetlink, "no carrier", |_, change| change == lost);
    pair.at_peer("ip link set peer up");
    let back = link(other, 1400, true, true);
    until(&mut rtnetlink, "a carrier", |_, change| change == back);
    run("ip link set local down");
    let down = link(other, 1400, false, false);
    until(&mut rtnetlink, "down", |_, change| change == down);
}

fn a_removed_interface_is_told_and_gone() {
    let _pair = Pair::new();
    run("ip addr add 192.0.2.1/24 dev local");
    let mut rtnetlink = open("local");
    run("ip link del local");
    assert!(drain(&mut rtnetlink).contains(&Change::Removed));
    let gone = rtnetlink.link().expect_err("no interface");
    assert_eq!(gone.raw_os_error(), Some(libc::ENODEV));
    assert_eq!(rtnetlink.addresses().unwrap(), []);
    for to in ["192.0.2.9", "fe80::9"] {
        let route = rtnetlink.route(None, ip(to)).unwrap();
        assert_eq!(route, none(libc::ENETUNREACH), "{to}");
    }
}

/// Another interface, with addresses of its own; its index.
fn other() -> u32 {
    run("ip link add other type veth peer name other_end");
    run("ip link set other_end up");
    run("ip link set other up");
    run("ip addr add 10.9.0.1/24 dev other");
    add_v6("other", "fd09::1");
    Interface::by_name("other").unwrap().index
}

fn via(neighbour: &str, source: &str, mtu: Option<u32>) -> Route {
    Route::Via {
        neighbour: ip(neighbour),
        source: Some(ip(source)),
        mtu,
    }
}

fn none(errno: i32) -> Route {
    Route::None { errno }
}

fn assert_routes(rtnetlink: &mut Rtnetlink, expected: &[(&str, Route)]) {
    for (to, route) in expected {
        assert_eq!(rtnetlink.route(None, ip(to)).unwrap(), *route, "{to}");
    }
}

fn an_ipv4_packet_goes_where_the_host_would_send_it() {
    let _pair = Pair::new();
    let index = other();
    for command in [
        "addr add 192.0.2.1/24 brd + dev local",
        "route add 198.51.100.0/25 via 192.0.2.254",
        "route add 198.51.100.128/25 via 192.0.2.254 mtu 1300 src 192.0.2.1",
        "route add 203.0.113.0/24 via inet6 fe80::9 dev local",
        "route add 10.1.0.0/24 encap ip id 1 dst 192.0.2.8 via 192.0.2.7 dev local",
        "route add multicast 224.0.0.0/4 dev local",
        "route add unreachable 10.2.0.0/24",
        "route add prohibit 10.3.0.0/24",
        "route add blackhole 10.4.0.0/24",
    ] {
        run(&format!("ip {command}"));
    }
    let mut rtnetlink = open("local");
    let local = Interface::by_name("local").unwrap().index;
    let elsewhere = Route::Elsewhere { index };
    assert_routes(
        &mut rtnetlink,
        &[
            ("192.0.2.5", via("192.0.2.5", "192.0.2.1", None)),
            ("198.51.100.7", via("192.0.2.254", "192.0.2.1", None)),
            (
                "198.51.100.200",
                via("192.0.2.254", "192.0.2.1", Some(1300)),
            ),
            ("203.0.113.7", via("fe80::9", "192.0.2.1", None)),
            ("10.1.0.7", Route::Elsewhere { index: local }),
            ("10.9.0.7", elsewhere),
            ("10.9.0.255", elsewhere),
            ("192.0.2.1", Route::Local),
            ("10.9.0.1", Route::Local),
            ("127.0.0.1", Route::Local),
            ("192.0.2.255", Route::Broadcast),
            ("224.1.2.3", Route::Multicast),
            ("10.2.0.1", none(libc::EHOSTUNREACH)),
            ("10.3.0.1", none(libc::EACCES)),
            ("10.4.0.1", none(libc::EINVAL)),
            ("10.5.0.1", none(libc::ENETUNREACH)),
        ],
    );
}

fn an_ipv6_packet_goes_where_the_host_would_send_it() {
    let _pair = Pair::new();
    let index = other();
    add_v6("local", "fd00::1");
    add_v6("local", "fe80::1");
    for command in [
        "route add fd01::/64 via fd00::9",
        "route add fd02::/64 via fe80::9 dev local mtu 1300",
        "route add unreachable fd03::/64",
        "route add prohibit fd04::/64",
        "route add blackhole fd05::/64",
    ] {
        run(&format!("ip -6 {command}"));
    }
    let mut rtnetlink = open("local");
    assert_routes(
        &mut rtnetlink,
        &[
            ("fd00::5", via("fd00::5", "fd00::1", None)),
            ("fd01::5", via("fd00::9", "fd00::1", None)),
            ("fd02::5", via("fe80::9", "fd00::1", Some(1300))),
            ("fd09::5", Route::Elsewhere { index }),
            ("fd00::1", Route::Local),
            ("fd09::1", Route::Local),
            ("::1", Route::Local),
            ("ff02::1", Route::Multicast),
            ("fd03::5", none(libc::EHOSTUNREACH)),
            ("fd04::5", none(libc::EACCES)),
            ("fd05::5", none(libc::EINVAL)),
            ("fd06::5", none(libc::ENETUNREACH)),
        ],
    );
    // What only this link knows is asked of this link, whichever else there is.
    let from = Some(ip("fe80::1"));
    let route = rtnetlink.route(from, ip("fe80::7")).unwrap();
    assert_eq!(route, via("fe80::7", "fe80::1", None));
    assert_eq!(rtnetlink.route(from, ip("fe80::1")).unwrap(), Route::Local);
}

fn the_source_address_chooses_the_route_where_a_rule_says_so() {
    let _pair = Pair::new();
    let index = other();
    add_v6("local", "fd00::1");
    add_v6("local", "fd00::3");
    for command in [
        "addr add 192.0.2.1/24 dev local",
        "addr add 192.0.2.3/24 dev local",
        "route add 198.51.100.0/24 via 192.0.2.254",
        "route add 198.51.100.0/24 via 10.9.0.254 table 7",
        "rule add from 192.0.2.3 table 7",
        "route add fd01::/64 via fd00::9",
        "route add fd01::/64 via fd09::9 table 7",
        "-6 rule add from fd00::3 table 7",
    ] {
        run(&format!("ip {command}"));
    }
    let mut rtnetlink = open("local");
    let mut route = |from, to| rtnetlink.route(Some(ip(from)), ip(to)).unwrap();
    assert_eq!(
        route("192.0.2.1", "198.51.100.7"),
        via("192.0.2.254", "192.0.2.1", None)
    );
    assert_eq!(
        route("192.0.2.3", "198.51.100.7"),
        Route::Elsewhere { index }
    );
    assert_eq!(route("fd00::1", "fd01::7"), via("fd00::9", "fd00::1", None));
    assert_eq!(route("fd00::3", "fd01::7"), Route::Elsewhere { index });
    let not_the_hosts = route("192.0.2.99", "198.51.100.7");
    assert!(matches!(not_the_hosts, Route::None { .. }));
}

fn changes_that_were_not_taken_in_time_are_lost_and_later_ones_told() {
    let _pair = Pair::new();
    run("ip addr add 192.0.2.1/24 dev local");
    let mut rtnetlink = open("local");
    let bytes: libc::c_int = 4096;
    // SAFETY: the option takes an int, which lives for the whole call.
    let status = unsafe {
        libc::setsockopt(
            rtnetlink.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
    for network in 0..64 {
        run(&format!("ip route add 10.8.{network}.0/24 via 192.0.2.254"));
    }
    assert!(drain(&mut rtnetlink).contains(&Change::Lost));
    run("ip route del 10.8.0.0/24");
    assert_eq!(drain(&mut rtnetlink), [Change::Routes]);
}

fn what_another_process_sends_is_no_change() {
    let _pair = Pair::new();
    let mut rtnetlink = open("local");
    drain(&mut rtnetlink);
    let mut to = netlink_address();
    let mut len = size_of::<libc::sockaddr_nl>() as u32;
    let fd = rtnetlink.as_raw_fd();
    // SAFETY: the address is writable for its length.
    let status = unsafe { libc::getsockname(fd, (&raw mut to).cast(), &raw mut len) };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
    to.nl_groups = 0;
    // `struct nlmsghdr` of an RTM_NEWROUTE with nothing behind it: by the kernel it would be a change.
    let forged = [16u32, u32::from(libc::RTM_NEWROUTE), 0, 0].map(u32::to_ne_bytes);
    let forged = forged.concat();
    // SAFETY: no memory is passed, and the descriptor is new and nobody else's.
    let socket = unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        OwnedFd::from_raw_fd(libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE))
    };
    // SAFETY: the message and the address are readable for their lengths.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            forged.as_ptr().cast(),
            forged.len(),
            0,
            (&raw const to).cast(),
            len,
        )
    };
    assert_eq!(sent, 16, "{}", io::Error::last_os_error());
    assert!(readable(&rtnetlink, Instant::now()), "it has arrived");
    assert_eq!(rtnetlink.next_change(), None);
    run("ip route add unreachable 10.8.0.0/24");
    assert_eq!(drain(&mut rtnetlink), [Change::Routes]);
}

fn netlink_address() -> libc::sockaddr_nl {
    // SAFETY: a sockaddr_nl is integers.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address
}

//! What the steering program does with packets, one at a time (`BPF_PROG_TEST_RUN`): its action, and
//! the counter that says why. Nothing is sent.

#[path = "../support/mod.rs"]
mod support;

mod shared;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::libbpf_sys;
use libtest_mimic::{Arguments, Trial};
use ringwire_xsk::{AttachMode, Error, Program, Protocol, Rings, Socket};

use support::{
    CAP_BPF, CAP_IPC_LOCK, CAP_NET_ADMIN, CAP_NET_RAW, ethernet, ipv4, keep_capabilities, open,
    trial, udp, umem, veth,
};

const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PORT: u16 = 4433;

const LISTENER_QUERY: u8 = 130;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn ours6() -> Ipv6Addr {
    "2001:db8::aa:bbcc:ddee".parse().unwrap()
}

/// The solicited-node group of `ours6`, and another address with the same one.
fn group() -> Ipv6Addr {
    "ff02::1:ffcc:ddee".parse().unwrap()
}

fn same_group() -> Ipv6Addr {
    "2001:db8::1:cc:ddee".parse().unwrap()
}

fn main() {
    let trials: Vec<Trial> = vec![
        trial(
            "nothing_is_redirected_before_it_is_claimed",
            nothing_is_redirected_before_it_is_claimed,
        ),
        trial(
            "arp_about_an_owned_address_is_redirected",
            arp_about_an_owned_address_is_redirected,
        ),
        trial(
            "everything_to_an_owned_address_is_redirected",
            everything_to_an_owned_address_is_redirected,
        ),
        trial(
            "a_claim_takes_its_protocol_address_and_port",
            shared::a_claim_takes_its_protocol_address_and_port,
        ),
        trial(
            "a_port_claimed_twice_is_steered_until_it_is_given_up_twice",
            shared::a_port_claimed_twice_is_steered_until_it_is_given_up_twice,
        ),
        trial(
            "a_claim_is_for_shared_addresses_only",
            shared::a_claim_is_for_shared_addresses_only,
        ),
        trial(
            "the_unspecified_address_claims_the_shared_ones_of_its_family",
            shared::the_unspecified_address_claims_the_shared_ones_of_its_family,
        ),
        trial(
            "broadcast_multicast_and_forwarded_packets_are_the_kernels_whatever_is_claimed",
            shared::broadcast_multicast_and_forwarded_packets_are_the_kernels_whatever_is_claimed,
        ),
        trial(
            "arp_nd_and_icmp_of_a_shared_address_are_the_kernels",
            shared::arp_nd_and_icmp_of_a_shared_address_are_the_kernels,
        ),
        trial(
            "an_address_is_owned_or_shared_and_the_last_word_counts",
            shared::an_address_is_owned_or_shared_and_the_last_word_counts,
        ),
        trial(
            "fragments_to_a_claimed_port_are_passed",
            shared::fragments_to_a_claimed_port_are_passed,
        ),
        trial(
            "extension_headers_are_walked_up_to_eight",
            extension_headers_are_walked_up_to_eight,
        ),
        trial(
            "neighbour_discovery_of_an_owned_address",
            neighbour_discovery_of_an_owned_address,
        ),
        trial(
            "what_is_for_the_kernel_s_address_of_the_same_group_is_passed",
            what_is_for_the_kernel_s_address_of_the_same_group_is_passed,
        ),
        trial(
            "listener_queries_for_an_owned_addresss_group_are_redirected",
            listener_queries_for_an_owned_addresss_group_are_redirected,
        ),
        trial(
            "tagged_and_foreign_ethertypes_are_passed",
            tagged_and_foreign_ethertypes_are_passed,
        ),
        trial("malformed_headers_are_passed", malformed_headers_are_passed),
        trial(
            "a_packet_cut_anywhere_is_passed",
            a_packet_cut_anywhere_is_passed,
        ),
        trial(
            "the_headers_of_a_packet_in_pieces_are_read",
            the_headers_of_a_packet_in_pieces_are_read,
        ),
        trial(
            "without_a_socket_the_kernel_gets_the_packet",
            without_a_socket_the_kernel_gets_the_packet,
        ),
        trial(
            "it_is_loaded_with_two_capabilities_and_used_with_none",
            it_is_loaded_with_two_capabilities_and_used_with_none,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The program on an interface that is down, so that no other packet is counted.
struct Bench {
    program: Program,
    _socket: Option<(Socket, Rings)>,
}

impl Bench {
    fn new() -> Bench {
        let mut bench = Bench::without_socket();
        let interface = ringwire_xsk::Interface::by_name("local").unwrap();
        let (socket, rings) = open(&interface, 0, &umem());
        bench.program.set_queue(0, &socket).unwrap();
        bench._socket = Some((socket, rings));
        bench
    }

    fn without_socket() -> Bench {
        let interface = veth();
        let program = Program::attach(&interface, AttachMode::Auto).unwrap();
        Bench {
            program,
            _socket: None,
        }
    }

    /// The action, and the counter that moved.
    fn run(&self, packet: &[u8]) -> (u32, String) {
        let before = self.counters();
        let action = test_run(&self.program, packet);
        let after = self.counters();
        let moved: Vec<&str> = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after)
            .map(|(before, _)| before.0.as_str())
            .collect();
        assert_eq!(moved.len(), 1, "one packet moves one counter: {moved:?}");
        (action, moved[0].to_owned())
    }

    fn counters(&self) -> Vec<(String, u64)> {
        let text = format!("{:?}", self.program.counters().unwrap());
        let fields = text
            .trim_start_matches("SteerCounters {")
            .trim_end_matches('}')
            .split(',');
        let pair = |field: &str| {
            let (name, value) = field.split_once(':').unwrap();
            (name.trim().to_owned(), value.trim().parse().unwrap())
        };
        fields.map(pair).collect()
    }

    fn share(&self, addresses: &[IpAddr]) {
        for address in addresses {
            self.program.share_address(*address).unwrap();
        }
    }

    fn claim(&self, protocol: Protocol, address: IpAddr) {
        self.program.claim(protocol, address, PORT).unwrap();
    }

    #[track_caller]
    fn passes(&self, packet: &[u8], reason: &str) {
        assert_eq!(self.run(packet), (XDP_PASS, format!("pass_{reason}")));
    }

    #[track_caller]
    fn redirects(&self, packet: &[u8], reason: &str) {
        assert_eq!(
            self.run(packet),
            (XDP_REDIRECT, format!("redirect_{reason}"))
        );
    }
}

/// Runs the program on a packet that arrives on queue 0; returns its action.
fn test_run(program: &Program, packet: &[u8]) -> u32 {
    // SAFETY: the struct is integers and pointers, for which zero is a value.
    let mut options: libbpf_sys::bpf_test_run_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t;
    options.data_in = packet.as_ptr().cast();
    options.data_size_in = packet.len() as u32;
    options.repeat = 1;
    let fd = program.as_fd().as_raw_fd();
    // SAFETY: the options have the size that they state; the packet outlives the call.
    let status = unsafe { libbpf_sys::bpf_prog_test_run_opts(fd, &raw mut options) };
    assert_eq!(
        status,
        0,
        "test run of {} bytes: {}",
        packet.len(),
        std::io::Error::last_os_error()
    );
    options.retval
}

fn arp(operation: u8, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation];
    packet.extend([2, 0, 0, 0, 0, 2]);
    packet.extend(sender.octets());
    packet.extend([0; 6]);
    packet.extend(target.octets());
    ethernet(ARP, &packet)
}

fn ipv6(dest: Ipv6Addr, next: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, hop_limit]);
    packet.extend("2001:db8::99".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(dest.octets());
    packet.extend(payload);
    packet
}

/// An extension header of `8 * (1 + words)` bytes; the fourth byte is a routing header's segments left.
fn extension(next: u8, words: u8, segments_left: u8) -> Vec<u8> {
    let mut header = vec![next, words, 0, segments_left];
    header.resize(8 * (1 + usize::from(words)), 0);
    header
}

fn fragment_header(next: u8, offset_and_more: u16) -> Vec<u8> {
    let mut header = vec![next, 0];
    header.extend(offset_and_more.to_be_bytes());
    header.extend([0, 0, 0, 7]);
    header
}

/// A neighbour solicitation or advertisement, or a listener query: the address is in the same place.
fn icmpv6_about(kind: u8, address: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(address.octets());
    message
}

fn nothing_is_redirected_before_it_is_claimed() {
    let bench = Bench::new();
    let datagram = udp(9, PORT, b"hello");
    bench.passes(&arp(1, THEIRS, OURS), "foreign");
    bench.passes(
        &ethernet(IPV4, &ipv4(OURS, UDP, 0, 0, &datagram)),
        "foreign",
    );
    bench.passes(
        &ethernet(IPV6, &ipv6(ours6(), UDP, 64, &datagram)),
        "foreign",
    );
}

fn arp_about_an_owned_address_is_redirected() {
    let bench = Bench::new();
    bench.program.own_address(OURS.into()).unwrap();
    let other = Ipv4Addr::new(192, 0, 2, 3);
    bench.redirects(&arp(1, THEIRS, OURS), "arp");
    bench.redirects(&arp(2, THEIRS, OURS), "arp");
    bench.redirects(&arp(2, OURS, Ipv4Addr::UNSPECIFIED), "arp"); // the answer to a probe of ours
    bench.passes(&arp(1, THEIRS, other), "foreign");
    bench.passes(&arp(1, THEIRS, THEIRS), "foreign");
    let mut not_ethernet = arp(1, THEIRS, OURS);
    not_ethernet[15] = 6;
    bench.passes(&not_ethernet, "foreign");
    bench.program.disown_address(OURS.into()).unwrap();
    bench.passes(&arp(1, THEIRS, OURS), "foreign");
}

fn everything_to_an_owned_address_is_redirected() {
    let bench = Bench::new();
    bench.program.own_address(OURS.into()).unwrap();
    bench.program.own_address(ours6().into()).unwrap();
    for protocol in [1, TCP, UDP, 132] {
        bench.redirects(
            &ethernet(IPV4, &ipv4(OURS, protocol, 0, 0, &[0; 8])),
            "owned",
        );
        bench.redirects(
            &ethernet(IPV6, &ipv6(ours6(), protocol, 64, &[0; 8])),
            "owned",
        );
    }
    let (first, last) = (
        ipv4(OURS, UDP, 0x2000, 0, &[0; 8]),
        ipv4(OURS, UDP, 0x0001, 0, &[0; 8]),
    );
    bench.redirects(&ethernet(IPV4, &first), "owned");
    bench.redirects(&ethernet(IPV4, &last), "owned");
    let piece = [fragment_header(UDP, 0xfff8), vec![0; 8]].concat();
    bench.redirects(
        &ethernet(IPV6, &ipv6(ours6(), FRAGMENT, 64, &piece)),
        "owned",
    );
    bench.passes(
        &ethernet(IPV4, &ipv4(THEIRS, UDP, 0, 0, &udp(9, PORT, b""))),
        "foreign",
    );
}

fn extension_headers_are_walked_up_to_eight() {
    let bench = Bench::new();
    bench.share(&[ours6().into()]);
    bench.claim(Protocol::Udp, ours6().into());
    let datagram = udp(9, PORT, b"hello");
    for count in 1..=9 {
        let mut payload = Vec::new();
        for header in 1..=count {
            let next = if header == count { UDP } else { DESTINATION };
            payload.extend(extension(next, header % 3, 0));
        }
        payload.extend(&datagram);
        let packet = ethernet(IPV6, &ipv6(ours6(), HOP_BY_HOP, 64, &payload));
        match count {
            9 => bench.passes(&packet, "malformed"),
            _ => bench.redirects(&packet, "claim"),
        }
    }
    let longest = [extension(UDP, 255, 0), datagram.clone()].concat();
    bench.redirects(
        &ethernet(IPV6, &ipv6(ours6(), DESTINATION, 64, &longest)),
        "claim",
    );
    let arrived = [extension(UDP, 2, 0), datagram.clone()].concat();
    bench.redirects(
        &ethernet(IPV6, &ipv6(ours6(), ROUTING, 64, &arrived)),
        "claim",
    );
    let on_its_way = [extension(UDP, 2, 1), datagram].concat();
    bench.passes(
        &ethernet(IPV6, &ipv6(ours6(), ROUTING, 64, &on_its_way)),
        "foreign",
    );
}

fn neighbour_discovery_of_an_owned_address() {
    let bench = Bench::new();
    let solicit = |target, hop_limit| {
        let message = icmpv6_about(NEIGHBOUR_SOLICITATION, target);
        ethernet(IPV6, &ipv6(group(), ICMPV6, hop_limit, &message))
    };
    let advertise = |target, hop_limit| {
        let message = icmpv6_about(NEIGHBOUR_ADVERTISEMENT, target);
        ethernet(IPV6, &ipv6(ALL_NODES, ICMPV6, hop_limit, &message))
    };
    bench.passes(&solicit(ours6(), 255), "foreign");
    bench.program.own_address(ours6().into()).unwrap();
    for message in [solicit, advertise] {
        bench.redirects(&message(ours6(), 255), "neighbor");
        bench.passes(&message(ours6(), 254), "foreign"); // it has crossed a router
        bench.passes(&message("2001:db8::5".parse().unwrap(), 255), "foreign");
    }
    bench.program.disown_address(ours6().into()).unwrap();
    bench.passes(&solicit(ours6(), 255), "foreign");
    bench.passes(&advertise(ours6(), 255), "foreign");
}

fn what_is_for_the_kernel_s_address_of_the_same_group_is_passed() {
    let bench = Bench::new();
    bench.program.own_address(ours6().into()).unwrap();
    let solicitation = icmpv6_about(NEIGHBOUR_SOLICITATION, same_group());
    for message in [&*solicitation, &[128; 24]] {
        bench.passes(
            &ethernet(IPV6, &ipv6(group(), ICMPV6, 255, message)),
            "foreign",
        );
    }
    bench.passes(
        &ethernet(IPV6, &ipv6(group(), UDP, 255, &udp(9, PORT, b""))),
        "foreign",
    );
}

fn listener_queries_for_an_owned_addresss_group_are_redirected() {
    let bench = Bench::new();
    let query = |dest, about, hop_limit| {
        let message = icmpv6_about(LISTENER_QUERY, about);
        let mut payload = vec![ICMPV6, 0, 5, 2, 0, 0, 1, 0]; // hop-by-hop: router alert
        payload.extend(message);
        ethernet(IPV6, &ipv6(dest, HOP_BY_HOP, hop_limit, &payload))
    };
    bench.passes(&query(group(), group(), 1), "foreign");
    bench.program.own_address(ours6().into()).unwrap();
    bench.program.own_address(same_group().into()).unwrap();
    bench.redirects(&query(group(), group(), 1), "neighbor");
    bench.passes(&query(group(), group(), 2), "foreign"); // no querier sends such
    bench.passes(&query(ALL_NODES, Ipv6Addr::UNSPECIFIED, 1), "foreign"); // the kernel answers for its groups
    bench.program.disown_address(same_group().into()).unwrap();
    bench.redirects(&query(group(), group(), 1), "neighbor"); // the other address still needs the group
    bench.program.disown_address(ours6().into()).unwrap();
    bench.passes(&query(group(), group(), 1), "foreign");
}

fn tagged_and_foreign_ethertypes_are_passed() {
    let bench = Bench::new();
    bench.program.own_address(OURS.into()).unwrap();
    let packet = ipv4(OURS, UDP, 0, 0, &udp(9, PORT, b"hello"));
    let tagged = [&[0, 5, 8, 0], packet.as_slice()].concat();
    let twice = [&[0, 6, 0x81, 0], tagged.as_slice()].concat();
    bench.passes(&ethernet(0x8100, &tagged), "vlan");
    bench.passes(&ethernet(0x88a8, &twice), "vlan");
    bench.passes(&ethernet(0x88cc, &packet), "not_ip");
    bench.passes(&ethernet(46, &packet), "not_ip"); // an 802.3 length
}

fn malformed_headers_are_passed() {
    let bench = Bench::new();
    bench.program.own_address(OURS.into()).unwrap();
    bench.program.own_address(ours6().into()).unwrap();
    for first_byte in [0x65, 0x05, 0x44, 0x40] {
        let mut packet = ipv4(OURS, UDP, 0, 0, &udp(9, PORT, b"hello"));
        packet[0] = first_byte;
        bench.passes(&ethernet(IPV4, &packet), "malformed");
    }
    let mut packet = ipv6(ours6(), UDP, 64, &udp(9, PORT, b"hello"));
    packet[0] = 0x40;
    bench.passes(&ethernet(IPV6, &packet), "malformed");
}

/// Cuts a packet at every length from the Ethernet header on; `whole` is the shortest one of which
/// enough is there.
#[track_caller]
fn cut_everywhere(bench: &Bench, packet: &[u8], whole: usize, reason: &str) {
    for len in 14..=packet.len() {
        let expected = if len < whole {
            (XDP_PASS, "pass_truncated".to_owned())
        } else {
            (XDP_REDIRECT, format!("redirect_{reason}"))
        };
        assert_eq!(
            bench.run(&packet[..len]),
            expected,
            "{len} of {} bytes",
            packet.len()
        );
    }
}

fn a_packet_cut_anywhere_is_passed() {
    let bench = Bench::new();
    bench.share(&[THEIRS.into(), ours6().into()]);
    bench.program.own_address(OURS.into()).unwrap();
    bench.claim(Protocol::Udp, THEIRS.into());
    bench.claim(Protocol::Udp, ours6().into());
    let datagram = udp(9, PORT, b"hello");
    cut_everywhere(&bench, &arp(1, THEIRS, OURS), 14 + 28, "arp");
    let owned = ethernet(IPV4, &ipv4(OURS, UDP, 0, 2, &datagram));
    cut_everywhere(&bench, &owned, 14 + 20, "owned");
    let claimed = ethernet(IPV4, &ipv4(THEIRS, UDP, 0, 2, &datagram));
    cut_everywhere(&bench, &claimed, 14 + 28 + 4, "claim");
    let headers = [
        extension(ROUTING, 0, 0),
        extension(FRAGMENT, 1, 0),
        fragment_header(UDP, 0),
        datagram,
    ];
    let claimed = ethernet(IPV6, &ipv6(ours6(), HOP_BY_HOP, 64, &headers.concat()));
    cut_everywhere(&bench, &claimed, 14 + 40 + 8 + 16 + 8 + 4, "claim");
}

fn the_headers_of_a_packet_in_pieces_are_read() {
    let bench = Bench::new();
    bench.share(&[OURS.into()]);
    bench.claim(Protocol::Udp, OURS.into());
    let packet = ipv4(OURS, UDP, 0, 0, &udp(9, PORT, &[0; 8900]));
    bench.redirects(&ethernet(IPV4, &packet), "claim");
}

fn without_a_socket_the_kernel_gets_the_packet() {
    let bench = Bench::without_socket();
    bench.program.own_address(OURS.into()).unwrap();
    bench.passes(&arp(1, THEIRS, OURS), "no_socket");
    bench.passes(
        &ethernet(IPV4, &ipv4(OURS, UDP, 0, 0, &[0; 8])),
        "no_socket",
    );
}

/// Without CAP_PERFMON the verifier allows less than it allows root. From Linux 5.19 on, maps and links are used
/// without a capability, by whoever has their descriptors.
fn it_is_loaded_with_two_capabilities_and_used_with_none() {
    let interface = veth();
    keep_capabilities(&[CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK]);
    let (socket, _rings) = open(&interface, 0, &umem());
    keep_capabilities(&[CAP_BPF, CAP_NET_ADMIN]);
    let program = Program::attach(&interface, AttachMode::Auto).unwrap();
    keep_capabilities(&[]);
    program.set_queue(0, &socket).unwrap();
    program.own_address(OURS.into()).unwrap();
    program.disown_address(OURS.into()).unwrap();
    program.share_address(THEIRS.into()).unwrap();
    program.unshare_address(THEIRS.into()).unwrap();
    let claim = (Protocol::Udp, THEIRS.into(), PORT);
    program.claim(claim.0, claim.1, claim.2).unwrap();
    program.unclaim(claim.0, claim.1, claim.2).unwrap();
    assert_eq!(program.counters().unwrap().redirect_claim, 0);
    drop(program);
    let again = Program::attach(&interface, AttachMode::Auto).unwrap_err();
    assert!(
        matches!(again, Error::MissingCapability { .. }),
        "{again:?}"
    );
}

use super::*;
use crate::netlink::{attribute, nest};
use crate::rtnetlink::tests::damaged;

/// `IFLA_STATS64` (linux/if_link.h).
const STATS64: u16 = 23;

fn header(index: u32, flags: i32) -> Vec<u8> {
    let mut header = vec![0; HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&(flags as u32).to_ne_bytes());
    header
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_ne_bytes())
}

/// As `rtnl_fill_ifinfo` writes a veth end whose other end is in another namespace.
fn veth() -> Vec<u8> {
    let kind = attribute(libc::IFLA_INFO_KIND, b"veth\0");
    let xdp = [attribute(2, &[1]), number(4, 40), number(5, 40)].concat();
    [
        header(7, libc::IFF_UP | libc::IFF_LOWER_UP),
        attribute(libc::IFLA_IFNAME, b"rw0\0"),
        attribute(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 7]),
        number(libc::IFLA_MTU, 1500),
        number(libc::IFLA_NUM_TX_QUEUES, 2),
        number(libc::IFLA_NUM_RX_QUEUES, 4),
        nest(libc::IFLA_LINKINFO, &kind),
        number(libc::IFLA_LINK, 9),
        number(libc::IFLA_LINK_NETNSID, 0),
        nest(libc::IFLA_XDP, &xdp),
        attribute(STATS64, &[1u64, 5, 0].map(u64::to_ne_bytes).concat()),
    ]
    .concat()
}

#[test]
fn a_link_is_read() {
    let link = Link::read(&veth()).expect("a link");
    let expected = Link {
        index: 7,
        name: "rw0".to_owned(),
        mac: [2, 0, 0, 0, 0, 7],
        kind: Some("veth".to_owned()),
        up: true,
        carrier: true,
        mtu: 1500,
        rx_queues: 4,
        tx_queues: 2,
        tied_to: Some(9),
        tied_elsewhere: true,
        xdp: vec![XdpProgram {
            mode: XdpMode::Native,
            id: 40,
        }],
        tx_packets: 5,
    };
    assert_eq!(link, expected);
}

#[test]
fn a_link_that_is_cut_anywhere_is_refused_or_lacks_only_what_was_cut() {
    let whole = veth();
    for len in 0..whole.len() {
        if let Ok(link) = Link::read(&whole[..len]) {
            assert_eq!((link.index, link.name.as_str()), (7, "rw0"), "{len}");
        }
    }
}

#[test]
fn each_mode_has_its_program() {
    let xdp = [attribute(2, &[4]), number(5, 1), number(6, 2), number(7, 3)].concat();
    let programs = Link::read(&[veth(), nest(libc::IFLA_XDP, &xdp)].concat())
        .expect("a link")
        .xdp;
    let modes: Vec<_> = programs
        .iter()
        .map(|program| (program.mode, program.id))
        .collect();
    assert_eq!(
        modes,
        [
            (XdpMode::Native, 1),
            (XdpMode::Generic, 2),
            (XdpMode::Hardware, 3)
        ]
    );
    let none = nest(libc::IFLA_XDP, &attribute(2, &[0]));
    let link = Link::read(&[veth(), none].concat()).expect("a link");
    assert_eq!(link.xdp, []);
}

#[test]
fn what_is_newer_than_the_library_hides_nothing() {
    // Each is longer than any kernel up to now makes it.
    let odd = [
        attribute(libc::IFLA_TXQLEN, &[1; 24]),
        attribute(libc::IFLA_OPERSTATE, &[1; 8]),
        attribute(libc::IFLA_MAP, &[1; 3]),
    ]
    .concat();
    let [before, after] = [&veth()[..HEADER], &veth()[HEADER..]];
    let link = Link::read(&[before, &odd, after].concat()).expect("a link");
    assert_eq!(link, Link::read(&veth()).expect("a link"));
}

#[test]
fn a_kind_is_read_whatever_else_is_told_of_it() {
    let info = [
        attribute(libc::IFLA_INFO_KIND, b"vlan\0"),
        nest(libc::IFLA_INFO_DATA, &attribute(1, &[9; 5])),
    ]
    .concat();
    let told = kind(&nest(libc::IFLA_LINKINFO, &info)).expect("attributes");
    assert_eq!(told.as_deref(), Some("vlan"));
    assert_eq!(kind(&number(libc::IFLA_MTU, 9)).expect("attributes"), None);
}

#[test]
fn a_damaged_link_of_the_kernels_is_never_fatal() {
    let netlink = Netlink::open(libc::NETLINK_ROUTE).expect("a netlink socket");
    let question = bytes_of(&LinkMessage::default());
    let answers = netlink.dump(libc::RTM_GETLINK, &question, libc::RTM_NEWLINK);
    let answers = answers.expect("links");
    damaged(&answers[0], |bytes| drop(Link::read(bytes)));
}

#[test]
fn the_loopback_interface_is_among_all_and_alone() {
    let all = Link::all().expect("links");
    let lo = all.iter().find(|link| link.name == "lo").expect("lo");
    let alone = Link::by_index(lo.index).expect("lo");
    assert_eq!((alone.index, &alone.name), (lo.index, &lo.name));
    let none = Link::by_index(i32::MAX as u32).expect_err("no such link");
    assert_eq!(none.raw_os_error(), Some(libc::ENODEV));
}

use super::*;
use crate::netlink::{attribute, nest};

fn header(index: u32, flags: i32) -> Vec<u8> {
    let mut header = vec![0; LINK_HEADER];
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
        number(libc::IFLA_MTU, 1500),
        number(libc::IFLA_NUM_TX_QUEUES, 2),
        number(libc::IFLA_NUM_RX_QUEUES, 4),
        nest(libc::IFLA_LINKINFO, &kind),
        number(libc::IFLA_LINK, 9),
        number(libc::IFLA_LINK_NETNSID, 0),
        nest(libc::IFLA_XDP, &xdp),
        attribute(STATS, &[1u64, 5, 0].map(u64::to_ne_bytes).concat()),
    ]
    .concat()
}

#[test]
fn a_link_is_read() {
    let link = Link::read(&veth()).expect("a link");
    let expected = Link {
        index: 7,
        name: "rw0".to_owned(),
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
    let programs = xdp_programs(&nest(libc::IFLA_XDP, &xdp)).expect("programs");
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
    assert_eq!(xdp_programs(&none).expect("none"), []);
}

#[test]
fn an_address_is_the_interfaces_own_and_local() {
    let mut header = vec![0, 24, 0, 0];
    header.extend(7u32.to_ne_bytes());
    let both = [
        header.clone(),
        attribute(libc::IFA_ADDRESS, &[10, 0, 0, 9]),
        attribute(libc::IFA_LOCAL, &[10, 0, 0, 1]),
    ]
    .concat();
    let local = (IpAddr::from([10, 0, 0, 1]), 24);
    assert_eq!(address(&both, 7).expect("an address"), Some(local));
    assert_eq!(address(&both, 8).expect("another's"), None);
    let v6 = [header.clone(), attribute(libc::IFA_ADDRESS, &[0xfd; 16])].concat();
    let local = (IpAddr::from([0xfd; 16]), 24);
    assert_eq!(address(&v6, 7).expect("an address"), Some(local));
    let odd = [header, attribute(libc::IFA_LOCAL, &[1; 5])].concat();
    assert!(address(&odd, 7).is_err());
}

#[test]
fn a_neighbour_is_the_interfaces_own_and_its_address_known() {
    let answer = |state: u16| {
        let mut header = vec![0; NEIGHBOUR_HEADER];
        header[4..8].copy_from_slice(&7u32.to_ne_bytes());
        header[8..10].copy_from_slice(&state.to_ne_bytes());
        [header, attribute(libc::NDA_DST, &[10, 0, 0, 9])].concat()
    };
    let ip = IpAddr::from([10, 0, 0, 9]);
    for (state, known) in [
        (libc::NUD_REACHABLE, true),
        (libc::NUD_STALE, true),
        (libc::NUD_PERMANENT, true),
        (libc::NUD_INCOMPLETE, false),
        (libc::NUD_FAILED, false),
        (libc::NUD_NOARP, false),
    ] {
        let read = neighbour(&answer(state), 7).expect("a neighbour");
        assert_eq!(read, known.then_some((ip, state)));
        assert_eq!(neighbour(&answer(state), 8).expect("another's"), None);
    }
    let cut = &answer(libc::NUD_STALE)[..NEIGHBOUR_HEADER + 3];
    assert!(neighbour(cut, 7).is_err());
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

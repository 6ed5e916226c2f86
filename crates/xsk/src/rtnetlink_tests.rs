use super::*;
use crate::netlink::message;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

/// The index of the interface that the captured messages are of.
pub(super) const INDEX: u32 = 3;

/// Bytes written in hexadecimal: what the kernel put behind a message's header (Linux 6.18, x86-64).
pub(super) fn hex(text: &str) -> Vec<u8> {
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    let pairs = pairs.iter().map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// Reads a message that is cut anywhere, or has any one byte wrong. What it is taken for then is the caller's to say;
/// that nothing here panics is what is tested.
pub(super) fn damaged(whole: &[u8], read: impl Fn(&[u8])) {
    for len in 0..whole.len() {
        read(&whole[..len]);
    }
    let mut wrong = whole.to_vec();
    for at in 0..whole.len() {
        for byte in [0, 1, 3, 5, 0x7f, 0x80, 0xff, whole[at] ^ 1] {
            wrong[at] = byte;
            read(&wrong);
        }
        wrong[at] = whole[at];
    }
}

const ADDRESS: &str = "0a4082000300000014000100fd00000000000000000000000000000114000600ffffffffffffffff8b606a00\
                       8b606a000800080082000000";
const NEIGHBOUR: &str = "02000000030000000400000108000100c00002090a0002000200000000090000080004000000000014000300\
                         70170000000000000000000001000000";

fn of_link(index: u32, family: AddressFamily, flags: LinkFlags) -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.interface_family = family;
    link.header.flags = flags;
    link.attributes = vec![
        LinkAttribute::IfName("local".to_owned()),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
        LinkAttribute::Mtu(1400),
    ];
    bytes_of(&link)
}

fn told(kind: u16, payload: &[u8]) -> Option<Change> {
    change(kind, payload, INDEX).expect("a message")
}

#[test]
fn a_link_is_told_as_it_is_now() {
    let both = LinkFlags::Up | LinkFlags::LowerUp;
    for (flags, up, carrier) in [(both, true, true), (LinkFlags::Up, true, false)] {
        let payload = of_link(INDEX, AddressFamily::Unspec, flags);
        let link = Change::Link {
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1400,
            up,
            carrier,
        };
        assert_eq!(told(libc::RTM_NEWLINK, &payload), Some(link));
        assert_eq!(told(libc::RTM_DELLINK, &payload), Some(Change::Removed));
    }
}

#[test]
fn an_interface_that_leaves_its_bridge_is_not_removed() {
    let payload = of_link(INDEX, AddressFamily::Bridge, LinkFlags::Up);
    assert_eq!(told(libc::RTM_DELLINK, &payload), None);
    assert_eq!(told(libc::RTM_NEWLINK, &payload), None);
}

#[test]
fn routes_may_go_with_another_interfaces_link() {
    let payload = of_link(INDEX + 1, AddressFamily::Unspec, LinkFlags::Up);
    for kind in [libc::RTM_NEWLINK, libc::RTM_DELLINK] {
        assert_eq!(told(kind, &payload), Some(Change::Routes));
    }
}

#[test]
fn an_address_is_told_of_this_interface_alone() {
    let payload = hex(ADDRESS);
    for kind in [libc::RTM_NEWADDR, libc::RTM_DELADDR] {
        assert_eq!(told(kind, &payload), Some(Change::Addresses));
        let others = change(kind, &payload, INDEX + 1).expect("a message");
        assert_eq!(others, None);
    }
}

#[test]
fn a_neighbour_is_told_of_this_interface_alone() {
    let payload = hex(NEIGHBOUR);
    let neighbour = |is| Change::Neighbour {
        address: IpAddr::from([192, 0, 2, 9]),
        is,
    };
    let known = Neighbour::Known {
        mac: [2, 0, 0, 0, 0, 9],
        sure: false,
    };
    assert_eq!(told(libc::RTM_NEWNEIGH, &payload), Some(neighbour(known)));
    let gone = neighbour(Neighbour::Unknown);
    assert_eq!(told(libc::RTM_DELNEIGH, &payload), Some(gone));
    let others = change(libc::RTM_NEWNEIGH, &payload, INDEX + 1).expect("a message");
    assert_eq!(others, None);
}

#[test]
fn messages_in_a_row_are_told_one_by_one_and_a_cut_one_is_lost() {
    let address = message(libc::RTM_NEWADDR, 0, 0, &hex(ADDRESS));
    let neighbour = message(libc::RTM_DELNEIGH, 0, 0, &hex(NEIGHBOUR));
    let row = [&address[..], &neighbour[..]].concat();
    let (first, rest) = next(&row, INDEX).expect("the first");
    assert_eq!(first, Some(Change::Addresses));
    let (second, rest) = next(rest, INDEX).expect("the second");
    assert!(matches!(second, Some(Change::Neighbour { .. })));
    assert!(rest.is_empty());
    for len in 0..address.len() {
        assert!(next(&address[..len], INDEX).is_err(), "{len}");
    }
}

#[test]
fn a_damaged_message_is_never_fatal() {
    let link = of_link(INDEX, AddressFamily::Unspec, LinkFlags::Up);
    for (kind, payload) in [
        (libc::RTM_NEWLINK, link),
        (libc::RTM_NEWADDR, hex(ADDRESS)),
        (libc::RTM_NEWNEIGH, hex(NEIGHBOUR)),
    ] {
        damaged(&message(kind, 0, 0, &payload), |bytes| {
            let mut rest = bytes;
            while let Ok((_, behind)) = next(rest, INDEX) {
                assert!(behind.len() < rest.len(), "each message takes its bytes");
                rest = behind;
            }
        });
    }
}

use super::*;
use crate::netlink::attribute;
use crate::rtnetlink::tests::{INDEX, damaged, hex};

const V4: &str = "021880000300000008000100c000020108000200c00002010a0003006c6f63616c00000008000800800000001400\
                  0600ffffffffffffffff8b606a008b606a00";
const V6: &str = "0a4082000300000014000100fd00000000000000000000000000000114000600ffffffffffffffff8b606a008b606a\
                  000800080082000000";
/// Right after it was added: tentative.
const V6_TENTATIVE: &str = "0a40c0fd0300000014000100fe80000000000000a439e1fffe2789ed14000600ffffffffffffffff8b606a\
                            008b606a0008000800c000000005000b0003000000";

#[test]
fn an_address_is_read_with_its_prefix() {
    let read = |text| Address::read(&hex(text)).expect("an address");
    let v4 = Address {
        index: INDEX,
        ip: IpAddr::from([192, 0, 2, 1]),
        prefix: 24,
        usable: true,
    };
    assert_eq!(read(V4), v4);
    let v6 = Address {
        ip: "fd00::1".parse().unwrap(),
        prefix: 64,
        ..v4
    };
    assert_eq!(read(V6), v6);
}

#[test]
fn an_address_that_is_not_known_to_be_nobody_elses_is_not_usable() {
    let mut tentative = hex(V6_TENTATIVE);
    let address = Address::read(&tentative).expect("an address");
    assert_eq!(usable(vec![address]), []);
    let flags = tentative.windows(4).position(|head| head == [8, 0, 8, 0]);
    let flags = flags.expect("IFA_FLAGS") + 4;
    let (failed, permanent) = (0x08, 0x80);
    tentative[flags] = permanent | failed;
    let address = Address::read(&tentative).expect("an address");
    assert_eq!(usable(vec![address]), []);
    tentative[flags] = permanent;
    let address = Address::read(&tentative).expect("an address");
    assert_eq!(usable(vec![address]).len(), 1);
}

#[test]
fn without_the_attribute_the_headers_flags_count() {
    let header = [10, 64, 0x40, 0, 3, 0, 0, 0];
    let bytes = [&header[..], &attribute(libc::IFA_ADDRESS, &[0xfd; 16])].concat();
    assert!(!Address::read(&bytes).expect("an address").usable);
}

#[test]
fn the_other_ends_address_is_not_the_interfaces() {
    let header = [2, 32, 0, 0, 3, 0, 0, 0];
    let bytes = [
        &header[..],
        &attribute(libc::IFA_ADDRESS, &[10, 0, 0, 9]),
        &attribute(libc::IFA_LOCAL, &[10, 0, 0, 1]),
    ]
    .concat();
    let address = Address::read(&bytes).expect("an address");
    assert_eq!(address.ip, IpAddr::from([10, 0, 0, 1]));
}

#[test]
fn an_address_of_a_wrong_length_is_none() {
    let header = [2, 32, 0, 0, 3, 0, 0, 0];
    for len in [0, 3, 5, 15, 17] {
        let odd = [&header[..], &attribute(libc::IFA_LOCAL, &vec![1; len])].concat();
        assert!(Address::read(&odd).is_err(), "{len}");
    }
}

#[test]
fn a_damaged_address_is_never_fatal() {
    for text in [V4, V6] {
        damaged(&hex(text), |bytes| drop(Address::read(bytes)));
    }
}

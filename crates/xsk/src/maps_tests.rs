use super::*;

const STEER_H: &str = include_str!("../../../bpf/steer.h");

/// The number that a `#define` in steer.h gives.
fn defined(name: &str) -> u32 {
    let line = STEER_H
        .lines()
        .find(|line| line.starts_with(&format!("#define {name} ")));
    line.and_then(|line| line.rsplit(' ').next())
        .and_then(|value| value.parse().ok())
        .unwrap()
}

#[test]
fn the_counters_are_those_of_the_program_in_the_same_order() {
    let body = STEER_H
        .split("enum steer_reason {")
        .nth(1)
        .unwrap()
        .split('}')
        .next()
        .unwrap();
    let names: Vec<String> = body
        .lines()
        .filter_map(|line| line.trim().strip_prefix("STEER_")?.split(',').next())
        .filter(|name| *name != "REASONS")
        .map(str::to_lowercase)
        .collect();
    assert_eq!(names, SteerCounters::NAMES);
    let counters = SteerCounters::read(|reason| Ok::<u64, ()>(u64::from(reason))).unwrap();
    assert_eq!(
        (counters.pass_not_ip, counters.redirect_neighbor),
        (0, names.len() as u64 - 1)
    );
}

#[test]
fn the_map_sizes_are_those_of_the_program() {
    assert_eq!(MAX_QUEUES, defined("STEER_MAX_QUEUES"));
    assert_eq!(MAX_LOCALS, defined("STEER_MAX_LOCALS"));
    assert_eq!(MAX_CLAIMS, defined("STEER_MAX_CLAIMS"));
}

#[test]
fn the_kinds_of_local_address_are_those_of_the_program() {
    for (name, kind) in [
        ("OWNED", Local::Owned),
        ("SHARED", Local::Shared),
        ("GROUP", Local::Group),
    ] {
        let entry = format!("STEER_LOCAL_{name} = {},", kind as u8);
        assert!(STEER_H.contains(&entry), "{entry}");
    }
}

#[test]
fn a_claim_is_address_port_protocol_in_network_order() {
    let key = claim_key(Protocol::Udp, "192.0.2.1".parse().unwrap(), 0x1234);
    let expected = [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1, 0x12, 0x34, 17, 0,
    ];
    assert_eq!(key, expected);
    let key = claim_key(Protocol::Tcp, "::".parse().unwrap(), 80);
    assert_eq!(
        (&key[..16], &key[16..]),
        ([0; 16].as_slice(), [0, 80, 6, 0].as_slice())
    );
}

#[test]
fn the_solicited_node_group_ends_in_the_addresss_last_three_bytes() {
    let group = solicited_node("fe80::2aa:ff:fe28:9c5a".parse().unwrap());
    assert_eq!(group, Some("ff02::1:ff28:9c5a".parse().unwrap()));
    assert_eq!(solicited_node("192.0.2.1".parse().unwrap()), None);
    assert_eq!(solicited_node("::ffff:192.0.2.1".parse().unwrap()), None);
}

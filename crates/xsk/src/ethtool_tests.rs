use super::*;

fn bit(name: &str, set: bool) -> Vec<u8> {
    let mut bit = attribute(BIT_NAME, &[name.as_bytes(), b"\0"].concat());
    if set {
        bit.extend(attribute(BIT_VALUE, &[]));
    }
    nest(BITS_BIT, &bit)
}

fn masked(bits: &[(&str, bool)]) -> Vec<u8> {
    let bits: Vec<u8> = bits
        .iter()
        .flat_map(|(name, set)| bit(name, *set))
        .collect();
    nest(BITSET_BITS, &bits)
}

fn listed(names: &[&str]) -> Vec<u8> {
    let bits: Vec<u8> = names.iter().flat_map(|name| bit(name, false)).collect();
    [attribute(BITSET_NOMASK, &[]), nest(BITSET_BITS, &bits)].concat()
}

#[test]
fn an_offload_is_changeable_if_the_driver_says_so_and_the_kernel_does_not_forbid_it() {
    let hw = [
        ("rx-lro", true),
        ("rx-gro", true),
        ("tx-lockless", false),
        ("loopback", true),
    ];
    let answer = [
        nest(FEATURES_HW, &masked(&hw)),
        nest(FEATURES_ACTIVE, &listed(&["rx-lro", "tx-lockless"])),
        nest(FEATURES_NOCHANGE, &listed(&["loopback"])),
    ]
    .concat();
    let offloads = offloads(&answer).expect("offloads");
    let of = |name: &str| (offloads[name].active, offloads[name].changeable);
    assert_eq!(offloads.len(), 4);
    assert_eq!(of("rx-lro"), (true, true));
    assert_eq!(of("rx-gro"), (false, true));
    assert_eq!(of("tx-lockless"), (true, false));
    assert_eq!(of("loopback"), (false, false));
}

#[test]
fn a_set_that_is_cut_is_refused() {
    let answer = nest(FEATURES_HW, &masked(&[("rx-lro", true)]));
    for len in 1..answer.len() {
        assert!(offloads(&answer[..len]).is_err(), "{len}");
    }
}

#[test]
fn a_kind_of_channel_that_there_is_not_counts_none() {
    let number = |kind, value: u32| attribute(kind, &value.to_ne_bytes());
    let answer = [number(5, 8), number(9, 4)].concat();
    let channels = channels(&answer).expect("channels");
    assert_eq!(channels.combined, Amount { now: 4, most: 8 });
    assert_eq!(
        (channels.rx, channels.tx),
        (Amount::default(), Amount::default())
    );
}

#[test]
fn the_indirection_table_is_of_whole_entries() {
    let table: Vec<u8> = [0u32, 1, 7]
        .iter()
        .flat_map(|queue| queue.to_ne_bytes())
        .collect();
    assert_eq!(indirection(&table), [0, 1, 7]);
    assert_eq!(indirection(&table[..7]), [0]);
}

#[test]
fn the_loopback_interface_has_offloads_and_no_channels() {
    let lo = crate::Interface::by_name("lo").expect("lo");
    let nic = Nic::of(lo.index);
    assert_eq!(nic.unknown, None);
    assert!(nic.active("loopback"), "{nic:?}");
    assert!(!nic.offloads["loopback"].changeable);
    assert_eq!((nic.channels, nic.indirection), (None, None));
    assert!(Nic::of(i32::MAX as u32).unknown.is_some());
}

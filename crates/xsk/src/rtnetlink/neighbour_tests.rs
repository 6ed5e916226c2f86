use super::*;
use crate::rtnetlink::tests::{INDEX, damaged, hex};

/// Stale.
const STALE: &str = "02000000030000000400000108000100c00002090a0002000200000000090000080004000000000014000300701700\
                     00000000000000000001000000";
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn in_state(state: u16) -> Vec<u8> {
    let mut answer = hex(STALE);
    answer[8..10].copy_from_slice(&state.to_ne_bytes());
    answer
}

fn entry(answer: &[u8]) -> Entry {
    Entry::read(answer).expect("an answer").expect("an entry")
}

#[test]
fn a_neighbour_is_known_in_the_states_in_which_the_kernel_sends_to_it() {
    let known = |sure| Neighbour::Known { mac: MAC, sure };
    for (state, expected) in [
        (libc::NUD_REACHABLE, known(true)),
        (libc::NUD_PERMANENT, known(true)),
        (libc::NUD_NOARP, known(true)),
        (libc::NUD_STALE, known(false)),
        (libc::NUD_DELAY, known(false)),
        (libc::NUD_PROBE, known(false)),
        (libc::NUD_INCOMPLETE, Neighbour::Unknown),
        (libc::NUD_FAILED, Neighbour::Failed),
        (0, Neighbour::Unknown),
    ] {
        let entry = entry(&in_state(state));
        assert_eq!(
            (entry.index, entry.address),
            (INDEX, IpAddr::from([192, 0, 2, 9]))
        );
        assert_eq!(entry.neighbour(), expected, "{state}");
    }
}

#[test]
fn an_address_that_is_not_ethernets_is_not_known() {
    let mut answer = hex(STALE);
    // NDA_LLADDR with four bytes, padded as its six were.
    let at = answer.windows(4).position(|head| head == [10, 0, 2, 0]);
    let at = at.expect("NDA_LLADDR");
    answer.splice(at..at + 12, [8, 0, 2, 0, 1, 2, 3, 4]);
    assert_eq!(entry(&answer).neighbour(), Neighbour::Unknown);
}

#[test]
fn what_a_bridge_has_learnt_and_what_the_host_answers_for_are_no_neighbours() {
    let mut bridge = hex(STALE);
    bridge[0] = libc::AF_BRIDGE as u8;
    assert_eq!(Entry::read(&bridge).expect("an answer"), None);
    let mut proxy = hex(STALE);
    proxy[10] = libc::NTF_PROXY;
    assert_eq!(Entry::read(&proxy).expect("an answer"), None);
}

#[test]
fn a_neighbour_to_send_to_is_the_interfaces_own_and_answered_itself() {
    let ip = IpAddr::from([192, 0, 2, 9]);
    for (state, expected) in [
        (libc::NUD_REACHABLE, Some((ip, true))),
        (libc::NUD_STALE, Some((ip, false))),
        (libc::NUD_NOARP, None),
        (libc::NUD_FAILED, None),
    ] {
        let entry = entry(&in_state(state));
        assert_eq!(sure_of(&entry, INDEX), expected, "{state}");
        assert_eq!(sure_of(&entry, INDEX + 1), None);
    }
}

#[test]
fn a_neighbour_is_named_by_its_interface_and_address() {
    let order = name(INDEX, IpAddr::from([192, 0, 2, 9]), NeighbourFlags::Use);
    assert_eq!(order, hex("02000000030000000000010008000100c0000209"));
}

#[test]
fn a_damaged_neighbour_is_never_fatal() {
    damaged(&hex(STALE), |bytes| drop(Entry::read(bytes)));
}

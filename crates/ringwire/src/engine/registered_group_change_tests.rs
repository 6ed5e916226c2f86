//! What a bundle has taken is decided: nothing that is changed behind its back changes what is sent.

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{
    IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUFFER, IORING_CQE_F_MORE as MORE,
    IORING_CQE_F_NOTIF as NOTIF,
};
use ringwire_abi::register::{
    BufReg, IORING_REGISTER_PBUF_RING, IORING_UNREGISTER_BUFFERS, IORING_UNREGISTER_PBUF_RING,
};

use super::bed::*;
use crate::provided::{entry_addr, send_zc};
use crate::usermem::tests::AppRing;

fn named(bid: u16) -> u32 {
    IORING_CQE_F_BUFFER | u32::from(bid) << IORING_CQE_BUFFER_SHIFT
}

/// A bundle of all of the row that waits for room on a stream.
fn waiting() -> Group {
    let mut group = Group::new(false);
    group.connect(true);
    group.give(IN_ROW, 0, ROW / 2, 4);
    group.give(IN_ROW, ROW / 2, ROW / 2, 5);
    assert_eq!(group.run(send_zc(STREAM, GROUP, 0).bundle()), []);
    group
}

/// Sees that the row is sent, and told of under the first id.
fn assert_sent(group: &mut Group) -> Vec<(u64, i32, u32)> {
    let mut completions = Vec::new();
    let bytes = group.read(ROW, &mut completions);
    assert!(bytes == group.row[..]);
    let sent = (1, ROW as i32, named(4) | MORE);
    assert_eq!(completions[..2], [sent, (1, 0, named(4) | NOTIF)]);
    completions.split_off(2)
}

#[test]
fn entries_that_are_overwritten_while_a_bundle_waits() {
    let mut group = waiting();
    // Round the ring: those that were taken have other names now.
    for bid in 0..AppRing::ENTRIES {
        group.app.provide(entry_addr(PART, 7), 9, 100 + bid);
    }
    assert_eq!(assert_sent(&mut group), []);
    let next = group.first(send_zc(DATAGRAMS, GROUP, 0));
    assert_eq!(next, (9, named(100) | MORE));
}

#[test]
fn a_group_that_is_registered_anew_while_a_bundle_waits() {
    let mut group = waiting();
    let mut reg = BufReg {
        bgid: GROUP,
        ..BufReg::default()
    };
    let bed = &mut group.bed;
    bed.register(IORING_UNREGISTER_PBUF_RING, reg, 1).unwrap();
    (group.app, _) = AppRing::new();
    reg.ring_addr = group.app.address();
    reg.ring_entries = AppRing::ENTRIES.into();
    let bed = &mut group.bed;
    bed.register(IORING_REGISTER_PBUF_RING, reg, 1).unwrap();
    group.give(PART, 0, 9, 60);
    assert_eq!(assert_sent(&mut group), []);
    let next = group.first(send_zc(DATAGRAMS, GROUP, 0));
    assert_eq!(next, (9, named(60) | MORE), "nothing was taken of it");
}

#[test]
fn registered_buffers_that_are_others_while_a_bundle_waits() {
    let mut group = waiting();
    let bed = &mut group.bed;
    bed.register_at(IORING_UNREGISTER_BUFFERS, 0, 0).unwrap();
    let told = [(93, 0, 0), (91, 0, 0)];
    assert_eq!(group.bed.completions(), told, "but for the one in use");
    let other = vec![7u8; ROW];
    group.register(&[(other.as_ptr(), ROW)], &[95]);
    assert_eq!(assert_sent(&mut group), [(90, 0, 0)]);
}

#[test]
fn a_tail_beyond_the_ring_names_its_entries_again() {
    let mut group = Group::new(false);
    for bid in 0..20 {
        group.give(IN_ROW, 100 * usize::from(bid), 10, bid);
    }
    // The eight that are left, as often as the tail says.
    let sent = group.first(send_zc(DATAGRAMS, GROUP, 0).bundle());
    assert_eq!(sent, (200, named(16) | MORE));
    let next = group.first(send_zc(DATAGRAMS, GROUP, 0));
    assert_eq!(next, (Errno::ENOBUFS.res(), MORE));
}

#[test]
fn entries_that_lie_over_one_another() {
    let mut group = Group::new(false);
    group.open(OTHER, libc::SOCK_DGRAM);
    group.bind(OTHER, 70);
    for (bid, offset) in [(0, 50), (1, 0), (2, 50), (3, 99)] {
        group.give(IN_ROW, offset, 100, bid);
    }
    let (address, len) = group.own(70);
    let send = send_zc(DATAGRAMS, GROUP, 0).bundle();
    let sent = group.run(send.dest_addr(address, len as u16));
    assert_eq!(sent[0], (1, 400, named(0) | MORE));
    group.pass(1);
    let mut to = [0; 500];
    let recv = io_uring::opcode::Recv::new(OTHER, to.as_mut_ptr(), 500).build();
    let received = group.submit(recv.user_data(2));
    assert!(received.contains(&(2, 400, 0)), "{received:?}");
    let wanted = [50, 0, 50, 99].map(|offset| &group.row[offset..offset + 100]);
    assert_eq!(to[..400], wanted.concat());
}

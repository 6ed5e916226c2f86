use io_uring::opcode;
use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{
    IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUF_MORE as BUF_MORE, IORING_CQE_F_BUFFER,
    IORING_CQE_F_MORE as MORE, IORING_CQE_F_NOTIF as NOTIF, IOU_PBUF_RING_INC, IOU_PBUF_RING_LENT,
    IOU_PBUF_RING_MMAP,
};
use ringwire_abi::register::{BufReg, IORING_REGISTER_PBUF_RING, IORING_UNREGISTER_BUFFERS};

use super::bed::*;
use crate::provided::{entry_addr, send, send_zc};

/// What a notification says of memory that was copied.
const COPIED: i32 = i32::MIN;

fn named(bid: u16) -> u32 {
    IORING_CQE_F_BUFFER | u32::from(bid) << IORING_CQE_BUFFER_SHIFT
}

fn both(case: impl Fn(bool)) {
    [false, true].into_iter().for_each(case);
}

#[test]
fn a_bundle_is_one_datagram_with_one_notification() {
    both(|v6| {
        let mut group = Group::new(v6);
        for (bid, offset) in [(7, 0), (8, 500), (6, 3000)] {
            group.give(IN_ROW, offset, 200, bid);
        }
        let send = group.to_group(send_zc(DATAGRAMS, GROUP, 0).bundle().report_usage());
        assert_eq!(group.run(send), [(1, 600, named(7) | MORE)]);
        group.pass(1);
        assert_eq!(group.bed.completions(), [], "the NIC reads it");
        assert_eq!(group.discard(), 4, "the headers, and each piece");
        assert_eq!(group.bed.completions(), [(1, 0, named(7) | NOTIF)]);
    });
}

#[test]
fn pieces_that_lie_side_by_side_are_described_as_one() {
    both(|v6| {
        let mut group = Group::new(v6);
        for bid in 0..4 {
            group.give(IN_ROW, 200 * usize::from(bid), 200, bid);
        }
        let send = group.to_group(send_zc(DATAGRAMS, GROUP, 0).bundle());
        assert_eq!(group.run(send), [(1, 800, named(0) | MORE)]);
        group.pass(1);
        assert_eq!(group.discard(), 2, "the headers, and the pieces");
    });
}

#[test]
fn a_slot_goes_out_with_its_headers_in_front() {
    both(|v6| {
        let mut group = Group::new(v6);
        let offset = group.in_slots(2);
        group.give(IN_SLOTS, offset, SLOT, 9);
        let send = group.to_group(send_zc(DATAGRAMS, GROUP, 0).bundle().report_usage());
        assert_eq!(group.run(send), [(1, SLOT as i32, named(9) | MORE)]);
        group.pass(1);
        assert_eq!(group.discard(), 1, "one descriptor");
        assert_eq!(group.bed.completions(), [(1, 0, named(9) | NOTIF)]);
        assert_eq!(group.bed.engine.stack().counters().tx_in_place, 1);
    });
}

#[test]
fn the_bytes_of_a_datagram_are_the_buffers_in_ring_order() {
    both(|v6| {
        for zero_copy in [true, false] {
            let mut group = Group::new(v6);
            group.open(OTHER, libc::SOCK_DGRAM);
            group.bind(OTHER, 70);
            let parts = [(3000, 100), (10, 300), (9000, 50)];
            for (bid, (offset, len)) in (0..).zip(parts) {
                group.give(IN_ROW, offset, len, bid);
            }
            let (address, len) = group.own(70);
            let send = match zero_copy {
                true => send_zc(DATAGRAMS, GROUP, 0),
                false => send(DATAGRAMS, GROUP, 0),
            };
            let send = send.bundle().dest_addr(address, len as u16);
            assert_eq!(group.run(send)[0].1, 450);
            group.pass(1);
            group.bed.completions();
            let mut to = [0; 1000];
            let recv = opcode::Recv::new(OTHER, to.as_mut_ptr(), 1000).build();
            assert_eq!(group.submit(recv), [(0, 450, 0)]);
            let wanted = parts.map(|(offset, len)| &group.row[offset..offset + len]);
            assert_eq!(to[..450], wanted.concat());
        }
    });
}

#[test]
fn a_bundle_is_sent_on_a_stream_in_ring_order_with_one_notification() {
    both(|v6| {
        let mut group = Group::new(v6);
        group.connect(false);
        for slot in 0..4 {
            let bytes = [slot as u8 + 1; SLOT];
            group.slots[slot].copy_from_slice(&bytes);
            let offset = group.in_slots(slot);
            group.give(IN_SLOTS, offset, SLOT, slot as u16 + 20);
        }
        let send = send_zc(STREAM, GROUP, 0).bundle();
        let mut completions = group.run(send);
        let bytes = group.read(4 * SLOT, &mut completions);
        let sent = (1, 4 * SLOT as i32, named(20) | MORE);
        assert_eq!(completions, [sent, (1, 0, named(20) | NOTIF)]);
        let wanted: Vec<&[u8]> = group.slots.iter().map(|slot| &slot[..]).collect();
        assert!(bytes == wanted.concat());
    });
}

#[test]
fn a_stream_without_room_keeps_the_buffers_until_all_is_sent() {
    both(|v6| {
        for bundle in [true, false] {
            let mut group = Group::new(v6);
            group.connect(true);
            group.give(IN_ROW, 0, ROW, 4);
            let send = send_zc(STREAM, GROUP, 0);
            let send = if bundle { send.bundle() } else { send };
            assert_eq!(group.run(send), [], "it waits for room");
            let mut completions = Vec::new();
            let bytes = group.read(ROW, &mut completions);
            let sent = (1, ROW as i32, named(4) | MORE);
            assert_eq!(completions, [sent, (1, 0, named(4) | NOTIF)]);
            assert!(bytes == group.row[..]);
        }
    });
}

#[test]
fn a_bundle_that_is_cancelled_half_way_names_its_first_buffer() {
    both(|v6| {
        let mut group = Group::new(v6);
        group.connect(true);
        group.give(IN_ROW, 0, ROW / 2, 4);
        group.give(IN_ROW, ROW / 2, ROW / 2, 5);
        assert_eq!(group.run(send_zc(STREAM, GROUP, 0).bundle()), []);
        let cancel = opcode::AsyncCancel::new(1).build().user_data(2);
        let mut completions = group.submit(cancel);
        group.pass(10);
        completions.extend(group.bed.completions());
        let (user_data, queued, flags) = completions[1];
        assert_eq!((user_data, flags), (1, named(4) | MORE));
        assert!((1..ROW as i32).contains(&queued), "{queued}");
        let mut completions = Vec::new();
        let bytes = group.read(queued as usize, &mut completions);
        assert_eq!(completions, [(1, 0, named(4) | NOTIF)]);
        assert!(bytes == group.row[..queued as usize]);
        assert_eq!(
            group.first(send_zc(DATAGRAMS, GROUP, 0)),
            (Errno::ENOBUFS.res(), MORE),
            "used up when they were taken"
        );
    });
}

#[test]
fn what_does_not_want_to_wait_says_how_much_was_sent() {
    let mut group = Group::new(false);
    group.connect(true);
    group.give(IN_ROW, 0, ROW, 4);
    let send = send_zc(STREAM, GROUP, 0).flags(libc::MSG_DONTWAIT);
    let completions = group.run(send);
    let (_, sent, flags) = completions[0];
    assert_eq!(flags, named(4) | MORE);
    assert!((1..ROW as i32).contains(&sent), "{sent}");
}

/// Sees that an entry is refused, used up and named, and that the next one is sent.
fn assert_refused(index: u32, offset: u64, len: usize, error: Errno) {
    both(|v6| {
        for bundle in [true, false] {
            let mut group = Group::new(v6);
            group.app.provide(entry_addr(index, offset), len as u32, 33);
            group.give(IN_ROW, 0, 10, 34);
            let send = || match bundle {
                true => send_zc(DATAGRAMS, GROUP, 0).bundle().report_usage(),
                false => send_zc(DATAGRAMS, GROUP, 0).report_usage(),
            };
            let bad = group.to_group(send());
            let failed = (1, error.res(), named(33) | MORE);
            let notified = (1, COPIED, named(33) | NOTIF);
            assert_eq!(group.run(bad), [failed, notified]);
            assert_eq!(group.first(send()), (10, named(34) | MORE));
        }
    });
}

#[test]
fn an_index_without_a_buffer_is_a_fault() {
    for index in [EMPTY, 4, 1 << 16, (1 << 20) - 1] {
        assert_refused(index, 0, 10, Errno::EFAULT);
    }
}

#[test]
fn an_offset_behind_the_buffer_is_a_fault() {
    for offset in [PART_LEN as u64, 1 << 32, (1 << 44) - 1] {
        assert_refused(PART, offset, 10, Errno::EFAULT);
    }
}

#[test]
fn an_entry_that_goes_beyond_the_buffer_is_an_overflow() {
    let len = PART_LEN as u64;
    for (offset, beyond) in [(0, PART_LEN + 1), (len - 1, 2), (0, u32::MAX as usize)] {
        assert_refused(PART, offset, beyond, Errno::EOVERFLOW);
    }
}

#[test]
fn an_entry_of_no_bytes_is_a_fault() {
    assert_refused(IN_ROW, 0, 0, Errno::EFAULT);
}

#[test]
fn an_entry_may_end_where_its_buffer_does() {
    let mut group = Group::new(false);
    group.give(PART, PART_LEN - 10, 10, 1);
    let sent = group.first(send_zc(DATAGRAMS, GROUP, 0));
    assert_eq!(sent, (10, named(1) | MORE));
}

#[test]
fn a_group_without_entries_has_no_buffers() {
    let mut group = Group::new(false);
    let nothing = group.first(send_zc(DATAGRAMS, GROUP, 0).bundle());
    assert_eq!(nothing, (Errno::ENOBUFS.res(), MORE));
    assert_eq!(
        group.first(send(DATAGRAMS, GROUP, 0)).0,
        Errno::ENOBUFS.res()
    );
    let unknown = group.first(send_zc(DATAGRAMS, 99, 0));
    assert_eq!(unknown, (Errno::ENOENT.res(), MORE));
}

#[test]
fn groups_whose_entries_are_no_such_names_are_refused() {
    let mut group = Group::new(false);
    let memory = [0u8; 16];
    let provide = opcode::ProvideBuffers::new(memory.as_ptr().cast_mut(), 16, 1, 6, 0);
    assert_eq!(group.submit(provide.build()), [(0, 0, 0)]);
    let lent = BufReg {
        ring_entries: 8,
        bgid: 7,
        flags: IOU_PBUF_RING_LENT | IOU_PBUF_RING_MMAP,
        ..BufReg::default()
    };
    group
        .bed
        .register(IORING_REGISTER_PBUF_RING, lent, 1)
        .unwrap();
    for other in [6, 7] {
        let refused = group.first(send_zc(DATAGRAMS, other, 0).bundle());
        assert_eq!(refused, (Errno::EINVAL.res(), MORE), "group {other}");
        assert_eq!(
            group.first(send(DATAGRAMS, other, 0)).0,
            Errno::EINVAL.res()
        );
    }
}

#[test]
fn a_bundle_ends_before_an_entry_that_is_wrong() {
    for wrong in [EMPTY, 99] {
        let mut group = Group::new(false);
        group.give(IN_ROW, 0, 100, 1);
        group.give(IN_ROW, 100, 100, 2);
        group.give(wrong, 0, 100, 3);
        group.give(IN_ROW, 200, 100, 4);
        let bundle = || send_zc(DATAGRAMS, GROUP, 0).bundle();
        assert_eq!(group.first(bundle()), (200, named(1) | MORE));
        assert_eq!(
            group.first(bundle()),
            (Errno::EFAULT.res(), named(3) | MORE)
        );
        assert_eq!(group.first(bundle()), (100, named(4) | MORE));
    }
}

#[test]
fn a_bundle_uses_one_registered_buffer() {
    let mut group = Group::new(false);
    group.give(IN_ROW, 0, 100, 1);
    group.give(IN_ROW, 500, 100, 2);
    group.give(PART, 0, 50, 3);
    group.give(IN_ROW, 0, 30, 4);
    for (sent, first) in [(200, 1), (50, 3), (30, 4)] {
        let bundle = send_zc(DATAGRAMS, GROUP, 0).bundle();
        assert_eq!(group.first(bundle), (sent, named(first) | MORE));
    }
}

#[test]
fn a_send_that_is_no_bundle_takes_one_entry() {
    let mut group = Group::new(false);
    group.give(IN_ROW, 0, 100, 1);
    group.give(IN_ROW, 100, 100, 2);
    assert_eq!(
        group.first(send_zc(DATAGRAMS, GROUP, 0)),
        (100, named(1) | MORE)
    );
    assert_eq!(group.first(send(DATAGRAMS, GROUP, 0)), (100, named(2)));
}

#[test]
fn the_length_limits_what_a_zero_copy_send_takes() {
    let mut group = Group::new(false);
    for bid in 0..4 {
        group.give(IN_ROW, 0, 100, bid);
    }
    let bundle = || send_zc(DATAGRAMS, GROUP, 250).bundle();
    assert_eq!(
        group.first(bundle()),
        (200, named(0) | MORE),
        "whole entries"
    );
    let less = send_zc(DATAGRAMS, GROUP, 60).bundle();
    assert_eq!(
        group.first(less),
        (60, named(2) | MORE),
        "but for the first"
    );
    assert_eq!(group.first(bundle()), (100, named(3) | MORE));
}

#[test]
fn an_incremental_entry_is_moved_on_by_what_was_taken_of_it() {
    let mut group = Group::with(false, IOU_PBUF_RING_INC);
    group.give(PART, 1000, 500, 1);
    group.give(PART, 0, 100, 2);
    let take = |len| send_zc(DATAGRAMS, GROUP, len).bundle();
    assert_eq!(group.first(take(200)), (200, named(1) | BUF_MORE | MORE));
    assert_eq!(group.app.entry(0), (entry_addr(PART, 1200), 300, 1));
    assert_eq!(group.first(take(350)), (350, named(1) | BUF_MORE | MORE));
    assert_eq!(group.app.entry(1), (entry_addr(PART, 50), 50, 2));
    assert_eq!(group.first(take(0)), (50, named(2) | MORE));
    assert_eq!(group.first(take(0)), (Errno::ENOBUFS.res(), MORE));
}

#[test]
fn an_incremental_entry_that_is_wrong_is_used_up() {
    let mut group = Group::with(false, IOU_PBUF_RING_INC);
    group.give(PART, PART_LEN - 1, 2, 1);
    group.give(PART, 0, 100, 2);
    let wrong = group.first(send_zc(DATAGRAMS, GROUP, 1));
    assert_eq!(wrong, (Errno::EOVERFLOW.res(), named(1) | MORE));
    let next = group.first(send_zc(DATAGRAMS, GROUP, 0));
    assert_eq!(next, (100, named(2) | MORE));
}

#[test]
fn a_plain_bundle_goes_on_in_the_next_registered_buffer() {
    both(|v6| {
        let mut group = Group::new(v6);
        group.connect(false);
        group.give(IN_ROW, 0, 100, 1);
        group.give(IN_ROW, 100, 100, 2);
        group.give(PART, 0, 50, 3);
        group.give(99, 0, 50, 4);
        group.give(PART, 0, 50, 5);
        let mut completions = group.run(send(STREAM, GROUP, 0).bundle());
        let fault = Errno::EFAULT.res();
        let expected = [
            (1, 200, named(1) | MORE),
            (1, 50, named(3) | MORE),
            (1, fault, named(4)),
        ];
        assert_eq!(completions, expected);
        completions.clear();
        let bytes = group.read(250, &mut completions);
        assert_eq!(completions, [], "a SEND is not notified of");
        let wanted = [&group.row[..200], &group.row[100..150]];
        assert!(bytes == wanted.concat());
    });
}

#[test]
fn a_datagram_that_is_too_long_uses_its_buffers_up() {
    both(|v6| {
        let mut group = Group::new(v6);
        for (bid, offset) in [(1, 0), (2, ROW / 2)] {
            group.give(IN_ROW, offset, ROW / 2, bid);
        }
        group.give(IN_ROW, 0, 10, 3);
        let bundle = || send_zc(DATAGRAMS, GROUP, ROW as u32).bundle();
        let long = group.first(bundle());
        assert_eq!(long, (Errno::EMSGSIZE.res(), named(1) | MORE));
        assert_eq!(group.first(bundle()), (10, named(3) | MORE));
    });
}

#[test]
fn memory_of_ones_own_is_copied_and_said_to_be() {
    let mut group = Group::new(false);
    group
        .bed
        .register_at(IORING_UNREGISTER_BUFFERS, 0, 0)
        .unwrap();
    group.bed.completions();
    let own = vec![7u8; 1000];
    group.register(&[(own.as_ptr(), own.len())], &[0]);
    group.give(0, 100, 400, 1);
    let send = group.to_group(send_zc(DATAGRAMS, GROUP, 0).report_usage());
    let copied = (1, COPIED, named(1) | NOTIF);
    assert_eq!(group.run(send), [(1, 400, named(1) | MORE), copied]);
}

#[test]
fn a_registered_buffer_is_told_of_behind_the_notification() {
    both(|v6| {
        let mut group = Group::new(v6);
        group.give(PART, 0, 1000, 1);
        assert_eq!(
            group.first(send_zc(DATAGRAMS, GROUP, 0)),
            (1000, named(1) | MORE)
        );
        group
            .bed
            .register_at(IORING_UNREGISTER_BUFFERS, 0, 0)
            .unwrap();
        group.pass(1);
        // The others are told of from the last to the first.
        assert_eq!(group.bed.completions(), [(91, 0, 0), (90, 0, 0)]);
        group.discard();
        let notified = (1, 0, named(1) | NOTIF);
        assert_eq!(
            group.bed.completions(),
            [notified, (TAGS[PART as usize], 0, 0)]
        );
    });
}

#[test]
fn a_plain_send_that_waits_holds_its_registered_buffer() {
    let mut group = Group::new(false);
    group.connect(true);
    group.give(IN_ROW, 0, ROW, 1);
    assert_eq!(group.run(send(STREAM, GROUP, 0)), []);
    group
        .bed
        .register_at(IORING_UNREGISTER_BUFFERS, 0, 0)
        .unwrap();
    assert_eq!(group.bed.completions(), [(93, 0, 0), (91, 0, 0)]);
    let mut completions = Vec::new();
    group.read(ROW, &mut completions);
    assert_eq!(completions, [(1, ROW as i32, named(1)), (90, 0, 0)]);
}

#[test]
fn the_registered_buffer_of_a_numbered_send_is_told_of_behind_its_completion() {
    let mut group = Group::new(false);
    group.connect(true);
    group.number_sends(STREAM);
    group
        .bed
        .register_at(IORING_UNREGISTER_BUFFERS, 0, 0)
        .unwrap();
    group.bed.completions();
    // What is copied is free as soon as it is queued.
    let own = vec![7u8; ROW];
    group.register(&[(own.as_ptr(), own.len())], &[94]);
    group.give(0, 0, ROW, 1);
    assert_eq!(
        group.run(send(STREAM, GROUP, 0).flags(libc::MSG_ZEROCOPY)),
        []
    );
    group
        .bed
        .register_at(IORING_UNREGISTER_BUFFERS, 0, 0)
        .unwrap();
    let mut completions = Vec::new();
    group.read(ROW, &mut completions);
    assert_eq!(completions, [(1, ROW as i32, named(1)), (94, 0, 0)]);
}

#[test]
fn sends_wait_their_turn_before_they_take_buffers() {
    let mut group = Group::new(false);
    group.connect(true);
    group.give(IN_ROW, 0, ROW, 1);
    group.give(IN_ROW, 0, 10, 2);
    for user_data in [1, 2] {
        let send = send_zc(STREAM, GROUP, 0).build().user_data(user_data);
        assert_eq!(group.submit(send), []);
    }
    let cancel = opcode::AsyncCancel::new(2).build();
    let cancelled = (2, Errno::ECANCELED.res(), MORE);
    let completions = group.submit(cancel);
    assert_eq!(
        completions,
        [(0, 0, 0), cancelled, (2, 0, NOTIF)],
        "of no buffer"
    );
    assert_eq!(
        group.first(send_zc(DATAGRAMS, GROUP, 0)),
        (10, named(2) | MORE)
    );
}

use io_uring::{opcode, squeue, types};
use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{
    IORING_SETUP_CQE_MIXED, IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER,
};
use ringwire_abi::notifier::*;
use ringwire_abi::register::IORING_UNREGISTER_BUFFERS;
use ringwire_stack::Instant;
use ringwire_umem::Area;

use super::super::bed::Bed;
use super::super::zero_copy_bed::{
    self, GROUP, SLOT, at, connection, pass, pass_until, register_buffer,
};
use crate::slots::{SendZc, flush};

pub(super) const TAGS: [u64; 3] = [0x700, 0x701, 0x702];
const EINVAL: i32 = -libc::EINVAL;

pub(super) fn register_tags(bed: &mut Bed, tags: &[u64]) -> Result<i32, Errno> {
    let slot = |&tag| NotifierSlot { tag, resv: [0; 3] };
    let slots: Vec<_> = tags.iter().map(slot).collect();
    let register = NotifierRegister {
        nr_slots: slots.len() as u32,
        data: slots.as_ptr() as u64,
        ..NotifierRegister::default()
    };
    bed.register(RINGWIRE_REGISTER_NOTIFIERS, register, 32)
}

/// An engine with three notification slots, a UDP socket in slot 0 of its files, and memory in UMEM.
pub(super) fn bed(setup_flags: u32) -> (Bed, Vec<Area>) {
    let (mut bed, memory) = zero_copy_bed::bed(setup_flags);
    assert_eq!(register_tags(&mut bed, &TAGS), Ok(0));
    (bed, memory)
}

/// A datagram to the group, bound to a slot.
pub(super) fn send(from: &[u8], slot: u16) -> SendZc {
    let bytes = (from.as_ptr(), from.len() as u32);
    SendZc::new(types::Fixed(0), slot, bytes.0, bytes.1).dest_addr(at(&GROUP), 16)
}

pub(super) fn queue(bed: &mut Bed, from: &[u8], slot: u16, user_data: u64) {
    let completions = bed.run(send(from, slot).build().user_data(user_data));
    assert_eq!(
        completions,
        [(user_data, from.len() as i32, 0)],
        "no F_MORE"
    );
}

/// Has the NIC send all that it was given, and report it.
pub(super) fn transmit(bed: &mut Bed) -> Vec<(u64, i32, u32)> {
    bed.turn();
    let sent = bed.sent();
    bed.report_sent(&sent);
    bed.turn();
    bed.completions()
}

#[test]
fn the_sends_of_a_slot_have_one_notification_when_it_is_flushed() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 1, 1);
    queue(&mut bed, &memory[1], 1, 2);
    assert_eq!(transmit(&mut bed), [], "all is sent, but the slot is open");
    let completions = bed.run(flush(1, 1, 0).user_data(3));
    assert_eq!(completions, [(3, 0, 0), (TAGS[1], 0, 0)], "flushed first");
}

#[test]
fn the_notification_waits_for_the_last_buffer() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 0, 1);
    queue(&mut bed, &memory[1], 0, 2);
    bed.turn();
    let sent = bed.sent();
    assert_eq!(sent.len(), 2, "both in place");
    assert_eq!(bed.run(flush(0, 1, 0).user_data(3)), [(3, 0, 0)]);
    bed.report_sent(&sent[1..]);
    bed.turn();
    assert_eq!(bed.completions(), [], "the other one is with the NIC");
    bed.report_sent(&sent[..1]);
    bed.turn();
    assert_eq!(bed.completions(), [(TAGS[0], 0, 0)]);
}

#[test]
fn each_flush_has_the_next_number() {
    let (mut bed, memory) = bed(0);
    for number in 0..3 {
        queue(&mut bed, &memory[0], 2, 1);
        assert_eq!(transmit(&mut bed), []);
        let completions = bed.run(flush(2, 1, 0).user_data(3));
        assert_eq!(completions, [(3, 0, 0), (TAGS[2], 0, number)]);
    }
}

#[test]
fn the_number_wraps() {
    let (mut bed, memory) = bed(0);
    bed.engine.notifiers.slot(0).sequence = u32::MAX;
    for number in [u32::MAX, 0] {
        queue(&mut bed, &memory[0], 0, 1);
        transmit(&mut bed);
        let completions = bed.run(flush(0, 1, 0).user_data(3));
        assert_eq!(completions, [(3, 0, 0), (TAGS[0], 0, number)]);
    }
}

#[test]
fn a_later_notifier_of_a_slot_may_be_told_of_earlier() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 0, 1);
    bed.turn();
    let first = bed.sent();
    bed.run(flush(0, 1, 0));
    queue(&mut bed, &memory[1], 0, 1);
    bed.turn();
    let second = bed.sent();
    bed.run(flush(0, 1, 0));
    bed.report_sent(&second);
    bed.turn();
    assert_eq!(bed.completions(), [(TAGS[0], 0, 1)]);
    bed.report_sent(&first);
    bed.turn();
    assert_eq!(bed.completions(), [(TAGS[0], 0, 0)]);
}

#[test]
fn an_empty_slot_is_flushed_silently_and_keeps_number_and_tag() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 1, 1);
    transmit(&mut bed);
    let completions = bed.run(flush(0, 3, 0x900).user_data(3));
    assert_eq!(completions, [(3, 0, 0), (TAGS[1], 0, 0)]);
    for (slot, tag, number) in [(0, TAGS[0], 0), (1, 0x900, 1), (2, TAGS[2], 0)] {
        queue(&mut bed, &memory[0], slot, 1);
        transmit(&mut bed);
        let completions = bed.run(flush(slot.into(), 1, 0).user_data(3));
        assert_eq!(completions, [(3, 0, 0), (tag, 0, number)]);
    }
}

#[test]
fn a_new_tag_is_the_next_notifiers() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 0, 1);
    bed.turn();
    let sent = bed.sent();
    bed.run(flush(0, 1, 0x900));
    bed.report_sent(&sent);
    bed.turn();
    assert_eq!(bed.completions(), [(TAGS[0], 0, 0)], "captured before");
    queue(&mut bed, &memory[0], 0, 1);
    transmit(&mut bed);
    assert_eq!(bed.run(flush(0, 1, 0))[1], (0x900, 0, 1));
}

#[test]
fn a_send_flushes_its_slot_behind_itself() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 0, 1);
    let last = send(&memory[1], 0).flush(true).build().user_data(2);
    assert_eq!(bed.run(last), [(2, SLOT as i32, 0)]);
    assert_eq!(transmit(&mut bed), [(TAGS[0], 0, 0)]);
}

#[test]
fn a_send_that_fails_leaves_the_slot_open() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 0, 1);
    let nowhere = SendZc::new(types::Fixed(0), 0, memory[1].as_ptr(), SLOT as u32);
    let completions = bed.run(nowhere.flush(true).build().user_data(2));
    assert_eq!(completions, [(2, -libc::EDESTADDRREQ, 0)]);
    assert_eq!(transmit(&mut bed), []);
    assert_eq!(bed.run(flush(0, 1, 0))[1], (TAGS[0], 0, 0));
}

#[test]
fn with_silent_sends_only_notifications_arrive() {
    let (mut bed, memory) = bed(0);
    for last in [false, true] {
        let silent = send(&memory[usize::from(last)], 0).flush(last).build();
        let silent = silent.flags(squeue::Flags::SKIP_SUCCESS).user_data(1);
        assert_eq!(bed.run(silent), []);
    }
    assert_eq!(transmit(&mut bed), [(TAGS[0], 0, 0)]);
}

#[test]
fn plain_memory_is_copied_and_promises_nothing_more() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &[1; 100], 0, 1);
    queue(&mut bed, &memory[0], 0, 1);
    bed.turn();
    assert_eq!(bed.run(flush(0, 1, 0)), [(0, 0, 0)]);
    assert_eq!(transmit(&mut bed), [(TAGS[0], 0, 0)]);
    queue(&mut bed, &[1; 100], 0, 1);
    assert_eq!(bed.run(flush(0, 1, 0)), [(0, 0, 0), (TAGS[0], 0, 1)]);
}

#[test]
fn fixed_and_plain_memory_of_several_sockets_share_a_slot() {
    let (mut bed, memory) = bed(0);
    bed.run(zero_copy_bed::socket(1, libc::SOCK_DGRAM));
    let tag = 77;
    register_buffer(&mut bed, &memory[0], tag);
    let fixed = send(&memory[0], 0).buf_index(0).build().user_data(1);
    assert_eq!(bed.run(fixed), [(1, SLOT as i32, 0)]);
    let other = SendZc::new(types::Fixed(1), 0, memory[1].as_ptr(), SLOT as u32);
    let other = other.dest_addr(at(&GROUP), 16).flush(true).build();
    assert_eq!(bed.run(other.user_data(2)), [(2, SLOT as i32, 0)]);
    bed.register_at(IORING_UNREGISTER_BUFFERS, 0, 0).unwrap();
    let mut completions = transmit(&mut bed);
    completions.sort_unstable();
    assert_eq!(completions, [(tag, 0, 0), (TAGS[0], 0, 0)]);
}

#[test]
fn memory_outside_its_registered_buffer_is_refused() {
    let (mut bed, memory) = bed(0);
    let stray = send(&memory[0], 0).buf_index(3).build();
    assert_eq!(bed.run(stray), [(0, -libc::EFAULT, 0)]);
}

#[test]
fn room_of_a_socket_comes_back_before_its_slot_is_flushed() {
    let (mut bed, memory) = bed(0);
    let socket = bed.engine.files.lookup(0).unwrap();
    let mut options = bed.engine.stack.options(socket).unwrap();
    options.ask_send_buffer(2048);
    bed.engine.stack.set_options(socket, options).unwrap();
    for _ in 0..20 {
        let queued = bed.run(send(&memory[0], 0).build().user_data(1));
        let mut completions = transmit(&mut bed);
        completions.extend(queued);
        assert_eq!(completions, [(1, SLOT as i32, 0)]);
    }
    assert_eq!(bed.run(flush(0, 1, 0))[1], (TAGS[0], 0, 0));
}

#[test]
fn a_stream_is_notified_of_when_its_bytes_are_acknowledged() {
    let (mut bed, row) = connection();
    register_tags(&mut bed, &TAGS).unwrap();
    let part = |begin: usize, flush: bool| {
        let send = SendZc::new(types::Fixed(1), 0, row[begin..].as_ptr(), 1000);
        send.flush(flush).build().user_data(1)
    };
    assert_eq!(bed.run(part(0, false)), [(1, 1000, 0)]);
    assert_eq!(bed.run(part(1000, true)), [(1, 1000, 0)]);
    pass(&mut bed, 10);
    assert_eq!(bed.completions(), [(TAGS[0], 0, 0)]);
}

#[test]
fn a_short_send_of_a_stream_leaves_the_slot_open() {
    let (mut bed, row) = connection();
    register_tags(&mut bed, &TAGS).unwrap();
    let all = SendZc::new(types::Fixed(1), 0, row.as_ptr(), row.len() as u32);
    let completions = bed.run(all.flush(true).build().user_data(1));
    let (_, short, _) = completions[0];
    assert!((1..row.len() as i32).contains(&short), "{short}");
    let mut to = vec![0u8; short as usize];
    let recv = opcode::Recv::new(types::Fixed(3), to.as_mut_ptr(), short as u32);
    let recv = recv.flags(libc::MSG_WAITALL).build().user_data(2);
    assert_eq!(bed.run(recv), []);
    let completions = pass_until(&mut bed, 1);
    assert_eq!(completions, [(2, short, 0)], "all is acknowledged");
    assert_eq!(bed.run(flush(0, 1, 0)), [(0, 0, 0), (TAGS[0], 0, 0)]);
}

#[test]
fn a_send_that_is_cancelled_keeps_its_promise() {
    let (mut bed, row) = connection();
    register_tags(&mut bed, &TAGS).unwrap();
    let all = SendZc::new(types::Fixed(1), 0, row.as_ptr(), row.len() as u32);
    let all = all.flags(libc::MSG_WAITALL).build().user_data(1);
    assert_eq!(bed.run(all), []);
    pass(&mut bed, 10);
    assert_eq!(bed.run(flush(0, 1, 0).user_data(2)), [(2, 0, 0)]);
    let cancelled = bed.run(opcode::AsyncCancel::new(1).build().user_data(3));
    assert_eq!((cancelled.len(), cancelled[0]), (2, (3, 0, 0)));
    assert_eq!((cancelled[1].0, cancelled[1].2), (1, 0));
    assert_eq!(bed.completions(), [], "some is not acknowledged");
    // The reader goes: what it did not read is reset.
    bed.run(opcode::Close::new(types::Fixed(3)).build());
    pass(&mut bed, 100);
    assert_eq!(bed.completions(), [(TAGS[0], 0, 0)]);
}

#[test]
fn unregistering_flushes_what_is_bound() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 1, 1);
    bed.turn();
    let sent = bed.sent();
    assert_eq!(bed.register_at(RINGWIRE_UNREGISTER_NOTIFIERS, 0, 0), Ok(0));
    assert_eq!(bed.completions(), []);
    bed.report_sent(&sent);
    bed.turn();
    assert_eq!(bed.completions(), [(TAGS[1], 0, 0)]);
    let again = bed.register_at(RINGWIRE_UNREGISTER_NOTIFIERS, 0, 0);
    assert_eq!(again, Err(Errno::ENXIO));
    assert_eq!(bed.run(send(&memory[0], 1).build()), [(0, EINVAL, 0)]);
}

#[test]
fn slots_that_are_registered_anew_know_nothing_of_the_old() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 0, 1);
    bed.register_at(RINGWIRE_UNREGISTER_NOTIFIERS, 0, 0)
        .unwrap();
    register_tags(&mut bed, &[0x900]).unwrap();
    queue(&mut bed, &memory[1], 0, 1);
    bed.run(flush(0, 1, 0));
    assert_eq!(transmit(&mut bed), [(TAGS[0], 0, 0), (0x900, 0, 0)]);
}

#[test]
fn deferred_task_work_has_the_notification_wait_to_be_asked_for() {
    let (mut bed, _) = bed(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    queue(&mut bed, &[1; 10], 0, 1);
    assert_eq!(bed.run(flush(0, 1, 0).user_data(2)), [(2, 0, 0)]);
    bed.turn();
    assert_eq!(bed.completions(), [(TAGS[0], 0, 0)]);
}

#[test]
fn a_registration_that_is_wrong_is_refused() {
    let (mut bed, _) = zero_copy_bed::bed(0);
    let slots = [NotifierSlot::default(); 2];
    let good = NotifierRegister {
        nr_slots: 2,
        data: slots.as_ptr() as u64,
        ..NotifierRegister::default()
    };
    let many = MAX_NOTIFIER_SLOTS + 1;
    for (wrong, bytes, error) in [
        (good, 31, Errno::EINVAL),
        (good, 2, Errno::EINVAL),
        (
            NotifierRegister {
                nr_slots: 0,
                ..good
            },
            32,
            Errno::EINVAL,
        ),
        (
            NotifierRegister {
                nr_slots: many,
                ..good
            },
            32,
            Errno::EINVAL,
        ),
        (NotifierRegister { resv: 1, ..good }, 32, Errno::EINVAL),
        (NotifierRegister { resv2: 1, ..good }, 32, Errno::EINVAL),
        (NotifierRegister { resv3: 1, ..good }, 32, Errno::EINVAL),
        (NotifierRegister { data: 0, ..good }, 32, Errno::EFAULT),
    ] {
        let result = bed.register(RINGWIRE_REGISTER_NOTIFIERS, wrong, bytes);
        assert_eq!(result, Err(error), "{wrong:?}");
    }
    let reserved = [NotifierSlot {
        tag: 1,
        resv: [0, 1, 0],
    }];
    let wrong = NotifierRegister {
        nr_slots: 1,
        data: reserved.as_ptr() as u64,
        ..good
    };
    let result = bed.register(RINGWIRE_REGISTER_NOTIFIERS, wrong, 32);
    assert_eq!(result, Err(Errno::EINVAL));
    assert_eq!(bed.register(RINGWIRE_REGISTER_NOTIFIERS, good, 32), Ok(0));
    let again = bed.register(RINGWIRE_REGISTER_NOTIFIERS, good, 32);
    assert_eq!(again, Err(Errno::EBUSY));
}

#[test]
fn a_ring_with_completions_of_both_sizes_has_no_slots() {
    let mut bed = Bed::new(IORING_SETUP_CQE_MIXED);
    assert_eq!(register_tags(&mut bed, &TAGS), Err(Errno::EINVAL));
}

#[test]
fn a_flush_that_is_wrong_is_refused_and_flushes_nothing() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 0, 1);
    transmit(&mut bed);
    for (first, count, res) in [
        (0, 0, EINVAL),
        (0, 4, EINVAL),
        (3, 1, EINVAL),
        (u32::MAX, 1, -libc::EOVERFLOW),
    ] {
        let completions = bed.run(flush(first, count, 0));
        assert_eq!(completions, [(0, res, 0)], "{first} {count}");
    }
    assert_eq!(bed.run(flush(0, 1, 0))[1], (TAGS[0], 0, 0));
}

#[test]
fn a_ring_can_go_with_slots_open_and_memory_in_flight() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 0, 1);
    queue(&mut bed, &memory[1], 1, 1);
    bed.run(flush(0, 1, 0));
    bed.turn();
    assert_eq!(bed.sent().len(), 2, "never reported");
    drop(bed);
    assert_eq!(memory[0].len(), SLOT);
}

#[test]
fn slots_are_freed_for_those_that_come() {
    let (mut bed, _) = bed(0);
    for _ in 0..100 {
        queue(&mut bed, &[1; 10], 0, 1);
        bed.run(flush(0, 1, 0));
    }
    assert_eq!(bed.engine.notifiers.notifiers.len(), 1);
    bed.engine.turn(Instant::ZERO);
}

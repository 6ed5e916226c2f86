//! Notification slots beside what else a ring has: batches, links, drains, restrictions, a full queue.

use io_uring::{opcode, squeue, types};
use ringwire_abi::errno::Errno;
use ringwire_abi::flags::*;
use ringwire_abi::notifier::*;
use ringwire_abi::register::*;
use ringwire_abi::sqe::Sqe;
use ringwire_stack::Instant;

use super::super::bed::{Bed, ENTRIES};
use super::super::zero_copy_bed::{SLOT, connection, pass, pass_until};
use super::tests::{TAGS, bed, queue, register_tags, send, transmit};
use crate::slots::{SendZc, flush};

const LINK: squeue::Flags = squeue::Flags::IO_LINK;

/// Submits entries as one batch and takes the completions that are there then.
fn batch<const N: usize>(bed: &mut Bed, entries: [squeue::Entry; N]) -> Vec<(u64, i32, u32)> {
    entries.into_iter().for_each(|entry| bed.push(entry));
    bed.engine.submit(Instant::ZERO, N as u32);
    bed.completions()
}

/// A send of all of a row on the connection, which has no room for it.
fn long_send(row: &[u8]) -> SendZc {
    let send = SendZc::new(types::Fixed(1), 0, row.as_ptr(), row.len() as u32);
    send.flags(libc::MSG_WAITALL)
}

/// A stream with slots; see `connection`.
fn stream() -> (Bed, ringwire_umem::Area) {
    let (mut bed, row) = connection();
    register_tags(&mut bed, &TAGS).unwrap();
    (bed, row)
}

/// Has the reader of the stream take so many bytes, which brings about `others` completions; returns those.
fn read(bed: &mut Bed, bytes: usize, others: usize) -> Vec<(u64, i32, u32)> {
    let mut to = vec![0u8; bytes];
    let recv = opcode::Recv::new(types::Fixed(3), to.as_mut_ptr(), bytes as u32);
    let mut completions = bed.run(recv.flags(libc::MSG_WAITALL).build().user_data(99));
    completions.extend(pass_until(bed, others + 1));
    assert!(
        completions.contains(&(99, bytes as i32, 0)),
        "{completions:?}"
    );
    completions.retain(|completion| completion.0 != 99);
    completions
}

#[test]
fn a_send_behind_a_flushing_one_in_its_batch_is_the_next_sets() {
    let (mut bed, memory) = bed(0);
    let first = send(&memory[0], 0).flush(true).build().user_data(1);
    let next = send(&memory[1], 0).build().user_data(2);
    let completions = batch(&mut bed, [first, next]);
    assert_eq!(completions, [(1, SLOT as i32, 0), (2, SLOT as i32, 0)]);
    assert_eq!(transmit(&mut bed), [(TAGS[0], 0, 0)]);
    assert_eq!(bed.run(flush(0, 1, 0))[1], (TAGS[0], 0, 1));
}

#[test]
fn two_flushing_sends_of_a_batch_end_a_set_each() {
    let (mut bed, memory) = bed(0);
    let sends = [0, 1].map(|index| send(&memory[index], 0).flush(true).build().user_data(1));
    assert_eq!(batch(&mut bed, sends).len(), 2);
    assert_eq!(transmit(&mut bed), [(TAGS[0], 0, 0), (TAGS[0], 0, 1)]);
}

#[test]
fn a_send_behind_a_flush_in_its_batch_is_the_next_sets() {
    let (mut bed, memory) = bed(0);
    let first = send(&memory[0], 0).build().user_data(1);
    let next = send(&memory[1], 0).build().user_data(3);
    let completions = batch(&mut bed, [first, flush(0, 1, 7).user_data(2), next]);
    assert_eq!(completions.len(), 3, "{completions:?}");
    assert_eq!(transmit(&mut bed), [(TAGS[0], 0, 0)]);
    assert_eq!(bed.run(flush(0, 1, 0))[1], (7, 0, 1));
}

#[test]
fn a_flush_that_is_linked_to_a_send_has_it_in_the_set() {
    let (mut bed, memory) = bed(0);
    let linked = send(&memory[0], 0).build().user_data(1).flags(LINK);
    let completions = batch(&mut bed, [linked, flush(0, 1, 0).user_data(2)]);
    assert_eq!(completions, [(1, SLOT as i32, 0), (2, 0, 0)]);
    assert_eq!(transmit(&mut bed), [(TAGS[0], 0, 0)]);
}

#[test]
fn a_flush_that_is_linked_to_a_send_that_fails_flushes_nothing() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 0, 1);
    transmit(&mut bed);
    let nowhere = SendZc::new(types::Fixed(0), 0, memory[1].as_ptr(), SLOT as u32);
    let nowhere = nowhere.build().user_data(1).flags(LINK);
    let completions = batch(&mut bed, [nowhere, flush(0, 1, 0).user_data(2)]);
    let wanted = [(1, -libc::EDESTADDRREQ, 0), (2, -libc::ECANCELED, 0)];
    assert_eq!(completions, wanted);
    assert_eq!(bed.run(flush(0, 1, 0)), [(0, 0, 0), (TAGS[0], 0, 0)]);
}

#[test]
fn a_flush_that_is_refused_breaks_its_links() {
    let (mut bed, memory) = bed(0);
    let wrong = flush(3, 1, 0).user_data(1).flags(LINK);
    let behind = send(&memory[0], 0).build().user_data(2);
    let completions = batch(&mut bed, [wrong, behind]);
    assert_eq!(
        completions,
        [(1, -libc::EINVAL, 0), (2, -libc::ECANCELED, 0)]
    );
    assert_eq!(bed.run(flush(0, 1, 0)), [(0, 0, 0)], "nothing was bound");
}

#[test]
fn a_send_that_has_no_socket_is_bound_to_nothing() {
    let (mut bed, memory) = bed(0);
    let stray = SendZc::new(types::Fixed(3), 0, memory[0].as_ptr(), SLOT as u32);
    assert_eq!(bed.run(stray.build()), [(0, -libc::EBADF, 0)]);
    assert_eq!(bed.run(flush(0, 1, 0)), [(0, 0, 0)]);
}

#[test]
fn a_send_and_a_flush_by_a_worker_are_as_others() {
    let (mut bed, memory) = bed(0);
    let by_worker = send(&memory[0], 0).build().user_data(1);
    let completions = batch(
        &mut bed,
        [
            by_worker.flags(squeue::Flags::ASYNC),
            flush(0, 1, 0).user_data(2).flags(squeue::Flags::ASYNC),
        ],
    );
    assert_eq!(completions, [(1, SLOT as i32, 0), (2, 0, 0)]);
    assert_eq!(transmit(&mut bed), [(TAGS[0], 0, 0)]);
}

#[test]
fn a_flush_that_drains_has_all_earlier_sends_behind_it() {
    let (mut bed, row) = stream();
    let mut to = vec![0u8; row.len()];
    let recv = opcode::Recv::new(types::Fixed(3), to.as_mut_ptr(), row.len() as u32);
    let recv = recv.flags(libc::MSG_WAITALL).build().user_data(3);
    let all = long_send(&row).build().user_data(1);
    let drain = flush(0, 1, 0).user_data(2).flags(squeue::Flags::IO_DRAIN);
    assert_eq!(batch(&mut bed, [recv, all, drain]), []);
    let len = row.len() as i32;
    let wanted = [(1, len, 0), (3, len, 0), (2, 0, 0), (TAGS[0], 0, 0)];
    assert_eq!(pass_until(&mut bed, wanted.len()), wanted);
}

#[test]
fn a_send_that_waits_keeps_the_set_that_it_was_bound_to() {
    let (mut bed, row) = stream();
    assert_eq!(bed.run(long_send(&row).build().user_data(1)), []);
    assert_eq!(bed.run(flush(0, 1, 0).user_data(2)), [(2, 0, 0)]);
    // The next set ends first, by a flush that the waiting send did not ask for.
    queue(&mut bed, &[1; 10], 0, 3);
    assert_eq!(bed.run(flush(0, 1, 0)), [(0, 0, 0), (TAGS[0], 0, 1)]);
    let wanted = [(1, row.len() as i32, 0), (TAGS[0], 0, 0)];
    assert_eq!(read(&mut bed, row.len(), wanted.len()), wanted);
}

#[test]
fn a_send_that_waited_flushes_no_set_but_its_own() {
    let (mut bed, row) = stream();
    let all = long_send(&row).flush(true).build().user_data(1);
    assert_eq!(bed.run(all), []);
    bed.run(flush(0, 1, 0));
    queue(&mut bed, &[1; 10], 0, 3);
    let wanted = [(1, row.len() as i32, 0), (TAGS[0], 0, 0)];
    assert_eq!(
        read(&mut bed, row.len(), wanted.len()),
        wanted,
        "the next set is open"
    );
    assert_eq!(bed.run(flush(0, 1, 0)), [(0, 0, 0), (TAGS[0], 0, 1)]);
}

#[test]
fn a_send_that_a_timeout_ends_leaves_the_slot_open() {
    let (mut bed, row) = stream();
    let all = long_send(&row).flush(true).build().user_data(1);
    let time = types::Timespec::new().nsec(5_000_000);
    let timeout = opcode::LinkTimeout::new(&raw const time).build();
    assert_eq!(batch(&mut bed, [all.flags(LINK), timeout.user_data(2)]), []);
    pass(&mut bed, 10);
    let completions = bed.completions();
    let sent = completions.iter().find(|completion| completion.0 == 1);
    let sent = sent.expect("it has ended").1;
    assert!((1..row.len() as i32).contains(&sent), "{sent}");
    assert_eq!(completions.len(), 2, "{completions:?}");
    assert_eq!(read(&mut bed, sent as usize, 0), [], "all is acknowledged");
    assert_eq!(bed.run(flush(0, 1, 0)), [(0, 0, 0), (TAGS[0], 0, 0)]);
}

#[test]
fn sends_to_slots_are_cancelled_by_their_own_operation() {
    let (mut bed, row) = stream();
    assert_eq!(bed.run(long_send(&row).build().user_data(1)), []);
    let cancel = |operation: u8| {
        let cancel = Sqe {
            opcode: IORING_OP_ASYNC_CANCEL,
            len: operation.into(),
            op_flags: IORING_ASYNC_CANCEL_OP | IORING_ASYNC_CANCEL_ALL,
            user_data: 2,
            ..Sqe::default()
        };
        cancel.to_entry()
    };
    assert_eq!(bed.run(cancel(IORING_OP_SEND)), [(2, 0, 0)], "none is that");
    let completions = bed.run(cancel(RINGWIRE_OP_SEND_ZC_SLOT));
    assert_eq!((completions[0], completions[1].0), ((2, 1, 0), 1));
}

#[test]
fn a_notification_that_finds_the_queue_full_comes_later_in_order() {
    let (mut bed, memory) = bed(0);
    queue(&mut bed, &memory[0], 0, 1);
    transmit(&mut bed);
    for number in 0..u64::from(ENTRIES) - 1 {
        bed.push(opcode::Nop::new().build().user_data(number));
        bed.engine.submit(Instant::ZERO, 1);
    }
    bed.push(flush(0, 1, 0).user_data(50));
    bed.engine.submit(Instant::ZERO, 1);
    bed.push(opcode::Nop::new().build().user_data(51));
    bed.engine.submit(Instant::ZERO, 1);
    let there = bed.completions();
    assert_eq!(there.len(), ENTRIES as usize);
    assert_eq!(there[ENTRIES as usize - 1], (50, 0, 0));
    assert!(bed.engine.flush_overflow());
    assert_eq!(bed.completions(), [(TAGS[0], 0, 0), (51, 0, 0)]);
}

#[test]
fn unregistering_leaves_deferred_task_work_where_it_is() {
    let (mut bed, _) = bed(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    queue(&mut bed, &[1; 10], 0, 1);
    assert_eq!(bed.register_at(RINGWIRE_UNREGISTER_NOTIFIERS, 0, 0), Ok(0));
    assert_eq!(bed.completions(), [], "nobody asked for completions");
    bed.turn();
    assert_eq!(bed.completions(), [(TAGS[0], 0, 0)]);
}

#[test]
fn the_last_slot_can_be_used_and_the_whole_range_be_flushed() {
    let mut bed = Bed::new(0);
    let tags: Vec<u64> = (0..u64::from(MAX_NOTIFIER_SLOTS)).collect();
    assert_eq!(register_tags(&mut bed, &tags), Ok(0));
    let last = MAX_NOTIFIER_SLOTS - 1;
    let completions = bed.run(flush(0, MAX_NOTIFIER_SLOTS, 0));
    assert_eq!(completions, [(0, 0, 0)], "none has anything");
    assert_eq!(bed.run(flush(last, 2, 0)), [(0, -libc::EINVAL, 0)]);
    assert_eq!(bed.run(flush(last, 1, 0)), [(0, 0, 0)]);
}

/// A ring that is not enabled, with these operations allowed on direct descriptors, and slots.
fn restricted(operations: &[u8]) -> (Bed, Vec<ringwire_umem::Area>) {
    let (mut bed, memory) = bed(IORING_SETUP_R_DISABLED);
    let allow = |&arg| Restriction {
        opcode: IORING_RESTRICTION_SQE_OP,
        arg,
        ..Restriction::default()
    };
    let mut restrictions: Vec<_> = operations.iter().map(allow).collect();
    restrictions.push(Restriction {
        opcode: IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
        arg: IOSQE_FIXED_FILE,
        ..Restriction::default()
    });
    let (at, count) = (restrictions.as_ptr() as u64, restrictions.len() as u32);
    let result = bed.register_at(IORING_REGISTER_RESTRICTIONS, at, count);
    assert_eq!(result, Ok(0));
    (bed, memory)
}

#[test]
fn a_restricted_ring_takes_the_operation_that_is_named() {
    let (mut bed, memory) = restricted(&[RINGWIRE_OP_SEND_ZC_SLOT]);
    assert!(bed.engine.queues().enable());
    let silent = send(&memory[0], 0).flush(true).build().user_data(1);
    assert_eq!(bed.run(silent), [(1, SLOT as i32, 0)]);
    assert_eq!(bed.run(flush(0, 1, 0)), [(0, -libc::EACCES, 0)]);
    assert_eq!(transmit(&mut bed), [(TAGS[0], 0, 0)]);
}

#[test]
fn a_restricted_ring_refuses_the_operation_that_is_not_named() {
    let (mut bed, memory) = restricted(&[RINGWIRE_OP_FLUSH_SLOTS]);
    assert!(bed.engine.queues().enable());
    let refused = bed.run(send(&memory[0], 0).build());
    assert_eq!(refused, [(0, -libc::EACCES, 0)]);
    assert_eq!(bed.run(flush(0, 1, 0)), [(0, 0, 0)], "nothing was bound");
}

#[test]
fn slots_of_a_restricted_ring_are_registered_before_it_is_enabled() {
    let (mut bed, _) = restricted(&[]);
    let unregister = |bed: &mut Bed| bed.register_at(RINGWIRE_UNREGISTER_NOTIFIERS, 0, 0);
    assert_eq!(unregister(&mut bed), Ok(0));
    assert_eq!(register_tags(&mut bed, &TAGS), Ok(0));
    assert!(bed.engine.queues().enable());
    assert_eq!(unregister(&mut bed), Err(Errno::EACCES));
    assert_eq!(register_tags(&mut bed, &TAGS), Err(Errno::EACCES));
}

#[test]
fn no_other_private_operation_can_be_named_by_a_restriction() {
    let mut bed = Bed::new(IORING_SETUP_R_DISABLED);
    for arg in [RINGWIRE_OP_SEND_ZC_SLOT - 1, RINGWIRE_OP_WATCH + 1] {
        let restriction = Restriction {
            opcode: IORING_RESTRICTION_SQE_OP,
            arg,
            ..Restriction::default()
        };
        let at = &raw const restriction as u64;
        let result = bed.register_at(IORING_REGISTER_RESTRICTIONS, at, 1);
        assert_eq!(result, Err(Errno::EINVAL), "{arg}");
    }
}

use io_uring::{opcode, squeue, types};
use ringwire_abi::flags::{
    IORING_CQE_F_MORE as MORE, IORING_CQE_F_NOTIF as NOTIF, IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_TASKRUN_FLAG, IORING_SQ_TASKRUN,
};
use ringwire_abi::register::IORING_UNREGISTER_BUFFERS;
use ringwire_stack::Instant;

use super::super::zero_copy_bed::*;

const REPORT: u16 = 8;
const COPIED: i32 = i32::MIN;

/// A datagram to the group.
fn send(from: &[u8], user_data: u64) -> squeue::Entry {
    send_to_group(from).build().user_data(user_data)
}

fn send_to_group(from: &[u8]) -> opcode::SendZc {
    opcode::SendZc::new(types::Fixed(0), from.as_ptr(), from.len() as u32)
        .dest_addr(at(&GROUP))
        .dest_addr_len(16)
        .zc_flags(REPORT)
}

#[test]
fn the_notification_comes_with_the_last_descriptor() {
    let (mut bed, memory) = bed(0);
    assert_eq!(
        bed.run(send(&memory[0], 1)),
        [(1, SLOT as i32, MORE)],
        "queued"
    );
    bed.turn();
    let sent = bed.sent();
    assert_eq!(sent.len(), 1, "in place");
    bed.turn();
    assert_eq!(bed.completions(), []);
    bed.report_sent(&sent);
    bed.turn();
    assert_eq!(bed.completions(), [(1, 0, NOTIF)]);
    bed.report_sent(&sent);
    bed.turn();
    assert_eq!(bed.completions(), [], "nor does it come twice");
    assert_eq!(bed.engine.nic_counters().bad_tx_completions, 1);
}

#[test]
fn a_part_that_lies_elsewhere_has_a_datagram_copied_and_said_to_be() {
    let (mut bed, memory) = bed(0);
    let elsewhere = [7u8; 100];
    let parts = [&memory[0][..], &elsewhere].map(|bytes| libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    });
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_ptr().cast_mut();
    header.msg_iovlen = 2;
    header.msg_name = at(&GROUP).cast_mut().cast();
    header.msg_namelen = 16;
    let send = opcode::SendMsgZc::new(types::Fixed(0), &raw const header).ioprio(REPORT);
    let len = (SLOT + elsewhere.len()) as i32;
    assert_eq!(
        bed.run(send.build()),
        [(0, len, MORE), (0, COPIED, NOTIF)],
        "nothing is waited for"
    );
    bed.turn();
    bed.discard();
}

#[test]
fn what_is_linked_behind_goes_on_at_the_completion() {
    let (mut bed, memory) = bed(0);
    bed.push(send(&memory[0], 1).flags(squeue::Flags::IO_LINK));
    bed.push(opcode::Nop::new().build().user_data(2));
    bed.engine.submit(Instant::ZERO, 2);
    let completions = [(1, SLOT as i32, MORE), (2, 0, 0)];
    assert_eq!(bed.completions(), completions);
    bed.turn();
    let sent = bed.sent();
    bed.report_sent(&sent);
    bed.turn();
    assert_eq!(bed.completions(), [(1, 0, NOTIF)]);
}

#[test]
fn a_registered_buffer_is_told_of_behind_the_notification() {
    let (mut bed, memory) = bed(0);
    let tag = 77;
    register_buffer(&mut bed, &memory[0], tag);
    let fixed = send_to_group(&memory[0]).buf_index(Some(0)).build();
    assert_eq!(bed.run(fixed.user_data(1)), [(1, SLOT as i32, MORE)]);
    bed.register_at(IORING_UNREGISTER_BUFFERS, 0, 0).unwrap();
    bed.turn();
    assert_eq!(bed.completions(), [], "the NIC reads it");
    let sent = bed.sent();
    bed.report_sent(&sent);
    bed.turn();
    assert_eq!(bed.completions(), [(1, 0, NOTIF), (tag, 0, 0)]);
}

#[test]
fn deferred_task_work_has_notifications_wait_to_be_asked_for() {
    let flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    let (mut bed, memory) = bed(flags);
    let copied = [1u8; 10];
    let nop = || opcode::Nop::new().build().user_data(9);
    for (bytes, usage) in [(&memory[0][..], 0), (&copied[..], COPIED)] {
        assert_eq!(
            bed.run(send(bytes, 1)),
            [(1, bytes.len() as i32, MORE)],
            "{usage}"
        );
        bed.engine.turn_deferred(Instant::ZERO);
        let sent = bed.sent();
        bed.report_sent(&sent);
        bed.engine.turn_deferred(Instant::ZERO);
        assert_ne!(bed.engine.queues.sq_flags() & IORING_SQ_TASKRUN, 0);
        assert_eq!(bed.run(nop()), [(9, 0, 0)], "not asked for");
        bed.turn();
        assert_eq!(bed.completions(), [(1, usage, NOTIF)]);
        assert_eq!(bed.engine.queues.sq_flags() & IORING_SQ_TASKRUN, 0);
    }
}

#[test]
fn a_ring_can_go_with_memory_in_flight() {
    let (mut bed, memory) = bed(0);
    bed.run(send(&memory[0], 1));
    bed.turn();
    assert_eq!(bed.sent().len(), 1, "never reported");
    drop(bed);
    assert_eq!(memory[0].len(), SLOT);
}

#[test]
fn a_send_that_is_cancelled_half_way_is_notified_of_when_the_rest_was_read() {
    let (mut bed, row) = connection();
    let send = opcode::SendZc::new(types::Fixed(1), row.as_ptr(), row.len() as u32);
    let send = send.flags(libc::MSG_WAITALL).zc_flags(REPORT).build();
    assert_eq!(bed.run(send.user_data(1)), []);
    pass(&mut bed, 10);
    assert_eq!(bed.completions(), [], "it waits for room");
    let cancel = opcode::AsyncCancel::new(1).build().user_data(2);
    let mut completions = bed.run(cancel);
    pass(&mut bed, 100);
    completions.extend(bed.completions());
    assert_eq!((completions.len(), completions[0]), (2, (2, 0, 0)));
    let (user_data, queued, flags) = completions[1];
    assert_eq!((user_data, flags), (1, MORE));
    assert!((1..row.len() as i32).contains(&queued), "{queued}");
    let mut to = vec![0u8; queued as usize];
    let recv = opcode::Recv::new(types::Fixed(3), to.as_mut_ptr(), queued as u32);
    let recv = recv.flags(libc::MSG_WAITALL).build().user_data(3);
    let mut completions = bed.run(recv);
    completions.extend(pass_until(&mut bed, 2));
    completions.sort_unstable();
    assert_eq!(completions, [(1, COPIED, NOTIF), (3, queued, 0)]);
}

#[test]
fn spans_of_all_kinds_arrive_in_order() {
    let (mut bed, mut row) = connection();
    for (index, byte) in row.iter_mut().enumerate() {
        *byte = index as u8;
    }
    let elsewhere = *b"else";
    let parts = [
        &row[..10],
        &[],
        &row[4000..4200],
        &elsewhere,
        &[],
        &row[20..21],
    ];
    let iovecs = parts.map(|bytes| libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    });
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = iovecs.as_ptr().cast_mut();
    header.msg_iovlen = iovecs.len();
    let send = opcode::SendMsgZc::new(types::Fixed(1), &raw const header).build();
    let whole = parts.concat();
    let len = whole.len() as i32;
    assert_eq!(bed.run(send.user_data(1)), [(1, len, MORE)]);
    let mut to = vec![0u8; whole.len()];
    let recv = opcode::Recv::new(types::Fixed(3), to.as_mut_ptr(), len as u32);
    let recv = recv.flags(libc::MSG_WAITALL).build().user_data(2);
    let mut completions = bed.run(recv);
    pass(&mut bed, 10);
    pass(&mut bed, 60);
    completions.extend(bed.completions());
    completions.sort_unstable();
    assert_eq!(completions, [(1, 0, NOTIF), (2, len, 0)]);
    assert!(to == whole);
}

#[test]
fn a_socket_that_is_closed_with_memory_queued_notifies() {
    let (mut bed, row) = connection();
    let send = opcode::SendZc::new(types::Fixed(1), row.as_ptr(), row.len() as u32);
    let send = send.flags(libc::MSG_WAITALL).zc_flags(REPORT).build();
    assert_eq!(bed.run(send.user_data(1)), []);
    pass(&mut bed, 10);
    // The reader goes without having read: that resets the connection.
    let mut completions = bed.run(opcode::Close::new(types::Fixed(3)).build().user_data(2));
    pass(&mut bed, 100);
    completions.extend(bed.completions());
    let (user_data, sent, flags) = completions[1];
    assert_eq!((user_data, flags), (1, MORE));
    assert!(sent > 0, "{sent}");
    assert_eq!(
        (completions[0], completions[2]),
        ((2, 0, 0), (1, COPIED, NOTIF))
    );
}

use io_uring::{opcode, squeue, types};
use ringwire_abi::error_queue::ZeroCopyRange;
use ringwire_abi::flags::{IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER};
use ringwire_stack::Instant;
use ringwire_umem::Area;

use super::super::bed::Bed;
use super::super::zero_copy_bed::{self, GROUP, SLOT, at, connection, pass};
use super::MOST;
use crate::command;
use crate::msg_zerocopy::{ErrorMessage, RINGWIRE_SCM_ZC_NOTIFICATION, RangeArray};

const ZEROCOPY: i32 = libc::MSG_ZEROCOPY;
const EINVAL: i32 = -libc::EINVAL;
const ENOBUFS: i32 = -libc::ENOBUFS;

/// Has the socket in a slot number its sends, as SETSOCKOPT has it.
fn number_sends(bed: &mut Bed, slot: u32) {
    let socket = bed.engine.files.lookup(slot).unwrap();
    let mut options = bed.engine.stack.options(socket).unwrap();
    options.zero_copy = true;
    bed.engine.stack.set_options(socket, options).unwrap();
}

/// An engine with a UDP socket in slot 0 that numbers its sends, and memory in UMEM.
fn bed(setup_flags: u32) -> (Bed, Vec<Area>) {
    let (mut bed, memory) = zero_copy_bed::bed(setup_flags);
    number_sends(&mut bed, 0);
    (bed, memory)
}

/// A datagram to the group.
fn send(from: &[u8], flags: i32) -> squeue::Entry {
    opcode::Send::new(types::Fixed(0), from.as_ptr(), from.len() as u32)
        .flags(flags)
        .dest_addr(at(&GROUP))
        .dest_addr_len(16)
        .build()
}

fn numbered(bed: &mut Bed, from: &[u8]) {
    let completions = bed.run(send(from, ZEROCOPY));
    assert_eq!(completions, [(0, from.len() as i32, 0)], "no F_MORE");
}

fn no_message() -> libc::msghdr {
    libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: std::ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    }
}

/// A message to the group, and an array for ranges.
struct Message<const N: usize> {
    header: libc::msghdr,
    part: libc::iovec,
    array: RangeArray<N>,
}

impl<const N: usize> Message<N> {
    fn new(from: &[u8]) -> Box<Message<N>> {
        let part = libc::iovec {
            iov_base: from.as_ptr().cast_mut().cast(),
            iov_len: from.len(),
        };
        let header = no_message();
        let array = RangeArray::new();
        let mut message = Box::new(Message {
            header,
            part,
            array,
        });
        message.header.msg_name = at(&GROUP).cast_mut().cast();
        message.header.msg_namelen = 16;
        message
    }

    fn gather(&mut self) {
        (self.header.msg_iov, self.header.msg_iovlen) = (&raw mut self.part, 1);
    }

    fn entry(&mut self, slot: u32, flags: i32) -> squeue::Entry {
        self.gather();
        self.array.attach(&mut self.header);
        opcode::SendMsg::new(types::Fixed(slot), &raw const self.header)
            .flags(flags as u32)
            .build()
    }

    /// Sends without MSG_ZEROCOPY, and takes ranges.
    fn take(&mut self, bed: &mut Bed) -> Vec<(u32, u32, u8)> {
        let entry = self.entry(0, 0);
        assert_eq!(bed.run(entry), [(0, self.part.iov_len as i32, 0)]);
        self.taken()
    }

    fn taken(&self) -> Vec<(u32, u32, u8)> {
        self.array.taken(&self.header).iter().map(parts).collect()
    }
}

fn parts(range: &ZeroCopyRange) -> (u32, u32, u8) {
    (range.lo, range.hi, range.zerocopy)
}

/// The next entry of the error queue, if there is one.
fn queued(bed: &mut Bed) -> Option<(u32, u32, u8)> {
    let mut header = no_message();
    let mut error = ErrorMessage::new();
    error.attach(&mut header);
    let flags = (libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) as u32;
    let entry = opcode::RecvMsg::new(types::Fixed(0), &raw mut header).flags(flags);
    match bed.run(entry.build())[..] {
        [(0, 0, 0)] => Some(parts(&error.range(&header).expect("a notification"))),
        [(0, res, 0)] if res == -libc::EAGAIN => None,
        ref other => panic!("no result of a receive from the error queue: {other:?}"),
    }
}

fn all_queued(bed: &mut Bed) -> Vec<(u32, u32, u8)> {
    std::iter::from_fn(|| queued(bed)).collect()
}

/// Has the NIC send all that it was given, and report it.
fn transmit(bed: &mut Bed) {
    bed.turn();
    let sent = bed.sent();
    bed.report_sent(&sent);
    bed.turn();
    assert_eq!(bed.completions(), []);
}

#[test]
fn what_follows_one_another_is_one_entry() {
    let (mut bed, memory) = bed(0);
    for slot in &memory[..3] {
        numbered(&mut bed, slot);
    }
    transmit(&mut bed);
    assert_eq!(all_queued(&mut bed), [(0, 2, 1)]);
    numbered(&mut bed, &memory[0]);
    transmit(&mut bed);
    assert_eq!(all_queued(&mut bed), [(3, 3, 1)]);
}

#[test]
fn a_number_is_told_when_the_nic_has_sent_and_not_before() {
    let (mut bed, memory) = bed(0);
    numbered(&mut bed, &memory[0]);
    bed.turn();
    let sent = bed.sent();
    bed.turn();
    assert_eq!(queued(&mut bed), None, "the NIC reads it still");
    bed.report_sent(&sent);
    bed.turn();
    assert_eq!(queued(&mut bed), Some((0, 0, 1)));
}

#[test]
fn entries_are_in_the_order_of_the_end() {
    let (mut bed, memory) = bed(0);
    numbered(&mut bed, &memory[0]);
    numbered(&mut bed, &memory[1]);
    bed.turn();
    let sent = bed.sent();
    bed.report_sent(&sent[1..]);
    bed.turn();
    bed.report_sent(&sent[..1]);
    bed.turn();
    assert_eq!(all_queued(&mut bed), [(1, 1, 1), (0, 0, 1)]);
}

#[test]
fn what_was_copied_stands_apart() {
    let (mut bed, memory) = bed(0);
    numbered(&mut bed, &memory[0]);
    transmit(&mut bed);
    for _ in 0..2 {
        numbered(&mut bed, b"not in a registered area");
    }
    numbered(&mut bed, &memory[1]);
    transmit(&mut bed);
    assert_eq!(
        all_queued(&mut bed),
        [(0, 0, 1), (1, 2, 0), (3, 3, 1)],
        "0 by its copy, 1 by its place"
    );
}

#[test]
fn numbers_wrap() {
    let (mut bed, memory) = bed(0);
    let socket = bed.engine.files.lookup(0).unwrap();
    bed.engine.files.get(socket).unwrap().errors().next = u32::MAX;
    numbered(&mut bed, &memory[0]);
    numbered(&mut bed, &memory[1]);
    transmit(&mut bed);
    assert_eq!(all_queued(&mut bed), [(u32::MAX, 0, 1)]);
}

#[test]
fn sends_beyond_the_most_find_no_room() {
    let (mut bed, _) = bed(0);
    let socket = bed.engine.files.lookup(0).unwrap();
    let queue = bed.engine.files.get(socket).unwrap().errors();
    // Two entries that do not follow one another take a place each.
    (0..MOST as u32 - 1).for_each(|number| queue.add(2 * number, true));
    numbered(&mut bed, b"the last");
    assert_eq!(bed.run(send(b"one more", ZEROCOPY)), [(0, ENOBUFS, 0)]);
    assert_eq!(bed.run(send(b"plain", 0)), [(0, 5, 0)], "not numbered");
    assert!(queued(&mut bed).is_some());
    numbered(&mut bed, b"in its place");
}

#[test]
fn sends_that_are_not_repaid_take_room() {
    let (mut bed, memory) = bed(0);
    let socket = bed.engine.files.lookup(0).unwrap();
    let queue = bed.engine.files.get(socket).unwrap().errors();
    (0..MOST as u32 - 1).for_each(|number| queue.add(2 * number, true));
    numbered(&mut bed, &memory[0]);
    assert_eq!(bed.run(send(&memory[1], ZEROCOPY)), [(0, ENOBUFS, 0)]);
    let mut array = Message::<16>::new(b"x");
    assert_eq!(array.take(&mut bed).len(), 16);
    numbered(&mut bed, &memory[1]);
}

#[test]
fn a_failed_send_gives_its_place_back() {
    let (mut bed, memory) = bed(0);
    let bad = opcode::Send::new(types::Fixed(0), memory[0].as_ptr(), SLOT as u32);
    let bad = bad.flags(ZEROCOPY).build();
    for _ in 0..2 * MOST {
        assert_eq!(bed.run(bad.clone()), [(0, -libc::EDESTADDRREQ, 0)]);
    }
    numbered(&mut bed, &memory[0]);
    transmit(&mut bed);
    assert_eq!(all_queued(&mut bed), [(0, 0, 1)], "none of them had one");
}

#[test]
fn nothing_is_said_of_a_closed_socket() {
    let (mut bed, memory) = bed(0);
    numbered(&mut bed, &memory[0]);
    bed.turn();
    let sent = bed.sent();
    assert_eq!(
        bed.run(opcode::Close::new(types::Fixed(0)).build()),
        [(0, 0, 0)]
    );
    // The next socket has its place, and has sent nothing.
    let opened = bed.run(zero_copy_bed::socket(0, libc::SOCK_DGRAM));
    assert_eq!(opened, [(0, 0, 0)]);
    bed.report_sent(&sent);
    bed.turn();
    assert_eq!(queued(&mut bed), None);
}

#[test]
fn ranges_come_back_with_the_next_send() {
    let (mut bed, memory) = bed(0);
    let mut message = Message::<4>::new(&memory[3]);
    assert_eq!(message.take(&mut bed), [], "there are none");
    assert_eq!(message.header.msg_controllen, 0);
    numbered(&mut bed, &memory[0]);
    numbered(&mut bed, &memory[1]);
    transmit(&mut bed);
    assert_eq!(message.take(&mut bed), [(0, 1, 1)]);
    assert_eq!(message.header.msg_controllen, 32, "CMSG_SPACE(12)");
    assert_eq!(queued(&mut bed), None, "told once");
}

#[test]
fn a_send_that_was_copied_finds_its_own_number() {
    let (mut bed, _) = bed(0);
    let mut message = Message::<1>::new(b"not in a registered area");
    for number in 0..3 {
        let entry = message.entry(0, ZEROCOPY);
        assert_eq!(bed.run(entry), [(0, 24, 0)]);
        assert_eq!(message.taken(), [(number, number, 0)]);
    }
}

#[test]
fn a_send_in_place_does_not_find_its_own_number() {
    let (mut bed, memory) = bed(0);
    let mut message = Message::<1>::new(&memory[0]);
    for number in 0..3 {
        let entry = message.entry(0, ZEROCOPY);
        assert_eq!(bed.run(entry), [(0, SLOT as i32, 0)]);
        let before = (number > 0).then(|| (number - 1, number - 1, 1));
        assert_eq!(message.taken(), Vec::from_iter(before));
        transmit(&mut bed);
    }
}

#[test]
fn what_does_not_fit_stays_for_the_next_send_and_for_the_queue() {
    let (mut bed, memory) = bed(0);
    for _ in 0..3 {
        numbered(&mut bed, b"copied");
        numbered(&mut bed, &memory[0]);
        transmit(&mut bed);
    }
    let mut message = Message::<2>::new(b"x");
    assert_eq!(message.take(&mut bed), [(0, 0, 0), (1, 1, 1)]);
    assert_eq!(message.header.msg_controllen, 40, "CMSG_SPACE(24)");
    assert_eq!(queued(&mut bed), Some((2, 2, 0)));
    assert_eq!(message.take(&mut bed), [(3, 3, 1), (4, 4, 0)]);
    assert_eq!(message.take(&mut bed), [(5, 5, 1)]);
    assert_eq!(message.take(&mut bed), []);
}

#[test]
fn a_failed_send_takes_no_ranges() {
    let (mut bed, memory) = bed(0);
    numbered(&mut bed, b"copied");
    let mut message = Message::<2>::new(&memory[0]);
    message.header.msg_namelen = 0;
    message.header.msg_name = std::ptr::null_mut();
    let entry = message.entry(0, ZEROCOPY);
    assert_eq!(bed.run(entry), [(0, -libc::EDESTADDRREQ, 0)]);
    assert_eq!(message.header.msg_controllen, 40, "as it was");
    assert_eq!(queued(&mut bed), Some((0, 0, 0)));
}

#[test]
fn a_silent_send_takes_ranges() {
    let (mut bed, memory) = bed(0);
    numbered(&mut bed, b"copied");
    let mut message = Message::<2>::new(&memory[0]);
    let entry = message.entry(0, 0).flags(squeue::Flags::SKIP_SUCCESS);
    assert_eq!(bed.run(entry), []);
    assert_eq!(message.taken(), [(0, 0, 0)]);
}

#[test]
fn the_array_stands_among_other_control_messages() {
    let (mut bed, _) = bed(0);
    numbered(&mut bed, b"copied");
    let mut message = Message::<1>::new(b"with a hop limit");
    message.array.attach(&mut message.header);
    #[repr(C)]
    struct Two {
        ttl: (libc::cmsghdr, i32, i32),
        array: RangeArray<1>,
    }
    let cmsg_type = libc::IP_TTL;
    let (cmsg_len, cmsg_level) = (20, libc::SOL_IP);
    let header = libc::cmsghdr {
        cmsg_len,
        cmsg_level,
        cmsg_type,
    };
    let mut two = Two {
        ttl: (header, 9, 0),
        array: RangeArray::new(),
    };
    message.header.msg_control = (&raw mut two).cast();
    message.header.msg_controllen = size_of::<Two>();
    message.gather();
    let entry = opcode::SendMsg::new(types::Fixed(0), &raw const message.header);
    assert_eq!(bed.run(entry.build()), [(0, 16, 0)]);
    assert_eq!(message.header.msg_controllen, 24 + 32);
    let taken = two.array.taken(&message.header).iter().map(parts);
    assert_eq!(taken.collect::<Vec<_>>(), [(0, 0, 0)]);
}

/// Runs a message with a control message of so many bytes, with what is written into the first ones.
fn with_control(bed: &mut Bed, data_bytes: usize, len: usize) -> i32 {
    let mut control = vec![0u64; 64];
    let head = [
        len as u64,
        ((RINGWIRE_SCM_ZC_NOTIFICATION as u64) << 32) | libc::SOL_SOCKET as u64,
    ];
    control[..2].copy_from_slice(&head);
    let mut message = Message::<1>::new(b"x");
    message.header.msg_control = control.as_mut_ptr().cast();
    message.header.msg_controllen = 16 + data_bytes;
    message.gather();
    let entry = opcode::SendMsg::new(types::Fixed(0), &raw const message.header);
    let completions = bed.run(entry.build());
    assert_eq!(completions.len(), 1);
    completions[0].1
}

#[test]
fn an_array_has_one_to_sixteen_whole_elements() {
    let (mut bed, _) = bed(0);
    for (bytes, res) in [
        (0, EINVAL),
        (11, EINVAL),
        (12, 1),
        (13, EINVAL),
        (16, EINVAL),
        (192, 1),
        (204, EINVAL),
    ] {
        assert_eq!(with_control(&mut bed, bytes, 16 + bytes), res, "{bytes}");
    }
    for len in [0, 15, 29, usize::MAX] {
        assert_eq!(with_control(&mut bed, 12, len), EINVAL, "{len}");
    }
}

#[test]
fn an_array_needs_a_socket_that_numbers_its_sends() {
    let (mut bed, memory) = zero_copy_bed::bed(0);
    let mut message = Message::<1>::new(&memory[0]);
    let entry = message.entry(0, ZEROCOPY);
    assert_eq!(bed.run(entry), [(0, EINVAL, 0)]);
    number_sends(&mut bed, 0);
    let entry = message.entry(0, ZEROCOPY);
    assert_eq!(bed.run(entry), [(0, SLOT as i32, 0)]);
}

#[test]
fn a_send_with_its_own_notification_takes_no_array() {
    let (mut bed, memory) = bed(0);
    let mut message = Message::<1>::new(&memory[0]);
    message.gather();
    message.array.attach(&mut message.header);
    let entry = opcode::SendMsgZc::new(types::Fixed(0), &raw const message.header);
    let completions = bed.run(entry.build());
    assert_eq!(completions, [(0, EINVAL, 2), (0, 0, 8)]);
}

#[test]
fn a_stream_tells_what_the_peer_has_acknowledged() {
    let (mut bed, row) = connection();
    number_sends(&mut bed, 1);
    let entry = opcode::Send::new(types::Fixed(1), row.as_ptr(), 1000);
    assert_eq!(
        bed.run(entry.flags(ZEROCOPY).build()),
        [(0, 1000, 0)],
        "queued"
    );
    let mut message = Message::<4>::new(b"behind it");
    message.header.msg_name = std::ptr::null_mut();
    let entry = message.entry(1, 0);
    assert_eq!(bed.run(entry), [(0, 9, 0)]);
    assert_eq!(message.taken(), [], "not acknowledged");
    for from in [10, 60, 110] {
        pass(&mut bed, from);
        let sent = bed.sent();
        bed.report_sent(&sent);
    }
    pass(&mut bed, 160);
    let entry = message.entry(1, 0);
    assert_eq!(bed.run(entry), [(0, 9, 0)]);
    assert_eq!(message.taken(), [(0, 0, 0)], "delivered by a copy");
}

#[test]
fn notifications_of_a_batch_that_defers_wait_for_a_turn() {
    let (mut bed, _) = bed(IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER);
    let poll = opcode::PollAdd::new(types::Fixed(0), 0);
    bed.push(poll.build().user_data(1));
    bed.push(send(b"copied", ZEROCOPY).user_data(2));
    bed.engine.submit(Instant::ZERO, 2);
    bed.turn();
    let completions = bed.completions();
    assert_eq!(completions, [(2, 6, 0), (1, libc::POLLERR.into(), 0)]);
}

#[test]
fn a_multishot_poll_hears_once_of_what_ends_at_once() {
    let (mut bed, memory) = bed(0);
    let poll = opcode::PollAdd::new(types::Fixed(0), 0).multi(true).build();
    assert_eq!(bed.run(poll.user_data(1)), []);
    for slot in &memory[..3] {
        numbered(&mut bed, slot);
    }
    bed.turn();
    let sent = bed.sent();
    bed.report_sent(&sent);
    bed.turn();
    assert_eq!(bed.completions(), [(1, libc::POLLERR.into(), 2)]);
    numbered(&mut bed, &memory[0]);
    bed.turn();
    let sent = bed.sent();
    bed.report_sent(&sent);
    bed.turn();
    assert_eq!(bed.completions(), [(1, libc::POLLERR.into(), 2)]);
}

#[test]
fn the_option_is_read_as_it_was_set() {
    let (mut bed, _) = bed(0);
    let mut value = [0u8; 4];
    let name = (libc::SOL_SOCKET, libc::SO_ZEROCOPY);
    let to = value.as_mut_ptr().cast();
    let entry = command::get_sock_opt(types::Fixed(0), name.0, name.1, to, 4);
    assert_eq!(bed.run(entry), [(0, 4, 0)]);
    assert_eq!(value, 1i32.to_ne_bytes());
}

#[test]
fn a_receive_waits_on_while_a_number_of_a_dead_connection_is_missing() {
    let (mut bed, row) = connection();
    number_sends(&mut bed, 1);
    let entry = opcode::Send::new(types::Fixed(1), row.as_ptr(), 1000);
    assert_eq!(bed.run(entry.flags(ZEROCOPY).build()), [(0, 1000, 0)]);
    let mut header = no_message();
    let mut error = ErrorMessage::new();
    error.attach(&mut header);
    let receive = opcode::RecvMsg::new(types::Fixed(1), &raw mut header);
    let receive = receive.flags(libc::MSG_ERRQUEUE as u32).build();
    assert_eq!(bed.run(receive.clone().user_data(1)), []);
    bed.engine.reset_all(Instant::ZERO);
    pass(&mut bed, 10);
    let sent = bed.sent();
    bed.report_sent(&sent);
    pass(&mut bed, 60);
    let completions = bed.completions();
    assert_eq!(completions, [(1, 0, 0)], "the number, and not EAGAIN");
    assert_eq!(error.range(&header).map(|range| range.lo), Some(0));
    assert_eq!(
        bed.run(receive.user_data(2)),
        [(2, -libc::EAGAIN, 0)],
        "nothing more is to come"
    );
}

#[test]
fn each_part_of_a_bundle_has_a_number() {
    let (mut bed, _) = connection();
    number_sends(&mut bed, 1);
    // Of those that requests provide one is taken at a time.
    let payload = [7u8; 20];
    let provide = opcode::ProvideBuffers::new(payload.as_ptr().cast_mut(), 4, 5, 9, 0);
    assert_eq!(bed.run(provide.build()), [(0, 0, 0)]);
    let bundle = opcode::SendBundle::new(types::Fixed(1), 9).flags(ZEROCOPY);
    let completions = bed.run(bundle.build());
    let sent = completions.iter().map(|completion| completion.1);
    assert_eq!(sent.collect::<Vec<_>>(), [4; 5]);
    let mut header = no_message();
    let mut error = ErrorMessage::new();
    error.attach(&mut header);
    let receive = opcode::RecvMsg::new(types::Fixed(1), &raw mut header);
    let receive = receive.flags(libc::MSG_ERRQUEUE as u32).build();
    assert_eq!(bed.run(receive), [(0, 0, 0)]);
    let range = error.range(&header).expect("a notification");
    assert_eq!(parts(&range), (0, 4, 0));
}

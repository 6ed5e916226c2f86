//! MSG_ZEROCOPY: what is numbered, and what comes out of the error queue. Nothing is sent from where it lies: the
//! kernel copies for a peer on the same machine, and ringwire what is not in its memory.

use ringwire::msg_zerocopy::RangeArray;

use super::*;

pub const CASES: &[Case] = &[
    case("msg_zerocopy_option", option),
    case("msg_zerocopy_option_is_the_listeners", inherited),
    case(
        "msg_zerocopy_option_of_a_listener_that_is_set_late",
        inherited_late,
    ),
    case("msg_zerocopy_datagrams", datagrams),
    case("msg_zerocopy_messages", messages),
    case("msg_zerocopy_to_a_connection", to_connection),
    case("msg_zerocopy_without_the_option", without_option),
    case("msg_zerocopy_of_nothing", nothing),
    case("msg_zerocopy_that_fails_has_no_number", failures),
    case("msg_zerocopy_beside_notifications", beside_notifications),
    case("msg_zerocopy_over_ipv6", over_ipv6),
    case("error_queue_and_room_for_control", room_for_control),
    case("error_queue_waits", waits),
    case("error_queue_in_recv", in_recv),
    case("error_queue_and_links", links),
    case("error_queue_into_provided_buffers", provided),
    case("error_queue_multishot", multishot),
    case("error_queue_polls_first", polls_first),
    case("error_queue_and_poll", polls),
    case("error_queue_and_multishot_poll", multishot_polls),
    case("error_queue_and_receives", receives),
    case("error_queue_and_a_closed_descriptor", closed),
    case("error_queue_beside_data", beside_data),
];

const ZEROCOPY: (i32, i32) = (libc::SOL_SOCKET, libc::SO_ZEROCOPY);
pub const NO_WAIT: i32 = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;

/// A receive from the error queue, and the memory of its message.
pub struct Errors {
    pub header: libc::msghdr,
    name: [u8; 32],
    control: [u8; 128],
}

impl Errors {
    pub fn with_room(room: usize) -> Box<Errors> {
        let mut errors = Box::new(Errors {
            // SAFETY: all zeroes is a valid msghdr.
            header: unsafe { std::mem::zeroed() },
            name: [0xaa; 32],
            control: [0xaa; 128],
        });
        errors.header.msg_name = errors.name.as_mut_ptr().cast();
        errors.header.msg_namelen = 32;
        errors.header.msg_control = errors.control.as_mut_ptr().cast();
        errors.header.msg_controllen = room;
        errors.header.msg_flags = -1;
        errors
    }

    pub fn new() -> Box<Errors> {
        Errors::with_room(128)
    }

    pub fn entry(&mut self, slot: u32, flags: i32) -> squeue::Entry {
        opcode::RecvMsg::new(types::Fixed(slot), &raw mut self.header)
            .flags(flags as u32)
            .build()
    }
}

impl Bench {
    pub fn say_errors(&mut self, errors: &Errors) {
        let header = errors.header;
        let lengths = (header.msg_namelen, header.msg_controllen);
        self.say((lengths, header.msg_flags, errors.name[0]));
        self.say(&errors.control[..72]);
    }

    /// What is in the error queue now.
    pub fn errors(&mut self, slot: u32, user_data: u64) {
        let mut errors = Errors::new();
        self.run(errors.entry(slot, NO_WAIT), user_data);
        self.say_errors(&errors);
    }

    pub fn number_sends(&mut self, slot: u32) {
        self.set_int(slot, ZEROCOPY, 1, 800);
    }

    /// A datagram socket in slot 0 that numbers its sends to the peer.
    pub fn numbered(&mut self) {
        self.bound();
        let peer = v4(PEER_V4, self.peer.local_addr().unwrap().port());
        self.run(connect_entry(0, &peer), 801);
        self.number_sends(0);
        // The peer's Ethernet address is known from here on.
        self.run(send_on(0, b"first", 0), 802);
        self.at_peer();
    }
}

pub fn zero_copy(slot: u32, bytes: &[u8]) -> squeue::Entry {
    send_on(slot, bytes, libc::MSG_ZEROCOPY)
}

fn option(bench: &mut Bench) {
    bench.bound();
    bench.get_int(0, ZEROCOPY, 1);
    for value in [1, 2, -1, 0, 1] {
        bench.set_int(0, ZEROCOPY, value, 2);
        bench.get_int(0, ZEROCOPY, 3);
    }
    bench.set(0, ZEROCOPY, &[0; 3], 4);
    bench.get(0, ZEROCOPY, 2, 5);
    bench.stream_socket(libc::AF_INET6, 1, 6);
    bench.set_int(1, ZEROCOPY, 1, 7);
    bench.get_int(1, ZEROCOPY, 8);
}

fn inherited(bench: &mut Bench) {
    bench.listener(4);
    bench.number_sends(0);
    let mut stream = bench.peer_connects();
    bench.run(accept_entry(0, Some(1)), 1);
    bench.get_int(1, ZEROCOPY, 2);
    for _ in 0..2 {
        bench.run(zero_copy(1, b"numbered"), 3);
        bench.peer_reads(&mut stream, 8);
    }
    let mut second = bench.peer_connects();
    bench.run(accept_entry(0, Some(2)), 4);
    bench.run(zero_copy(2, b"from 0 on"), 5);
    bench.peer_reads(&mut second, 9);
    let mut errors = Errors::new();
    bench.run(errors.entry(2, libc::MSG_ERRQUEUE), 6);
    bench.say_errors(&errors);
    bench.set_int(0, ZEROCOPY, 0, 7);
    bench.get_int(1, ZEROCOPY, 8);
}

fn inherited_late(bench: &mut Bench) {
    bench.listener(4);
    let _early = bench.peer_connects();
    bench.number_sends(0);
    let _late = bench.peer_connects();
    bench.set_int(0, ZEROCOPY, 0, 1);
    bench.run(accept_entry(0, Some(1)), 2);
    bench.get_int(1, ZEROCOPY, 3);
    bench.run(accept_entry(0, Some(2)), 4);
    bench.get_int(2, ZEROCOPY, 5);
}

fn datagrams(bench: &mut Bench) {
    bench.numbered();
    bench.errors(0, 1);
    bench.run(zero_copy(0, b"one"), 2);
    bench.at_peer();
    bench.errors(0, 3);
    bench.errors(0, 4);
    // What follows one another is one entry.
    for bytes in [&b"two"[..], b"three", b"four"] {
        bench.run(zero_copy(0, bytes), 5);
        bench.at_peer();
    }
    bench.run(send_on(0, b"not numbered", 0), 6);
    bench.run(zero_copy(0, b"five"), 7);
    bench.at_peer();
    bench.at_peer();
    bench.errors(0, 8);
    bench.errors(0, 9);
    let long = counted(65_507);
    bench.run(zero_copy(0, &long), 10);
    bench.at_peer();
    bench.errors(0, 11);
}

fn messages(bench: &mut Bench) {
    bench.numbered();
    let parts = [&b"in "[..], b"", b"parts"].map(|bytes| libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    });
    let mut header = Errors::with_room(0).header;
    (header.msg_name, header.msg_control) = (std::ptr::null_mut(), std::ptr::null_mut());
    header.msg_iov = parts.as_ptr().cast_mut();
    for count in [3, 1, 0] {
        header.msg_iovlen = count;
        let send = opcode::SendMsg::new(types::Fixed(0), &header);
        bench.run(send.flags(libc::MSG_ZEROCOPY as u32).build(), 1);
        bench.at_peer();
    }
    bench.errors(0, 2);
}

fn to_connection(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.number_sends(1);
    for round in 0..3 {
        bench.run(zero_copy(1, b"numbered"), 1);
        let got = bench.peer_reads(&mut stream, 8);
        bench.say(got);
        let mut errors = Errors::new();
        bench.run(errors.entry(1, libc::MSG_ERRQUEUE), 2 + round);
        bench.say_errors(&errors);
    }
    bench.errors(1, 9);
}

fn without_option(bench: &mut Bench) {
    bench.numbered();
    bench.set_int(0, ZEROCOPY, 0, 1);
    bench.run(zero_copy(0, b"not numbered"), 2);
    bench.at_peer();
    bench.errors(0, 3);
    bench.number_sends(0);
    bench.run(zero_copy(0, b"numbered"), 4);
    bench.at_peer();
    // What is in the queue stays there, and the number goes on.
    bench.set_int(0, ZEROCOPY, 0, 5);
    bench.errors(0, 6);
    bench.number_sends(0);
    bench.run(zero_copy(0, b"numbered"), 7);
    bench.at_peer();
    bench.errors(0, 8);
}

fn nothing(bench: &mut Bench) {
    bench.numbered();
    bench.run(zero_copy(0, b""), 1);
    bench.at_peer();
    bench.errors(0, 2);
    bench.run(zero_copy(0, b"something"), 3);
    bench.at_peer();
    bench.errors(0, 4);
}

fn failures(bench: &mut Bench) {
    bench.numbered();
    bench.run(zero_copy(0, b"good"), 1);
    let long = counted(65_508);
    bench.run(zero_copy(0, &long), 2);
    let nowhere = opcode::Send::new(types::Fixed(0), 8 as *const u8, 4);
    bench.run(nowhere.flags(libc::MSG_ZEROCOPY).build(), 3);
    bench.run(zero_copy(0, b"good"), 4);
    bench.at_peer();
    bench.at_peer();
    bench.errors(0, 5);
    bench.stream_socket(libc::AF_INET, 2, 6);
    bench.number_sends(2);
    bench.run(zero_copy(2, b"unconnected"), 7);
    bench.errors(2, 8);
}

fn beside_notifications(bench: &mut Bench) {
    bench.numbered();
    let send = opcode::SendZc::new(types::Fixed(0), b"its own".as_ptr(), 7);
    bench.push(send.flags(libc::MSG_ZEROCOPY).build(), 1);
    bench.wait(2);
    bench.at_peer();
    bench.run(zero_copy(0, b"numbered"), 2);
    bench.at_peer();
    bench.errors(0, 3);
}

fn over_ipv6(bench: &mut Bench) {
    bench.files();
    let six = v6(PEER_V6, bench.peer_v6.local_addr().unwrap().port());
    let mapped = format!("::ffff:{PEER_V4}");
    let four = v6(&mapped, bench.peer.local_addr().unwrap().port());
    for (slot, address) in [(0, &six), (1, &four)] {
        bench.run(socket(libc::AF_INET6, slot), 1);
        let to = std::ptr::from_ref(address).cast();
        bench.run(opcode::Connect::new(types::Fixed(slot), to, 28).build(), 2);
        bench.number_sends(slot);
        bench.run(zero_copy(slot, b"numbered"), 3);
        let peer = if slot == 0 {
            &bench.peer_v6
        } else {
            &bench.peer
        };
        let peer = peer.try_clone().expect("the peer's socket");
        let received = bench.received_by(&peer);
        bench.say(received);
        let mut errors = Errors::new();
        bench.run(errors.entry(slot, libc::MSG_ERRQUEUE), 4);
        bench.say_errors(&errors);
    }
}

fn room_for_control(bench: &mut Bench) {
    bench.numbered();
    for room in [0, 1, 15, 16, 17, 31, 32, 47, 48, 49, 128] {
        bench.run(zero_copy(0, b"numbered"), 1);
        bench.at_peer();
        let mut errors = Errors::with_room(room);
        bench.run(errors.entry(0, NO_WAIT), 2);
        bench.say_errors(&errors);
    }
    bench.run(zero_copy(0, b"numbered"), 3);
    bench.at_peer();
    let mut errors = Errors::new();
    errors.header.msg_name = std::ptr::null_mut();
    errors.header.msg_control = std::ptr::null_mut();
    bench.run(errors.entry(0, NO_WAIT), 4);
    bench.say_errors(&errors);
    bench.run(zero_copy(0, b"numbered"), 5);
    bench.at_peer();
    let mut errors = Errors::new();
    errors.header.msg_control = 8 as *mut _;
    bench.run(errors.entry(0, NO_WAIT), 6);
    bench.say_errors(&errors);
}

fn waits(bench: &mut Bench) {
    bench.numbered();
    let mut first = Errors::new();
    bench.push(first.entry(0, libc::MSG_ERRQUEUE), 1);
    bench.submit();
    bench.run(opcode::Nop::new().build(), 2);
    bench.push(zero_copy(0, b"numbered"), 3);
    bench.wait_for_each(2);
    bench.say_errors(&first);
    bench.at_peer();
    let mut second = Errors::new();
    bench.push(second.entry(0, libc::MSG_ERRQUEUE), 4);
    bench.submit();
    bench.cancel(4);
    bench.wait(2);
    let time = types::Timespec::new().nsec(1_000_000);
    bench.push(second.entry(0, libc::MSG_ERRQUEUE).flags(link()), 5);
    bench.push(opcode::LinkTimeout::new(&time).build(), 6);
    bench.wait_for_each(2);
    bench.run(zero_copy(0, b"numbered"), 7);
    bench.at_peer();
    bench.errors(0, 8);
}

fn in_recv(bench: &mut Bench) {
    bench.numbered();
    let mut buffer = [0xaa; 16];
    bench.run(recv_flags(&mut buffer, NO_WAIT), 1);
    for flags in [0, libc::MSG_PEEK, libc::MSG_TRUNC] {
        bench.run(zero_copy(0, b"numbered"), 2);
        bench.at_peer();
        bench.run(recv_flags(&mut buffer, NO_WAIT | flags), 3);
    }
    bench.say(buffer);
    bench.errors(0, 4);
    let mut stream_case = [0; 4];
    bench.stream_socket(libc::AF_INET, 2, 5);
    bench.run(recv_on(2, &mut stream_case, NO_WAIT), 6);
    bench.run(recv_on(2, &mut stream_case, NO_WAIT | libc::MSG_OOB), 7);
}

fn links(bench: &mut Bench) {
    bench.numbered();
    let mut buffer = [0; 16];
    let mut errors = [Errors::new(), Errors::with_room(20), Errors::new()];
    for (index, flags) in [(0, 0), (0, libc::MSG_WAITALL), (1, libc::MSG_WAITALL)] {
        bench.run(zero_copy(0, b"numbered"), 1);
        bench.at_peer();
        bench.push(errors[index].entry(0, NO_WAIT | flags).flags(link()), 2);
        bench.push(opcode::Nop::new().build(), 3);
        bench.wait_for_each(2);
    }
    for flags in [0, libc::MSG_WAITALL] {
        bench.run(zero_copy(0, b"numbered"), 4);
        bench.at_peer();
        bench.push(recv_flags(&mut buffer, NO_WAIT | flags).flags(link()), 5);
        bench.push(opcode::Nop::new().build(), 6);
        bench.wait_for_each(2);
    }
    bench.run(zero_copy(0, b"numbered"), 7);
    bench.at_peer();
    let part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: 16,
    };
    errors[2].header.msg_iov = std::ptr::from_ref(&part).cast_mut();
    errors[2].header.msg_iovlen = 1;
    let all = errors[2].entry(0, NO_WAIT | libc::MSG_WAITALL);
    bench.push(all.flags(link()), 8);
    bench.push(opcode::Nop::new().build(), 9);
    bench.wait_for_each(2);
}

fn provided(bench: &mut Bench) {
    bench.numbered();
    bench.buffer_ring(0);
    bench.run(zero_copy(0, b"numbered"), 1);
    bench.at_peer();
    bench.run(recv_group(0, 0, 0, NO_WAIT), 2);
    bench.provide(7, 100);
    bench.run(recv_group(0, 0, 0, NO_WAIT), 3);
    bench.run(recv_group(0, 0, 0, NO_WAIT), 4);
    // The buffer is still there.
    bench.peer_sends(b"data");
    bench.until_readable();
    bench.run(recv_group(0, 0, 0, 0), 5);
}

fn multishot(bench: &mut Bench) {
    bench.numbered();
    bench.buffer_ring(0);
    bench.provide(1, 200);
    bench.provide(2, 200);
    let mut header = Errors::with_room(64).header;
    header.msg_namelen = 8;
    let errors = || {
        opcode::RecvMsgMulti::new(types::Fixed(0), &header, GROUP)
            .flags(libc::MSG_ERRQUEUE as u32)
            .build()
    };
    bench.push(errors(), 1);
    bench.submit();
    bench.push(zero_copy(0, b"numbered"), 2);
    bench.wait_for_each(2);
    bench.at_peer();
    let buffer = bench.buffer(1, 100);
    // Where a name would be nothing is written.
    bench.say((&buffer[..16], &buffer[24..72]));
    bench.push(recv_group(0, 0, MULTISHOT, libc::MSG_ERRQUEUE), 3);
    bench.submit();
    bench.push(zero_copy(0, b"numbered"), 4);
    bench.wait_for_each(2);
    bench.at_peer();
    bench.errors(0, 5);
}

fn polls_first(bench: &mut Bench) {
    bench.numbered();
    let first = |entry| raw(entry, |bytes| bytes[2] = 1);
    let mut errors = Errors::new();
    bench.run(zero_copy(0, b"numbered"), 1);
    bench.at_peer();
    bench.run(first(errors.entry(0, NO_WAIT)), 2);
    bench.run(first(errors.entry(0, libc::MSG_ERRQUEUE)), 3);
    bench.say_errors(&errors);
}

fn polls(bench: &mut Bench) {
    bench.numbered();
    bench.push(poll_entry(0, 0), 1);
    bench.submit();
    bench.push(zero_copy(0, b"numbered"), 2);
    bench.wait_for_each(2);
    bench.at_peer();
    bench.run(poll_entry(0, 0), 3);
    bench.run(poll_entry(0, libc::POLLOUT), 4);
    bench.run(poll_entry(0, libc::POLLIN), 5);
    bench.errors(0, 6);
    bench.run(poll_entry(0, libc::POLLOUT), 7);
    bench.listener_in(1);
    let address = v4(RING_V4, PORT + 10);
    let stream = bench.peer_streams.pop().expect("a socket of the peer's");
    // SAFETY: a valid address of that length.
    unsafe { libc::connect(stream.as_raw_fd(), std::ptr::from_ref(&address).cast(), 16) };
    let mut stream = stream;
    bench.run(accept_entry(1, Some(2)), 8);
    bench.number_sends(2);
    bench.push(poll_entry(2, libc::POLLIN), 8);
    bench.submit();
    bench.push(zero_copy(2, b"numbered"), 9);
    bench.wait_for_each(2);
    bench.peer_reads(&mut stream, 8);
    bench.run(poll_entry(2, libc::POLLIN), 10);
}

fn multishot_polls(bench: &mut Bench) {
    bench.numbered();
    let poll = opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32);
    bench.push(poll.multi(true).build(), 1);
    bench.submit();
    for user_data in [2, 3] {
        bench.push(zero_copy(0, b"numbered"), user_data);
        bench.wait_for_each(2);
        bench.at_peer();
    }
    bench.peer_sends(b"data");
    bench.wait(1);
    bench.errors(0, 4);
    let mut buffer = [0; 16];
    bench.run(recv_on(0, &mut buffer, 0), 5);
    bench.cancel(1);
    bench.wait(2);
}

fn receives(bench: &mut Bench) {
    bench.numbered();
    let mut buffer = [0; 16];
    bench.push(recv(&mut buffer), 1);
    bench.submit();
    // The entry is nothing to the receive.
    bench.run(zero_copy(0, b"numbered"), 2);
    bench.at_peer();
    bench.errors(0, 3);
    bench.run(zero_copy(0, b"numbered"), 4);
    bench.at_peer();
    bench.peer_sends(b"data");
    bench.wait(1);
    bench.say(buffer);
    let name = (libc::SOL_SOCKET, libc::SO_ERROR);
    bench.get_int(0, name, 5);
    bench.errors(0, 6);
}

fn closed(bench: &mut Bench) {
    bench.numbered();
    let mut errors = Errors::new();
    bench.push(errors.entry(0, libc::MSG_ERRQUEUE), 1);
    bench.submit();
    bench.run(close_entry(0), 2);
    bench.cancel(1);
    bench.wait(2);
}

fn beside_data(bench: &mut Bench) {
    bench.numbered();
    bench.peer_sends(b"data");
    bench.until_readable();
    let mut errors = Errors::new();
    bench.push(errors.entry(0, libc::MSG_ERRQUEUE), 1);
    bench.submit();
    bench.run(opcode::Nop::new().build(), 2);
    bench.push(zero_copy(0, b"numbered"), 3);
    bench.wait_for_each(2);
}

/// Ringwire's own.
pub fn inline(bench: &mut Bench) {
    bench.numbered();
    bench.run(zero_copy(0, b"numbered"), 1);
    bench.at_peer();
    let part = libc::iovec {
        iov_base: b"more".as_ptr().cast_mut().cast(),
        iov_len: 4,
    };
    let mut array = RangeArray::<2>::new();
    let mut header = Errors::with_room(0).header;
    header.msg_name = std::ptr::null_mut();
    (header.msg_iov, header.msg_iovlen) = (std::ptr::from_ref(&part).cast_mut(), 1);
    array.attach(&mut header);
    let send = opcode::SendMsg::new(types::Fixed(0), &raw const header);
    bench.run(send.build(), 2);
    let taken = array
        .taken(&header)
        .iter()
        .map(|it| (it.lo, it.hi, it.zerocopy));
    bench.say(taken.take(1).collect::<Vec<_>>());
}

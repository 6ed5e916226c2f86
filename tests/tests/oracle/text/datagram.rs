//! Datagrams, sent and received.

use super::*;

pub const CASES: &[Case] = &[
    case("send_and_receive", send_and_receive),
    case("receive_flags", receive_flags),
    case("send_errors", send_errors),
    case("messages", messages),
    case("multishot_receive", multishot),
    case("multishot_messages", multishot_messages),
    case("control_messages_of_a_send", control_messages),
    case("source_addresses_of_sends", sources),
    case("source_addresses_of_sends_v6", sources_v6),
    case("a_refused_port", refused_port),
    case("messages_with_room_for_control_and_all", control_and_all),
    case("send_from_provided_buffers", provided_sends),
    case("udp_send_that_fails_binds", failed_send_binds),
];

fn send_and_receive(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0u8; 64];
    bench.push(recv(&mut buffer), 1);
    bench.submit();
    bench.peer_sends(b"hello");
    bench.wait(1);
    bench.say(&buffer[..5]);
    let peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    let to = opcode::Send::new(types::Fixed(0), b"answer".as_ptr(), 6)
        .dest_addr(std::ptr::from_ref(&peer).cast())
        .dest_addr_len(16)
        .build();
    bench.run(to, 2);
    bench.at_peer();
    bench.run(connect_entry(0, &peer), 3);
    bench.run(send(b"connected"), 4);
    bench.at_peer();
    bench.run(send(b""), 5);
    bench.at_peer();
    let large = vec![7u8; 20_000];
    bench.run(send(&large), 6);
    bench.at_peer();
}

fn receive_flags(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0u8; 5];
    bench.run(recv_flags(&mut buffer, libc::MSG_DONTWAIT), 1);
    bench.peer_sends(b"0123456789");
    bench.until_readable();
    bench.run(recv_flags(&mut buffer, libc::MSG_PEEK), 2);
    bench.run(recv_flags(&mut buffer, libc::MSG_PEEK | libc::MSG_TRUNC), 3);
    bench.run(recv(&mut buffer), 4);
    bench.say(buffer);
    bench.peer_sends(b"");
    bench.until_readable();
    bench.run(recv(&mut buffer), 5);
    bench.peer_sends(b"abc");
    bench.until_readable();
    // A short receive with MSG_WAITALL breaks its link.
    bench.push(recv_flags(&mut buffer, libc::MSG_WAITALL).flags(link()), 6);
    bench.push(opcode::Nop::new().build(), 7);
    bench.wait(2);
    bench.peer_sends(b"abc");
    bench.until_readable();
    bench.push(recv(&mut buffer).flags(link()), 8);
    bench.push(opcode::Nop::new().build(), 9);
    bench.wait(2);
    bench.peer_sends(b"xyz");
    bench.until_readable();
    // UDP loses a datagram that could not be copied.
    bench.run(
        opcode::Recv::new(types::Fixed(0), std::ptr::null_mut(), 5).build(),
        10,
    );
    bench.run(recv_flags(&mut buffer, libc::MSG_DONTWAIT), 11);
}

fn send_errors(bench: &mut Bench) {
    bench.bound();
    bench.run(send(b"to nobody"), 1);
    let peer = v4(PEER_V4, 9);
    let entry = |address: &libc::sockaddr_in, payload: &[u8], len: u16| {
        opcode::Send::new(types::Fixed(0), payload.as_ptr(), payload.len() as u32)
            .dest_addr(std::ptr::from_ref(address).cast())
            .dest_addr_len(len.into())
            .build()
    };
    let too_large = vec![0u8; 65_508];
    bench.run(entry(&peer, &too_large, 16), 2);
    bench.run(entry(&peer, b"x", 7), 3);
    bench.run(entry(&v4(PEER_V4, 0), b"x", 16), 4);
    bench.run(entry(&v4("192.0.2.1", 9), b"x", 16), 5);
    bench.run(entry(&v4("10.7.0.255", 9), b"x", 16), 6);
    let mut family = peer;
    family.sin_family = libc::AF_INET6 as u16;
    bench.run(entry(&family, b"x", 16), 7);
    let null = opcode::Send::new(types::Fixed(0), std::ptr::null(), 5)
        .dest_addr(std::ptr::from_ref(&peer).cast())
        .dest_addr_len(16)
        .build();
    bench.run(null, 8);
}

fn messages(bench: &mut Bench) {
    bench.bound();
    let mut name = any_v4(0);
    let (mut first, mut second) = ([0u8; 4], [0u8; 4]);
    let mut parts = [
        libc::iovec {
            iov_base: first.as_mut_ptr().cast(),
            iov_len: 4,
        },
        libc::iovec {
            iov_base: second.as_mut_ptr().cast(),
            iov_len: 4,
        },
    ];
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = 16;
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = 2;
    bench.push(
        opcode::RecvMsg::new(types::Fixed(0), &raw mut header).build(),
        1,
    );
    bench.submit();
    bench.peer_sends(b"0123456789");
    bench.wait(1);
    let port_is_right = u16::from_be(name.sin_port) == bench.peer.local_addr().unwrap().port();
    bench.say((
        first,
        second,
        header.msg_namelen,
        header.msg_flags,
        header.msg_controllen,
        port_is_right,
    ));
    bench.run(
        opcode::SendMsg::new(types::Fixed(0), &raw const header).build(),
        2,
    );
    bench.at_peer();
    header.msg_iovlen = 1025;
    bench.run(
        opcode::SendMsg::new(types::Fixed(0), &raw const header).build(),
        3,
    );
    header.msg_iovlen = 0;
    bench.run(
        opcode::SendMsg::new(types::Fixed(0), &raw const header).build(),
        4,
    );
    bench.at_peer();
    header.msg_namelen = u32::MAX;
    bench.run(
        opcode::RecvMsg::new(types::Fixed(0), &raw mut header).build(),
        5,
    );
}

fn multishot(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    let multi = || opcode::RecvMulti::new(types::Fixed(0), GROUP).build();
    bench.run(multi(), 1);
    bench.provide(0, 100);
    bench.provide(1, 100);
    bench.push(multi(), 2);
    bench.submit();
    bench.peer_sends(b"one");
    bench.wait(1);
    bench.peer_sends(b"two");
    bench.wait(2);
    bench.say((bench.buffer(0, 3), bench.buffer(1, 3)));
    bench.provide(2, 4);
    bench.provide(3, 100);
    bench.push(multi(), 3);
    bench.submit();
    bench.peer_sends(b"truncated");
    bench.wait(1);
    bench.peer_sends(b"");
    bench.wait(1);
    bench.peer_sends(b"after");
    bench.until_readable();
    let one = opcode::Recv::new(types::Fixed(0), std::ptr::null_mut(), 2)
        .buf_group(GROUP)
        .build();
    bench.run(one.flags(squeue::Flags::BUFFER_SELECT), 4);
    bench.push(multi(), 5);
    bench.submit();
    bench.run(opcode::AsyncCancel::new(5).build(), 6);
}

fn multishot_messages(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_namelen = 16;
    header.msg_controllen = 8;
    bench.provide(0, 60);
    bench.provide(1, 100);
    bench.provide(2, 100);
    bench.provide(3, 30);
    bench.push(
        opcode::RecvMsgMulti::new(types::Fixed(0), &raw const header, GROUP).build(),
        1,
    );
    bench.submit();
    bench.peer_sends(&[9; 40]);
    bench.wait(1);
    let mut seen = bench.buffer(0, 60);
    // The peer's port differs from run to run.
    seen[18..20].fill(0);
    bench.say(seen);
    bench.peer_sends(b"fits");
    bench.wait(1);
    bench.peer_sends(b"");
    bench.wait(1);
    bench.push(
        opcode::RecvMsgMulti::new(types::Fixed(0), &raw const header, GROUP).build(),
        2,
    );
    bench.wait(1);
    bench.provide(4, 20);
    bench.peer_sends(b"no room for the header");
    bench.until_readable();
    bench.run(
        opcode::RecvMsgMulti::new(types::Fixed(0), &raw const header, GROUP).build(),
        3,
    );
    let mut buffer = [0u8; 16];
    bench.run(recv(&mut buffer), 4);
    bench.say(&buffer[..8]);
}

fn control_messages(bench: &mut Bench) {
    bench.bound();
    let mut peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    let payload = [5u8; 4000];
    let mut part = libc::iovec {
        iov_base: payload.as_ptr().cast_mut().cast(),
        iov_len: payload.len(),
    };
    let mut send =
        |bench: &mut Bench, level: i32, kind: i32, data: &[u8], len: usize, user_data: u64| {
            part.iov_len = len;
            let mut control = [0u64; 8];
            // SAFETY: all zeroes is a valid msghdr; the control buffer is aligned and long enough.
            let header = unsafe {
                let mut header: libc::msghdr = std::mem::zeroed();
                header.msg_name = (&raw mut peer).cast();
                header.msg_namelen = 16;
                header.msg_iov = &raw mut part;
                header.msg_iovlen = 1;
                header.msg_control = control.as_mut_ptr().cast();
                header.msg_controllen = libc::CMSG_SPACE(data.len() as u32) as usize;
                let message = libc::CMSG_FIRSTHDR(&raw const header);
                (*message).cmsg_level = level;
                (*message).cmsg_type = kind;
                (*message).cmsg_len = libc::CMSG_LEN(data.len() as u32) as usize;
                std::ptr::copy_nonoverlapping(data.as_ptr(), libc::CMSG_DATA(message), data.len());
                header
            };
            bench.run(
                opcode::SendMsg::new(types::Fixed(0), &raw const header).build(),
                user_data,
            );
        };
    let lengths = |bench: &mut Bench, count: usize| {
        let peer = bench.peer.try_clone().expect("the peer's socket");
        let lengths: Vec<_> = (0..count)
            .map(|_| bench.received_by(&peer).map(|(len, _)| len))
            .collect();
        bench.say(lengths);
    };
    send(
        bench,
        libc::SOL_UDP,
        libc::UDP_SEGMENT,
        &300u16.to_ne_bytes(),
        1000,
        1,
    );
    lengths(bench, 4);
    send(
        bench,
        libc::SOL_UDP,
        libc::UDP_SEGMENT,
        &1000u16.to_ne_bytes(),
        1000,
        2,
    );
    lengths(bench, 1);
    send(
        bench,
        libc::SOL_UDP,
        libc::UDP_SEGMENT,
        &1u16.to_ne_bytes(),
        1000,
        3,
    );
    send(bench, libc::SOL_UDP, libc::UDP_SEGMENT, &[1], 1000, 4);
    send(
        bench,
        libc::SOL_IP,
        libc::IP_TTL,
        &0i32.to_ne_bytes(),
        1000,
        5,
    );
    send(
        bench,
        libc::SOL_IP,
        libc::IP_TTL,
        &7i32.to_ne_bytes(),
        1000,
        6,
    );
    lengths(bench, 1);
    send(
        bench,
        libc::SOL_IP,
        libc::IP_TOS,
        &8i32.to_ne_bytes(),
        1000,
        7,
    );
    lengths(bench, 1);
    send(bench, libc::SOL_IP, 250, &8i32.to_ne_bytes(), 1000, 8);
    send(
        bench,
        libc::SOL_UDP,
        libc::UDP_SEGMENT,
        &1800u16.to_ne_bytes(),
        4000,
        9,
    );
    send(
        bench,
        libc::SOL_UDP,
        libc::UDP_SEGMENT,
        &1472u16.to_ne_bytes(),
        4000,
        10,
    );
    lengths(bench, 3);
}

fn refused_port(bench: &mut Bench) {
    bench.bound();
    let closed = v4(PEER_V4, 9);
    bench.run(connect_entry(0, &closed), 1);
    let mut buffer = [0u8; 16];
    bench.push(recv(&mut buffer), 2);
    bench.submit();
    bench.push(send(b"anybody?"), 3);
    bench.wait(2);
    bench.run(send(b"anybody?"), 4);
    bench.run(opcode::PollAdd::new(types::Fixed(0), 0).build(), 5);
    bench.run(send(b"anybody?"), 6);
    let peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    bench.run(connect_entry(0, &peer), 7);
}

fn provided_sends(bench: &mut Bench) {
    bench.bound();
    let peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    bench.run(connect_entry(0, &peer), 1);
    let entry = |len: u32, group: u16| {
        let send = opcode::Send::new(types::Fixed(0), std::ptr::null(), len).build();
        raw(send, |bytes| {
            bytes[40..42].copy_from_slice(&group.to_ne_bytes())
        })
        .flags(squeue::Flags::BUFFER_SELECT)
    };
    bench.run(entry(0, 99), 2);
    bench.buffer_ring(0);
    bench.run(entry(0, GROUP), 3);
    bench.buffers[..4].copy_from_slice(b"bid0");
    bench.buffers[BUFFER_BYTES..BUFFER_BYTES + 4].copy_from_slice(b"bid1");
    bench.provide(0, 4);
    bench.provide(1, 4);
    bench.run(entry(0, GROUP), 4);
    bench.at_peer();
    bench.run(entry(2, GROUP), 5);
    bench.at_peer();
    bench.run(entry(0, GROUP), 6);
}

/// A message with one control message.
pub fn run_with_control<A>(
    bench: &mut Bench,
    to: &mut A,
    (level, kind): (i32, i32),
    data: &[u8],
    user_data: u64,
) {
    let mut part = libc::iovec {
        iov_base: b"from".as_ptr().cast_mut().cast(),
        iov_len: 4,
    };
    let mut control = [0u64; 8];
    // SAFETY: all zeroes is a valid msghdr; the control buffer is aligned and long enough.
    let header = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_name = std::ptr::from_mut(to).cast();
        header.msg_namelen = size_of::<A>() as u32;
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(data.len() as u32) as usize;
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(data.len() as u32) as usize;
        std::ptr::copy_nonoverlapping(data.as_ptr(), libc::CMSG_DATA(message), data.len());
        header
    };
    let entry = opcode::SendMsg::new(types::Fixed(0), &raw const header);
    bench.run(entry.build(), user_data);
}

fn sources(bench: &mut Bench) {
    bench.bound();
    let mut peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    const PKTINFO: (i32, i32) = (libc::SOL_IP, libc::IP_PKTINFO);
    // Interface, source, and what means nothing here.
    let info = |source: &str| {
        let source: std::net::Ipv4Addr = source.parse().unwrap();
        [[0; 4], source.octets(), [9; 4]].concat()
    };
    for (user_data, source) in [(1, RING_V4), (2, "0.0.0.0")] {
        run_with_control(bench, &mut peer, PKTINFO, &info(source), user_data);
        bench.at_peer();
    }
    for (user_data, source) in [(3, PEER_V4), (4, "192.0.2.1"), (5, "255.255.255.255")] {
        run_with_control(bench, &mut peer, PKTINFO, &info(source), user_data);
    }
    let ours = info(RING_V4);
    run_with_control(bench, &mut peer, PKTINFO, &ours[..11], 6);
    let longer = [ours.clone(), vec![0]].concat();
    run_with_control(bench, &mut peer, PKTINFO, &longer, 7);
    let other = [&9999u32.to_ne_bytes()[..], &ours[4..]].concat();
    run_with_control(bench, &mut peer, PKTINFO, &other, 8);
}

fn sources_v6(bench: &mut Bench) {
    bench.files();
    bench.run(socket(libc::AF_INET6, 0), 900);
    let address = v6("::", PORT);
    let bind = opcode::Bind::new(types::Fixed(0), (&raw const address).cast(), 28);
    bench.run(bind.build(), 901);
    let mut peer = v6(PEER_V6, bench.peer_v6.local_addr().unwrap().port());
    const PKTINFO: (i32, i32) = (libc::SOL_IPV6, libc::IPV6_PKTINFO);
    let info = |source: &str| {
        let source: std::net::Ipv6Addr = source.parse().unwrap();
        [&source.octets()[..], &[0; 4]].concat()
    };
    for (user_data, source) in [(1, RING_V6), (2, "::")] {
        run_with_control(bench, &mut peer, PKTINFO, &info(source), user_data);
        let socket = bench.peer_v6.try_clone().expect("the peer's socket");
        let received = bench.received_by(&socket);
        bench.say(received);
    }
    for (user_data, source) in [(3, PEER_V6), (4, "2001:db8::1")] {
        run_with_control(bench, &mut peer, PKTINFO, &info(source), user_data);
    }
    run_with_control(bench, &mut peer, PKTINFO, &info(RING_V6)[..19], 5);
}

fn failed_send_binds(bench: &mut Bench) {
    bench.files();
    for slot in 0..2 {
        bench.run(socket(libc::AF_INET, slot), 1);
    }
    bench.run(send_on(0, b"to nobody", 0), 2);
    bench.run(bind_entry(0, &any_v4(PORT)), 3);
    bench.run(shutdown_entry(1, libc::SHUT_WR), 4);
    bench.run(send_on(1, b"to nobody", 0), 5);
    bench.run(bind_entry(1, &any_v4(PORT)), 6);
}

/// A message to receive into 16 bytes, with so much room for control messages and a name's length without a name.
fn named_by_length(part: &libc::iovec, control: &mut [u8]) -> libc::msghdr {
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (std::ptr::from_ref(part).cast_mut(), 1);
    header.msg_namelen = 32;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.len();
    header
}

/// Room for control messages takes MSG_WAITALL its meaning, but for what is cut; and a length without a name stays.
fn control_and_all(bench: &mut Bench) {
    bench.bound();
    let (mut buffer, mut control) = ([0; 16], [0; 64]);
    let part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: 16,
    };
    let all = libc::MSG_WAITALL as u32;
    for (room, payload) in [(0, &b"short"[..]), (64, b"short"), (64, &[0; 20])] {
        let mut header = named_by_length(&part, &mut control[..room]);
        bench.peer_sends(payload);
        bench.until_readable();
        let receive = opcode::RecvMsg::new(types::Fixed(0), &raw mut header).flags(all);
        bench.push(receive.build().flags(link()), 1);
        bench.push(opcode::Nop::new().build(), 2);
        bench.wait_for_each(2);
        bench.say((header.msg_namelen, header.msg_controllen, header.msg_flags));
    }
    bench.listener_in(1);
    let mut stream = bench.peer_streams.pop().expect("a socket of the peer's");
    let address = v4(RING_V4, PORT + 10);
    // SAFETY: a valid address of that length.
    unsafe { libc::connect(stream.as_raw_fd(), std::ptr::from_ref(&address).cast(), 16) };
    bench.run(accept_entry(1, Some(2)), 3);
    stream.write_all(b"short").expect("the peer writes");
    bench.readable(2);
    let mut header = named_by_length(&part, &mut control);
    let receive = opcode::RecvMsg::new(types::Fixed(2), &raw mut header).flags(all);
    bench.push(receive.build().flags(link()), 4);
    bench.push(opcode::Nop::new().build(), 5);
    bench.wait_for_each(2);
    bench.say((header.msg_namelen, header.msg_controllen, header.msg_flags));
}

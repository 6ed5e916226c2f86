//! What options do.

use super::*;

pub const CASES: &[Case] = &[
    case(
        "option_receive_buffer_bounds_datagrams",
        option_receive_buffer_datagrams,
    ),
    case(
        "option_receive_buffer_bounds_a_stream",
        option_receive_buffer_stream,
    ),
    case(
        "option_send_buffer_bounds_a_stream",
        option_send_buffer_stream,
    ),
    case(
        "option_datagrams_sharing_an_address",
        option_sharing_datagrams,
    ),
    case("option_streams_sharing_an_address", option_sharing_streams),
    case(
        "option_reuse_port_takes_every_datagram_once",
        option_spread_datagrams,
    ),
    case(
        "option_reuse_port_takes_every_connection_once",
        option_spread_connections,
    ),
    case("option_last_bound_takes_the_datagrams", option_last_bound),
    case("option_ip_values", option_ip_values),
    case("option_ipv6_values", option_ipv6_values),
    case("option_ip_fields_of_datagrams", option_ip_fields),
    case("option_queued_bytes", option_queued),
    case("option_queued_datagrams", option_queued_datagrams),
];

fn option_receive_buffer_datagrams(bench: &mut Bench) {
    bench.bound();
    bench.set_int(0, socket_level(libc::SO_RCVBUF), 4096, 1);
    for _ in 0..200 {
        bench.peer_sends(&[1; 100]);
    }
    // One more, once there is room, says that the others have come or are lost.
    let mut buffer = [0; 200];
    bench.until_readable();
    let mut received = 0;
    loop {
        bench.push(recv_flags(&mut buffer, libc::MSG_DONTWAIT), 992);
        bench.ring.submit_and_wait(1).unwrap();
        let res = bench
            .ring
            .completion()
            .next()
            .expect("a completion")
            .result();
        match res {
            100 => received += 1,
            _ => break,
        }
    }
    bench.say(((1..100).contains(&received), "of 200"));
}

fn option_receive_buffer_stream(bench: &mut Bench) {
    bench.listener(4);
    bench.set_int(0, socket_level(libc::SO_RCVBUF), 8192, 1);
    let mut stream = bench.peer_connects();
    bench.run(accept_entry(0, Some(1)), 2);
    let chunk = [3u8; 4096];
    let mut written = 0;
    // Far more than the buffer is offered: only as much as fits is taken.
    while written < 1 << 20 {
        match stream.write(&chunk) {
            Ok(count) => written += count,
            Err(_) => break,
        }
    }
    // The peer is told of a closed window, and sends no more.
    let taken = bench.steady(1, QUEUED_IN);
    bench.say(("within the buffer", (1..=16_384).contains(&taken)));
}

fn option_send_buffer_stream(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    bench.set_int(0, socket_level(libc::SO_SNDBUF), 16_384, 2);
    let stream = bench.connects_socket();
    let small = bench.fill(0);
    let queued = bench.ask(0, QUEUED_OUT);
    bench.say(("some of it is queued", queued > 0, queued <= 262_144));
    // Ten times the buffer makes the difference.
    bench.set_int(0, socket_level(libc::SO_SNDBUF), 1 << 20, 3);
    let more = bench.fill(0);
    bench.say(("more fits", more > 0, small > 0));
    drop(stream);
}

fn bind_results(bench: &mut Bench, domain: i32, kind: i32, first: &[i32], second: &[i32]) {
    for slot in 0..2 {
        let target = types::DestinationSlot::try_from_slot_target(slot).unwrap();
        let entry = opcode::Socket::new(domain, kind, 0).file_index(Some(target));
        bench.run(entry.build(), 1);
    }
    for (slot, options) in [(0, first), (1, second)] {
        for &name in options {
            bench.set_int(slot, socket_level(name), 1, 2);
        }
        bench.run(bind_entry(slot, &any_v4(PORT)), 3);
    }
    if kind == libc::SOCK_STREAM {
        for slot in 0..2 {
            bench.run(opcode::Listen::new(types::Fixed(slot), 1).build(), 4);
        }
        // A third, now that somebody listens.
        bench.stream_socket(domain, 2, 5);
        for &name in second {
            bench.set_int(2, socket_level(name), 1, 6);
        }
        bench.run(bind_entry(2, &any_v4(PORT)), 7);
        bench.run(opcode::Listen::new(types::Fixed(2), 1).build(), 8);
        bench.run(close_entry(2), 9);
    }
    bench.run(close_entry(0), 10);
    bench.run(close_entry(1), 11);
}

fn option_sharing(bench: &mut Bench, kind: i32) {
    const ADDRESS: &[i32] = &[libc::SO_REUSEADDR];
    const PORT_TOO: &[i32] = &[libc::SO_REUSEPORT];
    const BOTH: &[i32] = &[libc::SO_REUSEADDR, libc::SO_REUSEPORT];
    bench.files();
    for first in [&[][..], ADDRESS, PORT_TOO, BOTH] {
        for second in [&[][..], ADDRESS, PORT_TOO, BOTH] {
            bench.say((first, second));
            bind_results(bench, libc::AF_INET, kind, first, second);
        }
    }
}

fn option_sharing_datagrams(bench: &mut Bench) {
    option_sharing(bench, libc::SOCK_DGRAM);
}

fn option_sharing_streams(bench: &mut Bench) {
    option_sharing(bench, libc::SOCK_STREAM);
}

/// How many datagrams wait in a slot's socket, which are taken.
fn take_datagrams(bench: &mut Bench, slot: u32) -> usize {
    let mut buffer = [0; 64];
    let mut taken = 0;
    loop {
        bench.push(recv_on(slot, &mut buffer, libc::MSG_DONTWAIT), 993);
        bench.ring.submit_and_wait(1).unwrap();
        match bench
            .ring
            .completion()
            .next()
            .expect("a completion")
            .result()
        {
            0.. => taken += 1,
            _ => return taken,
        }
    }
}

fn option_spread_datagrams(bench: &mut Bench) {
    bench.files();
    for slot in 0..3 {
        bench.run(socket(libc::AF_INET, slot), 1);
        bench.set_int(slot, socket_level(libc::SO_REUSEPORT), 1, 2);
        bench.run(bind_entry(slot, &any_v4(PORT)), 3);
    }
    // One peer's datagrams go to one of them.
    for _ in 0..20 {
        bench.peer_sends(b"same");
    }
    let mut taken = [0; 3];
    let deadline = std::time::Instant::now() + PATIENCE;
    while taken.iter().sum::<usize>() < 20 && std::time::Instant::now() < deadline {
        for slot in 0..3 {
            taken[slot as usize] += take_datagrams(bench, slot);
        }
    }
    taken.sort_unstable();
    bench.say(taken);
}

fn option_spread_connections(bench: &mut Bench) {
    bench.files();
    for slot in 0..2 {
        bench.stream_socket(libc::AF_INET, slot, 1);
        bench.set_int(slot, socket_level(libc::SO_REUSEPORT), 1, 2);
        bench.run(bind_entry(slot, &any_v4(PORT)), 3);
        bench.run(opcode::Listen::new(types::Fixed(slot), 8).build(), 4);
    }
    let _streams: Vec<_> = (0..8).map(|_| bench.peer_connects()).collect();
    let mut accepted = 0;
    let deadline = std::time::Instant::now() + PATIENCE;
    while accepted < 8 && std::time::Instant::now() < deadline {
        for slot in 0..2 {
            let entry = raw(accept_entry(slot, Some(3)), |bytes| bytes[2] = 2);
            bench.push(entry, 994);
            bench.ring.submit_and_wait(1).unwrap();
            accepted += usize::from(
                bench
                    .ring
                    .completion()
                    .next()
                    .expect("a completion")
                    .result()
                    >= 0,
            );
        }
    }
    bench.say(accepted);
    // With one gone the other takes all that come.
    bench.run(close_entry(1), 5);
}

fn option_last_bound(bench: &mut Bench) {
    bench.files();
    for slot in 0..2 {
        bench.run(socket(libc::AF_INET, slot), 1);
        bench.set_int(slot, socket_level(libc::SO_REUSEADDR), 1, 2);
        bench.run(bind_entry(slot, &any_v4(PORT)), 3);
    }
    let mut buffer = [0; 16];
    bench.peer_sends(b"second");
    bench.run(recv_on(1, &mut buffer, 0), 4);
    bench.run(close_entry(1), 5);
    bench.peer_sends(b"first!");
    bench.run(recv_on(0, &mut buffer, 0), 6);
}

fn option_ip_values(bench: &mut Bench) {
    bench.bound();
    bench.stream_socket(libc::AF_INET, 1, 1);
    bench.stream_socket(libc::AF_INET6, 2, 1);
    for slot in 0..3 {
        for name in [libc::IP_TOS, libc::IP_TTL] {
            for value in [0, 1, 3, 255, 256, 0x1b8, -1, -2, i32::MAX] {
                bench.set_int(slot, (libc::SOL_IP, name), value, 2);
            }
            for value in [&[][..], &[9], &[9, 1], &[9, 0, 0], &[9, 0, 0, 0, 1]] {
                bench.set(slot, (libc::SOL_IP, name), value, 3);
            }
            for (address, len) in [(0, 1), (0, 4), (0, 0), (0, -1)] {
                bench.run(
                    option_entry(slot, SET, (libc::SOL_IP, name), address, len),
                    4,
                );
            }
        }
        bench.set_int(slot, (libc::SOL_IP, 9999), 1, 5);
    }
}

fn option_ipv6_values(bench: &mut Bench) {
    bench.files();
    bench.run(socket(libc::AF_INET6, 0), 1);
    bench.stream_socket(libc::AF_INET6, 1, 1);
    bench.run(socket(libc::AF_INET, 2), 1);
    for slot in 0..3 {
        for name in [libc::IPV6_TCLASS, libc::IPV6_UNICAST_HOPS] {
            for value in [0, 1, 255, 256, -1, -2, i32::MAX] {
                bench.set_int(slot, (libc::SOL_IPV6, name), value, 2);
            }
            for value in [&[][..], &[9], &[9, 0, 0], &[9, 0, 0, 0, 1]] {
                bench.set(slot, (libc::SOL_IPV6, name), value, 3);
            }
            for (address, len) in [(0, 1), (0, 4), (0, 0), (8, 4), (0, -1)] {
                bench.run(
                    option_entry(slot, SET, (libc::SOL_IPV6, name), address, len),
                    4,
                );
            }
        }
        bench.set_int(slot, (libc::SOL_IPV6, 9999), 1, 5);
    }
}

/// The fields of the IP header that the peer's next datagram had: hop limit and class.
fn received_fields(bench: &mut Bench, peer: &UdpSocket, v6: bool) {
    let (level, wanted) = match v6 {
        false => (libc::SOL_IP, [libc::IP_RECVTTL, libc::IP_RECVTOS]),
        true => (
            libc::SOL_IPV6,
            [libc::IPV6_RECVHOPLIMIT, libc::IPV6_RECVTCLASS],
        ),
    };
    for name in wanted {
        let on = 1i32;
        // SAFETY: the option's value lives, and has that length.
        unsafe {
            libc::setsockopt(
                peer.as_raw_fd(),
                level,
                name,
                std::ptr::from_ref(&on).cast(),
                4,
            )
        };
    }
    bench.run(send(b"fields"), 5);
    peer.set_nonblocking(true).unwrap();
    let (mut bytes, mut control) = ([0u8; 64], [0u64; 16]);
    let mut fields = Vec::new();
    bench.pump("the datagram arrives", || {
        let mut part = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: all zeroes is a valid msghdr; what it points at lives, with those lengths; the control
        // buffer is aligned, and walked as the kernel has filled it.
        unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&control);
            if libc::recvmsg(peer.as_raw_fd(), &raw mut header, 0) < 0 {
                return false;
            }
            let mut message = libc::CMSG_FIRSTHDR(&raw const header);
            while !message.is_null() {
                fields.push(((*message).cmsg_type, *libc::CMSG_DATA(message)));
                message = libc::CMSG_NXTHDR(&raw const header, message);
            }
        }
        true
    });
    fields.sort_unstable();
    bench.say(fields);
}

fn option_ip_fields(bench: &mut Bench) {
    bench.bound();
    let peer = bench.peer.try_clone().unwrap();
    let to = v4(PEER_V4, peer.local_addr().unwrap().port());
    bench.run(connect_entry(0, &to), 1);
    received_fields(bench, &peer, false);
    bench.set_int(0, (libc::SOL_IP, libc::IP_TOS), 0xb9, 2);
    bench.set_int(0, (libc::SOL_IP, libc::IP_TTL), 9, 3);
    received_fields(bench, &peer, false);
    bench.set_int(0, (libc::SOL_IP, libc::IP_TTL), -1, 4);
    received_fields(bench, &peer, false);
    bench.run(socket(libc::AF_INET6, 0), 6);
    let peer = bench.peer_v6.try_clone().unwrap();
    // SAFETY: all zeroes is a valid sockaddr_in6.
    let mut to: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    to.sin6_family = libc::AF_INET6 as u16;
    to.sin6_port = peer.local_addr().unwrap().port().to_be();
    to.sin6_addr.s6_addr = PEER_V6.parse::<std::net::Ipv6Addr>().unwrap().octets();
    bench.run(
        opcode::Connect::new(types::Fixed(0), (&raw const to).cast(), 28).build(),
        7,
    );
    received_fields(bench, &peer, true);
    bench.set_int(0, (libc::SOL_IPV6, libc::IPV6_TCLASS), 0xb9, 8);
    bench.set_int(0, (libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS), 9, 9);
    received_fields(bench, &peer, true);
    // A message's own come first.
    bench.set_int(0, (libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS), -1, 10);
    bench.set_int(0, (libc::SOL_IPV6, libc::IPV6_TCLASS), -1, 11);
    received_fields(bench, &peer, true);
}

fn option_queued(bench: &mut Bench) {
    let mut stream = bench.connected();
    for slot in [0, 1] {
        bench.run(command_entry(slot, QUEUED_IN), 1);
        bench.run(command_entry(slot, QUEUED_OUT), 2);
    }
    stream.write_all(b"hello").unwrap();
    bench.readable(1);
    bench.run(command_entry(1, QUEUED_IN), 3);
    let mut buffer = [0; 2];
    bench.run(recv_on(1, &mut buffer, 0), 4);
    bench.run(command_entry(1, QUEUED_IN), 5);
    bench.run(send_on(1, b"answer", 0), 6);
    bench.until(1, QUEUED_OUT, 0);
    // A FIN that was received counts for nothing.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.run(poll_entry(1, libc::POLLRDHUP), 7);
    bench.run(command_entry(1, QUEUED_IN), 8);
    let mut buffer = [0; 8];
    bench.run(recv_on(1, &mut buffer, 0), 9);
    bench.run(command_entry(1, QUEUED_IN), 10);
    bench.run(shutdown_entry(1, libc::SHUT_WR), 11);
    bench.until(1, QUEUED_OUT, 0);
    bench.stream_socket(libc::AF_INET, 2, 12);
    bench.run(command_entry(2, QUEUED_IN), 13);
    bench.run(command_entry(2, QUEUED_OUT), 14);
}

fn option_queued_datagrams(bench: &mut Bench) {
    bench.bound();
    bench.run(command_entry(0, QUEUED_IN), 1);
    bench.run(command_entry(0, QUEUED_OUT), 2);
    bench.peer_sends(b"first");
    bench.peer_sends(b"second!");
    bench.until_readable();
    bench.run(command_entry(0, QUEUED_IN), 3);
    let mut buffer = [0; 16];
    bench.run(recv(&mut buffer), 4);
    bench.until(0, QUEUED_IN, 7);
    bench.run(recv(&mut buffer), 5);
    bench.run(command_entry(0, QUEUED_IN), 6);
    bench.peer_sends(b"");
    bench.until_readable();
    bench.run(command_entry(0, QUEUED_IN), 7);
    bench.until(0, QUEUED_OUT, 0);
}

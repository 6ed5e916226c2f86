//! Sockets, their slots and their addresses.

use super::*;

pub const CASES: &[Case] = &[
    case("sockets_and_slots", sockets),
    case("bind_and_its_errors", bind),
    case("connect_and_its_errors", connect),
    case("an_ipv6_socket_takes_both_families", both_families),
    case("shutdown", shutdown),
    case("close_with_a_receive_in_flight", close_in_flight),
];

fn sockets(bench: &mut Bench) {
    bench.run(socket(libc::AF_INET, 0), 1);
    let auto = || {
        opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0)
            .file_index(Some(types::DestinationSlot::auto_target()))
            .build()
    };
    bench.run(auto(), 2);
    bench.files();
    let table = bench
        .ring
        .submitter()
        .register_files_sparse(SLOTS)
        .map_err(|error| error.raw_os_error());
    bench.say(("again", table));
    bench.run(socket(libc::AF_INET, SLOTS), 3);
    for user_data in 4..9 {
        bench.run(auto(), user_data);
    }
    bench.run(socket(libc::AF_INET6, 2), 10);
    bench.run(opcode::Close::new(types::Fixed(1)).build(), 11);
    bench.run(opcode::Close::new(types::Fixed(1)).build(), 12);
    bench.run(opcode::Close::new(types::Fixed(SLOTS)).build(), 13);
    bench.run(auto(), 14);
    let direct = |domain, kind, protocol| {
        let slot = types::DestinationSlot::try_from_slot_target(0).unwrap();
        opcode::Socket::new(domain, kind, protocol)
            .file_index(Some(slot))
            .build()
    };
    bench.run(direct(999, libc::SOCK_DGRAM, 0), 20);
    bench.run(direct(libc::AF_INET, 15, 0), 21);
    bench.run(
        direct(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_TCP),
        22,
    );
    bench.run(
        direct(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0),
        23,
    );
    bench.run(
        direct(
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_NONBLOCK,
            libc::IPPROTO_UDP,
        ),
        24,
    );
}

fn bind(bench: &mut Bench) {
    bench.files();
    for slot in 0..3 {
        bench.run(socket(libc::AF_INET, slot), 1);
    }
    let (any, other, foreign) = (any_v4(PORT), any_v4(PORT + 1), v4("192.0.2.1", PORT + 2));
    bench.run(bind_entry(0, &any), 2);
    bench.run(bind_entry(0, &other), 3);
    bench.run(bind_entry(1, &any), 4);
    bench.run(bind_entry(1, &foreign), 5);
    let short = opcode::Bind::new(types::Fixed(1), std::ptr::from_ref(&other).cast(), 7).build();
    bench.run(short, 6);
    let long = opcode::Bind::new(types::Fixed(1), std::ptr::from_ref(&other).cast(), 129).build();
    bench.run(long, 7);
    let mut family = other;
    family.sin_family = libc::AF_UNIX as u16;
    bench.run(bind_entry(1, &family), 8);
    bench.run(bind_entry(1, &other), 9);
    bench.run(bind_entry(2, &any_v4(0)), 10);
}

fn connect(bench: &mut Bench) {
    bench.bound();
    let peer = v4(PEER_V4, 9);
    bench.run(connect_entry(0, &peer), 1);
    bench.run(connect_entry(0, &v4(PEER_V4, 10)), 2);
    let short = opcode::Connect::new(types::Fixed(0), std::ptr::from_ref(&peer).cast(), 8).build();
    bench.run(short, 3);
    bench.run(connect_entry(0, &v4("192.0.2.1", 9)), 4);
    let mut unspecified = peer;
    unspecified.sin_family = libc::AF_UNSPEC as u16;
    bench.run(connect_entry(0, &unspecified), 5);
    bench.run(send(b"nobody"), 6);
}

fn both_families(bench: &mut Bench) {
    bench.files();
    bench.run(socket(libc::AF_INET6, 0), 1);
    // SAFETY: all zeroes is a valid sockaddr_in6: the wildcard address.
    let mut any: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    any.sin6_family = libc::AF_INET6 as u16;
    any.sin6_port = PORT.to_be();
    let bind =
        |slot, len| opcode::Bind::new(types::Fixed(slot), (&raw const any).cast(), len).build();
    bench.run(bind(0, 20), 2);
    bench.run(bind(0, 28), 3);
    bench.run(socket(libc::AF_INET, 1), 4);
    bench.run(bind_entry(1, &any_v4(PORT)), 5);
    bench.run(bind(1, 28), 6);
    bench.run(bind_entry(0, &any_v4(PORT)), 7);
    // SAFETY: as above.
    let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    let mut bytes = [0u8; 64];
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iovlen = 1;
    for (user_data, v6) in [(10, false), (20, true)] {
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = 28;
        let mut part = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: 64,
        };
        header.msg_iov = &raw mut part;
        bench.push(
            opcode::RecvMsg::new(types::Fixed(0), &raw mut header).build(),
            user_data,
        );
        bench.submit();
        let peer = if v6 { &bench.peer_v6 } else { &bench.peer };
        let to = if v6 { RING_V6 } else { RING_V4 };
        let to: std::net::IpAddr = to.parse().unwrap();
        peer.send_to(b"family", (to, PORT)).expect("the peer sends");
        bench.wait(1);
        bench.say((header.msg_namelen, name.sin6_family, name.sin6_addr.s6_addr));
        let mut answer = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: 6,
        };
        header.msg_iov = &raw mut answer;
        bench.run(
            opcode::SendMsg::new(types::Fixed(0), &raw const header).build(),
            user_data + 1,
        );
        let peer = if v6 { &bench.peer_v6 } else { &bench.peer };
        let peer = peer.try_clone().expect("the peer's socket");
        let received = bench.received_by(&peer);
        bench.say(received);
    }
}

fn shutdown(bench: &mut Bench) {
    bench.bound();
    let down = |how| opcode::Shutdown::new(types::Fixed(0), how).build();
    bench.run(down(7), 1);
    bench.run(down(libc::SHUT_WR), 2);
    let peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    bench.run(connect_entry(0, &peer), 3);
    bench.run(send(b"x"), 4);
    let mut buffer = [0u8; 16];
    bench.push(recv(&mut buffer), 5);
    bench.submit();
    bench.push(down(libc::SHUT_RD), 6);
    bench.wait(2);
    bench.run(recv(&mut buffer), 7);
    bench.run(
        opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).build(),
        8,
    );
}

fn close_in_flight(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0u8; 16];
    bench.push(recv(&mut buffer), 1);
    bench.submit();
    bench.run(opcode::Close::new(types::Fixed(0)).build(), 2);
    bench.peer_sends(b"still here");
    bench.wait(1);
    bench.say(&buffer[..10]);
    bench.run(recv(&mut buffer), 3);
}

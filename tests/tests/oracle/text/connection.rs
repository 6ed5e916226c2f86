//! Connections: how they begin and end.

use super::*;

pub const CASES: &[Case] = &[
    case("tcp_connect", connect_ok),
    case("tcp_connect_refused", connect_refused),
    case("tcp_connect_in_progress", connect_pending),
    case("tcp_connect_to_bad_addresses", connect_errors),
    case("tcp_connect_over_ipv6", connect_v6),
    case("tcp_unconnected", unconnected),
    case("tcp_connect_and_listen_when_it_is_over", over),
    case("tcp_connect_and_listen_when_it_was_refused", was_refused),
    case("tcp_connect_again_after_a_cancellation", connect_again),
    case("tcp_end_of_stream", end_of_stream),
    case("tcp_reset_while_receiving", reset_receive),
    case("tcp_reset_and_what_follows", reset_after),
    case("tcp_shutdown_of_sending", shutdown_send),
    case("tcp_shutdown_of_receiving", shutdown_receive),
    case("tcp_data_for_what_is_shut_down", shutdown_both),
    case("tcp_close_with_a_receive_in_flight", close_with_receive),
    case("tcp_close_resets_unread_data", close_unread),
];

fn connect_ok(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    let address = v4(PEER_V4, bench.peer_listener.local_addr().unwrap().port());
    bench.run(connect_entry(0, &address), 2);
    let (mut stream, _) = bench.peer_listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    bench.run(connect_entry(0, &address), 3);
    bench.run(opcode::Listen::new(types::Fixed(0), 1).build(), 4);
    bench.run(send_on(0, b"from the ring", 0), 5);
    let got = bench.peer_reads(&mut stream, 13);
    bench.say(got);
    stream.write_all(b"back").unwrap();
    let mut buffer = [0; 16];
    bench.run(recv_on(0, &mut buffer, 0), 6);
    bench.say(&buffer[..4]);
    bench.run(close_entry(0), 7);
    bench.peer_sees_end(&mut stream);
}

fn connect_refused(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    let address = v4(PEER_V4, 9);
    for user_data in 2..5 {
        bench.run(connect_entry(0, &address), user_data);
    }
    bench.run(poll_entry(0, libc::POLLIN | libc::POLLOUT), 5);
    // Bound, it may try again all the same.
    bench.stream_socket(libc::AF_INET, 1, 6);
    bench.run(bind_entry(1, &any_v4(PORT)), 7);
    bench.run(connect_entry(1, &address), 8);
    bench.run(connect_entry(1, &address), 9);
    let good = v4(PEER_V4, bench.peer_listener.local_addr().unwrap().port());
    bench.run(connect_entry(0, &good), 10);
}

fn connect_pending(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    let nobody = v4("10.7.0.77", 80);
    bench.push(connect_entry(0, &nobody), 2);
    bench.submit();
    bench.run(connect_entry(0, &nobody), 3);
    let mut buffer = [0; 16];
    bench.run(recv_on(0, &mut buffer, libc::MSG_DONTWAIT), 4);
    bench.run(send_on(0, b"x", libc::MSG_DONTWAIT), 5);
    bench.cancel(2);
    bench.wait(2);
    bench.run(shutdown_entry(0, libc::SHUT_RDWR), 6);
    bench.run(recv_on(0, &mut buffer, 0), 7);
    // Nobody answers for the address.
    bench.stream_socket(libc::AF_INET, 1, 8);
    bench.run(connect_entry(1, &nobody), 9);
}

fn connect_errors(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    let address = v4(PEER_V4, 80);
    for len in [0, 7, 15, 129] {
        let entry = opcode::Connect::new(types::Fixed(0), std::ptr::from_ref(&address).cast(), len);
        bench.run(entry.build(), u64::from(len) + 2);
    }
    let mut family = address;
    family.sin_family = libc::AF_UNIX as u16;
    bench.run(connect_entry(0, &family), 200);
    for (index, to) in ["255.255.255.255", "224.0.0.1", "192.0.2.1"]
        .into_iter()
        .enumerate()
    {
        bench.run(connect_entry(0, &v4(to, 80)), 201 + index as u64);
    }
    family.sin_family = libc::AF_UNSPEC as u16;
    bench.run(connect_entry(0, &family), 210);
    bench.listener_in(1);
    bench.run(connect_entry(1, &address), 211);
}

fn connect_v6(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET6, 0, 1);
    let port = bench.peer_listener_v6.local_addr().unwrap().port();
    let address = v6(PEER_V6, port);
    let entry = |len| {
        opcode::Connect::new(types::Fixed(0), std::ptr::from_ref(&address).cast(), len).build()
    };
    bench.run(entry(16), 2);
    bench.run(entry(28), 3);
    let (mut stream, _) = bench.peer_listener_v6.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    bench.run(send_on(0, b"six", 0), 4);
    let got = bench.peer_reads(&mut stream, 3);
    bench.say(got);
}

fn unconnected(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    let mut buffer = [0; 16];
    bench.run(recv_on(0, &mut buffer, 0), 2);
    bench.run(send_on(0, b"x", 0), 3);
    bench.run(send_on(0, b"", 0), 4);
    bench.run(shutdown_entry(0, libc::SHUT_RDWR), 5);
    bench.run(shutdown_entry(0, 7), 6);
    bench.run(poll_entry(0, libc::POLLIN | libc::POLLOUT), 7);
    bench.listener_in(1);
    bench.run(recv_on(1, &mut buffer, 0), 8);
    bench.run(send_on(1, b"x", 0), 9);
}

/// Says what CONNECT, LISTEN and BIND come to on slot 1.
fn try_to_use(bench: &mut Bench, to: &libc::sockaddr_in) {
    bench.run(opcode::Listen::new(types::Fixed(1), 1).build(), 100);
    bench.run(connect_entry(1, to), 101);
    bench.run(opcode::Listen::new(types::Fixed(1), 1).build(), 102);
    bench.run(bind_entry(1, &any_v4(PORT + 1)), 103);
}

fn unspecified() -> libc::sockaddr_in {
    let mut address = any_v4(0);
    address.sin_family = libc::AF_UNSPEC as u16;
    address
}

fn over(bench: &mut Bench) {
    let good = v4(PEER_V4, bench.peer_listener.local_addr().unwrap().port());
    bench.listener(4);
    for by_us in [false, true] {
        // Accepted, and reset; or ended by both.
        let mut stream = bench.peer_connects();
        bench.run(accept_entry(0, Some(1)), 1);
        if by_us {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            bench.run(poll_entry(1, libc::POLLRDHUP), 2);
            bench.run(shutdown_entry(1, libc::SHUT_WR), 3);
            bench.peer_sees_end(&mut stream);
        } else {
            reset(stream);
        }
        bench.run(poll_entry(1, 0), 4);
        try_to_use(bench, &good);
        // What is dissolved may begin anew.
        bench.run(connect_entry(1, &unspecified()), 5);
        bench.run(connect_entry(1, &good), 6);
        let (stream, _) = bench.peer_listener.accept().unwrap();
        reset(stream);
        bench.run(poll_entry(1, 0), 7);
        try_to_use(bench, &good);
        bench.run(connect_entry(1, &unspecified()), 8);
        bench.run(opcode::Listen::new(types::Fixed(1), 1).build(), 9);
    }
}

fn was_refused(bench: &mut Bench) {
    let nobody = v4(PEER_V4, 9);
    bench.files();
    bench.stream_socket(libc::AF_INET, 1, 1);
    bench.run(connect_entry(1, &nobody), 2);
    try_to_use(bench, &nobody);
    bench.stream_socket(libc::AF_INET, 1, 3);
    bench.run(connect_entry(1, &nobody), 4);
    bench.run(shutdown_entry(1, libc::SHUT_RDWR), 5);
    try_to_use(bench, &nobody);
    bench.run(connect_entry(1, &unspecified()), 6);
    bench.run(connect_entry(1, &nobody), 7);
}

fn connect_again(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 1, 1);
    let nobody = v4("10.7.0.77", 80);
    bench.push(connect_entry(1, &nobody), 2);
    bench.submit();
    bench.cancel(2);
    bench.wait(2);
    // It goes on all the same, and whoever asks next hears of it.
    bench.run(poll_entry(1, 0), 3);
    // The kernel's wake-up says ERR alone.
    bench.transcript.pop();
    let good = v4(PEER_V4, bench.peer_listener.local_addr().unwrap().port());
    bench.run(connect_entry(1, &good), 4);
    bench.run(connect_entry(1, &good), 5);
}

fn end_of_stream(bench: &mut Bench) {
    let mut stream = bench.connected();
    stream.write_all(b"last").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.run(poll_entry(1, libc::POLLRDHUP), 1);
    let mut buffer = [0; 3];
    bench.run(recv_on(1, &mut buffer, 0), 2);
    bench.run(recv_on(1, &mut buffer, 0), 3);
    bench.run(recv_on(1, &mut buffer, 0), 4);
    bench.run(recv_on(1, &mut buffer, libc::MSG_DONTWAIT), 5);
    // The other direction goes on.
    bench.run(send_on(1, b"answer", 0), 6);
    let got = bench.peer_reads(&mut stream, 6);
    bench.say(got);
}

fn reset_receive(bench: &mut Bench) {
    let stream = bench.connected();
    let mut buffer = [0; 16];
    bench.push(recv_on(1, &mut buffer, 0), 1);
    bench.submit();
    reset(stream);
    bench.wait(1);
    bench.run(recv_on(1, &mut buffer, 0), 2);
    bench.run(send_on(1, b"x", 0), 3);
}

fn reset_after(bench: &mut Bench) {
    let mut stream = bench.connected();
    stream.write_all(b"before").unwrap();
    bench.readable(1);
    reset(stream);
    bench.run(poll_entry(1, 0), 1);
    let mut buffer = [0; 16];
    bench.run(recv_on(1, &mut buffer, 0), 2);
    bench.run(send_on(1, b"x", 0), 3);
    bench.run(send_on(1, b"x", 0), 4);
    bench.run(recv_on(1, &mut buffer, 0), 5);
    bench.run(shutdown_entry(1, libc::SHUT_RDWR), 6);
}

fn shutdown_send(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run(shutdown_entry(1, libc::SHUT_WR), 1);
    bench.peer_sees_end(&mut stream);
    bench.run(send_on(1, b"x", 0), 2);
    stream.write_all(b"still").unwrap();
    let mut buffer = [0; 16];
    bench.run(recv_on(1, &mut buffer, 0), 3);
    bench.run(shutdown_entry(1, libc::SHUT_WR), 4);
}

fn shutdown_receive(bench: &mut Bench) {
    let mut stream = bench.connected();
    let mut buffer = [0; 16];
    bench.push(recv_on(1, &mut buffer, 0), 1);
    bench.submit();
    bench.push(shutdown_entry(1, libc::SHUT_RD), 2);
    bench.wait(2);
    bench.run(recv_on(1, &mut buffer, 0), 3);
    bench.run(send_on(1, b"out", 0), 4);
    let got = bench.peer_reads(&mut stream, 3);
    bench.say(got);
}

fn shutdown_both(bench: &mut Bench) {
    let ways: [&[i32]; 3] = [
        &[libc::SHUT_RDWR],
        &[libc::SHUT_RD, libc::SHUT_WR],
        &[libc::SHUT_WR, libc::SHUT_RD],
    ];
    bench.listener(4);
    for ways in ways {
        let mut stream = bench.peer_connects();
        bench.run(accept_entry(0, Some(1)), 1);
        for &how in ways {
            bench.run(shutdown_entry(1, how), 2);
        }
        bench.peer_sees_end(&mut stream);
        stream.write_all(b"late").unwrap();
        bench.pump("the peer is reset", || {
            stream.take_error().unwrap().is_some()
        });
        say_what_is_left(bench);
    }
    // With the sending side open it is received all the same.
    let mut stream = bench.peer_connects();
    bench.run(accept_entry(0, Some(1)), 1);
    bench.run(shutdown_entry(1, libc::SHUT_RD), 2);
    stream.write_all(b"late").unwrap();
    bench.pump("the data is there", || unacknowledged(&stream) == 0);
    say_what_is_left(bench);
}

fn say_what_is_left(bench: &mut Bench) {
    bench.run(poll_entry(1, libc::POLLIN), 3);
    let mut buffer = [0; 16];
    for user_data in 4..6 {
        bench.run(recv_on(1, &mut buffer, libc::MSG_DONTWAIT), user_data);
    }
    bench.run(send_on(1, b"x", 0), 6);
}

fn close_with_receive(bench: &mut Bench) {
    let mut stream = bench.connected();
    let mut buffer = [0; 16];
    bench.push(recv_on(1, &mut buffer, 0), 1);
    bench.submit();
    bench.run(close_entry(1), 2);
    stream.write_all(b"late").unwrap();
    bench.wait(1);
    bench.say(&buffer[..4]);
    bench.peer_sees_end(&mut stream);
}

fn close_unread(bench: &mut Bench) {
    let mut stream = bench.connected();
    stream.write_all(b"nobody reads this").unwrap();
    bench.readable(1);
    bench.run(close_entry(1), 1);
    bench.peer_sees_end(&mut stream);
}

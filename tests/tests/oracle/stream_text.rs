// The oracle's text about TCP: connections and their ends. It is compiled twice, beside text.rs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

pub const STREAM_CASES: &[(&str, Case)] = &[
    ("tcp_sockets_and_listen", listen_errors),
    ("tcp_accept", accept_one),
    ("tcp_accept_takes_a_free_slot", accept_alloc),
    ("tcp_accept_without_waiting", accept_dont_wait),
    ("tcp_accept_writes_the_peers_address", accept_address),
    ("tcp_accept_with_no_slot_left", accept_full),
    ("tcp_accept_multishot", accept_multishot),
    ("tcp_accept_on_a_listener_that_is_shut_down", accept_shut),
    ("tcp_accept_where_nobody_listens", accept_errors),
    ("tcp_accept_outlives_its_descriptor", accept_closed),
    ("tcp_accept_of_what_was_reset", accept_reset),
    ("tcp_connect", connect_ok),
    ("tcp_connect_refused", connect_refused),
    ("tcp_connect_in_progress", connect_pending),
    ("tcp_connect_to_bad_addresses", connect_errors),
    ("tcp_connect_over_ipv6", connect_v6),
    ("tcp_unconnected", unconnected),
    ("tcp_end_of_stream", end_of_stream),
    ("tcp_reset_while_receiving", reset_receive),
    ("tcp_reset_and_what_follows", reset_after),
    ("tcp_shutdown_of_sending", shutdown_send),
    ("tcp_shutdown_of_receiving", shutdown_receive),
    ("tcp_close_with_a_receive_in_flight", close_with_receive),
    ("tcp_close_resets_unread_data", close_unread),
    ("tcp_poll_of_a_listener", poll_listener),
    ("tcp_poll_of_a_connection", poll_connection),
    ("tcp_poll_multishot", poll_multishot),
];

impl Bench {
    fn stream_socket(&mut self, domain: i32, slot: u32, user_data: u64) {
        let target = types::DestinationSlot::try_from_slot_target(slot).unwrap();
        let entry = opcode::Socket::new(domain, libc::SOCK_STREAM, 0).file_index(Some(target));
        self.run(entry.build(), user_data);
    }

    /// A listener in slot 0.
    fn listener(&mut self, backlog: i32) {
        self.files();
        self.stream_socket(libc::AF_INET, 0, 910);
        let address = any_v4(PORT);
        self.run(bind_entry(0, &address), 911);
        self.run(opcode::Listen::new(types::Fixed(0), backlog).build(), 912);
    }

    /// Takes turns until something is so at the peer.
    fn pump(&mut self, what: &str, mut until: impl FnMut() -> bool) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !until() {
            assert!(std::time::Instant::now() < deadline, "{what}");
            let time = types::Timespec::new().nsec(1_000_000);
            let args = types::SubmitArgs::new().timespec(&time);
            // Completions that are there already would make this return at once: that is no harm.
            let _ = self.ring.submitter().submit_with_args(1, &args);
        }
    }

    /// A connection from the peer, made as far as the peer can tell.
    fn peer_connects(&mut self) -> TcpStream {
        let stream = self.peer_streams.pop().expect("a socket of the peer's");
        let address = v4(ringwire_tests::net::RING_V4, PORT);
        // SAFETY: a valid address of that length.
        unsafe { libc::connect(stream.as_raw_fd(), std::ptr::from_ref(&address).cast(), 16) };
        self.pump("the peer connects", || stream.peer_addr().is_ok());
        stream
    }

    /// A listener in slot 0, and a connection in slot 1.
    fn connected(&mut self) -> TcpStream {
        self.listener(4);
        let stream = self.peer_connects();
        self.run(accept_entry(0, Some(1)), 913);
        stream
    }

    /// Reads so many bytes at the peer.
    fn peer_reads(&mut self, stream: &mut TcpStream, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 65_536];
        self.pump("the peer reads", || {
            while bytes.len() < len {
                let want = chunk.len().min(len - bytes.len());
                match stream.read(&mut chunk[..want]) {
                    Ok(0) | Err(_) => return false,
                    Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                }
            }
            true
        });
        bytes
    }

    /// What the peer sees when nothing more comes: the end, or an error.
    fn peer_sees_end(&mut self, stream: &mut TcpStream) {
        let mut seen = None;
        self.pump("the peer sees the end", || {
            match stream.read(&mut [0; 16]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                other => seen = Some(other.map_err(|error| error.raw_os_error())),
            }
            true
        });
        self.say(("peer", seen));
    }

    /// Waits until a socket has something to read.
    fn readable(&mut self, slot: u32) {
        self.run(opcode::PollAdd::new(types::Fixed(slot), libc::POLLIN as u32).build(), 914);
    }

    fn cancel(&mut self, user_data: u64) {
        self.push(opcode::AsyncCancel::new(user_data).build(), 915);
    }
}

/// Closes with a RST.
fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of_val(&linger) as u32;
    let value = std::ptr::from_ref(&linger).cast();
    // SAFETY: the option's value lives, and has that length.
    unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, len) };
}

fn accept_entry(slot: u32, into: Option<u32>) -> squeue::Entry {
    let target = match into {
        Some(into) => types::DestinationSlot::try_from_slot_target(into).unwrap(),
        None => types::DestinationSlot::auto_target(),
    };
    opcode::Accept::new(types::Fixed(slot), std::ptr::null_mut(), std::ptr::null_mut()).file_index(Some(target)).build()
}

fn recv_on(slot: u32, buffer: &mut [u8], flags: i32) -> squeue::Entry {
    opcode::Recv::new(types::Fixed(slot), buffer.as_mut_ptr(), buffer.len() as u32).flags(flags).build()
}

fn send_on(slot: u32, bytes: &[u8], flags: i32) -> squeue::Entry {
    opcode::Send::new(types::Fixed(slot), bytes.as_ptr(), bytes.len() as u32).flags(flags).build()
}

fn close_entry(slot: u32) -> squeue::Entry {
    opcode::Close::new(types::Fixed(slot)).build()
}

fn shutdown_entry(slot: u32, how: i32) -> squeue::Entry {
    opcode::Shutdown::new(types::Fixed(slot), how).build()
}

fn poll_entry(slot: u32, events: i16) -> squeue::Entry {
    opcode::PollAdd::new(types::Fixed(slot), events as u32).build()
}

fn listen_errors(bench: &mut Bench) {
    bench.listener(1);
    bench.run(opcode::Listen::new(types::Fixed(0), 5).build(), 1);
    bench.stream_socket(libc::AF_INET, 1, 2);
    let taken = any_v4(PORT);
    bench.run(bind_entry(1, &taken), 3);
    bench.run(opcode::Listen::new(types::Fixed(1), 5).build(), 4);
    bench.run(bind_entry(1, &any_v4(PORT + 1)), 5);
    bench.run(socket(libc::AF_INET, 2), 6);
    bench.run(opcode::Listen::new(types::Fixed(2), 5).build(), 7);
    bench.run(opcode::Listen::new(types::Fixed(3), 5).build(), 8);
    for (kind, protocol) in [(libc::SOCK_STREAM, libc::IPPROTO_UDP), (libc::SOCK_STREAM, libc::IPPROTO_TCP)] {
        let slot = types::DestinationSlot::try_from_slot_target(3).unwrap();
        let entry = opcode::Socket::new(libc::AF_INET6, kind, protocol).file_index(Some(slot));
        bench.run(entry.build(), 9);
    }
}

fn accept_one(bench: &mut Bench) {
    bench.listener(4);
    bench.push(accept_entry(0, Some(1)), 1);
    bench.submit();
    let mut stream = bench.peer_connects();
    bench.wait(1);
    stream.write_all(b"hello").unwrap();
    let mut buffer = [0; 16];
    bench.run(recv_on(1, &mut buffer, 0), 2);
    bench.say(&buffer[..5]);
    bench.run(send_on(1, b"world!", 0), 3);
    let got = bench.peer_reads(&mut stream, 6);
    bench.say(got);
    let _second = bench.peer_connects();
    let _third = bench.peer_connects();
    bench.run(accept_entry(0, Some(2)), 4);
    bench.run(accept_entry(0, Some(2)), 5);
    // An explicit slot out of range loses the connection.
    let mut fourth = bench.peer_connects();
    bench.run(accept_entry(0, Some(SLOTS)), 6);
    bench.peer_sees_end(&mut fourth);
}

fn accept_alloc(bench: &mut Bench) {
    bench.listener(4);
    let _streams = [bench.peer_connects(), bench.peer_connects()];
    bench.run(accept_entry(0, None), 1);
    bench.run(accept_entry(0, None), 2);
}

fn accept_dont_wait(bench: &mut Bench) {
    bench.listener(4);
    let dont_wait = || raw(accept_entry(0, Some(1)), |bytes| bytes[2] = 2);
    bench.run(dont_wait(), 1);
    let _stream = bench.peer_connects();
    bench.readable(0);
    bench.run(dont_wait(), 2);
    let unknown = raw(accept_entry(0, Some(1)), |bytes| bytes[2] = 0x80);
    bench.run(unknown, 3);
    let flags = raw(accept_entry(0, Some(1)), |bytes| bytes[28..32].copy_from_slice(&1i32.to_ne_bytes()));
    bench.run(flags, 4);
    let poll_first = raw(accept_entry(0, Some(1)), |bytes| bytes[2] = 4);
    bench.push(poll_first, 5);
    bench.submit();
    let _second = bench.peer_connects();
    bench.wait(1);
}

fn accept_address(bench: &mut Bench) {
    bench.listener(4);
    for (room, user_data) in [(128i32, 1), (8, 2), (0, 3), (-1, 4)] {
        let stream = bench.peer_connects();
        let (mut bytes, mut len) = ([0xaau8; 128], room);
        let slot = types::DestinationSlot::try_from_slot_target(1).unwrap();
        let (addr, addrlen) = (bytes.as_mut_ptr().cast(), std::ptr::from_mut(&mut len).cast());
        let entry = opcode::Accept::new(types::Fixed(0), addr, addrlen).file_index(Some(slot));
        bench.run(entry.build(), user_data);
        let port = stream.local_addr().unwrap().port().to_be_bytes();
        let right_port = bytes[2..4] == port;
        bench.say((len, &bytes[..2], right_port, &bytes[4..20]));
    }
}

fn accept_full(bench: &mut Bench) {
    bench.listener(4);
    for slot in 1..SLOTS {
        bench.run(socket(libc::AF_INET, slot), 1);
    }
    let entry = opcode::AcceptMulti::new(types::Fixed(0)).allocate_file_index(true);
    bench.push(entry.build(), 2);
    bench.submit();
    let mut stream = bench.peer_connects();
    bench.wait(1);
    bench.peer_sees_end(&mut stream);
}

fn accept_multishot(bench: &mut Bench) {
    bench.listener(4);
    let fixed = raw(accept_entry(0, Some(1)), |bytes| bytes[2] = 1);
    bench.run(fixed, 1);
    let entry = || opcode::AcceptMulti::new(types::Fixed(0)).allocate_file_index(true).build();
    bench.push(entry(), 2);
    bench.submit();
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(bench.peer_connects());
        bench.wait(1);
    }
    bench.cancel(2);
    bench.wait(2);
    streams.push(bench.peer_connects());
    bench.run(entry(), 3);
}

fn accept_shut(bench: &mut Bench) {
    bench.listener(4);
    bench.push(accept_entry(0, Some(1)), 1);
    bench.submit();
    bench.push(shutdown_entry(0, libc::SHUT_RD), 2);
    bench.wait(2);
    bench.run(accept_entry(0, Some(1)), 3);
    bench.run(opcode::Listen::new(types::Fixed(0), 1).build(), 4);
    let _stream = bench.peer_connects();
    bench.run(accept_entry(0, Some(1)), 5);
}

fn accept_errors(bench: &mut Bench) {
    bench.files();
    bench.run(socket(libc::AF_INET, 0), 1);
    bench.run(accept_entry(0, Some(1)), 2);
    bench.stream_socket(libc::AF_INET, 0, 3);
    bench.run(accept_entry(0, Some(1)), 4);
    bench.run(accept_entry(3, Some(1)), 5);
}

fn accept_closed(bench: &mut Bench) {
    bench.listener(4);
    let entry = opcode::AcceptMulti::new(types::Fixed(0)).allocate_file_index(true);
    bench.push(entry.build(), 1);
    bench.submit();
    bench.run(close_entry(0), 2);
    let _stream = bench.peer_connects();
    bench.wait(1);
    bench.cancel(1);
    bench.wait(2);
}

fn accept_reset(bench: &mut Bench) {
    bench.listener(4);
    let mut stream = bench.peer_connects();
    stream.write_all(b"before").unwrap();
    bench.readable(0);
    reset(stream);
    // The reset comes before what comes after it.
    let _other = bench.peer_connects();
    bench.run(accept_entry(0, Some(1)), 1);
    let mut buffer = [0; 16];
    for user_data in 2..5 {
        bench.run(recv_on(1, &mut buffer, 0), user_data);
    }
    bench.run(send_on(1, b"x", 0), 5);
}

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
    for (index, to) in ["255.255.255.255", "224.0.0.1", "192.0.2.1"].into_iter().enumerate() {
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
    let entry = |len| opcode::Connect::new(types::Fixed(0), std::ptr::from_ref(&address).cast(), len).build();
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

fn poll_listener(bench: &mut Bench) {
    bench.listener(4);
    bench.push(poll_entry(0, libc::POLLIN), 1);
    bench.submit();
    let _stream = bench.peer_connects();
    bench.wait(1);
    bench.run(poll_entry(0, libc::POLLIN), 2);
}

fn poll_connection(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run(poll_entry(1, libc::POLLIN | libc::POLLOUT), 1);
    bench.push(poll_entry(1, libc::POLLIN), 2);
    bench.submit();
    stream.write_all(b"x").unwrap();
    bench.wait(1);
    bench.run(poll_entry(1, libc::POLLIN | libc::POLLOUT), 3);
    bench.run(shutdown_entry(1, libc::SHUT_WR), 4);
    bench.run(poll_entry(1, libc::POLLIN | libc::POLLOUT), 5);
    reset(stream);
    bench.run(poll_entry(1, 0), 6);
}

fn poll_multishot(bench: &mut Bench) {
    let mut stream = bench.connected();
    let entry = opcode::PollAdd::new(types::Fixed(1), libc::POLLIN as u32).multi(true);
    bench.push(entry.build(), 1);
    bench.submit();
    for _ in 0..2 {
        stream.write_all(b"x").unwrap();
        bench.wait(1);
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.wait(1);
    bench.cancel(1);
    bench.wait(2);
}

impl Bench {
    /// A listener in a slot, on another port.
    fn listener_in(&mut self, slot: u32) {
        self.stream_socket(libc::AF_INET, slot, 920);
        self.run(bind_entry(slot, &any_v4(PORT + 10)), 921);
        self.run(opcode::Listen::new(types::Fixed(slot), 4).build(), 922);
    }
}

fn v6(ip: &str, port: u16) -> libc::sockaddr_in6 {
    let ip: std::net::Ipv6Addr = ip.parse().unwrap();
    // SAFETY: all zeroes is a valid sockaddr_in6.
    let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    address.sin6_family = libc::AF_INET6 as u16;
    address.sin6_port = port.to_be();
    address.sin6_addr.s6_addr = ip.octets();
    address
}

/// Every case of the oracle.
pub fn all_cases() -> impl Iterator<Item = &'static (&'static str, Case)> {
    CASES.iter().chain(STREAM_CASES).chain(TRANSFER_CASES).chain(OPTION_CASES).chain(OPTION_EFFECT_CASES).chain(TCP_OPTION_CASES)
}

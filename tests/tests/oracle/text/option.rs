//! Socket commands: options, and what is queued.

use super::*;

pub const CASES: &[Case] = &[
    case("option_commands_that_are_refused", refused_commands),
    case("option_lengths_and_pointers", option_lengths),
    case("option_what_a_socket_is", option_identity),
    case("option_flags", option_flags),
    case("option_buffer_sizes", option_buffer_sizes),
    case("option_linger", option_linger),
    case("option_linger_zero_resets", option_linger_resets),
    case("option_linger_is_the_listeners", option_linger_inherited),
    case("option_error_is_taken_by_reading_it", option_error),
    case("option_low_mark", option_low_mark),
    case("option_low_mark_of_a_stream", option_low_mark_stream),
    case("option_low_mark_and_poll", option_low_mark_poll),
    case(
        "option_low_mark_and_the_end_of_the_stream",
        option_low_mark_end,
    ),
];

impl Bench {
    pub fn set(&mut self, slot: u32, option: (i32, i32), value: &[u8], user_data: u64) {
        let address = value.as_ptr().expose_provenance();
        self.run(
            option_entry(slot, SET, option, address, value.len() as i32),
            user_data,
        );
    }

    pub fn set_int(&mut self, slot: u32, option: (i32, i32), value: i32, user_data: u64) {
        self.set(slot, option, &value.to_ne_bytes(), user_data);
    }

    /// Reads an option, into so much room, and writes down what is there afterwards.
    pub fn get(&mut self, slot: u32, option: (i32, i32), room: i32, user_data: u64) {
        let mut bytes = [0xaa_u8; 16];
        let address = bytes.as_mut_ptr().expose_provenance();
        self.run(option_entry(slot, GET, option, address, room), user_data);
        let bytes = std::hint::black_box(bytes);
        self.say((option, bytes));
    }

    pub fn get_int(&mut self, slot: u32, option: (i32, i32), user_data: u64) {
        self.get(slot, option, 4, user_data);
    }

    /// What a command without arguments gives, not written down.
    pub fn ask(&mut self, slot: u32, command: u8) -> i32 {
        const ASKED: u64 = 990;
        self.push(command_entry(slot, command), ASKED);
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            assert!(std::time::Instant::now() < deadline, "a command completes");
            let _ = self.ring.submit_and_wait(1);
            let completions: Vec<_> = self
                .ring
                .completion()
                .map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags()))
                .collect();
            for completion in &completions {
                if completion.0 != ASKED {
                    self.say(("meanwhile", completion));
                }
            }
            if let Some(asked) = completions.iter().find(|completion| completion.0 == ASKED) {
                return asked.1;
            }
        }
    }

    /// Waits until a command gives this.
    pub fn until(&mut self, slot: u32, command: u8, want: i32) {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let got = self.ask(slot, command);
            if got == want {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "command {command}: {got}, not {want}"
            );
        }
    }

    /// What a command gives when it gives the same for a while.
    pub fn steady(&mut self, slot: u32, command: u8) -> i32 {
        let (mut last, mut since) = (-1, std::time::Instant::now());
        while since.elapsed() < Duration::from_millis(50) {
            let got = self.ask(slot, command);
            if std::mem::replace(&mut last, got) != got {
                since = std::time::Instant::now();
            }
        }
        last
    }

    /// Sends without waiting until nothing more fits; returns how many bytes that were.
    pub fn fill(&mut self, slot: u32) -> usize {
        const FILL: u64 = 991;
        let bytes = vec![7; 16_384];
        let mut sent = 0;
        loop {
            self.push(send_on(slot, &bytes, libc::MSG_DONTWAIT), FILL);
            self.ring.submit_and_wait(1).unwrap();
            let res = self
                .ring
                .completion()
                .next()
                .expect("a completion")
                .result();
            match res {
                1.. => sent += res as usize,
                _ => {
                    self.say(("full", res));
                    return sent;
                }
            }
        }
    }

    /// A connection in slot 0, made from here, and its other end.
    pub fn connects(&mut self) -> TcpStream {
        self.stream_socket(libc::AF_INET, 0, 920);
        self.connects_socket()
    }

    /// The same with the socket that is in slot 0.
    pub fn connects_socket(&mut self) -> TcpStream {
        let address = v4(PEER_V4, self.peer_listener.local_addr().unwrap().port());
        self.run(connect_entry(0, &address), 921);
        let (stream, _) = self.peer_listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }
}

fn refused_commands(bench: &mut Bench) {
    bench.bound();
    bench.stream_socket(libc::AF_INET, 1, 1);
    for slot in 0..3 {
        // Time stamps need larger completions; what comes after is not known.
        for command in [4, 6, 77, 255] {
            bench.run(command_entry(slot, command), 2);
        }
    }
    bench.run(raw(command_entry(0, QUEUED_IN), |bytes| bytes[12] = 1), 3);
    bench.run(raw(command_entry(0, QUEUED_IN), |bytes| bytes[28] = 4), 4);
    bench.run(raw(command_entry(0, QUEUED_IN), |bytes| bytes[2] = 1), 5);
    bench.run(
        command_entry(0, QUEUED_IN).flags(squeue::Flags::BUFFER_SELECT),
        6,
    );
    for level in [-1, 2, libc::SOL_UDP, 255, 300] {
        bench.get_int(0, (level, 1), 7);
        bench.set_int(0, (level, 999), 1, 8);
        bench.set_int(1, (level, 999), 1, 9);
    }
    // A failure breaks a chain.
    let failing = option_entry(0, GET, (libc::SOL_SOCKET, 9999), 0, 4);
    bench.push(failing.flags(link()), 10);
    bench.push(opcode::Nop::new().build(), 11);
    bench.wait(2);
}

fn option_lengths(bench: &mut Bench) {
    bench.bound();
    let reuse = socket_level(libc::SO_REUSEADDR);
    for len in [0, 1, 3, 4, 8, 1 << 20] {
        let value = [1u8; 8];
        let address = value.as_ptr().expose_provenance();
        bench.run(option_entry(0, SET, reuse, address, len), 1);
    }
    for (address, len) in [(0, 4), (8, 4), (0, 0), (0, 3), (0, -1), (8, i32::MIN)] {
        bench.run(option_entry(0, SET, reuse, address, len), 2);
        bench.run(option_entry(0, GET, reuse, address, len), 3);
    }
    for room in [0, 1, 3, 4, 5, 16] {
        bench.get(0, reuse, room, 4);
        bench.get(0, socket_level(libc::SO_LINGER), room, 5);
    }
    // The pointer is looked at before the number.
    bench.run(option_entry(0, SET, socket_level(9999), 0, 4), 6);
    bench.run(option_entry(0, GET, socket_level(9999), 0, 4), 7);
    bench.set_int(0, socket_level(9999), 1, 8);
    bench.get_int(0, socket_level(9999), 9);
    bench.run(option_entry(0, GET, socket_level(9999), 0, -1), 10);
    for len in [4, 7, 8, 9] {
        let value = [1u8; 9];
        bench.set(0, socket_level(libc::SO_LINGER), &value[..len], 11);
    }
}

fn option_identity(bench: &mut Bench) {
    bench.files();
    bench.run(socket(libc::AF_INET, 0), 1);
    bench.run(socket(libc::AF_INET6, 1), 1);
    bench.stream_socket(libc::AF_INET, 2, 1);
    bench.stream_socket(libc::AF_INET6, 3, 1);
    for slot in 0..4 {
        for name in [
            libc::SO_TYPE,
            libc::SO_PROTOCOL,
            libc::SO_DOMAIN,
            libc::SO_ACCEPTCONN,
            libc::SO_ERROR,
        ] {
            bench.get_int(slot, socket_level(name), 2);
            bench.set_int(slot, socket_level(name), 1, 3);
        }
    }
    bench.run(bind_entry(2, &any_v4(PORT)), 4);
    bench.run(opcode::Listen::new(types::Fixed(2), 1).build(), 5);
    bench.get_int(2, socket_level(libc::SO_ACCEPTCONN), 6);
    bench.run(shutdown_entry(2, libc::SHUT_RD), 7);
    bench.get_int(2, socket_level(libc::SO_ACCEPTCONN), 8);
}

fn option_flags(bench: &mut Bench) {
    bench.bound();
    bench.stream_socket(libc::AF_INET6, 1, 1);
    for slot in 0..2 {
        for name in [libc::SO_REUSEADDR, libc::SO_REUSEPORT, libc::SO_KEEPALIVE] {
            bench.get_int(slot, socket_level(name), 2);
            for value in [5, -1, 0, 1] {
                bench.set_int(slot, socket_level(name), value, 3);
                bench.get_int(slot, socket_level(name), 4);
            }
        }
    }
}

fn option_buffer_sizes(bench: &mut Bench) {
    bench.bound();
    bench.stream_socket(libc::AF_INET, 1, 1);
    for name in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
        bench.get_int(0, socket_level(name), 2);
        for slot in 0..2 {
            for value in [
                0,
                1,
                2304,
                5000,
                100_000,
                1 << 21,
                1 << 22,
                (1 << 22) + 1,
                i32::MAX,
                i32::MIN,
                -1,
            ] {
                bench.set_int(slot, socket_level(name), value, 3);
                bench.get_int(slot, socket_level(name), 4);
            }
        }
    }
}

fn option_linger(bench: &mut Bench) {
    bench.bound();
    bench.stream_socket(libc::AF_INET, 1, 1);
    let linger = socket_level(libc::SO_LINGER);
    for slot in 0..2 {
        bench.get(slot, linger, 8, 2);
        for (on, seconds) in [(1i32, 5i32), (0, 7), (2, 0), (-1, i32::MAX), (0, 0)] {
            let value = [on.to_ne_bytes(), seconds.to_ne_bytes()].concat();
            bench.set(slot, linger, &value, 3);
            bench.get(slot, linger, 8, 4);
        }
    }
}

fn linger_zero() -> Vec<u8> {
    [1i32.to_ne_bytes(), 0i32.to_ne_bytes()].concat()
}

fn option_linger_resets(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.set(1, socket_level(libc::SO_LINGER), &linger_zero(), 1);
    bench.run(close_entry(1), 2);
    bench.peer_sees_end(&mut stream);
    // Any other time changes nothing: what was sent goes out.
    let mut stream = bench.peer_connects();
    bench.run(accept_entry(0, Some(1)), 3);
    let value = [1i32.to_ne_bytes(), 1i32.to_ne_bytes()].concat();
    bench.set(1, socket_level(libc::SO_LINGER), &value, 4);
    bench.run(send_on(1, b"the last", 0), 5);
    bench.run(shutdown_entry(1, libc::SHUT_WR), 6);
    let got = bench.peer_reads(&mut stream, 8);
    bench.say(got);
    bench.peer_sees_end(&mut stream);
    drop(stream);
    let mut buffer = [0; 8];
    bench.run(recv_on(1, &mut buffer, 0), 7);
    bench.run(close_entry(1), 8);
}

fn option_linger_inherited(bench: &mut Bench) {
    bench.listener(4);
    bench.set(0, socket_level(libc::SO_LINGER), &linger_zero(), 1);
    bench.set_int(0, socket_level(libc::SO_KEEPALIVE), 1, 2);
    bench.set_int(0, socket_level(libc::SO_RCVBUF), 30_000, 3);
    bench.set_int(0, socket_level(libc::SO_SNDBUF), 40_000, 4);
    bench.set_int(0, socket_level(libc::SO_RCVLOWAT), 3, 5);
    let mut stream = bench.peer_connects();
    bench.run(accept_entry(0, Some(1)), 6);
    let names = [
        libc::SO_KEEPALIVE,
        libc::SO_RCVBUF,
        libc::SO_SNDBUF,
        libc::SO_RCVLOWAT,
        libc::SO_REUSEADDR,
    ];
    for name in names {
        bench.get_int(1, socket_level(name), 7);
    }
    bench.run(close_entry(1), 8);
    bench.peer_sees_end(&mut stream);
}

fn option_error(bench: &mut Bench) {
    bench.bound();
    let error = socket_level(libc::SO_ERROR);
    bench.run(connect_entry(0, &v4(PEER_V4, 9)), 1);
    bench.run(send(b"anybody?"), 2);
    bench.run(poll_entry(0, 0), 3);
    bench.get_int(0, error, 4);
    bench.get_int(0, error, 5);
    // A stream's, with too little room for it: it is taken nevertheless.
    let stream = bench.connects();
    reset(stream);
    bench.run(poll_entry(0, 0), 7);
    bench.get(0, error, 1, 8);
    bench.get_int(0, error, 9);
    let mut buffer = [0; 8];
    bench.run(recv_on(0, &mut buffer, 0), 10);
}

fn option_low_mark(bench: &mut Bench) {
    bench.bound();
    bench.stream_socket(libc::AF_INET, 1, 1);
    let low = socket_level(libc::SO_RCVLOWAT);
    for slot in 0..2 {
        bench.get_int(slot, low, 2);
        for value in [0, 1, 2, 100_000] {
            bench.set_int(slot, low, value, 3);
            bench.get_int(slot, low, 4);
        }
    }
    for value in [-1, i32::MAX] {
        bench.set_int(0, low, value, 5);
        bench.get_int(0, low, 6);
    }
    // At most half of a receive buffer that was set, and never changed by another.
    bench.set_int(1, socket_level(libc::SO_RCVBUF), 20_000, 7);
    bench.get_int(1, low, 8);
    for value in [20_001, 20_000, -1, i32::MAX] {
        bench.set_int(1, low, value, 9);
        bench.get_int(1, low, 10);
    }
    // Datagrams know no mark.
    bench.peer_sends(b"short");
    bench.until_readable();
    let mut buffer = [0; 16];
    bench.run(recv(&mut buffer), 11);
}

fn option_low_mark_stream(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.set_int(1, socket_level(libc::SO_RCVLOWAT), 10, 1);
    let mut buffer = [0; 64];
    // What waits is woken at the mark.
    bench.push(recv_on(1, &mut buffer, 0), 2);
    bench.submit();
    stream.write_all(b"12345").unwrap();
    bench.until(1, QUEUED_IN, 5);
    stream.write_all(b"67890a").unwrap();
    bench.wait(1);
    // What is asked for at once gets what there is.
    stream.write_all(b"few").unwrap();
    bench.until(1, QUEUED_IN, 3);
    bench.run(recv_on(1, &mut buffer, libc::MSG_DONTWAIT), 3);
    stream.write_all(b"more").unwrap();
    bench.until(1, QUEUED_IN, 4);
    bench.run(recv_on(1, &mut buffer, 0), 4);
    bench.run(recv_on(1, &mut buffer, libc::MSG_DONTWAIT), 5);
    // A lower mark wakes what waits.
    bench.push(recv_on(1, &mut buffer, 0), 6);
    bench.submit();
    stream.write_all(b"12345").unwrap();
    bench.until(1, QUEUED_IN, 5);
    bench.push(set_low_mark(1, &5), 7);
    bench.wait(2);
    // A request for less than the mark waits for the mark.
    bench.set_int(1, socket_level(libc::SO_RCVLOWAT), 10, 8);
    bench.push(recv_on(1, &mut buffer[..2], 0), 9);
    bench.submit();
    stream.write_all(b"123456789").unwrap();
    bench.until(1, QUEUED_IN, 9);
    stream.write_all(b"0").unwrap();
    bench.wait(1);
    bench.say(&buffer[..2]);
}

fn set_low_mark(slot: u32, value: &'static i32) -> squeue::Entry {
    let address = std::ptr::from_ref(value).expose_provenance();
    option_entry(slot, SET, socket_level(libc::SO_RCVLOWAT), address, 4)
}

fn option_low_mark_poll(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.set_int(1, socket_level(libc::SO_RCVLOWAT), 10, 1);
    bench.push(poll_entry(1, libc::POLLIN), 2);
    bench.submit();
    stream.write_all(b"12345").unwrap();
    bench.until(1, QUEUED_IN, 5);
    bench.run(poll_entry(1, libc::POLLIN | libc::POLLOUT), 3);
    stream.write_all(b"67890").unwrap();
    bench.wait(1);
    bench.run(poll_entry(1, libc::POLLIN | libc::POLLOUT), 4);
    // POLL_FIRST leaves the first attempt out: it waits for the mark.
    let mut buffer = [0; 64];
    bench.run(recv_on(1, &mut buffer, 0), 5);
    stream.write_all(b"12345").unwrap();
    bench.until(1, QUEUED_IN, 5);
    bench.push(raw(recv_on(1, &mut buffer, 0), |bytes| bytes[2] = 1), 6);
    bench.submit();
    bench.until(1, QUEUED_IN, 5);
    stream.write_all(b"67890").unwrap();
    bench.wait(1);
}

fn option_low_mark_end(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.set_int(1, socket_level(libc::SO_RCVLOWAT), 10, 1);
    let mut buffer = [0; 64];
    bench.push(recv_on(1, &mut buffer, 0), 2);
    bench.submit();
    stream.write_all(b"12345").unwrap();
    bench.until(1, QUEUED_IN, 5);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.wait(1);
    bench.run(recv_on(1, &mut buffer, 0), 3);
}

//! Options of connections.

use super::*;

pub const CASES: &[Case] = &[
    case("option_tcp_numbers", tcp_numbers),
    case("option_tcp_flags", tcp_flags),
    case("option_tcp_lengths_and_pointers", tcp_lengths),
    case("option_tcp_congestion", tcp_congestion),
    case("option_tcp_of_datagrams", tcp_of_datagrams),
    case("option_tcp_no_delay", tcp_no_delay),
    case("option_tcp_cork", tcp_cork),
    case("option_tcp_syn_count", tcp_syn_count),
    case("option_tcp_user_timeout", tcp_user_timeout),
    case("option_tcp_max_segment", tcp_max_segment),
];

fn tcp_numbers(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    bench.stream_socket(libc::AF_INET6, 1, 1);
    let names = [
        libc::TCP_KEEPIDLE,
        libc::TCP_KEEPINTVL,
        libc::TCP_KEEPCNT,
        libc::TCP_SYNCNT,
        libc::TCP_MAXSEG,
    ];
    for slot in 0..2 {
        for name in names.into_iter().chain([libc::TCP_USER_TIMEOUT]) {
            for value in [
                -1,
                0,
                1,
                87,
                88,
                127,
                128,
                255,
                32_767,
                32_768,
                65_536,
                i32::MAX,
                i32::MIN,
            ] {
                bench.say((name, value));
                bench.set_int(slot, tcp_level(name), value, 2);
            }
        }
    }
}

fn tcp_flags(bench: &mut Bench) {
    let _stream = bench.connected();
    // A listener, a connection, and a socket that is neither.
    bench.stream_socket(libc::AF_INET, 2, 1);
    for slot in 0..3 {
        for name in [libc::TCP_NODELAY, libc::TCP_CORK, libc::TCP_QUICKACK] {
            for value in [1, 0, 2, -1] {
                bench.set_int(slot, tcp_level(name), value, 2);
            }
        }
        bench.set_int(slot, tcp_level(9999), 1, 3);
        bench.set_int(slot, tcp_level(0), 1, 4);
        bench.set_int(slot, tcp_level(libc::TCP_INFO), 1, 5);
    }
}

fn tcp_lengths(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    for name in [
        libc::TCP_NODELAY,
        libc::TCP_KEEPIDLE,
        libc::TCP_CONGESTION,
        9999,
    ] {
        for len in [0, 1, 3, 4, 8] {
            bench.set(0, tcp_level(name), &[1; 8][..len], 2);
        }
        for (address, len) in [(0, 0), (0, 4), (8, 4), (0, -1), (8, i32::MIN)] {
            bench.run(option_entry(0, SET, tcp_level(name), address, len), 3);
        }
    }
}

fn tcp_congestion(bench: &mut Bench) {
    let _stream = bench.connected();
    bench.stream_socket(libc::AF_INET6, 2, 1);
    let names: [&[u8]; 8] = [
        b"reno",
        b"cubic",
        b"reno\0",
        b"cubic\0and more",
        b"cubi",
        b"Cubic",
        b"\0",
        b"a name that is too long",
    ];
    for slot in 0..3 {
        for name in names {
            bench.set(slot, tcp_level(libc::TCP_CONGESTION), name, 2);
        }
    }
}

fn tcp_of_datagrams(bench: &mut Bench) {
    bench.bound();
    bench.set_int(0, tcp_level(libc::TCP_NODELAY), 1, 1);
    bench.set(0, tcp_level(libc::TCP_CONGESTION), b"reno", 2);
    bench.run(option_entry(0, SET, tcp_level(libc::TCP_NODELAY), 0, 0), 3);
}

fn tcp_no_delay(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.set_int(1, tcp_level(libc::TCP_NODELAY), 1, 1);
    // Small segments do not wait for each other.
    for round in 0..4 {
        bench.run(send_on(1, b"small", 0), 10 + round);
    }
    let got = bench.peer_reads(&mut stream, 20);
    bench.say(got);
}

fn tcp_cork(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.set_int(1, tcp_level(libc::TCP_CORK), 1, 1);
    bench.run(send_on(1, b"held ", 0), 2);
    bench.run(send_on(1, b"back", 0), 3);
    // Nothing of it has gone: all is queued still, and none acknowledged.
    bench.run(command_entry(1, QUEUED_OUT), 4);
    bench.say(stream.read(&mut [0; 16]).map_err(|error| error.kind()));
    bench.set_int(1, tcp_level(libc::TCP_CORK), 0, 5);
    let got = bench.peer_reads(&mut stream, 9);
    bench.say(got);
    bench.until(1, QUEUED_OUT, 0);
}

/// Fills the queue of the peer's listener: it answers no SYN any more.
fn silence_the_peer(bench: &mut Bench) -> (TcpStream, libc::sockaddr_in) {
    let address = v4(PEER_V4, bench.peer_listener.local_addr().unwrap().port());
    let stream = bench.peer_streams.pop().expect("a socket of the peer's");
    // SAFETY: open sockets, and a valid address of that length.
    unsafe {
        libc::listen(bench.peer_listener.as_raw_fd(), 0);
        libc::connect(stream.as_raw_fd(), std::ptr::from_ref(&address).cast(), 16);
    }
    bench.pump("the peer connects to itself", || stream.peer_addr().is_ok());
    (stream, address)
}

fn tcp_syn_count(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    bench.set_int(0, tcp_level(libc::TCP_SYNCNT), 1, 2);
    let (_stream, address) = silence_the_peer(bench);
    let begun = std::time::Instant::now();
    bench.run(connect_entry(0, &address), 3);
    // One second for the SYN, two for the one that is sent again; without the option it would be 127.
    bench.say(("in time", (2..10).contains(&begun.elapsed().as_secs())));
}

fn tcp_user_timeout(bench: &mut Bench) {
    let stream = bench.connected();
    bench.set_int(1, tcp_level(libc::TCP_USER_TIMEOUT), 300, 1);
    // A peer that answers is given all the time it needs.
    bench.run(send_on(1, b"answered", 0), 2);
    bench.until(1, QUEUED_OUT, 0);
    drop(stream);
}

fn tcp_max_segment(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    bench.set_int(0, tcp_level(libc::TCP_MAXSEG), 500, 2);
    let stream = bench.connects_socket();
    // What the peer was told: no segment of its will be longer.
    let (mut bytes, mut len) = (0i32, 4u32);
    // SAFETY: the value lives, and has that length.
    unsafe {
        let value = (&raw mut bytes).cast();
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_TCP,
            libc::TCP_MAXSEG,
            value,
            &raw mut len,
        );
    }
    bench.say(bytes);
}

//! Polls.

use super::*;

pub const CASES: &[Case] = &[
    case("poll", poll),
    case("tcp_poll_of_a_listener", poll_listener),
    case("tcp_poll_of_a_connection", poll_connection),
    case("tcp_poll_multishot", poll_multishot),
];

fn poll(bench: &mut Bench) {
    bench.bound();
    let entry = |events: i16| opcode::PollAdd::new(types::Fixed(0), events as u32);
    bench.run(entry(libc::POLLOUT).build(), 1);
    bench.push(entry(libc::POLLIN).build(), 2);
    bench.submit();
    bench.peer_sends(b"x");
    bench.wait(1);
    bench.run(entry(libc::POLLIN | libc::POLLOUT).build(), 3);
    let mut buffer = [0u8; 16];
    bench.run(recv(&mut buffer), 4);
    bench.push(entry(libc::POLLIN).multi(true).build(), 5);
    bench.submit();
    for _ in 0..2 {
        bench.peer_sends(b"y");
        bench.wait(1);
        bench.run(recv(&mut buffer), 6);
    }
    bench.push(opcode::AsyncCancel::new(5).build(), 7);
    bench.wait(2);
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

//! The load of the TCP benchmark: so many connections, each with one message outstanding.
//!
//!     pingpong ADDRESS:PORT BYTES CONNECTIONS MILLISECONDS
//!
//! Prints one line: round trips per second, round trips, and their median in microseconds.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

struct Connection {
    stream: TcpStream,
    sent: Instant,
    missing: usize,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, to, bytes, connections, milliseconds] = &args[..] else {
        eprintln!("usage: pingpong ADDRESS:PORT BYTES CONNECTIONS MILLISECONDS");
        std::process::exit(2);
    };
    let to: SocketAddr = to.parse().expect("an address and a port");
    let message = vec![7u8; bytes.parse().expect("a number of bytes")];
    let count: usize = connections.parse().expect("a number of connections");
    let run = Duration::from_millis(milliseconds.parse().expect("a number of milliseconds"));
    let mut connections: Vec<Connection> = (0..count).map(|_| connect(to)).collect();
    let mut polls: Vec<libc::pollfd> = connections
        .iter()
        .map(|connection| libc::pollfd {
            fd: connection.stream.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let start = Instant::now();
    for connection in &mut connections {
        send(connection, &message);
    }
    let mut times = Vec::new();
    let mut buffer = vec![0; message.len()];
    while start.elapsed() < run {
        // SAFETY: the array lives across the call, and has that length.
        let ready = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 1000) };
        assert!(ready > 0, "no answer for a second");
        for (connection, poll) in connections.iter_mut().zip(&polls) {
            if poll.revents != 0 && receive(connection, &mut buffer) {
                times.push(connection.sent.elapsed());
                send(connection, &message);
            }
        }
    }
    let per_second = times.len() as f64 / start.elapsed().as_secs_f64();
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!(
        "{per_second:.0} {} {:.1}",
        times.len(),
        median.as_nanos() as f64 / 1000.0
    );
}

fn connect(to: SocketAddr) -> Connection {
    let stream = TcpStream::connect(to).expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    stream.set_nonblocking(true).expect("no blocking");
    Connection {
        stream,
        sent: Instant::now(),
        missing: 0,
    }
}

fn send(connection: &mut Connection, message: &[u8]) {
    connection.sent = Instant::now();
    connection.missing = message.len();
    connection
        .stream
        .write_all(message)
        .expect("room for a message");
}

/// Reads what has come; `true` when the echo is whole.
fn receive(connection: &mut Connection, buffer: &mut [u8]) -> bool {
    match connection.stream.read(&mut buffer[..connection.missing]) {
        Ok(0) => panic!("the server has closed"),
        Ok(count) => connection.missing -= count,
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
    }
    connection.missing == 0
}

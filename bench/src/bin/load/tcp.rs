//! Connections with one message outstanding on each, or on some of them in turn.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use ringwire_bench::epoll::Epoll;
use ringwire_bench::measure::{Load, Pace, Tally, nanos};

/// A server that answers nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(5);

struct Connection {
    stream: TcpStream,
    sent: u64,
    missing: usize,
}

/// Messages to and fro.
pub struct PingPong {
    connections: Vec<Connection>,
    epoll: Epoll,
    message: Vec<u8>,
    room: Vec<u8>,
    /// Connections without a message under way: the next is the one that has waited longest.
    idle: VecDeque<usize>,
    outstanding: usize,
    limit: usize,
    pace: Option<Pace>,
    heard: Instant,
    tally: Tally,
}

impl PingPong {
    /// Connects so many; `limit` of them have a message under way at a time.
    ///
    /// # Panics
    /// Without a connection.
    pub fn new(
        to: SocketAddr,
        bytes: usize,
        count: usize,
        limit: usize,
        pace: Option<Pace>,
    ) -> PingPong {
        let epoll = Epoll::new().expect("an epoll instance");
        let connections: Vec<Connection> = (0..count).map(|_| connect(to)).collect();
        for (index, connection) in connections.iter().enumerate() {
            let added = epoll.add(connection.stream.as_raw_fd(), libc::EPOLLIN, index);
            added.expect("room in the epoll instance");
        }
        PingPong {
            connections,
            epoll,
            message: vec![7; bytes],
            room: vec![0; bytes],
            idle: (0..count).collect(),
            outstanding: 0,
            limit,
            pace,
            heard: Instant::now(),
            tally: Tally::default(),
        }
    }

    fn send(&mut self, count: usize) {
        for _ in 0..count {
            let Some(index) = self.idle.pop_front() else {
                return;
            };
            let connection = &mut self.connections[index];
            connection.sent = nanos();
            connection.missing = self.message.len();
            let written = connection.stream.write_all(&self.message);
            written.expect("room for a message");
            self.outstanding += 1;
        }
    }

    /// Reads what has come on a connection.
    fn receive(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        match connection.stream.read(&mut self.room[..connection.missing]) {
            Ok(0) => panic!("the server has closed"),
            Ok(count) => connection.missing -= count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        if connection.missing == 0 {
            let nanos = nanos() - connection.sent;
            self.tally.answered(self.message.len(), nanos);
            self.outstanding -= 1;
            self.idle.push_back(index);
        }
    }
}

impl Load for PingPong {
    fn step(&mut self) {
        let due = self.pace.as_mut().map_or(usize::MAX, Pace::tick);
        self.send(due.min(self.limit - self.outstanding));
        let ready = self.epoll.wait(0).expect("events");
        for event in 0..ready {
            self.receive(self.epoll.event(event).0);
        }
        if ready > 0 || self.outstanding == 0 {
            self.heard = Instant::now();
        }
        assert!(self.heard.elapsed() < PATIENCE, "no answer for so long");
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

fn connect(to: SocketAddr) -> Connection {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    stream.set_nonblocking(true).expect("no blocking");
    Connection {
        stream,
        sent: 0,
        missing: 0,
    }
}

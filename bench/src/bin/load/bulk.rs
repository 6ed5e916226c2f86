//! Connections that carry as much as they can, both ways: what is written comes back, and so much is under way always.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use ringwire_bench::epoll::Epoll;
use ringwire_bench::measure::{Load, Tally};

/// Operations on a connection before the next one has its turn.
const TURN: usize = 16;
/// Bytes under way on a connection, there and back: less than what a server has buffers for, which would else be busy
/// with their end.
const UNDER_WAY: usize = 256 * 1024;

struct Connection {
    stream: TcpStream,
    under_way: usize,
}

pub struct Bulk {
    connections: Vec<Connection>,
    epoll: Epoll,
    payload: Vec<u8>,
    room: Vec<u8>,
    tally: Tally,
}

impl Bulk {
    /// So many connections; operations of so many bytes.
    ///
    /// # Panics
    /// Without a connection.
    pub fn new(to: SocketAddr, bytes: usize, count: usize) -> Bulk {
        let epoll = Epoll::new().expect("an epoll instance");
        let connect = |number| {
            let stream = TcpStream::connect(to).expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            stream.set_nonblocking(true).expect("no blocking");
            let added = epoll.add(stream.as_raw_fd(), libc::EPOLLIN, number);
            added.expect("room in the epoll instance");
            Connection {
                stream,
                under_way: 0,
            }
        };
        let mut bulk = Bulk {
            connections: (0..count).map(connect).collect(),
            epoll,
            payload: vec![7; bytes],
            room: vec![0; bytes],
            tally: Tally::default(),
        };
        (0..count).for_each(|index| bulk.write(index));
        bulk
    }

    /// What has no room goes when something has come back.
    fn write(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        while connection.under_way + self.payload.len() <= UNDER_WAY {
            match connection.stream.write(&self.payload) {
                Ok(count) => connection.under_way += count,
                Err(error) => return assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
    }

    fn read(&mut self, index: usize) {
        for _ in 0..TURN {
            let connection = &mut self.connections[index];
            match connection.stream.read(&mut self.room) {
                Ok(0) => panic!("the server has closed"),
                Ok(count) => {
                    connection.under_way -= count;
                    self.tally.operations += 1;
                    self.tally.bytes += count as u64;
                    if count < self.room.len() {
                        return;
                    }
                }
                Err(error) => return assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
    }
}

impl Load for Bulk {
    fn step(&mut self) {
        // It never sleeps: what is measured is not its own wake-ups.
        let ready = self.epoll.wait(0).expect("events");
        for event in 0..ready {
            let (index, _) = self.epoll.event(event);
            self.read(index);
            self.write(index);
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

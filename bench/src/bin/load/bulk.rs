//! Connections that carry as much as they can, both ways: what is written comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use ringwire_bench::epoll::Epoll;
use ringwire_bench::measure::{Load, Tally};

/// Operations on a connection before the next one has its turn.
const TURN: usize = 16;

/// Milliseconds after which it is seen whether the time is up.
const PAUSE: i32 = 10;

pub struct Bulk {
    connections: Vec<TcpStream>,
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
            let events = libc::EPOLLIN | libc::EPOLLOUT;
            let added = epoll.add(stream.as_raw_fd(), events, number);
            added.expect("room in the epoll instance");
            stream
        };
        Bulk {
            connections: (0..count).map(connect).collect(),
            epoll,
            payload: vec![7; bytes],
            room: vec![0; bytes],
            tally: Tally::default(),
        }
    }

    fn write(&mut self, index: usize) {
        for _ in 0..TURN {
            match self.connections[index].write(&self.payload) {
                Ok(count) if count == self.payload.len() => {}
                Ok(_) => return,
                Err(error) => return assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
    }

    fn read(&mut self, index: usize) {
        for _ in 0..TURN {
            match self.connections[index].read(&mut self.room) {
                Ok(0) => panic!("the server has closed"),
                Ok(count) => {
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
        // It sleeps while there is nothing to do: its time counts for each gigabyte.
        let ready = self.epoll.wait(PAUSE).expect("events");
        for event in 0..ready {
            let (index, events) = self.epoll.event(event);
            if events & libc::EPOLLIN != 0 {
                self.read(index);
            }
            if events & libc::EPOLLOUT != 0 {
                self.write(index);
            }
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

//! Connections for one request each: connect, send, read the answer, close.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use ringwire_bench::epoll::Epoll;
use ringwire_bench::measure::{Load, Tally, nanos};

struct Connection {
    stream: TcpStream,
    begun: u64,
    asked: bool,
    missing: usize,
}

/// So many connections at a time, each replaced when it is done.
pub struct Requests {
    to: SocketAddrV4,
    /// Where connections come from, in turn: each is in TIME-WAIT when it is closed, and an address has not so many ports.
    from: Vec<Ipv4Addr>,
    next: usize,
    connections: Vec<Connection>,
    epoll: Epoll,
    message: Vec<u8>,
    tally: Tally,
}

impl Requests {
    /// # Panics
    /// Without a socket, or for IPv6.
    pub fn new(to: SocketAddr, bytes: usize, concurrent: usize, from: Vec<Ipv4Addr>) -> Requests {
        let SocketAddr::V4(to) = to else {
            panic!("{to}: IPv4 alone")
        };
        let epoll = Epoll::new().expect("an epoll instance");
        let mut requests = Requests {
            to,
            from,
            next: 0,
            connections: Vec::new(),
            epoll,
            message: vec![7; bytes],
            tally: Tally::default(),
        };
        for index in 0..concurrent {
            let connection = requests.connect(index);
            requests.connections.push(connection);
        }
        requests
    }

    fn connect(&mut self, index: usize) -> Connection {
        let from = self.from[self.next];
        self.next = (self.next + 1) % self.from.len();
        let fd = begin(from, self.to).expect("a connection that begins");
        // SAFETY: the kernel has just made it.
        let stream = unsafe { TcpStream::from_raw_fd(fd) };
        let added = self.epoll.add(fd, libc::EPOLLOUT, index);
        added.expect("room in the epoll instance");
        Connection {
            stream,
            begun: nanos(),
            asked: false,
            missing: self.message.len(),
        }
    }

    /// Goes on with a connection; `true` when it is done.
    fn go_on(&mut self, index: usize) -> io::Result<bool> {
        let connection = &mut self.connections[index];
        if !connection.asked {
            connection.stream.write_all(&self.message)?;
            connection.asked = true;
            let fd = connection.stream.as_raw_fd();
            self.epoll.change(fd, libc::EPOLLIN, index)?;
            return Ok(false);
        }
        let mut room = [0; 2048];
        let wanted = connection.missing.min(room.len());
        match connection.stream.read(&mut room[..wanted]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => connection.missing -= count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(connection.missing == 0)
    }
}

impl Load for Requests {
    fn step(&mut self) {
        let ready = self.epoll.wait(0).expect("events");
        for event in 0..ready {
            let (index, _) = self.epoll.event(event);
            match self.go_on(index) {
                Ok(false) => continue,
                Ok(true) => {
                    let nanos = nanos() - self.connections[index].begun;
                    self.tally.answered(self.message.len(), nanos);
                }
                Err(_) => self.tally.lost += 1,
            }
            self.connections[index] = self.connect(index);
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

fn name(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.ip().octets()),
        },
        sin_zero: [0; 8],
    }
}

/// Begins a connection without waiting for it.
fn begin(from: Ipv4Addr, to: SocketAddrV4) -> io::Result<RawFd> {
    let (from, to) = (name(SocketAddrV4::new(from, 0)), name(to));
    let (on, len) = (1i32, size_of_val(&to) as u32);
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: names and option live across the calls.
    unsafe {
        let fd = libc::socket(libc::AF_INET, kind, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // Else each port could be used once, not once for each destination.
        let (level, option) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
        libc::setsockopt(fd, level, option, (&raw const on).cast(), 4);
        let bound = libc::bind(fd, (&raw const from).cast(), len);
        let begun = libc::connect(fd, (&raw const to).cast(), len);
        let error = io::Error::last_os_error();
        if bound == 0 && (begun == 0 || error.raw_os_error() == Some(libc::EINPROGRESS)) {
            return Ok(fd);
        }
        libc::close(fd);
        Err(error)
    }
}

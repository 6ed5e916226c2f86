//! The echo server on epoll: recvmmsg(2) and sendmmsg(2) for datagrams, recv(2) and send(2) for streams.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use ringwire_bench::epoll::Epoll;

use super::Settings;

/// Numbers of the sockets in the epoll instance; a connection has its descriptor's.
const DATAGRAMS: usize = usize::MAX;
const LISTENER: usize = usize::MAX - 1;
/// Datagrams in one system call.
const BATCH: usize = 64;
const ROOM: usize = 2048;
/// Parts of a stream before the next connection has its turn.
const TURN: usize = 16;

pub struct Server {
    settings: Settings,
    epoll: Epoll,
    socket: UdpSocket,
    listener: TcpListener,
    streams: HashMap<usize, Stream>,
    batch: Batch,
    room: Vec<u8>,
}

struct Stream {
    stream: TcpStream,
    /// What was received and could not be sent yet.
    rest: Vec<u8>,
}

impl Server {
    pub fn new(settings: Settings) -> io::Result<Server> {
        let any = (Ipv4Addr::UNSPECIFIED, settings.port);
        let server = Server {
            settings,
            epoll: Epoll::new()?,
            socket: UdpSocket::bind(any)?,
            listener: TcpListener::bind(any)?,
            streams: HashMap::new(),
            batch: Batch::new(),
            room: vec![0; settings.operation],
        };
        // Longer than the standard library's.
        // SAFETY: no memory is concerned.
        unsafe { libc::listen(server.listener.as_raw_fd(), 4096) };
        server.socket.set_nonblocking(true)?;
        server.listener.set_nonblocking(true)?;
        let epoll = &server.epoll;
        epoll.add(server.socket.as_raw_fd(), libc::EPOLLIN, DATAGRAMS)?;
        epoll.add(server.listener.as_raw_fd(), libc::EPOLLIN, LISTENER)?;
        Ok(server)
    }

    pub fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let milliseconds = if self.settings.spin { 0 } else { 100 };
        while !stop.load(Ordering::Relaxed) {
            let ready = self.epoll.wait(milliseconds)?;
            for event in 0..ready {
                match self.epoll.event(event) {
                    (DATAGRAMS, _) => self.batch.echo(&self.socket),
                    (LISTENER, _) => self.accept()?,
                    (number, _) => self.serve(number)?,
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true)?;
            let number = stream.as_raw_fd() as usize;
            let fd = stream.as_raw_fd();
            self.epoll.add(fd, libc::EPOLLIN, number)?;
            let rest = Vec::new();
            self.streams.insert(number, Stream { stream, rest });
        }
        Ok(())
    }

    fn serve(&mut self, number: usize) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&number) else {
            return Ok(());
        };
        let waited = !stream.rest.is_empty();
        match stream.echo(&mut self.room) {
            Ok(true) => {
                let waits = !stream.rest.is_empty();
                if waits != waited {
                    let events = if waits { libc::EPOLLOUT } else { libc::EPOLLIN };
                    let fd = stream.stream.as_raw_fd();
                    self.epoll.change(fd, events, number)?;
                }
            }
            // Closing takes it out of the epoll instance.
            Ok(false) | Err(_) => drop(self.streams.remove(&number)),
        }
        Ok(())
    }
}

impl Stream {
    /// Echoes what is there; `false` at the stream's end.
    fn echo(&mut self, room: &mut [u8]) -> io::Result<bool> {
        for _ in 0..TURN {
            if !self.rest.is_empty() {
                match would_block(self.stream.write(&self.rest))? {
                    Some(count) => drop(self.rest.drain(..count)),
                    None => return Ok(true),
                }
                continue;
            }
            let count = match would_block(self.stream.read(room))? {
                Some(0) => return Ok(false),
                Some(count) => count,
                None => return Ok(true),
            };
            let sent = would_block(self.stream.write(&room[..count]))?.unwrap_or(0);
            self.rest.extend_from_slice(&room[sent..count]);
            if count < room.len() && sent == count {
                return Ok(true);
            }
        }
        Ok(true)
    }
}

fn would_block(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}

/// The memory of recvmmsg(2) and sendmmsg(2): what is received is sent from where it lies.
struct Batch {
    _room: Vec<u8>,
    parts: Vec<libc::iovec>,
    _names: Vec<libc::sockaddr_in>,
    headers: Vec<libc::mmsghdr>,
}

impl Batch {
    fn new() -> Batch {
        let mut room = vec![0u8; ROOM * BATCH];
        let part = |span: &mut [u8]| libc::iovec {
            iov_base: span.as_mut_ptr().cast(),
            iov_len: ROOM,
        };
        let mut parts: Vec<libc::iovec> = room.chunks_mut(ROOM).map(part).collect();
        // SAFETY: all zeroes is a valid sockaddr_in.
        let mut names: Vec<libc::sockaddr_in> = vec![unsafe { std::mem::zeroed() }; BATCH];
        let header = |(part, name): (&mut libc::iovec, &mut libc::sockaddr_in)| {
            // SAFETY: all zeroes is a valid mmsghdr.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            header
        };
        let headers = parts.iter_mut().zip(&mut names).map(header).collect();
        Batch {
            _room: room,
            parts,
            _names: names,
            headers,
        }
    }

    fn echo(&mut self, socket: &UdpSocket) {
        let (fd, headers) = (socket.as_raw_fd(), self.headers.as_mut_ptr());
        loop {
            let (flags, no_limit) = (libc::MSG_DONTWAIT, std::ptr::null_mut());
            // SAFETY: the headers point at iovecs, names and buffers that `self` holds.
            let received = unsafe { libc::recvmmsg(fd, headers, BATCH as u32, flags, no_limit) };
            let received = usize::try_from(received).unwrap_or(0);
            for index in 0..received {
                self.parts[index].iov_len = self.headers[index].msg_len as usize;
            }
            if received > 0 {
                // What a full queue does not take is lost, as datagrams may be.
                // SAFETY: as above.
                unsafe { libc::sendmmsg(fd, headers, received as u32, libc::MSG_DONTWAIT) };
            }
            for part in &mut self.parts[..received] {
                part.iov_len = ROOM;
            }
            if received < BATCH {
                return;
            }
        }
    }
}

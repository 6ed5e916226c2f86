//! sendmmsg(2) of a batch, or send(2) for each.

use std::io::{self, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use ringwire_bench::measure::{Load, Tally};

use crate::Settings;

enum Socket {
    Datagrams(UdpSocket),
    Stream(TcpStream),
}

pub struct Sender {
    socket: Socket,
    payload: Vec<u8>,
    _part: Box<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    tally: Tally,
}

impl Sender {
    pub fn new(settings: &Settings) -> io::Result<Sender> {
        let socket = if settings.udp {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(settings.to)?;
            Socket::Datagrams(socket)
        } else {
            Socket::Stream(TcpStream::connect(settings.to)?)
        };
        let mut payload = vec![7; settings.bytes];
        let mut part = Box::new(libc::iovec {
            iov_base: payload.as_mut_ptr().cast(),
            iov_len: payload.len(),
        });
        // SAFETY: all zeroes is a valid mmsghdr.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_iov = &raw mut *part;
        header.msg_hdr.msg_iovlen = 1;
        Ok(Sender {
            socket,
            payload,
            _part: part,
            headers: vec![header; settings.batch],
            tally: Tally::default(),
        })
    }
}

impl Load for Sender {
    fn step(&mut self) {
        let bytes = self.payload.len();
        match &mut self.socket {
            Socket::Datagrams(socket) => {
                let (headers, count) = (self.headers.as_mut_ptr(), self.headers.len() as u32);
                // SAFETY: the headers point at an iovec and a payload that `self` holds.
                let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count, 0) };
                assert!(sent > 0, "sendmmsg: {}", io::Error::last_os_error());
                (0..sent).for_each(|_| self.tally.sent(bytes));
            }
            Socket::Stream(stream) => {
                for _ in &self.headers {
                    stream.write_all(&self.payload).expect("send");
                    self.tally.sent(bytes);
                }
            }
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

//! Datagrams that come back: a window of them outstanding, so many a second, or one at a time.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use ringwire_bench::measure::{Load, Pace, Tally, nanos};

/// Datagrams in one system call.
const BATCH: usize = 32;
/// Without an echo for so long, what is outstanding is taken for lost.
const LOST: Duration = Duration::from_millis(50);
/// Longer than any echo.
const ROOM: usize = 2048;
/// A payload begins with the time at which it was sent.
const STAMP_BYTES: usize = 8;

fn connected(to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.connect(to).expect("a route");
    socket
}

/// A window of datagrams, kept full at each step or at each tick of a pace.
pub struct Window {
    socket: UdpSocket,
    batch: Batch,
    window: usize,
    pace: Option<Pace>,
    outstanding: usize,
    heard: Instant,
    tally: Tally,
}

impl Window {
    /// # Panics
    /// If there is no room for a stamp in so many bytes, or no socket.
    pub fn new(to: SocketAddr, bytes: usize, window: usize, pace: Option<Pace>) -> Window {
        assert!((STAMP_BYTES..=ROOM).contains(&bytes), "{bytes} bytes");
        Window {
            socket: connected(to),
            batch: Batch::new(bytes),
            window,
            pace,
            outstanding: 0,
            heard: Instant::now(),
            tally: Tally::default(),
        }
    }

    fn send(&mut self, count: usize) {
        for first in (0..count).step_by(BATCH) {
            self.outstanding += self.batch.send(&self.socket, (count - first).min(BATCH));
        }
    }

    /// Takes the echoes that are there.
    fn receive(&mut self) {
        loop {
            let count = self.batch.receive(&self.socket, &mut self.tally);
            if count > 0 {
                self.outstanding = self.outstanding.saturating_sub(count);
                self.heard = Instant::now();
            }
            if count < BATCH {
                return;
            }
        }
    }
}

impl Load for Window {
    fn step(&mut self) {
        // A pace does not wait for a server that falls behind, but for what the window has no room for.
        let due = self.pace.as_mut().map_or(usize::MAX, Pace::tick);
        let room = self.window.saturating_sub(self.outstanding);
        self.send(due.min(room));
        self.receive();
        if self.outstanding > 0 && self.heard.elapsed() > LOST {
            self.tally.lost += self.outstanding as u64;
            self.outstanding = 0;
            self.heard = Instant::now();
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// The memory of sendmmsg(2) and recvmmsg(2).
struct Batch {
    bytes: usize,
    payloads: Vec<u8>,
    room: Vec<u8>,
    _parts: Vec<libc::iovec>,
    sends: Vec<libc::mmsghdr>,
    receives: Vec<libc::mmsghdr>,
}

impl Batch {
    fn new(bytes: usize) -> Batch {
        let mut payloads = vec![0x5a; bytes * BATCH];
        let mut room = vec![0; ROOM * BATCH];
        let spans = |memory: &mut Vec<u8>, len: usize| -> Vec<libc::iovec> {
            let each = memory.chunks_mut(len).map(|span| libc::iovec {
                iov_base: span.as_mut_ptr().cast(),
                iov_len: len,
            });
            each.collect()
        };
        let mut parts = spans(&mut payloads, bytes);
        parts.extend(spans(&mut room, ROOM));
        let header = |part: &mut libc::iovec| {
            // SAFETY: all zeroes is a valid mmsghdr.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header
        };
        let mut headers: Vec<_> = parts.iter_mut().map(header).collect();
        let receives = headers.split_off(BATCH);
        Batch {
            bytes,
            payloads,
            room,
            _parts: parts,
            sends: headers,
            receives,
        }
    }

    fn send(&mut self, socket: &UdpSocket, count: usize) -> usize {
        let stamp = nanos().to_ne_bytes();
        for payload in self.payloads.chunks_mut(self.bytes).take(count) {
            payload[..STAMP_BYTES].copy_from_slice(&stamp);
        }
        let (fd, headers) = (socket.as_raw_fd(), self.sends.as_mut_ptr());
        // SAFETY: the headers point at iovecs and buffers that `self` holds.
        let sent = unsafe { libc::sendmmsg(fd, headers, count as u32, libc::MSG_DONTWAIT) };
        // A port that is not open yet is refused, and a full queue takes nothing: to be sent later.
        usize::try_from(sent).unwrap_or(0)
    }

    fn receive(&mut self, socket: &UdpSocket, tally: &mut Tally) -> usize {
        let (fd, headers) = (socket.as_raw_fd(), self.receives.as_mut_ptr());
        let (flags, no_limit) = (libc::MSG_DONTWAIT, std::ptr::null_mut());
        // SAFETY: as above.
        let received = unsafe { libc::recvmmsg(fd, headers, BATCH as u32, flags, no_limit) };
        let received = usize::try_from(received).unwrap_or(0);
        let now = nanos();
        let places = self.room.chunks(ROOM);
        for (header, payload) in self.receives[..received].iter().zip(places) {
            let len = header.msg_len as usize;
            assert_eq!(len, self.bytes, "an echo is as long as what was sent");
            tally.answered(len, now.saturating_sub(stamp(payload)));
        }
        received
    }
}

fn stamp(payload: &[u8]) -> u64 {
    let stamp = payload[..STAMP_BYTES].try_into();
    u64::from_ne_bytes(stamp.expect("so many bytes"))
}

/// One datagram at a time; the load spins for its echo.
pub struct One {
    socket: UdpSocket,
    payload: Vec<u8>,
    tally: Tally,
}

impl One {
    /// # Panics
    /// As [`Window::new`].
    pub fn new(to: SocketAddr, bytes: usize) -> One {
        assert!((STAMP_BYTES..=ROOM).contains(&bytes), "{bytes} bytes");
        let socket = connected(to);
        socket.set_nonblocking(true).expect("a socket's flag");
        One {
            socket,
            payload: vec![0x5a; bytes],
            tally: Tally::default(),
        }
    }
}

impl Load for One {
    fn step(&mut self) {
        let sent = nanos();
        self.payload[..STAMP_BYTES].copy_from_slice(&sent.to_ne_bytes());
        if self.socket.send(&self.payload).is_err() {
            return;
        }
        let mut room = [0; ROOM];
        loop {
            let received = self.socket.recv(&mut room);
            let now = nanos();
            match received {
                // Not an echo of one that was given up.
                Ok(len) if stamp(&room) == sent => {
                    assert_eq!(len, self.payload.len(), "an echo is as long");
                    return self.tally.answered(len, now - sent);
                }
                _ if now - sent > LOST.as_nanos() as u64 => {
                    self.tally.lost += 1;
                    return;
                }
                _ => {}
            }
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

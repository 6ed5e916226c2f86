//! The load of the echo benchmark: a plain UDP socket that keeps a window of datagrams outstanding.
//!
//!     load ADDRESS:PORT BYTES WINDOW MILLISECONDS
//!
//! Prints one line: echoes per second, echoes, and datagrams that were given up for lost.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Datagrams in one system call.
const BATCH: usize = 32;
/// Without an echo for so long, the window is taken for lost.
const LOST: Duration = Duration::from_millis(20);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, to, bytes, window, milliseconds] = &args[..] else {
        eprintln!("usage: load ADDRESS:PORT BYTES WINDOW MILLISECONDS");
        std::process::exit(2);
    };
    let to: SocketAddr = to.parse().expect("an address and a port");
    let bytes: usize = bytes.parse().expect("a number of bytes");
    let window: usize = window.parse().expect("a number of datagrams");
    let run = Duration::from_millis(milliseconds.parse().expect("a number of milliseconds"));
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.connect(to).expect("a route");
    socket.set_read_timeout(Some(LOST)).expect("a timeout");
    let mut batch = Batch::new(bytes);
    let (mut outstanding, mut echoed, mut lost) = (0usize, 0u64, 0u64);
    let start = Instant::now();
    while start.elapsed() < run {
        while outstanding < window {
            outstanding += batch.send(&socket, (window - outstanding).min(BATCH));
        }
        match batch.receive(&socket) {
            0 => {
                lost += outstanding as u64;
                outstanding = 0;
            }
            count => {
                echoed += count as u64;
                outstanding = outstanding.saturating_sub(count);
            }
        }
    }
    let per_second = echoed as f64 / start.elapsed().as_secs_f64();
    println!("{per_second:.0} {echoed} {lost}");
}

struct Batch {
    payload: Vec<u8>,
    _room: Vec<u8>,
    _parts: Vec<libc::iovec>,
    sends: Vec<libc::mmsghdr>,
    receives: Vec<libc::mmsghdr>,
}

impl Batch {
    fn new(bytes: usize) -> Batch {
        let mut payload = vec![0x5a; bytes];
        let mut room = vec![0; 2048 * BATCH];
        let mut parts = Vec::with_capacity(2 * BATCH);
        for index in 0..BATCH {
            let base = room[index * 2048..].as_mut_ptr();
            parts.push(libc::iovec {
                iov_base: payload.as_mut_ptr().cast(),
                iov_len: bytes,
            });
            parts.push(libc::iovec {
                iov_base: base.cast(),
                iov_len: 2048,
            });
        }
        let header = |part: *mut libc::iovec| {
            // SAFETY: all zeroes is a valid mmsghdr.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header
        };
        let sends = parts
            .iter_mut()
            .step_by(2)
            .map(|part| header(part))
            .collect();
        let receives = parts
            .iter_mut()
            .skip(1)
            .step_by(2)
            .map(|part| header(part))
            .collect();
        Batch {
            payload,
            _room: room,
            _parts: parts,
            sends,
            receives,
        }
    }

    fn send(&mut self, socket: &UdpSocket, count: usize) -> usize {
        // SAFETY: the headers point at iovecs and buffers that `self` holds.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), self.sends.as_mut_ptr(), count as u32, 0) };
        // A port that is not open yet is refused: what was sent counts as lost.
        usize::try_from(sent).unwrap_or(1)
    }

    fn receive(&mut self, socket: &UdpSocket) -> usize {
        let (fd, count) = (socket.as_raw_fd(), self.receives.len() as u32);
        // SAFETY: as above.
        let received = unsafe {
            libc::recvmmsg(
                fd,
                self.receives.as_mut_ptr(),
                count,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).unwrap_or(0);
        for header in &self.receives[..received] {
            assert_eq!(
                header.msg_len as usize,
                self.payload.len(),
                "an echo is as long as what was sent"
            );
        }
        received
    }
}

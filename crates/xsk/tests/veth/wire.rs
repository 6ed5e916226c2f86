//! The two ends of the pair: a socket's rings, and a packet socket.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use ringwire_umem::Umem;
use ringwire_xsk::{Desc, Interface, Kick, QueueConfig, Rings, Socket};

use crate::support::{CHUNK, RING, run};

pub const PATIENCE: Duration = Duration::from_secs(5);
/// The first chunk that is not for receiving.
pub const SEND_AREA: u64 = 2 * RING as u64 * CHUNK as u64;

/// A packet socket on an interface: what the network would be.
pub struct Peer {
    socket: OwnedFd,
}

impl Peer {
    /// At the other end.
    pub fn new() -> Peer {
        Peer::at("peer")
    }

    /// Brings the interface and our end up, too.
    pub fn at(interface: &str) -> Peer {
        run("ip link set local up");
        run(&format!("ip link set {interface} up"));
        let ifindex = Interface::by_name(interface).unwrap().index;
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: the struct is integers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = ifindex as i32;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: the address is a sockaddr_ll of that length.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
        assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        let timeout = libc::timeval {
            tv_sec: PATIENCE.as_secs() as i64,
            tv_usec: 0,
        };
        let (value, len) = (
            (&raw const timeout).cast(),
            size_of::<libc::timeval>() as u32,
        );
        // SAFETY: the option takes a timeval.
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, value, len) };
        Peer { socket }
    }

    pub fn send(&self, frame: &[u8]) {
        // SAFETY: the frame is readable for its length.
        let sent = unsafe {
            libc::send(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
            )
        };
        assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
    }

    /// The next frame that came from the other end.
    pub fn receive(&self) -> Vec<u8> {
        let mut frame = vec![0; 65536];
        // SAFETY: the buffer is writable for its length.
        let len = unsafe {
            libc::recv(
                self.socket.as_raw_fd(),
                frame.as_mut_ptr().cast(),
                frame.len(),
                0,
            )
        };
        assert!(len >= 0, "nothing came: {}", io::Error::last_os_error());
        frame.truncate(len as usize);
        frame
    }
}

/// Tries until it gives something, or five seconds.
#[track_caller]
pub fn soon<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "it did not happen in {PATIENCE:?}"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn read(umem: &Umem, desc: Desc) -> Vec<u8> {
    let (start, len) = (desc.addr as usize, desc.len as usize);
    assert!(start + len <= umem.len_bytes());
    // SAFETY: inside the mapping, and the kernel has handed the chunk over by the RX ring.
    unsafe { std::slice::from_raw_parts(umem.as_ptr().add(start), len) }.to_vec()
}

pub fn write(umem: &Umem, addr: u64, bytes: &[u8]) {
    assert!(addr as usize + bytes.len() <= umem.len_bytes());
    // SAFETY: inside the mapping, in the send area, of which no descriptor is in flight.
    unsafe {
        umem.as_ptr()
            .add(addr as usize)
            .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
    };
}

/// Puts a packet's pieces into chunks of their own and sends them as one packet.
pub fn send(socket: &Socket, rings: &mut Rings, umem: &Umem, pieces: &[&[u8]]) {
    send_with(socket, rings, umem, pieces, 0);
}

/// The same with options on the first descriptor.
pub fn send_with(socket: &Socket, rings: &mut Rings, umem: &Umem, pieces: &[&[u8]], options: u32) {
    for (index, piece) in pieces.iter().enumerate() {
        let addr = SEND_AREA + index as u64 * u64::from(CHUNK) + 100;
        write(umem, addr, piece);
        let last = index + 1 == pieces.len();
        let more = if last { 0 } else { Desc::CONTINUED };
        let first = if index == 0 { options } else { 0 };
        let options = more | first;
        rings
            .tx
            .push(Desc {
                addr,
                len: piece.len() as u32,
                options,
            })
            .unwrap();
    }
    rings.tx.publish();
    assert!(
        rings.tx.needs_wakeup(),
        "in copy mode nothing is sent without a call"
    );
    soon(|| (socket.kick_tx().unwrap() == Kick::Done && rings.tx.is_empty()).then_some(()));
}

pub fn completions(rings: &mut Rings, count: u32) -> Vec<u64> {
    soon(|| (rings.completion.available() >= count).then_some(()));
    let addresses = std::iter::from_fn(|| rings.completion.pop()).collect();
    rings.completion.release();
    addresses
}

pub fn shared<'a>(first: &'a Socket, config: QueueConfig<'a>) -> QueueConfig<'a> {
    QueueConfig {
        shared_with: Some(first),
        ..config
    }
}

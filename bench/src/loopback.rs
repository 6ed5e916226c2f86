//! Pairs of the kernel's sockets over its loopback interface: what the kernel's io_uring is measured with.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

/// A socket of the kernel's.
pub type Socket = OwnedFd;

/// A connection: the end that sends without delay, and the end that receives.
///
/// # Panics
/// If it cannot be made.
pub fn streams() -> [Socket; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let sender = TcpStream::connect(to).expect("a connection");
    sender.set_nodelay(true).expect("an option");
    let (receiver, _) = listener.accept().expect("the connection");
    [sender.into(), receiver.into()]
}

/// A socket that is connected, and the one that receives from it.
///
/// # Panics
/// If they cannot be made.
pub fn datagrams() -> [Socket; 2] {
    let socket = || UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let (sender, receiver) = (socket(), socket());
    let to = receiver.local_addr().expect("an address");
    sender.connect(to).expect("a peer");
    [sender.into(), receiver.into()]
}

/// send(2) of all of it.
///
/// # Panics
/// If it is not all taken.
pub fn send(socket: &Socket, payload: &[u8]) {
    // SAFETY: the payload lives through the call.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            payload.as_ptr().cast(),
            payload.len(),
            0,
        )
    };
    assert_eq!(sent, payload.len() as isize, "send(2)");
}

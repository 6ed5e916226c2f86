//! Sends every UDP datagram to port 7777 back to where it came from, one at a time.

use ringwire::types::{DestinationSlot, Fixed};
use ringwire::{IoUring, opcode, squeue};
use std::{env, error::Error, io, mem::zeroed};

fn main() -> Result<(), Box<dyn Error>> {
    let (interface, address) = env::args()
        .nth(1)
        .zip(env::args().nth(2))
        .ok_or("usage: readme INTERFACE ADDRESS/PREFIX")?;
    let mut builder = IoUring::builder();
    let builder = builder.interface(&interface).address(address.parse()?);
    let mut ring = builder.build(8)?;

    // A socket is made by an operation, as direct descriptor 0.
    ring.submitter().register_files_sparse(1)?;
    let slot = DestinationSlot::try_from_slot_target(0).ok();
    let socket = opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0).file_index(slot);
    run(&mut ring, socket.build())?;

    // SAFETY: all zeroes are valid values of these C structs: the wildcard address, an empty message.
    let (mut name, mut message): (libc::sockaddr_in, libc::msghdr) = unsafe { zeroed() };
    (name.sin_family, name.sin_port) = (libc::AF_INET as u16, 7777u16.to_be());
    let bind = opcode::Bind::new(Fixed(0), (&raw const name).cast(), 16);
    run(&mut ring, bind.build())?;

    let mut buffer = vec![0u8; 65_536];
    let (iov_base, iov_len) = (buffer.as_mut_ptr().cast(), buffer.len());
    let mut payload = [libc::iovec { iov_base, iov_len }];
    (message.msg_name, message.msg_namelen) = ((&raw mut name).cast(), 16);
    (message.msg_iov, message.msg_iovlen) = (payload.as_mut_ptr(), 1);
    loop {
        payload[0].iov_len = buffer.len();
        let receive = opcode::RecvMsg::new(Fixed(0), &raw mut message).build();
        payload[0].iov_len = run(&mut ring, receive)?;
        let send = opcode::SendMsg::new(Fixed(0), &raw const message).build();
        run(&mut ring, send)?;
    }
}

/// Submits a request and waits until it has completed.
fn run(ring: &mut IoUring, request: squeue::Entry) -> io::Result<usize> {
    // SAFETY: what the request points at lives until it has completed, below.
    unsafe { ring.submission().push(&request) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let result = ring
        .completion()
        .next()
        .map_or(0, |completion| completion.result());
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

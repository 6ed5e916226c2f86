//! Sends every UDP datagram back to where it came from, one at a time.

use std::{error::Error, io, mem::zeroed};

use ringwire::types::{DestinationSlot, Fixed};
use ringwire::{IoUring, opcode, squeue};

/// Our socket: direct descriptor 0.
const SOCKET: Fixed = Fixed(0);
const PORT: u16 = 7777;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, interface, address] = &args[..] else {
        return Err("usage: readme INTERFACE ADDRESS/PREFIX".into());
    };
    let mut ring = IoUring::builder()
        .interface(interface)
        .address(address.parse()?)
        .build(8)?;
    println!("{}", ring.report()?);

    ring.submitter().register_files_sparse(1)?;
    let slot = DestinationSlot::try_from_slot_target(0).expect("slot 0 exists");
    let socket = opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0).file_index(Some(slot));
    run(&mut ring, socket.build())?;

    // SAFETY: all zeroes is a valid sockaddr_in: the wildcard address.
    let mut name: libc::sockaddr_in = unsafe { zeroed() };
    name.sin_family = libc::AF_INET as u16;
    name.sin_port = PORT.to_be();
    let name_len = size_of_val(&name) as u32;
    let bind = opcode::Bind::new(SOCKET, (&raw const name).cast(), name_len);
    run(&mut ring, bind.build())?;

    let mut buffer = vec![0u8; 65_536];
    let mut payload = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: 0,
    };
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = name_len;
    message.msg_iovlen = 1;
    loop {
        payload.iov_len = buffer.len();
        message.msg_iov = &raw mut payload;
        let receive = opcode::RecvMsg::new(SOCKET, &raw mut message);
        let len = run(&mut ring, receive.build())?;

        payload.iov_len = len;
        message.msg_iov = &raw mut payload;
        let send = opcode::SendMsg::new(SOCKET, &raw const message);
        if let Err(error) = run(&mut ring, send.build()) {
            eprintln!("not answered: {error}");
        }
    }
}

/// Submits a request and waits until it has completed.
fn run(ring: &mut IoUring, request: squeue::Entry) -> io::Result<usize> {
    // SAFETY: what the request points at lives until it has completed, below.
    unsafe { ring.submission().push(&request) }.map_err(io::Error::other)?;
    let result = loop {
        ring.submit_and_wait(1)?;
        if let Some(completion) = ring.completion().next() {
            break completion.result();
        }
    };
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

//! Sends every UDP datagram to port 7777 of the machine's own addresses back to where it came from.

use ringwire::IoUring;
use ringwire::owned::Ring;
use std::{env, error::Error};

const RECEIVE: u64 = 1;
const SEND: u64 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let interface = env::args().nth(1).ok_or("usage: readme INTERFACE")?;
    let mut ring = Ring::new(IoUring::builder().interface(&interface), 64, 1)?;

    // A socket is made by an operation, as a direct descriptor.
    ring.socket(0, libc::AF_INET6, libc::SOCK_DGRAM)?;
    let socket = ring.wait()?.socket()?;
    ring.bind(0, socket, "[::]:7777".parse()?)?;
    ring.wait()?.result?;

    // One receive brings all datagrams, each in a buffer of the group.
    let group = ring.buffer_group(64, 66_000)?;
    ring.recv_from_multishot(RECEIVE, socket, &group)?;
    loop {
        let done = ring.wait()?;
        ring.reserve(2)?;
        if done.user_data == RECEIVE && !done.more {
            // It has ended: all buffers are in use, or the datagram was empty.
            ring.recv_from_multishot(RECEIVE, socket, &group)?;
        }
        if let (RECEIVE, Some(datagram), Some(from)) = (done.user_data, done.payload, done.address)
        {
            // The buffer goes into the send, and from its completion, below, back to the group.
            ring.send_to(SEND, socket, datagram, from)?;
        }
    }
}

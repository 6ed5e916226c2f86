// The echo server of the comparisons, for UDP and TCP on one port. This text is compiled twice, with `IoUring`,
// `opcode`, `types`, `cqueue` and `squeue` of ringwire and of the `io-uring` crate: it is the same on both. It does
// what is known to be fast on the kernel's: multishot accepts and receives, buffer rings, direct descriptors, one
// system call for what a batch of completions leads to.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Settings;

const DATAGRAM_SOCKET: types::Fixed = types::Fixed(0);
const LISTENER: types::Fixed = types::Fixed(1);
/// Direct descriptors: for 10,000 connections and those that are being closed.
const SLOTS: u32 = 16_384;
const BACKLOG: i32 = 4096;

/// What a completion is of; the upper byte of `user_data`, above the connection's slot and the buffer's id.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Setup,
    Datagram,
    Reply,
    Accept,
    Receive,
    Send,
    Close,
}

const KINDS: [Kind; 7] =
    [Kind::Setup, Kind::Datagram, Kind::Reply, Kind::Accept, Kind::Receive, Kind::Send, Kind::Close];

/// What the server did.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "printed")]
pub struct Tally {
    echoed: u64,
    connections: u64,
    failed: u64,
    rearmed: u64,
}

pub struct Server {
    ring: IoUring,
    spin: bool,
    datagrams: Datagrams,
    streams: Streams,
    pub tally: Tally,
}

impl Server {
    /// Makes the sockets, by operations, and provides the buffers.
    pub fn new(mut ring: IoUring, settings: Settings) -> io::Result<Server> {
        ring.submitter().register_files_sparse(SLOTS)?;
        bind(&mut ring, DATAGRAM_SOCKET, libc::SOCK_DGRAM, settings.port)?;
        bind(&mut ring, LISTENER, libc::SOCK_STREAM, settings.port)?;
        complete(&mut ring, opcode::Listen::new(LISTENER, BACKLOG).build())?;
        let (datagrams, streams) = (Datagrams::new(&ring)?, Streams::new(&ring, settings.operation)?);
        Ok(Server { ring, spin: settings.spin, datagrams, streams, tally: Tally::default() })
    }

    /// Serves until `stop` is set.
    pub fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let pause = types::Timespec::new().nsec(100_000_000);
        let args = types::SubmitArgs::new().timespec(&pause);
        let mut completions = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            self.datagrams.arm(&mut self.ring, &mut self.tally);
            self.streams.arm(&mut self.ring);
            if self.spin {
                look(&mut self.ring)?;
            }
            match self.ring.submitter().submit_with_args(1, &args) {
                Ok(_) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => {}
                Err(error) => return Err(error),
            }
            completions.clear();
            completions.extend(self.ring.completion().map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags())));
            for &(user_data, res, flags) in &completions {
                self.handle(user_data, res, flags)?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, user_data: u64, res: i32, flags: u32) -> io::Result<()> {
        let Server { ring, datagrams, streams, tally, .. } = self;
        let (slot, bid) = ((user_data >> 16) as u32, user_data as u16);
        match KINDS[(user_data >> 56) as usize] {
            Kind::Datagram => datagrams.received(ring, res, flags)?,
            Kind::Reply => datagrams.sent(tally, bid, res),
            Kind::Accept => streams.accepted(ring, tally, res, flags),
            Kind::Receive => streams.received(ring, tally, slot, res, flags),
            Kind::Send => streams.sent(ring, tally, slot, bid, res),
            Kind::Setup | Kind::Close => {}
        }
        Ok(())
    }

    #[allow(dead_code, reason = "the kernel's ring counts nothing")]
    pub fn ring(&self) -> &IoUring {
        &self.ring
    }
}

/// Makes a socket and binds it to the port, for all addresses.
fn bind(ring: &mut IoUring, socket: types::Fixed, kind: i32, port: u16) -> io::Result<()> {
    let slot = types::DestinationSlot::try_from_slot_target(socket.0).expect("a small slot");
    complete(ring, opcode::Socket::new(libc::AF_INET, kind, 0).file_index(Some(slot)).build())?;
    // SAFETY: all zeroes is a valid sockaddr_in: the wildcard address.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_port = port.to_be();
    let len = size_of_val(&address) as u32;
    complete(ring, opcode::Bind::new(socket, (&raw const address).cast(), len).build())?;
    Ok(())
}

/// Queues an entry.
fn push(ring: &mut IoUring, entry: squeue::Entry, kind: Kind, slot: u32, bid: u16) {
    let user_data = (kind as u64) << 56 | u64::from(slot) << 16 | u64::from(bid);
    let entry = entry.user_data(user_data);
    // SAFETY: the buffers and the shape live as long as the server, which owns the ring.
    while unsafe { ring.submission().push(&entry) }.is_err() {
        ring.submit().expect("a full submission queue can be submitted");
    }
}

/// Submits one entry and waits for it.
fn complete(ring: &mut IoUring, entry: squeue::Entry) -> io::Result<i32> {
    push(ring, entry, Kind::Setup, 0, 0);
    ring.submit_and_wait(1)?;
    let res = ring.completion().next().map_or(-libc::EIO, |cqe| cqe.result());
    if res < 0 { Err(io::Error::from_raw_os_error(-res)) } else { Ok(res) }
}

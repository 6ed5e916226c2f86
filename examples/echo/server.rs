// The echo server, for UDP and TCP on one port. This text is compiled twice, with `IoUring`, `opcode`,
// `types`, `cqueue` and `squeue` of ringwire and of the `io-uring` crate: it is the same on both.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Direct descriptors of the UDP socket and of the TCP listener; connections take the others.
const DATAGRAM_SOCKET: types::Fixed = types::Fixed(0);
const LISTENER: types::Fixed = types::Fixed(1);
const SLOTS: u32 = 4096;
const BACKLOG: i32 = 1024;

/// What a completion is of; the upper byte of `user_data`, above the connection's slot and the
/// buffer's id.
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
pub struct Tally {
    pub echoed: u64,
    pub bytes: u64,
    pub truncated: u64,
    pub failed_sends: u64,
    pub rearmed: u64,
    pub connections: u64,
    pub failed_accepts: u64,
}

pub struct Server {
    ring: IoUring,
    datagrams: Datagrams,
    streams: Streams,
    pub tally: Tally,
}

impl Server {
    /// Makes the sockets, by operations, and provides the buffers. `shares`: others serve the port, too.
    pub fn new(mut ring: IoUring, port: u16, shares: bool) -> io::Result<Server> {
        ring.submitter().register_files_sparse(SLOTS)?;
        bind(&mut ring, DATAGRAM_SOCKET, libc::SOCK_DGRAM, port, shares)?;
        bind(&mut ring, LISTENER, libc::SOCK_STREAM, port, shares)?;
        complete(&mut ring, opcode::Listen::new(LISTENER, BACKLOG).build())?;
        let (datagrams, streams) = (Datagrams::new(&ring)?, Streams::new(&ring)?);
        Ok(Server { ring, datagrams, streams, tally: Tally::default() })
    }

    /// Serves until `stop` is set.
    pub fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let pause = types::Timespec::new().nsec(100_000_000);
        let args = types::SubmitArgs::new().timespec(&pause);
        let mut completions = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            self.datagrams.arm(&mut self.ring);
            self.streams.arm(&mut self.ring);
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
        let Server { ring, datagrams, streams, tally } = self;
        let (slot, bid) = ((user_data >> 16) as u32, user_data as u16);
        match KINDS[(user_data >> 56) as usize] {
            Kind::Datagram => datagrams.received(ring, tally, res, flags)?,
            Kind::Reply => datagrams.sent(tally, bid, res),
            Kind::Accept => streams.accepted(ring, tally, res, flags),
            Kind::Receive => streams.received(ring, slot, res, flags),
            Kind::Send => streams.sent(ring, tally, slot, bid, res),
            Kind::Setup | Kind::Close => {}
        }
        Ok(())
    }

    pub fn ring(&self) -> &IoUring {
        &self.ring
    }
}

/// Makes a socket and binds it to the port, for all addresses of both families.
fn bind(ring: &mut IoUring, socket: types::Fixed, kind: i32, port: u16, shares: bool) -> io::Result<()> {
    let slot = types::DestinationSlot::try_from_slot_target(socket.0).expect("a small slot");
    complete(ring, opcode::Socket::new(libc::AF_INET6, kind, 0).file_index(Some(slot)).build())?;
    let on = i32::from(shares);
    let (level, option) = (libc::SOL_SOCKET as u32, libc::SO_REUSEPORT as u32);
    let value = (&raw const on).cast();
    complete(ring, opcode::SetSockOpt::new(socket, level, option, value, 4).build())?;
    // SAFETY: all zeroes is a valid sockaddr_in6: the wildcard address.
    let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    address.sin6_family = libc::AF_INET6 as u16;
    address.sin6_port = port.to_be();
    let len = size_of_val(&address) as u32;
    complete(ring, opcode::Bind::new(socket, (&raw const address).cast(), len).build())?;
    Ok(())
}

/// Queues an entry.
fn push(ring: &mut IoUring, entry: &squeue::Entry, kind: Kind, slot: u32, bid: u16) {
    let user_data = (kind as u64) << 56 | u64::from(slot) << 16 | u64::from(bid);
    let entry = entry.clone().user_data(user_data);
    // SAFETY: the buffers, the replies and the shape live as long as the server, which owns the ring.
    while unsafe { ring.submission().push(&entry) }.is_err() {
        ring.submit().expect("a full submission queue can be submitted");
    }
}

/// Submits one entry and waits for it.
fn complete(ring: &mut IoUring, entry: squeue::Entry) -> io::Result<i32> {
    push(ring, &entry, Kind::Setup, 0, 0);
    ring.submit_and_wait(1)?;
    let res = ring.completion().next().map_or(-libc::EIO, |cqe| cqe.result());
    if res < 0 { Err(io::Error::from_raw_os_error(-res)) } else { Ok(res) }
}

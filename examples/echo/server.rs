// The echo server. This text is compiled twice, with `IoUring`, `opcode`, `types`, `cqueue` and
// `squeue` of ringwire and of the `io-uring` crate: it is the same on both.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Direct descriptor of the socket.
const SOCKET: types::Fixed = types::Fixed(0);
/// Buffer group, and how many buffers are in it.
const GROUP: u16 = 0;
const BUFFERS: u16 = 256;
/// `io_uring_recvmsg_out`, a `sockaddr_in6`, and the largest datagram.
const BUFFER_BYTES: usize = 16 + 28 + 65_536;
/// `user_data` of the receive; a send's is its buffer's id.
const RECEIVE: u64 = u64::MAX;
const SETUP: u64 = u64::MAX - 1;

/// What the server did.
#[derive(Debug, Default)]
pub struct Tally {
    pub echoed: u64,
    pub bytes: u64,
    pub truncated: u64,
    pub failed_sends: u64,
    pub rearmed: u64,
}

/// A reply that is being sent: what its SENDMSG points at.
struct Reply {
    header: libc::msghdr,
    payload: libc::iovec,
}

pub struct Server {
    ring: IoUring,
    buffers: Vec<u8>,
    buffer_ring: *mut types::BufRingEntry,
    tail: u16,
    replies: Vec<Reply>,
    /// What a multishot receive reads of its msghdr: room for a name, none for control messages.
    shape: libc::msghdr,
    armed: bool,
    pub tally: Tally,
}

impl Server {
    /// Makes the socket, by operations, and provides the buffers.
    pub fn new(mut ring: IoUring, port: u16) -> io::Result<Server> {
        ring.submitter().register_files_sparse(1)?;
        let slot = types::DestinationSlot::try_from_slot_target(0).expect("slot 0 exists");
        let socket = opcode::Socket::new(libc::AF_INET6, libc::SOCK_DGRAM, 0).file_index(Some(slot));
        complete(&mut ring, socket.build())?;
        // SAFETY: all zeroes is a valid sockaddr_in6: the wildcard address.
        let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        address.sin6_family = libc::AF_INET6 as u16;
        address.sin6_port = port.to_be();
        let len = size_of_val(&address) as u32;
        complete(&mut ring, opcode::Bind::new(SOCKET, (&raw const address).cast(), len).build())?;

        let ring_bytes = usize::from(BUFFERS) * size_of::<types::BufRingEntry>();
        // SAFETY: a fresh anonymous mapping; it lives until the process ends, longer than the ring.
        let memory = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), ring_bytes, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is never unmapped.
        unsafe { ring.submitter().register_buf_ring_with_flags(memory as u64, BUFFERS, GROUP, 0)? };
        // SAFETY: all zeroes is a valid msghdr.
        let mut shape: libc::msghdr = unsafe { std::mem::zeroed() };
        shape.msg_namelen = size_of::<libc::sockaddr_in6>() as u32;
        let empty = || Reply { header: shape, payload: libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 } };
        let mut server = Server {
            ring,
            buffers: vec![0; usize::from(BUFFERS) * BUFFER_BYTES],
            buffer_ring: memory.cast(),
            tail: 0,
            replies: (0..BUFFERS).map(|_| empty()).collect(),
            shape,
            armed: false,
            tally: Tally::default(),
        };
        for bid in 0..BUFFERS {
            server.provide(bid);
        }
        Ok(server)
    }

    /// Serves until `stop` is set.
    pub fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let pause = types::Timespec::new().nsec(100_000_000);
        let args = types::SubmitArgs::new().timespec(&pause);
        let mut completions = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            if !self.armed {
                self.arm();
            }
            match self.ring.submitter().submit_with_args(1, &args) {
                Ok(_) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => {}
                Err(error) => return Err(error),
            }
            completions.clear();
            completions.extend(self.ring.completion().map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags())));
            for &(user_data, res, flags) in &completions {
                match user_data {
                    RECEIVE => self.received(res, flags)?,
                    bid => self.sent(bid as u16, res),
                }
            }
        }
        Ok(())
    }

    pub fn ring(&self) -> &IoUring {
        &self.ring
    }

    fn arm(&mut self) {
        let entry = opcode::RecvMsgMulti::new(SOCKET, &raw const self.shape, GROUP).build().user_data(RECEIVE);
        self.push(&entry);
        self.armed = true;
    }

    fn received(&mut self, res: i32, flags: u32) -> io::Result<()> {
        if !cqueue::more(flags) {
            self.armed = false;
            self.tally.rearmed += 1;
        }
        let Some(bid) = cqueue::buffer_select(flags) else {
            // Every buffer is being sent: the receive is armed again when one is back.
            return match -res {
                libc::ENOBUFS => Ok(()),
                errno => Err(io::Error::from_raw_os_error(errno)),
            };
        };
        let start = usize::from(bid) * BUFFER_BYTES;
        let buffer = &self.buffers[start..start + res as usize];
        let Ok(message) = types::RecvMsgOut::parse(buffer, &self.shape) else {
            return Err(io::Error::other("a received message does not fit its buffer"));
        };
        if message.is_payload_truncated() {
            self.tally.truncated += 1;
            self.provide(bid);
            return Ok(());
        }
        let (name, payload) = (message.name_data(), message.payload_data());
        let reply = &mut self.replies[usize::from(bid)];
        reply.payload = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        reply.header.msg_name = name.as_ptr().cast_mut().cast();
        reply.header.msg_namelen = name.len() as u32;
        reply.header.msg_iov = &raw mut reply.payload;
        reply.header.msg_iovlen = 1;
        let entry = opcode::SendMsg::new(SOCKET, &raw const reply.header).build().user_data(bid.into());
        self.push(&entry);
        Ok(())
    }

    fn sent(&mut self, bid: u16, res: i32) {
        if res >= 0 {
            self.tally.echoed += 1;
            self.tally.bytes += res as u64;
        } else {
            self.tally.failed_sends += 1;
        }
        self.provide(bid);
    }

    /// Gives a buffer to the group.
    fn provide(&mut self, bid: u16) {
        let addr = self.buffers[usize::from(bid) * BUFFER_BYTES..].as_mut_ptr() as u64;
        // SAFETY: the masked index is inside the ring, whose memory is never unmapped; the tail is a
        // u16 that the other side reads atomically.
        unsafe {
            let entry = &mut *self.buffer_ring.add(usize::from(self.tail & (BUFFERS - 1)));
            entry.set_addr(addr);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(bid);
            self.tail = self.tail.wrapping_add(1);
            let tail = types::BufRingEntry::tail(self.buffer_ring).cast::<std::sync::atomic::AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the buffers, the replies and the shape live as long as the server, which owns the ring.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit().expect("a full submission queue can be submitted");
        }
    }
}

/// Submits one entry and waits for it.
fn complete(ring: &mut IoUring, entry: squeue::Entry) -> io::Result<i32> {
    // SAFETY: what the entry points at lives until it has completed, below.
    unsafe { ring.submission().push(&entry.user_data(SETUP)) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let res = ring.completion().next().map_or(-libc::EIO, |cqe| cqe.result());
    if res < 0 { Err(io::Error::from_raw_os_error(-res)) } else { Ok(res) }
}

// Sends in batches. This text is compiled twice, with `IoUring`, `opcode`, `types`, `cqueue` and `squeue` of ringwire and
// of the `io-uring` crate: it is the same on both.

use std::io;

use ringwire_bench::measure::{Load, Tally};

use super::{Settings, Way};

const SOCKET: types::Fixed = types::Fixed(0);
/// `user_data` of notifications of a slot.
const TAG: u64 = u64::MAX;
/// Requests that may have no completion yet, or no notification.
const LAG: usize = 128;

pub struct Sender {
    ring: IoUring,
    settings: Settings,
    places: Vec<*const u8>,
    next: usize,
    /// Requests without a completion, and notifications that have not come.
    waiting: usize,
    promised: usize,
    tally: Tally,
}

impl Sender {
    /// Connects, and registers what is sent if it is to be registered.
    pub fn new(ring: IoUring, places: Vec<*const u8>, settings: Settings) -> io::Result<Sender> {
        ring.submitter().register_files_sparse(1)?;
        let (next, waiting, promised) = (0, 0, 0);
        let tally = Tally::default();
        let mut sender = Sender { ring, settings, places, next, waiting, promised, tally };
        sender.connect()?;
        if settings.way == Way::Fixed {
            let span = |&first: &*const u8| libc::iovec { iov_base: first.cast_mut().cast(), iov_len: settings.bytes };
            let spans: Vec<libc::iovec> = sender.places.iter().map(span).collect();
            // SAFETY: the memory outlives the ring.
            unsafe { sender.ring.submitter().register_buffers(&spans)? };
        }
        Ok(sender)
    }

    fn connect(&mut self) -> io::Result<()> {
        let to = self.settings.to;
        let name = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: to.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
            sin_zero: [0; 8],
        };
        let slot = types::DestinationSlot::try_from_slot_target(SOCKET.0).expect("a small slot");
        let kind = if self.settings.udp { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
        let socket = opcode::Socket::new(libc::AF_INET, kind, 0).file_index(Some(slot));
        let connect = opcode::Connect::new(SOCKET, (&raw const name).cast(), size_of_val(&name) as u32);
        for entry in [socket.build(), connect.build()] {
            // SAFETY: the name lives until the request has completed.
            unsafe { self.ring.submission().push(&entry) }.expect("room in the queue");
            self.ring.submit_and_wait(1)?;
            let res = self.ring.completion().next().map_or(-libc::EIO, |cqe| cqe.result());
            if res < 0 {
                return Err(io::Error::from_raw_os_error(-res));
            }
        }
        Ok(())
    }

    fn entry(&mut self, last: bool) -> squeue::Entry {
        let place = self.next;
        self.next = (place + 1) % self.places.len();
        let (first, len) = (self.places[place], self.settings.bytes as u32);
        // A stream takes a part of what there is no room for.
        let flags = if self.settings.udp { 0 } else { libc::MSG_WAITALL };
        match self.settings.way {
            Way::Plain => opcode::Send::new(SOCKET, first, len).flags(flags).build(),
            Way::Request => opcode::SendZc::new(SOCKET, first, len).flags(flags).build(),
            Way::Fixed => {
                let send = opcode::SendZc::new(SOCKET, first, len).flags(flags);
                send.buf_index(Some(place as u16)).build()
            }
            Way::Batch => bound(first, len, last),
            Way::None => bound(first, len, false),
        }
    }

    fn take(&mut self) {
        for cqe in self.ring.completion() {
            if cqe.user_data() == TAG || cqueue::notif(cqe.flags()) {
                self.promised -= 1;
                continue;
            }
            assert!(cqe.result() > 0, "a send failed: {cqe:?}");
            self.waiting -= 1;
            self.promised += usize::from(cqueue::more(cqe.flags()));
            self.tally.sent(cqe.result() as usize);
        }
    }
}

impl Load for Sender {
    /// Sends a batch. Of a stream it waits for each batch; of datagrams, for what is behind by too much.
    fn step(&mut self) {
        let batch = self.settings.batch;
        for index in 0..batch {
            let entry = self.entry(index + 1 == batch);
            // SAFETY: the memory outlives the ring, and nobody writes to it.
            unsafe { self.ring.submission().push(&entry) }.expect("room in the queue");
        }
        self.waiting += batch;
        self.promised += usize::from(self.settings.way == Way::Batch);
        let lag = if self.settings.udp { LAG } else { 0 };
        loop {
            let late = self.waiting.saturating_sub(lag) > 0 || self.promised > LAG;
            self.ring.submit_and_wait(usize::from(late)).expect("an enter");
            self.take();
            if self.waiting <= lag && self.promised <= LAG {
                return;
            }
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

// The UDP side of the echo server. Compiled twice, as server.rs is.

struct Datagrams {
    group: BufferGroup,
    /// What a multishot receive reads of its msghdr: room for a name, none for control messages.
    shape: libc::msghdr,
    armed: bool,
}

impl Datagrams {
    const BUFFERS: u16 = 512;
    /// More than `io_uring_recvmsg_out`, a `sockaddr_in`, and the largest datagram of an Ethernet packet. Together they
    /// stay in a second-level cache.
    const BUFFER_BYTES: usize = 2048;

    fn new(ring: &IoUring) -> io::Result<Datagrams> {
        // SAFETY: all zeroes is a valid msghdr.
        let mut shape: libc::msghdr = unsafe { std::mem::zeroed() };
        shape.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
        let group = BufferGroup::new(ring, 0, Self::BUFFERS, Self::BUFFER_BYTES)?;
        Ok(Datagrams { group, shape, armed: false })
    }

    fn arm(&mut self, ring: &mut IoUring, tally: &mut Tally) {
        if !self.armed {
            self.armed = true;
            tally.rearmed += 1;
            let entry = opcode::RecvMsgMulti::new(DATAGRAM_SOCKET, &raw const self.shape, self.group.id);
            push(ring, entry.build(), Kind::Datagram, 0, 0);
        }
    }

    fn received(&mut self, ring: &mut IoUring, res: i32, flags: u32) -> io::Result<()> {
        self.armed &= cqueue::more(flags);
        let Some(bid) = cqueue::buffer_select(flags) else {
            // Every buffer is being sent: the receive is armed again when one is back.
            return match -res {
                libc::ENOBUFS => Ok(()),
                errno => Err(io::Error::from_raw_os_error(errno)),
            };
        };
        let buffer = self.group.buffer(bid, res as usize);
        let Ok(message) = types::RecvMsgOut::parse(buffer, &self.shape) else {
            return Err(io::Error::other("a received message does not fit its buffer"));
        };
        let (name, payload) = (message.name_data(), message.payload_data());
        let entry = opcode::Send::new(DATAGRAM_SOCKET, payload.as_ptr(), payload.len() as u32)
            .dest_addr(name.as_ptr().cast())
            .dest_addr_len(name.len() as u32);
        push(ring, entry.build(), Kind::Reply, 0, bid);
        Ok(())
    }

    fn sent(&mut self, tally: &mut Tally, bid: u16, res: i32) {
        let count = if res >= 0 { &mut tally.echoed } else { &mut tally.failed };
        *count += 1;
        self.group.provide(bid);
    }
}

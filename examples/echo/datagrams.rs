// The UDP side of the echo server. Compiled twice, as server.rs is.

/// A reply that is being sent: what its SENDMSG points at.
struct Reply {
    header: libc::msghdr,
    payload: libc::iovec,
}

struct Datagrams {
    group: BufferGroup,
    replies: Vec<Reply>,
    /// What a multishot receive reads of its msghdr: room for a name, none for control messages.
    shape: libc::msghdr,
    armed: bool,
}

impl Datagrams {
    const BUFFERS: u16 = 256;
    /// `io_uring_recvmsg_out`, a `sockaddr_in6`, and the largest datagram.
    const BUFFER_BYTES: usize = 16 + 28 + 65_536;

    fn new(ring: &IoUring) -> io::Result<Datagrams> {
        // SAFETY: all zeroes is a valid msghdr.
        let mut shape: libc::msghdr = unsafe { std::mem::zeroed() };
        shape.msg_namelen = size_of::<libc::sockaddr_in6>() as u32;
        let empty = || Reply { header: shape, payload: libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 } };
        Ok(Datagrams {
            group: BufferGroup::new(ring, 0, Self::BUFFERS, Self::BUFFER_BYTES)?,
            replies: (0..Self::BUFFERS).map(|_| empty()).collect(),
            shape,
            armed: false,
        })
    }

    fn arm(&mut self, ring: &mut IoUring) {
        if !self.armed {
            self.armed = true;
            let entry = opcode::RecvMsgMulti::new(DATAGRAM_SOCKET, &raw const self.shape, self.group.id);
            push(ring, &entry.build(), Kind::Datagram, 0, 0);
        }
    }

    fn received(&mut self, ring: &mut IoUring, tally: &mut Tally, res: i32, flags: u32) -> io::Result<()> {
        if !cqueue::more(flags) {
            self.armed = false;
            tally.rearmed += 1;
        }
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
        if message.is_payload_truncated() {
            tally.truncated += 1;
            self.group.provide(bid);
            return Ok(());
        }
        let (name, payload) = (message.name_data(), message.payload_data());
        let reply = &mut self.replies[usize::from(bid)];
        reply.payload = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        reply.header.msg_name = name.as_ptr().cast_mut().cast();
        reply.header.msg_namelen = name.len() as u32;
        reply.header.msg_iov = &raw mut reply.payload;
        reply.header.msg_iovlen = 1;
        let entry = opcode::SendMsg::new(DATAGRAM_SOCKET, &raw const reply.header).build();
        push(ring, &entry, Kind::Reply, 0, bid);
        Ok(())
    }

    fn sent(&mut self, tally: &mut Tally, bid: u16, res: i32) {
        if res >= 0 {
            tally.echoed += 1;
            tally.bytes += res as u64;
        } else {
            tally.failed_sends += 1;
        }
        self.group.provide(bid);
    }
}

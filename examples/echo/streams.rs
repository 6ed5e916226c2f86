// The TCP side of the echo server. Compiled twice, as server.rs is.
//
// A connection is a direct descriptor. It receives into a provided buffer, sends that buffer back
// whole (MSG_WAITALL), and receives again: a peer that does not read its echo is read no further.

struct Streams {
    group: BufferGroup,
    accepting: bool,
    /// Connections that found no buffer to receive into.
    starved: Vec<u32>,
}

impl Streams {
    const BUFFERS: u16 = 512;
    const BUFFER_BYTES: usize = 32 << 10;

    fn new(ring: &IoUring) -> io::Result<Streams> {
        Ok(Streams {
            group: BufferGroup::new(ring, 1, Self::BUFFERS, Self::BUFFER_BYTES)?,
            accepting: false,
            starved: Vec::new(),
        })
    }

    fn arm(&mut self, ring: &mut IoUring) {
        if !self.accepting {
            self.accepting = true;
            let entry = opcode::AcceptMulti::new(LISTENER).allocate_file_index(true);
            push(ring, &entry.build(), Kind::Accept, 0, 0);
        }
    }

    fn accepted(&mut self, ring: &mut IoUring, tally: &mut Tally, res: i32, flags: u32) {
        if !cqueue::more(flags) {
            self.accepting = false;
        }
        if res >= 0 {
            tally.connections += 1;
            self.receive(ring, res as u32);
        } else {
            tally.failed_accepts += 1;
        }
    }

    fn receive(&mut self, ring: &mut IoUring, slot: u32) {
        let entry = opcode::Recv::new(types::Fixed(slot), std::ptr::null_mut(), 0).buf_group(self.group.id);
        let entry = entry.build().flags(squeue::Flags::BUFFER_SELECT);
        push(ring, &entry, Kind::Receive, slot, 0);
    }

    fn received(&mut self, ring: &mut IoUring, slot: u32, res: i32, flags: u32) {
        match (res, cqueue::buffer_select(flags)) {
            (1.., Some(bid)) => {
                let bytes = self.group.buffer(bid, res as usize);
                let entry = opcode::Send::new(types::Fixed(slot), bytes.as_ptr(), bytes.len() as u32);
                push(ring, &entry.flags(libc::MSG_WAITALL).build(), Kind::Send, slot, bid);
            }
            (res, _) if res == -libc::ENOBUFS => self.starved.push(slot),
            // The end of the stream, or of the connection.
            _ => close(ring, slot),
        }
    }

    fn sent(&mut self, ring: &mut IoUring, tally: &mut Tally, slot: u32, bid: u16, res: i32) {
        let sent_all = res > 0;
        self.group.provide(bid);
        if sent_all {
            tally.bytes += res as u64;
            self.receive(ring, slot);
        } else {
            tally.failed_sends += 1;
            close(ring, slot);
        }
        if let Some(slot) = self.starved.pop() {
            self.receive(ring, slot);
        }
    }
}

fn close(ring: &mut IoUring, slot: u32) {
    push(ring, &opcode::Close::new(types::Fixed(slot)).build(), Kind::Close, slot, 0);
}

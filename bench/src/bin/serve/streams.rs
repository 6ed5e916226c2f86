// The TCP side of the echo server. Compiled twice, as server.rs is.

/// A connection: a direct descriptor with one multishot receive. Its sends go one after the other.
#[derive(Default)]
struct Stream {
    /// What is to be sent, the first of it under way: a buffer, its length, and how much of it has gone.
    sends: VecDeque<(u16, u32, u32)>,
    /// No receive is armed, since the stream ended: it is closed behind the last send.
    ended: bool,
}

struct Streams {
    group: BufferGroup,
    accepting: bool,
    /// By slot.
    streams: Vec<Stream>,
    /// Connections that found no buffer to receive into.
    starved: Vec<u32>,
}

impl Streams {
    const BUFFERS: u16 = 2048;

    fn new(ring: &IoUring, operation: usize) -> io::Result<Streams> {
        Ok(Streams {
            group: BufferGroup::new(ring, 1, Self::BUFFERS, operation)?,
            accepting: false,
            streams: (0..SLOTS).map(|_| Stream::default()).collect(),
            starved: Vec::new(),
        })
    }

    fn arm(&mut self, ring: &mut IoUring) {
        if !self.accepting {
            self.accepting = true;
            let entry = opcode::AcceptMulti::new(LISTENER).allocate_file_index(true);
            push(ring, entry.build(), Kind::Accept, 0, 0);
        }
    }

    fn accepted(&mut self, ring: &mut IoUring, tally: &mut Tally, res: i32, flags: u32) {
        self.accepting &= cqueue::more(flags);
        if res < 0 {
            tally.failed += 1;
            return;
        }
        tally.connections += 1;
        self.streams[res as usize].ended = false;
        self.receive(ring, res as u32);
    }

    fn receive(&self, ring: &mut IoUring, slot: u32) {
        let entry = opcode::RecvMulti::new(types::Fixed(slot), self.group.id);
        push(ring, entry.build(), Kind::Receive, slot, 0);
    }

    fn received(&mut self, ring: &mut IoUring, tally: &mut Tally, slot: u32, res: i32, flags: u32) {
        match (res, cqueue::buffer_select(flags)) {
            (1.., Some(bid)) => {
                let sends = &mut self.streams[slot as usize].sends;
                sends.push_back((bid, res as u32, 0));
                if sends.len() == 1 {
                    self.send(ring, slot);
                }
                if !cqueue::more(flags) {
                    tally.rearmed += 1;
                    self.receive(ring, slot);
                }
            }
            (res, _) if res == -libc::ENOBUFS => self.starved.push(slot),
            // The end of the stream, or of the connection.
            _ => {
                let stream = &mut self.streams[slot as usize];
                stream.ended = true;
                if stream.sends.is_empty() {
                    close(ring, slot);
                }
            }
        }
    }

    /// Sends what is next on a connection.
    fn send(&self, ring: &mut IoUring, slot: u32) {
        if let Some(&(bid, len, gone)) = self.streams[slot as usize].sends.front() {
            let bytes = &self.group.buffer(bid, len as usize)[gone as usize..];
            let entry = opcode::Send::new(types::Fixed(slot), bytes.as_ptr(), bytes.len() as u32);
            push(ring, entry.flags(libc::MSG_WAITALL).build(), Kind::Send, slot, bid);
        }
    }

    fn sent(&mut self, ring: &mut IoUring, tally: &mut Tally, slot: u32, bid: u16, res: i32) {
        let stream = &mut self.streams[slot as usize];
        let (_, len, gone) = stream.sends.front_mut().expect("what was sent");
        *gone += u32::try_from(res).unwrap_or(0);
        let done = gone == len;
        if done || res <= 0 {
            let count = if done { &mut tally.echoed } else { &mut tally.failed };
            *count += 1;
            stream.sends.pop_front();
            self.group.provide(bid);
        }
        if res <= 0 {
            // The receive ends with the connection. What was to follow goes nowhere.
            for (bid, _, _) in std::mem::take(&mut stream.sends) {
                self.group.provide(bid);
            }
        }
        if stream.ended && stream.sends.is_empty() {
            close(ring, slot);
        } else {
            self.send(ring, slot);
        }
        if let Some(slot) = self.starved.pop() {
            tally.rearmed += 1;
            self.receive(ring, slot);
        }
    }
}

fn close(ring: &mut IoUring, slot: u32) {
    push(ring, opcode::Close::new(types::Fixed(slot)).build(), Kind::Close, slot, 0);
}

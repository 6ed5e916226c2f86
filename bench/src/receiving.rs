//! Messages that one of two engines in memory receives: by a request for each, or by one that goes on.

use ringwire::{cqueue, opcode, squeue, types};
use ringwire_abi::flags::IORING_CQE_F_BUF_MORE;

use crate::engines::{Engines, Protocol};
use crate::groups::Group;

/// Messages that arrive at a time, buffers to receive them, and RECVs that wait.
pub const BURST: usize = 64;
/// The buffer group.
pub const GROUP: u16 = 1;

/// How messages are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// What it is called.
    pub name: &'static str,
    /// One RECV for all of them.
    pub multishot: bool,
    /// Where to.
    pub into: Into,
}

/// Where messages are received to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// Memory that each RECV names.
    Own,
    /// Buffers of a ring.
    Ring,
    /// The NIC's, lent.
    Lent,
}

const fn way(name: &'static str, multishot: bool, into: Into) -> Way {
    Way {
        name,
        multishot,
        into,
    }
}

/// All of them.
pub const WAYS: [Way; 5] = [
    way("multishot", true, Into::Ring),
    way("single", false, Into::Ring),
    way("own", false, Into::Own),
    way("lent-multishot", true, Into::Lent),
    way("lent-single", false, Into::Lent),
];

/// Requests that receive in one way, on one socket: the same for both rings.
pub struct Receiver {
    way: Way,
    socket: types::Fixed,
    bytes: usize,
    memory: Box<[u8]>,
    group: Option<Group>,
    /// Submissions to be made.
    next: Vec<squeue::Entry>,
}

impl Receiver {
    /// Requests of so many bytes each; the group is that of [`GROUP`], if there is one.
    pub fn new(way: Way, socket: types::Fixed, bytes: usize, group: Option<Group>) -> Receiver {
        let memory = vec![0; BURST * bytes].into();
        let mut receiver = Receiver {
            way,
            socket,
            bytes,
            memory,
            group,
            next: Vec::with_capacity(BURST),
        };
        let requests = if way.multishot { 1 } else { BURST };
        (0..requests).for_each(|index| receiver.again(index));
        receiver
    }

    fn entry(&mut self, index: usize) -> squeue::Entry {
        let len = self.bytes as u32;
        let own = &mut self.memory[index * self.bytes..];
        let entry = match (self.way.into, self.way.multishot) {
            (Into::Own, _) => opcode::Recv::new(self.socket, own.as_mut_ptr(), len).build(),
            // Else a part were as long as what is left of its frame.
            (Into::Lent, true) => capped(opcode::RecvMulti::new(self.socket, GROUP).build(), len),
            (Into::Ring, true) => opcode::RecvMulti::new(self.socket, GROUP).build(),
            (_, false) => opcode::Recv::new(self.socket, std::ptr::null_mut(), len)
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
        };
        entry.user_data(index as u64)
    }

    fn again(&mut self, index: usize) {
        let entry = self.entry(index);
        self.next.push(entry);
    }

    /// Submissions to be made.
    pub fn next(&self) -> &[squeue::Entry] {
        &self.next
    }

    /// They were made.
    pub fn submitted(&mut self) {
        self.next.clear();
    }

    /// Gives the buffer of a completion back, and receives again if this was the request's last. Returns the bytes.
    ///
    /// # Panics
    /// If it is an error.
    pub fn complete(&mut self, cqe: &cqueue::Entry) -> usize {
        assert!(cqe.result() > 0, "{cqe:?}");
        if let Some(group) = &mut self.group
            && cqe.flags() & IORING_CQE_F_BUF_MORE == 0
        {
            group.give(cqueue::buffer_select(cqe.flags()).expect("a buffer"));
        }
        if !cqueue::more(cqe.flags()) {
            self.again(cqe.user_data() as usize);
        }
        cqe.result() as usize
    }
}

/// A multishot receive of at most so many bytes in a completion.
fn capped(entry: squeue::Entry, bytes: u32) -> squeue::Entry {
    const LEN_AT: usize = 24;
    let mut entry = entry;
    // SAFETY: an entry is a `struct io_uring_sqe`, in which `len` is a u32 at this place.
    unsafe {
        (&raw mut entry)
            .cast::<u8>()
            .add(LEN_AT)
            .cast::<u32>()
            .write(bytes);
    }
    entry
}

/// Two engines, of which the second receives.
pub struct Bed {
    engines: Engines,
    receiver: Receiver,
    payload: Box<[u8]>,
}

impl Bed {
    /// Messages of so many bytes.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn new(protocol: Protocol, way: Way, bytes: usize) -> Bed {
        let mut engines = Engines::new();
        engines.connect(protocol);
        let engine = &mut engines.b.engine;
        let buffers = 2 * BURST as u16;
        let group = match way.into {
            Into::Own => None,
            Into::Ring => Some(Group::own(engine, GROUP, buffers, bytes)),
            Into::Lent => Some(Group::lent(engine, GROUP, buffers)),
        };
        Bed {
            receiver: Receiver::new(way, protocol.socket(), bytes, group),
            engines,
            payload: vec![7; bytes].into(),
        }
    }

    /// Receives so many messages; what one takes of the clock.
    pub fn run(&mut self, messages: usize, clock: fn() -> u64) -> f64 {
        let own = (0..16).map(|_| {
            let start = clock();
            clock() - start
        });
        let own = own.min().unwrap_or(0);
        let (mut sent, mut received, mut nanos) = (0, 0, 0);
        while received < messages * self.payload.len() {
            let under_way = sent - received / self.payload.len();
            let burst = (messages - sent).min(BURST - under_way);
            self.send(burst);
            sent += burst;
            let start = clock();
            received += self.receive();
            nanos += (clock() - start).saturating_sub(own);
            self.engines.carry_from_second();
        }
        nanos as f64 / messages as f64
    }

    fn send(&mut self, burst: usize) {
        let (from, len) = (self.payload.as_ptr(), self.payload.len() as u32);
        for _ in 0..burst {
            let send = opcode::Send::new(self.receiver.socket, from, len);
            let send = send.flags(libc::MSG_WAITALL).build();
            // SAFETY: the payload lives as long as the engines; nobody writes to it.
            unsafe { self.engines.a.push(&send) };
        }
        self.engines.turn_first();
        for cqe in self.engines.a.engine.completion() {
            assert!(cqe.result() > 0, "{cqe:?}");
        }
        self.engines.carry_from_first();
    }

    /// The receiver's part, which is measured: submissions, a turn, completions. Returns the bytes.
    #[inline(never)]
    fn receive(&mut self) -> usize {
        for entry in self.receiver.next.drain(..) {
            // SAFETY: what is received into lives as long as the engines.
            unsafe { self.engines.b.push(&entry) };
        }
        self.engines.turn_second();
        let completions = self.engines.b.engine.completion();
        completions.map(|cqe| self.receiver.complete(&cqe)).sum()
    }
}

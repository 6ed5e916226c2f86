//! Random programs for both rings: what is generated, and how one that fails is made smaller.
//!
//! A program is a list of steps: a batch of requests, or something that the peer does. Behind each step the
//! runner (`text/random.rs`) waits until nothing moves any more and writes down what has completed. What
//! either ring may do as it likes is not generated:
//!
//! * One request at a time waits for a socket to be readable, or a chain of them: of several neither ring
//!   says which is first. The runner leaves out what would be a second one.
//! * Sends are short and the peer reads at all times, so that none waits, and none is partial.
//! * The peer writes less than a segment at a time and waits until it is out, so that what a receive finds
//!   is what the steps before it say.
//! * Timeouts are long, and count nothing; ASYNC is not used: the kernel runs that in other threads.
//! * SHUTDOWN, cancellations, POLL_FIRST and MSG_WAITALL are alone in their batches: the kernel leaves the first to a
//!   thread, and has the others' effects behind the rest of the batch. Nor does a batch end within a chain: the
//!   kernel leaves what there is of that to a thread too.
//! * A batch ends with its first chain: what follows in a chain starts behind the batch on the kernel, and
//!   at once here.
//! * A receive has fewer than 32 completions at a time: beyond, others have their turn, and what happens meanwhile is
//!   not the same.
//! * Receives take no bundles: how many buffers the first attempt maps depends on what the kernel's memory
//!   was used for before.
//! * Nothing drains: a drain on the kernel may wait for requests that have completed long since.
//! * Multishot polls are for sockets whose events come one by one, which a connection's end does not.
//! * Datagrams go where somebody is: when an ICMP error comes back, a request of the same batch may have been
//!   before it.
//! * MSG_WAITALL and MSG_TRUNC take no provided buffers that are used piece by piece.
//! * Datagram sockets are not shut down: receives from them end in such a thread.
//! * A cancellation by another key than user_data takes all that match.

/// Sockets at the start: one that is bound, one that is connected, two connections and a listener.
pub const DATAGRAM: u32 = 0;
pub const CONNECTED: u32 = 1;
pub const STREAMS: [u32; 2] = [2, 3];
pub const LISTENER: u32 = 4;
pub const SLOTS: u32 = 8;

/// Groups of provided buffers: a ring, a ring whose buffers are used piece by piece, and a list.
pub const RING: u16 = 1;
pub const INCREMENTAL: u16 = 2;
pub const LIST: u16 = 3;

/// Receives of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// Into memory of its own.
    Plain { len: u32 },
    /// Into a buffer of a group, of which at most so much is used, if not 0.
    Group { group: u16, len: u32 },
    /// Multishot, with a cap for each completion and a limit for all, if not 0.
    Multishot { group: u16, cap: u32, limit: u32 },
    /// A message, into two parts, with its sender's address.
    Message { len: u32 },
    /// A message into a buffer of the ring; multishot.
    MultishotMessage,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Nop {
        result: Option<i32>,
    },
    Receive {
        slot: u32,
        how: Receive,
        flags: i32,
        poll_first: bool,
    },
    Send {
        slot: u32,
        len: u32,
        flags: i32,
    },
    /// To the peer's datagram socket.
    SendTo {
        slot: u32,
        len: u32,
    },
    SendMessage {
        slot: u32,
        len: u32,
        to: bool,
    },
    SendGroup {
        slot: u32,
        group: u16,
        len: u32,
        bundle: bool,
    },
    Poll {
        slot: u32,
        events: i16,
        multishot: bool,
    },
    Accept {
        slot: u32,
        into: Option<u32>,
        flags: u16,
    },
    AcceptMultishot {
        slot: u32,
    },
    Socket {
        slot: Option<u32>,
        kind: i32,
    },
    Bind {
        slot: u32,
        port: u16,
    },
    Listen {
        slot: u32,
    },
    /// To the peer's listener, its datagram socket, or a port where nobody is.
    Connect {
        slot: u32,
        to: Target,
    },
    Shutdown {
        slot: u32,
        how: i32,
    },
    Close {
        slot: u32,
    },
    Queued {
        slot: u32,
    },
    Timeout,
    Cancel {
        user_data: u64,
    },
    CancelFile {
        slot: u32,
    },
    CancelOpcode {
        opcode: u8,
    },
    CancelAll,
    Provide {
        count: u16,
    },
    Remove {
        count: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Listener,
    Datagram,
    Nobody,
}

/// An operation, and the flags of its entry.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub user_data: u64,
    pub operation: Operation,
    /// IOSQE_IO_LINK, IOSQE_IO_HARDLINK, IOSQE_CQE_SKIP_SUCCESS.
    pub flags: u8,
}

pub const LINK: u8 = 4;
pub const HARDLINK: u8 = 8;
pub const SKIP: u8 = 64;

#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// A datagram to one of the two sockets.
    Datagram {
        slot: u32,
        len: usize,
    },
    Write {
        stream: usize,
        len: usize,
    },
    ShutDown {
        stream: usize,
    },
    Reset {
        stream: usize,
    },
    Connect,
}

#[derive(Clone, Debug)]
pub enum Step {
    Batch(Vec<Request>),
    Peer(Peer),
    /// Buffers for a ring.
    Provide {
        group: u16,
        count: u16,
    },
}

pub type Program = Vec<Step>;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// The program of a seed.
pub fn generate(seed: u64) -> Program {
    let mut random = Random(seed);
    let mut user_data = 0;
    let skips = random.one_in(3);
    let mut program = Vec::new();
    for _ in 0..10 + random.below(40) {
        let step = match random.below(10) {
            0..5 => {
                let mut batch = Vec::new();
                for _ in 0..1 + random.below(5) {
                    user_data += 1;
                    let operation = operation(&mut random, user_data);
                    let alone = is_alone(&operation);
                    if alone {
                        batch.clear();
                    }
                    let mut flags = random.of(&[0, 0, 0, 0, 0, 0, LINK, LINK, HARDLINK]);
                    if skips && random.one_in(4) && !waits(&operation) {
                        flags |= SKIP;
                    }
                    batch.push(Request {
                        user_data,
                        operation,
                        flags,
                    });
                    if alone {
                        break;
                    }
                }
                Step::Batch(batch)
            }
            5..9 => Step::Peer(peer(&mut random)),
            _ => Step::Provide {
                group: random.of(&[RING, RING, INCREMENTAL]),
                count: 1 + random.below(4) as u16,
            },
        };
        program.push(step);
    }
    program
}

/// Whether a request takes effect behind the others of its batch on the kernel, so that it is the only one.
fn is_alone(operation: &Operation) -> bool {
    match operation {
        Operation::Shutdown { .. }
        | Operation::Cancel { .. }
        | Operation::CancelFile { .. }
        | Operation::CancelOpcode { .. }
        | Operation::CancelAll => true,
        Operation::Receive {
            poll_first, flags, ..
        } => *poll_first || flags & libc::MSG_WAITALL != 0,
        Operation::Accept { flags, .. } => flags & 4 != 0,
        _ => false,
    }
}

/// Whether a request may wait for its socket, so that its completion has to be seen.
fn waits(operation: &Operation) -> bool {
    !matches!(
        operation,
        Operation::Nop { .. } | Operation::Send { .. } | Operation::Timeout
    )
}

/// Mostly what there is from the start.
fn any_slot(random: &mut Random) -> u32 {
    random.of(&[0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 7])
}

fn data_slot(random: &mut Random) -> u32 {
    match random.one_in(8) {
        true => any_slot(random),
        false => random.of(&[DATAGRAM, CONNECTED, STREAMS[0], STREAMS[1], 5]),
    }
}

fn operation(random: &mut Random, user_data: u64) -> Operation {
    let slot = data_slot(random);
    let len = random.of(&[0, 1, 10, 100, 128, 300]);
    match random.below(44) {
        0..3 => Operation::Nop {
            result: random.one_in(3).then(|| random.of(&[-5, 0, 7])),
        },
        3..14 => receive(random, slot),
        14..18 => {
            let flags = random.of(&[
                0,
                0,
                libc::MSG_DONTWAIT,
                libc::MSG_WAITALL,
                libc::MSG_NOSIGNAL,
            ]);
            Operation::Send { slot, len, flags }
        }
        18 => Operation::SendTo { slot, len },
        19..21 => Operation::SendMessage {
            slot,
            len,
            to: random.one_in(2),
        },
        21..23 => {
            let bundle = random.one_in(2);
            let group = random.of(&[RING, RING, LIST, 9]);
            let len = random.of(&[0, 50, 128, 200]);
            Operation::SendGroup {
                slot,
                group,
                len,
                bundle,
            }
        }
        23..26 => {
            let multishot = random.one_in(3);
            let events = if multishot {
                libc::POLLIN
            } else {
                random.of(&[libc::POLLIN, libc::POLLOUT, libc::POLLRDHUP, 0])
            };
            Operation::Poll {
                slot: if multishot {
                    random.of(&[DATAGRAM, CONNECTED, LISTENER])
                } else {
                    any_slot(random)
                },
                events,
                multishot,
            }
        }
        26..28 => Operation::Accept {
            slot: random.of(&[LISTENER, LISTENER, LISTENER, slot]),
            into: random.one_in(2).then(|| random.of(&[5, 6, 7, SLOTS])),
            flags: random.of(&[0, 0, 0, 2, 4]),
        },
        28 => Operation::AcceptMultishot { slot: LISTENER },
        29 => Operation::Socket {
            slot: random.one_in(2).then(|| random.of(&[5, 6, 7])),
            kind: random.of(&[libc::SOCK_STREAM, libc::SOCK_STREAM, libc::SOCK_DGRAM]),
        },
        30 => Operation::Bind {
            slot: random.of(&[5, 6, 7, slot]),
            port: random.of(&[0, 2, 3]),
        },
        31 => Operation::Listen {
            slot: random.of(&[5, 6, 7, 7, slot]),
        },
        32..34 => match random.one_in(3) {
            true => Operation::Connect {
                slot: random.of(&[DATAGRAM, CONNECTED]),
                to: Target::Datagram,
            },
            false => Operation::Connect {
                slot: random.of(&[5, 5, 6, 6, STREAMS[0], STREAMS[1]]),
                to: random.of(&[Target::Listener, Target::Datagram, Target::Nobody]),
            },
        },
        34 => Operation::Shutdown {
            slot: random.of(&STREAMS),
            how: random.of(&[libc::SHUT_RD, libc::SHUT_WR, libc::SHUT_WR, libc::SHUT_RDWR]),
        },
        35 => Operation::Close {
            slot: any_slot(random),
        },
        36 => Operation::Queued { slot },
        37 => Operation::Timeout,
        38..40 => Operation::Cancel {
            user_data: 1 + random.below(user_data),
        },
        40 => Operation::CancelFile { slot },
        41 => Operation::CancelOpcode {
            opcode: random.of(&[27, 10, 6, 13, 11]),
        },
        42 => match random.one_in(4) {
            true => Operation::CancelAll,
            false => Operation::Nop { result: None },
        },
        _ => match random.one_in(3) {
            true => Operation::Remove {
                count: 1 + random.below(3) as u16,
            },
            false => Operation::Provide {
                count: 1 + random.below(3) as u16,
            },
        },
    }
}

fn receive(random: &mut Random, slot: u32) -> Operation {
    let len = random.of(&[0, 1, 10, 50, 100, 300]);
    let group = random.of(&[RING, RING, INCREMENTAL, LIST, 9]);
    let how = match random.below(11) {
        0..4 => Receive::Plain { len },
        4..6 => Receive::Group { group, len },
        6..8 => Receive::Multishot {
            group,
            cap: random.of(&[0, 0, 100]),
            limit: random.of(&[0, 0, 150]),
        },
        8..10 => Receive::Message { len },
        _ => Receive::MultishotMessage,
    };
    let flags = match how {
        Receive::Plain { .. } | Receive::Message { .. } => random.of(&[
            0,
            0,
            libc::MSG_DONTWAIT,
            libc::MSG_PEEK,
            libc::MSG_TRUNC,
            libc::MSG_WAITALL,
            libc::MSG_WAITALL | libc::MSG_DONTWAIT,
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
        ]),
        Receive::Group {
            group: INCREMENTAL, ..
        } => random.of(&[0, 0, libc::MSG_DONTWAIT]),
        Receive::Group { .. } => random.of(&[
            0,
            0,
            0,
            libc::MSG_DONTWAIT,
            libc::MSG_TRUNC,
            libc::MSG_WAITALL,
        ]),
        _ => 0,
    };
    Operation::Receive {
        slot,
        how,
        flags,
        // A wake-up for another reason would find that there are no buffers.
        poll_first: matches!(how, Receive::Plain { .. } | Receive::Message { .. })
            && random.one_in(10),
    }
}

fn peer(random: &mut Random) -> Peer {
    let stream = random.of(&[0, 0, 1, 1, 2, 3]);
    match random.below(20) {
        0..7 => Peer::Datagram {
            slot: random.of(&[DATAGRAM, CONNECTED]),
            len: random.of(&[0, 1, 10, 100, 200, 500]),
        },
        7..16 => Peer::Write {
            stream,
            len: random.of(&[1, 10, 100, 128, 300, 700]),
        },
        16 => Peer::ShutDown { stream },
        17 => Peer::Reset { stream },
        _ => Peer::Connect,
    }
}

/// The smallest program that still fails: without steps, and then without requests, that it fails without.
pub fn shrink(program: &Program, fails: impl Fn(&Program) -> bool) -> Program {
    let mut smallest = program.clone();
    let mut size = smallest.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < smallest.len() {
            let mut smaller = smallest.clone();
            smaller.drain(from..(from + size).min(smaller.len()));
            if fails(&smaller) {
                smallest = smaller;
            } else {
                from += size;
            }
        }
        size /= 2;
    }
    for step in 0..smallest.len() {
        let mut index = 0;
        while let Step::Batch(batch) = &smallest[step]
            && index < batch.len()
        {
            let mut smaller = smallest.clone();
            if let Step::Batch(batch) = &mut smaller[step] {
                batch.remove(index);
            }
            if fails(&smaller) {
                smallest = smaller;
            } else {
                index += 1;
            }
        }
    }
    smallest
}

/// A program as text, a line for each request and each of the peer's doings.
pub fn text(program: &Program) -> String {
    let mut text = String::new();
    for step in program {
        match step {
            Step::Batch(batch) => {
                text += "Batch:\n";
                for request in batch {
                    text += &format!("    {request:?}\n");
                }
            }
            other => text += &format!("{other:?}\n"),
        }
    }
    text
}

//! The application: an echo server on the engine's queues, and a source of requests of every kind,
//! most of them wrong.

use std::collections::{BTreeMap, VecDeque};

use io_uring::{opcode, types};
use memmap2::MmapMut;
use ringwire::engine::Engine;
use ringwire_abi::register::BufReg;
use ringwire_abi::sqe::Sqe;
use ringwire_stack::Instant;

use crate::payload;
use crate::random::Random;
use crate::streams::{Echo, STREAM};

pub(crate) const PORT: u16 = 7;
/// Slots in all; those that hostile requests name come first.
pub(crate) const SLOTS: u32 = 24;
const HOSTILE_SLOTS: u32 = 8;
const SOCKET: types::Fixed = types::Fixed(0);
const GROUP: u16 = 1;
const BUFFERS: u16 = 64;
const BUFFER_BYTES: usize = 16 + 28 + 10_000;
const RECEIVE: u64 = 1 << 60;
const REPLY: u64 = 1 << 61;
const HOSTILE: u64 = 1 << 62;
/// `IOSQE_IO_DRAIN` waits for the server's own receive for ever, and `IOSQE_CQE_SKIP_SUCCESS` hides
/// what is counted here.
const LEFT_OUT: u8 = 0x02 | 0x40;

struct Reply {
    header: libc::msghdr,
    part: libc::iovec,
}

pub(crate) struct App {
    buffers: Vec<u8>,
    ring: MmapMut,
    tail: u16,
    replies: Vec<Reply>,
    streams: Echo,
    shape: Box<libc::msghdr>,
    address: Box<libc::sockaddr_in6>,
    timespec: Box<[i64; 2]>,
    armed: bool,
    to_push: VecDeque<io_uring::squeue::Entry>,
    /// Hostile requests that have not completed for good.
    outstanding: BTreeMap<u64, ()>,
    serial: u64,
    pub(crate) echoed: u64,
    pub(crate) completions: u64,
    pub(crate) hostile_requests: u64,
    pub(crate) violation: Option<String>,
}

impl App {
    pub(crate) fn new(engine: &mut Engine) -> App {
        engine
            .register_files_sparse(SLOTS)
            .expect("a table of direct descriptors");
        let mut ring =
            MmapMut::map_anon(usize::from(BUFFERS) * 16).expect("memory for a buffer ring");
        let reg = BufReg {
            ring_addr: ring.as_mut_ptr() as u64,
            ring_entries: BUFFERS.into(),
            bgid: GROUP,
            ..BufReg::default()
        };
        // SAFETY: the mapping lives in the app, which the simulation keeps as long as the engine.
        unsafe { engine.register_buf_ring(&reg) }.expect("a buffer ring");
        // SAFETY: all zeroes are valid values of these C structs.
        let (mut shape, mut address): (Box<libc::msghdr>, Box<libc::sockaddr_in6>) =
            unsafe { (Box::new(std::mem::zeroed()), Box::new(std::mem::zeroed())) };
        shape.msg_namelen = size_of::<libc::sockaddr_in6>() as u32;
        address.sin6_family = libc::AF_INET6 as u16;
        address.sin6_port = PORT.to_be();
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        let mut app = App {
            buffers: vec![0; usize::from(BUFFERS) * BUFFER_BYTES],
            ring,
            tail: 0,
            replies: (0..BUFFERS)
                .map(|_| Reply {
                    header: *shape,
                    part: empty,
                })
                .collect(),
            streams: Echo::new(),
            shape,
            address,
            timespec: Box::new([0, 1_000_000]),
            armed: false,
            to_push: VecDeque::new(),
            outstanding: BTreeMap::new(),
            serial: 0,
            echoed: 0,
            completions: 0,
            hostile_requests: 0,
            violation: None,
        };
        for bid in 0..BUFFERS {
            app.provide(bid);
        }
        let slot = types::DestinationSlot::try_from_slot_target(0).expect("slot 0 exists");
        let socket = opcode::Socket::new(libc::AF_INET6, libc::SOCK_DGRAM, 0)
            .file_index(Some(slot))
            .build();
        let bind = opcode::Bind::new(SOCKET, (&raw const *app.address).cast(), 28).build();
        app.to_push.extend([socket, bind]);
        app.to_push.extend(app.streams.set_up());
        app
    }

    /// Submits what there is to submit, with a share of hostile requests, and takes completions.
    pub(crate) fn step(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        random: &mut Random,
        hostile: bool,
    ) {
        if hostile && random.chance(300) {
            let entry = self.hostile(random);
            self.hostile_requests += 1;
            self.to_push.push_back(entry);
        }
        if !self.armed {
            self.armed = true;
            let receive = opcode::RecvMsgMulti::new(SOCKET, &raw const *self.shape, GROUP).build();
            self.to_push.push_back(receive.user_data(RECEIVE));
        }
        self.streams.arm(&mut self.to_push);
        let mut queue = engine.submission();
        while let Some(entry) = self.to_push.front() {
            // SAFETY: what the entries name is the app's, which outlives the engine, or below the first page.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.to_push.pop_front();
        }
        let count = queue.len() as u32;
        drop(queue);
        engine.submit(now, count);
        engine.turn(now);
        engine.flush_overflow();
        // A slow application leaves its completions where they are, now and then.
        if random.chance(900) {
            self.take(engine);
        }
    }

    fn take(&mut self, engine: &mut Engine) {
        let completions: Vec<_> = engine
            .completion()
            .map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags()))
            .collect();
        for (user_data, res, flags) in completions {
            self.completions += 1;
            match user_data {
                RECEIVE => self.received(res, flags),
                stream if stream & STREAM != 0 => {
                    self.streams.completed(&mut self.to_push, stream, res);
                }
                reply if reply & REPLY != 0 => self.provide((reply & 0xffff) as u16),
                hostile if hostile & HOSTILE != 0 => {
                    let last = !io_uring::cqueue::more(flags);
                    if last && self.outstanding.remove(&hostile).is_none() {
                        self.violation = Some(format!("request {hostile:#x} completed twice"));
                    }
                }
                _ => {}
            }
        }
    }

    fn received(&mut self, res: i32, flags: u32) {
        self.armed &= io_uring::cqueue::more(flags);
        let Some(bid) = io_uring::cqueue::buffer_select(flags) else {
            return;
        };
        let start = usize::from(bid) * BUFFER_BYTES;
        let buffer = &self.buffers[start..start + res as usize];
        let message = types::RecvMsgOut::parse(buffer, &self.shape).expect("a whole message");
        if let Err(error) = payload::check(message.payload_data()) {
            self.violation = Some(format!("the application got what nobody sent: {error}"));
        }
        let (name, payload) = (message.name_data(), message.payload_data());
        let reply = &mut self.replies[usize::from(bid)];
        reply.part = libc::iovec {
            iov_base: payload.as_ptr().cast_mut().cast(),
            iov_len: payload.len(),
        };
        reply.header.msg_name = name.as_ptr().cast_mut().cast();
        reply.header.msg_namelen = name.len() as u32;
        reply.header.msg_iov = &raw mut reply.part;
        reply.header.msg_iovlen = 1;
        let entry = opcode::SendMsg::new(SOCKET, &raw const reply.header).build();
        self.to_push
            .push_back(entry.user_data(REPLY | u64::from(bid)));
        self.echoed += 1;
    }

    fn provide(&mut self, bid: u16) {
        let addr = self.buffers[usize::from(bid) * BUFFER_BYTES..].as_mut_ptr() as u64;
        let at = usize::from(self.tail % BUFFERS) * 16;
        self.ring[at..at + 8].copy_from_slice(&addr.to_ne_bytes());
        self.ring[at + 8..at + 12].copy_from_slice(&(BUFFER_BYTES as u32).to_ne_bytes());
        self.ring[at + 12..at + 14].copy_from_slice(&bid.to_ne_bytes());
        self.tail = self.tail.wrapping_add(1);
        // The engine reads on this same thread: no ordering is needed.
        self.ring[14..16].copy_from_slice(&self.tail.to_ne_bytes());
    }

    /// A request with random fields. It names no memory but a timespec and the first page, and
    /// leaves the server's own slot alone.
    fn hostile(&mut self, random: &mut Random) -> io_uring::squeue::Entry {
        self.serial += 1;
        let known = [
            0, 6, 9, 10, 11, 13, 14, 16, 19, 26, 27, 31, 32, 34, 45, 56, 57,
        ];
        let opcode = match random.below(4) {
            0 => random.next() as u8,
            _ => known[random.below(known.len() as u64) as usize],
        };
        let small = |random: &mut Random| {
            if random.chance(600) {
                0
            } else {
                random.below(64)
            }
        };
        let mut sqe = Sqe {
            opcode,
            flags: if random.chance(700) {
                1
            } else {
                random.next() as u8 & !LEFT_OUT
            },
            ioprio: small(random) as u16 & 0x3f,
            fd: 1 + random.below(u64::from(HOSTILE_SLOTS)) as i32,
            off: small(random),
            addr: small(random),
            len: small(random) as u32,
            op_flags: small(random) as u32,
            user_data: HOSTILE | self.serial,
            buf_index: small(random) as u16 + 2,
            file_index: if random.chance(500) {
                0
            } else {
                2 + random.below(u64::from(HOSTILE_SLOTS)) as u32
            },
            ..Sqe::default()
        };
        match opcode {
            11 if random.chance(800) => {
                (sqe.addr, sqe.len) = (&raw const *self.timespec as u64, 1);
                (sqe.flags, sqe.ioprio, sqe.buf_index, sqe.file_index) =
                    (sqe.flags & 0xfe, 0, 0, 0);
            }
            // Slot 0 is the server's.
            19 if sqe.file_index == 1 => sqe.file_index = 2,
            45 => {
                sqe.fd = if random.chance(700) {
                    libc::AF_INET
                } else {
                    sqe.fd
                };
                sqe.off = if random.chance(700) {
                    [libc::SOCK_DGRAM, libc::SOCK_STREAM][random.below(2) as usize] as u64
                } else {
                    sqe.off
                };
                (sqe.addr, sqe.op_flags, sqe.buf_index) = (0, 0, 0);
            }
            _ => {}
        }
        self.outstanding.insert(sqe.user_data, ());
        sqe.to_entry()
    }

    /// Ends everything: cancels what waits, and closes every slot.
    pub(crate) fn finish(&mut self) {
        self.armed = true;
        self.streams.finish();
        let any = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
        self.to_push.push_back(any);
        for slot in 0..SLOTS {
            self.to_push
                .push_back(opcode::Close::new(types::Fixed(slot)).build());
        }
    }

    /// Hostile requests that never completed.
    pub(crate) fn unanswered(&self) -> usize {
        self.outstanding.len()
    }
}

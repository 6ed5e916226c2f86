//! Requests that are none of the application's own: valid ones on sockets and buffers of their own, in
//! any order, and wrong ones. Whatever they do, nobody else may be harmed.
//!
//! Every pointer is valid memory for what its operation does with it, or lies in the first page: another
//! one is undefined behaviour by contract.

use std::ops::Range;

use io_uring::{opcode, types};
use ringwire::engine::Engine;
use ringwire_abi::flags::*;
use ringwire_abi::sqe::Sqe;

use crate::buffers::Buffers;
use crate::random::Random;
use crate::requests::{Purpose, Requests};
use crate::wrong_memory::Memory;

/// A buffer ring, and the first of the groups that PROVIDE_BUFFERS makes. The application's are below.
const RING_GROUP: u16 = 4;
const GROUPS: u64 = 4;
const MOST_IN_CHAIN: u64 = 4;
/// `IOSQE_IO_DRAIN` waits for the application's own receives for ever.
const LEFT_OUT: u8 = IOSQE_IO_DRAIN;
const LINKS: u8 = IOSQE_IO_LINK | IOSQE_IO_HARDLINK;

const OPERATIONS: [u8; 16] = [
    IORING_OP_NOP,
    IORING_OP_SOCKET,
    IORING_OP_BIND,
    IORING_OP_LISTEN,
    IORING_OP_ACCEPT,
    IORING_OP_CONNECT,
    IORING_OP_SEND,
    IORING_OP_SENDMSG,
    IORING_OP_RECV,
    IORING_OP_RECVMSG,
    IORING_OP_SHUTDOWN,
    IORING_OP_CLOSE,
    IORING_OP_TIMEOUT,
    IORING_OP_ASYNC_CANCEL,
    IORING_OP_POLL_ADD,
    IORING_OP_PROVIDE_BUFFERS,
];

pub(crate) struct Hostile {
    slots: Range<u32>,
    /// Slots that the ring chose.
    allocated: Vec<u32>,
    pub(crate) succeeded: u64,
    memory: Memory,
    _ring: Buffers,
}

impl Hostile {
    /// `slots` are free for it. `may_crowd`: whether its streams may go to the server's port.
    pub(crate) fn new(engine: &mut Engine, slots: Range<u32>, may_crowd: bool) -> Hostile {
        Hostile {
            slots,
            allocated: Vec::new(),
            succeeded: 0,
            memory: Memory::new(may_crowd),
            _ring: Buffers::register(engine, RING_GROUP, 16, 1000),
        }
    }

    /// Queues a request, or a chain of them; returns how many.
    pub(crate) fn step(&mut self, requests: &mut Requests, random: &mut Random) -> u64 {
        let count = if random.chance(800) {
            1
        } else {
            1 + random.below(MOST_IN_CHAIN)
        };
        let mut chain: Vec<Sqe> = (0..count).map(|_| self.request(requests, random)).collect();
        for (index, sqe) in chain.iter_mut().enumerate() {
            // The last one must not link to what the application submits next.
            sqe.flags &= !(LINKS | LEFT_OUT);
            if (index as u64) < count - 1 {
                sqe.flags |= [IOSQE_IO_LINK, IOSQE_IO_HARDLINK][random.below(2) as usize];
            }
        }
        let silent = chain
            .iter()
            .any(|sqe| sqe.flags & IOSQE_CQE_SKIP_SUCCESS != 0);
        for sqe in chain {
            let opens = [IORING_OP_SOCKET, IORING_OP_ACCEPT].contains(&sqe.opcode);
            let allocates = opens && sqe.file_index == IORING_FILE_INDEX_ALLOC;
            let id = requests.push(sqe.to_entry(), Purpose::Hostile { allocates });
            if silent {
                requests.may_be_silent(id);
            }
        }
        count
    }

    /// A request has completed; `allocates`: it asked for any slot.
    pub(crate) fn completed(&mut self, allocates: bool, res: i32) {
        let Ok(slot) = u32::try_from(res) else { return };
        self.succeeded += 1;
        if allocates {
            self.allocated.push(slot);
        }
    }

    /// Cancels what waits and closes what is open, but for slots that are `in_use` by the application.
    pub(crate) fn retire(&mut self, requests: &mut Requests, in_use: impl Fn(u32) -> bool) {
        for user_data in requests.hostile() {
            let cancel = opcode::AsyncCancel::new(user_data).build();
            requests.push(cancel, Purpose::Quiet);
        }
        let slots = self
            .slots
            .clone()
            .chain(std::mem::take(&mut self.allocated));
        for slot in slots.filter(|&slot| !in_use(slot)) {
            let close = opcode::Close::new(types::Fixed(slot)).build();
            requests.push(close, Purpose::Quiet);
        }
    }

    fn request(&mut self, requests: &Requests, random: &mut Random) -> Sqe {
        let mut sqe = self.valid(requests, random);
        while random.chance(300) {
            self.spoil(&mut sqe, random);
        }
        sqe
    }

    fn slot(&self, random: &mut Random) -> u32 {
        let count = u64::from(self.slots.end - self.slots.start);
        self.slots.start + random.below(count) as u32
    }

    /// A request that can succeed, if it comes at the right time.
    fn valid(&mut self, requests: &Requests, random: &mut Random) -> Sqe {
        let opcode = OPERATIONS[random.below(OPERATIONS.len() as u64) as usize];
        let mut sqe = Sqe {
            opcode,
            flags: IOSQE_FIXED_FILE,
            fd: self.slot(random) as i32,
            ..Sqe::default()
        };
        match opcode {
            IORING_OP_NOP => sqe.fd = -1,
            IORING_OP_SOCKET | IORING_OP_ACCEPT => self.opening(&mut sqe, random),
            IORING_OP_BIND => (sqe.addr, sqe.off) = self.memory.local(random),
            IORING_OP_CONNECT => (sqe.addr, sqe.off) = self.memory.remote(random),
            IORING_OP_LISTEN => sqe.len = random.below(8) as u32,
            IORING_OP_SEND | IORING_OP_RECV | IORING_OP_SENDMSG | IORING_OP_RECVMSG => {
                self.transfer(&mut sqe, random);
            }
            IORING_OP_SHUTDOWN => sqe.len = random.below(3) as u32,
            IORING_OP_CLOSE => {
                (sqe.flags, sqe.fd) = (0, 0);
                sqe.file_index = 1 + self.slot(random);
            }
            IORING_OP_TIMEOUT => {
                (sqe.flags, sqe.fd, sqe.len) = (0, -1, 1);
                sqe.addr = self.memory.timespec(random);
                sqe.off = random.below(4) * random.below(20);
                sqe.op_flags = [0, 0, 1, 1 << 6][random.below(4) as usize];
            }
            IORING_OP_ASYNC_CANCEL => {
                // Also the application's own requests, which it then repeats.
                (sqe.flags, sqe.fd) = (0, 0);
                sqe.addr = requests.any_open(random.next()).unwrap_or(0);
            }
            IORING_OP_POLL_ADD => {
                sqe.op_flags = random.next() as u32 & 0x203f;
                sqe.len = random.below(2) as u32;
            }
            _ => {
                (sqe.flags, sqe.fd) = (0, 1 + random.below(Memory::PROVIDED) as i32);
                (sqe.addr, sqe.len) = self.memory.provided(random);
                sqe.off = random.below(64);
                sqe.buf_index = group(random);
                if random.chance(300) {
                    (sqe.opcode, sqe.addr, sqe.len, sqe.off) = (IORING_OP_REMOVE_BUFFERS, 0, 0, 0);
                }
            }
        }
        sqe
    }

    fn opening(&mut self, sqe: &mut Sqe, random: &mut Random) {
        sqe.file_index = if random.chance(200) {
            IORING_FILE_INDEX_ALLOC
        } else {
            1 + self.slot(random)
        };
        if sqe.opcode == IORING_OP_SOCKET {
            sqe.flags = 0;
            sqe.fd = [libc::AF_INET, libc::AF_INET6][random.below(2) as usize];
            sqe.off = [libc::SOCK_DGRAM, libc::SOCK_STREAM, libc::SOCK_STREAM]
                [random.below(3) as usize] as u64;
            return;
        }
        if random.chance(500) {
            (sqe.addr, sqe.off) = self.memory.name(random);
        }
        if sqe.file_index == IORING_FILE_INDEX_ALLOC && random.chance(500) {
            sqe.ioprio = IORING_ACCEPT_MULTISHOT;
        }
    }

    fn transfer(&mut self, sqe: &mut Sqe, random: &mut Random) {
        const FLAGS: [i32; 6] = [
            0,
            0,
            libc::MSG_DONTWAIT,
            libc::MSG_WAITALL,
            libc::MSG_PEEK,
            libc::MSG_TRUNC,
        ];
        let receives = [IORING_OP_RECV, IORING_OP_RECVMSG].contains(&sqe.opcode);
        let message = [IORING_OP_SENDMSG, IORING_OP_RECVMSG].contains(&sqe.opcode);
        sqe.op_flags = FLAGS[random.below(if receives { 6 } else { 4 }) as usize] as u32;
        (sqe.addr, sqe.len) = if message {
            (self.memory.message(random), 1)
        } else {
            self.memory.data(random)
        };
        if sqe.opcode == IORING_OP_SEND && random.chance(500) {
            let (addr, len) = self.memory.remote(random);
            (sqe.off, sqe.file_index) = (addr, len as u32);
        }
        if receives && random.chance(400) {
            sqe.flags |= IOSQE_BUFFER_SELECT;
            sqe.buf_index = group(random);
            if random.chance(500) {
                sqe.ioprio = IORING_RECV_MULTISHOT;
                sqe.op_flags = 0;
                sqe.len = if message { 1 } else { 0 };
            }
        }
    }

    /// Makes one field wrong, or only unusual. Pointers stay valid for the operation, or are in the first
    /// page.
    fn spoil(&mut self, sqe: &mut Sqe, random: &mut Random) {
        let small = random.below(64);
        match random.below(12) {
            0 => {
                // Another operation would follow these pointers in another way.
                sqe.opcode = random.next() as u8;
                (sqe.addr, sqe.off, sqe.len, sqe.addr3) = (small, 0, small as u32, 0);
                sqe.fd = self.slot(random) as i32;
            }
            1 => {
                sqe.flags = random.next() as u8;
                if sqe.flags & IOSQE_BUFFER_SELECT != 0 {
                    sqe.buf_index = group(random);
                }
            }
            2 => sqe.ioprio = random.next() as u16 & 0x3f,
            3 if sqe.opcode != IORING_OP_PROVIDE_BUFFERS => {
                sqe.fd = [-1, 1000, i32::MAX, i32::MIN][random.below(4) as usize];
            }
            4 => sqe.op_flags = random.next() as u32 >> random.below(32),
            5 => sqe.buf_index = group(random),
            6 => sqe.file_index = [0, 1000, u32::MAX - 1, u32::MAX][random.below(4) as usize],
            7 => sqe.personality = 1,
            8 => sqe.addr3 = small,
            9 => sqe.pad2 = small,
            10 => sqe.addr = small,
            11 => sqe.len = 0,
            _ => {}
        }
        self.keep_to_own_slots(sqe, random);
    }

    /// Another's slot, or another's buffers, would be harm done by the application to itself.
    fn keep_to_own_slots(&self, sqe: &mut Sqe, random: &mut Random) {
        let opens = [IORING_OP_SOCKET, IORING_OP_ACCEPT, IORING_OP_CLOSE].contains(&sqe.opcode);
        if opens && (1..=self.slots.start).contains(&sqe.file_index) {
            sqe.file_index = 1 + self.slot(random);
        }
        if (0..self.slots.start as i32).contains(&sqe.fd) && sqe.flags & IOSQE_FIXED_FILE != 0 {
            sqe.fd = self.slot(random) as i32;
        }
        if sqe.buf_index < RING_GROUP {
            sqe.buf_index = group(random);
        }
    }
}

fn group(random: &mut Random) -> u16 {
    RING_GROUP + random.below(GROUPS) as u16
}

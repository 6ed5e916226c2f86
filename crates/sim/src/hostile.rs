//! Requests that are none of the application's own: valid ones on sockets and buffers of their own, in
//! any order, and wrong ones. Whatever they do, nobody else may be harmed.
//!
//! Every pointer is valid memory for what its operation does with it, or lies in the first page: another
//! one is undefined behaviour by contract.

use std::ops::Range;

use io_uring::{opcode, types};
use ringwire::engine::Engine;
use ringwire::provided::entry_addr;
use ringwire_abi::flags::*;
use ringwire_abi::sqe::Sqe;

use crate::buffers::Buffers;
use crate::random::Random;
use crate::registered;
use crate::requests::{Purpose, Requests};
use crate::slots;
use crate::wrong_memory::Memory;

/// A buffer ring, and the first of the groups that PROVIDE_BUFFERS makes. The application's are below.
const RING_GROUP: u16 = 4;
const GROUPS: u64 = 4;
const PIECES_GROUP: u16 = 9;
/// Registered buffers go by the same numbers, so that a wrong one is one of these too.
const FIRST_REGISTERED: u16 = RING_GROUP;
const FIRST_PAGE: u64 = 4096;
const MOST_IN_CHAIN: u64 = 4;
/// `IOSQE_IO_DRAIN` waits for the application's own receives for ever.
const LEFT_OUT: u8 = IOSQE_IO_DRAIN;
const LINKS: u8 = IOSQE_IO_LINK | IOSQE_IO_HARDLINK;

/// Without these no other one comes far: so often, of a thousand requests, it is one of them.
const OPENING: [u8; 6] = [
    IORING_OP_SOCKET,
    IORING_OP_SOCKET,
    IORING_OP_BIND,
    IORING_OP_LISTEN,
    IORING_OP_ACCEPT,
    IORING_OP_CONNECT,
];
const OPENINGS: u32 = 400;

const OPERATIONS: [u8; 35] = [
    IORING_OP_NOP,
    IORING_OP_SOCKET,
    IORING_OP_BIND,
    IORING_OP_LISTEN,
    IORING_OP_ACCEPT,
    IORING_OP_CONNECT,
    IORING_OP_SEND,
    IORING_OP_SENDMSG,
    IORING_OP_SEND_ZC,
    IORING_OP_SENDMSG_ZC,
    IORING_OP_RECV,
    IORING_OP_RECVMSG,
    IORING_OP_READ,
    IORING_OP_READV,
    IORING_OP_READ_FIXED,
    IORING_OP_READV_FIXED,
    IORING_OP_READ_MULTISHOT,
    IORING_OP_WRITE,
    IORING_OP_WRITEV,
    IORING_OP_WRITE_FIXED,
    IORING_OP_WRITEV_FIXED,
    IORING_OP_SHUTDOWN,
    IORING_OP_CLOSE,
    IORING_OP_TIMEOUT,
    IORING_OP_TIMEOUT_REMOVE,
    IORING_OP_LINK_TIMEOUT,
    IORING_OP_ASYNC_CANCEL,
    IORING_OP_POLL_ADD,
    IORING_OP_POLL_REMOVE,
    IORING_OP_FILES_UPDATE,
    IORING_OP_URING_CMD,
    IORING_OP_MSG_RING,
    IORING_OP_PROVIDE_BUFFERS,
    RINGWIRE_OP_SEND_ZC_SLOT,
    RINGWIRE_OP_FLUSH_SLOTS,
];

pub(crate) struct Hostile {
    slots: Range<u32>,
    /// Slots that the ring chose.
    allocated: Vec<u32>,
    pub(crate) succeeded: u64,
    memory: Memory,
    _ring: Buffers,
    /// Its entries are to name parts of registered buffers.
    pieces: Buffers,
}

impl Hostile {
    /// `slots` are free for it. `may_crowd`: whether its streams may go to the server's port.
    pub(crate) fn new(engine: &mut Engine, slots: Range<u32>, may_crowd: bool) -> Hostile {
        let mut memory = Memory::new(may_crowd);
        registered::put(engine, FIRST_REGISTERED, &memory.registered());
        Hostile {
            slots,
            allocated: Vec::new(),
            succeeded: 0,
            memory,
            _ring: Buffers::register(engine, RING_GROUP, 16, 1000),
            pieces: Buffers::register_empty(engine, PIECES_GROUP, 16),
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
        if count > 1 && random.chance(400) {
            let behind = 1 + random.below(count - 1);
            chain[behind as usize] = self.timeout(IORING_OP_LINK_TIMEOUT, random);
        }
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
        let among: &[u8] = match random.chance(OPENINGS) {
            true => &OPENING,
            false => &OPERATIONS,
        };
        let opcode = among[random.below(among.len() as u64) as usize];
        let mut sqe = Sqe {
            opcode,
            flags: IOSQE_FIXED_FILE,
            fd: self.slot(random) as i32,
            ..Sqe::default()
        };
        match opcode {
            IORING_OP_NOP => self.nop(&mut sqe, random),
            IORING_OP_SOCKET | IORING_OP_ACCEPT => self.opening(&mut sqe, random),
            IORING_OP_BIND => (sqe.addr, sqe.off) = self.memory.local(random),
            IORING_OP_CONNECT => (sqe.addr, sqe.off) = self.memory.remote(random),
            IORING_OP_LISTEN => sqe.len = random.below(8) as u32,
            IORING_OP_SHUTDOWN => sqe.len = random.below(3) as u32,
            IORING_OP_CLOSE => {
                (sqe.flags, sqe.fd) = (0, 0);
                sqe.file_index = 1 + self.slot(random);
            }
            IORING_OP_TIMEOUT | IORING_OP_LINK_TIMEOUT => sqe = self.timeout(opcode, random),
            IORING_OP_ASYNC_CANCEL | IORING_OP_TIMEOUT_REMOVE | IORING_OP_POLL_REMOVE => {
                self.change(&mut sqe, requests, random);
            }
            IORING_OP_POLL_ADD => {
                sqe.op_flags = random.next() as u32 & 0x203f;
                sqe.len = random.below(2) as u32;
            }
            IORING_OP_FILES_UPDATE => self.files_update(&mut sqe, random),
            IORING_OP_URING_CMD => self.command(&mut sqe, random),
            // There is no other ring.
            IORING_OP_MSG_RING => {
                (sqe.flags, sqe.fd) = (0, -1);
                sqe.addr = random.below(2);
            }
            IORING_OP_PROVIDE_BUFFERS => self.provide(&mut sqe, random),
            RINGWIRE_OP_SEND_ZC_SLOT => self.send_to_slot(&mut sqe, random),
            RINGWIRE_OP_FLUSH_SLOTS => {
                sqe.flags = 0;
                sqe.off = slots::hostile(random).into();
                sqe.len = 1 + random.below(2) as u32;
                sqe.addr = random.below(2) * (slots::HOSTILE_TAG | random.below(100));
            }
            _ => self.transfer(&mut sqe, random),
        }
        sqe
    }

    fn nop(&self, sqe: &mut Sqe, random: &mut Random) {
        sqe.op_flags = random.next() as u32 & 0x1f;
        sqe.len = random.below(3) as u32;
        sqe.buf_index = group(random);
        if sqe.op_flags & IORING_NOP_FIXED_FILE == 0 {
            sqe.fd = -1;
        }
        sqe.flags = 0;
    }

    fn timeout(&self, opcode: u8, random: &mut Random) -> Sqe {
        const FLAGS: [u32; 4] = [0, 0, IORING_TIMEOUT_ETIME_SUCCESS, IORING_TIMEOUT_MULTISHOT];
        let may_repeat = opcode == IORING_OP_TIMEOUT;
        let counts = u64::from(may_repeat) * random.below(4);
        Sqe {
            opcode,
            fd: -1,
            len: 1,
            addr: self.memory.timespec(random),
            off: counts * random.below(20),
            op_flags: FLAGS[random.below(if may_repeat { 4 } else { 3 }) as usize],
            ..Sqe::default()
        }
    }

    /// Ends or changes a request: also the application's own, which it then repeats.
    fn change(&self, sqe: &mut Sqe, requests: &Requests, random: &mut Random) {
        (sqe.flags, sqe.fd) = (0, 0);
        let of: &[u8] = match sqe.opcode {
            IORING_OP_POLL_REMOVE => &[IORING_OP_POLL_ADD],
            IORING_OP_TIMEOUT_REMOVE => &[IORING_OP_TIMEOUT, IORING_OP_LINK_TIMEOUT],
            _ => &[],
        };
        sqe.addr = requests.any_open(of, random.next()).unwrap_or(0);
        let changes = random.chance(600);
        if sqe.opcode == IORING_OP_POLL_REMOVE && changes {
            sqe.len = random.below(8) as u32;
            if sqe.len & IORING_POLL_UPDATE_EVENTS != 0 {
                sqe.op_flags = random.next() as u32 & 0x203f;
            }
        } else if sqe.opcode == IORING_OP_TIMEOUT_REMOVE && changes {
            sqe.off = self.memory.timespec(random);
            let link = requests.opcode(sqe.addr) == Some(IORING_OP_LINK_TIMEOUT);
            sqe.op_flags = match link {
                true => IORING_LINK_TIMEOUT_UPDATE,
                false => IORING_TIMEOUT_UPDATE,
            };
        }
    }

    /// Empties slots, or leaves them as they are.
    fn files_update(&self, sqe: &mut Sqe, random: &mut Random) {
        (sqe.flags, sqe.fd) = (0, -1);
        (sqe.addr, sqe.len) = self.memory.files(random);
        sqe.off = match random.chance(100) {
            true => IORING_FILE_INDEX_ALLOC.into(),
            false => self.slot(random).into(),
        };
    }

    /// A command of a socket. Whatever it says, there is room for the values.
    fn command(&mut self, sqe: &mut Sqe, random: &mut Random) {
        const OPTIONS: [(i32, i32); 9] = [
            (libc::SOL_SOCKET, libc::SO_ZEROCOPY),
            (libc::SOL_SOCKET, libc::SO_ERROR),
            (libc::SOL_SOCKET, libc::SO_RCVBUF),
            (libc::SOL_SOCKET, libc::SO_REUSEADDR),
            (libc::SOL_SOCKET, libc::SO_LINGER),
            (libc::IPPROTO_TCP, libc::TCP_NODELAY),
            (libc::IPPROTO_TCP, libc::TCP_INFO),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
            (libc::IPPROTO_UDP, 1),
        ];
        sqe.off = random.below(7);
        let (level, name) = OPTIONS[random.below(OPTIONS.len() as u64) as usize];
        sqe.addr = (name as u64) << 32 | level as u64;
        sqe.addr3 = self.memory.data(random).0;
        sqe.file_index = [4, 4, 8, 16, 200][random.below(5) as usize];
        if sqe.off == SOCKET_URING_OP_GETSOCKNAME.into() {
            (sqe.addr, sqe.addr3) = self.memory.name(random);
            sqe.file_index = random.below(2) as u32;
        }
    }

    fn provide(&mut self, sqe: &mut Sqe, random: &mut Random) {
        (sqe.flags, sqe.fd) = (0, 1 + random.below(Memory::PROVIDED) as i32);
        (sqe.addr, sqe.len) = self.memory.provided(random);
        sqe.off = random.below(64);
        sqe.buf_index = group(random);
        if random.chance(300) {
            (sqe.opcode, sqe.addr, sqe.len, sqe.off) = (IORING_OP_REMOVE_BUFFERS, 0, 0, 0);
        }
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
        let form = Form::of(sqe.opcode);
        (sqe.addr, sqe.len) = match form.memory {
            Named::Message => (self.memory.message(random), 1),
            Named::Vector => self.memory.vector(random),
            Named::Buffer => self.memory.data(random),
        };
        if form.is_file {
            sqe.off = [0, u64::MAX][random.below(2) as usize];
            sqe.op_flags = [0, 0, libc::RWF_NOWAIT as u32][random.below(3) as usize];
        } else {
            self.message_flags(sqe, form.receives, random);
        }
        let is_plain = [IORING_OP_SEND, IORING_OP_SEND_ZC].contains(&sqe.opcode);
        if is_plain && sqe.ioprio & IORING_SEND_VECTORIZED == 0 && random.chance(200) {
            return self.send_pieces(sqe, random);
        }
        let takes_fixed = form.is_zero_copy && random.chance(400);
        if form.is_fixed || takes_fixed {
            sqe.buf_index = group(random);
            if !form.is_file {
                sqe.ioprio |= IORING_RECVSEND_FIXED_BUF;
            }
            if form.memory == Named::Buffer && random.chance(800) {
                let index = sqe.buf_index - FIRST_REGISTERED;
                (sqe.addr, sqe.len) = self.memory.fixed(index, random);
            }
            return;
        }
        self.select(sqe, &form, random);
    }

    fn send_to_slot(&mut self, sqe: &mut Sqe, random: &mut Random) {
        (sqe.addr, sqe.len) = self.memory.data(random);
        self.message_flags(sqe, false, random);
        if random.chance(300) {
            sqe.ioprio |= IORING_RECVSEND_FIXED_BUF;
            sqe.buf_index = group(random);
            (sqe.addr, sqe.len) = self.memory.fixed(sqe.buf_index - FIRST_REGISTERED, random);
        }
        let mut to_len = 0;
        if random.chance(700) {
            (sqe.off, to_len) = self.memory.remote(random);
        }
        sqe.file_index = u32::from(slots::hostile(random)) | (to_len as u32) << 16;
        sqe.ioprio |= RINGWIRE_SEND_FLUSH * random.below(2) as u16;
    }

    /// Sends what the group of pieces has, in its registered buffers or not.
    fn send_pieces(&mut self, sqe: &mut Sqe, random: &mut Random) {
        for _ in 0..random.below(4) {
            let index = FIRST_REGISTERED + random.below(4) as u16;
            let len = 1 + random.below(3000) as u32;
            let (index, offset, len) = match random.below(8) {
                0 => (random.below(1 << 20) as u32, 0, len),
                1 => (index.into(), random.below(1 << 44), len),
                2 => (index.into(), 0, [0, 1 << 20][random.below(2) as usize]),
                _ => (index.into(), random.below(50_000), len),
            };
            let bid = random.next() as u16;
            self.pieces.put(entry_addr(index, offset), len, bid);
        }
        sqe.flags |= IOSQE_BUFFER_SELECT;
        sqe.ioprio |= IORING_RECVSEND_FIXED_BUF;
        sqe.ioprio |= IORING_RECVSEND_BUNDLE * random.below(2) as u16;
        (sqe.addr, sqe.len) = (0, [0, 100, 10_000][random.below(3) as usize]);
        sqe.buf_index = PIECES_GROUP;
    }

    fn message_flags(&mut self, sqe: &mut Sqe, receives: bool, random: &mut Random) {
        const FLAGS: [i32; 8] = [
            0,
            libc::MSG_ZEROCOPY,
            0,
            libc::MSG_DONTWAIT,
            libc::MSG_WAITALL,
            libc::MSG_PEEK,
            libc::MSG_TRUNC,
            libc::MSG_ERRQUEUE,
        ];
        sqe.op_flags = FLAGS[random.below(if receives { 8 } else { 5 }) as usize] as u32;
        let is_plain = [IORING_OP_SEND, IORING_OP_SEND_ZC].contains(&sqe.opcode);
        if is_plain && random.chance(500) {
            let (addr, len) = self.memory.remote(random);
            (sqe.off, sqe.file_index) = (addr, len as u32);
        }
        if is_plain && random.chance(200) {
            sqe.ioprio |= IORING_SEND_VECTORIZED;
            (sqe.addr, sqe.len) = self.memory.vector(random);
        }
        if random.chance(100) {
            sqe.ioprio |= IORING_RECVSEND_POLL_FIRST;
        }
        let is_zero_copy = [IORING_OP_SEND_ZC, IORING_OP_SENDMSG_ZC].contains(&sqe.opcode);
        if is_zero_copy {
            sqe.ioprio |= IORING_SEND_ZC_REPORT_USAGE * random.below(2) as u16;
            // The notification's name, which the requests choose.
            sqe.addr3 = u64::from(random.chance(200));
        }
    }

    /// Lets the ring choose the buffers, now and then.
    fn select(&mut self, sqe: &mut Sqe, form: &Form, random: &mut Random) {
        let may = form.receives || sqe.opcode == IORING_OP_SEND;
        if sqe.opcode == IORING_OP_READ_MULTISHOT {
            (sqe.addr, sqe.len) = (0, 0);
        } else if !may || sqe.ioprio & IORING_SEND_VECTORIZED != 0 || !random.chance(400) {
            return;
        }
        sqe.flags |= IOSQE_BUFFER_SELECT;
        sqe.buf_index = group(random);
        if form.is_file {
            return;
        }
        let is_message = form.memory == Named::Message;
        if !is_message && random.chance(300) {
            sqe.ioprio |= IORING_RECVSEND_BUNDLE;
        }
        if form.receives && random.chance(500) {
            sqe.ioprio |= IORING_RECV_MULTISHOT;
            sqe.op_flags = 0;
            sqe.len = u32::from(is_message);
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
        // To any other request what the group of pieces has would be addresses.
        let takes_pieces = [IORING_OP_SEND, IORING_OP_SEND_ZC].contains(&sqe.opcode)
            && sqe.ioprio & IORING_RECVSEND_FIXED_BUF != 0;
        if sqe.buf_index < RING_GROUP || sqe.buf_index == PIECES_GROUP && !takes_pieces {
            sqe.buf_index = group(random);
        }
        slots::keep_to_hostile(sqe);
        // Buffers that begin in the first page all lie there: there are not more than a page holds of these.
        if sqe.opcode == IORING_OP_PROVIDE_BUFFERS && sqe.addr < FIRST_PAGE {
            sqe.len = sqe.len.min(100);
        }
        // What was payload is to be a list of iovecs.
        let sends = [IORING_OP_SEND, IORING_OP_SEND_ZC].contains(&sqe.opcode);
        let vectored = sends && sqe.ioprio & IORING_SEND_VECTORIZED != 0;
        if vectored && sqe.flags & IOSQE_BUFFER_SELECT == 0 && sqe.addr >= FIRST_PAGE {
            (sqe.addr, sqe.len) = self.memory.vector(random);
        }
    }
}

/// What `addr` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Buffer,
    Vector,
    Message,
}

/// How an operation moves bytes.
struct Form {
    memory: Named,
    receives: bool,
    /// READ and WRITE in all their forms.
    is_file: bool,
    is_fixed: bool,
    is_zero_copy: bool,
}

impl Form {
    fn of(opcode: u8) -> Form {
        let is = |opcodes: &[u8]| opcodes.contains(&opcode);
        let is_message = is(&[IORING_OP_SENDMSG, IORING_OP_SENDMSG_ZC, IORING_OP_RECVMSG]);
        let is_vector = is(&[
            IORING_OP_READV,
            IORING_OP_READV_FIXED,
            IORING_OP_WRITEV,
            IORING_OP_WRITEV_FIXED,
        ]);
        let reads = is(&[
            IORING_OP_READ,
            IORING_OP_READV,
            IORING_OP_READ_FIXED,
            IORING_OP_READV_FIXED,
            IORING_OP_READ_MULTISHOT,
        ]);
        let writes = is(&[
            IORING_OP_WRITE,
            IORING_OP_WRITEV,
            IORING_OP_WRITE_FIXED,
            IORING_OP_WRITEV_FIXED,
        ]);
        Form {
            memory: match (is_message, is_vector) {
                (true, _) => Named::Message,
                (_, true) => Named::Vector,
                _ => Named::Buffer,
            },
            receives: reads || is(&[IORING_OP_RECV, IORING_OP_RECVMSG]),
            is_file: reads || writes,
            is_fixed: is(&[
                IORING_OP_READ_FIXED,
                IORING_OP_READV_FIXED,
                IORING_OP_WRITE_FIXED,
                IORING_OP_WRITEV_FIXED,
            ]),
            is_zero_copy: is(&[IORING_OP_SEND_ZC, IORING_OP_SENDMSG_ZC]),
        }
    }
}

fn group(random: &mut Random) -> u16 {
    RING_GROUP + random.below(GROUPS) as u16
}

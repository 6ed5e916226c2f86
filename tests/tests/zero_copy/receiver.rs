//! A ring that receives by RECV_ZC, as a program on the kernel's ring does it: with raw structures.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ringwire::types::{
    IORING_MEM_REGION_TYPE_USER, Timespec, io_uring_region_desc, io_uring_zcrx_area_reg,
    io_uring_zcrx_ifq_reg, io_uring_zcrx_rqe,
};
use ringwire::{IoUring, cqueue, opcode, squeue, types};
use ringwire_tests::net::{PATIENCE, RING_INTERFACE, RING_V4, RING_V6, Veth};
use ringwire_tests::stream::{at, raw};

/// The port that the ring serves.
pub const PORT: u16 = 7000;
/// The direct descriptor of the listener, and of the connections in the order of their coming.
const LISTENER: u32 = 0;
pub const FIRST: u32 = 1;
pub const SECOND: u32 = 2;

const RECEIVE: u64 = 1;
const OTHER: u64 = 2;
/// Entries of the refill ring, and bytes of its memory.
const REFILLS: u32 = 1024;
const REGION_BYTES: usize = 5 * 4096;

#[repr(C, align(4096))]
struct Region([u8; REGION_BYTES]);

/// Bytes of a stream that lie in the ring's memory.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    at: u64,
    len: usize,
}

pub struct Receiver {
    pub ring: IoUring<squeue::Entry, cqueue::Entry32>,
    region: Box<Region>,
    reg: io_uring_zcrx_ifq_reg,
    area: io_uring_zcrx_area_reg,
    tail: u32,
}

impl Receiver {
    /// A ring at its end of the pair, with so many chunks to receive into, that listens.
    pub fn new(veth: &Veth, rx_chunks: u32, v6: bool) -> Receiver {
        veth.peer_offloads_off();
        let ring = veth.in_ring(|| {
            IoUring::<squeue::Entry, cqueue::Entry32>::builder()
                .setup_single_issuer()
                .setup_defer_taskrun()
                .setup_cqsize(1024)
                .interface(RING_INTERFACE)
                .address(format!("{RING_V4}/24").parse().expect("an address"))
                .address(format!("{RING_V6}/64").parse().expect("an address"))
                .detect_duplicates(false)
                .rx_chunks(rx_chunks)
                .build(64)
                .expect("a ring")
        });
        ring.submitter().register_files_sparse(8).expect("a table");
        let mut receiver = Receiver {
            ring,
            region: Box::new(Region([0; REGION_BYTES])),
            reg: io_uring_zcrx_ifq_reg::default(),
            area: io_uring_zcrx_area_reg::default(),
            tail: 0,
        };
        receiver.register();
        receiver.listen(v6);
        receiver
    }

    fn register(&mut self) {
        let mut region = io_uring_region_desc {
            user_addr: self.region.0.as_mut_ptr() as u64,
            size: REGION_BYTES as u64,
            flags: IORING_MEM_REGION_TYPE_USER,
            ..io_uring_region_desc::default()
        };
        self.reg.rq_entries = REFILLS;
        self.reg.region_ptr = &raw mut region as u64;
        self.reg.area_ptr = &raw mut self.area as u64;
        // SAFETY: both structures live through the call, and the refill ring's memory as long as the ring:
        // it is dropped after it. What is put there are parts, each once (`give_back`).
        unsafe { self.ring.submitter().register_ifq(&mut self.reg) }.expect("a registration");
    }

    fn listen(&mut self, v6: bool) {
        let (domain, any) = if v6 {
            (libc::AF_INET6, "::")
        } else {
            (libc::AF_INET, "0.0.0.0")
        };
        let slot = types::DestinationSlot::try_from_slot_target(LISTENER).expect("a slot");
        let socket = opcode::Socket::new(domain, libc::SOCK_STREAM, 0).file_index(Some(slot));
        assert_eq!(self.run(socket.build()), 0);
        let (address, len) = raw(at(any, PORT));
        let listener = types::Fixed(LISTENER);
        let bind = opcode::Bind::new(listener, address.as_ptr().cast(), len);
        assert_eq!(self.run(bind.build()), 0);
        assert_eq!(self.run(opcode::Listen::new(listener, 4).build()), 0);
    }

    /// Where the peer connects to.
    pub fn address(v6: bool) -> SocketAddr {
        at(if v6 { RING_V6 } else { RING_V4 }, PORT)
    }

    pub fn accept(&mut self, slot: u32) {
        let slot = types::DestinationSlot::try_from_slot_target(slot).expect("a slot");
        let (addr, len) = (std::ptr::null_mut(), std::ptr::null_mut());
        let accept = opcode::Accept::new(types::Fixed(LISTENER), addr, len);
        assert_eq!(self.run(accept.file_index(Some(slot)).build()), 0);
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: what the entries point at outlives their completions: a RECV_ZC names no memory, and
        // `run` waits.
        unsafe { self.ring.submission().push(entry) }.expect("room in the queue");
    }

    /// Takes turns until something has completed, or the time is over.
    pub fn wait(&mut self, at_most: Duration) {
        let time = Timespec::from(at_most);
        let args = types::SubmitArgs::new().timespec(&time);
        match self.ring.submitter().submit_with_args(1, &args) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ETIME), "{error}"),
        }
    }

    /// Submits a request while no other waits, and waits for its result.
    pub fn run(&mut self, entry: squeue::Entry) -> i32 {
        self.push(&entry.user_data(OTHER));
        self.wait(6 * PATIENCE);
        let done = self.ring.completion().next().expect("a completion");
        assert_eq!(done.user_data(), OTHER);
        done.result()
    }

    /// Begins to receive, so many bytes at most (0: no limit).
    pub fn receive(&mut self, slot: u32, limit: u32) {
        let receive = opcode::RecvZc::new(types::Fixed(slot), limit).ifq(self.reg.zcrx_id);
        self.push(&receive.build().user_data(RECEIVE));
    }

    /// Waits for parts; the result of the last completion, if it was among them.
    pub fn parts(&mut self) -> (Vec<Part>, Option<i32>) {
        self.wait(PATIENCE);
        let (mut parts, mut end) = (Vec::new(), None);
        for done in self.ring.completion() {
            assert_eq!(done.user_data(), RECEIVE);
            assert_eq!(end, None, "nothing comes behind the last");
            if !cqueue::more(done.flags()) {
                end = Some(done.result());
                continue;
            }
            let len = usize::try_from(done.result()).expect("a number of bytes");
            let at = done.big_cqe()[0];
            assert!(at + len as u64 <= self.area.len, "it lies in the area");
            parts.push(Part { at, len });
        }
        (parts, end)
    }

    /// Adds the bytes of parts, from where they lie.
    pub fn read(&self, parts: &[Part], to: &mut Vec<u8>) {
        for part in parts {
            let first = (self.area.addr + part.at) as *const u8;
            // SAFETY: the part lies in the area, which is mapped as long as the ring, and was not given back.
            to.extend_from_slice(unsafe { std::slice::from_raw_parts(first, part.len) });
        }
    }

    /// Puts parts into the refill ring, as far as there is room; the ring takes them in its next turn.
    pub fn give_back(&mut self, parts: &mut Vec<Part>) {
        let memory = self.region.0.as_mut_ptr();
        let offsets = self.reg.offsets;
        // SAFETY: head, tail and entries lie in the region, where the registration said, aligned; the ring
        // uses head and tail atomically, and reads no entry behind the tail.
        unsafe {
            let head = &*memory.add(offsets.head as usize).cast::<AtomicU32>();
            let tail = &*memory.add(offsets.tail as usize).cast::<AtomicU32>();
            let entries = memory
                .add(offsets.rqes as usize)
                .cast::<io_uring_zcrx_rqe>();
            let used = self.tail.wrapping_sub(head.load(Ordering::Acquire));
            let count = parts.len().min((REFILLS - used) as usize);
            for part in parts.drain(..count) {
                let entry = io_uring_zcrx_rqe {
                    off: part.at | self.area.rq_area_token,
                    len: part.len as u32,
                    ..io_uring_zcrx_rqe::default()
                };
                entries.add((self.tail % REFILLS) as usize).write(entry);
                self.tail = self.tail.wrapping_add(1);
            }
            tail.store(self.tail, Ordering::Release);
        }
    }
}

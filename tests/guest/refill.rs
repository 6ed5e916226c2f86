//! RECV_ZC: a stream is read in the frames that the NIC wrote, and they go back by the refill ring.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ringwire::types::{
    DestinationSlot, SubmitArgs, Timespec, io_uring_region_desc, io_uring_zcrx_area_reg,
    io_uring_zcrx_ifq_reg, io_uring_zcrx_rqe,
};
use ringwire::{IoUring, cqueue, opcode, squeue};
use ringwire_abi::zcrx::{IORING_MEM_REGION_TYPE_USER, IORING_ZCRX_AREA_SHIFT};
use ringwire_tests::net::{PATIENCE, PEER_V4};
use ringwire_tests::stream::{CONNECTION, converse};

use crate::Check;
use crate::bed::Bed;
use crate::bulk::{BYTES, LONG, stream, verify};

pub const CHECKS: &[Check] = &[("a stream is received by RECV_ZC", receive)];

type BigRing = IoUring<squeue::Entry, cqueue::Entry32>;

/// More than come between two turns.
const ENTRIES: u32 = 256;

/// Memory for the refill ring.
#[repr(C, align(4096))]
struct Pages([u8; 8192]);

/// The refill ring, and the memory that RECV_ZC names places in.
struct Refill {
    pages: Box<Pages>,
    registered: io_uring_zcrx_ifq_reg,
    area: io_uring_zcrx_area_reg,
    tail: u32,
}

impl Refill {
    /// Registers it. It lives as long as the ring.
    fn new(ring: &BigRing) -> Refill {
        let pages = Box::new(Pages([0; 8192]));
        // SAFETY: these are integers, for which zero is a value.
        let mut area: io_uring_zcrx_area_reg = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut region: io_uring_region_desc = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut reg: io_uring_zcrx_ifq_reg = unsafe { std::mem::zeroed() };
        region.user_addr = (&raw const *pages) as u64;
        region.size = size_of::<Pages>() as u64;
        region.flags = IORING_MEM_REGION_TYPE_USER;
        reg.rq_entries = ENTRIES;
        reg.area_ptr = &raw mut area as u64;
        reg.region_ptr = &raw mut region as u64;
        // SAFETY: what is pointed at lives through the call, the pages longer than the ring; only places that
        // RECV_ZC has named are given back, each once and read before.
        let registered = unsafe { ring.submitter().register_ifq(&mut reg) };
        registered.expect("a refill ring");
        Refill {
            pages,
            registered: reg,
            area,
            tail: 0,
        }
    }

    /// The bytes at a place that a completion named.
    fn bytes(&self, place: u64, len: usize) -> &[u8] {
        let offset = place & ((1 << IORING_ZCRX_AREA_SHIFT) - 1);
        assert!(offset + len as u64 <= self.area.len, "inside the area");
        // SAFETY: they lie in the area, which is mapped as long as the ring lives, and are lent to us until
        // the place is given back.
        unsafe { std::slice::from_raw_parts((self.area.addr + offset) as *const u8, len) }
    }

    fn give_back(&mut self, place: u64) {
        let offsets = &self.registered.offsets;
        let index = (self.tail % self.registered.rq_entries) as usize;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: entry and tail lie in the pages, where the registration said; the ring reads the tail
        // atomically, and the entry after it.
        unsafe {
            let memory = (&raw mut self.pages.0).cast::<u8>();
            let entries = memory
                .add(offsets.rqes as usize)
                .cast::<io_uring_zcrx_rqe>();
            let entry = &raw mut *entries.add(index);
            (*entry).off = place;
            let tail = memory.add(offsets.tail as usize).cast::<AtomicU32>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

fn receive(bed: &Bed) {
    let mut ring = bed.near_big();
    let submitter = ring.submitter();
    submitter.register_files_sparse(8).expect("a table");
    let mut refill = Refill::new(&ring);
    let listener = bed.wire.peer_listener(PEER_V4);
    let to = listener.local_addr().expect("an address");
    let peer = std::thread::spawn(move || {
        let peer = listener.accept().expect("a connection").0;
        converse(peer, stream(1), LONG)
    });
    connect(&mut ring, to.port());
    let entry = opcode::RecvZc::new(CONNECTION, 0).ifq(refill.registered.zcrx_id);
    let entry = entry.build();
    push(&mut ring, &entry);
    let (mut received, mut parts) = (0, 0);
    let start = Instant::now();
    let mut ended = false;
    while !ended {
        assert!(start.elapsed() < LONG, "{received} bytes came");
        wait(&mut ring, PATIENCE);
        let completions: Vec<cqueue::Entry32> = ring.completion().collect();
        for cqe in completions {
            match cqe.result() {
                0 => ended = true,
                // Every frame that may be lent was: they have been given back by now.
                res if res == -libc::ENOMEM => push(&mut ring, &entry),
                res => {
                    let len = usize::try_from(res).expect("bytes");
                    let place = cqe.big_cqe()[0];
                    verify(refill.bytes(place, len), 1, received);
                    refill.give_back(place);
                    received += len;
                    parts += 1;
                }
            }
        }
    }
    assert_eq!(received, BYTES, "the stream has ended");
    let stack = ring.counters().expect("counters").stack;
    let copied = stack.lend_copied_from_heap + stack.lend_copied_for_room;
    assert!(
        100 * copied <= parts,
        "{copied} of {parts} parts are copies"
    );
    push(&mut ring, &opcode::Close::new(CONNECTION).build());
    while !peer.is_finished() {
        assert!(start.elapsed() < LONG, "the peer sees no end");
        wait(&mut ring, Duration::from_millis(1));
    }
    assert!(peer.join().expect("the kernel's end").is_empty());
}

fn connect(ring: &mut BigRing, port: u16) {
    let slot = DestinationSlot::try_from_slot_target(CONNECTION.0).expect("a small slot");
    let socket = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).file_index(Some(slot));
    run(ring, &socket.build());
    let address: std::net::Ipv4Addr = PEER_V4.parse().expect("an address");
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.octets()),
        },
        sin_zero: [0; 8],
    };
    let len = size_of_val(&address) as u32;
    let connect = opcode::Connect::new(CONNECTION, (&raw const address).cast(), len);
    run(ring, &connect.build());
}

/// Submits a request, which succeeds.
fn run(ring: &mut BigRing, entry: &squeue::Entry) {
    push(ring, entry);
    wait(ring, 2 * PATIENCE);
    let done = ring.completion().next().map(|cqe| cqe.result());
    assert_eq!(done, Some(0));
}

fn push(ring: &mut BigRing, entry: &squeue::Entry) {
    // SAFETY: what the entries point at outlives their completion (`run`), or is nothing.
    unsafe { ring.submission().push(entry) }.expect("room in the queue");
}

/// Takes turns until something has completed or the time is over.
fn wait(ring: &mut BigRing, at_most: Duration) {
    let time = Timespec::from(at_most);
    let args = SubmitArgs::new().timespec(&time);
    match ring.submitter().submit_with_args(1, &args) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::ETIME) => {}
        Err(error) => panic!("waiting: {error}"),
    }
}

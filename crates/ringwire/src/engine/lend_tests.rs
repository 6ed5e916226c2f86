//! RECV_ZC over a connection of the ring with itself: nothing of it needs a network. What goes to oneself is
//! in no frame, so that each part is a copy in a frame of its own.

use std::time::Duration;

use io_uring::types::{DestinationSlot, Fixed};
use io_uring::{cqueue, opcode, squeue};
use ringwire_abi::flags::{
    IORING_CQE_F_32, IORING_CQE_F_MORE, IORING_SETUP_CQE_MIXED, IORING_SETUP_CQE32,
    IORING_SETUP_SINGLE_ISSUER,
};
use ringwire_abi::register::{
    IORING_REGISTER_FILES2, IORING_REGISTER_ZCRX_IFQ, IORING_RSRC_REGISTER_SPARSE, RsrcRegister,
};
use ringwire_abi::zcrx::{IORING_MEM_REGION_TYPE_USER, Refill};
use ringwire_stack::Instant;

use super::super::bed::{Bed, ENTRIES};
use super::*;
use crate::queue::CompletionQueue;

const DEFERRED: u32 = IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER;
const BIG: u32 = DEFERRED | IORING_SETUP_CQE32;
/// Chunks that may be lent: the bed's, without those in the fill ring and the reserve.
const LENDABLE: usize = 2 * ENTRIES as usize - ENTRIES as usize - 4;
/// Bytes that a write puts into a frame of its own.
const PART: usize = 3000;

const LISTENER: u32 = 0;
const CLIENT: u32 = 1;
const SERVER: u32 = 2;

/// Memory for a refill ring of 64 entries.
#[repr(C, align(4096))]
struct Pages([u8; 4096]);

/// A completion: `user_data`, result, flags, the place that it names.
type Done = (u64, i32, u32, u64);

struct Ring {
    bed: Bed,
    pages: *mut Pages,
    area: ZcrxAreaReg,
    tail: u32,
    now: Instant,
}

impl Pages {
    /// Leaked: the engine reads and writes them as the test does, so nobody borrows them.
    fn new() -> *mut Pages {
        Box::into_raw(Box::new(Pages([0; 4096])))
    }
}

/// What a registration is given.
fn arguments(pages: *mut Pages) -> (ZcrxReg, RegionDesc, ZcrxAreaReg) {
    let region = RegionDesc {
        user_addr: pages as u64,
        size: 4096,
        flags: IORING_MEM_REGION_TYPE_USER,
        ..RegionDesc::default()
    };
    let reg = ZcrxReg {
        rq_entries: 64,
        ..ZcrxReg::default()
    };
    (reg, region, ZcrxAreaReg::default())
}

fn register(
    bed: &mut Bed,
    (mut reg, mut region, mut area): (ZcrxReg, RegionDesc, ZcrxAreaReg),
) -> Result<(ZcrxReg, ZcrxAreaReg), Errno> {
    reg.region_ptr = &raw mut region as u64;
    reg.area_ptr = &raw mut area as u64;
    bed.register_at(IORING_REGISTER_ZCRX_IFQ, &raw mut reg as u64, 1)?;
    Ok((reg, area))
}

impl Ring {
    fn new(setup_flags: u32) -> Ring {
        let mut bed = Bed::new(setup_flags);
        let table = RsrcRegister {
            nr: 4,
            flags: IORING_RSRC_REGISTER_SPARSE,
            ..RsrcRegister::default()
        };
        bed.register(IORING_REGISTER_FILES2, table, size_of_val(&table) as u32)
            .expect("a table");
        let pages = Pages::new();
        let (_, area) = register(&mut bed, arguments(pages)).expect("a registration");
        Ring {
            bed,
            pages,
            area,
            tail: 0,
            now: Instant::ZERO,
        }
    }

    /// One whose client and server are connected.
    fn connected(setup_flags: u32) -> Ring {
        let mut ring = Ring::new(setup_flags);
        let address = sockaddr();
        for slot in [LISTENER, CLIENT] {
            ring.socket(slot, libc::SOCK_STREAM);
        }
        let (addr, len) = ((&raw const address).cast(), size_of_val(&address) as u32);
        ring.succeed(opcode::Bind::new(Fixed(LISTENER), addr, len).build());
        ring.succeed(opcode::Listen::new(Fixed(LISTENER), 1).build());
        let slot = DestinationSlot::try_from_slot_target(SERVER).expect("a slot");
        let accept =
            opcode::Accept::new(Fixed(LISTENER), std::ptr::null_mut(), std::ptr::null_mut());
        ring.push(accept.file_index(Some(slot)).build());
        ring.push(opcode::Connect::new(Fixed(CLIENT), addr, len).build());
        let done = ring.turns();
        assert_eq!(done.len(), 2, "{done:?}");
        assert!(done.iter().all(|&(_, res, ..)| res == 0), "{done:?}");
        ring
    }

    fn socket(&mut self, slot: u32, kind: i32) {
        let slot = DestinationSlot::try_from_slot_target(slot).expect("a slot");
        let socket = opcode::Socket::new(libc::AF_INET, kind, 0);
        self.succeed(socket.file_index(Some(slot)).build());
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: what the entries point at lives in the test until its turns are over.
        unsafe { self.bed.engine.submission().push(&entry) }.expect("room in the queue");
        self.bed.engine.submit(self.now, 1);
    }

    fn succeed(&mut self, entry: squeue::Entry) {
        self.push(entry);
        let done = self.turns();
        assert!(matches!(done[..], [(_, 0.., ..)]), "{done:?}");
    }

    /// Takes turns until nothing more comes of them.
    fn turns(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        for _ in 0..20 {
            self.turn();
            done.extend(self.completions());
        }
        done
    }

    fn turn(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        self.bed.engine.turn(self.now);
        self.bed.engine.flush_overflow();
    }

    fn completions(&mut self) -> Vec<Done> {
        let queues = self.bed.engine.queues().clone();
        let queue = CompletionQueue::<cqueue::Entry32>::new(&queues);
        let done =
            |cqe: cqueue::Entry32| (cqe.user_data(), cqe.result(), cqe.flags(), cqe.big_cqe()[0]);
        queue.map(done).collect()
    }

    fn write(&mut self, bytes: &[u8]) {
        let send = opcode::Send::new(Fixed(CLIENT), bytes.as_ptr(), bytes.len() as u32);
        self.push(send.build());
        let done = self.turns();
        assert!(
            done.iter().any(|&(_, res, ..)| res == bytes.len() as i32),
            "{done:?}"
        );
    }

    /// Writes so many parts, each of which is delivered before the next comes.
    fn write_parts(&mut self, count: usize) {
        for number in 0..count {
            self.write(&part(number));
        }
    }

    fn receive(&mut self, limit: u32) {
        self.push(receive(SERVER, limit).build().user_data(1));
    }

    /// The bytes that a completion names.
    fn bytes(&self, &(_, res, flags, at): &Done) -> Vec<u8> {
        assert!(res > 0 && flags & IORING_CQE_F_MORE != 0);
        assert!(at + res as u64 <= self.area.len);
        // SAFETY: they are lent to this test, and lie in the area.
        unsafe {
            let first = (self.area.addr + at) as *const u8;
            std::slice::from_raw_parts(first, res as usize).to_vec()
        }
    }

    /// Puts an entry into the refill ring.
    fn refill(&mut self, off: u64, pad: u32) {
        let index = (self.tail % 64) as usize;
        let memory = self.pages.cast::<u8>();
        self.tail += 1;
        let entry = Refill { off, len: 0, pad };
        // SAFETY: both lie in the pages, which are aligned for them.
        unsafe {
            memory
                .add(REFILL_OFFSETS.rqes as usize)
                .cast::<Refill>()
                .add(index)
                .write_volatile(entry);
            memory.add(4).cast::<u32>().write_volatile(self.tail);
        }
    }

    fn refill_head(&self) -> u32 {
        // SAFETY: it lies in the pages.
        unsafe { self.pages.cast::<u32>().read_volatile() }
    }

    fn bad_refills(&self) -> u64 {
        self.bed.engine.counters().bad_refills
    }
}

fn receive(slot: u32, limit: u32) -> opcode::RecvZc {
    opcode::RecvZc::new(Fixed(slot), limit)
}

fn sockaddr() -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: 80u16.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([10, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    }
}

fn part(number: usize) -> Vec<u8> {
    (0..PART).map(|at| (at * 7 + number) as u8).collect()
}

#[test]
fn a_registration_tells_where_everything_is() {
    for setup_flags in [BIG, DEFERRED | IORING_SETUP_CQE_MIXED] {
        let mut bed = Bed::new(setup_flags);
        let pages = Pages::new();
        let (reg, area) = register(&mut bed, arguments(pages)).expect("a registration");
        assert_eq!((reg.zcrx_id, reg.rq_entries), (0, 64));
        assert_eq!(reg.offsets, REFILL_OFFSETS);
        assert_eq!(area.addr, bed.engine.ledger.umem().as_ptr() as u64);
        assert_eq!(area.len, bed.engine.ledger.umem().len_bytes() as u64);
        assert_eq!(area.rq_area_token, 0);
    }
}

#[test]
fn a_ring_without_deferred_work_or_big_completions_registers_nothing() {
    let pages = Pages::new();
    for setup_flags in [0, DEFERRED, IORING_SETUP_CQE32, IORING_SETUP_CQE_MIXED] {
        let registered = register(&mut Bed::new(setup_flags), arguments(pages));
        assert_eq!(registered, Err(Errno::EINVAL), "{setup_flags:#x}");
    }
}

#[test]
fn a_second_registration_is_refused() {
    let mut ring = Ring::new(BIG);
    let again = register(&mut ring.bed, arguments(Pages::new()));
    assert_eq!(again, Err(Errno::EEXIST));
}

#[test]
fn an_area_of_the_applications_is_refused() {
    let pages = Pages::new();
    let (reg, region, area) = arguments(pages);
    let area = ZcrxAreaReg { addr: 4096, ..area };
    let registered = register(&mut Bed::new(BIG), (reg, region, area));
    assert_eq!(registered, Err(Errno::EINVAL));
}

#[test]
fn a_receive_without_its_registration_is_refused_before_its_file_is_looked_at() {
    let mut bed = Bed::new(0);
    assert_eq!(bed.run(receive(7, 0).build()), [(0, -libc::EINVAL, 0)]);
    let mut ring = Ring::new(BIG);
    ring.push(receive(7, 0).ifq(1).build());
    assert_eq!(ring.turns(), [(0, -libc::EINVAL, 0, 0)]);
    ring.push(receive(3, 0).build());
    assert_eq!(ring.turns(), [(0, -libc::EBADF, 0, 0)]);
}

#[test]
fn only_connected_streams_are_received_from() {
    let mut ring = Ring::new(BIG);
    ring.socket(3, libc::SOCK_DGRAM);
    ring.push(receive(3, 0).build());
    assert_eq!(ring.turns(), [(0, -libc::EPROTONOSUPPORT, 0, 0)]);
    ring.socket(3, libc::SOCK_STREAM);
    ring.push(receive(3, 0).build());
    assert_eq!(ring.turns(), [(0, -libc::ENOTCONN, 0, 0)]);
}

#[test]
fn bytes_are_named_where_they_lie() {
    let mut ring = Ring::connected(BIG);
    ring.receive(0);
    assert_eq!(ring.turns(), []);
    for number in 0..3 {
        let bytes = part(number);
        let send = opcode::Send::new(Fixed(CLIENT), bytes.as_ptr(), PART as u32);
        ring.push(send.build().user_data(2));
        let done = ring.turns();
        let named: Vec<u8> = done
            .iter()
            .filter(|done| done.0 == 1)
            .flat_map(|done| ring.bytes(done))
            .collect();
        assert!(named == bytes);
    }
}

#[test]
fn a_mixed_queue_has_them_in_two_slots() {
    let mut ring = Ring::connected(DEFERRED | IORING_SETUP_CQE_MIXED);
    ring.write_parts(1);
    ring.receive(0);
    let flags = IORING_CQE_F_MORE | IORING_CQE_F_32;
    let done: Vec<Done> = ring.turns();
    assert!(!done.is_empty());
    assert!(done.iter().all(|done| done.2 == flags), "{done:?}");
}

#[test]
fn a_limit_ends_a_receive_behind_its_last_byte() {
    let mut ring = Ring::connected(BIG);
    ring.write_parts(1);
    ring.receive(1000);
    let done = ring.turns();
    let (last, parts) = done.split_last().expect("completions");
    assert_eq!(*last, (1, 0, 0, 0));
    let named: Vec<u8> = parts.iter().flat_map(|done| ring.bytes(done)).collect();
    assert!(named == part(0)[..1000]);
    // What is behind it waits for the next.
    ring.receive(0);
    let done = ring.turns();
    let named: Vec<u8> = done.iter().flat_map(|done| ring.bytes(done)).collect();
    assert!(named == part(0)[1000..]);
}

#[test]
fn the_end_of_a_stream_is_the_last_completion() {
    let mut ring = Ring::connected(BIG);
    ring.write_parts(1);
    ring.succeed(opcode::Shutdown::new(Fixed(CLIENT), libc::SHUT_WR).build());
    ring.receive(0);
    let done = ring.turns();
    let (last, parts) = done.split_last().expect("completions");
    assert_eq!(*last, (1, 0, 0, 0));
    let named: Vec<u8> = parts.iter().flat_map(|done| ring.bytes(done)).collect();
    assert!(named == part(0));
}

#[test]
fn a_receive_that_waits_is_cancelled() {
    let mut ring = Ring::connected(BIG);
    ring.receive(0);
    let cancel = opcode::AsyncCancel::new(1).build().user_data(2);
    ring.push(cancel);
    let done = ring.turns();
    assert_eq!(done, [(2, 0, 0, 0), (1, -libc::ECANCELED, 0, 0)]);
}

#[test]
fn a_full_queue_ends_a_receive_and_nothing_is_lost() {
    let mut ring = Ring::connected(BIG);
    ring.write_parts(2);
    // All but one of the completions that there is room for.
    for _ in 0..ENTRIES - 1 {
        ring.push(opcode::Nop::new().build());
    }
    ring.receive(0);
    for _ in 0..4 {
        ring.turn();
    }
    let done: Vec<Done> = ring
        .turns()
        .into_iter()
        .filter(|done| done.0 == 1)
        .collect();
    let (last, parts) = done.split_last().expect("completions");
    assert_eq!((parts.len(), last.1), (1, -libc::ENOSPC));
    let mut named = ring.bytes(&parts[0]);
    ring.receive(0);
    named.extend(ring.turns().iter().flat_map(|done| ring.bytes(done)));
    assert!(named == [part(0), part(1)].concat());
}

#[test]
fn without_frames_a_receive_ends_and_goes_on_with_those_that_come_back() {
    let mut ring = Ring::connected(BIG);
    ring.receive(0);
    let (mut lent, mut named, mut ended) = (Vec::new(), Vec::new(), false);
    let mut written = 0;
    for _ in 0..100 {
        if ended {
            break;
        }
        let bytes = part(written);
        let send = opcode::Send::new(Fixed(CLIENT), bytes.as_ptr(), PART as u32);
        ring.push(send.build().user_data(2));
        written += 1;
        for done in ring.turns().into_iter().filter(|done| done.0 == 1) {
            match done.1 {
                1.. => {
                    named.extend(ring.bytes(&done));
                    lent.push(done.3);
                }
                res => {
                    assert_eq!(res, -libc::ENOMEM);
                    ended = true;
                }
            }
        }
    }
    assert_eq!(lent.len(), LENDABLE, "all but the reserve");
    assert!(ring.bed.engine.may_sleep(), "nothing has come back yet");
    ring.receive(0);
    assert_eq!(ring.turns(), [(1, -libc::ENOMEM, 0, 0)], "nor now");
    for at in lent {
        ring.refill(at, 0);
    }
    // It is seen at once.
    ring.receive(0);
    named.extend(ring.turns().iter().flat_map(|done| ring.bytes(done)));
    let all: Vec<u8> = (0..written).flat_map(part).collect();
    assert!(named == all, "{} of {} bytes", named.len(), all.len());
    assert_eq!(ring.bad_refills(), 0);
}

#[test]
fn what_the_refill_ring_names_wrongly_is_counted_and_dropped() {
    let mut ring = Ring::connected(BIG);
    ring.write_parts(1);
    ring.receive(0);
    let lent: Vec<u64> = ring.turns().iter().map(|done| done.3).collect();
    let census = ring.bed.engine.census();
    let outside = ring.area.len;
    let wrong = [
        (outside, 0),
        (u64::MAX, 0),
        (lent[0] | 1 << IORING_ZCRX_AREA_SHIFT, 0),
        (lent[0], 1),
        // Nobody was lent the last chunk, which is for sending, nor the first, which is in the fill ring.
        (outside - 1, 0),
        (0, 0),
    ];
    for (off, pad) in wrong {
        ring.refill(off, pad);
    }
    ring.turn();
    assert_eq!(ring.bad_refills(), wrong.len() as u64);
    assert_eq!(ring.bed.engine.census(), census);
    assert_eq!(ring.refill_head(), wrong.len() as u32, "they are taken");
    // Any place in the chunk names it, once.
    for &at in &lent {
        ring.refill(at + 1, 0);
        ring.refill(at, 0);
    }
    ring.turn();
    assert_eq!(ring.bad_refills(), (wrong.len() + lent.len()) as u64);
    assert_eq!(ring.bed.engine.census().app, census.app - lent.len() as u32);
}

#[test]
fn a_part_of_a_frame_that_goes_on_is_given_back_once() {
    let mut ring = Ring::connected(BIG);
    ring.write_parts(1);
    ring.receive(10);
    let done = ring.turns();
    for _ in 0..3 {
        ring.refill(done[0].3, 0);
    }
    ring.turn();
    assert_eq!(ring.bad_refills(), 2);
    ring.receive(0);
    let named: Vec<u8> = ring
        .turns()
        .iter()
        .flat_map(|done| ring.bytes(done))
        .collect();
    assert!(named == part(0)[10..]);
}

#[test]
fn a_tail_that_cannot_be_takes_no_more_than_the_ring_has() {
    let mut ring = Ring::connected(BIG);
    ring.tail = u32::MAX - 5;
    ring.refill(u64::MAX, 0);
    ring.turn();
    assert_eq!(ring.bad_refills(), 64);
}

#[test]
fn an_engine_that_is_short_of_frames_sleeps_only_while_none_come_back() {
    let mut ring = Ring::connected(BIG);
    ring.write_parts(1);
    ring.receive(0);
    let done = ring.turns();
    let umem = ring.bed.engine.ledger.umem().clone();
    // SAFETY: they were lent to this test, which gives them back in no other way.
    let lent = unsafe { ringwire_umem::Lent::new(umem, done[0].3, done[0].1 as u32) };
    let taken: Vec<_> = std::iter::from_fn(|| ring.bed.engine.ledger.alloc(Pool::Rx)).collect();
    assert!(ring.bed.engine.may_sleep());
    drop(lent);
    assert!(!ring.bed.engine.may_sleep(), "one is back");
    ring.turn();
    assert!(ring.bed.engine.may_sleep(), "it is taken");
    for frame in taken {
        ring.bed.engine.ledger.release(frame);
    }
}

#[test]
fn cancelling_all_leaves_what_is_lent() {
    let mut ring = Ring::connected(BIG);
    ring.write_parts(1);
    ring.receive(0);
    let done = ring.turns();
    let cancel = opcode::AsyncCancel2::new(io_uring::types::CancelBuilder::user_data(1).all());
    ring.push(cancel.build().user_data(2));
    assert_eq!(ring.turns(), [(2, 1, 0, 0), (1, -libc::ECANCELED, 0, 0)]);
    let named: Vec<u8> = done.iter().flat_map(|done| ring.bytes(done)).collect();
    assert!(named == part(0));
}

//! Lent groups on an engine whose NIC is the test: datagrams from outside, in frames, and from the engine to
//! itself, which are in none.

use io_uring::types::{self, Fixed, RecvMsgOut};
use io_uring::{opcode, squeue};
use ringwire_abi::flags::*;
use ringwire_abi::register::*;
use ringwire_umem::Lent;

use super::*;
use crate::engine::bed::{Bed, ENTRIES, MAC};
use crate::usermem::tests::AppRing;

const GROUP: u16 = 3;
const SOCKET: Fixed = Fixed(0);
const CHUNK: usize = 4096;
/// Not cut: every frame of these tests fits.
const WHOLE: usize = CHUNK;
/// Who sends from outside, and the socket, as `struct sockaddr_in` has them.
const FROM: [u8; 16] = name(2, 9);
const OWN: [u8; 16] = name(1, PORT);
const PORT: u16 = 7;

struct World {
    bed: Bed,
    app: AppRing,
}

impl World {
    /// A bound socket, and a group whose ring has these ids.
    fn new(credit: &[u16]) -> World {
        let mut bed = Bed::with_slots(4);
        bed.engine.turn(ringwire_stack::Instant::ZERO);
        let mut app = AppRing::new().0;
        for &bid in credit {
            app.provide(0, 0, bid);
        }
        let mut world = World { bed, app };
        let registered = world.register(GROUP, 0);
        assert_eq!(registered, Ok(0));
        world.socket(0, libc::SOCK_DGRAM, PORT);
        world
    }

    fn register(&mut self, bgid: u16, flags: u16) -> Result<i32, Errno> {
        let reg = BufReg {
            ring_addr: self.app.address(),
            ring_entries: AppRing::ENTRIES.into(),
            bgid,
            flags: IOU_PBUF_RING_LENT | flags,
            ..BufReg::default()
        };
        self.bed.register(IORING_REGISTER_PBUF_RING, reg, 1)
    }

    fn unregister(&mut self) {
        let reg = BufReg {
            bgid: GROUP,
            ..BufReg::default()
        };
        let gone = self.bed.register(IORING_UNREGISTER_PBUF_RING, reg, 1);
        assert_eq!(gone, Ok(0));
    }

    fn socket(&mut self, slot: u32, kind: i32, port: u16) {
        let target = types::DestinationSlot::try_from_slot_target(slot).unwrap();
        let socket = opcode::Socket::new(libc::AF_INET, kind, 0).file_index(Some(target));
        assert_eq!(self.run(socket.build()), (0, 0));
        let name = name(1, port);
        let bind = opcode::Bind::new(Fixed(slot), name.as_ptr().cast(), 16);
        assert_eq!(self.run(bind.build()), (0, 0));
    }

    /// One entry, which completes at once.
    fn run(&mut self, entry: squeue::Entry) -> (i32, u32) {
        match self.bed.run(entry)[..] {
            [(_, res, flags)] => (res, flags),
            ref other => panic!("{other:?}"),
        }
    }

    /// RECV with the group, of what is there.
    fn recv(&mut self, limit: u32, flags: i32) -> (i32, u32) {
        self.run(recv(limit, flags | libc::MSG_DONTWAIT))
    }

    fn give(&mut self, bid: u16) {
        self.app.provide(0, 0, bid);
    }

    fn turn(&mut self) {
        self.bed.engine.turn(ringwire_stack::Instant::ZERO);
    }

    /// Receives a datagram in a frame of its own.
    fn arrive(&mut self, payload: &[u8]) {
        self.bed.receive(&datagram(payload), WHOLE);
    }

    fn table(&mut self) -> Arc<LendTable> {
        self.bed.engine.lend_table(GROUP).unwrap()
    }

    fn lent(&mut self, bid: u16) -> Vec<u8> {
        let table = self.table();
        // SAFETY: nothing is given back before the slice is copied.
        let bytes = unsafe { table.get(bid) };
        bytes.expect("something").to_vec()
    }

    fn in_application(&self) -> u32 {
        self.bed.engine.census().app
    }

    fn bad_bids(&self) -> u64 {
        self.bed.engine.counters().bad_lent_bids
    }
}

const fn name(host: u8, port: u16) -> [u8; 16] {
    let [high, low] = port.to_be_bytes();
    let family = libc::AF_INET as u8;
    [family, 0, high, low, 10, 0, 0, host, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn recv(limit: u32, flags: i32) -> squeue::Entry {
    let recv = opcode::Recv::new(SOCKET, std::ptr::null_mut(), limit)
        .flags(flags)
        .buf_group(GROUP);
    recv.build().flags(squeue::Flags::BUFFER_SELECT)
}

/// A UDP datagram in its Ethernet frame; without a checksum, which IPv4 allows.
fn datagram(payload: &[u8]) -> Vec<u8> {
    let len = 20 + 8 + payload.len() as u16;
    let mut ip = [
        0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1,
    ];
    ip[2..4].copy_from_slice(&len.to_be_bytes());
    let words = ip
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [&MAC[..], &[2, 0, 0, 0, 0, 2, 8, 0], &ip].concat();
    for field in [9, PORT, len - 20, 0] {
        frame.extend_from_slice(&field.to_be_bytes());
    }
    frame.extend_from_slice(payload);
    frame
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 251 + at * 31) as u8).collect()
}

fn named(bid: u16) -> u32 {
    flags_of(bid)
}

#[test]
fn a_datagram_is_lent_where_it_was_received_until_its_id_comes_again() {
    let mut world = World::new(&[5]);
    world.arrive(b"payload");
    assert_eq!(world.recv(0, 0), (7, named(5)));
    assert_eq!(world.lent(5), b"payload");
    assert_eq!(world.in_application(), 1);
    assert_eq!(world.bed.engine.stack().counters().lend_copied_bytes, 0);
    world.give(5);
    world.turn();
    assert_eq!(world.in_application(), 0);
    assert!(world.table().end(5).is_none());
    assert_eq!(world.bad_bids(), 0);
}

#[test]
fn ids_are_used_in_the_rings_order_and_the_empty_group_is_an_error() {
    let mut world = World::new(&[2, 0]);
    for text in [b"one", b"two"] {
        world.arrive(text);
    }
    assert_eq!(world.recv(0, 0), (3, named(2)));
    assert_eq!(world.recv(0, 0), (3, named(0)));
    assert_eq!(world.recv(0, 0), (-libc::ENOBUFS, 0), "also without data");
    world.arrive(b"three");
    assert_eq!(world.recv(0, 0), (-libc::ENOBUFS, 0));
    world.give(2);
    assert_eq!(world.recv(0, 0), (5, named(2)), "seen without a turn");
    assert_eq!(world.lent(0), b"two");
    assert_eq!(world.lent(2), b"three");
}

#[test]
fn a_datagram_in_several_chunks_takes_an_id_for_each() {
    let mut world = World::new(&[1, 4, 2, 7]);
    let payload = pattern(1400);
    world.bed.receive(&datagram(&payload), 600);
    assert_eq!(world.recv(0, 0), (1400, named(1)));
    assert_eq!([1, 4, 2].map(|bid| world.lent(bid)).concat(), payload);
    assert_eq!(world.in_application(), 3);
    assert!(world.table().end(7).is_none());
    for bid in [4, 2, 1] {
        world.give(bid);
    }
    world.turn();
    assert_eq!(world.in_application(), 0);
}

#[test]
fn a_datagram_stays_until_there_are_ids_for_all_of_it() {
    let mut world = World::new(&[0, 1]);
    let payload = pattern(1400);
    world.bed.receive(&datagram(&payload), 600);
    assert_eq!(world.recv(0, 0), (-libc::ENOBUFS, 0));
    world.give(2);
    assert_eq!(world.recv(0, 0), (1400, named(0)));
    assert_eq!([0, 1, 2].map(|bid| world.lent(bid)).concat(), payload);
}

#[test]
fn a_datagram_in_more_chunks_than_the_group_has_ids_is_dropped() {
    let mut world = World::new(&[0, 1, 2, 3, 4, 5, 6, 7]);
    world.bed.receive(&datagram(&pattern(1400)), 150);
    assert_eq!(world.recv(0, 0), (-libc::EMSGSIZE, 0));
    assert_eq!(world.recv(0, 0), (-libc::EAGAIN, 0));
    world.arrive(b"next");
    assert_eq!(world.recv(0, 0), (4, named(0)));
}

#[test]
fn a_limit_cuts_a_datagram_and_what_is_cut_off_goes_back() {
    let mut world = World::new(&[0, 1, 2]);
    world.bed.receive(&datagram(&pattern(1400)), 600);
    assert_eq!(world.recv(100, 0), (100, named(0)));
    assert_eq!(world.lent(0), pattern(1400)[..100]);
    assert_eq!(world.in_application(), 1);
    world.arrive(b"next");
    assert_eq!(world.recv(100, 0), (4, named(1)));
}

#[test]
fn an_empty_datagram_takes_no_id() {
    let mut world = World::new(&[0]);
    world.arrive(b"");
    assert_eq!(world.recv(0, 0), (0, 0));
    world.arrive(b"next");
    assert_eq!(world.recv(0, 0), (4, named(0)));
}

#[test]
fn a_datagram_to_oneself_is_copied_and_counted() {
    let mut world = World::new(&[0]);
    let send = opcode::Send::new(SOCKET, b"payload".as_ptr(), 7)
        .dest_addr(OWN.as_ptr().cast())
        .dest_addr_len(16);
    assert_eq!(world.run(send.build()), (7, 0));
    world.turn();
    world.turn();
    assert_eq!(world.recv(0, 0), (7, named(0)));
    assert_eq!(world.lent(0), b"payload");
    assert_eq!(world.bed.engine.stack().counters().lend_copied_bytes, 7);
}

#[test]
fn a_multishot_receive_goes_on_until_the_credit_is_used_up() {
    let mut world = World::new(&[0, 1]);
    let multishot = opcode::RecvMulti::new(SOCKET, GROUP).build();
    assert_eq!(world.bed.run(multishot), []);
    for text in [b"one", b"two"] {
        world.arrive(text);
    }
    let more = IORING_CQE_F_MORE;
    // As with other groups, the next buffer is looked for before the next datagram.
    let expected = [
        (0, 3, named(0) | more),
        (0, 3, named(1) | more),
        (0, -libc::ENOBUFS, 0),
    ];
    assert_eq!(world.bed.completions(), expected);
    world.arrive(b"three");
    world.give(0);
    assert_eq!(world.recv(0, 0), (5, named(0)), "it was not lost");
}

#[test]
fn a_multishot_message_begins_with_its_header_in_front_of_the_payload() {
    let mut world = World::new(&[0, 1, 2]);
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_namelen, header.msg_controllen) = (28, 24);
    let recv = opcode::RecvMsgMulti::new(SOCKET, &raw const header, GROUP);
    assert_eq!(world.bed.run(recv.build()), []);
    let payload = pattern(1400);
    world.bed.receive(&datagram(&payload), 1000);
    let more = IORING_CQE_F_MORE;
    let total = 16 + 28 + 24 + 1400;
    assert_eq!(world.bed.completions(), [(0, total, named(0) | more)]);
    let first = world.lent(0);
    let message = RecvMsgOut::parse(&first, &header).unwrap();
    assert_eq!(message.name_data(), FROM);
    assert_eq!((message.incoming_payload_len(), message.flags()), (1400, 0));
    assert!(message.control_data().is_empty());
    let both = [message.payload_data(), &world.lent(1)].concat();
    assert_eq!(both, payload);
    assert_eq!(world.bed.engine.stack().counters().lend_copied_bytes, 0);
}

#[test]
fn an_empty_multishot_message_is_its_header_and_the_last() {
    let mut world = World::new(&[0]);
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_namelen = 16;
    let recv = opcode::RecvMsgMulti::new(SOCKET, &raw const header, GROUP);
    assert_eq!(world.bed.run(recv.build()), []);
    world.arrive(b"");
    assert_eq!(world.bed.completions(), [(0, 32, named(0))]);
    let bytes = world.lent(0);
    let message = RecvMsgOut::parse(&bytes, &header).unwrap();
    assert!(message.payload_data().is_empty() && message.name_data().len() == 16);
}

#[test]
fn a_header_that_no_chunk_has_room_for_is_a_fault() {
    let mut world = World::new(&[0]);
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_controllen = CHUNK;
    let recv = opcode::RecvMsgMulti::new(SOCKET, &raw const header, GROUP);
    assert_eq!(world.bed.run(recv.build()), []);
    world.arrive(b"stays");
    assert_eq!(world.bed.completions(), [(0, -libc::EFAULT, 0)]);
    assert_eq!(world.recv(0, 0), (5, named(0)));
}

#[test]
fn a_single_message_has_its_name_in_the_msghdr_and_its_payload_lent() {
    let mut world = World::new(&[0]);
    let mut name = [0u8; 28];
    let mut iovec = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 5,
    };
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_name, header.msg_namelen) = (name.as_mut_ptr().cast(), 28);
    (header.msg_iov, header.msg_iovlen) = (&raw mut iovec, 1);
    world.arrive(b"payload");
    let recv = opcode::RecvMsg::new(SOCKET, &raw mut header).buf_group(GROUP);
    let recv = recv.build().flags(squeue::Flags::BUFFER_SELECT);
    assert_eq!(world.run(recv), (5, named(0)));
    assert_eq!(world.lent(0), b"paylo");
    assert_eq!(header.msg_flags, libc::MSG_TRUNC);
    let len = header.msg_namelen as usize;
    assert_eq!(name[..len], FROM);
}

#[test]
fn a_read_is_a_receive() {
    let mut world = World::new(&[0]);
    world.arrive(b"payload");
    let read = opcode::Read::new(SOCKET, std::ptr::null_mut(), 100).buf_group(GROUP);
    let read = read.build().flags(squeue::Flags::BUFFER_SELECT);
    assert_eq!(world.run(read), (7, named(0)));
    assert_eq!(world.lent(0), b"payload");
}

#[test]
fn an_id_that_is_no_credit_is_counted_and_harms_nobody() {
    let mut world = World::new(&[0, 0, 8, u16::MAX, 1]);
    for text in [b"one", b"two"] {
        world.arrive(text);
    }
    assert_eq!(world.bad_bids(), 3, "twice, and two beyond the group");
    assert_eq!(world.recv(0, 0), (3, named(0)));
    assert_eq!(world.recv(0, 0), (3, named(1)));
    assert_eq!(world.recv(0, 0), (-libc::ENOBUFS, 0));
    world.give(0);
    world.give(0);
    world.turn();
    assert_eq!(world.bad_bids(), 4);
    assert_eq!((world.in_application(), world.lent(1)), (1, b"two".into()));
}

#[test]
fn of_more_entries_than_the_ring_has_the_last_ones_count() {
    let mut world = World::new(&[]);
    for round in 0..3 * AppRing::ENTRIES {
        world.give(round % AppRing::ENTRIES);
    }
    world.turn();
    assert_eq!(world.bad_bids(), 2 * u64::from(AppRing::ENTRIES));
    world.arrive(b"payload");
    assert_eq!(world.recv(0, 0), (7, named(0)));
}

#[test]
fn the_reserve_is_not_lent_and_what_is_there_stays() {
    let mut world = World::new(&[0, 1]);
    world.arrive(b"payload");
    let ledger = &mut world.bed.engine.ledger;
    let frames = std::iter::from_fn(|| ledger.alloc(ringwire_umem::Pool::Rx)).collect::<Vec<_>>();
    let kept: Vec<u64> = frames
        .into_iter()
        .map(|frame| ledger.lend(frame, 0))
        .collect();
    assert_eq!(world.recv(0, 0), (-libc::ENOBUFS, 0));
    for addr in kept {
        world.bed.engine.ledger.give_back(addr).unwrap();
    }
    assert_eq!(world.recv(0, 0), (7, named(0)));
}

#[test]
fn what_came_while_the_application_was_away_is_lent() {
    let mut world = World::new(&[0]);
    // As many as the RX ring holds: with a full fill ring beside it, they would be all the chunks.
    for _ in 0..ENTRIES {
        world.bed.arrive(&datagram(b"payload"), CHUNK);
    }
    world.turn();
    assert_eq!(world.recv(0, 0), (7, named(0)));
}

#[test]
fn what_cannot_be_lent_is_refused() {
    let mut world = World::new(&[0]);
    world.arrive(b"stays");
    for flag in [libc::MSG_PEEK, libc::MSG_WAITALL, libc::MSG_TRUNC] {
        assert_eq!(world.recv(0, flag), (-libc::EINVAL, 0), "{flag:#x}");
    }
    assert_eq!(world.recv(0, 0), (5, named(0)));
}

#[test]
fn a_lent_group_has_nothing_to_send_and_takes_no_buffers() {
    let mut world = World::new(&[0]);
    world.socket(1, libc::SOCK_DGRAM, 8);
    let connect = opcode::Connect::new(Fixed(1), FROM.as_ptr().cast(), 16);
    assert_eq!(world.run(connect.build()), (0, 0));
    let send = opcode::Send::new(Fixed(1), std::ptr::null(), 10).build();
    let mut sqe = ringwire_abi::sqe::Sqe::from_entry(&send);
    sqe.buf_index = GROUP;
    let send = sqe.to_entry().flags(squeue::Flags::BUFFER_SELECT);
    assert_eq!(world.run(send).0, -libc::EINVAL);
    let mut buffer = [0u8; 8];
    let provide = opcode::ProvideBuffers::new(buffer.as_mut_ptr(), 8, 1, GROUP, 0);
    assert_eq!(world.run(provide.build()).0, -libc::EINVAL);
    let remove = opcode::RemoveBuffers::new(1, GROUP);
    assert_eq!(world.run(remove.build()).0, -libc::EINVAL);
}

#[test]
fn a_lent_group_is_registered_as_another_but_not_incremental() {
    let mut world = World::new(&[0]);
    assert_eq!(world.register(GROUP, 0), Err(Errno::EEXIST));
    let incremental = world.register(GROUP + 1, IOU_PBUF_RING_INC);
    assert_eq!(incremental, Err(Errno::EINVAL));
    let memory = |world: &World, group| world.bed.engine.buf_ring_memory(group);
    assert_eq!(memory(&world, GROUP), Err(Errno::EINVAL));
    assert_eq!(world.register(GROUP + 1, IOU_PBUF_RING_MMAP), Ok(0));
    assert!(memory(&world, GROUP + 1).is_ok());
    let table = |world: &World, group| world.bed.engine.lend_table(group).map(drop);
    assert_eq!(table(&world, GROUP + 1), Ok(()));
    assert_eq!(table(&world, GROUP + 2), Err(Errno::ENOENT));
}

#[test]
fn the_head_counts_the_ids_that_were_used() {
    let mut world = World::new(&[0, 1, 9]);
    let head = |world: &mut World| {
        let mut status = BufStatus {
            buf_group: GROUP.into(),
            ..BufStatus::default()
        };
        let at = &raw mut status as u64;
        let asked = world.bed.register_at(IORING_REGISTER_PBUF_STATUS, at, 1);
        assert_eq!(asked, Ok(0));
        status.head
    };
    assert_eq!(head(&mut world), 0);
    world.arrive(b"payload");
    assert_eq!(head(&mut world), 1, "what is no credit is used up");
    assert_eq!(world.recv(0, 0), (7, named(0)));
    assert_eq!(head(&mut world), 2);
}

#[test]
fn an_unregistered_group_gives_all_back_when_its_last_handle_is_gone() {
    let mut world = World::new(&[0, 1]);
    world.arrive(b"payload");
    assert_eq!(world.recv(0, 0), (7, named(0)));
    let table = world.table();
    world.unregister();
    world.turn();
    // SAFETY: the table is there, and nobody takes what is in it.
    assert_eq!(unsafe { table.get(0) }, Some(&b"payload"[..]));
    assert_eq!(world.in_application(), 1);
    assert_eq!(world.recv(0, 0), (-libc::ENOBUFS, 0));
    drop(table);
    world.turn();
    assert_eq!(world.in_application(), 0);
}

#[test]
fn a_group_registered_anew_knows_nothing_of_the_one_before() {
    let mut world = World::new(&[0]);
    world.arrive(b"old");
    assert_eq!(world.recv(0, 0), (3, named(0)));
    let old = world.table();
    world.unregister();
    world.app = AppRing::new().0;
    assert_eq!(world.register(GROUP, 0), Ok(0));
    assert!(world.table().end(0).is_none());
    world.give(0);
    world.arrive(b"new");
    assert_eq!(world.recv(0, 0), (3, named(0)));
    assert_eq!(world.lent(0), b"new");
    // SAFETY: the table is there, and nobody takes what is in it.
    assert_eq!(unsafe { old.get(0) }, Some(&b"old"[..]));
}

#[test]
fn taken_bytes_stay_when_their_id_is_used_again() {
    let mut world = World::new(&[0]);
    world.arrive(b"one");
    assert_eq!(world.recv(0, 0), (3, named(0)));
    let guard: Lent = world.table().take(0, 3).unwrap();
    world.give(0);
    world.arrive(b"two");
    assert_eq!(world.recv(0, 0), (3, named(0)));
    assert_eq!((&guard[..], world.lent(0)), (&b"one"[..], b"two".into()));
    assert_eq!(world.in_application(), 2);
    std::thread::spawn(move || drop(guard)).join().unwrap();
    world.turn();
    assert_eq!(world.in_application(), 1);
}

#[test]
fn taken_bytes_outlive_the_ring() {
    let mut world = World::new(&[0]);
    world.arrive(b"payload");
    assert_eq!(world.recv(0, 0), (7, named(0)));
    let table = world.table();
    drop(world);
    let guard = table.take(0, 7).unwrap();
    assert_eq!(&guard[..], b"payload");
    assert!(guard.give_back().is_err(), "there is no ring any more");
}

#[test]
fn an_application_that_keeps_every_frame_stops_only_itself() {
    let mut world = World::new(&[0, 1, 2, 3, 4, 5, 6, 7]);
    let mut kept = Vec::new();
    let table = world.table();
    let sent: Vec<u8> = (0..40).collect();
    for byte in &sent {
        world.arrive(&[*byte; 30]);
        match world.recv(0, 0) {
            (30, flags) => {
                let bid = (flags >> IORING_CQE_BUFFER_SHIFT) as u16;
                kept.push(table.take(bid, 30).unwrap());
                world.give(bid);
            }
            refused => assert_eq!(refused, (-libc::ENOBUFS, 0)),
        }
    }
    assert!(kept.len() < sent.len(), "the reserve is kept");
    // What was not lent is read by a socket that takes it into memory of its own.
    let mut memory = [0u8; 64];
    let copy = opcode::Recv::new(SOCKET, memory.as_mut_ptr(), 64).build();
    for byte in &sent[kept.len()..] {
        assert_eq!(world.run(copy.clone()), (30, 0));
        assert_eq!(memory[..30], [*byte; 30]);
    }
    let all = world.bed.engine.census().total();
    assert_eq!(world.in_application(), kept.len() as u32);
    kept.clear();
    world.turn();
    let census = world.bed.engine.census();
    assert_eq!((census.app, census.total()), (0, all));
}

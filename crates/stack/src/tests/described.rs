//! The application's memory, sent from where it lies: what datagrams do with it.

use std::time::Duration;

use ringwire_umem::{AreaLayout, Borrowed, FrozenArea, LoanId, Repaid};

use super::build;
use super::harness::{Host, Pair, Setup, at, pattern};
use crate::{BorrowedParts, PlanLimits, SendOptions, SocketError, SocketId};

/// Bytes of the row, and of each slot.
pub(super) const ROW: usize = 120_000;
pub(super) const SLOT: usize = 1448;
const SLOTS: u32 = 16;

/// Areas with a row and slots.
pub(super) fn with_areas(setup: &mut Setup) {
    let (count, payload_bytes) = (SLOTS, SLOT as u32);
    let slots = AreaLayout::Slots {
        count,
        payload_bytes,
    };
    setup.layout.areas = vec![AreaLayout::Plain(ROW), slots];
}

/// The same at a port without scatter.
pub(super) fn without_scatter(setup: &mut Setup) {
    with_areas(setup);
    setup.config.plan = PlanLimits::SINGLE;
}

/// The registered memory of a host, filled once and for all.
pub(super) struct Memory {
    pub(super) row: FrozenArea,
    pub(super) slots: Vec<FrozenArea>,
}

impl Memory {
    pub(super) fn of(host: &Host) -> Memory {
        let umem = host.ledger.umem();
        let mut row = umem.take_area(0).unwrap();
        row.copy_from_slice(&pattern(ROW));
        let mut slots = umem.take_slots(1).unwrap();
        for (index, slot) in slots.iter_mut().enumerate() {
            let bytes = pattern(SLOT + index);
            slot.copy_from_slice(&bytes[index..]);
        }
        Memory {
            row: row.freeze(),
            slots: slots.into_iter().map(|slot| slot.freeze()).collect(),
        }
    }

    pub(super) fn borrow_row(
        &self,
        host: &mut Host,
        loan: LoanId,
        start: usize,
        len: usize,
    ) -> Borrowed {
        let part = (start as u32, len as u32);
        host.ledger.borrow_frozen(loan, &self.row, part)
    }

    pub(super) fn borrow_slot(&self, host: &mut Host, loan: LoanId, slot: usize) -> Borrowed {
        let part = (0, SLOT as u32);
        host.ledger.borrow_frozen(loan, &self.slots[slot], part)
    }
}

/// What loans are repaid, as `(loan, uncopied)`.
pub(super) fn repaid(host: &mut Host) -> Vec<(LoanId, bool)> {
    let pair = |it: Repaid| (it.loan, it.uncopied);
    std::iter::from_fn(|| host.ledger.next_repaid().map(pair)).collect()
}

const PEER: &str = "10.0.0.9:99";

/// Sends parts as one datagram, or several, for a loan that ends then; returns the charge.
fn send(
    host: &mut Host,
    id: SocketId,
    options: SendOptions,
    loan: LoanId,
    parts: Vec<Borrowed>,
) -> Result<u32, SocketError> {
    let mut all = BorrowedParts::default();
    parts.into_iter().for_each(|part| all.push(part));
    let (stack, ledger) = (&mut host.stack, &mut host.ledger);
    let sent = stack.udp_send_borrowed(host.now, ledger, id, &options, all);
    host.ledger.end_loan(loan);
    sent
}

fn to(peer: &str) -> SendOptions {
    SendOptions {
        to: Some(at(peer)),
        ..SendOptions::default()
    }
}

/// A host that knows its peer, its memory, and a socket.
fn bed(change: fn(&mut Setup)) -> (Host, Memory, SocketId) {
    let mut host = Host::ready_with(change);
    let memory = Memory::of(&host);
    let socket = host.bound("10.0.0.2:7");
    (host, memory, socket)
}

#[test]
fn a_slot_is_one_descriptor_and_is_repaid_when_that_comes_back() {
    let (mut host, memory, socket) = bed(with_areas);
    let loan = host.ledger.begin_loan();
    let slot = memory.borrow_slot(&mut host, loan, 3);
    let charge = send(&mut host, socket, to(PEER), loan, vec![slot]);
    assert_eq!(charge, Ok(1));
    let posted = host.post();
    assert_eq!(posted.descriptors.len(), 1);
    assert_eq!(build::read_udp(&posted.frames[0]).2, memory.slots[3][..]);
    assert_eq!(repaid(&mut host), []);
    host.complete(posted);
    assert_eq!(repaid(&mut host), [(loan, true)]);
    assert_eq!(host.stack.counters().tx_in_place, 1);
}

#[test]
fn a_slot_that_is_in_flight_is_sent_with_headers_elsewhere() {
    let (mut host, memory, socket) = bed(with_areas);
    let loans = [(); 2].map(|()| host.ledger.begin_loan());
    let mut posted = Vec::new();
    for (loan, peer) in loans.into_iter().zip([PEER, "10.0.0.9:1"]) {
        let slot = memory.borrow_slot(&mut host, loan, 0);
        send(&mut host, socket, to(peer), loan, vec![slot]).unwrap();
        posted.push(host.post());
    }
    let [first, second] = [0, 1].map(|index| posted[index].descriptors.clone());
    assert_eq!((first.len(), second.len()), (1, 2));
    assert_eq!(second[1], first[0] + 42, "the same payload");
    let before = &posted[0].frames[0];
    let read = host.ledger.described(first[0], before.len() as u32);
    assert_eq!(read.unwrap(), before, "the headers are the first one's");
    // The other way round than they were sent.
    let (one, two) = (posted.remove(0), posted.remove(0));
    host.complete(two);
    assert_eq!(repaid(&mut host), [(loans[1], true)]);
    host.complete(one);
    assert_eq!(repaid(&mut host), [(loans[0], true)]);
}

#[test]
fn headers_that_wait_for_a_neighbour_are_not_overwritten() {
    let mut host = Host::with(with_areas);
    let memory = Memory::of(&host);
    let socket = host.bound("10.0.0.2:7");
    for peer in [PEER, "10.0.0.9:1"] {
        let loan = host.ledger.begin_loan();
        let slot = memory.borrow_slot(&mut host, loan, 0);
        send(&mut host, socket, to(peer), loan, vec![slot]).unwrap();
    }
    host.sent();
    host.receive(&build::arp_reply(
        super::harness::PEER_MAC,
        super::harness::PEER_V4,
        super::harness::OUR_V4,
    ));
    let ports: Vec<_> = host.sent().iter().map(|it| build::read_udp(it).1).collect();
    assert_eq!(ports, [at(PEER), at("10.0.0.9:1")]);
    assert_eq!(repaid(&mut host).len(), 2);
}

#[test]
fn what_waits_for_a_neighbour_that_never_answers_is_repaid() {
    let mut host = Host::with(with_areas);
    let memory = Memory::of(&host);
    let socket = host.bound("10.0.0.2:7");
    let loan = host.ledger.begin_loan();
    let slot = memory.borrow_slot(&mut host, loan, 0);
    send(&mut host, socket, to(PEER), loan, vec![slot]).unwrap();
    host.sent();
    assert_eq!(repaid(&mut host), []);
    host.pass(Duration::from_secs(20));
    assert_eq!(repaid(&mut host), [(loan, false)], "the NIC never saw it");
    let loan = host.ledger.begin_loan();
    let slot = memory.borrow_slot(&mut host, loan, 0);
    assert_eq!(host.ledger.headroom(&slot), 128, "the headers are gone too");
    host.ledger.repay(slot);
    host.ledger.end_loan(loan);
}

#[test]
fn parts_arrive_in_order_across_chunks_and_fragments() {
    for len in [1, 1000, 1472, 1473, 5000, 30_000, 60_000] {
        let mut pair = Pair::with(with_areas);
        let (a, b) = (pair.a.bound("10.0.0.2:7"), pair.b.bound("10.0.0.3:9"));
        let memory = Memory::of(&pair.a);
        pair.a.send(a, "10.0.0.3:9", b"find the neighbour").unwrap();
        pair.exchange();
        pair.b.recv(b).unwrap();
        let host = &mut pair.a;
        let loan = host.ledger.begin_loan();
        let first = memory.borrow_row(host, loan, 2047, len);
        let second = memory.borrow_slot(host, loan, 5);
        let third = memory.borrow_row(host, loan, 7, 3);
        let parts = vec![first, second, third];
        send(host, a, to("10.0.0.3:9"), loan, parts).unwrap();
        pair.exchange();
        let bytes = [
            &memory.row[2047..2047 + len],
            &memory.slots[5],
            &memory.row[7..10],
        ];
        let received = pair.b.recv_from(b, "10.0.0.2:7");
        assert!(received == Some(bytes.concat()), "{len} bytes");
        assert_eq!(repaid(&mut pair.a), [(loan, true)], "{len} bytes");
        assert_eq!(pair.a.stack.counters().tx_copied_pieces, 0);
    }
}

#[test]
fn one_slot_twice_in_a_message_arrives_twice() {
    for change in [with_areas, without_scatter] {
        let mut pair = Pair::with(change);
        let (a, b) = (pair.a.bound("10.0.0.2:7"), pair.b.bound("10.0.0.3:9"));
        let memory = Memory::of(&pair.a);
        pair.a.send(a, "10.0.0.3:9", b"find the neighbour").unwrap();
        pair.exchange();
        pair.b.recv(b).unwrap();
        let host = &mut pair.a;
        let loan = host.ledger.begin_loan();
        let parts = [(); 2].map(|()| memory.borrow_slot(host, loan, 0));
        let options = SendOptions {
            segment_bytes: Some(SLOT as u16),
            ..to("10.0.0.3:9")
        };
        send(host, a, options, loan, parts.into()).unwrap();
        let posted = host.post();
        assert_eq!(posted.frames.len(), 2);
        for frame in host.complete(posted) {
            pair.b.receive(&frame);
            let received = pair.b.recv(b).unwrap();
            assert!(received.payload == memory.slots[0][..]);
        }
        let uncopied = pair.a.config.plan != PlanLimits::SINGLE;
        assert_eq!(repaid(&mut pair.a), [(loan, uncopied)]);
    }
}

#[test]
fn segments_of_a_row_are_packets_of_their_own() {
    let (mut host, memory, socket) = bed(with_areas);
    let loan = host.ledger.begin_loan();
    let row = memory.borrow_row(&mut host, loan, 0, 2500);
    let options = SendOptions {
        segment_bytes: Some(1000),
        ..to(PEER)
    };
    let charge = send(&mut host, socket, options, loan, vec![row]).unwrap();
    assert_eq!(charge, 3);
    let lens = host.sent();
    let lens = lens.iter().map(|it| build::read_udp(it).2.len());
    assert_eq!(lens.collect::<Vec<_>>(), [1000, 1000, 500]);
    assert_eq!(repaid(&mut host), [(loan, true)]);
}

#[test]
fn without_scatter_a_row_is_copied_and_said_to_be() {
    let (mut host, memory, socket) = bed(without_scatter);
    for (part, uncopied) in [(None, true), (Some(1000), false), (Some(1), false)] {
        let loan = host.ledger.begin_loan();
        let part = match part {
            None => memory.borrow_slot(&mut host, loan, 0),
            Some(len) => memory.borrow_row(&mut host, loan, 11, len),
        };
        let bytes = part.bytes(host.ledger.umem()).to_vec();
        send(&mut host, socket, to(PEER), loan, vec![part]).unwrap();
        assert_eq!(build::read_udp(&host.sent()[0]).2, bytes);
        assert_eq!(repaid(&mut host), [(loan, uncopied)]);
    }
    let counters = host.stack.counters();
    assert_eq!((counters.tx_copied_pieces, counters.tx_in_place), (2, 1));
}

#[test]
fn what_goes_to_ourselves_is_copied_and_said_to_be() {
    let (mut host, memory, socket) = bed(with_areas);
    let loan = host.ledger.begin_loan();
    let slot = memory.borrow_slot(&mut host, loan, 0);
    send(&mut host, socket, to("10.0.0.2:7"), loan, vec![slot]).unwrap();
    assert_eq!(repaid(&mut host), [(loan, false)]);
    assert!(host.recv(socket).unwrap().payload == memory.slots[0][..]);
    assert_eq!(host.stack.counters().tx_copied_local, 1);
}

#[test]
fn a_send_that_fails_repays_at_once() {
    let (mut host, memory, socket) = bed(with_areas);
    for (peer, len, error) in [
        (PEER, 65_508, SocketError::MessageSize),
        (PEER, ROW, SocketError::MessageSize),
        ("10.0.0.9:0", 1, SocketError::Invalid),
        ("[fd00::9]:9", 1, SocketError::AddressFamily),
        ("10.0.0.255:9", 1, SocketError::Access),
    ] {
        let loan = host.ledger.begin_loan();
        let row = memory.borrow_row(&mut host, loan, 0, len);
        let sent = send(&mut host, socket, to(peer), loan, vec![row]);
        assert_eq!(sent, Err(error), "{peer} {len}");
        assert_eq!(repaid(&mut host), [(loan, false)]);
    }
}

#[test]
fn a_socket_is_charged_until_its_memory_is_repaid() {
    let (mut host, memory, socket) = bed(with_areas);
    let mut options = host.stack.options(socket).unwrap();
    options.ask_send_buffer(2304);
    host.stack.set_options(socket, options).unwrap();
    let mut charges = Vec::new();
    let refused = loop {
        let loan = host.ledger.begin_loan();
        let slot = memory.borrow_slot(&mut host, loan, charges.len() % 16);
        match send(&mut host, socket, to(PEER), loan, vec![slot]) {
            Ok(charge) => charges.push(charge),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SocketError::WouldBlock);
    assert!((2..16).contains(&charges.len()), "{charges:?}");
    host.sent();
    assert_eq!(repaid(&mut host).len(), charges.len() + 1);
    host.events();
    for charge in charges {
        host.stack.udp_repaid(socket, charge);
    }
    assert!(
        host.events()
            .iter()
            .any(|it| it.socket == socket && it.send)
    );
    host.send(socket, PEER, &pattern(1000)).unwrap();
}

#[test]
fn a_closed_socket_lets_its_memory_out_with_the_last_descriptor() {
    let (mut host, memory, socket) = bed(with_areas);
    let loan = host.ledger.begin_loan();
    let slot = memory.borrow_slot(&mut host, loan, 0);
    let charge = send(&mut host, socket, to(PEER), loan, vec![slot]).unwrap();
    let posted = host.post();
    host.close(socket);
    assert_eq!(repaid(&mut host), []);
    host.complete(posted);
    assert_eq!(repaid(&mut host), [(loan, true)]);
    host.stack.udp_repaid(socket, charge);
}

#[test]
fn a_packet_waits_for_as_many_descriptors_as_it_takes() {
    let (mut host, memory, socket) = bed(with_areas);
    let loan = host.ledger.begin_loan();
    // Headers, and the end of one chunk and the beginning of the next.
    let row = memory.borrow_row(&mut host, loan, 1500, 1000);
    send(&mut host, socket, to(PEER), loan, vec![row]).unwrap();
    let post = |_, _, _| panic!("there is no room");
    let (stack, ledger) = (&mut host.stack, &mut host.ledger);
    assert_eq!(stack.transmit(host.now, ledger, 0, 2, post), 0);
    let posted = host.post();
    assert_eq!(posted.descriptors.len(), 3);
    host.complete(posted);
    assert_eq!(repaid(&mut host), [(loan, true)]);
}

//! The application's memory, sent from where it lies: what streams do with it.

use std::time::Duration;

use ringwire_umem::{Borrowed, LoanId};

use super::build::{self, ETHERNET};
use super::described::{Memory, ROW, SLOT, repaid, with_areas, without_scatter};
use super::harness::{Host, InFlight, Pair, Setup, pattern};
use super::tcp::SERVER_V4;
use crate::{SocketError, SocketId};

/// Longer than a retransmission is waited for.
const LONG: Duration = Duration::from_secs(3);

struct Bed {
    pair: Pair,
    client: SocketId,
    server: SocketId,
    memory: Memory,
}

impl Bed {
    fn new(change: fn(&mut Setup)) -> Bed {
        let mut pair = Pair::with(change);
        let (client, server) = pair.connect(SERVER_V4);
        pair.a.no_delay(client);
        // So that the window is open.
        let bytes = pattern(100_000);
        super::tcp::stream(&mut pair, client, server, &bytes);
        pair.pass(Duration::from_secs(1));
        let memory = Memory::of(&pair.a);
        Bed {
            pair,
            client,
            server,
            memory,
        }
    }

    /// Queues bytes of the row, for a loan that ends then.
    fn send_row(&mut self, start: usize, len: usize) -> LoanId {
        let loan = self.pair.a.ledger.begin_loan();
        let row = self.memory.borrow_row(&mut self.pair.a, loan, start, len);
        self.send(loan, row);
        loan
    }

    fn send_slot(&mut self, slot: usize) -> LoanId {
        let loan = self.pair.a.ledger.begin_loan();
        let slot = self.memory.borrow_slot(&mut self.pair.a, loan, slot);
        self.send(loan, slot);
        loan
    }

    fn send(&mut self, loan: LoanId, part: Borrowed) {
        let len = part.len() as usize;
        assert_eq!(try_send(&mut self.pair.a, self.client, part), Ok(len));
        self.pair.a.ledger.end_loan(loan);
    }

    /// What the second host has received.
    fn read(&mut self) -> Vec<u8> {
        self.pair
            .b
            .read(self.server, usize::MAX)
            .unwrap_or_default()
    }

    /// Hands frames to the second host, and its answers to the first.
    fn deliver(&mut self, frames: &[Vec<u8>]) {
        frames.iter().for_each(|it| self.pair.b.receive(it));
        let answers = self.pair.b.sent();
        answers.iter().for_each(|it| self.pair.a.receive(it));
    }

    /// Lets the time of a retransmission come, and posts it.
    fn post_again(&mut self) -> InFlight {
        for _ in 0..100 {
            self.pair.a.pass(Duration::from_millis(50));
            let posted = self.pair.a.post();
            if !posted.frames.is_empty() {
                return posted;
            }
        }
        panic!("nothing is sent again");
    }
}

fn try_send(host: &mut Host, id: SocketId, part: Borrowed) -> Result<usize, SocketError> {
    let (stack, ledger) = (&mut host.stack, &mut host.ledger);
    stack.tcp_send_borrowed(ledger, id, part, false)
}

#[test]
fn slots_go_out_in_one_descriptor_each() {
    let mut bed = Bed::new(with_areas);
    let loans = [0, 1, 2].map(|slot| bed.send_slot(slot));
    let posted = bed.pair.a.post();
    assert_eq!((posted.descriptors.len(), posted.frames.len()), (3, 3));
    let frames = bed.pair.a.complete(posted);
    assert_eq!(repaid(&mut bed.pair.a), [], "nothing is acknowledged");
    bed.deliver(&frames);
    assert_eq!(repaid(&mut bed.pair.a), loans.map(|loan| (loan, true)));
    assert!(bed.read() == [0, 1, 2].map(|slot| &bed.memory.slots[slot][..]).concat());
    assert_eq!(bed.pair.a.stack.counters().tx_in_place, 3);
}

#[test]
fn segments_of_a_row_straddle_chunks() {
    let mut bed = Bed::new(with_areas);
    let loan = bed.send_row(1001, 100_000);
    bed.pair.pass(LONG);
    assert!(bed.read() == bed.memory.row[1001..101_001]);
    assert_eq!(repaid(&mut bed.pair.a), [(loan, true)]);
    let counters = bed.pair.a.stack.counters();
    assert!(counters.tx_scattered >= 100_000 / SLOT as u64);
    assert_eq!((counters.tx_copied_pieces, counters.tcp_tx_copied), (0, 0));
}

#[test]
fn a_segment_that_the_nic_still_has_is_sent_again_with_headers_elsewhere() {
    let mut bed = Bed::new(with_areas);
    let loan = bed.send_slot(0);
    let first = bed.pair.a.post();
    let again = bed.post_again();
    assert_eq!((first.descriptors.len(), again.descriptors.len()), (1, 2));
    let headers = first.frames[0].len() - SLOT;
    assert_eq!(again.descriptors[1], first.descriptors[0] + headers as u64);
    assert_eq!(bed.pair.a.described(&first), first.frames, "as it was");
    bed.deliver(&again.frames.clone());
    assert!(bed.read() == bed.memory.slots[0][..]);
    for posted in [again, first] {
        assert_eq!(repaid(&mut bed.pair.a), [], "the NIC has it");
        bed.pair.a.complete(posted);
    }
    assert_eq!(repaid(&mut bed.pair.a), [(loan, true)]);
}

#[test]
fn without_scatter_it_is_copied_then_and_said_to_be() {
    let mut bed = Bed::new(without_scatter);
    let loan = bed.send_slot(0);
    let first = bed.pair.a.post();
    let again = bed.post_again();
    assert_eq!(bed.pair.a.stack.counters().tx_copied_pieces, 1);
    assert_eq!(bed.pair.a.described(&first), first.frames, "as it was");
    bed.deliver(&again.frames.clone());
    assert!(bed.read() == bed.memory.slots[0][..]);
    bed.pair.a.complete(first);
    assert_eq!(repaid(&mut bed.pair.a), [(loan, false)]);
    bed.pair.a.complete(again);
}

#[test]
fn a_segment_that_came_back_is_sent_again_where_it_lies() {
    let mut bed = Bed::new(with_areas);
    let loan = bed.send_slot(0);
    assert_eq!(bed.pair.a.sent().len(), 1);
    let again = bed.post_again();
    assert_eq!(again.descriptors.len(), 1);
    let frames = bed.pair.a.complete(again);
    bed.deliver(&frames);
    assert!(bed.read() == bed.memory.slots[0][..]);
    assert_eq!(repaid(&mut bed.pair.a), [(loan, true)]);
}

#[test]
fn an_acknowledgement_before_the_descriptors_repays_with_the_last_of_them() {
    let mut bed = Bed::new(with_areas);
    let loan = bed.send_row(0, 3 * SLOT);
    let posted = bed.pair.a.post();
    bed.deliver(&posted.frames.clone());
    assert_eq!(repaid(&mut bed.pair.a), []);
    bed.pair.a.complete(posted);
    assert_eq!(repaid(&mut bed.pair.a), [(loan, true)]);
}

#[test]
fn part_of_a_span_is_acknowledged_and_the_rest_sent_again() {
    let mut bed = Bed::new(with_areas);
    let loan = bed.send_row(0, 5 * SLOT);
    let frames = bed.pair.a.sent();
    assert_eq!(frames.len(), 5);
    bed.deliver(&frames[..2]);
    assert_eq!(repaid(&mut bed.pair.a), []);
    let again = bed.post_again();
    let frames = bed.pair.a.complete(again);
    bed.deliver(&frames);
    bed.pair.pass(LONG);
    assert!(bed.read() == bed.memory.row[..5 * SLOT]);
    assert_eq!(repaid(&mut bed.pair.a), [(loan, true)]);
}

#[test]
fn a_hole_in_a_span_is_filled_from_where_it_lies() {
    let mut bed = Bed::new(with_areas);
    let loan = bed.send_row(500, 6 * SLOT);
    let mut frames = bed.pair.a.sent();
    let lost = frames.remove(1);
    bed.deliver(&frames);
    let again = bed.post_again();
    assert!(again.descriptors.len() >= 2);
    let payload = |frame: &[u8]| frame[frame.len() - SLOT..].to_vec();
    assert_eq!(payload(&again.frames[0]), payload(&lost));
    let frames = bed.pair.a.complete(again);
    bed.deliver(&frames);
    bed.pair.pass(LONG);
    assert!(bed.read() == bed.memory.row[500..500 + 6 * SLOT]);
    assert_eq!(repaid(&mut bed.pair.a), [(loan, true)]);
    assert_eq!(bed.pair.a.stack.counters().tx_copied_pieces, 0);
}

#[test]
fn a_path_that_becomes_narrow_cuts_spans_and_slots_anew() {
    let mut bed = Bed::new(with_areas);
    let slot = bed.send_slot(4);
    let row = bed.send_row(100, 4 * SLOT);
    let frames = bed.pair.a.sent();
    assert_eq!(frames.len(), 5);
    let quote = &frames[0][ETHERNET..ETHERNET + 500];
    let message = build::icmp("10.0.0.3", "10.0.0.2", 3, 4, 1000u32.to_be_bytes(), quote);
    bed.pair.a.receive(&build::frame(&message));
    for _ in 0..100 {
        bed.pair.a.pass(Duration::from_millis(50));
        let frames = bed.pair.a.sent();
        assert!(frames.iter().all(|it| it.len() <= ETHERNET + 1000));
        bed.deliver(&frames);
    }
    let bytes = [
        &bed.memory.slots[4][..],
        &bed.memory.row[100..100 + 4 * SLOT],
    ];
    let bytes = bytes.concat();
    assert!(bed.read() == bytes);
    assert_eq!(repaid(&mut bed.pair.a), [(slot, true), (row, true)]);
}

#[test]
fn an_abort_leaves_what_the_nic_has() {
    let mut bed = Bed::new(with_areas);
    let sent = bed.send_slot(0);
    let posted = bed.pair.a.post();
    let unsent = bed.send_row(0, ROW / 2);
    bed.pair.a.reset_on_close(bed.client);
    bed.pair.a.close(bed.client);
    assert_eq!(repaid(&mut bed.pair.a), [(unsent, false)]);
    bed.pair.a.complete(posted);
    assert_eq!(repaid(&mut bed.pair.a), [(sent, true)]);
}

#[test]
fn a_reset_from_the_peer_repays_everything() {
    let mut bed = Bed::new(with_areas);
    let loan = bed.send_row(0, ROW);
    bed.pair.b.reset_on_close(bed.server);
    bed.pair.b.close(bed.server);
    bed.pair.exchange();
    assert_eq!(repaid(&mut bed.pair.a), [(loan, true)]);
    let loan = bed.pair.a.ledger.begin_loan();
    let slot = bed.memory.borrow_slot(&mut bed.pair.a, loan, 0);
    let sent = try_send(&mut bed.pair.a, bed.client, slot);
    assert_eq!(sent, Err(SocketError::Reset));
    bed.pair.a.ledger.end_loan(loan);
    assert_eq!(repaid(&mut bed.pair.a), [(loan, false)]);
}

#[test]
fn the_end_of_a_stream_goes_with_its_last_borrowed_bytes() {
    let mut bed = Bed::new(with_areas);
    let loan = bed.send_row(0, 2 * SLOT);
    bed.pair.a.close(bed.client);
    assert_eq!(bed.pair.a.sent().len(), 2, "FIN with the last");
    bed.pair.pass(LONG);
    assert!(bed.read() == bed.memory.row[..2 * SLOT]);
    assert_eq!(bed.pair.b.read(bed.server, 1), Ok(vec![]), "the end");
    assert_eq!(repaid(&mut bed.pair.a), [(loan, true)]);
}

#[test]
fn a_peer_that_reads_nothing_holds_the_memory_until_it_does() {
    let mut bed = Bed::new(with_areas);
    let mut loans = Vec::new();
    let mut bytes = Vec::new();
    for _ in 0..50 {
        let loan = bed.pair.a.ledger.begin_loan();
        let row = bed.memory.borrow_row(&mut bed.pair.a, loan, 0, ROW);
        match try_send(&mut bed.pair.a, bed.client, row) {
            Ok(count) => bytes.extend_from_slice(&bed.memory.row[..count]),
            Err(error) => assert_eq!(error, SocketError::WouldBlock),
        }
        bed.pair.a.ledger.end_loan(loan);
        loans.push(loan);
        bed.pair.pass(Duration::from_millis(100));
    }
    bed.pair.pass(Duration::from_secs(120));
    let done = repaid(&mut bed.pair.a).len();
    assert!(done < loans.len(), "the window is closed");
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        received.extend(bed.read());
        bed.pair.pass(Duration::from_secs(5));
    }
    assert!(received == bytes);
    assert_eq!(done + repaid(&mut bed.pair.a).len(), loans.len());
}

#[test]
fn copied_and_borrowed_bytes_keep_their_order() {
    let mut bed = Bed::new(with_areas);
    let mut bytes = Vec::new();
    let mut loans = Vec::new();
    for round in 0..20 {
        let text = pattern(round * 7 + 1);
        assert_eq!(bed.pair.a.write(bed.client, &text), Ok(text.len()));
        bytes.extend(text);
        let (start, len) = (round * 900, 1 + round * 100);
        loans.push(bed.send_row(start, len));
        bytes.extend_from_slice(&bed.memory.row[start..start + len]);
        if round % 3 == 0 {
            loans.push(bed.send_slot(round % 16));
            bytes.extend_from_slice(&bed.memory.slots[round % 16]);
        }
    }
    bed.pair.pass(LONG);
    assert!(bed.read() == bytes);
    assert_eq!(repaid(&mut bed.pair.a).len(), loans.len());
}

#[test]
fn what_goes_to_ourselves_is_copied_and_said_to_be() {
    let mut host = Host::ready_with(with_areas);
    let memory = Memory::of(&host);
    let listener = host.listener("10.0.0.2:80", 1);
    let client = host.connecting("10.0.0.2:80");
    for _ in 0..5 {
        assert_eq!(host.sent().len(), 0);
        host.pass(Duration::from_millis(10));
    }
    let server = host.accept(listener).unwrap();
    let loan = host.ledger.begin_loan();
    let row = memory.borrow_row(&mut host, loan, 0, 1000);
    assert_eq!(try_send(&mut host, client, row), Ok(1000));
    host.ledger.end_loan(loan);
    for _ in 0..10 {
        assert_eq!(host.sent().len(), 0);
        host.pass(Duration::from_millis(100));
    }
    assert!(host.read(server, 2000).unwrap() == memory.row[..1000]);
    assert_eq!(repaid(&mut host), [(loan, false)]);
    assert_eq!(host.stack.counters().tx_copied_local, 1);
}

#[test]
fn many_short_parts_fill_the_send_buffer() {
    let mut bed = Bed::new(with_areas);
    let mut queued = 0;
    loop {
        let loan = bed.pair.a.ledger.begin_loan();
        let part = bed.memory.borrow_row(&mut bed.pair.a, loan, queued, 1);
        let sent = try_send(&mut bed.pair.a, bed.client, part);
        bed.pair.a.ledger.end_loan(loan);
        match sent {
            Ok(_) => queued += 1,
            Err(error) => break assert_eq!(error, SocketError::WouldBlock),
        }
        assert!(queued < 10_000, "each costs more than its byte");
    }
    bed.pair.pass(LONG);
    assert!(bed.read() == bed.memory.row[..queued]);
    assert_eq!(repaid(&mut bed.pair.a).len(), queued + 1);
}

#[test]
fn nothing_is_sent_as_nothing() {
    let mut bed = Bed::new(with_areas);
    let loan = bed.send_row(0, 0);
    assert_eq!(repaid(&mut bed.pair.a), [(loan, false)]);
    assert_eq!(bed.pair.a.sent().len(), 0);
}

#[test]
fn chunks_between_borrowed_bytes_come_back_with_their_acknowledgement() {
    let mut bed = Bed::new(with_areas);
    let free = bed.pair.a.free(ringwire_umem::Pool::Send);
    for round in 0..3 {
        bed.pair.a.write(bed.client, &pattern(100)).unwrap();
        bed.send_row(round * 1000, 1000);
        bed.send_row(round * 1000, 500);
    }
    bed.pair.exchange();
    bed.pair.pass(LONG);
    assert_eq!(bed.read().len(), 3 * 1600);
    assert_eq!(bed.pair.a.free(ringwire_umem::Pool::Send), free);
}

#[test]
fn a_segment_is_no_longer_than_there_is_room_for_its_descriptors() {
    let mut bed = Bed::new(with_areas);
    let loan = bed.pair.a.ledger.begin_loan();
    for at in 0..5 {
        let part = bed.memory.borrow_row(&mut bed.pair.a, loan, at, 1);
        assert_eq!(try_send(&mut bed.pair.a, bed.client, part), Ok(1));
    }
    bed.pair.a.ledger.end_loan(loan);
    let host = &mut bed.pair.a;
    let (stack, ledger) = (&mut host.stack, &mut host.ledger);
    let post = |_, _, _| panic!("there is no room");
    assert_eq!(stack.transmit(host.now, ledger, 0, 2, post), 0);
    let mut first = InFlight::default();
    let post = |addr, _, _| first.descriptors.push(addr);
    assert_eq!(stack.transmit(host.now, ledger, 0, 3, post), 3, "two parts");
    host.complete(first);
    let frames = host.sent();
    assert_eq!(frames.len(), 1, "the others");
    bed.deliver(&frames);
    bed.pair.pass(LONG);
    assert!(bed.read() == bed.memory.row[..5]);
    assert_eq!(repaid(&mut bed.pair.a), [(loan, true)]);
}

//! TCP.

use std::io::Read;
use std::net::TcpStream;
use std::thread::JoinHandle;

use ringwire::opcode;
use ringwire_tests::stream::{CONNECTION, accept, outlive, pattern, run};

use super::*;

pub const CASES: &[(&str, fn())] = &[
    ("a_long_span_is_sent_from_where_it_lies", long_span),
    (
        "where_the_kernel_copies_a_stream_in_a_row_is_copied",
        short_in_a_row,
    ),
    ("slots_are_segments_with_headers_in_front", slots),
    ("zero_copy_and_copied_bytes_keep_their_order", mixed),
    (
        "a_message_of_fragments_keeps_their_order",
        message_of_fragments,
    ),
    ("a_send_without_waiting_for_all_is_short", short),
    ("a_connection_that_is_reset_gives_its_memory_back", reset),
    ("a_ring_ends_with_memory_in_flight", ring_ends),
];

const BYTES: usize = PLAIN_BYTES;

impl Bed {
    /// A connection of the peer's, which reads to its end.
    pub fn connected(&mut self, v6: bool) -> JoinHandle<Vec<u8>> {
        self.connected_as(v6, |mut stream| {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("the peer reads");
            bytes
        })
    }

    pub(super) fn connected_as<T: Send + 'static>(
        &mut self,
        v6: bool,
        with: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let veth = &self.veth;
        accept(&mut self.ring, v6, |to| {
            veth.peer_thread(move || {
                let stream = TcpStream::connect(to).expect("a connection");
                stream
                    .set_read_timeout(Some(4 * PATIENCE))
                    .expect("a timeout");
                with(stream)
            })
        })
    }

    pub fn close(&mut self, peer: JoinHandle<Vec<u8>>) -> Vec<u8> {
        let close = opcode::Close::new(CONNECTION).build();
        assert_eq!(run(&mut self.ring, close), 0);
        outlive(&mut self.ring, peer, 4 * PATIENCE)
    }
}

fn long_span() {
    for v6 in [false, true] {
        let mut bed = Bed::new();
        let peer = bed.connected(v6);
        let bytes = pattern(1, BYTES);
        bed.plain.copy_from_slice(&bytes);
        let entry = send_zc(CONNECTION, &bed.plain, libc::MSG_WAITALL);
        assert_eq!(bed.send(entry), (BYTES as i32, false));
        assert!(bed.close(peer) == bytes, "what came is not what was sent");
        let stack = bed.counters().stack;
        assert_eq!((stack.tx_in_place, stack.tx_copied_pieces), (0, 0));
        assert!(stack.tx_scattered >= (BYTES / 1460) as u64);
    }
}

fn short_in_a_row() {
    let mut bed = Bed::with(1500, None);
    let peer = bed.connected(false);
    let bytes = pattern(1, BYTES);
    bed.plain.copy_from_slice(&bytes);
    let entry = send_zc(CONNECTION, &bed.plain, libc::MSG_WAITALL);
    assert_eq!(bed.send(entry), (BYTES as i32, true));
    assert!(bed.close(peer) == bytes, "what came is not what was sent");
    let stack = bed.counters().stack;
    assert_eq!((stack.tx_scattered, stack.tx_copied_pieces), (0, 0));
    assert!(stack.tx_copied_small >= (BYTES / 1460) as u64);
}

fn slots() {
    for v6 in [false, true] {
        let mut bed = Bed::new();
        let peer = bed.connected(v6);
        let all = pattern(2, SLOTS as usize * 1400);
        for (slot, bytes) in bed.slots.iter_mut().zip(all.chunks(1400)) {
            slot[..1400].copy_from_slice(bytes);
        }
        for round in 0..8 {
            for slot in 0..SLOTS as usize {
                let bytes = &bed.slots[slot][..1400];
                let entry = send_zc(CONNECTION, bytes, libc::MSG_WAITALL);
                bed.push(&entry.user_data(slot as u64));
            }
            let completions = bed.wait(2 * SLOTS as usize);
            let uncopied = completions
                .iter()
                .filter(|cqe| cqueue::notif(cqe.flags()) && cqe.result() == 0);
            assert_eq!(uncopied.count(), SLOTS as usize, "round {round}");
        }
        assert!(
            bed.close(peer) == all.repeat(8),
            "what came is not what was sent"
        );
        let stack = bed.counters().stack;
        // What is sent again is, too.
        assert!(stack.tx_in_place >= 8 * u64::from(SLOTS), "{stack:?}");
        assert_eq!(stack.tx_scattered, 0);
    }
}

fn mixed() {
    let mut bed = Bed::new();
    let peer = bed.connected(false);
    let bytes = pattern(3, 400_000);
    bed.plain[..400_000].copy_from_slice(&bytes);
    // Lengths that are no multiple of anything, from where they lie and copied by turns.
    let mut at = 0;
    let mut number = 0;
    while at < bytes.len() {
        number += 1;
        let len = (number * 977 % 9973 + 1).min(bytes.len() - at);
        let part = &bed.plain[at..at + len];
        if number % 2 == 0 {
            let entry = send_zc(CONNECTION, part, libc::MSG_WAITALL);
            assert_eq!(bed.send(entry), (len as i32, false), "send {number}");
        } else {
            let send = opcode::Send::new(CONNECTION, part.as_ptr(), len as u32);
            let send = send.flags(libc::MSG_WAITALL).build();
            assert_eq!(run(&mut bed.ring, send), len as i32);
        }
        at += len;
    }
    assert!(bed.close(peer) == bytes, "what came is not what was sent");
}

fn message_of_fragments() {
    let mut bed = Bed::new();
    let peer = bed.connected(false);
    let own = pattern(5, 3000);
    let bytes = pattern(4, 60_000);
    bed.plain[..60_000].copy_from_slice(&bytes);
    let mut parts: Vec<&[u8]> = bed.plain[..60_000].chunks(321).collect();
    parts.insert(50, &own);
    let wanted = parts.concat();
    let iovecs: Vec<_> = parts.into_iter().map(iovec).collect();
    let header = message(&iovecs);
    let entry = opcode::SendMsgZc::new(CONNECTION, &header)
        .ioprio(REPORT_USAGE)
        .flags(libc::MSG_WAITALL as u32)
        .build();
    let copied = true;
    assert_eq!(bed.send(entry), (63_000, copied), "a part is not in UMEM");
    assert!(bed.close(peer) == wanted, "what came is not what was sent");
}

fn short() {
    let mut bed = Bed::new();
    let peer = bed.connected(false);
    let bytes = pattern(6, BYTES);
    bed.plain.copy_from_slice(&bytes);
    let entry = send_zc(CONNECTION, &bed.plain, 0);
    let (sent, copied) = bed.send(entry);
    assert!(sent > 0 && sent < BYTES as i32 && !copied, "{sent} bytes");
    let came = bed.close(peer);
    assert!(came == bytes[..sent as usize], "{} bytes came", came.len());
}

fn reset() {
    let mut bed = Bed::new();
    // A peer that reads nothing and goes.
    let peer = bed.connected_as(false, |stream| {
        let mut first = [0; 1];
        (&stream).read_exact(&mut first).expect("the first byte");
    });
    let entry = send_zc(CONNECTION, &bed.plain, libc::MSG_WAITALL);
    bed.push(&entry);
    let completions = bed.wait(2);
    peer.join().expect("the peer's thread");
    assert!(!cqueue::notif(completions[0].flags()));
    assert!(cqueue::notif(completions[1].flags()), "{completions:?}");
}

fn ring_ends() {
    let mut bed = Bed::new();
    let peer = bed.connected_as(false, |stream| {
        // The ring's end is seen as a reset, or as the end of the stream.
        let mut bytes = Vec::new();
        let _ = (&stream).read_to_end(&mut bytes);
        bytes
    });
    let bytes = pattern(7, BYTES);
    bed.plain.copy_from_slice(&bytes);
    bed.push(&send_zc(CONNECTION, &bed.plain, libc::MSG_WAITALL));
    bed.ring.submit().expect("a turn");
    let Bed { ring, plain, .. } = bed;
    drop(ring);
    let came = peer.join().expect("the peer's thread");
    assert!(bytes.starts_with(&came), "{} bytes came", came.len());
    assert!(plain[..] == bytes, "the memory is as it was");
}

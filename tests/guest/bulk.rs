//! The ring's end of a bulk exchange: SEND_ZC out of UMEM, RECV by lending, both at once. A byte depends on its offset in the
//! stream, so that one that is lost, doubled or moved is seen.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ringwire::{IoUring, cqueue, opcode, squeue};
use ringwire_abi::flags::{IORING_NOTIF_USAGE_ZC_COPIED, IORING_SEND_ZC_REPORT_USAGE};
use ringwire_tests::net::PATIENCE;
use ringwire_tests::stream::{CONNECTION, run, wait};

use crate::bed::{AREA, AREA_BYTES, SLOTS};
use crate::lending::{GROUP, Lending};

/// Bytes of each direction.
pub const BYTES: usize = 4 << 20;
/// For one exchange.
pub const LONG: Duration = Duration::from_secs(60);

/// Bytes of one send out of the plain area, a prime: sends begin and end within chunks and segments.
const PIECE: usize = 100_003;

const RECEIVE: u64 = 1 << 32;
const SHUTDOWN: u64 = 2 << 32;

/// What is sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Slots, with room for headers: a packet is one descriptor, and these drivers take it.
    Slots,
    /// A plain area: a packet would be two descriptors, which these drivers do not take, so it is copied.
    Area,
}

/// Sends on the ring's connection of which one, in the middle, begins within a slot, where there is no room for
/// headers; returns how many were copied, and what was sent.
pub fn one_within_a_slot(ring: &mut IoUring) -> (usize, Vec<u8>) {
    let mut slots = ring.take_slots(SLOTS).expect("the slots");
    let within = slots.len() / 2;
    let mut sent = Vec::new();
    for (index, slot) in slots.iter_mut().enumerate() {
        for (at, to) in slot.iter_mut().enumerate() {
            *to = byte(index as u8, at);
        }
        let payload = &slot[if index == within { 100 } else { 0 }..];
        sent.extend_from_slice(payload);
        push(ring, send_zc(payload));
    }
    let (mut copied, mut notifications) = (0, 0);
    while notifications < slots.len() {
        assert!(wait(ring, PATIENCE), "{notifications} notifications came");
        for cqe in ring.completion().filter(|cqe| cqueue::notif(cqe.flags())) {
            notifications += 1;
            copied += usize::from(is_copied(cqe.result()));
        }
    }
    (copied, sent)
}

fn send_zc(payload: &[u8]) -> squeue::Entry {
    let send = opcode::SendZc::new(CONNECTION, payload.as_ptr(), payload.len() as u32);
    let send = send.flags(libc::MSG_WAITALL);
    send.zc_flags(IORING_SEND_ZC_REPORT_USAGE).build()
}

/// What a notification says.
fn is_copied(res: i32) -> bool {
    res as u32 == IORING_NOTIF_USAGE_ZC_COPIED
}

/// The byte at an offset of the stream with this seed.
pub fn byte(seed: u8, offset: usize) -> u8 {
    (offset / 251 + offset * 31) as u8 ^ seed
}

/// A stream as a whole, for the kernel's end.
pub fn stream(seed: u8) -> Vec<u8> {
    (0..BYTES).map(|offset| byte(seed, offset)).collect()
}

/// Sends the stream of one seed on the ring's connection and receives that of the other, until both have ended.
pub fn exchange(ring: &mut IoUring, from: From, out: u8, incoming: u8) {
    let mut area = ring.take_area(AREA).expect("the plain area");
    let mut slots = ring.take_slots(SLOTS).expect("the slots");
    let mut pieces: Vec<&mut [u8]> = match from {
        From::Slots => slots.iter_mut().map(|slot| &mut slot[..]).collect(),
        From::Area => area[..AREA_BYTES].chunks_exact_mut(PIECE).collect(),
    };
    let mut lending = Lending::new(ring);
    let receive = opcode::RecvMulti::new(CONNECTION, GROUP).build();
    let receive = receive.user_data(RECEIVE);
    push(ring, receive.clone());
    let mut free: VecDeque<usize> = (0..pieces.len()).collect();
    let (mut pushed, mut sent, mut received) = (0, 0, 0);
    let (mut sending, mut sends, mut copied) = (0, 0, 0);
    let (mut shutting, mut shut, mut ended) = (false, false, false);
    let start = Instant::now();
    while !(shut && ended && free.len() == pieces.len()) {
        while pushed < BYTES && !free.is_empty() {
            let index = free.pop_front().expect("one is free");
            let len = pieces[index].len().min(BYTES - pushed);
            let piece = &mut pieces[index][..len];
            for (at, to) in piece.iter_mut().enumerate() {
                *to = byte(out, pushed + at);
            }
            push(ring, send_zc(piece).user_data(index as u64));
            pushed += piece.len();
            sending += 1;
        }
        assert!(
            start.elapsed() < LONG && wait(ring, PATIENCE),
            "{sent} bytes were sent, {received} came"
        );
        let completions: Vec<_> = ring.completion().collect();
        for cqe in completions {
            let res = cqe.result();
            match cqe.user_data() {
                RECEIVE => {
                    match res {
                        0 => ended = true,
                        // All ids are in use; they have been given back by now.
                        _ if res == -libc::ENOBUFS => {}
                        _ => lending.read(res, cqe.flags(), |bytes| {
                            verify(bytes, incoming, received);
                            received += bytes.len();
                        }),
                    }
                    if !ended && !cqueue::more(cqe.flags()) {
                        push(ring, receive.clone());
                    }
                }
                SHUTDOWN => {
                    assert_eq!(res, 0);
                    shut = true;
                }
                index if cqueue::notif(cqe.flags()) => {
                    copied += usize::from(is_copied(res));
                    free.push_back(index as usize);
                }
                _ => {
                    assert!(res > 0 && cqueue::more(cqe.flags()), "a send: {res}");
                    sent += res as usize;
                    sending -= 1;
                    sends += 1;
                }
            }
        }
        if pushed == BYTES && sending == 0 && !shutting {
            assert_eq!(sent, BYTES, "every send is whole");
            shutting = true;
            let shutdown = opcode::Shutdown::new(CONNECTION, libc::SHUT_WR);
            push(ring, shutdown.build().user_data(SHUTDOWN));
        }
    }
    assert_eq!(received, BYTES, "the stream has ended");
    lending.assert_not_copied(ring);
    match from {
        // The peer's window, or a probe of the tail, may end within a slot: the rest has no room for headers.
        From::Slots => assert!(100 * copied <= sends, "{copied} of {sends} were copied"),
        From::Area => assert_eq!(copied, sends, "a copy is reported"),
    }
    assert_eq!(run(ring, opcode::Close::new(CONNECTION).build()), 0);
}

/// What came is the stream's at this offset.
pub fn verify(bytes: &[u8], seed: u8, offset: usize) {
    let wrong = (0..bytes.len()).find(|&at| bytes[at] != byte(seed, offset + at));
    assert_eq!(
        wrong,
        None,
        "at {offset}, {} bytes: one is another",
        bytes.len()
    );
}

fn push(ring: &mut IoUring, entry: squeue::Entry) {
    // SAFETY: areas and slots live until both directions have ended and every send has been notified of.
    unsafe { ring.submission().push(&entry) }.expect("room in the queue");
}

//! The ring's end of a bulk exchange: SEND_ZC out of the registered area, RECV, both at once. A byte depends on its
//! offset in the stream, so that one that is lost, doubled or moved is seen.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ringwire::{IoUring, cqueue, opcode, squeue};
use ringwire_tests::net::PATIENCE;
use ringwire_tests::stream::{CONNECTION, run, wait};

use crate::bed::AREA;

/// Bytes of each direction.
pub const BYTES: usize = 4 << 20;
/// For one exchange.
pub const LONG: Duration = Duration::from_secs(60);

/// Bytes of one send, a prime: sends begin and end within chunks and segments.
const PIECE: usize = 100_003;
/// Sends whose memory the ring has.
const PIECES: usize = 8;

const _: () = assert!(PIECE * PIECES <= AREA);

const RECEIVE: u64 = 1 << 32;
const SHUTDOWN: u64 = 2 << 32;

/// The byte at an offset of the stream with this seed.
pub fn byte(seed: u8, offset: usize) -> u8 {
    (offset / 251 + offset * 31) as u8 ^ seed
}

/// A stream as a whole, for the kernel's end.
pub fn stream(seed: u8) -> Vec<u8> {
    (0..BYTES).map(|offset| byte(seed, offset)).collect()
}

/// Sends the stream of one seed on the ring's connection and receives that of the other, until both have ended.
pub fn exchange(ring: &mut IoUring, out: u8, incoming: u8) {
    let mut area = ring.take_area(0).expect("the registered area");
    let mut buffer = vec![0; 200_000];
    let receive = opcode::Recv::new(CONNECTION, buffer.as_mut_ptr(), buffer.len() as u32);
    let receive = receive.build().user_data(RECEIVE);
    push(ring, receive.clone());
    let mut free: VecDeque<usize> = (0..PIECES).collect();
    let (mut pushed, mut sent, mut received) = (0, 0, 0);
    let mut sending = 0;
    let (mut shutting, mut shut, mut ended) = (false, false, false);
    let start = Instant::now();
    while !(shut && ended && free.len() == PIECES) {
        while pushed < BYTES && !free.is_empty() {
            let index = free.pop_front().expect("one is free");
            let piece = &mut area[index * PIECE..][..PIECE.min(BYTES - pushed)];
            for (at, to) in piece.iter_mut().enumerate() {
                *to = byte(out, pushed + at);
            }
            let send = opcode::SendZc::new(CONNECTION, piece.as_ptr(), piece.len() as u32);
            let send = send.flags(libc::MSG_WAITALL).build();
            push(ring, send.user_data(index as u64));
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
                RECEIVE if res == 0 => ended = true,
                RECEIVE => {
                    let count = usize::try_from(res).expect("bytes");
                    verify(&buffer[..count], incoming, received);
                    received += count;
                    push(ring, receive.clone());
                }
                SHUTDOWN => {
                    assert_eq!(res, 0);
                    shut = true;
                }
                index if cqueue::notif(cqe.flags()) => free.push_back(index as usize),
                _ => {
                    assert!(res > 0 && cqueue::more(cqe.flags()), "a send: {res}");
                    sent += res as usize;
                    sending -= 1;
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
    assert_eq!(run(ring, opcode::Close::new(CONNECTION).build()), 0);
}

/// What came is the stream's at this offset.
fn verify(bytes: &[u8], seed: u8, offset: usize) {
    let wrong = (0..bytes.len()).find(|&at| bytes[at] != byte(seed, offset + at));
    assert_eq!(
        wrong,
        None,
        "at {offset}, {} bytes: one is another",
        bytes.len()
    );
}

fn push(ring: &mut IoUring, entry: squeue::Entry) {
    // SAFETY: area and buffer live until both directions have ended and every send has been notified.
    unsafe { ring.submission().push(&entry) }.expect("room in the queue");
}

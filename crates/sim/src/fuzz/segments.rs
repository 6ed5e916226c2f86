//! TCP segments on the wire, to a stack.

use super::bed::{ACK, Bed, Header, PEER_PORT, PORT, TCP, frame};
use super::{Input, pattern};

/// TCP headers: packets to a listener, anything in them.
///
/// # Panics
/// If the stack does, or if chunks are lost.
pub fn tcp_headers(data: &[u8]) {
    let mut input = Input(data);
    let mut bed = Bed::new();
    while !input.is_empty() {
        let v6 = input.coin();
        let len = usize::from(input.byte()).max(20);
        let mut segment = input.bytes(len);
        // To the listener more often than chance has it.
        if input.byte() < 250 {
            segment[2..4].copy_from_slice(&PORT.to_be_bytes());
        }
        bed.receive(&frame(v6, TCP, None, &segment));
        bed.pass(input.byte().into());
        bed.transmit();
        while let Ok(accepted) = bed.stack.tcp_accept(bed.listener) {
            bed.stack.close(bed.now, &mut bed.ledger, accepted.socket);
        }
        bed.check();
    }
    bed.end();
}

/// TCP options: on the SYN that makes a connection, and on the segments of its stream, which come in
/// order and are right in every other way.
///
/// # Panics
/// If the stack does, if bytes are read that the peer has not sent, or if chunks are lost.
pub fn tcp_options(data: &[u8]) {
    let mut input = Input(data);
    let mut bed = Bed::new();
    let v6 = input.coin();
    let len = usize::from(input.byte() % 41);
    let options = input.bytes(len);
    let (socket, ack) = bed.connect(v6, &options);
    let (mut seq, mut read) = (1u32, 0);
    while !input.is_empty() {
        let len = usize::from(input.byte() % 41);
        let options = input.bytes(len);
        let header = Header {
            port: PEER_PORT,
            seq,
            ack,
            flags: ACK,
            window: input.short(),
            options: &options,
        };
        let at = seq as usize - 1;
        let payload: Vec<u8> = (at..at + 10).map(pattern).collect();
        bed.receive(&frame(v6, TCP, None, &header.segment(&payload)));
        bed.transmit();
        let taken = bed.read_pattern(socket, read);
        assert!(taken == 0 || taken == 10, "a part of a segment");
        read += taken;
        seq += taken as u32;
        // So much that the window and the size of segments matter.
        let _ = bed
            .stack
            .tcp_send(&mut bed.ledger, socket, 3000, false, &mut |part| {
                part.fill(1)
            });
        bed.transmit();
        bed.pass(input.byte().into());
        bed.check();
    }
    bed.stack.close(bed.now, &mut bed.ledger, socket);
    bed.end();
}

/// Pieces of a peer's stream in any order, with overlaps, holes and ends.
///
/// # Panics
/// If the stack does, if anything is read that is not the stream, or if chunks are lost.
pub fn tcp_reassembly(data: &[u8]) {
    let mut input = Input(data);
    let mut bed = Bed::new();
    let v6 = input.coin();
    let (socket, ack) = bed.connect(v6, &[]);
    let mut read = 0usize;
    while !input.is_empty() {
        let kind = input.byte();
        let near = usize::from(input.byte());
        // What is read next, a little before, or ahead up to beyond the window.
        let at = match kind % 4 {
            0 => read,
            1 => read.saturating_sub(near),
            2 => read + near,
            _ => read + near * 1100,
        };
        let len = match kind >> 2 & 3 {
            0 => 1,
            1 => 100,
            2 => usize::from(input.byte()),
            _ => usize::from(input.short() % 1461),
        };
        let payload: Vec<u8> = (at..at + len).map(pattern).collect();
        let header = Header {
            port: PEER_PORT,
            seq: 1 + at as u32,
            ack,
            flags: ACK | u8::from(kind == 0xff),
            window: 60_000,
            options: &[],
        };
        bed.receive(&frame(v6, TCP, None, &header.segment(&payload)));
        if kind & 0x30 != 0x30 {
            read += bed.read_pattern(socket, read);
        }
        if kind & 0x40 != 0 {
            bed.transmit();
        }
        if kind & 0x80 != 0 {
            bed.pass(near as u64);
        }
        bed.check();
    }
    bed.stack.close(bed.now, &mut bed.ledger, socket);
    bed.end();
}

//! IP fragments, and ICMP messages about what was sent.

use ringwire_stack::{Linger, SocketId};

use super::bed::{ACK, Bed, ETHERNET, Fragment, Header, PEER_PORT, TCP, UDP, UDP_PORT, frame};
use super::{Input, pattern};

/// Fragments of datagrams in any order, with overlaps, holes and ends that disagree. Each byte is the
/// one that belongs where its fragment says, so whatever is delivered must be right.
///
/// # Panics
/// If the stack does, if a wrong datagram is delivered, or if chunks are lost.
pub fn ip_reassembly(data: &[u8]) {
    let mut input = Input(data);
    let mut bed = Bed::new();
    while !input.is_empty() {
        let kind = input.byte();
        let v6 = kind & 1 != 0;
        let id = u32::from(kind >> 1 & 3);
        let more = kind & 8 == 0;
        let offset = match kind >> 4 & 3 {
            0 => 0,
            1 => u16::from(input.byte()) * 8,
            2 => u16::from(input.byte() % 4) * 1024,
            _ => input.short() & !7,
        };
        let len = match kind >> 6 {
            0 => 8,
            1 => usize::from(input.byte()) * 8,
            2 => 1024,
            _ => usize::from(input.short() % 1472),
        };
        let total = 8 + 1024 * (1 + id as usize);
        let at = usize::from(offset);
        let bytes: Vec<u8> = (at..at + len)
            .map(|index| datagram(id, total, index))
            .collect();
        let fragment: Fragment = (id, offset, more);
        bed.receive(&frame(v6, UDP, Some(fragment), &bytes));
        check_datagrams(&mut bed);
        bed.transmit();
        if kind == 0xff {
            bed.pass(u64::from(input.byte()) * 1000);
        }
        bed.check();
    }
    bed.end();
}

/// Byte `index` of datagram `id`, whose UDP header says that it has `total` bytes.
fn datagram(id: u32, total: usize, index: usize) -> u8 {
    let len = (total as u16).to_be_bytes();
    let header = [0, 99, 0, UDP_PORT as u8, len[0], len[1], 0, 0];
    match header.get(index) {
        Some(&byte) => byte,
        None => pattern(index - 8).wrapping_add(id as u8),
    }
}

fn check_datagrams(bed: &mut Bed) {
    while let Some(received) = bed.stack.udp_front(bed.datagrams) {
        assert_eq!(received.from.port(), 99);
        let mut bytes = Vec::new();
        received.for_each(&bed.ledger, usize::MAX, |part| {
            bytes.extend_from_slice(part)
        });
        let id = (bytes.len() / 1024).saturating_sub(1) as u32;
        assert_eq!(
            bytes.len(),
            1024 * (1 + id as usize),
            "a length that nobody said"
        );
        let right = |(at, &byte): (usize, &u8)| byte == pattern(at).wrapping_add(id as u8);
        assert!(
            bytes.iter().enumerate().all(right),
            "a byte in the wrong place"
        );
        bed.stack.udp_consume(&mut bed.ledger, bed.datagrams);
    }
}

/// ICMP messages that quote a segment in flight, or nearly: changed, cut off, of another connection.
///
/// # Panics
/// If the stack does, if a connection that stands is ended by a message, or if chunks are lost.
pub fn icmp_quotes(data: &[u8]) {
    let mut input = Input(data);
    let mut bed = Bed::new();
    let v6 = input.coin();
    let (socket, _) = bed.connect(v6, &[]);
    let mut quoted = Vec::new();
    while !input.is_empty() {
        let kind = input.byte();
        if kind & 3 == 0 {
            quoted = send(&mut bed, socket).unwrap_or(quoted);
        }
        let mut message = vec![input.byte(), input.byte(), 0, 0];
        // The types and codes that mean something, more often than chance has them.
        if kind & 4 == 0 {
            let types = if v6 {
                [1, 2, 3, 4, 2]
            } else {
                [3, 4, 5, 11, 12]
            };
            message[0] = types[usize::from(message[0] % 5)];
            message[1] %= 16;
        }
        message.extend(input.word().to_be_bytes());
        message.extend(quote(&mut input, &quoted));
        let before = bed.stack.tcp_state(socket);
        match v6 {
            true => bed.receive_icmp_v6(&mut message),
            false => bed.receive_icmp_v4(&mut message),
        }
        let after = bed.stack.tcp_state(socket);
        assert_eq!(before, after, "what a message has done to a connection");
        bed.transmit();
        bed.pass(u64::from(kind >> 6) * 100);
        if kind & 8 == 0 {
            acknowledge(&mut bed, v6, &quoted);
        }
        bed.check();
    }
    let mut options = bed.stack.options(socket).expect("a socket");
    options.linger = Linger {
        on: true,
        seconds: 0,
    };
    bed.stack.set_options(socket, options).expect("a socket");
    bed.stack.close(bed.now, &mut bed.ledger, socket);
    bed.end();
}

/// Sends something, and returns the first segment with payload that goes out as an IP packet.
fn send(bed: &mut Bed, socket: SocketId) -> Option<Vec<u8>> {
    let mut fill = |part: &mut [u8]| part.fill(1);
    let _ = bed
        .stack
        .tcp_send(&mut bed.ledger, socket, 2000, false, &mut fill);
    let frames = bed.transmit();
    let long = frames.into_iter().find(|frame| frame.len() > 200)?;
    Some(long[ETHERNET..].to_vec())
}

/// A packet as a message quotes it: some bytes changed, and cut off.
fn quote(input: &mut Input<'_>, packet: &[u8]) -> Vec<u8> {
    let mut quote = packet.to_vec();
    let how = input.byte();
    for _ in 0..how & 3 {
        let at = usize::from(input.byte());
        let change = input.byte();
        if let Some(byte) = quote.get_mut(at) {
            *byte ^= change;
        }
    }
    match how >> 2 & 3 {
        0 => quote.truncate(28),
        1 => quote.truncate(usize::from(input.byte())),
        2 => quote.truncate(548),
        _ => {
            let len = usize::from(input.byte());
            quote = input.bytes(len);
        }
    }
    quote
}

/// Has the peer acknowledge a segment that was sent.
fn acknowledge(bed: &mut Bed, v6: bool, packet: &[u8]) {
    let tcp = if v6 { 40 } else { 20 };
    let Some(seq) = packet.get(tcp + 4..tcp + 8) else {
        return;
    };
    let seq = u32::from_be_bytes(seq.try_into().expect("four bytes"));
    let header = Header {
        port: PEER_PORT,
        seq: 1,
        ack: seq.wrapping_add((packet.len() - tcp - 20) as u32),
        flags: ACK,
        window: 60_000,
        options: &[],
    };
    bed.receive(&frame(v6, TCP, None, &header.segment(&[])));
    bed.transmit();
}

//! Datagrams that are sent as fast as the socket takes them.

use std::net::{Ipv4Addr, SocketAddrV4};

use ringwire_bench::measure::{Load, Span, Tally};
use ringwire_xsk::Desc;

use crate::frame::{End, HEADER_BYTES, headers, write_checksum};
use crate::{CHUNK_BYTES, Port};

/// Datagrams of one turn.
const BURST: usize = 32;

struct Sender<'a> {
    port: &'a mut Port,
    headers: [u8; HEADER_BYTES],
    bytes: u32,
    /// Chunks of a frame, which are in a row; and frames of which no chunk is in a ring, by their first one.
    chunks: u64,
    idle: Vec<u64>,
    /// Descriptors that have come back of frames that have several.
    back: u64,
    tally: Tally,
}

/// Sends for as long as it is to, from this address to the discard port (RFC 863) of the one beside it.
pub fn run(port: &mut Port, bytes: usize, (mac, from): ([u8; 6], Ipv4Addr), span: &Span) {
    let all = (HEADER_BYTES + bytes) as u32;
    let chunks = u64::from(all.div_ceil(CHUNK_BYTES));
    // Behind what the fill ring has.
    let first = port.free.iter().min().copied().unwrap_or(0);
    let frames = port.free.len() as u64 / chunks;
    port.free.clear();
    let stride = chunks * u64::from(CHUNK_BYTES);
    let idle: Vec<u64> = (0..frames).map(|number| first + number * stride).collect();
    for &addr in &idle {
        port.bytes(addr, all).fill(0x5a);
    }
    let beside = Ipv4Addr::from_bits(from.to_bits() ^ 3);
    let from = End {
        mac,
        address: SocketAddrV4::new(from, 12_345),
    };
    let to = End {
        mac: [0xff; 6],
        address: SocketAddrV4::new(beside, 9),
    };
    let headers = headers(from, to, bytes);
    let mut sender = Sender {
        port,
        headers,
        bytes: all,
        chunks,
        idle,
        back: 0,
        tally: Tally::default(),
    };
    span.measure(&mut sender);
}

impl Sender<'_> {
    /// Completions come in the order of the descriptors: the last of a frame gives it back.
    fn reap(&mut self) {
        while let Some(addr) = self.port.rings.completion.pop() {
            self.back += 1;
            if self.back.is_multiple_of(self.chunks) {
                let last = addr - addr % u64::from(CHUNK_BYTES);
                let before = (self.chunks - 1) * u64::from(CHUNK_BYTES);
                self.idle.push(last - before);
            }
        }
        self.port.rings.completion.release();
    }

    fn send(&mut self, first: u64) {
        let checksums = self.port.checksums;
        let frame = self.port.bytes(first, self.bytes);
        frame[..HEADER_BYTES].copy_from_slice(&self.headers);
        if checksums {
            write_checksum(frame);
        }
        let mut left = self.bytes;
        for chunk in 0..self.chunks {
            let len = left.min(CHUNK_BYTES);
            left -= len;
            let options = if left > 0 { Desc::CONTINUED } else { 0 };
            let addr = first + chunk * u64::from(CHUNK_BYTES);
            let pushed = self.port.rings.tx.push(Desc { addr, len, options });
            pushed.expect("the ring has room");
        }
    }
}

impl Load for Sender<'_> {
    fn step(&mut self) {
        self.reap();
        for _ in 0..BURST {
            if u64::from(self.port.rings.tx.free()) < self.chunks {
                break;
            }
            let Some(first) = self.idle.pop() else {
                break;
            };
            self.send(first);
            self.tally.sent(self.bytes as usize - HEADER_BYTES);
        }
        self.port.rings.tx.publish();
        self.port.kick();
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

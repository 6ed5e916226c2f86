//! A window of datagrams that come back, over AF_XDP: the load of echo servers that are as fast as this machine makes
//! them. It sums eight bytes of an echo, where the raw loop sums all of them, twice.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use ringwire_bench::measure::{Load, Span, Tally, nanos};
use ringwire_xsk::{Desc, Interface, Neighbour, Rtnetlink};

use crate::frame::{
    End, HEADER_BYTES, add_to_checksum, answer, headers, sum_again, write_checksum,
};
use crate::{CHUNKS, FILLED, Port};

/// Echoes of one turn.
const BURST: usize = 64;
/// Without an echo for so long, what is outstanding is taken for lost.
const LOST: Duration = Duration::from_millis(50);
/// What a datagram over Ethernet carries.
const MAX_BYTES: usize = 1472;
/// A payload begins with the time at which it was sent.
const STAMP_BYTES: usize = 8;

struct Window<'a> {
    port: &'a mut Port,
    /// What is sent, with zeros for a stamp, and the checksum of that.
    frame: Vec<u8>,
    window: usize,
    outstanding: usize,
    /// When an echo came last.
    heard: u64,
    tally: Tally,
}

/// Keeps so many datagrams of so many bytes outstanding for as long as it is to.
///
/// # Panics
/// If there is no room for a stamp in so many bytes, or they exceed a frame; if there are not so many chunks.
pub fn run(port: &mut Port, [from, to]: [End; 2], bytes: usize, window: usize, span: &Span) {
    assert!((STAMP_BYTES..=MAX_BYTES).contains(&bytes), "{bytes} bytes");
    let chunks = u64::from(CHUNKS) - FILLED;
    assert!(
        window > 0 && window as u64 <= chunks,
        "a window of {window}"
    );
    let mut frame = headers(from, to, bytes).to_vec();
    frame.extend([0; STAMP_BYTES]);
    frame.resize(HEADER_BYTES + bytes, 0x5a);
    write_checksum(&mut frame);
    span.measure(&mut Window {
        port,
        frame,
        window,
        outstanding: 0,
        heard: nanos(),
        tally: Tally::default(),
    });
}

/// Where the interface sends what goes to an address: a neighbour that the kernel knows.
///
/// # Errors
/// What the kernel said, or `NotFound`.
pub fn neighbour(interface: &Interface, ip: Ipv4Addr) -> io::Result<[u8; 6]> {
    match Rtnetlink::open(interface.index)?.neighbour(ip.into())? {
        Neighbour::Known { mac, .. } => Ok(mac),
        Neighbour::Unknown | Neighbour::Failed => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{ip} is no neighbour that the kernel knows"),
        )),
    }
}

impl Window<'_> {
    /// Takes the echoes that are there, and sends each one again; how many.
    fn receive(&mut self, now: u64) -> usize {
        let mut echoes = 0;
        for _ in 0..BURST {
            let Some(Desc { addr, len, .. }) = self.port.rings.rx.pop() else {
                break;
            };
            if !self.answered(addr, len, now) {
                self.port.give_back(addr);
                continue;
            }
            echoes += 1;
            self.outstanding = self.outstanding.saturating_sub(1);
            let sent = self.frame.len() as u32;
            let echo = self.port.bytes(addr, sent);
            echo[..HEADER_BYTES].copy_from_slice(&self.frame[..HEADER_BYTES]);
            self.send(addr, now);
        }
        self.port.rings.rx.release();
        echoes
    }

    /// Counts an echo; `false` if it is none.
    fn answered(&mut self, addr: u64, len: u32, now: u64) -> bool {
        let checksums = self.port.checksums;
        let frame = self.port.bytes(addr, len);
        let Some(payload) = answer(frame, &self.frame) else {
            return false;
        };
        let bytes = self.frame.len() - HEADER_BYTES;
        assert_eq!(payload.len(), bytes, "an echo is as long as what was sent");
        let stamp = payload[..STAMP_BYTES].try_into().expect("so many bytes");
        let sent = u64::from_ne_bytes(stamp);
        if checksums && !sum_again(frame) {
            return false;
        }
        self.tally.answered(bytes, now.saturating_sub(sent));
        true
    }

    /// Sends as many as there is room for in the window.
    fn fill(&mut self, now: u64) {
        while self.outstanding < self.window && self.port.rings.tx.free() > 0 {
            let Some(addr) = self.port.free.pop() else {
                return;
            };
            let len = self.frame.len() as u32;
            self.port.bytes(addr, len).copy_from_slice(&self.frame);
            self.send(addr, now);
        }
    }

    /// Stamps a frame that has headers and payload, and puts it into the TX ring, if there is room.
    fn send(&mut self, addr: u64, now: u64) {
        let len = self.frame.len() as u32;
        let stamp = now.to_ne_bytes();
        let frame = self.port.bytes(addr, len);
        frame[HEADER_BYTES..HEADER_BYTES + STAMP_BYTES].copy_from_slice(&stamp);
        add_to_checksum(frame, &stamp);
        let options = 0;
        match self.port.rings.tx.push(Desc { addr, len, options }) {
            Ok(()) => self.outstanding += 1,
            Err(_) => self.port.give_back(addr),
        }
    }
}

impl Load for Window<'_> {
    fn step(&mut self) {
        let now = nanos();
        let echoes = self.receive(now);
        if echoes > 0 {
            self.heard = now;
            self.port.reap();
            self.port.refill();
        } else if now - self.heard > LOST.as_nanos() as u64 {
            self.tally.lost += self.outstanding as u64;
            self.outstanding = 0;
            self.heard = now;
            self.port.reap();
        }
        let full = self.outstanding == self.window;
        if !full {
            self.fill(now);
        }
        if echoes > 0 || !full {
            self.port.rings.tx.publish();
            self.port.kick();
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

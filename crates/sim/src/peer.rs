//! The host at the other end of the wire: a stack of its own, which sends datagrams and checks the
//! echoes, and can send what no honest host sends.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ringwire_stack::{
    Config, DadConfig, Family, Instant, Packet, Protocol, RxChecksum, SendOptions, SocketId, Stack,
    TxChecksum,
};
use ringwire_umem::{Layout, Ledger, Piece, Pool, TxDone, Umem};

use crate::payload;
use crate::random::Random;
use crate::streams::Clients;

pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

pub(crate) struct Peer {
    ledger: Ledger,
    stack: Stack,
    sockets: [SocketId; 2],
    serial: u64,
    /// Sent, by serial number; echoes must be among them.
    sent: BTreeSet<u64>,
    pub(crate) echoes: BTreeSet<u64>,
    pub(crate) doubled: u64,
    pub(crate) clients: Clients,
    pub(crate) violation: Option<String>,
}

impl Peer {
    pub(crate) fn new(now: Instant, mtu: u16, seed: u64) -> Peer {
        let layout = Layout {
            chunk_bytes: 4096,
            rx_chunks: 512,
            header_chunks: 0,
            send_chunks: 512,
            lend_reserve_chunks: 1,
            registered_bytes: vec![],
        };
        let ledger = Ledger::new(Umem::new(layout).expect("memory for the peer"));
        let config = Config {
            mac: MAC,
            mtu,
            scatter: true,
            queues: 1,
            addresses: vec![
                "10.0.0.1/24".parse().expect("an address"),
                "fd00::1/64".parse().expect("an address"),
            ],
            gateways: vec![],
            rx_checksum: RxChecksum::Verify,
            tx_checksum: TxChecksum::Compute,
            dad: DadConfig::OFF,
        };
        let mut stack = Stack::new(now, config, &ledger, [seed; 3]);
        let sockets = [
            stack.open(Protocol::Udp, Family::V4),
            stack.open(Protocol::Udp, Family::V6),
        ];
        Peer {
            ledger,
            stack,
            sockets,
            serial: 0,
            sent: BTreeSet::new(),
            echoes: BTreeSet::new(),
            doubled: 0,
            clients: Clients::default(),
            violation: None,
        }
    }

    /// Begins another stream.
    pub(crate) fn connect(&mut self, now: Instant, random: &mut Random, may_fail: bool) {
        let (stack, ledger) = (&mut self.stack, &mut self.ledger);
        self.clients.start(now, stack, ledger, random, may_fail);
    }

    /// Takes a frame off the wire.
    pub(crate) fn receive(&mut self, now: Instant, frame: &[u8]) {
        let mut pieces = frame.chunks(3840).filter_map(|part| {
            let mut chunk = self.ledger.alloc(Pool::Rx)?;
            self.ledger.bytes_mut(&mut chunk)[..part.len()].copy_from_slice(part);
            let addr = self.ledger.post_fill(chunk, 0);
            self.ledger.claim(0, addr, part.len() as u32).ok()
        });
        let pieces: Vec<Piece> = pieces.by_ref().collect();
        let mut pieces = pieces.into_iter();
        let Some(first) = pieces.next() else { return };
        let packet = Packet {
            first,
            rest: pieces.collect(),
        };
        self.stack.receive(now, &mut self.ledger, packet, 0);
    }

    /// Sends a datagram of a random size to the server; `false` if there was no room for it.
    pub(crate) fn send(&mut self, now: Instant, random: &mut Random) -> Option<u64> {
        let len = match random.below(4) {
            0 => 1 + random.below(64),
            1 => 1 + random.below(1472),
            2 => 1473 + random.below(7000),
            _ => 500 + random.below(800),
        };
        let v6 = random.chance(500);
        let to: SocketAddr = if v6 { "[fd00::2]:7" } else { "10.0.0.2:7" }
            .parse()
            .expect("an address");
        self.serial += 1;
        let bytes = payload::make(self.serial, len as usize);
        let options = SendOptions {
            to: Some(to),
            ..SendOptions::default()
        };
        let mut at = 0;
        let mut fill = |part: &mut [u8]| {
            part.copy_from_slice(&bytes[at..at + part.len()]);
            at += part.len();
        };
        let socket = self.sockets[usize::from(v6)];
        let sent = self.stack.udp_send(
            now,
            &mut self.ledger,
            socket,
            &options,
            bytes.len(),
            &mut fill,
        );
        sent.ok()?;
        self.sent.insert(self.serial);
        Some(self.serial)
    }

    /// Takes echoes off the sockets, and does what is due. Returns what goes out.
    pub(crate) fn step(&mut self, now: Instant, random: &mut Random) -> Vec<Vec<u8>> {
        let (stack, ledger) = (&mut self.stack, &mut self.ledger);
        if let Err(violation) = self.clients.step(now, stack, ledger, random) {
            self.violation = Some(violation);
        }
        self.stack.poll(now, &mut self.ledger);
        for socket in self.sockets {
            while let Some(datagram) = self.stack.udp_front(socket) {
                let mut bytes = Vec::new();
                datagram.for_each(&self.ledger, usize::MAX, |part| {
                    bytes.extend_from_slice(part)
                });
                match payload::check(&bytes) {
                    Ok(serial) if self.sent.contains(&serial) => {
                        self.doubled += u64::from(!self.echoes.insert(serial));
                    }
                    Ok(serial) => self.violation = Some(format!("echo {serial} was never sent")),
                    Err(error) => {
                        self.violation = Some(format!("the peer got what nobody sent: {error}"))
                    }
                }
                self.stack.udp_consume(&mut self.ledger, socket);
            }
        }
        while self.stack.next_event().is_some() {}
        let mut frames = Vec::new();
        loop {
            let mut described = Vec::new();
            let post = |addr, len, _| described.push((addr, len));
            let (stack, ledger) = (&mut self.stack, &mut self.ledger);
            if stack.transmit(now, ledger, 0, u32::MAX, post) == 0 {
                break;
            }
            let mut frame = Vec::new();
            for (addr, len) in described {
                let bytes = ledger.described(addr, len);
                frame.extend_from_slice(bytes.expect("the peer's descriptor is in flight"));
                let done = ledger.tx_done(addr);
                if let Ok(TxDone::Freed(chunk)) = done {
                    stack.chunk_freed(chunk);
                }
            }
            frames.push(frame);
        }
        frames
    }
}

/// A frame that no honest host sends: noise, or a cut-off header.
pub(crate) fn garbage(random: &mut Random, to: [u8; 6]) -> Vec<u8> {
    let len = 14 + random.below(200) as usize;
    let mut frame: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
    frame[..6].copy_from_slice(&to);
    let ethertypes = [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]];
    frame[12..14].copy_from_slice(&ethertypes[random.below(4) as usize]);
    match frame[12..14] {
        [8, 0] if len > 34 => {
            frame[14] = 0x45;
            frame[30..34].copy_from_slice(&[10, 0, 0, 2]);
        }
        [0x86, 0xdd] if len > 54 => frame[14] = 0x60,
        _ => {}
    }
    frame
}

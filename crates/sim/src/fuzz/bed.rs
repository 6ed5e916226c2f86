//! A stack with its memory, on a wire of the fuzzer's, and frames for it.

use std::time::Duration;

use ringwire_stack::{
    Config, DadConfig, Family, Instant, Packet, PlanLimits, Protocol, RxChecksum, SocketError,
    SocketId, Stack, TxChecksum, TxFlags,
};
use ringwire_umem::{Layout, Ledger, Pool, TxDone, Umem};

use super::pattern;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub(super) const ETHERNET: usize = 14;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// The port that listens.
pub(super) const PORT: u16 = 80;
/// The peer's port.
pub(super) const PEER_PORT: u16 = 1000;
/// The port of the UDP socket.
pub(super) const UDP_PORT: u16 = 7;

pub(super) struct Bed {
    pub(super) stack: Stack,
    pub(super) ledger: Ledger,
    pub(super) now: Instant,
    pub(super) listener: SocketId,
    pub(super) datagrams: SocketId,
    chunks: u32,
}

/// A TCP header as it goes to the wire.
#[derive(Clone, Copy, Default)]
pub(super) struct Header<'a> {
    pub(super) port: u16,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) options: &'a [u8],
}

pub(super) const SYN: u8 = 2;
pub(super) const ACK: u8 = 16;

impl Header<'_> {
    /// The header and what follows it, for the listening port. Options are padded with zeros. There is
    /// no checksum: nobody looks at it.
    pub(super) fn segment(&self, payload: &[u8]) -> Vec<u8> {
        let padded = self.options.len().next_multiple_of(4).min(40);
        let mut bytes = self.port.to_be_bytes().to_vec();
        bytes.extend(PORT.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([((20 + padded) as u8 / 4) << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.options);
        bytes.resize(20 + padded, 0);
        bytes.extend(payload);
        bytes
    }
}

/// What a fragment says of itself: identification, offset in bytes, and whether more follow.
pub(super) type Fragment = (u32, u16, bool);

/// An Ethernet frame from the peer around an IP payload, which may be a fragment.
pub(super) fn frame(v6: bool, protocol: u8, fragment: Option<Fragment>, payload: &[u8]) -> Vec<u8> {
    let mut frame = MAC.to_vec();
    frame.extend(PEER_MAC);
    if v6 {
        let extension = match fragment {
            Some((id, offset, more)) => {
                let mut header = vec![protocol, 0];
                header.extend((offset & !7 | u16::from(more)).to_be_bytes());
                header.extend(id.to_be_bytes());
                header
            }
            None => Vec::new(),
        };
        let next = if fragment.is_some() { 44 } else { protocol };
        let len = (extension.len() + payload.len()) as u16;
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(len.to_be_bytes());
        frame.extend([next, 64]);
        frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        frame.extend(extension);
    } else {
        let (id, offset, more) = fragment.unwrap_or_default();
        let mut header = vec![0x45, 0];
        header.extend((20 + payload.len() as u16).to_be_bytes());
        header.extend((id as u16).to_be_bytes());
        header.extend(((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
        header.extend([64, protocol, 0, 0, 10, 0, 0, 9, 10, 0, 0, 2]);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend([8, 0]);
        frame.extend(header);
    }
    frame.extend(payload);
    frame
}

/// The peer's clock, as timestamps among these options echo it.
fn echoed(mut options: &[u8]) -> Option<&[u8]> {
    loop {
        options = match *options {
            [8, 10, ..] => return options.get(6..10),
            [1, ref rest @ ..] => rest,
            [kind, len, ..] if kind > 1 && len > 1 => options.get(usize::from(len)..)?,
            _ => return None,
        };
    }
}

/// The Internet checksum (RFC 1071).
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Bed {
    pub(super) fn new() -> Bed {
        let layout = Layout {
            chunk_bytes: 2048,
            rx_chunks: 64,
            header_chunks: 8,
            send_chunks: 64,
            lend_reserve_chunks: 8,
            areas: vec![],
        };
        let mut ledger = Ledger::new(Umem::new(layout).expect("memory"));
        let config = Config {
            mac: MAC,
            mtu: 1500,
            plan: PlanLimits::SCATTER,
            queues: 1,
            addresses: vec![
                "10.0.0.2/24".parse().expect("an address"),
                "fd00::2/64".parse().expect("an address"),
            ],
            gateways: vec![],
            rx_checksum: RxChecksum::Trust,
            tx_checksum: TxChecksum::Compute,
            dad: DadConfig::OFF,
        };
        let now = Instant::from_nanos(1_000_000_000);
        let mut stack = Stack::new(now, config, &ledger, [1, 2, 3]);
        stack.poll(now, &mut ledger);
        let bind = |stack: &mut Stack, protocol, port| {
            let socket = stack.open(protocol, Family::V6);
            let any = format!("[::]:{port}").parse().expect("an address");
            stack.bind(socket, any).expect("a free port");
            socket
        };
        let listener = bind(&mut stack, Protocol::Tcp, PORT);
        stack.tcp_listen(listener, 4).expect("a bound socket");
        let datagrams = bind(&mut stack, Protocol::Udp, UDP_PORT);
        let chunks = ledger.census().total();
        let mut bed = Bed {
            stack,
            ledger,
            now,
            listener,
            datagrams,
            chunks,
        };
        bed.meet_peer();
        bed
    }

    /// Has the peer ask for our addresses, so that it is known.
    fn meet_peer(&mut self) {
        let mut arp = vec![0xff; 6];
        arp.extend(PEER_MAC);
        arp.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.extend(PEER_MAC);
        arp.extend([10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        self.receive(&arp);
        let mut solicit = vec![135, 0, 0, 0, 0, 0, 0, 0];
        solicit.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        solicit.extend([1, 1]);
        solicit.extend(PEER_MAC);
        self.receive_icmp_v6(&mut solicit);
        self.transmit();
    }

    /// Takes a frame; one that is too long for a chunk, or finds none, is lost.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        if bytes.len() > self.ledger.chunk_bytes() as usize {
            return;
        }
        let Some(mut frame) = self.ledger.alloc(Pool::Rx) else {
            return;
        };
        self.ledger.bytes_mut(&mut frame)[..bytes.len()].copy_from_slice(bytes);
        let addr = self.ledger.post_fill(frame, 0);
        let piece = self.ledger.claim(0, addr, bytes.len() as u32);
        let mut packet = Some(Packet::new(piece.expect("a chunk that was filled")));
        self.stack
            .receive(self.now, &mut self.ledger, 0, |_| packet.take());
    }

    /// Takes an ICMPv6 message from the peer, after filling in its checksum.
    pub(super) fn receive_icmp_v6(&mut self, message: &mut [u8]) {
        let mut frame = frame(true, 58, None, message);
        // As from the link itself: Neighbour Discovery asks for that.
        frame[ETHERNET + 7] = 255;
        let addresses = &frame[ETHERNET + 8..ETHERNET + 40];
        let mut summed = addresses.to_vec();
        summed.extend((message.len() as u32).to_be_bytes());
        summed.extend([0, 0, 0, 58]);
        message[2..4].fill(0);
        summed.extend_from_slice(message);
        let sum = checksum(&summed);
        frame[ETHERNET + 42..ETHERNET + 44].copy_from_slice(&sum.to_be_bytes());
        self.receive(&frame);
    }

    /// Takes an ICMP message from the peer, after filling in its checksum.
    pub(super) fn receive_icmp_v4(&mut self, message: &mut [u8]) {
        message[2..4].fill(0);
        let sum = checksum(message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.receive(&frame(false, 1, None, message));
    }

    /// Everything that is sent now, which is off the NIC at once.
    pub(super) fn transmit(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            let mut pieces = Vec::new();
            let post = |addr, len, flags: TxFlags| pieces.push((addr, len, flags.more));
            if self
                .stack
                .transmit(self.now, &mut self.ledger, 0, u32::MAX, post)
                == 0
            {
                return frames;
            }
            let mut frame = Vec::new();
            for (addr, len, more) in pieces {
                let bytes = self.ledger.described(addr, len);
                frame.extend_from_slice(bytes.expect("a descriptor of ours"));
                if let Ok(TxDone::Freed(chunk)) = self.ledger.tx_done(0, addr) {
                    self.stack.chunk_freed(chunk);
                }
                if !more {
                    frames.push(std::mem::take(&mut frame));
                }
            }
        }
    }

    /// Lets time pass and does what is due.
    pub(super) fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.stack.poll(self.now, &mut self.ledger);
    }

    /// Checks that no chunk is lost.
    pub(super) fn check(&self) {
        let chunks = self.ledger.census().total();
        assert_eq!(chunks, self.chunks, "chunks are lost");
    }

    /// A connection from the peer, whose next number is 1: the socket, and our next number.
    pub(super) fn connect(&mut self, v6: bool, options: &[u8]) -> (SocketId, u32) {
        let syn = Header {
            port: PEER_PORT,
            flags: SYN,
            window: 60_000,
            options,
            ..Header::default()
        };
        self.receive(&frame(v6, TCP, None, &syn.segment(&[])));
        let answers = self.transmit();
        let tcp = ETHERNET + if v6 { 40 } else { 20 };
        let answer = &answers.first().expect("a SYN is answered")[tcp..];
        let number = |at: usize| u32::from_be_bytes(answer[at..at + 4].try_into().expect("four"));
        let ack = number(4).wrapping_add(1);
        // Timestamps that were agreed on are on every segment from now on.
        let timestamps = echoed(&answer[20..]).map(|clock| {
            let mut option = vec![8, 10];
            option.extend(clock);
            option.extend([0; 4]);
            option
        });
        let last = Header {
            seq: 1,
            ack,
            flags: ACK,
            options: timestamps.as_deref().unwrap_or_default(),
            ..syn
        };
        self.receive(&frame(v6, TCP, None, &last.segment(&[])));
        let accepted = self.stack.tcp_accept(self.listener);
        (accepted.expect("a connection").socket, ack)
    }

    /// Reads what has come of the peer's stream, `from` bytes into it, and checks that it is the
    /// pattern. Returns how much it was.
    pub(super) fn read_pattern(&mut self, socket: SocketId, from: usize) -> usize {
        let len = match self.stack.tcp_available(socket) {
            Ok(len) => len,
            Err(SocketError::WouldBlock | SocketError::Reset | SocketError::TimedOut) => 0,
            Err(error) => panic!("reading fails with {error:?}"),
        };
        let mut at = from;
        self.stack
            .tcp_for_each(&self.ledger, socket, len, &mut |part| {
                for &byte in part {
                    assert_eq!(byte, pattern(at), "byte {at} of the stream");
                    at += 1;
                }
            });
        assert_eq!(at - from, len);
        self.stack.tcp_consume(&mut self.ledger, socket, len);
        len
    }

    /// Ends everything: nothing may be left.
    pub(super) fn end(mut self) {
        for socket in [self.listener, self.datagrams] {
            self.stack.close(self.now, &mut self.ledger, socket);
        }
        self.stack.tcp_hang_up(self.now, &mut self.ledger);
        self.stack.tcp_reset_all(self.now, &mut self.ledger);
        assert_eq!(self.stack.tcp_connections(), 0);
        // Longer than fragments and neighbours are waited for.
        self.transmit();
        for _ in 0..100 {
            self.pass(1000);
            self.transmit();
        }
        let census = self.ledger.census();
        assert_eq!(census.free, self.chunks, "leaked: {census:?}");
    }
}

//! What fuzzers run: any bytes in, and nothing may break. The targets in `fuzz/` call these; so do
//! tests, with bytes from a seeded generator.

use std::time::Duration;

use ringwire_stack::{
    Config, DadConfig, Family, Instant, Packet, Protocol, RxChecksum, SocketId, Stack, TxChecksum,
};
use ringwire_tcp::{
    Algorithm, Connection, Ecn, Options, SackBlocks, Segment, SeqNumber, Timestamps,
};
use ringwire_umem::{Layout, Ledger, Pool, TxDone, Umem};

/// Takes numbers off a fuzzer's bytes; zeroes when they are used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The TCP engine as a sequence of events: segments whose numbers lie near those that matter, time,
/// and what a user does.
///
/// # Panics
/// If the engine breaks a promise: a number goes back, a range lies outside of its segment, it never
/// stops sending.
pub fn tcp_engine(data: &[u8]) {
    let mut input = Input(data);
    let mut now = Instant::from_nanos(1_000_000_000);
    let config = ringwire_tcp::Config {
        mss: 100 + u16::from(input.byte()) * 8,
        receive_buffer: 1 + u32::from(input.byte()) * 1000,
        ..Default::default()
    };
    let iss = SeqNumber(input.word());
    let mut connection = if input.byte().is_multiple_of(2) {
        Connection::active(config, iss, 1)
    } else {
        let syn = Segment {
            syn: true,
            ..segment(&mut input, SeqNumber(7), SeqNumber(0))
        };
        Connection::passive(now, config, iss, 1, &syn)
    };
    let mut queued = 0u32;
    while !input.is_empty() {
        let (una, next) = (connection.send_una(), connection.receive_next());
        engine_event(&mut connection, &mut input, &mut now, &mut queued);
        let piece = 1 + u32::from(input.byte());
        let mut sent = 0;
        while let Some(segment) = connection.poll_transmit(now, &mut |_| piece * 16) {
            sent += 1;
            assert!(sent < 100_000, "it never stops sending");
            assert!(
                segment.len <= u32::from(config.mss),
                "a segment over the MSS"
            );
        }
        if connection.state() != ringwire_tcp::State::Closed {
            let established = connection.state() != ringwire_tcp::State::SynSent;
            assert!(!connection.send_una().before(una), "SND.UNA went back");
            assert!(
                !established
                    || una == iss
                    || !connection.receive_next().before(next)
                    || next == SeqNumber(0),
                "RCV.NXT went back"
            );
        }
    }
}

/// One event of [`tcp_engine`]; `queued` bytes are not acknowledged.
fn engine_event(
    connection: &mut Connection,
    input: &mut Input<'_>,
    now: &mut Instant,
    queued: &mut u32,
) {
    let (una, next) = (connection.send_una(), connection.receive_next());
    match input.byte() % 8 {
        0..=3 => {
            let segment = segment(input, next, una);
            let disposition = connection.on_segment(*now, &segment);
            if let Some(keep) = disposition.keep {
                assert!(keep.skip + keep.len <= segment.len, "kept more than came");
            }
            assert!(
                disposition.acked <= *queued,
                "acknowledged more than was queued"
            );
            *queued -= disposition.acked;
        }
        4 => {
            *now = *now + Duration::from_micros(input.word().into());
            if connection.next_deadline().is_some_and(|at| at <= *now) {
                let _ = connection.on_timer(*now);
            }
        }
        5 if connection.state().may_send() && *queued < 1 << 20 => {
            let len = input.word() % 10_000;
            connection.push(len, input.byte().is_multiple_of(2));
            *queued += len;
        }
        6 => connection.read(input.word() % 100_000),
        7 => match input.byte() % 8 {
            0 => connection.close(*now),
            1 => connection.orphan(*now),
            2 => drop(connection.abort()),
            3 => connection.prune(),
            4 => choose(connection, *now, input),
            5 => drop(connection.on_packet_too_big(*now, una, input.word() as u16)),
            _ => connection.set_receive_room(input.word() % 100_000),
        },
        _ => {}
    }
}

/// Changes the options of a socket.
fn choose(connection: &mut Connection, now: Instant, input: &mut Input<'_>) {
    let mut options = connection.options();
    let on = input.byte();
    let bit = |bit: u8| on & 1 << bit != 0;
    options.no_delay = bit(0);
    options.cork = bit(1);
    options.quick_ack = bit(2);
    options.keep_alive.enabled = bit(3);
    options.keep_alive.idle = Duration::from_micros(input.word().into());
    options.user_timeout = bit(4).then(|| Duration::from_micros(input.word().into()));
    options.algorithm = Algorithm::ALL[usize::from(bit(5))];
    connection.set_options(now, options);
}

fn segment(input: &mut Input<'_>, seq: SeqNumber, ack: SeqNumber) -> Segment {
    let near = |input: &mut Input<'_>, number: SeqNumber| match input.byte() {
        byte @ 0..=99 => number + u32::from(byte) * 10,
        byte @ 100..=199 => number - u32::from(byte - 100),
        _ => SeqNumber(input.word()),
    };
    let flags = input.byte();
    let options = input.byte();
    Segment {
        seq: near(input, seq),
        ack: (flags & 1 == 0).then(|| near(input, ack)),
        window: input.word() as u16,
        syn: flags & 6 == 6,
        fin: flags & 24 == 24,
        rst: flags & 96 == 96,
        psh: flags & 128 != 0,
        len: input.word() % 70_000,
        options: Options {
            mss: (options & 1 != 0).then(|| input.word() as u16),
            window_scale: (options & 2 != 0).then(|| input.byte()),
            timestamps: (options & 4 != 0).then(|| Timestamps {
                value: input.word(),
                echo: input.word(),
            }),
            sack_permitted: options & 8 != 0,
            sack: sack(input, usize::from(options >> 4) % 5, ack),
        },
        ece: options & 0x80 != 0,
        cwr: flags & 0x40 != 0,
        ecn: [Ecn::Incapable, Ecn::Capable, Ecn::Congested][usize::from(options) % 3],
    }
}

/// Blocks near what is outstanding.
fn sack(input: &mut Input<'_>, count: usize, una: SeqNumber) -> SackBlocks {
    let mut blocks = SackBlocks::default();
    for _ in 0..count {
        let start = una + input.word() % 100_000 - 1000;
        blocks.push(start, start + input.word() % 10_000 - 100);
    }
    blocks
}

/// TCP headers and options on the wire: packets to a stack with a listener, with right checksums and
/// anything in between.
///
/// # Panics
/// If the stack does, or if chunks are lost.
pub fn tcp_headers(data: &[u8]) {
    let mut input = Input(data);
    let (mut stack, mut ledger, listener) = listening_stack();
    let chunks = ledger.census().total();
    let mut now = Instant::from_nanos(1_000_000_000);
    while !input.is_empty() {
        let v6 = input.byte().is_multiple_of(2);
        let len = usize::from(input.byte()).max(20);
        let mut header: Vec<u8> = (0..len).map(|_| input.byte()).collect();
        // To the listener more often than chance has it.
        if input.byte() < 250 {
            header[2..4].copy_from_slice(&80u16.to_be_bytes());
        }
        let frame = frame(v6, &mut header);
        deliver(now, &mut stack, &mut ledger, &frame);
        now = now + std::time::Duration::from_millis(input.byte().into());
        stack.poll(now, &mut ledger);
        transmit(now, &mut stack, &mut ledger);
        while let Ok(accepted) = stack.tcp_accept(listener) {
            stack.close(now, &mut ledger, accepted.socket);
        }
        assert_eq!(ledger.census().total(), chunks, "chunks are lost");
    }
    stack.tcp_hang_up(now, &mut ledger);
    stack.tcp_reset_all(now, &mut ledger);
    assert_eq!(stack.tcp_connections(), 0);
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn listening_stack() -> (Stack, Ledger, SocketId) {
    let layout = Layout {
        chunk_bytes: 2048,
        rx_chunks: 64,
        header_chunks: 8,
        send_chunks: 64,
        lend_reserve_chunks: 8,
        registered_bytes: vec![],
    };
    let mut ledger = Ledger::new(Umem::new(layout).expect("memory"));
    let config = Config {
        mac: MAC,
        mtu: 1500,
        scatter: true,
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
    let listener = stack.open(Protocol::Tcp, Family::V6);
    let any = "[::]:80".parse().expect("an address");
    stack.bind(listener, any).expect("a free port");
    stack.tcp_listen(listener, 4).expect("a bound socket");
    (stack, ledger, listener)
}

/// An Ethernet frame around TCP bytes. TCP's checksum is not looked at.
fn frame(v6: bool, tcp: &mut [u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&MAC);
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 9]);
    if v6 {
        frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, tcp.len() as u8, 6, 64]);
        frame.extend_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        frame.extend_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    } else {
        let len = (20 + tcp.len()) as u16;
        frame.extend_from_slice(&[8, 0]);
        let mut ip = [
            0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 9, 10, 0, 0, 2,
        ];
        ip[2..4].copy_from_slice(&len.to_be_bytes());
        let words = ip
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend_from_slice(&ip);
    }
    frame.extend_from_slice(tcp);
    frame
}

fn deliver(now: Instant, stack: &mut Stack, ledger: &mut Ledger, bytes: &[u8]) {
    let Some(mut frame) = ledger.alloc(Pool::Rx) else {
        return;
    };
    ledger.bytes_mut(&mut frame)[..bytes.len()].copy_from_slice(bytes);
    let addr = ledger.post_fill(frame, 0);
    let piece = ledger.claim(0, addr, bytes.len() as u32);
    let packet = Packet::new(piece.expect("a chunk that was filled"));
    stack.receive(now, ledger, packet, 0);
}

fn transmit(now: Instant, stack: &mut Stack, ledger: &mut Ledger) {
    loop {
        let mut described = Vec::new();
        if stack.transmit(now, ledger, 0, u32::MAX, |addr, _, _| described.push(addr)) == 0 {
            return;
        }
        for addr in described {
            if let Ok(TxDone::Freed(chunk)) = ledger.tx_done(addr) {
                stack.chunk_freed(chunk);
            }
        }
    }
}

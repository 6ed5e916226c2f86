//! A peer made of single segments, written and read with `smoltcp::wire`.

use std::net::SocketAddr;
use std::time::Duration;

use ringwire_tcp::{Options, Segment, SeqNumber, Timestamps};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr};

use crate::tests::build::{self, ETHERNET};
use crate::tests::harness::{Host, at};

/// A TCP segment, header and payload, with its checksum.
fn bytes(from: SocketAddr, to: SocketAddr, segment: &Segment, payload: &[u8]) -> Vec<u8> {
    assert_eq!(segment.len as usize, payload.len());
    let options = &segment.options;
    let repr = TcpRepr {
        src_port: from.port(),
        dst_port: to.port(),
        // Says that the options of a SYN are to be written; the flags follow below.
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(segment.seq.0 as i32),
        ack_number: segment.ack.map(|ack| TcpSeqNumber(ack.0 as i32)),
        window_len: segment.window,
        window_scale: options.window_scale,
        max_seg_size: options.mss,
        sack_permitted: options.sack_permitted,
        sack_ranges: std::array::from_fn(|index| {
            let block = options.sack.as_slice().get(index);
            block.map(|(start, end)| (start.0, end.0))
        }),
        timestamp: options
            .timestamps
            .map(|option| TcpTimestampRepr::new(option.value, option.echo)),
        payload,
    };
    let mut bytes = vec![0; repr.buffer_len()];
    let mut packet = TcpPacket::new_unchecked(&mut bytes[..]);
    let (source, destination) = (from.ip().into(), to.ip().into());
    repr.emit(
        &mut packet,
        &source,
        &destination,
        &ChecksumCapabilities::ignored(),
    );
    packet.set_syn(segment.syn);
    packet.set_fin(segment.fin);
    packet.set_rst(segment.rst);
    packet.set_psh(segment.psh);
    packet.fill_checksum(&source, &destination);
    bytes
}

/// An IP packet with a segment.
pub(super) fn packet(
    from: SocketAddr,
    to: SocketAddr,
    segment: &Segment,
    payload: &[u8],
) -> Vec<u8> {
    let bytes = bytes(from, to, segment, payload);
    build::ip_packet(from.ip(), to.ip(), IpProtocol::Tcp, 64, &bytes)
}

/// Reads a frame with a segment, its checksum included: from, to, the segment and its payload. `None`
/// for frames of another kind.
pub(super) fn read(frame: &[u8]) -> Option<(SocketAddr, SocketAddr, Segment, Vec<u8>)> {
    if !matches!(frame.get(12..14), Some([0x08, 0] | [0x86, 0xdd])) {
        return None;
    }
    let ip = build::read_ip(&frame[ETHERNET..]);
    if ip.protocol != IpProtocol::Tcp {
        return None;
    }
    let packet = TcpPacket::new_checked(&ip.payload[..]).expect("a whole segment");
    let (source, destination) = (ip.from.into(), ip.to.into());
    let checked = &ChecksumCapabilities::default();
    let repr = TcpRepr::parse(&packet, &source, &destination, checked).expect("a sound segment");
    let segment = Segment {
        seq: SeqNumber(repr.seq_number.0 as u32),
        ack: repr.ack_number.map(|ack| SeqNumber(ack.0 as u32)),
        window: repr.window_len,
        syn: packet.syn(),
        fin: packet.fin(),
        rst: packet.rst(),
        psh: packet.psh(),
        ece: packet.ece(),
        cwr: packet.cwr(),
        len: repr.payload.len() as u32,
        options: Options {
            mss: repr.max_seg_size,
            window_scale: repr.window_scale,
            timestamps: repr.timestamp.map(|option| Timestamps {
                value: option.tsval,
                echo: option.tsecr,
            }),
            sack_permitted: repr.sack_permitted,
            ..Options::default()
        },
        ..Segment::default()
    };
    Some((
        SocketAddr::new(ip.from, repr.src_port),
        SocketAddr::new(ip.to, repr.dst_port),
        segment,
        repr.payload.to_vec(),
    ))
}

/// One end of a connection, as far as whoever plays it keeps count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// The next number that it sends, and the next that it expects.
    pub(super) seq: SeqNumber,
    pub(super) ack: SeqNumber,
    pub(super) window: u16,
    /// The timestamp that it echoes, if it has any.
    pub(super) echo: Option<u32>,
}

impl Peer {
    pub(super) fn new(from: &str, to: &str) -> Peer {
        Peer {
            from: at(from),
            to: at(to),
            seq: SeqNumber(u32::MAX - 5),
            ack: SeqNumber(0),
            window: 60_000,
            echo: None,
        }
    }

    pub(super) fn frame(&self, segment: &Segment, payload: &[u8]) -> Vec<u8> {
        build::frame(&packet(self.from, self.to, segment, payload))
    }

    pub(super) fn syn(&self, options: Options) -> Segment {
        Segment {
            seq: self.seq,
            window: self.window,
            syn: true,
            options,
            ..Segment::default()
        }
    }

    /// A segment of this many bytes, with the next number.
    pub(super) fn segment(&self, len: usize) -> Segment {
        let timestamps = self.echo.map(|echo| Timestamps { value: 5, echo });
        Segment {
            seq: self.seq,
            ack: Some(self.ack),
            window: self.window,
            len: len as u32,
            options: Options {
                timestamps,
                ..Options::default()
            },
            ..Segment::default()
        }
    }

    /// The next bytes of its stream.
    pub(super) fn data(&mut self, payload: &[u8]) -> Vec<u8> {
        let frame = self.frame(&self.segment(payload.len()), payload);
        self.seq += payload.len() as u32;
        frame
    }

    /// Takes the answer to its SYN.
    pub(super) fn take_syn_ack(&mut self, answer: &Segment) {
        assert!(answer.syn && answer.ack == Some(self.seq + 1), "{answer:?}");
        self.seq += 1;
        self.ack = answer.seq + 1;
        self.echo = answer.options.timestamps.map(|option| option.value);
    }

    /// Sends a SYN and takes the answer; what is left to send is the last segment of the handshake.
    pub(super) fn open(&mut self, host: &mut Host, options: Options) -> Segment {
        let answers = host.answer(&self.frame(&self.syn(options), &[]));
        let answer = self.only(&answers);
        self.take_syn_ack(&answer);
        answer
    }

    /// The one segment among these frames, which must be for it.
    pub(super) fn only(&self, frames: &[Vec<u8>]) -> Segment {
        let segments: Vec<_> = frames.iter().filter_map(|frame| read(frame)).collect();
        assert_eq!(segments.len(), 1, "{segments:?}");
        let (from, to, segment, _) = &segments[0];
        assert_eq!((*from, *to), (self.to, self.from));
        *segment
    }
}

/// The options of a modern host's SYN.
pub(super) fn modern(window_scale: u8) -> Options {
    Options {
        mss: Some(1460),
        window_scale: Some(window_scale),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: 5, echo: 0 }),
        ..Options::default()
    }
}

/// Fills a listener's queue of half-open connections with SYNs of peers that never go on.
pub(super) fn fill_syn_queue(host: &mut Host, to: &str) {
    for port in 1..=1024 {
        let from = format!("10.0.0.9:{port}");
        host.answer(&build::tcp_syn(&from, to));
    }
    assert_eq!(host.stack.counters().tcp_cookies_sent, 0);
}

/// Lets time pass in steps, with whatever goes out lost.
pub(super) fn pass(host: &mut Host, time: Duration) {
    for _ in 0..time.as_secs() {
        host.pass(Duration::from_secs(1));
        host.meet_peer();
    }
}

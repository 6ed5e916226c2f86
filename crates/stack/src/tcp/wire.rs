//! TCP headers, to and from the engine's segments (RFC 9293, section 3.1).

use ringwire_tcp::{Options, Segment, SeqNumber, Timestamps};
use smoltcp::wire::{TcpOption, TcpPacket, TcpSeqNumber};

/// Bytes of a header without options.
pub(crate) const HEADER: usize = 20;
/// Bytes of the longest header.
pub(crate) const MAX_HEADER: usize = 60;

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) segment: Segment,
    /// Bytes of the header: where the payload begins.
    pub(crate) len: usize,
    pub(crate) checksum: u16,
}

/// Reads a header at the beginning of a TCP segment of `segment_len` bytes. `None` if it does not fit.
/// What is wrong in the options makes the rest of them unread, not the segment unusable.
pub(crate) fn parse(bytes: &[u8], segment_len: usize) -> Option<Header> {
    if bytes.len() < HEADER {
        return None;
    }
    let packet = TcpPacket::new_unchecked(bytes);
    let len = usize::from(packet.header_len());
    if len < HEADER || len > bytes.len() || len > segment_len {
        return None;
    }
    if packet.src_port() == 0 || packet.dst_port() == 0 {
        return None;
    }
    let number = |number: TcpSeqNumber| SeqNumber(number.0 as u32);
    let segment = Segment {
        seq: number(packet.seq_number()),
        ack: packet.ack().then(|| number(packet.ack_number())),
        window: packet.window_len(),
        syn: packet.syn(),
        fin: packet.fin(),
        rst: packet.rst(),
        psh: packet.psh(),
        options: parse_options(&bytes[HEADER..len], packet.syn()),
        len: (segment_len - len) as u32,
    };
    Some(Header {
        source_port: packet.src_port(),
        destination_port: packet.dst_port(),
        segment,
        len,
        checksum: packet.checksum(),
    })
}

fn parse_options(mut bytes: &[u8], syn: bool) -> Options {
    let mut options = Options::default();
    while !bytes.is_empty() {
        let Ok((rest, option)) = TcpOption::parse(bytes) else {
            break;
        };
        match option {
            TcpOption::EndOfList => break,
            TcpOption::MaxSegmentSize(mss) if syn => options.mss = Some(mss),
            TcpOption::WindowScale(scale) if syn => options.window_scale = Some(scale),
            TcpOption::TimeStamp { tsval, tsecr } => {
                options.timestamps = Some(Timestamps {
                    value: tsval,
                    echo: tsecr,
                });
            }
            _ => {}
        }
        bytes = rest;
    }
    options
}

/// Bytes of the header of a segment.
pub(crate) fn header_len(options: &Options) -> usize {
    let mss = options.mss.map_or(0, |_| 4);
    let timestamps = options.timestamps.map_or(0, |_| 12);
    let scale = options.window_scale.map_or(0, |_| 4);
    HEADER + mss + timestamps + scale
}

/// Writes a header, the checksum left zero. Options are in Linux's order, padded as Linux does, so that
/// captures read the same.
pub(crate) fn emit(bytes: &mut [u8], source_port: u16, destination_port: u16, segment: &Segment) {
    let len = header_len(&segment.options);
    let mut packet = TcpPacket::new_unchecked(&mut bytes[..len]);
    packet.set_src_port(source_port);
    packet.set_dst_port(destination_port);
    packet.set_seq_number(TcpSeqNumber(segment.seq.0 as i32));
    packet.set_ack_number(TcpSeqNumber(segment.ack.map_or(0, |ack| ack.0 as i32)));
    packet.clear_flags();
    packet.set_header_len(len as u8);
    packet.set_ack(segment.ack.is_some());
    packet.set_syn(segment.syn);
    packet.set_fin(segment.fin);
    packet.set_rst(segment.rst);
    packet.set_psh(segment.psh);
    packet.set_window_len(segment.window);
    packet.set_checksum(0);
    packet.set_urgent_at(0);
    let mut rest = &mut bytes[HEADER..len];
    if let Some(mss) = segment.options.mss {
        rest = TcpOption::MaxSegmentSize(mss).emit(rest);
    }
    if let Some(Timestamps { value, echo }) = segment.options.timestamps {
        rest = no_operation(no_operation(rest));
        let option = TcpOption::TimeStamp {
            tsval: value,
            tsecr: echo,
        };
        rest = option.emit(rest);
    }
    if let Some(scale) = segment.options.window_scale {
        rest = no_operation(rest);
        TcpOption::WindowScale(scale).emit(rest);
    }
}

fn no_operation(bytes: &mut [u8]) -> &mut [u8] {
    TcpOption::NoOperation.emit(bytes)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

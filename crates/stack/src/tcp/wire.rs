//! TCP headers, to and from the engine's segments (RFC 9293, section 3.1).

use ringwire_tcp::{Ecn, Options, SackBlocks, Segment, SeqNumber, Timestamps};
use smoltcp::wire::TcpOption;

/// Bytes of a header without options.
pub(crate) const HEADER: usize = 20;
/// Bytes of the longest header.
pub(crate) const MAX_HEADER: usize = 60;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;
/// Kinds of options, and the one that fills up.
const NO_OPERATION: u8 = 1;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
/// Bytes of the timestamps option, aligned.
const TIMESTAMPS: usize = 12;
/// Two no-operations, kind and length of the timestamps option.
const TIMESTAMPS_ALIGNED: [u8; 4] = [1, 1, 8, 10];

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
#[inline]
pub(crate) fn parse(bytes: &[u8], segment_len: usize) -> Option<Header> {
    let fixed: &[u8; HEADER] = bytes.first_chunk()?;
    let len = usize::from(fixed[12] >> 4) * 4;
    if len < HEADER || len > bytes.len() || len > segment_len {
        return None;
    }
    let (source_port, destination_port) = (u16_at(fixed, 0), u16_at(fixed, 2));
    if source_port == 0 || destination_port == 0 {
        return None;
    }
    let number = |at| SeqNumber(u32_at(fixed, at));
    let flags = fixed[13];
    let syn = flags & SYN != 0;
    let options = &bytes[HEADER..len];
    let mut segment = Segment {
        seq: number(4),
        ack: (flags & ACK != 0).then(|| number(8)),
        window: u16_at(fixed, 14),
        syn,
        fin: flags & FIN != 0,
        rst: flags & RST != 0,
        psh: flags & PSH != 0,
        ece: flags & ECE != 0,
        cwr: flags & CWR != 0,
        ecn: Ecn::Incapable,
        options: Options {
            timestamps: only_timestamps(options),
            ..Options::default()
        },
        len: (segment_len - len) as u32,
    };
    if segment.options.timestamps.is_none() {
        segment.options = parse_options(options, syn);
    }
    Some(Header {
        source_port,
        destination_port,
        segment,
        len,
        checksum: u16_at(fixed, 16),
    })
}

/// Reads a header as nearly every segment has it: of flags ACK and perhaps PSH, of options the
/// timestamps or none. `ecn`: of its packet. `None`: it is another one.
#[inline(always)]
pub(crate) fn parse_plain(bytes: &[u8], ecn: Ecn) -> Option<Header> {
    const NO_OPTIONS: u8 = 5 << 4;
    const TIMESTAMPS_ALONE: u8 = 8 << 4;
    let fixed: &[u8; HEADER] = bytes.first_chunk()?;
    let (timestamps, len) = match fixed[12] {
        TIMESTAMPS_ALONE => {
            let option = bytes.get(HEADER..HEADER + TIMESTAMPS)?;
            (Some(only_timestamps(option)?), HEADER + TIMESTAMPS)
        }
        NO_OPTIONS => (None, HEADER),
        _ => return None,
    };
    if fixed[13] & !PSH != ACK {
        return None;
    }
    let segment = Segment {
        seq: SeqNumber(u32_at(fixed, 4)),
        ack: Some(SeqNumber(u32_at(fixed, 8))),
        window: u16_at(fixed, 14),
        psh: fixed[13] & PSH != 0,
        ecn,
        options: Options {
            timestamps,
            ..Options::default()
        },
        len: (bytes.len() - len) as u32,
        ..Segment::default()
    };
    Some(Header {
        source_port: u16_at(fixed, 0),
        destination_port: u16_at(fixed, 2),
        segment,
        len,
        checksum: u16_at(fixed, 16),
    })
}

/// The checksum of a header.
///
/// # Panics
/// If it is too short to have one.
#[inline]
pub(crate) fn checksum(header: &[u8]) -> u16 {
    u16::from_be_bytes([header[16], header[17]])
}

/// What headers have in common that were read as plain and differ in their numbers alone, and in PSH.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alike {
    /// Acknowledgement, length, flags without PSH, window.
    middle: u64,
    options: Option<[u8; TIMESTAMPS]>,
}

impl Alike {
    /// Of those like this one.
    #[inline(always)]
    pub(crate) fn new(header: &[u8]) -> Alike {
        let fixed = header.first_chunk().expect("a header that was read");
        Alike {
            middle: Alike::middle(fixed),
            options: header[HEADER..].first_chunk().copied(),
        }
    }

    #[inline(always)]
    fn middle(fixed: &[u8; HEADER]) -> u64 {
        const ALL_BUT_PSH: u64 = u64::from_ne_bytes([255, 255, 255, 255, 255, !PSH, 255, 255]);
        let middle = fixed[8..].first_chunk().expect("it is longer");
        u64::from_ne_bytes(*middle) & ALL_BUT_PSH
    }

    /// Whether a header as long as theirs is like them, with this number.
    #[inline(always)]
    pub(crate) fn matches(&self, header: &[u8], seq: SeqNumber) -> bool {
        let Some(fixed) = header.first_chunk() else {
            return false;
        };
        u32_at(fixed, 4) == seq.0
            && Alike::middle(fixed) == self.middle
            && header[HEADER..].first_chunk().copied() == self.options
    }
}

fn u16_at(bytes: &[u8; HEADER], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The timestamps alone, as nearly every segment has them (RFC 7323, appendix A).
#[inline]
fn only_timestamps(bytes: &[u8]) -> Option<Timestamps> {
    let aligned = bytes.len() == 12 && bytes[..4] == TIMESTAMPS_ALIGNED;
    aligned.then(|| Timestamps {
        value: u32_at(bytes, 4),
        echo: u32_at(bytes, 8),
    })
}

#[inline(never)]
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
            TcpOption::SackPermitted if syn => options.sack_permitted = true,
            // The wire type knows three blocks; a segment without timestamps has four.
            TcpOption::SackRange(_) if !syn => {
                options.sack = sack_blocks(&bytes[..bytes.len() - rest.len()]);
            }
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

/// The blocks of a SACK option (RFC 2018, section 3).
fn sack_blocks(option: &[u8]) -> SackBlocks {
    let mut blocks = SackBlocks::default();
    for block in option[2..].chunks_exact(8) {
        blocks.push(SeqNumber(u32_at(block, 0)), SeqNumber(u32_at(block, 4)));
    }
    blocks
}

/// Bytes of the header of a segment.
#[inline(always)]
pub(crate) fn header_len(options: &Options) -> usize {
    if has_timestamps_alone(options).is_some() {
        return HEADER + TIMESTAMPS;
    }
    let mss = options.mss.map_or(0, |_| 4);
    let timestamps = options.timestamps.map_or(0, |_| TIMESTAMPS);
    let scale = options.window_scale.map_or(0, |_| 4);
    // With timestamps it stands where their padding would.
    let permitted = options.sack_permitted && options.timestamps.is_none();
    let sack = match options.sack.as_slice() {
        [] => 0,
        blocks => 4 + 8 * blocks.len(),
    };
    HEADER + mss + timestamps + scale + if permitted { 4 } else { 0 } + sack
}

/// Writes a header, the checksum left zero. Options are in Linux's order, padded as Linux does, so that
/// captures read the same.
#[inline(always)]
pub(crate) fn emit(bytes: &mut [u8], source_port: u16, destination_port: u16, segment: &Segment) {
    let len = header_len(&segment.options);
    let (fixed, options) = bytes[..len].split_at_mut(HEADER);
    let fixed: &mut [u8; HEADER] = fixed.try_into().expect("it is split there");
    fixed[0..2].copy_from_slice(&source_port.to_be_bytes());
    fixed[2..4].copy_from_slice(&destination_port.to_be_bytes());
    fixed[4..8].copy_from_slice(&segment.seq.0.to_be_bytes());
    fixed[8..12].copy_from_slice(&segment.ack.map_or(0, |ack| ack.0).to_be_bytes());
    fixed[12] = (len as u8 / 4) << 4;
    fixed[13] = flags(segment);
    fixed[14..16].copy_from_slice(&segment.window.to_be_bytes());
    // Checksum and urgent pointer.
    fixed[16..].fill(0);
    match (
        has_timestamps_alone(&segment.options),
        options.first_chunk_mut(),
    ) {
        (Some(timestamps), Some(place)) => emit_timestamps(place, timestamps),
        _ => emit_options(options, &segment.options),
    }
}

/// Makes of a header that was written the one that segments behind it share: without the flags that only
/// the first of several has. The checksum is left zero.
pub(crate) fn share(bytes: &mut [u8]) {
    bytes[13] &= !(PSH | CWR);
    bytes[16..18].fill(0);
}

/// Completes a shared header.
#[inline]
pub(crate) fn number(bytes: &mut [u8], seq: SeqNumber) {
    bytes[4..8].copy_from_slice(&seq.0.to_be_bytes());
}

#[inline]
fn flags(segment: &Segment) -> u8 {
    let flag = |on: bool, bit: u8| u8::from(on) * bit;
    flag(segment.fin, FIN)
        | flag(segment.syn, SYN)
        | flag(segment.rst, RST)
        | flag(segment.psh, PSH)
        | flag(segment.ack.is_some(), ACK)
        | flag(segment.ece, ECE)
        | flag(segment.cwr, CWR)
}

/// The timestamps, if there is no other option.
#[inline]
fn has_timestamps_alone(options: &Options) -> Option<Timestamps> {
    let others = options.mss.is_some()
        | options.window_scale.is_some()
        | options.sack_permitted
        | !options.sack.is_empty();
    options.timestamps.filter(|_| !others)
}

#[inline]
fn emit_timestamps(place: &mut [u8; TIMESTAMPS], timestamps: Timestamps) {
    place[..4].copy_from_slice(&TIMESTAMPS_ALIGNED);
    place[4..8].copy_from_slice(&timestamps.value.to_be_bytes());
    place[8..].copy_from_slice(&timestamps.echo.to_be_bytes());
}

fn emit_options(bytes: &mut [u8], options: &Options) {
    let mut rest = bytes;
    if let Some(mss) = options.mss {
        rest = TcpOption::MaxSegmentSize(mss).emit(rest);
    }
    if let Some(timestamps) = options.timestamps {
        let option;
        (option, rest) = rest
            .split_first_chunk_mut()
            .expect("a header's length counts its options");
        emit_timestamps(option, timestamps);
        if options.sack_permitted {
            option[..2].copy_from_slice(&[SACK_PERMITTED, 2]);
        }
    } else if options.sack_permitted {
        let option;
        (option, rest) = rest.split_at_mut(4);
        option.copy_from_slice(&[NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2]);
    }
    if let Some(scale) = options.window_scale {
        rest = TcpOption::NoOperation.emit(rest);
        rest = TcpOption::WindowScale(scale).emit(rest);
    }
    emit_sack(rest, options.sack.as_slice());
}

fn emit_sack(bytes: &mut [u8], blocks: &[(SeqNumber, SeqNumber)]) {
    if blocks.is_empty() {
        return;
    }
    let len = 2 + 8 * blocks.len() as u8;
    bytes[..4].copy_from_slice(&[NO_OPERATION, NO_OPERATION, SACK, len]);
    for (place, (start, end)) in bytes[4..].chunks_exact_mut(8).zip(blocks) {
        place[..4].copy_from_slice(&start.0.to_be_bytes());
        place[4..].copy_from_slice(&end.0.to_be_bytes());
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

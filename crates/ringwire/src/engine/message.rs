//! The buffer of a multishot RECVMSG (`io_uring_recvmsg_out`), and control messages of a send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringwire_abi::errno::Errno;
use ringwire_abi::error_queue::{
    MAX_ZERO_COPY_RANGES, RINGWIRE_SCM_ZC_NOTIFICATION, ZeroCopyRange,
};
use ringwire_stack::SendOptions;

use super::error_queue::RangeArray;
use crate::usermem::{self, Message, Span};

/// Bytes of `struct io_uring_recvmsg_out`.
const OUT_BYTES: usize = 16;
/// Bytes of `struct cmsghdr`, and what each message is aligned to.
const CMSG_HEADER: usize = 16;
const CMSG_ALIGN: usize = 8;

/// Where the parts of a received message go in a provided buffer:
/// `recvmsg_out | name | control | payload`.
#[derive(Clone, Copy, Debug)]
pub(super) struct MultishotLayout {
    out: Span,
    name: Span,
    control_len: usize,
    pub(super) payload: Span,
}

impl MultishotLayout {
    /// `EFAULT` where the buffer does not hold the header and both areas, as the kernel has it.
    pub(super) fn new(message: &Message, buffer: Span) -> Result<MultishotLayout, Errno> {
        let name_len = message.name_area;
        let control_len = message.control_area;
        let header = header_len((name_len, control_len));
        if header > buffer.len {
            return Err(Errno::EFAULT);
        }
        let at = |offset: usize, len: usize| Span {
            // Checked when it is written to: the application may give any address.
            addr: buffer.addr.wrapping_add(offset as u64),
            len,
        };
        Ok(MultishotLayout {
            out: at(0, OUT_BYTES),
            name: at(OUT_BYTES, name_len),
            control_len,
            payload: at(header, buffer.len - header),
        })
    }

    /// Where control messages go.
    pub(super) fn control(&self) -> Span {
        Span {
            addr: self.name.addr.wrapping_add(self.name.len as u64),
            len: self.control_len,
        }
    }

    /// Bytes before the payload.
    pub(super) fn header_len(&self) -> usize {
        OUT_BYTES + self.name.len + self.control_len
    }
}

/// Writes the header and the name of a received message; there are no control messages.
pub(super) fn write_message(
    layout: &MultishotLayout,
    name: &[u8],
    payload_len: usize,
    flags: i32,
) -> Result<(), Errno> {
    usermem::write(layout.name, name)?;
    // Without an area for a name none was asked for.
    let name = if layout.name.len > 0 { name } else { &[] };
    usermem::write(layout.out, &out(name, payload_len, flags)).map(drop)
}

/// Writes the header of a message without name and payload, and with so many bytes of control messages.
pub(super) fn write_error(
    layout: &MultishotLayout,
    control: usize,
    flags: i32,
) -> Result<(), Errno> {
    let mut out = out(&[], 0, flags);
    out[4..8].copy_from_slice(&(control as u32).to_ne_bytes());
    usermem::write(layout.out, &out).map(drop)
}

/// Writes a control message, as far as it fits (`put_cmsg`); returns the bytes that it takes, and MSG_CTRUNC where
/// it was cut.
pub(super) fn put_control(area: Span, (level, kind): (i32, i32), data: &[u8]) -> (usize, i32) {
    if area.len < CMSG_HEADER {
        return (0, libc::MSG_CTRUNC);
    }
    let full = CMSG_HEADER + data.len();
    let len = full.min(area.len);
    let mut head = [0; CMSG_HEADER];
    head[..8].copy_from_slice(&len.to_ne_bytes());
    head[8..12].copy_from_slice(&level.to_ne_bytes());
    head[12..].copy_from_slice(&kind.to_ne_bytes());
    let flags = if len < full { libc::MSG_CTRUNC } else { 0 };
    let written = usermem::write(Span { len, ..area }, &head).and_then(|head| {
        let behind = Span {
            addr: area.addr + head as u64,
            len: len - head,
        };
        usermem::write(behind, data)
    });
    match written {
        Ok(_) => (full.next_multiple_of(CMSG_ALIGN).min(area.len), flags),
        // Nobody hears of it but by the length, as in the kernel.
        Err(_) => (0, flags),
    }
}

/// Writes ranges into the array of a send, and how much of the control messages counts then: up to the array's end, or
/// nothing at all.
pub(super) fn write_ranges<'a>(
    message: &Message,
    array: RangeArray,
    ranges: impl ExactSizeIterator<Item = &'a ZeroCopyRange>,
) -> Result<(), Errno> {
    let data = size_of::<ZeroCopyRange>() * ranges.len();
    if data == 0 {
        return message.write_control_len(0);
    }
    let mut bytes = [0; size_of::<ZeroCopyRange>() * MAX_ZERO_COPY_RANGES];
    let places = bytes.chunks_exact_mut(size_of::<ZeroCopyRange>());
    for (place, range) in places.zip(ranges) {
        place[..4].copy_from_slice(&range.lo.to_ne_bytes());
        place[4..8].copy_from_slice(&range.hi.to_ne_bytes());
        place[8] = range.zerocopy;
    }
    let len = CMSG_HEADER + data;
    let addr = message.control.addr + array.offset as u64;
    let elements = Span {
        addr: addr + CMSG_HEADER as u64,
        len: data,
    };
    usermem::write(elements, &bytes)?;
    usermem::write(Span { addr, len }, &len.to_ne_bytes())?;
    message.write_control_len(array.offset + len.next_multiple_of(CMSG_ALIGN))
}

/// Bytes in front of the payload, with areas for a name and for control messages.
pub(super) fn header_len((name, control): (usize, usize)) -> usize {
    OUT_BYTES.saturating_add(name).saturating_add(control)
}

/// Writes the same into the bytes in front of a payload that is lent whole.
pub(super) fn emit_message(
    header: &mut [u8],
    (name_area, _): (usize, usize),
    name: &[u8],
    payload_len: usize,
) {
    let name = if name_area > 0 { name } else { &[] };
    let Some((first, areas)) = header.split_first_chunk_mut() else {
        return;
    };
    *first = out(name, payload_len, 0);
    // What was received there before is nobody's business.
    areas.fill(0);
    let len = name.len().min(name_area);
    areas[..len].copy_from_slice(&name[..len]);
}

fn out(name: &[u8], payload_len: usize, flags: i32) -> [u8; OUT_BYTES] {
    let mut out = [0; OUT_BYTES];
    out[..4].copy_from_slice(&(name.len() as u32).to_ne_bytes());
    out[8..12].copy_from_slice(&(payload_len as u32).to_ne_bytes());
    out[12..].copy_from_slice(&(flags as u32).to_ne_bytes());
    out
}

/// A control message of a send, and how many bytes are in front of it.
struct Control<'a> {
    offset: usize,
    level: i32,
    kind: i32,
    data: &'a [u8],
}

/// The control messages of a send. `EINVAL` where a length is wrong, as in the kernel (`CMSG_OK`).
fn controls(bytes: &[u8]) -> impl Iterator<Item = Result<Control<'_>, Errno>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(offset..).unwrap_or(&[]);
        let header: &[u8; CMSG_HEADER] = rest.first_chunk()?;
        let len = usize::from_ne_bytes(header[..8].try_into().expect("eight bytes"));
        let int =
            |at: usize| i32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let Some(data) = rest.get(CMSG_HEADER..len) else {
            offset = bytes.len();
            return Some(Err(Errno::EINVAL));
        };
        let control = Control {
            offset,
            level: int(8),
            kind: int(12),
            data,
        };
        offset += len.next_multiple_of(CMSG_ALIGN);
        Some(Ok(control))
    })
}

/// Reads the control messages of a send: `UDP_SEGMENT`, TTL, TOS and PKTINFO, and their IPv6 twins. Others
/// are refused, as the kernel refuses what it does not know.
pub(super) fn read_control(control: Span, options: &mut SendOptions) -> Result<(), Errno> {
    usermem::with_control(control, |bytes| {
        controls(bytes).try_for_each(|control| {
            let control = control?;
            apply(control.level, control.kind, control.data, options)
        })
    })
}

/// Finds the array among the control messages of a send that is to be filled with ranges.
pub(super) fn range_array(control: Span) -> Result<Option<RangeArray>, Errno> {
    usermem::with_control(control, |bytes| {
        for control in controls(bytes) {
            let control = control?;
            if (control.level, control.kind) == (libc::SOL_SOCKET, RINGWIRE_SCM_ZC_NOTIFICATION) {
                let room = ZeroCopyRange::count(control.data.len())?;
                let offset = control.offset;
                return Ok(Some(RangeArray { offset, room }));
            }
        }
        Ok(None)
    })
}

fn apply(level: i32, kind: i32, data: &[u8], options: &mut SendOptions) -> Result<(), Errno> {
    let byte = || -> Result<u8, Errno> {
        let value = match data {
            &[value] => i32::from(value),
            data => i32::from_ne_bytes(data.try_into().map_err(|_| Errno::EINVAL)?),
        };
        u8::try_from(value).map_err(|_| Errno::EINVAL)
    };
    match (level, kind) {
        (libc::SOL_UDP, libc::UDP_SEGMENT) => {
            let bytes: [u8; 2] = data.try_into().map_err(|_| Errno::EINVAL)?;
            options.segment_bytes = Some(u16::from_ne_bytes(bytes));
        }
        (libc::SOL_IP, libc::IP_TTL) => match byte()? {
            0 => return Err(Errno::EINVAL),
            ttl => options.hop_limit = Some(ttl),
        },
        (libc::SOL_IPV6, libc::IPV6_HOPLIMIT) => options.hop_limit = Some(byte()?),
        (libc::SOL_IP, libc::IP_TOS) | (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
            options.traffic_class = Some(byte()?);
        }
        (libc::SOL_IP, libc::IP_PKTINFO) => {
            // The third is the destination, which means nothing in a send.
            let &[i, j, k, l, a, b, c, d, _, _, _, _] = data else {
                return Err(Errno::EINVAL);
            };
            options.source = source_of([i, j, k, l], Ipv4Addr::new(a, b, c, d).into())?;
        }
        (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
            let (source, rest) = data.split_first_chunk::<16>().ok_or(Errno::EINVAL)?;
            let index = *rest.first_chunk::<4>().ok_or(Errno::EINVAL)?;
            options.source = source_of(index, Ipv6Addr::from(*source).into())?;
        }
        // It was looked at when the send was issued.
        (libc::SOL_SOCKET, RINGWIRE_SCM_ZC_NOTIFICATION) => {}
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

/// The source address of an `in_pktinfo` or `in6_pktinfo`; the unspecified one leaves the choice to the
/// route. The ring has one interface, whose number it does not know: `ENODEV` for any.
fn source_of(interface: [u8; 4], source: IpAddr) -> Result<Option<IpAddr>, Errno> {
    if interface != [0; 4] {
        return Err(Errno::ENODEV);
    }
    Ok(Some(source).filter(|ip| !ip.is_unspecified()))
}

//! When the application may have its memory back: not while a descriptor points at it, and not before the peer has
//! acknowledged what a stream sends of it.

use std::collections::BTreeMap;
use std::ops::Range;

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
};

/// One connection of a host's, by its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Connection {
    pub(crate) v6: bool,
    pub(crate) local: u16,
    pub(crate) remote: u16,
}

/// Memory in the UMEM that a request sends from, as the checkers know it.
#[derive(Clone, Debug)]
pub(crate) struct Lent {
    /// Offsets in the UMEM.
    pub(crate) spans: Vec<Range<u64>>,
    /// Whether the notification says how it was sent.
    pub(crate) reports: bool,
    /// It is notified of together with others: it may have been free for a while.
    pub(crate) shared: bool,
    /// What of a stream it is: the offset of its first byte.
    pub(crate) stream: Option<(Connection, u64)>,
    /// What the request came to.
    pub(crate) res: i32,
    /// Whether the NIC keeps some of it for good.
    pub(crate) is_lost: bool,
    /// Whether the notification said that nothing of it was copied.
    pub(crate) uncopied: bool,
}

impl Lent {
    pub(crate) fn new(spans: Vec<Range<u64>>, reports: bool) -> Lent {
        Lent {
            spans,
            reports,
            shared: false,
            stream: None,
            res: 0,
            is_lost: false,
            uncopied: false,
        }
    }

    /// It is sent on a stream, from this offset on.
    pub(crate) fn on(mut self, connection: Option<Connection>, offset: u64) -> Lent {
        self.stream = connection.map(|connection| (connection, offset));
        self
    }

    /// Whether not all of it was sent.
    pub(crate) fn is_short(&self) -> bool {
        let len: u64 = self.spans.iter().map(|span| span.end - span.start).sum();
        (self.res.max(0) as u64) < len
    }

    /// Where the bytes lie that were sent.
    pub(crate) fn sent(&self) -> impl Iterator<Item = Range<u64>> {
        let mut left = self.res.max(0) as u64;
        self.spans.iter().map(move |span| {
            let len = left.min(span.end - span.start);
            left -= len;
            span.start..span.start + len
        })
    }
}

/// The first byte of a span that is the application's, `owned`, and not lent.
pub(crate) fn first_not_lent(
    span: &Range<u64>,
    owned: &[Range<u64>],
    lent: &[Range<u64>],
) -> Option<u64> {
    owned.iter().find_map(|owned| {
        let end = span.end.min(owned.end);
        let mut at = span.start.max(owned.start);
        while at < end {
            let around = lent.iter().find(|it| it.contains(&at));
            match around {
                Some(around) => at = around.end,
                None => return Some(at),
            }
        }
        None
    })
}

#[derive(Default)]
struct Acked {
    /// The sequence numbers of our SYNs: cookies change.
    first: Vec<u32>,
    /// The latest acknowledgement.
    acked: Option<u32>,
    /// A RST was sent or received.
    reset: bool,
}

/// What the other host has acknowledged, by what goes over the wire.
#[derive(Default)]
pub(crate) struct Acknowledgements(BTreeMap<Connection, Acked>);

impl Acknowledgements {
    /// A packet goes out.
    pub(crate) fn sent(&mut self, frame: &[u8]) {
        each_segment(frame, false, |v6, segment| {
            let connection = Connection {
                v6,
                local: segment.src_port(),
                remote: segment.dst_port(),
            };
            let first = segment.seq_number().0 as u32;
            if segment.syn() {
                let known = self.0.entry(connection).or_default();
                if !known.first.contains(&first) {
                    // Another connection with the same ports, or another cookie.
                    let mut earlier = std::mem::take(&mut known.first);
                    earlier.push(first);
                    *known = Acked {
                        first: earlier,
                        ..Acked::default()
                    };
                }
            }
            self.note_reset(connection, &segment);
        });
    }

    /// A packet has come in.
    pub(crate) fn received(&mut self, frame: &[u8]) {
        each_segment(frame, true, |v6, segment| {
            let connection = Connection {
                v6,
                local: segment.dst_port(),
                remote: segment.src_port(),
            };
            if let Some(known) = self.0.get_mut(&connection)
                && segment.ack()
            {
                let number = segment.ack_number().0 as u32;
                let is_later = |acked: u32| number.wrapping_sub(acked) < 1 << 31;
                if known.acked.is_none_or(is_later) {
                    known.acked = Some(number);
                }
            }
            self.note_reset(connection, &segment);
        });
    }

    fn note_reset(&mut self, connection: Connection, segment: &TcpPacket<&[u8]>) {
        if segment.rst()
            && let Some(known) = self.0.get_mut(&connection)
        {
            known.reset = true;
        }
    }

    /// Whether a RST has ended it, so far as that is known.
    pub(crate) fn is_reset(&self, connection: Connection) -> bool {
        self.0.get(&connection).is_none_or(|known| known.reset)
    }

    /// Whether the first `count` bytes of a stream are with the other host, or it is no more.
    pub(crate) fn has(&self, connection: Connection, count: u64) -> bool {
        let Some(known) = self.0.get(&connection) else {
            return false;
        };
        known.reset
            || known.first.iter().any(|first| {
                let acked = known
                    .acked
                    .map(|acked| acked.wrapping_sub(first.wrapping_add(1)));
                acked.is_some_and(|acked| acked < 1 << 31 && u64::from(acked) >= count)
            })
    }
}

/// Reads a frame's TCP segment, if it has one; `whole`: and if its checksums are right.
pub(crate) fn each_segment(
    frame: &[u8],
    whole: bool,
    mut each: impl FnMut(bool, TcpPacket<&[u8]>),
) {
    let Ok(frame) = EthernetFrame::new_checked(frame) else {
        return;
    };
    let (from, to, payload): (IpAddress, IpAddress, &[u8]) = match frame.ethertype() {
        EthernetProtocol::Ipv4 => match Ipv4Packet::new_checked(frame.payload()) {
            Ok(packet) if packet.next_header() == IpProtocol::Tcp => {
                if whole && !packet.verify_checksum() {
                    return;
                }
                let (from, to) = (packet.src_addr(), packet.dst_addr());
                (from.into(), to.into(), packet.payload())
            }
            _ => return,
        },
        EthernetProtocol::Ipv6 => match Ipv6Packet::new_checked(frame.payload()) {
            Ok(packet) if packet.next_header() == IpProtocol::Tcp => {
                let (from, to) = (packet.src_addr(), packet.dst_addr());
                (from.into(), to.into(), packet.payload())
            }
            _ => return,
        },
        _ => return,
    };
    let Ok(segment) = TcpPacket::new_checked(payload) else {
        return;
    };
    if !whole || segment.verify_checksum(&from, &to) {
        each(matches!(to, IpAddress::Ipv6(_)), segment);
    }
}

#[cfg(test)]
#[path = "loans_tests.rs"]
mod tests;

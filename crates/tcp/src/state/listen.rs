//! LISTEN: waiting for SYNs (RFC 9293, section 3.10.7.2).

use super::closed;
use crate::segment::Segment;

/// What a listener does about a segment that belongs to no connection of its.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Nothing.
    Ignore,
    /// Answer with this RST.
    Reset(Segment),
    /// Begin a connection: [`Connection::passive`](crate::Connection::passive).
    Syn,
}

/// Sorts a segment.
pub fn on_segment(segment: &Segment) -> Arrival {
    if segment.rst {
        return Arrival::Ignore;
    }
    if segment.ack.is_some() {
        return closed::on_segment(segment).map_or(Arrival::Ignore, Arrival::Reset);
    }
    // A SYN with a FIN is nothing that an honest host sends (Linux drops it too).
    if segment.syn && !segment.fin {
        Arrival::Syn
    } else {
        Arrival::Ignore
    }
}

//! CLOSED: there is no connection (RFC 9293, section 3.10.7.1).

use super::Rules;
use crate::segment::Segment;
use crate::seq::SeqNumber;

pub(crate) const RULES: Rules = Rules {
    receives: false,
    sends: false,
    on_fin: None,
    on_fin_acked: None,
    on_close: None,
    on_reset: None,
};

/// The answer to a segment that belongs to no connection: a RST that its sender will believe, and
/// nothing for a RST.
pub fn on_segment(segment: &Segment) -> Option<Segment> {
    if segment.rst {
        return None;
    }
    let rst = Segment {
        rst: true,
        ..Segment::default()
    };
    Some(match segment.ack {
        Some(ack) => Segment { seq: ack, ..rst },
        None => Segment {
            seq: SeqNumber(0),
            ack: Some(segment.end()),
            ..rst
        },
    })
}

//! SYN-RECEIVED: both SYNs are out, ours is not acknowledged (RFC 9293, section 3.10.7.4).

use super::{Rules, closed};
use crate::connection::Connection;
use crate::disposition::{Disposition, Failure, Refusal};
use crate::segment::Segment;
use crate::seq::SeqNumber;
use crate::time::Instant;

pub(crate) const RULES: Rules = Rules {
    receives: true,
    sends: false,
    // A FIN counts once the connection stands, and so does closing (`Connection::close`).
    on_fin: None,
    on_fin_acked: None,
    on_close: None,
    on_reset: Some(Failure::Refused),
};

/// The peer's SYN again: our answer was lost.
pub(crate) fn is_repeated_syn(connection: &Connection, segment: &Segment) -> bool {
    segment.syn && !segment.rst && segment.ack.is_none() && segment.seq == connection.receive.first
}

/// The acknowledgement of our SYN, or a RST for what acknowledges something else. `false`: the
/// segment is done with.
pub(crate) fn on_ack(
    connection: &mut Connection,
    now: Instant,
    segment: &Segment,
    ack: SeqNumber,
    disposition: &mut Disposition,
) -> bool {
    if ack != connection.send.next {
        disposition.refusal = Some(Refusal::AckOfUnsent);
        disposition.reply = closed::on_segment(segment).map(Box::new);
        return false;
    }
    connection.establish(now, segment, ack, disposition);
    true
}

//! SYN-SENT: our SYN is out (RFC 9293, section 3.10.7.3).

use super::{Rules, State, closed};
use crate::connection::Connection;
use crate::disposition::{Disposition, Failure, Refusal};
use crate::segment::Segment;
use crate::time::Instant;

pub(crate) const RULES: Rules = Rules {
    receives: false,
    sends: false,
    on_fin: None,
    on_fin_acked: None,
    // Nobody has heard of it: it is forgotten.
    on_close: Some(State::Closed),
    on_reset: Some(Failure::Refused),
};

pub(crate) fn on_segment(
    connection: &mut Connection,
    now: Instant,
    segment: &Segment,
    disposition: &mut Disposition,
) {
    // Nothing but the SYN is outstanding, so only one number is a valid acknowledgement.
    if segment.ack.is_some_and(|ack| ack != connection.send.next) {
        disposition.refusal = Some(Refusal::AckOfUnsent);
        disposition.reply = closed::on_segment(segment).map(Box::new);
        return;
    }
    if segment.rst {
        if segment.ack.is_some() {
            connection.fail(Failure::Refused, disposition);
        } else {
            disposition.refusal = Some(Refusal::BlindReset);
        }
        return;
    }
    if !segment.syn {
        disposition.refusal = Some(Refusal::NoAck);
        return;
    }
    connection.take_syn(now, segment);
    match segment.ack {
        Some(ack) => {
            connection.establish(now, segment, ack, disposition);
            connection.ack.at_once();
            connection.receive_text(now, segment, disposition);
        }
        // Both ends opened at once: our SYN goes again, with an acknowledgement (section 3.5).
        None => {
            connection.state = State::SynReceived;
            connection.handshake.resend();
        }
    }
}

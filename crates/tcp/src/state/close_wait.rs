//! CLOSE-WAIT: the peer has closed; we may still send.

use super::{Rules, State};
use crate::disposition::Failure;

pub(crate) const RULES: Rules = Rules {
    receives: false,
    sends: true,
    on_fin: None,
    on_fin_acked: None,
    on_close: Some(State::LastAck),
    on_reset: Some(Failure::Pipe),
};

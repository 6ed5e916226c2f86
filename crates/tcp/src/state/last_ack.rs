//! LAST-ACK: the peer closed, then we did; our FIN is not acknowledged.

use super::{Rules, State};
use crate::disposition::Failure;

pub(crate) const RULES: Rules = Rules {
    receives: false,
    sends: false,
    on_fin: None,
    on_fin_acked: Some(State::Closed),
    on_close: None,
    on_reset: Some(Failure::Reset),
};

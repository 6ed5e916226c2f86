//! CLOSING: both have closed at the same time; our FIN is not acknowledged.

use super::{Rules, State};
use crate::disposition::Failure;

pub(crate) const RULES: Rules = Rules {
    receives: false,
    sends: false,
    on_fin: None,
    on_fin_acked: Some(State::TimeWait),
    on_close: None,
    on_reset: Some(Failure::Reset),
};

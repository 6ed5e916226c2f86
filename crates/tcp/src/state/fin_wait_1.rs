//! FIN-WAIT-1: we have closed, and our FIN (or data before it) is not acknowledged.

use super::{Rules, State};
use crate::disposition::Failure;

pub(crate) const RULES: Rules = Rules {
    receives: true,
    sends: false,
    on_fin: Some(State::Closing),
    on_fin_acked: Some(State::FinWait2),
    on_close: None,
    on_reset: Some(Failure::Reset),
};

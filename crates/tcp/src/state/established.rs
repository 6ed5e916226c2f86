//! ESTABLISHED: data flows both ways.

use super::{Rules, State};
use crate::disposition::Failure;

pub(crate) const RULES: Rules = Rules {
    receives: true,
    sends: true,
    on_fin: Some(State::CloseWait),
    on_fin_acked: None,
    on_close: Some(State::FinWait1),
    on_reset: Some(Failure::Reset),
};

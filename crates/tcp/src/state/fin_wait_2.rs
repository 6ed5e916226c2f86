//! FIN-WAIT-2: we have closed, and the peer knows; it may still send. Once nobody has the socket any
//! more, this does not last longer than [`Config::fin_wait_2`](crate::Config::fin_wait_2).

use super::{Rules, State};
use crate::connection::Connection;
use crate::disposition::Failure;
use crate::time::Instant;

pub(crate) const RULES: Rules = Rules {
    receives: true,
    sends: false,
    on_fin: Some(State::TimeWait),
    on_fin_acked: None,
    on_close: None,
    on_reset: Some(Failure::Reset),
};

/// Begins the wait for the peer's FIN, if nobody will read what comes before it.
pub(crate) fn limit(connection: &mut Connection, now: Instant) {
    if connection.state == State::FinWait2 && connection.orphaned {
        connection.timers.ending = Some(now + connection.config.fin_wait_2);
    }
}

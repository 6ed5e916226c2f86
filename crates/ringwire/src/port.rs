//! The kernel as the far side of the rings.

use std::sync::Arc;
use std::time::Duration;

use ringwire_xsk::{Kick, Socket, clock};

use crate::engine::Port;

/// In copy mode the kernel sends a batch of 32 for each call (`TX_BATCH_SIZE`); this many calls send
/// all that an engine has in flight.
const TX_CALLS: usize = 16;

#[derive(Debug)]
pub(crate) struct AfXdpPort {
    sockets: Arc<[Socket]>,
}

impl AfXdpPort {
    pub(crate) fn new(sockets: Arc<[Socket]>) -> AfXdpPort {
        AfXdpPort { sockets }
    }
}

impl Port for AfXdpPort {
    fn kick_tx(&mut self, queue: u16) {
        for _ in 0..TX_CALLS {
            match self.sockets[usize::from(queue)].kick_tx() {
                Ok(Kick::Retry) => {}
                // An interface that is gone or down sends nothing: the descriptors stay, and the next
                // turn kicks again.
                Ok(Kick::Done) | Err(_) => return,
            }
        }
    }

    fn kick_rx(&mut self, queue: u16) {
        // The same holds for receiving.
        let _ = self.sockets[usize::from(queue)].kick_rx();
    }

    fn clock(&self, id: libc::clockid_t) -> Duration {
        clock(id)
    }
}

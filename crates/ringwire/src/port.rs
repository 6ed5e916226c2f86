//! The kernel as the far side of the rings.

use std::sync::Arc;
use std::time::Duration;

use ringwire_abi::errno::Errno;
use ringwire_xsk::{Kick, Socket, clock};

use crate::engine::Port;
use crate::poller::errno_of;

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
    fn kick_tx(&mut self, queue: u16) -> Result<(), Errno> {
        for _ in 0..TX_CALLS {
            match self.sockets[usize::from(queue)].kick_tx() {
                Ok(Kick::Retry) => {}
                Ok(Kick::Done) => break,
                Err(error) => return Err(errno_of(error)),
            }
        }
        Ok(())
    }

    fn kick_rx(&mut self, queue: u16) -> Result<(), Errno> {
        let kicked = self.sockets[usize::from(queue)].kick_rx();
        kicked.map(drop).map_err(errno_of)
    }

    fn clock(&self, id: libc::clockid_t) -> Duration {
        clock(id)
    }
}

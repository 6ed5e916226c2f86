//! Frames that go back where they came from.

use ringwire_xsk::Desc;

use crate::Port;
use crate::frame::{exchange, sum_again};

/// Frames of one turn.
const BURST: usize = 64;

/// Echoes a burst; `false` if there was nothing.
pub fn turn(port: &mut Port) -> bool {
    port.reap();
    port.refill();
    let mut received = false;
    for _ in 0..BURST {
        let Some(Desc { addr, len, .. }) = port.rings.rx.pop() else {
            break;
        };
        received = true;
        let checksums = port.checksums;
        let frame = port.bytes(addr, len);
        let options = 0;
        let goes = exchange(frame) && (!checksums || sum_again(frame));
        if !goes || port.rings.tx.push(Desc { addr, len, options }).is_err() {
            port.give_back(addr);
        }
    }
    port.rings.rx.release();
    port.rings.tx.publish();
    if received {
        port.kick();
    }
    received
}

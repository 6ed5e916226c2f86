use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use io_uring::{opcode, types};
use ringwire_abi::errno::Errno;
use ringwire_stack::Instant;

use super::{Port, TX_WINDOW};
use crate::engine::bed::Bed;
use crate::engine::zero_copy_bed::{GROUP, at, bed};

/// Counts what the far side was woken for.
#[derive(Clone, Debug, Default)]
struct Woken {
    to_send: Arc<AtomicU32>,
    to_receive: Arc<AtomicU32>,
}

impl Woken {
    fn times(&self) -> (u32, u32) {
        let [to_send, to_receive] =
            [&self.to_send, &self.to_receive].map(|times| times.load(Ordering::Relaxed));
        (to_send, to_receive)
    }
}

impl Port for Woken {
    fn kick_tx(&mut self, _: u16) -> Result<(), Errno> {
        self.to_send.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn kick_rx(&mut self, _: u16) -> Result<(), Errno> {
        self.to_receive.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn clock(&self, _: libc::clockid_t) -> Duration {
        Duration::ZERO
    }
}

/// Has the UDP socket in slot 0 send so many datagrams.
fn send(bed: &mut Bed, count: u32) {
    for _ in 0..count {
        let send = opcode::Send::new(types::Fixed(0), b"datagram".as_ptr(), 8)
            .dest_addr(at(&GROUP))
            .dest_addr_len(16);
        bed.push(send.build());
    }
    bed.engine.submit(Instant::ZERO, count);
    bed.turn();
}

#[test]
fn a_window_of_descriptors_is_with_the_nic_at_a_time() {
    let (mut bed, _) = bed(0);
    // As if the NIC had all but two of them, which the rings of a test have no room for.
    bed.engine.nic.queues[0].in_flight = TX_WINDOW - 2;
    send(&mut bed, 5);
    let first = bed.sent();
    assert_eq!(first.len(), 2);
    bed.turn();
    assert_eq!(bed.sent().len(), 0, "nothing has come back");
    bed.report_sent(&first[..1]);
    bed.turn();
    let second = bed.sent();
    assert_eq!(second.len(), 1, "one for each that came back");
    bed.report_sent(&[first[1], second[0]]);
    bed.turn();
    assert_eq!(bed.sent().len(), 2);
}

#[test]
fn the_far_side_is_woken_to_send_where_it_asks_for_it() {
    let (mut bed, _) = bed(0);
    let woken = Woken::default();
    bed.engine.nic.port = Box::new(woken.clone());
    send(&mut bed, 1);
    bed.engine.nic.kick();
    assert_eq!(woken.times(), (0, 0), "it looks by itself");
    bed.ask_for_wakeups(true, false);
    bed.engine.nic.kick();
    assert_eq!(woken.times(), (1, 0));
    let sent = bed.sent();
    bed.engine.nic.kick();
    assert_eq!(woken.times(), (1, 0), "there is nothing more for it");
    bed.report_sent(&sent);
}

#[test]
fn the_far_side_is_woken_to_receive_where_it_asks_for_it() {
    let (mut bed, _) = bed(0);
    let woken = Woken::default();
    bed.engine.nic.port = Box::new(woken.clone());
    bed.engine.nic.kick();
    assert_eq!(woken.times(), (0, 0), "it looks by itself");
    bed.ask_for_wakeups(false, true);
    bed.engine.nic.kick();
    assert_eq!(woken.times(), (0, 1));
}

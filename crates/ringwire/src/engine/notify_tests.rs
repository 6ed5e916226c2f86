//! What of zero-copy sends the running kernel cannot be asked about.

use io_uring::{opcode, squeue, types};
use ringwire_abi::flags::{IORING_CQE_F_MORE, IORING_CQE_F_NOTIF};

use super::bed::Bed;

/// A send to a slot without a socket: it fails, and has its notification all the same.
fn send(user_data: u64) -> squeue::Entry {
    let send = opcode::SendZc::new(types::Fixed(0), std::ptr::dangling(), 1);
    send.build().user_data(user_data)
}

#[test]
fn a_drain_does_not_wait_for_its_own_notification() {
    let mut bed = Bed::with_slots(1);
    let drain = send(1).flags(squeue::Flags::IO_DRAIN);
    let failed = -libc::EBADF;
    assert_eq!(
        bed.run(drain),
        [(1, failed, IORING_CQE_F_MORE), (1, 0, IORING_CQE_F_NOTIF)]
    );
    let behind = opcode::Nop::new().build().user_data(2);
    assert_eq!(bed.run(behind), [(2, 0, 0)], "nothing is held back");
}

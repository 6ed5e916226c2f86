use super::*;
use std::os::fd::AsRawFd;

fn message(user_data: u64) -> Completion {
    Completion {
        user_data,
        ..Completion::default()
    }
}

#[test]
fn messages_come_out_in_order_and_once() {
    let mailbox = Mailbox::default();
    assert!(!mailbox.is_filled());
    mailbox.put(message(1));
    mailbox.put(message(2));
    assert!(mailbox.is_filled());
    let taken: Vec<u64> = mailbox
        .take()
        .iter()
        .map(|message| message.user_data)
        .collect();
    assert_eq!(taken, [1, 2]);
    assert!(!mailbox.is_filled() && mailbox.take().is_empty());
}

#[test]
fn a_ring_is_found_while_it_is_listed() {
    let waker = Waker::new().expect("a waker");
    let fd = waker.as_raw_fd();
    let peer = Peer {
        mailbox: Arc::default(),
        queues: Arc::new(QueueMemory::new(1, 1, 0)),
        buffers: Arc::default(),
        waker,
    };
    let listed = Listed::new(fd, peer.clone());
    find(fd).expect("the ring").send(message(7));
    assert_eq!(peer.mailbox.take().len(), 1);
    drop(listed);
    assert_eq!(find(fd).err(), Some(Errno::EBADFD), "open, and no ring");
    assert_eq!(find(-1).err(), Some(Errno::EBADF));
}

//! Known answers: what the pinned `io-uring` crate builds, read field by field. A crate that moves a
//! field fails here.

use super::*;
use crate::flags::*;
use io_uring::{opcode, types};

#[test]
fn nop_and_user_data() {
    let sqe = Sqe::from_entry(&opcode::Nop::new().build().user_data(0x1122_3344_5566_7788));
    assert_eq!(
        sqe,
        Sqe {
            opcode: IORING_OP_NOP,
            fd: -1,
            user_data: 0x1122_3344_5566_7788,
            ..Sqe::default()
        }
    );
}

#[test]
fn send_with_a_destination() {
    let payload = [0u8; 5];
    let address = [0u8; 16];
    let entry = opcode::Send::new(types::Fixed(7), payload.as_ptr(), 5)
        .flags(libc::MSG_DONTWAIT)
        .dest_addr(address.as_ptr().cast())
        .dest_addr_len(16)
        .build();
    let sqe = Sqe::from_entry(&entry);
    assert_eq!(
        (sqe.opcode, sqe.flags, sqe.fd),
        (IORING_OP_SEND, IOSQE_FIXED_FILE, 7)
    );
    assert_eq!((sqe.addr, sqe.len), (payload.as_ptr() as u64, 5));
    assert_eq!(
        (sqe.addr2(), sqe.addr_len(), sqe.pad3()),
        (address.as_ptr() as u64, 16, 0)
    );
    assert_eq!(sqe.op_flags, libc::MSG_DONTWAIT as u32);
}

#[test]
fn multishot_receives() {
    let sqe = Sqe::from_entry(&opcode::RecvMulti::new(types::Fixed(1), 9).build());
    assert_eq!(
        (sqe.opcode, sqe.ioprio, sqe.buf_group()),
        (IORING_OP_RECV, IORING_RECV_MULTISHOT, 9)
    );
    assert_eq!(sqe.flags, IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT);
    let header = std::ptr::without_provenance::<libc::msghdr>(4096);
    let sqe = Sqe::from_entry(&opcode::RecvMsgMulti::new(types::Fixed(1), header, 9).build());
    assert_eq!(
        (sqe.opcode, sqe.ioprio, sqe.addr),
        (IORING_OP_RECVMSG, IORING_RECV_MULTISHOT, 4096)
    );
}

#[test]
fn sockets_and_slots() {
    let entry = opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 17)
        .file_index(Some(
            types::DestinationSlot::try_from_slot_target(4).unwrap(),
        ))
        .build();
    let sqe = Sqe::from_entry(&entry);
    assert_eq!(
        (sqe.fd, sqe.off, sqe.len, sqe.file_index),
        (libc::AF_INET, libc::SOCK_DGRAM as u64, 17, 5)
    );
    let entry = opcode::Socket::new(2, 2, 0)
        .file_index(Some(types::DestinationSlot::auto_target()))
        .build();
    assert_eq!(Sqe::from_entry(&entry).file_index, IORING_FILE_INDEX_ALLOC);
    let sqe = Sqe::from_entry(&opcode::Close::new(types::Fixed(4)).build());
    assert_eq!((sqe.fd, sqe.file_index, sqe.flags), (0, 5, 0));
}

#[test]
fn listening_and_accepting() {
    let listen = Sqe::from_entry(&opcode::Listen::new(types::Fixed(2), 16).build());
    assert_eq!(
        (listen.opcode, listen.fd, listen.len),
        (IORING_OP_LISTEN, 2, 16)
    );
    let address = std::ptr::without_provenance_mut::<libc::sockaddr>(4096);
    let room = std::ptr::without_provenance_mut::<libc::socklen_t>(8192);
    let slot = types::DestinationSlot::try_from_slot_target(4).unwrap();
    let entry = opcode::Accept::new(types::Fixed(2), address, room)
        .file_index(Some(slot))
        .flags(libc::SOCK_NONBLOCK)
        .build();
    let accept = Sqe::from_entry(&entry);
    assert_eq!(
        (accept.opcode, accept.flags, accept.fd, accept.file_index),
        (IORING_OP_ACCEPT, IOSQE_FIXED_FILE, 2, 5)
    );
    assert_eq!(
        (accept.addr, accept.addr2(), accept.op_flags),
        (4096, 8192, libc::SOCK_NONBLOCK as u32)
    );
    let entry = opcode::AcceptMulti::new(types::Fixed(2))
        .allocate_file_index(true)
        .build();
    let accept = Sqe::from_entry(&entry);
    assert_eq!(
        (accept.opcode, accept.ioprio, accept.file_index),
        (
            IORING_OP_ACCEPT,
            IORING_ACCEPT_MULTISHOT,
            IORING_FILE_INDEX_ALLOC
        )
    );
}

#[test]
fn bundles() {
    let socket = types::Fixed(1);
    let multishot = IORING_RECV_MULTISHOT;
    for (entry, opcode, ioprio) in [
        (
            opcode::SendBundle::new(socket, 9).build(),
            IORING_OP_SEND,
            0,
        ),
        (
            opcode::RecvBundle::new(socket, 9).build(),
            IORING_OP_RECV,
            0,
        ),
        (
            opcode::RecvMultiBundle::new(socket, 9).build(),
            IORING_OP_RECV,
            multishot,
        ),
    ] {
        let sqe = Sqe::from_entry(&entry);
        assert_eq!(
            (sqe.opcode, sqe.ioprio, sqe.buf_group()),
            (opcode, IORING_RECVSEND_BUNDLE | ioprio, 9)
        );
        assert_eq!(sqe.flags, IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT);
    }
}

#[test]
fn addresses_timeouts_and_cancels() {
    let address = std::ptr::without_provenance::<libc::sockaddr>(8192);
    let sqe = Sqe::from_entry(&opcode::Bind::new(types::Fixed(2), address, 28).build());
    assert_eq!(
        (sqe.opcode, sqe.addr, sqe.addr2()),
        (IORING_OP_BIND, 8192, 28)
    );
    let time = types::Timespec::new();
    let sqe = Sqe::from_entry(&opcode::Timeout::new(&time).count(3).build());
    assert_eq!((sqe.addr, sqe.len, sqe.off), (&raw const time as u64, 1, 3));
    let cancel = opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fixed(6)).all()).build();
    let sqe = Sqe::from_entry(&cancel);
    let flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_FD_FIXED | IORING_ASYNC_CANCEL_ALL;
    assert_eq!((sqe.fd, sqe.op_flags), (6, flags));
    let poll = Sqe::from_entry(&opcode::PollAdd::new(types::Fixed(2), 1).multi(true).build());
    assert_eq!((poll.op_flags, poll.len), (1, IORING_POLL_ADD_MULTI));
}

#[test]
fn an_entry_survives_the_way_there_and_back() {
    let sqe = Sqe {
        opcode: 9,
        flags: 1,
        ioprio: 2,
        fd: -3,
        off: 4,
        addr: 5,
        len: 6,
        op_flags: 7,
        user_data: 8,
        buf_index: 9,
        personality: 10,
        file_index: 11,
        addr3: 12,
        pad2: 13,
    };
    assert_eq!(Sqe::from_entry(&sqe.to_entry()), sqe);
}

#[test]
fn socket_options() {
    let value = 1i32;
    let entry = opcode::SetSockOpt::new(
        types::Fixed(2),
        libc::SOL_SOCKET as u32,
        libc::SO_KEEPALIVE as u32,
        std::ptr::from_ref(&value).cast(),
        4,
    );
    let sqe = Sqe::from_entry(&entry.build());
    assert_eq!(
        (sqe.opcode, sqe.cmd_op(), sqe.pad1()),
        (IORING_OP_URING_CMD, SOCKET_URING_OP_SETSOCKOPT, 0)
    );
    assert_eq!(
        (sqe.level(), sqe.optname()),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE)
    );
    assert_eq!(
        (sqe.addr3, sqe.file_index),
        (std::ptr::from_ref(&value) as u64, 4)
    );
}

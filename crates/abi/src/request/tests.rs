use super::*;
use crate::op::*;

fn sqe(opcode: u8) -> Sqe {
    Sqe {
        opcode,
        ..Sqe::default()
    }
}

fn read(sqe: &Sqe) -> Result<Op, Errno> {
    check_flags(sqe)?;
    check_priority(sqe, |_| false)?;
    parse(sqe)
}

#[test]
fn common_checks_come_in_the_kernels_order() {
    assert_eq!(read(&sqe(IORING_OP_LAST)), Err(Errno::EINVAL));
    assert_eq!(
        read(&Sqe {
            flags: 0x80,
            ..sqe(IORING_OP_NOP)
        }),
        Err(Errno::EINVAL)
    );
    let select = Sqe {
        flags: IOSQE_BUFFER_SELECT,
        ioprio: 1,
        ..sqe(IORING_OP_CONNECT)
    };
    assert_eq!(
        read(&select),
        Err(Errno::EOPNOTSUPP),
        "before the priority is looked at"
    );
    assert_eq!(
        read(&Sqe {
            ioprio: 1,
            ..sqe(IORING_OP_CONNECT)
        }),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        read(&Sqe {
            personality: 1,
            ..sqe(IORING_OP_NOP)
        }),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        read(&sqe(IORING_OP_EPOLL_WAIT)),
        Err(Errno::EOPNOTSUPP),
        "not there yet"
    );
}

#[test]
fn fields_that_an_operation_does_not_use_must_be_zero() {
    type Change = fn(&mut Sqe);
    let cases: &[(u8, &[Change])] = &[
        (
            IORING_OP_SOCKET,
            &[
                |s| s.addr = 1,
                |s| s.op_flags = 1,
                |s| s.buf_index = 1,
                |s| s.off = 1 << 20,
            ],
        ),
        (
            IORING_OP_BIND,
            &[
                |s| s.len = 1,
                |s| s.op_flags = 1,
                |s| s.buf_index = 1,
                |s| s.file_index = 1,
            ],
        ),
        (
            IORING_OP_CONNECT,
            &[
                |s| s.len = 1,
                |s| s.op_flags = 1,
                |s| s.buf_index = 1,
                |s| s.file_index = 1,
            ],
        ),
        (
            IORING_OP_LISTEN,
            &[
                |s| s.addr = 1,
                |s| s.off = 1,
                |s| s.op_flags = 1,
                |s| s.buf_index = 1,
                |s| s.file_index = 1,
                |s| s.ioprio = 1,
            ],
        ),
        (
            IORING_OP_ACCEPT,
            &[
                |s| s.len = 1,
                |s| s.buf_index = 1,
                |s| s.op_flags = 1,
                |s| s.ioprio = 1 << 3,
            ],
        ),
        (
            IORING_OP_SEND,
            &[|s| s.file_index = 1 << 16, |s| s.ioprio = 0x40],
        ),
        (IORING_OP_SENDMSG, &[|s| s.off = 1, |s| s.file_index = 1]),
        (
            IORING_OP_RECV,
            &[|s| s.off = 1, |s| s.file_index = 1, |s| s.ioprio = 0x40],
        ),
        (IORING_OP_RECVMSG, &[|s| s.off = 1, |s| s.file_index = 1]),
        (
            IORING_OP_SHUTDOWN,
            &[
                |s| s.off = 1,
                |s| s.addr = 1,
                |s| s.op_flags = 1,
                |s| s.buf_index = 1,
            ],
        ),
        (
            IORING_OP_CLOSE,
            &[
                |s| s.off = 1,
                |s| s.addr = 1,
                |s| s.len = 1,
                |s| s.op_flags = 1,
            ],
        ),
        (
            IORING_OP_ASYNC_CANCEL,
            &[|s| s.off = 1, |s| s.file_index = 1, |s| s.op_flags = 1 << 6],
        ),
        (
            IORING_OP_POLL_ADD,
            &[
                |s| s.off = 1,
                |s| s.addr = 1,
                |s| s.len = IORING_POLL_ADD_LEVEL,
            ],
        ),
    ];
    for (opcode, changes) in cases {
        assert!(read(&sqe(*opcode)).is_ok(), "{opcode}");
        for (index, change) in changes.iter().enumerate() {
            let mut entry = sqe(*opcode);
            change(&mut entry);
            assert_eq!(
                read(&entry),
                Err(Errno::EINVAL),
                "operation {opcode}, change {index}"
            );
        }
    }
}

#[test]
fn a_backlog_is_any_number() {
    // Linux bounds it by somaxconn when it listens, and takes a negative one for a huge one.
    for backlog in [0, 16, i32::MAX, -1] {
        let entry = Sqe {
            fd: 4,
            flags: IOSQE_FIXED_FILE,
            len: backlog as u32,
            ..sqe(IORING_OP_LISTEN)
        };
        let target = Target::Fixed(4);
        assert_eq!(read(&entry), Ok(Op::Listen { target, backlog }));
    }
}

#[test]
fn accept_is_read_field_by_field() {
    let entry = Sqe {
        fd: 5,
        flags: IOSQE_FIXED_FILE,
        addr: 4096,
        off: 8192,
        file_index: 3,
        op_flags: libc::SOCK_NONBLOCK as u32,
        ..sqe(IORING_OP_ACCEPT)
    };
    let plain = Accept {
        target: Target::Fixed(5),
        addr: 4096,
        addr_len: 8192,
        slot: Slot::Index(2),
        multishot: false,
        dont_wait: false,
        poll_first: false,
    };
    assert_eq!(read(&entry), Ok(Op::Accept(plain)));
    let with = |ioprio| read(&Sqe { ioprio, ..entry });
    let dont_wait = Op::Accept(Accept {
        dont_wait: true,
        ..plain
    });
    assert_eq!(with(IORING_ACCEPT_DONTWAIT), Ok(dont_wait));
    let poll_first = Op::Accept(Accept {
        poll_first: true,
        ..plain
    });
    assert_eq!(with(IORING_ACCEPT_POLL_FIRST), Ok(poll_first));
}

#[test]
fn a_multishot_accept_never_names_one_slot() {
    let armed = |file_index| {
        read(&Sqe {
            ioprio: IORING_ACCEPT_MULTISHOT,
            file_index,
            ..sqe(IORING_OP_ACCEPT)
        })
    };
    assert_eq!(armed(1), Err(Errno::EINVAL));
    for (file_index, slot) in [(0, Slot::None), (IORING_FILE_INDEX_ALLOC, Slot::Alloc)] {
        let Ok(Op::Accept(accept)) = armed(file_index) else {
            panic!("refused: {slot:?}")
        };
        assert_eq!((accept.multishot, accept.slot), (true, slot));
    }
}

#[test]
fn only_a_plain_descriptor_closes_on_exec() {
    let accept = |file_index| {
        read(&Sqe {
            op_flags: libc::SOCK_CLOEXEC as u32,
            file_index,
            ..sqe(IORING_OP_ACCEPT)
        })
    };
    assert!(accept(0).is_ok());
    assert_eq!(accept(1), Err(Errno::EINVAL));
    assert_eq!(accept(IORING_FILE_INDEX_ALLOC), Err(Errno::EINVAL));
}

#[test]
fn a_bundle_is_one_with_a_group_only() {
    for opcode in [IORING_OP_SEND, IORING_OP_RECV] {
        let entry = Sqe {
            ioprio: IORING_RECVSEND_BUNDLE,
            flags: IOSQE_BUFFER_SELECT,
            buf_index: 7,
            len: 100,
            ..sqe(opcode)
        };
        let read_transfer = |sqe: &Sqe| match read(sqe) {
            Ok(Op::Send(transfer) | Op::Recv(transfer)) => transfer,
            other => panic!("operation {opcode}: {other:?}"),
        };
        let bundle = read_transfer(&entry);
        assert_eq!(
            (bundle.bundle, bundle.group, bundle.len),
            (true, Some(7), 100)
        );
        // The kernel takes the flag without a group too.
        let alone = read_transfer(&Sqe { flags: 0, ..entry });
        assert_eq!((alone.bundle, alone.group), (false, None));
        let single = read_transfer(&Sqe { ioprio: 0, ..entry });
        assert_eq!((single.bundle, single.group), (false, Some(7)));
    }
}

#[test]
fn a_receive_is_bundled_and_multishot_at_once() {
    let entry = Sqe {
        ioprio: IORING_RECVSEND_BUNDLE | IORING_RECV_MULTISHOT,
        flags: IOSQE_BUFFER_SELECT,
        ..sqe(IORING_OP_RECV)
    };
    let Ok(Op::Recv(transfer)) = read(&entry) else {
        panic!("refused")
    };
    assert!(transfer.bundle && transfer.multishot);
}

#[test]
fn a_zero_copy_receive_is_multishot_and_names_its_queue() {
    let entry = Sqe {
        fd: 5,
        flags: IOSQE_FIXED_FILE,
        ioprio: IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST,
        len: 1000,
        file_index: 3,
        ..sqe(IORING_OP_RECV_ZC)
    };
    let expected = ZeroCopyReceive {
        target: Target::Fixed(5),
        queue: 3,
        limit: 1000,
        poll_first: true,
    };
    assert_eq!(read(&entry), Ok(Op::RecvZc(expected)));
    for ioprio in [
        0,
        IORING_RECVSEND_POLL_FIRST,
        IORING_RECV_MULTISHOT | IORING_RECVSEND_BUNDLE,
    ] {
        let entry = Sqe { ioprio, ..entry };
        assert_eq!(read(&entry), Err(Errno::EINVAL), "{ioprio}");
    }
    let wrong = [
        Sqe { addr: 1, ..entry },
        Sqe { off: 1, ..entry },
        Sqe { addr3: 1, ..entry },
        Sqe {
            op_flags: 1,
            ..entry
        },
    ];
    for entry in wrong {
        assert_eq!(read(&entry), Err(Errno::EINVAL), "{entry:?}");
    }
}

#[test]
fn messages_are_never_bundled() {
    for opcode in [IORING_OP_SENDMSG, IORING_OP_RECVMSG] {
        let entry = Sqe {
            ioprio: IORING_RECVSEND_BUNDLE,
            ..sqe(opcode)
        };
        assert_eq!(read(&entry), Err(Errno::EINVAL), "operation {opcode}");
    }
    let selecting = Sqe {
        ioprio: IORING_RECVSEND_BUNDLE,
        flags: IOSQE_BUFFER_SELECT,
        ..sqe(IORING_OP_RECVMSG)
    };
    assert_eq!(read(&selecting), Err(Errno::EINVAL));
}

#[test]
fn multishot_needs_a_group_and_bears_no_waitall() {
    let armed = Sqe {
        ioprio: IORING_RECV_MULTISHOT,
        flags: IOSQE_BUFFER_SELECT,
        buf_index: 7,
        ..sqe(IORING_OP_RECV)
    };
    assert!(matches!(
        read(&armed),
        Ok(Op::Recv(Transfer {
            multishot: true,
            group: Some(7),
            ..
        }))
    ));
    assert_eq!(read(&Sqe { flags: 0, ..armed }), Err(Errno::EINVAL));
    assert_eq!(
        read(&Sqe {
            op_flags: libc::MSG_WAITALL as u32,
            ..armed
        }),
        Err(Errno::EINVAL)
    );
    assert!(
        read(&Sqe {
            file_index: 100,
            ..armed
        })
        .is_ok(),
        "a limit in bytes"
    );
}

#[test]
fn timeouts_are_checked() {
    let timeout = Sqe {
        len: 1,
        addr: 4096,
        ..sqe(IORING_OP_TIMEOUT)
    };
    assert!(read(&timeout).is_ok());
    assert_eq!(read(&Sqe { len: 2, ..timeout }), Err(Errno::EINVAL));
    for flags in [
        IORING_TIMEOUT_BOOTTIME | IORING_TIMEOUT_REALTIME,
        IORING_TIMEOUT_MULTISHOT | IORING_TIMEOUT_ABS,
        IORING_TIMEOUT_UPDATE,
        1 << 30,
    ] {
        assert_eq!(
            read(&Sqe {
                op_flags: flags,
                ..timeout
            }),
            Err(Errno::EINVAL),
            "{flags:#x}"
        );
    }
}

#[test]
fn close_names_a_descriptor_or_a_slot_but_not_both() {
    assert_eq!(
        read(&Sqe {
            fd: 3,
            ..sqe(IORING_OP_CLOSE)
        }),
        Ok(Op::Close {
            target: Target::Fd(3)
        })
    );
    let slot = Sqe {
        file_index: 3,
        ..sqe(IORING_OP_CLOSE)
    };
    assert_eq!(
        read(&slot),
        Ok(Op::Close {
            target: Target::Fixed(2)
        })
    );
    assert_eq!(read(&Sqe { fd: 3, ..slot }), Err(Errno::EINVAL));
    assert_eq!(
        read(&Sqe {
            flags: IOSQE_FIXED_FILE,
            ..slot
        }),
        Err(Errno::EBADF)
    );
}

#[test]
fn cancellation_keys_exclude_each_other_as_in_the_kernel() {
    let by = |flags| {
        read(&Sqe {
            op_flags: flags,
            addr: 9,
            fd: 2,
            ..sqe(IORING_OP_ASYNC_CANCEL)
        })
    };
    let Ok(Op::AsyncCancel(default)) = by(0) else {
        panic!("refused")
    };
    assert_eq!(
        (default.user_data, default.target, default.all),
        (Some(9), None, false)
    );
    let Ok(Op::AsyncCancel(fd)) = by(IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_FD_FIXED) else {
        panic!("refused")
    };
    assert_eq!((fd.user_data, fd.target), (None, Some(Target::Fixed(2))));
    assert_eq!(
        by(IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ANY),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        by(IORING_ASYNC_CANCEL_OP | IORING_ASYNC_CANCEL_ANY),
        Err(Errno::EINVAL)
    );
}

#[test]
fn provided_buffers_are_checked() {
    let provide = Sqe {
        fd: 4,
        addr: 4096,
        len: 64,
        ..sqe(IORING_OP_PROVIDE_BUFFERS)
    };
    assert!(read(&provide).is_ok());
    assert_eq!(read(&Sqe { fd: 0, ..provide }), Err(Errno::E2BIG));
    assert_eq!(
        read(&Sqe {
            fd: 65537,
            ..provide
        }),
        Err(Errno::E2BIG)
    );
    assert_eq!(read(&Sqe { len: 0, ..provide }), Err(Errno::EINVAL));
    assert_eq!(
        read(&Sqe {
            off: 65536,
            ..provide
        }),
        Err(Errno::E2BIG)
    );
    assert_eq!(
        read(&Sqe {
            off: 65533,
            ..provide
        }),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        read(&Sqe {
            addr: u64::MAX,
            ..provide
        }),
        Err(Errno::EOVERFLOW)
    );
}

#[test]
fn socket_commands_are_read_by_number() {
    let command = |cmd_op: u32| {
        let option = Sqe {
            off: cmd_op.into(),
            addr: 7 << 32 | 6,
            addr3: 4096,
            file_index: u32::MAX,
            ..sqe(IORING_OP_URING_CMD)
        };
        match read(&option) {
            Ok(Op::SocketCommand { command, .. }) => command,
            other => panic!("{other:?}"),
        }
    };
    let option = OptionTransfer {
        level: 6,
        name: 7,
        value: 4096,
        len: -1,
    };
    assert_eq!(command(0), SocketCommand::QueuedIn);
    assert_eq!(command(1), SocketCommand::QueuedOut);
    assert_eq!(command(2), SocketCommand::GetOption(option));
    assert_eq!(command(3), SocketCommand::SetOption(option));
    assert_eq!(command(4), SocketCommand::TxTimestamp);
    assert_eq!(command(9), SocketCommand::Unknown(9));
}

#[test]
fn a_socket_command_takes_no_provided_buffer() {
    let select = Sqe {
        flags: IOSQE_BUFFER_SELECT,
        ..sqe(IORING_OP_URING_CMD)
    };
    assert_eq!(read(&select), Err(Errno::EINVAL));
    let multishot = Sqe {
        op_flags: IORING_URING_CMD_MULTISHOT,
        ..select
    };
    assert_eq!(read(&multishot), Err(Errno::EINVAL));
}

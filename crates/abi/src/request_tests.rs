use super::*;

fn sqe(opcode: u8) -> Sqe {
    Sqe {
        opcode,
        ..Sqe::default()
    }
}

fn read(sqe: &Sqe) -> Result<Op, Errno> {
    check_common(sqe)?;
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

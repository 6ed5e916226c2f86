//! Sends from groups whose entries name memory in registered buffers: an extension, so the kernel cannot be
//! asked about it.

use super::*;

const GROUP: u16 = 7;

fn entry(opcode: u8, ioprio: u16) -> Sqe {
    Sqe {
        opcode,
        flags: IOSQE_BUFFER_SELECT,
        ioprio: IORING_RECVSEND_FIXED_BUF | ioprio,
        buf_index: GROUP,
        ..Sqe::default()
    }
}

fn read(sqe: &Sqe) -> Result<Op, Errno> {
    check_flags(sqe)?;
    check_priority(sqe, |_| false)?;
    parse(sqe)
}

fn transfer(sqe: &Sqe) -> Transfer {
    match read(sqe) {
        Ok(Op::Send(transfer)) => transfer,
        other => panic!("{sqe:?}: {other:?}"),
    }
}

#[test]
fn the_index_is_the_groups() {
    for opcode in [IORING_OP_SEND, IORING_OP_SEND_ZC] {
        let send = transfer(&entry(opcode, 0));
        let memory = (send.registered, send.group, send.fixed, send.bundle);
        assert_eq!(memory, (true, Some(GROUP), None, false));
        let bundle = transfer(&entry(opcode, IORING_RECVSEND_BUNDLE));
        assert!(bundle.registered && bundle.bundle);
        let lone = Sqe {
            flags: 0,
            ..entry(opcode, 0)
        };
        let memory = (transfer(&lone).registered, transfer(&lone).fixed);
        assert_eq!(memory, (false, Some(GROUP)), "without a group");
    }
    let plain = transfer(&Sqe {
        ioprio: 0,
        ..entry(IORING_OP_SEND, 0)
    });
    assert!(!plain.registered, "of memory named by address");
}

#[test]
fn a_zero_copy_send_selects_registered_buffers_only() {
    let plain = Sqe {
        ioprio: 0,
        ..entry(IORING_OP_SEND_ZC, 0)
    };
    assert_eq!(read(&plain), Err(Errno::EOPNOTSUPP));
    let message = entry(IORING_OP_SENDMSG_ZC, 0);
    assert_eq!(read(&message), Err(Errno::EOPNOTSUPP));
}

#[test]
fn a_message_and_a_receive_know_no_such_group() {
    for opcode in [IORING_OP_RECV, IORING_OP_RECVMSG] {
        assert_eq!(read(&entry(opcode, 0)), Err(Errno::EINVAL), "{opcode}");
    }
    let message = entry(IORING_OP_SENDMSG, 0);
    assert_eq!(read(&message), Err(Errno::EOPNOTSUPP));
}

#[test]
fn iovecs_are_not_to_be_had_as_well() {
    for opcode in [IORING_OP_SEND, IORING_OP_SEND_ZC] {
        let entry = entry(opcode, IORING_SEND_VECTORIZED);
        assert_eq!(read(&entry), Err(Errno::EINVAL), "operation {opcode}");
    }
}

#[test]
fn a_bundle_needs_the_group() {
    for opcode in [IORING_OP_SEND, IORING_OP_SEND_ZC] {
        let alone = Sqe {
            flags: 0,
            ..entry(opcode, IORING_RECVSEND_BUNDLE)
        };
        assert_eq!(read(&alone), Err(Errno::EINVAL), "operation {opcode}");
    }
}

#[test]
fn usage_is_reported_of_what_is_accepted() {
    let report = IORING_SEND_ZC_REPORT_USAGE;
    let bundle = entry(IORING_OP_SEND_ZC, IORING_RECVSEND_BUNDLE | report);
    let notify = transfer(&bundle).notify.expect("a notification");
    assert!(notify.report_usage);
    let plain = entry(IORING_OP_SEND, report);
    assert_eq!(
        read(&plain),
        Err(Errno::EINVAL),
        "a SEND has none to report"
    );
}

#[test]
fn a_refused_entry_has_its_notification() {
    let notified = |sqe: &Sqe| notification(sqe).map(|notify| notify.report_usage);
    let report = IORING_SEND_ZC_REPORT_USAGE;
    let vectored = entry(IORING_OP_SEND_ZC, IORING_SEND_VECTORIZED | report);
    assert_eq!(notified(&vectored), Some(true));
    let unknown = entry(IORING_OP_SEND_ZC, 1 << 15 | report);
    assert_eq!(read(&unknown), Err(Errno::EINVAL));
    assert_eq!(notified(&unknown), Some(false));
    // As in the kernel, where it is unknown.
    let alone = Sqe {
        flags: 0,
        ..entry(IORING_OP_SEND_ZC, IORING_RECVSEND_BUNDLE | report)
    };
    assert_eq!(notified(&alone), Some(false));
}

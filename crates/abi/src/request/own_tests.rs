//! Operations that Linux has no more, by the layouts that they had there.

use super::{Op, SlotBinding, Target, check_flags, notification, parse};
use crate::errno::Errno;
use crate::flags::*;
use crate::sqe::Sqe;

const SEND: Sqe = Sqe {
    opcode: RINGWIRE_OP_SEND_ZC_SLOT,
    flags: IOSQE_FIXED_FILE,
    ioprio: 0,
    fd: 3,
    off: 0,
    addr: 0x1000,
    len: 10,
    op_flags: 0,
    user_data: 1,
    buf_index: 0,
    personality: 0,
    file_index: 7,
    addr3: 0,
    pad2: 0,
};

fn read(sqe: &Sqe) -> Result<Op, Errno> {
    check_flags(sqe)?;
    parse(sqe)
}

#[test]
fn a_send_to_a_slot_has_its_fields_where_6_0_rc1_had_them() {
    // notification_idx at byte 44, addr_len at byte 46.
    let mut words = [0u64; 8];
    words[0] = u64::from(RINGWIRE_OP_SEND_ZC_SLOT);
    words[1] = 0x2000;
    words[5] = (7 | 16 << 16) << 32 | 5;
    words[0] |= u64::from(IORING_RECVSEND_FIXED_BUF | RINGWIRE_SEND_FLUSH) << 16;
    let Ok(Op::Send(send)) = read(&Sqe::from_words(words)) else {
        panic!("it is a send")
    };
    let (index, flush) = (7, true);
    assert_eq!(send.slot, Some(SlotBinding { index, flush }));
    assert_eq!(send.to, (0x2000, 16));
    assert_eq!(send.fixed, Some(5));
    assert_eq!(Op::Send(send).opcode(), RINGWIRE_OP_SEND_ZC_SLOT);
}

#[test]
fn a_send_to_a_slot_has_no_notification_of_its_own() {
    assert_eq!(notification(&SEND), None);
    let Ok(Op::Send(send)) = read(&SEND) else {
        panic!("it is a send")
    };
    assert_eq!((send.notify, send.target), (None, Target::Fixed(3)));
}

#[test]
fn a_send_to_a_slot_is_refused_what_it_does_not_know() {
    let select = Sqe {
        flags: IOSQE_BUFFER_SELECT,
        ..SEND
    };
    assert_eq!(read(&select), Err(Errno::EOPNOTSUPP));
    for wrong in [
        Sqe { ioprio: 2, ..SEND },
        Sqe {
            ioprio: 1 << 4,
            ..SEND
        },
        Sqe { addr3: 1, ..SEND },
        Sqe { pad2: 1, ..SEND },
        Sqe {
            len: 1 << 31,
            ..SEND
        },
        Sqe {
            file_index: 129 << 16,
            ..SEND
        },
    ] {
        assert_eq!(read(&wrong), Err(Errno::EINVAL), "{wrong:?}");
    }
    let silent = Sqe {
        flags: IOSQE_CQE_SKIP_SUCCESS,
        ..SEND
    };
    assert!(read(&silent).is_ok(), "notifications alone may be wanted");
}

#[test]
fn a_flush_names_a_range_and_a_tag() {
    let flush = Sqe {
        opcode: RINGWIRE_OP_FLUSH_SLOTS,
        off: 3,
        len: 2,
        addr: 0xfeed,
        ..Sqe::default()
    };
    let (first, count, tag) = (3, 2, 0xfeed);
    assert_eq!(read(&flush), Ok(Op::FlushSlots { first, count, tag }));
    for wrong in [
        Sqe { len: 0, ..flush },
        Sqe {
            op_flags: 1,
            ..flush
        },
        Sqe {
            file_index: 1,
            ..flush
        },
        Sqe { addr3: 1, ..flush },
        Sqe { pad2: 1, ..flush },
        Sqe {
            flags: IOSQE_FIXED_FILE,
            ..flush
        },
    ] {
        assert_eq!(read(&wrong), Err(Errno::EINVAL), "{wrong:?}");
    }
    let beyond = Sqe {
        off: 1 << 32,
        ..flush
    };
    assert_eq!(read(&beyond), Err(Errno::EOVERFLOW));
}

#[test]
fn a_watch_takes_nothing() {
    let watch = Sqe {
        opcode: RINGWIRE_OP_WATCH,
        user_data: 7,
        ..Sqe::default()
    };
    assert_eq!(read(&watch), Ok(Op::Watch));
    assert_eq!(Op::Watch.opcode(), RINGWIRE_OP_WATCH);
    for wrong in [
        Sqe { off: 1, ..watch },
        Sqe { addr: 1, ..watch },
        Sqe { len: 1, ..watch },
        Sqe {
            op_flags: 1,
            ..watch
        },
        Sqe {
            buf_index: 1,
            ..watch
        },
        Sqe {
            file_index: 1,
            ..watch
        },
        Sqe { addr3: 1, ..watch },
        Sqe { pad2: 1, ..watch },
        Sqe {
            flags: IOSQE_FIXED_FILE,
            ..watch
        },
        // A multishot operation tells each time, as POLL_ADD does.
        Sqe {
            flags: IOSQE_CQE_SKIP_SUCCESS,
            ..watch
        },
    ] {
        assert_eq!(read(&wrong), Err(Errno::EINVAL), "{wrong:?}");
    }
}

#[test]
fn no_other_number_beyond_linuxs_is_known() {
    for opcode in IORING_OP_LAST..=u8::MAX {
        let sqe = Sqe {
            opcode,
            ..Sqe::default()
        };
        assert_eq!(check_flags(&sqe).is_ok(), is_own_opcode(opcode), "{opcode}");
    }
}

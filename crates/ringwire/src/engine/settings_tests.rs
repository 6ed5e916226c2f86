use super::*;
use crate::engine::bed::Bed;

fn probe(setup_flags: u32) -> (ProbeHeader, Vec<ProbeOp>) {
    let mut room = [0u64; 258];
    let mut bed = Bed::new(setup_flags);
    let arg = room.as_mut_ptr() as u64;
    assert_eq!(bed.register_at(IORING_REGISTER_PROBE, arg, 256), Ok(0));
    let ops = arg + size_of::<ProbeHeader>() as u64;
    let ops = (0..256).map(|op| crate::usermem::read_element(ops, op).unwrap());
    (read_plain(arg).unwrap(), ops.collect())
}

fn probed(setup_flags: u32, opcode: u8) -> bool {
    let (_, ops) = probe(setup_flags);
    ops[usize::from(opcode)].flags & IO_URING_OP_SUPPORTED != 0
}

#[test]
fn a_probe_names_every_operation_and_no_more() {
    let (header, ops) = probe(0);
    assert_eq!((header.last_op, header.ops_len), (64, 65));
    let numbers: Vec<u8> = ops.iter().take(65).map(|probed| probed.op).collect();
    assert_eq!(numbers, (0..65).collect::<Vec<u8>>());
    assert!(ops[65..].iter().all(|probed| *probed == ProbeOp::default()));
}

#[test]
fn a_probe_lists_what_there_is() {
    for opcode in [
        IORING_OP_NOP,
        IORING_OP_SOCKET,
        IORING_OP_RECV,
        IORING_OP_PROVIDE_BUFFERS,
        IORING_OP_RECV_ZC,
    ] {
        assert!(probed(0, opcode), "{opcode}");
    }
    assert!(!probed(0, IORING_OP_EPOLL_WAIT));
}

#[test]
fn wide_operations_are_there_where_entries_are_wide() {
    assert!(!probed(0, IORING_OP_NOP128));
    assert!(probed(IORING_SETUP_SQE128, IORING_OP_NOP128));
}

/// What is not in the probe is refused, and what is in it is not.
#[test]
fn a_probe_is_true() {
    let (_, ops) = probe(0);
    for probed in ops.iter().take(IORING_OP_LAST.into()) {
        let wide = matches!(probed.op, IORING_OP_NOP128 | IORING_OP_URING_CMD128);
        let refused = [0, 1].into_iter().any(|len| {
            let sqe = Sqe {
                opcode: probed.op,
                fd: -1,
                len,
                ..Sqe::default()
            };
            let completions = Bed::new(0).run(sqe.to_entry());
            let mut results = completions.iter().map(|&(_, res, _)| res);
            wide || results.any(|res| res == Errno::EOPNOTSUPP.res())
        });
        let listed = probed.flags & IO_URING_OP_SUPPORTED != 0;
        assert_eq!(listed, !refused, "operation {}", probed.op);
    }
}

#[test]
fn personalities_are_numbered_on_and_around() {
    let mut settings = Settings {
        last_personality: u16::MAX - 1,
        ..Settings::default()
    };
    assert_eq!(settings.add_personality(), Ok(65535));
    assert_eq!(settings.add_personality(), Ok(1));
    settings.last_personality = u16::MAX - 1;
    assert_eq!(
        settings.add_personality(),
        Ok(2),
        "what is taken is left out"
    );
    assert_eq!(
        settings.remove_personality(65535 + 65536),
        Err(Errno::EINVAL)
    );
}

#[test]
fn all_personalities_are_taken_some_time() {
    let mut settings = Settings {
        personalities: (1..=u16::MAX).collect(),
        ..Settings::default()
    };
    assert_eq!(settings.add_personality(), Err(Errno::EBUSY));
}

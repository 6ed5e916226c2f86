use super::*;

const GOOD: BufReg = BufReg {
    ring_addr: 8192,
    ring_entries: 8,
    bgid: 0,
    flags: 0,
    min_left: 0,
    resv: [0; 5],
};

#[test]
fn a_buffer_ring_is_checked_as_in_the_kernel() {
    assert_eq!(GOOD.check(), Ok(()));
    let refused = |reg: BufReg| assert_eq!(reg.check(), Err(Errno::EINVAL), "{reg:?}");
    for ring_entries in [0, 3, 65536] {
        refused(BufReg {
            ring_entries,
            ..GOOD
        });
    }
    refused(BufReg { flags: 4, ..GOOD });
    refused(BufReg {
        resv: [0, 0, 0, 0, 1],
        ..GOOD
    });
    refused(BufReg {
        min_left: 1,
        ..GOOD
    });
    let incremental = BufReg {
        min_left: 1,
        flags: IOU_PBUF_RING_INC,
        ..GOOD
    };
    assert_eq!(incremental.check(), Ok(()));
    for (flags, good) in [
        (0, true),
        (IOU_PBUF_RING_MMAP, true),
        (IOU_PBUF_RING_INC, false),
    ] {
        let flags = flags | IOU_PBUF_RING_LENT;
        assert_eq!(BufReg { flags, ..GOOD }.check().is_ok(), good, "{flags:#x}");
    }
}

#[test]
fn a_buffer_ring_lies_on_pages_or_is_given_them() {
    let at = |ring_addr, flags| {
        let reg = BufReg {
            ring_addr,
            flags,
            ..GOOD
        };
        reg.check_memory()
    };
    assert_eq!(at(8192, 0), Ok(()));
    assert_eq!(at(0, 0), Err(Errno::EFAULT));
    assert_eq!(at(8200, 0), Err(Errno::EINVAL));
    assert_eq!(at(8200, IOU_PBUF_RING_MMAP), Ok(()));
}

#[test]
fn an_unregistration_has_only_a_group() {
    assert_eq!(GOOD.check_unregister(), Ok(()));
    let flags = BufReg { flags: 1, ..GOOD };
    assert_eq!(flags.check_unregister(), Err(Errno::EINVAL));
}

#[test]
fn a_table_of_resources_is_checked_as_in_the_kernel() {
    let good = RsrcRegister {
        nr: 1,
        ..RsrcRegister::default()
    };
    assert_eq!(good.check(), Ok(()));
    let sparse_with_data = RsrcRegister {
        flags: IORING_RSRC_REGISTER_SPARSE,
        data: 4096,
        ..good
    };
    let wrong = [
        RsrcRegister { nr: 0, ..good },
        RsrcRegister { resv2: 1, ..good },
        RsrcRegister { flags: 2, ..good },
        sparse_with_data,
    ];
    for register in wrong {
        assert_eq!(register.check(), Err(Errno::EINVAL), "{register:?}");
    }
}

#[test]
fn an_update_of_resources_is_checked_as_in_the_kernel() {
    let good = RsrcUpdate2 {
        nr: 1,
        ..RsrcUpdate2::default()
    };
    assert_eq!(good.check(), Ok(()));
    let wrong = [
        RsrcUpdate2 { nr: 0, ..good },
        RsrcUpdate2 { resv: 1, ..good },
        RsrcUpdate2 { resv2: 1, ..good },
    ];
    for update in wrong {
        assert_eq!(update.check(), Err(Errno::EINVAL), "{update:?}");
    }
}

#[test]
fn the_arguments_of_a_wait_are_where_the_kernel_has_them() {
    let time = io_uring::types::Timespec::new().sec(1);
    let args = io_uring::types::SubmitArgs::new()
        .timespec(&time)
        .min_wait_usec(7);
    let arg = GetEventsArg::from_submit_args(&args);
    let expected = GetEventsArg {
        min_wait_us: 7,
        timespec: &raw const time as u64,
        ..arg
    };
    assert_eq!((arg, arg.sigmask), (expected, 0));
}

#[test]
fn a_synchronous_cancellation_has_what_its_builder_says() {
    let time = io_uring::types::Timespec::new().sec(3).nsec(4);
    let by_user_data = io_uring::types::CancelBuilder::user_data(7).all();
    let reg = SyncCancelReg::new(Some(time), by_user_data);
    assert_eq!((reg.addr, reg.flags, reg.timeout), (7, 1, [3, 4]));
    let by_file = io_uring::types::CancelBuilder::fd(io_uring::types::Fixed(5));
    let reg = SyncCancelReg::new(None, by_file);
    assert_eq!((reg.fd, reg.flags, reg.timeout), (5, 2 | 8, [-1, -1]));
}

#[test]
fn an_entrys_address_holds_a_registered_buffers_index_below_the_offset() {
    assert_eq!(pack_registered(3, 4096), 4096 << 20 | 3);
    let (index, offset) = ((1 << 20) - 1, (1 << 44) - 1);
    assert_eq!(pack_registered(index, offset), u64::MAX);
    for (index, offset) in [(0, 0), (index, 0), (0, offset), (16383, 1 << 40)] {
        let address = pack_registered(index, offset);
        assert_eq!(unpack_registered(address), (index, offset));
    }
}

#[test]
#[should_panic(expected = "20 bits")]
fn an_index_does_not_run_into_the_offset() {
    pack_registered(1 << 20, 0);
}

#[test]
#[should_panic(expected = "44 bits")]
fn an_offset_is_not_cut() {
    pack_registered(0, 1 << 44);
}

use super::*;

#[test]
fn a_buffer_ring_is_checked_as_in_the_kernel() {
    let good = BufReg {
        ring_addr: 8192,
        ring_entries: 8,
        ..BufReg::default()
    };
    assert_eq!(good.check(), Ok(()));
    for entries in [0, 3, 65536] {
        assert_eq!(
            BufReg {
                ring_entries: entries,
                ..good
            }
            .check(),
            Err(Errno::EINVAL),
            "{entries}"
        );
    }
    assert_eq!(
        BufReg {
            ring_addr: 8200,
            ..good
        }
        .check(),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        BufReg {
            ring_addr: 0,
            ..good
        }
        .check(),
        Err(Errno::EFAULT)
    );
    assert_eq!(BufReg { flags: 4, ..good }.check(), Err(Errno::EINVAL));
    assert_eq!(
        BufReg {
            resv: [1, 0, 0],
            ..good
        }
        .check(),
        Err(Errno::EINVAL)
    );
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

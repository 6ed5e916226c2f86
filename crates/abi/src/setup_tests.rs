use super::*;

#[test]
fn sizes_are_rounded_up_and_bounded() {
    assert_eq!(ring_sizes(5, None, 0), Ok((8, 16)));
    assert_eq!(ring_sizes(8, Some(9), IORING_SETUP_CQSIZE), Ok((8, 16)));
    assert_eq!(ring_sizes(0, None, 0), Err(Errno::EINVAL));
    assert_eq!(ring_sizes(MAX_SQ_ENTRIES + 1, None, 0), Err(Errno::EINVAL));
    assert_eq!(
        ring_sizes(MAX_SQ_ENTRIES + 1, None, IORING_SETUP_CLAMP),
        Ok((MAX_SQ_ENTRIES, MAX_CQ_ENTRIES))
    );
    assert_eq!(
        ring_sizes(8, Some(4), IORING_SETUP_CQSIZE),
        Err(Errno::EINVAL)
    );
    assert_eq!(ring_sizes(8, None, IORING_SETUP_CQSIZE), Err(Errno::EINVAL));
}

#[test]
fn flags_are_refused_as_the_kernel_refuses_them() {
    let refused = [
        IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_SQPOLL,
        IORING_SETUP_IOPOLL,
        1 << 31,
    ];
    for flags in refused {
        assert_eq!(ring_sizes(8, None, flags), Err(Errno::EINVAL), "{flags:#x}");
    }
    let taken = IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_TASKRUN_FLAG;
    assert!(ring_sizes(8, None, taken).is_ok());
}

#[test]
fn the_kernel_gives_the_same_sizes_and_refusals() {
    let Some(kernel) = crate::oracle::Kernel::new() else {
        return;
    };
    let compare = |entries, cq_entries: Option<u32>, flags| {
        let cqsize = cq_entries.map_or(0, |_| IORING_SETUP_CQSIZE);
        assert_eq!(
            ring_sizes(entries, cq_entries, flags | cqsize).map_err(|errno| Some(errno.raw())),
            kernel.ring_sizes(entries, cq_entries, flags),
            "{entries} entries, {cq_entries:?} completions, flags {flags:#x}"
        );
    };
    for entries in [0, 1, 3, 64, MAX_SQ_ENTRIES, MAX_SQ_ENTRIES + 1, u32::MAX] {
        for clamp in [0, IORING_SETUP_CLAMP] {
            for cq in [0, 1, 4, 65, MAX_CQ_ENTRIES, MAX_CQ_ENTRIES + 1, u32::MAX] {
                compare(entries, Some(cq), clamp);
            }
            compare(entries, None, clamp);
        }
    }
    for flags in (0..1 << 17).filter(|flags| flags & !SUPPORTED_FLAGS == 0) {
        if flags & IORING_SETUP_CQSIZE == 0 {
            compare(4, None, flags);
        }
    }
}

use super::*;

#[test]
fn sizes_are_rounded_up_and_bounded() {
    assert_eq!(ring_sizes(5, 0, 0), Ok((8, 16)));
    assert_eq!(ring_sizes(8, 9, IORING_SETUP_CQSIZE), Ok((8, 16)));
    assert_eq!(ring_sizes(0, 0, 0), Err(Errno::EINVAL));
    assert_eq!(ring_sizes(MAX_SQ_ENTRIES + 1, 0, 0), Err(Errno::EINVAL));
    assert_eq!(
        ring_sizes(MAX_SQ_ENTRIES + 1, 0, IORING_SETUP_CLAMP),
        Ok((MAX_SQ_ENTRIES, MAX_CQ_ENTRIES))
    );
    assert_eq!(ring_sizes(8, 4, IORING_SETUP_CQSIZE), Err(Errno::EINVAL));
    assert_eq!(ring_sizes(8, 0, IORING_SETUP_CQSIZE), Err(Errno::EINVAL));
}

#[test]
fn a_mixed_queue_has_room_for_a_large_entry() {
    let cq = IORING_SETUP_CQSIZE | IORING_SETUP_CQE_MIXED;
    assert_eq!(ring_sizes(1, 1, cq), Err(Errno::EOVERFLOW));
    assert_eq!(ring_sizes(1, 2, cq), Ok((1, 2)));
    let sq = IORING_SETUP_SQE_MIXED;
    assert_eq!(ring_sizes(1, 0, sq), Err(Errno::EOVERFLOW));
    assert_eq!(ring_sizes(2, 0, sq), Ok((2, 4)));
}

#[test]
fn flags_without_a_meaning_here_are_refused() {
    for flags in [
        IORING_SETUP_IOPOLL,
        IORING_SETUP_HYBRID_IOPOLL | IORING_SETUP_IOPOLL,
        IORING_SETUP_ATTACH_WQ,
        IORING_SETUP_NO_MMAP,
        IORING_SETUP_REGISTERED_FD_ONLY | IORING_SETUP_NO_MMAP,
        IORING_SETUP_SQ_REWIND | IORING_SETUP_NO_SQARRAY,
        1 << 31,
    ] {
        assert_eq!(ring_sizes(8, 0, flags), Err(Errno::EINVAL), "{flags:#x}");
    }
}

/// Sizes from everywhere, and mostly small ones.
fn size(random: u64) -> u32 {
    match random % 16 {
        0 => MAX_SQ_ENTRIES,
        1 => MAX_SQ_ENTRIES + 1,
        2 => MAX_CQ_ENTRIES,
        3 => MAX_CQ_ENTRIES + 1,
        4 => u32::MAX,
        _ => (random >> 8) as u32 % 70,
    }
}

#[test]
fn the_kernel_gives_the_same_sizes_and_refusals() {
    let Some(kernel) = crate::oracle::Kernel::new() else {
        return;
    };
    // Newer than the oldest kernel that this test runs on.
    let newer = match kernel.ring_sizes(2, 0, IORING_SETUP_SQE_MIXED) {
        Ok(_) => 0,
        Err(_) => IORING_SETUP_SQE_MIXED,
    };
    let flags: Vec<u32> = (0..32)
        .map(|bit| 1 << bit)
        .filter(|flag| SUPPORTED_FLAGS & !newer & flag != 0)
        .collect();
    let mut random = 0x853c_49e6_748f_ea9bu64;
    let mut next = || {
        // Xorshift64 (Marsaglia 2003).
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut made = 0;
    for _ in 0..1000 {
        // A flag in four, so that a fair share of the combinations is a legal one.
        let flags = flags
            .iter()
            .filter(|_| next().is_multiple_of(4))
            .fold(0, |all, flag| all | flag);
        let (entries, cq_entries) = (size(next()), size(next()));
        let ours = ring_sizes(entries, cq_entries, flags);
        made += u32::from(ours.is_ok());
        assert_eq!(
            ours.map_err(Errno::raw),
            kernel.ring_sizes(entries, cq_entries, flags),
            "{entries} entries, {cq_entries} completions, flags {flags:#x}"
        );
    }
    assert!(made > 100, "only {made} rings were made");
}

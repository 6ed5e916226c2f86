use super::*;

/// RCV.NXT of these tests, unless they say another.
const NEXT: SeqNumber = SeqNumber(1 << 31);

fn insert(reassembly: &mut Reassembly, start: u32, end: u32) -> Option<(u32, u32)> {
    let kept = reassembly.insert(NEXT, SeqNumber(start), SeqNumber(end));
    kept.ok().map(|kept| (kept.start.0, kept.end.0))
}

fn with(ranges: &[(u32, u32)]) -> Reassembly {
    let mut reassembly = Reassembly::default();
    for &(start, end) in ranges {
        assert_eq!(insert(&mut reassembly, start, end), Some((start, end)));
    }
    reassembly
}

#[test]
fn separate_segments_stay_separate_and_in_order() {
    let reassembly = with(&[(300, 400), (100, 200), (500, 600)]);
    assert_eq!(reassembly.ranges(), [(100, 200), (300, 400), (500, 600)]);
}

#[test]
fn touching_segments_become_one_range() {
    let reassembly = with(&[(100, 200), (300, 400), (200, 300)]);
    assert_eq!(reassembly.ranges(), [(100, 400)]);
}

#[test]
fn what_is_there_already_is_not_kept_again() {
    let mut reassembly = with(&[(100, 300)]);
    assert_eq!(insert(&mut reassembly, 100, 300), None);
    assert_eq!(insert(&mut reassembly, 150, 250), None);
    assert_eq!(insert(&mut reassembly, 50, 150), Some((50, 100)));
    assert_eq!(insert(&mut reassembly, 250, 350), Some((300, 350)));
    assert_eq!(reassembly.ranges(), [(50, 350)]);
}

#[test]
fn a_segment_replaces_what_lies_inside_it() {
    let mut reassembly = with(&[(100, 200), (300, 400)]);
    assert_eq!(insert(&mut reassembly, 50, 450), Some((50, 450)));
    assert_eq!(reassembly.ranges(), [(50, 450)]);
}

#[test]
fn a_segment_between_two_others_is_cut_at_both() {
    let mut reassembly = with(&[(100, 200), (300, 400)]);
    assert_eq!(insert(&mut reassembly, 150, 350), Some((200, 300)));
    assert_eq!(reassembly.ranges(), [(100, 400)]);
}

#[test]
fn the_next_number_advances_over_what_follows() {
    let mut reassembly = with(&[(200, 300), (400, 500)]);
    assert_eq!(reassembly.advance(SeqNumber(100)), SeqNumber(100));
    assert_eq!(reassembly.advance(SeqNumber(200)), SeqNumber(300));
    assert_eq!(reassembly.ranges(), [(400, 500)]);
    assert_eq!(reassembly.advance(SeqNumber(450)), SeqNumber(500));
    assert!(reassembly.is_empty());
}

#[test]
fn numbers_that_wrap_are_in_order() {
    let mut reassembly = with(&[(u32::MAX - 10, 10), (100, 200)]);
    assert_eq!(insert(&mut reassembly, 0, 50), Some((10, 50)));
    assert_eq!(reassembly.advance(SeqNumber(u32::MAX - 10)), SeqNumber(50));
}

#[test]
fn holes_are_bounded() {
    let mut reassembly = Reassembly::default();
    for hole in 0..MAX_RANGES as u32 {
        assert!(insert(&mut reassembly, 10 * hole, 10 * hole + 1).is_some());
    }
    assert_eq!(insert(&mut reassembly, 10_000, 10_001), None);
    // What fills a hole, or makes one smaller, is still kept; and what comes next.
    assert_eq!(insert(&mut reassembly, 1, 10), Some((1, 10)));
    let last = insert(&mut reassembly, 10_000, 10_001);
    assert_eq!(last, Some((10_000, 10_001)), "one hole has gone");
    let (start, end) = (SeqNumber(5000), SeqNumber(5001));
    let refused = reassembly.insert(NEXT, start, end);
    assert_eq!(refused, Err(Refusal::TooManyHoles));
    assert_eq!(
        reassembly.insert(start, start, end),
        Ok(Range { start, end })
    );
}

#[test]
fn any_order_of_segments_covers_the_same_bytes() {
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % below
    };
    for _ in 0..500 {
        let base = next(1 << 32) as u32;
        let mut reassembly = Reassembly::default();
        // Which piece would hold each byte: what is kept replaces what lies inside it, and a byte
        // that is kept is never one that a range outside of it has.
        let mut bytes = [0u32; 200];
        for piece in 1..=60 {
            let start = next(190) as u32;
            let end = start + 1 + next(10) as u32;
            let at = |offset: u32| SeqNumber(base.wrapping_add(offset));
            if let Ok(kept) = reassembly.insert(NEXT, at(start), at(end)) {
                let (from, to) = (kept.start.since(at(0)), kept.end.since(at(0)));
                assert!(start <= from && to <= end);
                bytes[from as usize..to as usize].fill(piece);
            }
            assert!(
                (start..end).all(|byte| bytes[byte as usize] > 0),
                "a byte was lost"
            );
        }
        let covered = bytes.iter().filter(|&&piece| piece > 0).count();
        let counted: u32 = reassembly
            .ranges()
            .iter()
            .map(|&(start, end)| end.wrapping_sub(start))
            .sum();
        assert_eq!(counted as usize, covered);
    }
}

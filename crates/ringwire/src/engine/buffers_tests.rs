use super::*;
use crate::usermem::tests::AppRing;

const GROUP: u16 = 3;
/// Where the first buffer would be. Selection never looks into buffers: there is no memory behind it.
const BASE: u64 = 1 << 20;
/// What lies between the beginnings of two buffers.
const STRIDE: u64 = 1 << 12;

/// An empty ring, registered in new groups.
fn ring(incremental: bool) -> (AppRing, Groups) {
    let (app, ring) = AppRing::new();
    let mut groups = Groups::default();
    groups.add_ring(GROUP, ring, incremental.then_some(0));
    (app, groups)
}

/// Provides buffers of these lengths, with ids from `bid` on.
fn provide(app: &mut AppRing, bid: u16, lens: &[u32]) {
    for (bid, &len) in (bid..).zip(lens) {
        app.provide(BASE + u64::from(bid) * STRIDE, len, bid);
    }
}

fn legacy(lens: &[u32]) -> Groups {
    let mut groups = Groups::default();
    for (bid, &len) in (0..).zip(lens) {
        let addr = BASE + u64::from(bid) * STRIDE;
        groups.provide(GROUP, addr, len, 1, bid).unwrap();
    }
    groups
}

fn named(bid: u16) -> u32 {
    IORING_CQE_F_BUFFER | u32::from(bid) << IORING_CQE_BUFFER_SHIFT
}

fn lens(bundle: &Bundle) -> Vec<usize> {
    bundle.spans.iter().map(|span| span.len).collect()
}

#[test]
fn a_buffer_is_cut_to_the_limit_and_used_up_whole() {
    let (mut app, mut groups) = ring(false);
    provide(&mut app, 0, &[100, 100]);
    let selected = groups.select(GROUP, 10).unwrap();
    assert_eq!(
        selected.span,
        Span {
            addr: BASE,
            len: 10
        }
    );
    assert_eq!(groups.commit(selected, 10), named(0));
    let next = groups.select(GROUP, 0).unwrap();
    assert_eq!(next.span.len, 100, "no limit is all of it");
    assert_eq!(groups.commit(next, 1), named(1));
    assert_eq!(groups.select(GROUP, 0).unwrap_err(), Errno::ENOBUFS);
}

#[test]
fn a_buffer_that_is_put_back_is_the_next_again() {
    let (mut app, mut groups) = ring(false);
    provide(&mut app, 7, &[100, 100]);
    for mut groups in [std::mem::take(&mut groups), legacy(&[100, 100])] {
        let first = groups.select(GROUP, 0).unwrap();
        let bid = first.bid;
        groups.recycle(first);
        let again = groups.select(GROUP, 0).unwrap();
        assert_eq!(groups.commit(again, 1), named(bid));
    }
}

#[test]
fn an_incremental_buffer_comes_again_until_it_is_full() {
    let (mut app, mut groups) = ring(true);
    provide(&mut app, 0, &[100, 50]);
    let selected = groups.select(GROUP, 0).unwrap();
    assert_eq!(
        groups.commit(selected, 40),
        named(0) | IORING_CQE_F_BUF_MORE
    );
    let rest = groups.select(GROUP, 0).unwrap();
    let span = Span {
        addr: BASE + 40,
        len: 60,
    };
    assert_eq!(rest.span, span);
    assert_eq!(groups.commit(rest, 60), named(0));
    let next = groups.select(GROUP, 0).unwrap();
    assert_eq!(groups.commit(next, 50), named(1));
}

#[test]
fn a_send_is_told_what_is_wrong_with_its_group() {
    let (mut app, mut groups) = ring(false);
    assert_eq!(groups.select_to_send(99, 0).unwrap_err(), Errno::ENOENT);
    assert_eq!(groups.select(99, 0).unwrap_err(), Errno::ENOBUFS);
    provide(&mut app, 0, &[0, 8]);
    assert_eq!(groups.select_to_send(GROUP, 0).unwrap_err(), Errno::ENOBUFS);
    assert_eq!(groups.select(GROUP, 0).unwrap().span.len, 0);
}

#[test]
fn no_buffer_holds_more_than_a_result_can_say() {
    let (mut app, mut groups) = ring(false);
    provide(&mut app, 0, &[u32::MAX]);
    assert_eq!(groups.select(GROUP, 0).unwrap().span.len, MAX_TRANSFER);
    assert_eq!(lens(&groups.peek_bundle(GROUP, 0).unwrap()), [MAX_TRANSFER]);
}

#[test]
fn a_bundle_without_a_limit_is_one_buffer() {
    let (mut app, mut groups) = ring(false);
    provide(&mut app, 0, &[100, 100]);
    let bundle = groups.peek_bundle(GROUP, 0).unwrap();
    assert_eq!((lens(&bundle), bundle.exhausted), (vec![100], false));
}

#[test]
fn a_bundle_takes_as_many_as_the_first_ones_length_asks_for() {
    let (mut app, mut groups) = ring(false);
    provide(&mut app, 0, &[10, 30, 5, 40, 10]);
    // 45 / 10: five at most; the first three hold it.
    let bundle = groups.peek_bundle(GROUP, 45).unwrap();
    assert_eq!((lens(&bundle), bundle.cut), (vec![10, 30, 5], false));
    assert_eq!(groups.commit_bundle(&bundle, 45), named(0));
    // 41 / 40: two, though more would be there.
    let bundle = groups.peek_bundle(GROUP, 41).unwrap();
    assert_eq!((lens(&bundle), bundle.cut), (vec![40], true));
}

#[test]
fn only_the_first_buffer_of_a_bundle_is_cut() {
    let (mut app, mut groups) = ring(false);
    provide(&mut app, 0, &[100, 100]);
    let bundle = groups.peek_bundle(GROUP, 150).unwrap();
    assert_eq!((lens(&bundle), bundle.cut), (vec![100], true));
    let bundle = groups.peek_bundle(GROUP, 50).unwrap();
    assert_eq!((lens(&bundle), bundle.cut), (vec![50], true));
    let (mut app, mut groups) = ring(true);
    provide(&mut app, 0, &[100, 100]);
    let bundle = groups.peek_bundle(GROUP, 150).unwrap();
    assert_eq!(
        (lens(&bundle), bundle.cut),
        (vec![100, 50], false),
        "what is left of an incremental one comes again"
    );
}

#[test]
fn a_bundle_ends_with_the_group() {
    let (mut app, mut groups) = ring(false);
    assert_eq!(groups.peek_bundle(99, 10).unwrap_err(), Errno::ENOENT);
    assert_eq!(groups.peek_bundle(GROUP, 10).unwrap_err(), Errno::ENOBUFS);
    provide(&mut app, 0, &[10, 10]);
    let bundle = groups.peek_bundle(GROUP, 100).unwrap();
    assert_eq!((lens(&bundle), bundle.exhausted), (vec![10, 10], true));
}

#[test]
fn what_was_used_of_a_bundle_is_what_goes() {
    let (mut app, mut groups) = ring(false);
    provide(&mut app, 4, &[10, 10, 10]);
    let bundle = groups.peek_bundle(GROUP, 30).unwrap();
    assert_eq!(groups.commit_bundle(&bundle, 0), 0, "nothing was used");
    assert_eq!(groups.commit_bundle(&bundle, 11), named(4));
    let third = groups.select(GROUP, 0).unwrap();
    assert_eq!(groups.commit(third, 10), named(6));
}

#[test]
fn an_incremental_bundle_leaves_the_rest_of_its_last_buffer() {
    let (mut app, mut groups) = ring(true);
    provide(&mut app, 0, &[10, 10, 10]);
    let bundle = groups.peek_bundle(GROUP, 30).unwrap();
    let flags = groups.commit_bundle(&bundle, 14);
    assert_eq!(flags, named(0) | IORING_CQE_F_BUF_MORE);
    let rest = groups.select(GROUP, 0).unwrap();
    let span = Span {
        addr: BASE + STRIDE + 4,
        len: 6,
    };
    assert_eq!((rest.bid, rest.span), (1, span));
}

#[test]
fn a_bundle_goes_over_the_end_of_the_ring() {
    let (mut app, mut groups) = ring(false);
    provide(&mut app, 0, &[10; AppRing::ENTRIES as usize]);
    for bid in 0..6 {
        let selected = groups.select(GROUP, 0).unwrap();
        assert_eq!(groups.commit(selected, 10), named(bid));
    }
    provide(&mut app, 8, &[10, 10]);
    let bundle = groups.peek_bundle(GROUP, 40).unwrap();
    let starts: Vec<u64> = bundle
        .spans
        .iter()
        .map(|span| (span.addr - BASE) / STRIDE)
        .collect();
    assert_eq!(starts, [6, 7, 8, 9]);
    groups.commit_bundle(&bundle, 40);
    assert_eq!(groups.select(GROUP, 0).unwrap_err(), Errno::ENOBUFS);
}

#[test]
fn a_bundle_of_a_group_that_requests_fill_is_one_buffer() {
    let mut groups = legacy(&[10, 10]);
    let first = groups.peek_bundle(GROUP, 100).unwrap();
    assert_eq!((lens(&first), first.exhausted), (vec![10], false));
    groups.recycle_bundle(first);
    let first = groups.peek_bundle(GROUP, 100).unwrap();
    assert_eq!(groups.commit_bundle(&first, 3), named(0));
    let last = groups.peek_bundle(GROUP, 100).unwrap();
    assert_eq!((lens(&last), last.exhausted), (vec![10], true));
}

#[test]
fn a_buffer_is_never_put_into_a_ring_that_took_its_groups_place() {
    let mut groups = legacy(&[10]);
    let selected = groups.select(GROUP, 0).unwrap();
    let (_app, ring) = AppRing::new();
    groups.vacate(GROUP).unwrap();
    groups.add_ring(GROUP, ring, None);
    groups.recycle(selected);
    assert_eq!(groups.select(GROUP, 0).unwrap_err(), Errno::ENOBUFS);
}

#[test]
fn an_address_that_nothing_is_at_does_no_harm() {
    let (mut app, mut groups) = ring(true);
    app.provide(u64::MAX - 1, 100, 0);
    let selected = groups.select(GROUP, 0).unwrap();
    assert_eq!(selected.span.check(), Err(Errno::EFAULT));
    // As where MSG_TRUNC receives without writing.
    assert_eq!(
        groups.commit(selected, 10),
        named(0) | IORING_CQE_F_BUF_MORE
    );
}

/// A ring in the group's place, with one buffer.
fn replace(groups: &mut Groups) -> AppRing {
    let (mut app, ring) = AppRing::new();
    groups.vacate(GROUP).unwrap();
    groups.add_ring(GROUP, ring, None);
    provide(&mut app, 7, &[10]);
    app
}

#[test]
fn a_buffer_is_not_used_up_in_a_ring_that_took_its_groups_place() {
    let mut groups = legacy(&[10]);
    let selected = groups.select(GROUP, 0).unwrap();
    let _app = replace(&mut groups);
    assert_eq!(groups.commit(selected, 10), named(0));
    assert_eq!(groups.select(GROUP, 0).unwrap().bid, 7);
}

#[test]
fn what_is_taken_from_a_ring_ends_with_it() {
    let (mut app, mut groups) = ring(false);
    provide(&mut app, 0, &[10, 10]);
    let selected = groups.select(GROUP, 0).unwrap();
    let bundle = groups.peek_bundle(GROUP, 20).unwrap();
    groups.remove_ring(GROUP).unwrap();
    let _app = replace(&mut groups);
    groups.commit_bundle(&bundle, 20);
    assert_eq!(groups.commit(selected, 10), named(0));
    assert_eq!(groups.head(GROUP), Ok(0));
    groups.remove_ring(GROUP).unwrap();
    groups.provide(GROUP, BASE, 10, 1, 8).unwrap();
    groups.recycle(selected);
    assert_eq!(groups.remove(GROUP, 9), Ok(1), "only its own went back");
}

#[test]
fn what_the_application_writes_into_a_taken_entry_changes_nothing() {
    let (mut app, mut groups) = ring(true);
    provide(&mut app, 0, &[100; AppRing::ENTRIES as usize]);
    let selected = groups.select(GROUP, 0).unwrap();
    // The same entry again, as if received over it.
    provide(&mut app, 9, &[1]);
    let flags = groups.commit(selected, 40);
    assert_eq!(flags, named(0) | IORING_CQE_F_BUF_MORE);
    let span = Span {
        addr: BASE + 40,
        len: 60,
    };
    assert_eq!(groups.select(GROUP, 0).unwrap().span, span);
}

#[test]
fn the_rest_of_an_incremental_buffer_is_not_used_below_the_least() {
    let (mut app, ring) = AppRing::new();
    let mut groups = Groups::default();
    groups.add_ring(GROUP, ring, Some(20));
    provide(&mut app, 0, &[100, 100]);
    let selected = groups.select(GROUP, 0).unwrap();
    let flags = groups.commit(selected, 80);
    assert_eq!(flags, named(0) | IORING_CQE_F_BUF_MORE, "20 are enough");
    let selected = groups.select(GROUP, 0).unwrap();
    assert_eq!(groups.commit(selected, 1), named(0));
    assert_eq!(groups.select(GROUP, 0).unwrap().bid, 1);
}

#[test]
fn the_head_of_a_ring_counts_what_was_used() {
    let (mut app, mut groups) = ring(false);
    assert_eq!(groups.head(GROUP), Ok(0));
    provide(&mut app, 0, &[10]);
    let selected = groups.select(GROUP, 0).unwrap();
    assert_eq!(groups.head(GROUP), Ok(0), "selected is not used");
    groups.commit(selected, 10);
    assert_eq!(groups.head(GROUP), Ok(1));
    assert_eq!(groups.head(99), Err(Errno::ENOENT));
    assert_eq!(legacy(&[10]).head(GROUP), Err(Errno::EINVAL));
}

#[test]
fn a_ring_does_not_take_the_place_of_buffers() {
    let mut groups = legacy(&[10]);
    assert_eq!(groups.vacate(GROUP), Err(Errno::EEXIST));
    groups.remove(GROUP, 1).unwrap();
    assert_eq!(groups.vacate(GROUP), Ok(()));
    assert_eq!(groups.remove(GROUP, 1), Err(Errno::ENOENT), "it is gone");
    let (_app, mut groups) = ring(false);
    assert_eq!(groups.vacate(GROUP), Err(Errno::EEXIST));
}

#[test]
fn a_group_holds_as_many_buffers_as_there_are_ids() {
    let mut groups = Groups::default();
    groups.provide(GROUP, BASE, 1, 65535, 0).unwrap();
    let one_more = groups.provide(GROUP, BASE, 1, 1, 0);
    assert_eq!(one_more, Err(Errno::EOVERFLOW));
}

#[test]
fn a_ring_without_memory_is_lent_some() {
    let ring = BufferRing::allocate(8).unwrap();
    assert_eq!((ring.tail(), ring.entry(7)), (0, (0, 0, 0)));
    let mut groups = Groups::default();
    groups.add_ring(GROUP, ring, None);
    let memory = groups.memory(GROUP).unwrap();
    assert!(memory != 0 && memory.is_multiple_of(4096), "{memory:#x}");
    let (_app, groups) = self::ring(false);
    assert_eq!(groups.memory(GROUP), Err(Errno::EINVAL));
}

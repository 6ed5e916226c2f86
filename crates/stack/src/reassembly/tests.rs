use super::*;

const HEADER: [u8; 20] = [0x45; 20];

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn key(id: u32) -> Key {
    from(1, id)
}

fn from(host: u8, id: u32) -> Key {
    Key {
        src: [10, 0, 0, host].into(),
        dst: [10, 0, 1, 1].into(),
        protocol: 17,
        id,
    }
}

fn key6(id: u32) -> Key {
    Key {
        src: "fd00::1".parse().unwrap(),
        dst: "fd00::2".parse().unwrap(),
        protocol: 0,
        id,
    }
}

fn reassembler(change: impl FnOnce(&mut Config)) -> Reassembler {
    let mut config = Config::default();
    change(&mut config);
    Reassembler::new(config)
}

/// xorshift64*: enough randomness for a test.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
    }
}

/// Payload whose every byte depends on its place.
fn payload(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (index * 7 + index / 256) as u8)
        .collect()
}

/// Inserts the range `start..end` of a payload of `total` bytes.
fn insert(r: &mut Reassembler, key: Key, start: usize, end: usize, total: usize) -> Outcome {
    let bytes = payload(total);
    r.insert(at(0), key, start, end < total, &HEADER, &bytes[start..end])
}

fn dropped(reason: DropReason) -> Outcome {
    Outcome::Dropped(reason)
}

fn whole(total: usize, parts: usize) -> Outcome {
    Outcome::Complete(Datagram {
        header: HEADER.to_vec(),
        payload: payload(total),
        parts,
    })
}

fn poll(r: &mut Reassembler, now: Instant) -> Vec<Expired> {
    let mut out = Vec::new();
    r.poll(now, &mut out);
    check(r);
    out
}

/// What must hold at any time: bounds, and all the books in agreement.
fn check(r: &Reassembler) {
    assert!(r.bytes <= r.config.max_bytes);
    assert!(r.partials.len() <= r.config.max_datagrams);
    assert_eq!(
        r.bytes,
        r.partials
            .values()
            .map(|partial| partial.charged)
            .sum::<usize>()
    );
    assert_eq!(
        r.bytes,
        r.sources.values().map(|source| source.bytes).sum::<usize>()
    );
    let of_sources = r
        .sources
        .values()
        .map(|source| source.datagrams.len())
        .sum::<usize>();
    assert_eq!(of_sources, r.partials.len());
    assert_eq!(r.by_key.len(), r.partials.len());
    assert_eq!(r.expiries.len(), r.partials.len());
}

#[test]
fn fragments_in_order_make_a_datagram() {
    for key in [key(1), key6(1)] {
        let mut r = reassembler(|_| ());
        assert_eq!(insert(&mut r, key, 0, 1480, 3000), Outcome::Waiting);
        assert_eq!(insert(&mut r, key, 1480, 2960, 3000), Outcome::Waiting);
        assert_eq!(insert(&mut r, key, 2960, 3000, 3000), whole(3000, 3));
        assert!(r.is_empty());
        assert_eq!((r.bytes(), r.next_deadline()), (0, None));
        check(&r);
    }
}

#[test]
fn fragments_in_any_order_make_the_same_datagram() {
    let mut random = Random(1);
    for _ in 0..500 {
        let total = 9 + random.below(4000);
        let mut cuts: Vec<usize> = (0..random.below(12))
            .map(|_| random.below(total) / 8 * 8)
            .collect();
        cuts.extend([0, 8, total]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut ranges: Vec<_> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
        random.shuffle(&mut ranges);
        let mut r = reassembler(|_| ());
        let (last, others) = ranges.split_last().unwrap();
        for &(start, end) in others {
            assert_eq!(insert(&mut r, key(1), start, end, total), Outcome::Waiting);
            check(&r);
        }
        assert_eq!(
            insert(&mut r, key(1), last.0, last.1, total),
            whole(total, ranges.len())
        );
    }
}

#[test]
fn every_order_of_four_fragments_with_every_duplicate_completes_once() {
    let ranges = [(0, 8), (8, 24), (24, 32), (32, 33)];
    for code in 0..256 {
        let order = [code & 3, (code >> 2) & 3, (code >> 4) & 3, code >> 6];
        let mut r = reassembler(|_| ());
        let mut seen = BTreeSet::new();
        for index in order {
            let (start, end) = ranges[index];
            seen.insert(index);
            let expected = if seen.len() == 4 {
                whole(33, 4)
            } else {
                Outcome::Waiting
            };
            assert_eq!(
                insert(&mut r, key(1), start, end, 33),
                expected,
                "{order:?}"
            );
        }
        assert_eq!(r.counters().duplicates as usize, 4 - seen.len());
    }
}

#[test]
fn the_header_is_that_of_the_fragment_at_offset_zero() {
    let mut r = reassembler(|_| ());
    assert_eq!(
        r.insert(at(0), key(1), 8, false, &[9; 20], &[2]),
        Outcome::Waiting
    );
    let outcome = r.insert(at(0), key(1), 0, true, &[7; 24], &[1; 8]);
    let Outcome::Complete(datagram) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(datagram.header, [7; 24]);
    assert_eq!(datagram.payload, [1, 1, 1, 1, 1, 1, 1, 1, 2]);
}

#[test]
fn datagrams_are_told_apart_by_each_part_of_the_key() {
    let mut r = reassembler(|_| ());
    let keys = [
        key(1),
        key(2),
        from(2, 1),
        Key {
            protocol: 6,
            ..key(1)
        },
        Key {
            dst: [10, 0, 1, 2].into(),
            ..key(1)
        },
    ];
    for key in keys {
        assert_eq!(insert(&mut r, key, 0, 8, 16), Outcome::Waiting);
    }
    assert_eq!(r.len(), keys.len());
    for key in keys {
        assert_eq!(insert(&mut r, key, 8, 16, 16), whole(16, 2));
    }
}

#[test]
fn an_atomic_fragment_disturbs_no_other() {
    let mut r = reassembler(|_| ());
    assert_eq!(insert(&mut r, key6(1), 0, 8, 16), Outcome::Waiting);
    assert_eq!(insert(&mut r, key6(1), 0, 3, 3), whole(3, 1));
    assert_eq!(insert(&mut r, key6(1), 0, 0, 0), whole(0, 1));
    assert_eq!(insert(&mut r, key6(1), 8, 16, 16), whole(16, 2));
}

#[test]
fn any_overlap_discards_the_datagram_and_what_follows_of_it() {
    // What is there: 16..32. What overlaps it: from the left, the right, inside, around.
    for (start, end) in [(8, 24), (24, 40), (16, 24), (24, 32), (8, 40), (16, 40)] {
        for key in [key(1), key6(1)] {
            let mut r = reassembler(|_| ());
            assert_eq!(insert(&mut r, key, 16, 32, 100), Outcome::Waiting);
            let outcome = insert(&mut r, key, start, end, 100);
            assert_eq!(outcome, dropped(DropReason::Overlap), "{start}..{end}");
            assert_eq!(
                insert(&mut r, key, 40, 48, 100),
                dropped(DropReason::Discarded)
            );
            assert_eq!(r.bytes(), DATAGRAM_OVERHEAD);
            assert_eq!(poll(&mut r, at(60)), [], "silently");
            assert_eq!(
                insert(&mut r, key, 40, 48, 100),
                Outcome::Waiting,
                "forgotten"
            );
            assert_eq!((r.counters().overlaps, r.counters().late), (1, 1));
        }
    }
}

#[test]
fn a_fragment_with_other_bytes_is_no_duplicate() {
    let mut r = reassembler(|_| ());
    assert_eq!(
        r.insert(at(0), key(1), 0, true, &HEADER, &[1; 8]),
        Outcome::Waiting
    );
    let forged = r.insert(at(0), key(1), 0, true, &HEADER, &[2; 8]);
    assert_eq!(forged, dropped(DropReason::Overlap));
}

#[test]
fn fragments_that_disagree_about_the_end_discard_the_datagram() {
    let cases = [
        // (what is there, what disagrees), each (start, end, more)
        ((8, 16, false), (24, 32, false)),
        ((8, 16, false), (16, 24, true)),
        ((24, 32, true), (8, 16, false)),
        ((16, 24, false), (8, 16, false)),
    ];
    for (first, second) in cases {
        let mut r = reassembler(|_| ());
        let bytes = payload(100);
        let mut put = |(start, end, more): (usize, usize, bool)| {
            r.insert(at(0), key(1), start, more, &HEADER, &bytes[start..end])
        };
        assert_eq!(put(first), Outcome::Waiting);
        assert_eq!(
            put(second),
            dropped(DropReason::Inconsistent),
            "{first:?} {second:?}"
        );
        assert_eq!(r.counters().inconsistent, 1);
        check(&r);
    }
}

#[test]
fn malformed_fragments_begin_nothing() {
    let mut r = reassembler(|_| ());
    let mut put = |offset: usize, more: bool, len: usize| {
        r.insert(at(0), key(1), offset, more, &HEADER, &vec![0; len])
    };
    assert_eq!(put(0, true, 0), dropped(DropReason::Empty));
    assert_eq!(put(8, false, 0), dropped(DropReason::Empty));
    assert_eq!(put(0, true, 9), dropped(DropReason::Unaligned));
    assert_eq!(put(9, false, 8), dropped(DropReason::Unaligned));
    assert_eq!(put(65528, false, 8), dropped(DropReason::TooLong));
    assert_eq!(put(usize::MAX - 7, false, 8), dropped(DropReason::TooLong));
    assert_eq!(r.counters().malformed, 6);
    assert!(r.is_empty());
}

#[test]
fn the_longest_datagram_fits_and_one_byte_more_does_not() {
    // IPv4 counts its header in the 65535 bytes; IPv6 only what follows the first 40, without the
    // fragment header.
    for (key, header_len, longest) in [
        (key(1), 20, 65515),
        (key6(1), 48, 65535),
        (key6(1), 56, 65527),
    ] {
        let header = vec![0; header_len];
        let mut r = reassembler(|_| ());
        let bytes = payload(longest + 1);
        let outcome = r.insert(at(0), key, 0, true, &header, &bytes[..32768]);
        assert_eq!(outcome, Outcome::Waiting);
        let outcome = r.insert(at(0), key, 32768, false, &header, &bytes[32768..]);
        assert_eq!(outcome, dropped(DropReason::TooLong));
        let outcome = r.insert(at(0), key, 32768, false, &header, &bytes[32768..longest]);
        let Outcome::Complete(datagram) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(datagram.payload, bytes[..longest]);
    }
}

#[test]
fn a_longer_first_header_may_make_the_whole_too_long() {
    let mut r = reassembler(|_| ());
    let bytes = payload(65515);
    let tail = r.insert(at(0), key(1), 32768, false, &HEADER, &bytes[32768..]);
    assert_eq!(tail, Outcome::Waiting);
    let head = r.insert(at(0), key(1), 0, true, &[0; 60], &bytes[..32768]);
    assert_eq!(head, dropped(DropReason::TooLong));
    assert!(r.is_empty());
    check(&r);
}

#[test]
fn too_many_fragments_discard_the_datagram() {
    let mut r = reassembler(|config| config.max_fragments_per_datagram = 3);
    for index in 0..3 {
        assert_eq!(
            insert(&mut r, key(1), index * 8, index * 8 + 8, 100),
            Outcome::Waiting
        );
    }
    assert_eq!(
        insert(&mut r, key(1), 24, 32, 100),
        dropped(DropReason::TooManyFragments)
    );
    assert_eq!(
        insert(&mut r, key(1), 0, 8, 100),
        dropped(DropReason::Discarded)
    );
    assert_eq!(r.bytes(), DATAGRAM_OVERHEAD);
}

#[test]
fn a_datagram_expires_30_seconds_after_its_first_fragment_and_60_in_ipv6() {
    let mut r = reassembler(|_| ());
    let bytes = payload(24);
    for key in [key6(1), key(2), key(3)] {
        assert_eq!(
            r.insert(at(0), key, 8, true, &HEADER, &bytes[8..16]),
            Outcome::Waiting
        );
    }
    // A later fragment buys no time.
    assert_eq!(
        r.insert(at(29), key(3), 0, true, &HEADER, &bytes[..8]),
        Outcome::Waiting
    );
    assert_eq!(r.next_deadline(), Some(at(30)));
    assert_eq!(poll(&mut r, Instant::from_nanos(29_999_999_999)), []);
    let expired = poll(&mut r, at(30));
    let first_fragment = Some([&HEADER[..], &bytes[..8]].concat());
    let expected = [
        Expired {
            key: key(2),
            first_fragment: None,
        },
        Expired {
            key: key(3),
            first_fragment,
        },
    ];
    assert_eq!(expired, expected);
    assert_eq!(r.next_deadline(), Some(at(60)));
    assert_eq!(
        poll(&mut r, at(60)),
        [Expired {
            key: key6(1),
            first_fragment: None
        }]
    );
    assert_eq!(r.counters().expired, 3);
    assert_eq!((r.len(), r.bytes(), r.next_deadline()), (0, 0, None));
}

#[test]
fn at_the_byte_bound_the_oldest_datagram_makes_way() {
    let one = DATAGRAM_OVERHEAD + FRAGMENT_OVERHEAD + HEADER.len() + 800;
    let mut r = reassembler(|config| config.max_bytes = 8 * one);
    for host in 1..=9 {
        assert_eq!(insert(&mut r, from(host, 1), 0, 800, 801), Outcome::Waiting);
        check(&r);
    }
    assert_eq!(r.bytes(), 8 * one);
    assert_eq!(r.counters().evicted, 1);
    assert_eq!(insert(&mut r, from(2, 1), 800, 801, 801), whole(801, 2));
    assert_eq!(
        insert(&mut r, from(1, 1), 800, 801, 801),
        Outcome::Waiting,
        "its head is gone"
    );
}

#[test]
fn one_source_pays_for_its_own_flood() {
    let mut r = reassembler(|config| config.max_datagrams = 40);
    assert_eq!(insert(&mut r, from(2, 1), 0, 8, 16), Outcome::Waiting);
    for id in 0..10_000 {
        assert_eq!(insert(&mut r, from(1, id), 0, 8, 16), Outcome::Waiting);
        check(&r);
    }
    assert_eq!(r.len(), 1 + 40 / SOURCE_SHARE);
    assert_eq!(
        insert(&mut r, from(2, 1), 8, 16, 16),
        whole(16, 2),
        "undisturbed"
    );
    assert_eq!(
        insert(&mut r, from(1, 9999), 8, 16, 16),
        whole(16, 2),
        "its newest"
    );
}

#[test]
fn a_single_datagram_over_its_sources_share_may_use_what_is_free() {
    let mut r = reassembler(|config| config.max_bytes = 100_000);
    assert_eq!(insert(&mut r, key(1), 0, 40_000, 60_000), Outcome::Waiting);
    assert_eq!(
        insert(&mut r, key(1), 40_000, 60_000, 60_000),
        whole(60_000, 2)
    );
}

#[test]
fn a_datagram_that_fits_nowhere_is_dropped_and_leaves_nothing_behind() {
    let mut r = reassembler(|config| config.max_bytes = 2000);
    assert_eq!(
        insert(&mut r, key(1), 0, 1600, 9000),
        dropped(DropReason::NoRoom)
    );
    assert_eq!(insert(&mut r, key(1), 0, 800, 9000), Outcome::Waiting);
    assert_eq!(
        insert(&mut r, key(1), 800, 1600, 9000),
        dropped(DropReason::NoRoom)
    );
    assert_eq!((r.len(), r.bytes()), (0, 0));
    check(&r);
    let mut none = reassembler(|config| config.max_datagrams = 0);
    assert_eq!(
        insert(&mut none, key(1), 0, 8, 16),
        dropped(DropReason::NoRoom)
    );
}

#[test]
fn the_bounds_hold_under_random_fire_and_what_completes_is_right() {
    let mut completed = 0;
    for seed in 1..40 {
        let mut random = Random(seed);
        let mut r = reassembler(|config| {
            config.max_datagrams = 16;
            config.max_bytes = 20_000;
            config.max_fragments_per_datagram = 6;
        });
        let mut now = at(0);
        for _ in 0..3000 {
            let id = random.below(4) as u32;
            let key = if random.below(3) == 0 {
                key6(id)
            } else {
                from(random.below(6) as u8, id)
            };
            // A datagram of 48 + id bytes, mostly cut at multiples of 16, sometimes anyhow.
            let total = 48 + id as usize;
            let grain = if random.below(20) == 0 { 8 } else { 16 };
            let start = random.below(total) / grain * grain;
            let end = (start + grain).min(total);
            let bytes = payload(total);
            match r.insert(now, key, start, end < total, &HEADER, &bytes[start..end]) {
                Outcome::Complete(datagram) => {
                    assert_eq!(datagram.payload, bytes);
                    completed += 1;
                }
                Outcome::Waiting | Outcome::Dropped(_) => {}
            }
            check(&r);
            now = now + Duration::from_millis(random.below(2000) as u64);
            poll(&mut r, now);
            assert!(r.next_deadline().is_none_or(|deadline| deadline > now));
        }
    }
    assert!(
        completed > 1000,
        "the test must complete datagrams: {completed}"
    );
}

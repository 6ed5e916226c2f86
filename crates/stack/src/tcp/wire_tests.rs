use super::*;

fn segment() -> Segment {
    Segment {
        seq: SeqNumber(0xffff_fff0),
        ack: Some(SeqNumber(7)),
        window: 513,
        psh: true,
        options: Options {
            timestamps: Some(Timestamps { value: 1, echo: 2 }),
            ..Options::default()
        },
        len: 3,
        ..Segment::default()
    }
}

fn emitted(segment: &Segment) -> Vec<u8> {
    let mut bytes = vec![0xaa; header_len(&segment.options) + segment.len as usize];
    emit(&mut bytes, 80, 1234, segment);
    bytes
}

#[test]
fn a_segment_survives_the_way_there_and_back() {
    let syn = Segment {
        syn: true,
        ack: None,
        psh: false,
        options: Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps { value: 9, echo: 0 }),
            ..Options::default()
        },
        len: 0,
        ..segment()
    };
    let mut sacked = segment();
    for block in 0..3 {
        let start = SeqNumber(u32::MAX - 5) + 10 * block;
        sacked.options.sack.push(start, start + 5);
    }
    let mut full = sacked;
    full.options.timestamps = None;
    full.options.sack.push(SeqNumber(100), SeqNumber(200));
    let marked = Segment {
        ece: true,
        cwr: true,
        ..segment()
    };
    for segment in [segment(), syn, sacked, full, marked] {
        let bytes = emitted(&segment);
        let header = parse(&bytes, bytes.len()).unwrap();
        assert_eq!(header.segment, segment);
        assert_eq!((header.source_port, header.destination_port), (80, 1234));
        assert_eq!(header.len, header_len(&segment.options));
    }
}

#[test]
fn options_stand_as_linux_writes_them() {
    let mut syn = segment();
    syn.syn = true;
    syn.len = 0;
    syn.options.mss = Some(1460);
    syn.options.window_scale = Some(7);
    let bytes = emitted(&syn);
    let expected = [
        2, 4, 5, 0xb4, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7,
    ];
    assert_eq!(bytes[HEADER..], expected);
    syn.options.sack_permitted = true;
    let expected = [
        2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7,
    ];
    assert_eq!(emitted(&syn)[HEADER..], expected);
    syn.options.timestamps = None;
    let expected = [2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7];
    assert_eq!(emitted(&syn)[HEADER..], expected);
}

#[test]
fn blocks_stand_behind_the_timestamps_as_linux_writes_them() {
    let mut segment = segment();
    segment.len = 0;
    segment.options.sack.push(SeqNumber(1), SeqNumber(2));
    let expected = [
        1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2,
    ];
    assert_eq!(emitted(&segment)[HEADER..], expected);
}

#[test]
fn a_sack_option_of_no_whole_block_says_nothing() {
    let mut bytes = emitted(&Segment {
        len: 0,
        ..segment()
    });
    bytes[HEADER..].copy_from_slice(&[5, 7, 0, 0, 0, 1, 0, 1, 1, 1, 1, 1]);
    let header = parse(&bytes, bytes.len()).unwrap();
    assert!(header.segment.options.sack.is_empty());
}

#[test]
fn options_of_a_syn_count_on_no_other_segment() {
    let mut bytes = emitted(&Segment {
        syn: true,
        options: Options {
            mss: Some(500),
            window_scale: Some(3),
            sack_permitted: true,
            ..Options::default()
        },
        ..segment()
    });
    bytes[13] &= !2;
    let header = parse(&bytes, bytes.len()).unwrap();
    assert_eq!(header.segment.options, Options::default());
}

#[test]
fn a_header_that_does_not_fit_is_refused() {
    let bytes = emitted(&segment());
    for cut in 0..header_len(&segment().options) {
        assert_eq!(parse(&bytes[..cut], cut), None, "cut to {cut}");
    }
    let mut short = bytes.clone();
    short[12] = 4 << 4;
    assert_eq!(parse(&short, short.len()), None);
    let mut port = bytes.clone();
    port[0..2].fill(0);
    assert_eq!(parse(&port, port.len()), None);
    let mut port = bytes;
    port[2..4].fill(0);
    assert_eq!(parse(&port, port.len()), None);
}

#[test]
fn no_options_make_it_panic() {
    let mut random = 1u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 56) as u8
    };
    for _ in 0..100_000 {
        let mut bytes = [0; MAX_HEADER];
        bytes.fill_with(&mut next);
        // Lengths that fit more often than chance has it.
        bytes[12] |= 0x50;
        if let Some(header) = parse(&bytes, 1000) {
            assert!(header.len <= MAX_HEADER);
        }
    }
}

#[test]
fn options_before_a_broken_one_count() {
    let mut bytes = vec![0; HEADER + 8];
    emit(
        &mut bytes,
        1,
        2,
        &Segment {
            syn: true,
            ..Segment::default()
        },
    );
    bytes[12] = 7 << 4;
    bytes[HEADER..].copy_from_slice(&[2, 4, 1, 0, 3, 200, 1, 1]);
    let header = parse(&bytes, bytes.len()).unwrap();
    assert_eq!(header.segment.options.mss, Some(256));
    assert_eq!(header.segment.options.window_scale, None);
}

#[test]
fn headers_are_alike_that_differ_in_what_each_has_of_its_own() {
    let plain = Segment {
        seq: SeqNumber(7),
        ack: Some(SeqNumber(0x0102_0304)),
        window: 0x0506,
        ..Segment::default()
    };
    let mut stamped = plain;
    stamped.options.timestamps = Some(Timestamps { value: 1, echo: 2 });
    for segment in [plain, stamped] {
        let mut header = vec![0; header_len(&segment.options)];
        emit(&mut header, 80, 90, &segment);
        let alike = Alike::new(&header);
        let next = SeqNumber(7 + 1448);
        number(&mut header, next);
        assert!(alike.matches(&header, next));
        for bit in 0..header.len() * 8 {
            let mut other = header.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            // The ports are compared with the addresses; checksum and urgent pointer are no part of it.
            let own = matches!(bit / 8, 0..4 | 16..20) || bit == 13 * 8 + 3;
            assert_eq!(alike.matches(&other, next), own, "bit {bit}");
        }
    }
}

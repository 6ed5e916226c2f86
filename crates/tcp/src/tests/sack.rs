//! Selective acknowledgements that we send (RFC 2018), those of what came twice among them (RFC 2883).

use super::peer::{sack, stamped};
use super::script::{MSS, Script, segment, theirs};
use crate::{Options, Segment, Timestamps};

/// The blocks of the acknowledgement that a segment of the peer's draws, as offsets of its stream.
fn blocks(script: &mut Script, seq: u32, len: u32) -> Vec<(u32, u32)> {
    let sent = script.answer(stamp(script, segment(seq, 0, len)));
    assert_eq!((sent.len(), sent[0].len), (1, 0), "{sent:?}");
    offsets(&sent[0])
}

/// With a timestamp, where they were agreed on.
fn stamp(script: &Script, segment: Segment) -> Segment {
    let value = script.connection.clock.map(|clock| clock.recent());
    let timestamps = value.map(|value| Timestamps { value, echo: 0 });
    Segment {
        options: Options {
            timestamps,
            ..segment.options
        },
        ..segment
    }
}

fn offsets(segment: &Segment) -> Vec<(u32, u32)> {
    let blocks = segment.options.sack;
    let offset = |&(start, end): &(crate::SeqNumber, crate::SeqNumber)| {
        (start.since(theirs(0)), end.since(theirs(0)))
    };
    blocks.as_slice().iter().map(offset).collect()
}

#[test]
fn the_block_that_grew_last_comes_first() {
    let mut script = sack();
    assert_eq!(blocks(&mut script, 200, 50), [(200, 250)]);
    assert_eq!(blocks(&mut script, 400, 50), [(400, 450), (200, 250)]);
    assert_eq!(
        blocks(&mut script, 100, 50),
        [(100, 150), (400, 450), (200, 250)]
    );
    assert_eq!(
        blocks(&mut script, 250, 50),
        [(200, 300), (100, 150), (400, 450)]
    );
}

#[test]
fn four_blocks_go_and_older_ones_are_repeated_as_long_as_there_is_room() {
    let mut script = sack();
    (1..5).for_each(|hole| drop(blocks(&mut script, 100 * hole, 10)));
    assert_eq!(
        blocks(&mut script, 500, 10),
        [(500, 510), (400, 410), (300, 310), (200, 210)]
    );
}

#[test]
fn three_blocks_go_beside_timestamps() {
    let mut script = stamped();
    (1..5).for_each(|hole| drop(blocks(&mut script, 100 * hole, 10)));
    assert_eq!(
        blocks(&mut script, 500, 10),
        [(500, 510), (400, 410), (300, 310)]
    );
}

#[test]
fn a_hole_that_was_filled_leaves_no_block() {
    let mut script = sack();
    blocks(&mut script, 100, 100);
    blocks(&mut script, 300, 100);
    assert_eq!(blocks(&mut script, 0, 100), [(300, 400)]);
    assert_eq!(blocks(&mut script, 200, 100), []);
}

#[test]
fn what_was_dropped_is_in_no_block() {
    let mut script = sack();
    blocks(&mut script, 100, 100);
    script.connection.prune();
    assert_eq!(blocks(&mut script, 300, 100), [(300, 400)]);
}

#[test]
fn a_peer_that_does_not_permit_it_gets_none() {
    let mut script = Script::established();
    assert_eq!(blocks(&mut script, 100, 100), []);
    assert_eq!(blocks(&mut script, 100, 100), []);
}

#[test]
fn what_was_acknowledged_and_comes_again_is_told_once() {
    let mut script = sack();
    assert_eq!(blocks(&mut script, 0, 100), []);
    assert_eq!(blocks(&mut script, 0, 100), [(0, 100)]);
    assert_eq!(blocks(&mut script, 200, 100), [(200, 300)]);
}

#[test]
fn the_part_that_came_again_is_told() {
    let mut script = sack();
    blocks(&mut script, 0, 100);
    assert_eq!(blocks(&mut script, 50, 100), [(50, 100)]);
    assert_eq!(script.connection.receive_next(), theirs(150));
}

#[test]
fn what_is_kept_and_comes_again_is_told_before_what_is_around_it() {
    let mut script = sack();
    blocks(&mut script, 200, 200);
    blocks(&mut script, 600, 100);
    assert_eq!(
        blocks(&mut script, 250, 50),
        [(250, 300), (200, 400), (600, 700)]
    );
}

#[test]
fn what_came_twice_is_told_before_the_other_blocks() {
    let mut script = stamped();
    blocks(&mut script, 0, 100);
    (2..6).for_each(|hole| drop(blocks(&mut script, 100 * hole + 10, 10)));
    assert_eq!(
        blocks(&mut script, 0, 100),
        [(0, 100), (510, 520), (410, 420)]
    );
}

#[test]
fn full_segments_do_not_keep_the_blocks_back() {
    let mut script = sack();
    script.push(2 * MSS);
    let sent = script.answer(segment(100, 0, 100));
    let lens: Vec<u32> = sent.iter().map(|segment| segment.len).collect();
    assert_eq!(lens, [0, MSS, MSS]);
    assert_eq!(offsets(&sent[0]), [(100, 200)]);
    assert_eq!(offsets(&sent[1]), [], "there is no room");
}

#[test]
fn small_segments_take_the_blocks_along() {
    let mut script = sack();
    script.choose(|options| options.no_delay = true);
    script.answer(segment(100, 0, 100));
    script.push(MSS - 12);
    assert_eq!(offsets(&script.sent_one()), [(100, 200)]);
    script.push(MSS - 11);
    assert_eq!(offsets(&script.sent_one()), [], "a byte more than fits");
}

#[test]
fn segments_that_come_twice_one_after_another_are_told_as_one() {
    let mut script = sack();
    blocks(&mut script, 0, 300);
    let _ = script.feed(segment(0, 0, 100));
    assert_eq!(blocks(&mut script, 100, 100), [(0, 200)]);
    let _ = script.feed(segment(0, 0, 100));
    assert_eq!(blocks(&mut script, 200, 100), [(200, 300)], "the last");
}

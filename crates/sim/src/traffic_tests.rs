//! What is not what was sent is found.

use super::*;

fn stream() -> Stream {
    let mut tally = Tally::default();
    let stream = tally.stream(&mut Random::new(1), true);
    assert!(stream.total > 10);
    stream
}

#[test]
fn a_stream_takes_its_own_bytes_in_any_parts() {
    let mut stream = stream();
    let all = stream.next(u64::MAX);
    let (first, rest) = all.split_at(7);
    assert_eq!(
        (stream.received(first), stream.received(rest)),
        (Ok(()), Ok(()))
    );
    assert_eq!(stream.ended(), Ok(()));
}

#[test]
fn a_wrong_a_repeated_and_a_missing_byte_are_found() {
    let all = stream().next(u64::MAX);
    let mut wrong = all.clone();
    wrong[9] ^= 1;
    let repeated = [&all[..5], &all[4..]].concat();
    let missing = [&all[..5], &all[6..]].concat();
    for bytes in [wrong, repeated, missing] {
        let found = stream()
            .received(&bytes)
            .expect_err("it is not what was sent");
        assert!(found.contains("not the one"), "{found}");
    }
}

#[test]
fn an_early_end_and_bytes_beyond_the_end_are_found() {
    let mut stream = stream();
    let all = stream.next(u64::MAX);
    stream
        .received(&all[1..])
        .expect_err("the first is missing");
    let mut stream = self::stream();
    stream
        .received(&all[..all.len() - 1])
        .expect("they are right");
    assert!(stream.ended().is_err());
    stream.received(&all[all.len() - 1..]).expect("it is right");
    assert!(stream.received(&[0]).is_err());
}

#[test]
fn an_echo_of_what_was_never_sent_is_found() {
    let mut tally = Tally::default();
    let (serial, bytes) = tally.datagram(&mut Random::new(1), u64::MAX);
    tally.echo(&bytes);
    assert!(tally.echoes.contains(&serial) && tally.violation.is_none());
    tally.echo(&payload::make(serial + 1, 100));
    let found = tally.violation.take().expect("it was never sent");
    assert!(found.contains("never sent"), "{found}");
    let mut altered = bytes;
    *altered.last_mut().expect("it has bytes") ^= 1;
    tally.echo(&altered);
    assert!(tally.violation.is_some());
}

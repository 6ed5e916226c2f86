use super::*;

fn seq(offset: u32) -> SeqNumber {
    // The numbers wrap in the midst of it.
    SeqNumber(0u32.wrapping_sub(250)) + offset
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// Five segments of 100 bytes.
fn flight() -> Flight {
    let mut flight = Flight::default();
    for index in 0..5 {
        flight.push(
            at(u64::from(index)),
            seq(100 * index),
            seq(100 * index + 100),
        );
    }
    flight
}

fn counts(flight: &Flight) -> (u32, u32, u32) {
    (flight.pipe(), flight.sacked_bytes(), flight.lost_bytes())
}

#[test]
fn what_is_acknowledged_leaves_also_in_part() {
    let mut flight = flight();
    let mut gone = Vec::new();
    flight.acknowledge(seq(150), |sent| gone.push((sent.start, sent.end)));
    assert_eq!(gone, [(seq(0), seq(100)), (seq(100), seq(150))]);
    assert_eq!((flight.len(), counts(&flight)), (4, (350, 0, 0)));
    assert_eq!(flight.first().map(|sent| sent.len()), Some(50));
}

#[test]
fn only_whole_segments_are_sacked_and_only_once() {
    let mut flight = flight();
    let mut sacked = Vec::new();
    flight.sack(seq(150), seq(499), |sent| sacked.push(sent.start));
    flight.sack(seq(200), seq(300), |sent| sacked.push(sent.start));
    assert_eq!(sacked, [seq(200), seq(300)]);
    assert_eq!(counts(&flight), (300, 200, 0));
    assert_eq!(flight.sacked_end(), Some(seq(400)));
    let mut gone = Vec::new();
    flight.acknowledge(seq(500), |sent| gone.push(sent.start));
    assert_eq!(gone, [seq(0), seq(100), seq(400)], "sacked ones were told");
    assert_eq!((counts(&flight), flight.sacked_end()), ((0, 0, 0), None));
}

#[test]
fn what_is_lost_is_out_of_the_network_until_it_is_sent_again() {
    let mut flight = flight();
    flight.sack(seq(400), seq(500), |_| {});
    assert!(flight.mark_lost(|sent| sent.at < at(2) || sent.sacked));
    assert!(!flight.mark_lost(|sent| sent.at < at(2)));
    assert_eq!(counts(&flight), (200, 100, 200));
    let first = flight.first_lost().unwrap();
    flight.resend(at(9), first.start, first.end);
    assert_eq!(counts(&flight), (300, 100, 100));
    assert_eq!(flight.first_lost().map(|sent| sent.start), Some(seq(100)));
    let first = flight.first().unwrap();
    assert!(first.again && first.at == at(9));
}

#[test]
fn a_part_that_is_sent_again_leaves_the_rest_lost() {
    let mut flight = flight();
    assert!(flight.mark_first_lost());
    flight.resend(at(9), seq(0), seq(60));
    assert_eq!((flight.len(), counts(&flight)), (6, (460, 0, 40)));
    let rest = flight.first_lost().unwrap();
    assert_eq!((rest.start, rest.end), (seq(60), seq(100)));
}

#[test]
fn a_lost_segment_that_is_sacked_after_all_is_not_lost() {
    let mut flight = flight();
    flight.mark_lost(|_| true);
    flight.sack(seq(100), seq(200), |_| {});
    assert_eq!(counts(&flight), (0, 100, 400));
    flight.unmark_lost();
    assert_eq!(counts(&flight), (400, 100, 0));
    flight.forget_sacked();
    assert_eq!(counts(&flight), (500, 0, 0));
}

#[test]
fn a_large_record_gives_its_memory_back_when_it_is_empty() {
    let mut flight = Flight::default();
    for index in 0..100 {
        flight.push(at(0), seq(index), seq(index + 1));
    }
    flight.acknowledge(seq(100), |_| {});
    assert!(flight.sent.capacity() <= KEEP_CAPACITY);
}

/// A run of five segments of 100 bytes.
fn run() -> Flight {
    let mut flight = Flight::default();
    flight.push(at(0), seq(0), seq(100));
    flight.push_run(at(0), seq(100), seq(500), 100);
    assert_eq!(flight.sent.len(), 1);
    flight
}

fn starts(flight: &Flight) -> Vec<SeqNumber> {
    flight.iter().map(|sent| sent.start).collect()
}

#[test]
fn a_run_is_the_segments_that_it_consists_of() {
    let flight = run();
    assert_eq!(starts(&flight), [0, 100, 200, 300, 400].map(seq));
    assert_eq!((flight.len(), counts(&flight)), (5, (500, 0, 0)));
    let (first, last) = (flight.first().unwrap(), flight.last().unwrap());
    assert_eq!((first.start, first.end), (seq(0), seq(100)));
    assert_eq!((last.start, last.end), (seq(400), seq(500)));
    assert!(!flight.is_single());
}

#[test]
fn a_run_is_acknowledged_up_to_anywhere() {
    for (ack, segments, left) in [
        (1, 1, 5),
        (100, 1, 4),
        (101, 2, 4),
        (350, 4, 2),
        (400, 4, 1),
        (500, 5, 0),
    ] {
        let (mut flight, mut gone, mut bytes) = (run(), 0, 0);
        flight.acknowledge(seq(ack), |sent| {
            gone += sent.segments();
            bytes += sent.len();
        });
        assert_eq!((gone, bytes, flight.len()), (segments, ack, left), "{ack}");
        assert_eq!(counts(&flight), (500 - ack, 0, 0), "{ack}");
        assert_eq!(flight.first().map_or(seq(500), |sent| sent.start), seq(ack));
    }
}

#[test]
fn segments_of_a_run_are_sacked_lost_and_sent_again_one_by_one() {
    let mut flight = run();
    flight.sack(seq(200), seq(300), |_| {});
    assert!(flight.mark_lost(|sent| sent.start.before(seq(200))));
    assert_eq!(counts(&flight), (200, 100, 200));
    flight.resend(at(9), seq(0), seq(100));
    assert_eq!(starts(&flight), [0, 100, 200, 300, 400].map(seq));
    assert_eq!(counts(&flight), (300, 100, 100));
    assert!(flight.first().unwrap().again && !flight.last().unwrap().again);
}

#[test]
fn what_is_not_alike_is_in_no_run() {
    let mut flight = run();
    flight.push(at(0), seq(500), seq(550));
    flight.push(at(1), seq(550), seq(600));
    assert_eq!((flight.sent.len(), flight.len()), (3, 7));
    flight.acknowledge(seq(575), |_| {});
    // What is left of one is no whole one.
    flight.push(at(1), seq(600), seq(650));
    assert_eq!((flight.sent.len(), flight.len()), (2, 2));
    flight.sack(seq(600), seq(650), |_| {});
    flight.push_run(at(2), seq(650), seq(750), 50);
    assert_eq!(
        flight.sent.len(),
        4,
        "nothing is in runs while something is sacked"
    );
}

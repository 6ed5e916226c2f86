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
    assert_eq!(flight.first().map(Sent::len), Some(50));
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

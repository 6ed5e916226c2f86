use super::*;

fn request(requests: &mut Requests) -> RequestId {
    requests.insert(0, 0)
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

#[test]
fn timers_fire_by_time_and_then_in_order() {
    let (mut timers, mut requests) = (Timers::default(), Requests::default());
    let ids: Vec<RequestId> = (0..4).map(|_| request(&mut requests)).collect();
    for (id, time) in ids.iter().zip([7, 5, 7, 5]) {
        timers.arm(&mut requests, *id, at(time));
    }
    let mut fired = Vec::new();
    while let Some((time, id)) = timers.first(&requests) {
        assert!(timers.disarm(&mut requests, id));
        fired.push((time, id));
    }
    let expected = [(5, 1), (5, 3), (7, 0), (7, 2)].map(|(time, id)| (at(time), ids[id]));
    assert_eq!(fired, expected);
}

#[test]
fn a_timer_that_was_disarmed_does_not_fire_for_the_next_request_of_its_id() {
    let (mut timers, mut requests) = (Timers::default(), Requests::default());
    let id = request(&mut requests);
    timers.arm(&mut requests, id, at(1));
    assert!(timers.disarm(&mut requests, id));
    requests.remove(id);
    assert_eq!(request(&mut requests), id);
    assert!(!timers.disarm(&mut requests, id));
    timers.arm(&mut requests, id, at(9));
    assert_eq!(timers.first(&requests), Some((at(9), id)));
}

#[test]
fn timers_that_never_fire_take_no_more_and_more_room() {
    let (mut timers, mut requests) = (Timers::default(), Requests::default());
    let (kept, id) = (request(&mut requests), request(&mut requests));
    timers.arm(&mut requests, kept, at(u64::MAX));
    for time in 0..10_000 {
        timers.arm(&mut requests, id, at(1_000_000 + time));
        timers.disarm(&mut requests, id);
    }
    assert!(timers.heap.len() <= 2 + SPARE + 1, "{}", timers.heap.len());
    assert_eq!(timers.first(&requests), Some((at(u64::MAX), kept)));
}

use super::*;

const SECOND: u64 = 1_000_000_000;
const THEIRS: Mac = [2, 0, 0, 0, 0, 9];

fn at_ms(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn v4() -> IpAddr {
    [10, 0, 0, 2].into()
}

fn v6() -> IpAddr {
    "fd00::2".parse().unwrap()
}

/// The defaults with nothing random in them.
fn steady() -> DadConfig {
    let mut config = DadConfig::default();
    config.ipv4.start_wait = Duration::ZERO;
    config.ipv4.interval_max = config.ipv4.interval_min;
    config.ipv6.start_wait = Duration::ZERO;
    config
}

/// Polls at each deadline until there is none, and notes what was asked for and when.
fn run(dad: &mut Dad) -> Vec<(Instant, DadAction)> {
    let mut log = Vec::new();
    while let Some(deadline) = dad.next_deadline() {
        log.extend(
            dad.poll(deadline)
                .into_iter()
                .map(|action| (deadline, action)),
        );
        assert!(log.len() < 100, "a deadline never goes away");
    }
    log
}

#[test]
fn ipv4_is_probed_three_times_then_announced_twice() {
    let mut dad = Dad::new(steady(), 1);
    dad.start(at_ms(0), v4());
    assert_eq!(dad.state(v4()), Some(AddressState::Tentative));
    let expected = [
        (at_ms(0), DadAction::Probe(v4())),
        (at_ms(1000), DadAction::Probe(v4())),
        (at_ms(2000), DadAction::Probe(v4())),
        (at_ms(4000), DadAction::Ready(v4())),
        (at_ms(4000), DadAction::Announce(v4())),
        (at_ms(6000), DadAction::Announce(v4())),
    ];
    assert_eq!(run(&mut dad), expected);
    assert_eq!(dad.state(v4()), Some(AddressState::Preferred));
}

#[test]
fn one_that_follows_sends_nothing_and_is_ready_when_it_is_told() {
    let mut dad = Dad::new(steady(), 1);
    dad.start(at_ms(0), v4());
    dad.start(at_ms(0), v6());
    dad.follow();
    assert_eq!(dad.next_deadline(), None);
    assert_eq!(dad.state(v4()), Some(AddressState::Tentative));
    assert!(dad.on_conflict(at_ms(10), v6(), THEIRS), "it listens");
    dad.settle(at_ms(5000));
    assert_eq!(run(&mut dad), [(at_ms(5000), DadAction::Ready(v4()))]);
    assert_eq!(dad.state(v4()), Some(AddressState::Preferred));
    assert_eq!(dad.state(v6()), Some(AddressState::Duplicate(THEIRS)));
}

#[test]
fn ipv6_is_probed_once_and_ready_a_second_later() {
    let mut dad = Dad::new(steady(), 1);
    dad.start(at_ms(500), v6());
    let expected = [
        (at_ms(500), DadAction::Probe(v6())),
        (at_ms(1500), DadAction::Ready(v6())),
    ];
    assert_eq!(run(&mut dad), expected);
}

#[test]
fn random_waits_stay_within_their_bounds_and_differ() {
    let mut starts = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut dad = Dad::new(DadConfig::default(), seed);
        dad.start(Instant::ZERO, v4());
        let log = run(&mut dad);
        let first = log[0].0.as_nanos();
        assert!(first <= SECOND);
        starts.insert(first);
        for pair in log[..3].windows(2) {
            let wait = pair[1].0 - pair[0].0;
            assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(2));
        }
    }
    assert!(starts.len() > 190, "hosts do not start together");
}

#[test]
fn without_detection_an_address_is_ready_at_once() {
    let mut dad = Dad::new(DadConfig::OFF, 1);
    dad.start(at_ms(7), v4());
    dad.start(at_ms(7), v6());
    assert_eq!(
        dad.poll(at_ms(7)),
        [DadAction::Ready(v4()), DadAction::Ready(v6())]
    );
    assert_eq!(dad.next_deadline(), None);
    assert!(!dad.on_conflict(at_ms(8), v4(), THEIRS));
    assert_eq!(dad.state(v4()), Some(AddressState::Preferred));
    assert_eq!(dad.next_deadline(), None, "not defended either");
}

#[test]
fn a_conflict_while_probing_loses_the_address_for_good() {
    for ip in [v4(), v6()] {
        let mut dad = Dad::new(steady(), 1);
        dad.start(at_ms(0), ip);
        dad.poll(at_ms(0));
        assert!(dad.on_conflict(at_ms(100), ip, THEIRS));
        assert_eq!(dad.state(ip), Some(AddressState::Duplicate(THEIRS)));
        assert!(
            !dad.on_conflict(at_ms(200), ip, THEIRS),
            "it is lost only once"
        );
        assert_eq!(run(&mut dad), []);
    }
}

#[test]
fn a_lost_address_can_be_tried_again() {
    let mut dad = Dad::new(steady(), 1);
    dad.start(at_ms(0), v6());
    dad.on_conflict(at_ms(100), v6(), THEIRS);
    dad.start(at_ms(5000), v6());
    assert_eq!(run(&mut dad).len(), 2);
    assert_eq!(dad.state(v6()), Some(AddressState::Preferred));
}

#[test]
fn an_address_in_use_is_defended_but_not_every_time() {
    let mut dad = Dad::new(steady(), 1);
    dad.start(at_ms(0), v4());
    run(&mut dad);
    let defended = [10_000, 15_000, 19_999, 20_000].map(|ms| {
        assert!(!dad.on_conflict(at_ms(ms), v4(), THEIRS));
        dad.poll(at_ms(ms)) == [DadAction::Announce(v4())]
    });
    assert_eq!(defended, [true, false, false, true]);
    assert_eq!(dad.state(v4()), Some(AddressState::Preferred));
}

#[test]
fn a_conflict_over_somebody_elses_address_is_nothing() {
    let mut dad = Dad::new(steady(), 1);
    assert!(!dad.on_conflict(at_ms(0), v4(), THEIRS));
    assert_eq!(dad.state(v4()), None);
}

#[test]
fn a_late_poll_does_not_shorten_the_wait_for_an_answer() {
    let mut dad = Dad::new(steady(), 1);
    dad.start(at_ms(0), v6());
    assert_eq!(dad.poll(at_ms(60_000)), [DadAction::Probe(v6())]);
    assert_eq!(dad.next_deadline(), Some(at_ms(61_000)));
}

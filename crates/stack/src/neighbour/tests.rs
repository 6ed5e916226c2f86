use super::*;

const A: Mac = [2, 0, 0, 0, 0, 0xa];
const B: Mac = [2, 0, 0, 0, 0, 0xb];
const REPLY: Learn = Learn::Solicited { overrides: true };
const GRATUITOUS: Learn = Learn::Unsolicited { overrides: true };

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn ip(host: u16) -> IpAddr {
    let [high, low] = host.to_be_bytes();
    [10, 0, high, low].into()
}

fn table(change: impl FnOnce(&mut Config)) -> Table<u32> {
    let mut config = Config::default();
    change(&mut config);
    Table::new(config, 1)
}

fn solicit(ip: IpAddr, unicast: Option<Mac>) -> Action<u32> {
    Action::Solicit { ip, unicast }
}

const fn queued(solicit: bool) -> Resolve<u32> {
    Resolve::Queued {
        solicit,
        evicted: None,
    }
}

/// A table that has heard `A` answer for host 1 at time zero.
fn reachable() -> Table<u32> {
    let mut table = table(|_| ());
    assert_eq!(table.resolve(at(0), ip(1), 0), queued(true));
    assert_eq!(learn(&mut table, at(0), A, REPLY), [0]);
    table
}

fn learn(table: &mut Table<u32>, now: Instant, mac: Mac, how: Learn) -> Vec<u32> {
    let mut sendable = Vec::new();
    table.learn(now, ip(1), mac, how, &mut sendable);
    sendable
}

fn poll(table: &mut Table<u32>, now: Instant) -> Vec<Action<u32>> {
    let mut actions = Vec::new();
    table.poll(now, &mut actions);
    check(table);
    actions
}

/// Polls at each deadline up to `end`, and notes what was asked for and when.
fn run(table: &mut Table<u32>, end: Instant) -> Vec<(Instant, Action<u32>)> {
    let mut log = Vec::new();
    while let Some(deadline) = table.next_deadline().filter(|&deadline| deadline <= end) {
        log.extend(
            poll(table, deadline)
                .into_iter()
                .map(|action| (deadline, action)),
        );
    }
    log
}

/// What must hold of every table at any time.
fn check(table: &Table<u32>) {
    let config = &table.config;
    let mut pending = 0;
    for (&ip, entry) in &table.entries {
        let asking = entry.is_asking();
        assert_eq!(table.retries.contains(&(entry.deadline, ip)), asking);
        assert_eq!(table.expiries.contains(&(entry.deadline, ip)), !asking);
        if let State::Incomplete { queue, .. } = &entry.state {
            assert!(!queue.is_empty() && queue.len() <= config.pending_per_neighbour);
            pending += queue.len();
        }
    }
    assert_eq!(
        table.retries.len() + table.expiries.len(),
        table.entries.len()
    );
    assert_eq!(table.pending, pending);
    assert!(pending <= config.pending_total && table.len() <= config.capacity);
}

#[test]
fn packets_wait_for_the_answer_and_leave_in_order() {
    let mut table = table(|_| ());
    assert_eq!(table.lookup(at(0), ip(1)), None);
    assert_eq!(table.resolve(at(0), ip(1), 10), queued(true));
    assert_eq!(table.resolve(at(0), ip(1), 11), queued(false));
    assert_eq!(table.pending(), 2);
    assert_eq!(learn(&mut table, at(0), A, REPLY), [10, 11]);
    assert_eq!(table.pending(), 0);
    assert_eq!(table.lookup(at(1), ip(1)), Some(A));
    assert_eq!(table.resolve(at(1), ip(1), 12), Resolve::Known(A, 12));
    check(&table);
}

#[test]
fn a_silent_neighbour_is_asked_at_0_1_and_3_seconds_and_given_up_at_7() {
    let mut table = table(|_| ());
    assert_eq!(table.resolve(at(0), ip(1), 10), queued(true));
    assert_eq!(poll(&mut table, Instant::from_nanos(999_999_999)), []);
    let failed = Action::Failed {
        ip: ip(1),
        packets: vec![10],
    };
    let expected = [
        (at(1), solicit(ip(1), None)),
        (at(3), solicit(ip(1), None)),
        (at(7), failed),
    ];
    assert_eq!(run(&mut table, at(7)), expected);
    assert_eq!(table.counters().solicits, 3);
    assert_eq!(table.counters().unresolved, 1);
}

#[test]
fn after_a_failure_packets_are_refused_for_the_hold_and_then_asked_for_again() {
    let mut table = table(|_| ());
    assert_eq!(table.resolve(at(0), ip(1), 10), queued(true));
    run(&mut table, at(7));
    assert_eq!(table.resolve(at(7), ip(1), 11), Resolve::Failed(11));
    // Even where the poll that would forget the failure comes later.
    assert_eq!(table.resolve(at(8), ip(1), 12), queued(true));
    check(&table);
}

#[test]
fn a_late_answer_ends_the_hold() {
    let mut table = table(|_| ());
    assert_eq!(table.resolve(at(0), ip(1), 10), queued(true));
    run(&mut table, at(7));
    assert_eq!(learn(&mut table, at(7), A, REPLY), []);
    assert_eq!(table.lookup(at(7), ip(1)), Some(A));
}

#[test]
fn a_failure_that_nobody_asks_about_is_forgotten() {
    let mut table = table(|_| ());
    assert_eq!(table.resolve(at(0), ip(1), 10), queued(true));
    run(&mut table, at(8));
    assert!(table.is_empty());
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn a_full_queue_gives_back_its_oldest_packet() {
    let mut table = table(|config| config.pending_per_neighbour = 2);
    assert_eq!(table.resolve(at(0), ip(1), 10), queued(true));
    assert_eq!(table.resolve(at(0), ip(1), 11), queued(false));
    let evicted = Some(10);
    assert_eq!(
        table.resolve(at(0), ip(1), 12),
        Resolve::Queued {
            solicit: false,
            evicted
        }
    );
    assert_eq!(learn(&mut table, at(0), A, REPLY), [11, 12]);
    assert_eq!(table.counters().packets_evicted, 1);
}

#[test]
fn a_full_waiting_room_refuses_new_neighbours_but_renews_old_ones() {
    let mut table = table(|config| config.pending_total = 2);
    assert_eq!(table.resolve(at(0), ip(1), 10), queued(true));
    assert_eq!(table.resolve(at(0), ip(2), 20), queued(true));
    assert_eq!(table.resolve(at(0), ip(3), 30), Resolve::Full(30));
    let evicted = Some(10);
    assert_eq!(
        table.resolve(at(0), ip(1), 11),
        Resolve::Queued {
            solicit: false,
            evicted
        }
    );
    assert_eq!(table.counters().packets_refused, 1);
    check(&table);
}

#[test]
fn an_answer_is_believed_for_half_to_one_and_a_half_of_the_reachable_time() {
    for seed in 0..100 {
        let mut table = Table::new(Config::default(), seed);
        assert_eq!(table.resolve(at(0), ip(1), 0), queued(true));
        learn(&mut table, at(0), A, REPLY);
        table.lookup(Instant::from_nanos(14_999_999_999), ip(1));
        assert!(table.retries.is_empty(), "doubted too early");
        table.lookup(at(45), ip(1));
        assert!(!table.retries.is_empty(), "believed too long");
    }
}

#[test]
fn a_stale_address_is_used_while_it_is_probed_by_unicast_and_then_given_up() {
    let mut table = reachable();
    assert_eq!(table.lookup(at(50), ip(1)), Some(A));
    let asked = solicit(ip(1), Some(A));
    assert_eq!(poll(&mut table, at(55)), [asked]);
    assert_eq!(table.lookup(at(55), ip(1)), Some(A), "still used");
    let expected = [
        (at(56), solicit(ip(1), Some(A))),
        (at(58), solicit(ip(1), Some(A))),
        (
            at(62),
            Action::Failed {
                ip: ip(1),
                packets: vec![],
            },
        ),
    ];
    assert_eq!(run(&mut table, at(62)), expected);
    assert_eq!(table.counters().lost, 1);
    // No hold: the neighbour may have moved, and everybody is asked at once.
    assert_eq!(table.resolve(at(62), ip(1), 1), queued(true));
}

#[test]
fn an_answer_to_a_probe_makes_the_entry_reachable_again() {
    let mut table = reachable();
    table.lookup(at(50), ip(1));
    poll(&mut table, at(55));
    learn(&mut table, at(55), A, REPLY);
    assert_eq!(run(&mut table, at(69)), []);
    assert_eq!(table.lookup(at(69), ip(1)), Some(A));
    assert!(table.retries.is_empty(), "reachable for at least 15 s");
}

#[test]
fn a_confirmation_spares_the_probe() {
    let mut table = reachable();
    table.lookup(at(50), ip(1));
    table.confirm(at(54), ip(1));
    assert_eq!(run(&mut table, at(69)), []);
    table.confirm(at(54), ip(9));
    assert_eq!(table.len(), 1, "a confirmation makes no entry");
}

#[test]
fn an_idle_neighbour_is_not_probed_and_is_forgotten_in_the_end() {
    let mut table = reachable();
    table.lookup(at(10), ip(1));
    assert_eq!(run(&mut table, at(609)), []);
    assert_eq!(table.len(), 1);
    assert_eq!(run(&mut table, at(610)), []);
    assert!(table.is_empty());
    assert_eq!(table.counters().expired, 1);
}

#[test]
fn the_last_of_several_packets_is_when_a_neighbour_was_used() {
    let mut table = reachable();
    for now in [1, 5, 10] {
        assert_eq!(table.lookup(at(now), ip(1)), Some(A));
    }
    poll(&mut table, at(609));
    assert_eq!(table.len(), 1);
    poll(&mut table, at(610));
    assert!(table.is_empty());
}

#[test]
fn an_announcement_makes_no_entry() {
    let mut table = table(|_| ());
    for how in [GRATUITOUS, REPLY] {
        assert_eq!(learn(&mut table, at(0), A, how), []);
    }
    assert!(table.is_empty());
    assert_eq!(table.counters().learn_ignored, 2);
}

#[test]
fn a_request_makes_an_entry_in_doubt_while_there_is_room() {
    let mut table = table(|config| config.capacity = 1);
    learn(&mut table, at(0), A, Learn::Request);
    assert_eq!(table.lookup(at(1), ip(1)), Some(A));
    table.learn(at(1), ip(2), B, Learn::Request, &mut Vec::new());
    assert_eq!(table.lookup(at(1), ip(2)), None);
    // It claimed its address without having been asked: its first use starts the check.
    assert_eq!(poll(&mut table, at(6)), [solicit(ip(1), Some(A))]);
}

#[test]
fn a_claim_while_asking_releases_the_packets_whatever_it_is() {
    for how in [
        GRATUITOUS,
        Learn::Unsolicited { overrides: false },
        Learn::Request,
    ] {
        let mut table = table(|_| ());
        assert_eq!(table.resolve(at(0), ip(1), 10), queued(true));
        assert_eq!(learn(&mut table, at(0), A, how), [10]);
        // Not an answer to us, and in use: probed after the delay.
        assert_eq!(
            poll(&mut table, at(5)),
            [solicit(ip(1), Some(A))],
            "{how:?}"
        );
    }
}

#[test]
fn only_an_overriding_claim_changes_an_address() {
    // RFC 4861, section 7.2.5, with the address before and after each claim to B.
    let cases = [
        (Learn::Solicited { overrides: false }, A),
        (Learn::Unsolicited { overrides: false }, A),
        (Learn::Solicited { overrides: true }, B),
        (Learn::Unsolicited { overrides: true }, B),
        (Learn::Request, B),
    ];
    for (how, expected) in cases {
        let mut table = reachable();
        learn(&mut table, at(1), B, how);
        assert_eq!(table.lookup(at(1), ip(1)), Some(expected), "{how:?}");
        // Unless the new address was given in answer to us, the entry must now prove itself.
        let doubted = how != Learn::Solicited { overrides: true };
        assert_eq!(table.retries.len(), usize::from(doubted), "{how:?}");
        check(&table);
    }
}

#[test]
fn a_repeated_claim_to_the_same_address_changes_nothing() {
    for how in [Learn::Unsolicited { overrides: true }, Learn::Request] {
        let mut table = reachable();
        learn(&mut table, at(1), A, how);
        table.lookup(at(14), ip(1));
        assert!(
            table.retries.is_empty(),
            "{how:?} must not end the reachable time"
        );
        table.lookup(at(50), ip(1));
        learn(&mut table, at(51), A, how);
        assert_eq!(table.retries.len(), 1, "{how:?} must not spare the probe");
    }
}

#[test]
fn impossible_claims_are_refused() {
    let mut table = reachable();
    let broadcast = [0xff; 6];
    let group = [0x01, 0, 0x5e, 0, 0, 1];
    for mac in [broadcast, group, [0; 6]] {
        learn(&mut table, at(1), mac, REPLY);
    }
    for bad in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"] {
        table.learn(
            at(1),
            bad.parse().unwrap(),
            B,
            Learn::Request,
            &mut Vec::new(),
        );
    }
    assert_eq!(table.lookup(at(1), ip(1)), Some(A));
    assert_eq!(table.len(), 1);
    assert_eq!(table.counters().learn_invalid, 8);
}

#[test]
fn a_flood_of_requests_evicts_nobody() {
    let mut table = table(|config| config.capacity = 8);
    assert_eq!(table.resolve(at(0), ip(1), 10), queued(true));
    for host in 2..10_000 {
        table.learn(at(0), ip(host), B, Learn::Request, &mut Vec::new());
        check(&table);
    }
    assert_eq!(table.len(), 8);
    assert_eq!(learn(&mut table, at(0), A, REPLY), [10]);
}

#[test]
fn who_was_never_sent_to_makes_room_for_who_is() {
    let mut table = table(|config| config.capacity = 8);
    for host in 1..9 {
        table.learn(at(0), ip(host), A, Learn::Request, &mut Vec::new());
    }
    assert_eq!(table.lookup(at(1), ip(1)), Some(A));
    table.confirm(at(1), ip(1));
    for host in 100..107 {
        assert_eq!(table.resolve(at(1), ip(host), 0), queued(true));
        check(&table);
    }
    assert_eq!(table.resolve(at(1), ip(200), 5), Resolve::Full(5));
    assert_eq!(table.lookup(at(1), ip(1)), Some(A), "in use");
    assert_eq!(table.counters().evicted, 7);
}

#[test]
fn the_neighbour_not_used_for_longest_makes_room() {
    let mut table = table(|config| config.capacity = 3);
    for host in 1..4 {
        table.learn(at(0), ip(host), A, Learn::Request, &mut Vec::new());
        table.lookup(at(0), ip(host));
        table.confirm(at(0), ip(host));
    }
    // Looked up while reachable, so that only the entry itself knows.
    for (host, now) in [(2, 1), (1, 2), (3, 3)] {
        assert_eq!(table.lookup(at(now), ip(host)), Some(A));
    }
    assert_eq!(
        table.resolve(at(30), ip(9), 0),
        Resolve::Full(0),
        "all in use"
    );
    assert_eq!(table.resolve(at(31), ip(9), 0), queued(true));
    assert_eq!(table.lookup(at(31), ip(2)), None);
    assert_eq!(table.lookup(at(31), ip(1)), Some(A));
    assert_eq!(table.lookup(at(31), ip(3)), Some(A));
}

#[test]
fn a_cleared_table_gives_all_packets_back() {
    let mut table = reachable();
    for host in 2..5 {
        assert_eq!(table.resolve(at(0), ip(host), host.into()), queued(true));
    }
    let mut packets = table.clear();
    packets.sort_unstable();
    assert_eq!(packets, [2, 3, 4]);
    assert!(table.is_empty() && table.next_deadline().is_none());
    check(&table);
}

#[test]
fn ipv6_neighbours_are_neighbours_too() {
    let mut table = table(|_| ());
    let there: IpAddr = "fe80::1".parse().unwrap();
    assert_eq!(table.resolve(at(0), there, 1), queued(true));
    assert_eq!(poll(&mut table, at(1)), [solicit(there, None)]);
    let mut sendable = Vec::new();
    table.learn(at(1), there, B, REPLY, &mut sendable);
    assert_eq!(sendable, [1]);
}

/// One random step; packets handed in and out are counted.
fn random_step(table: &mut Table<u32>, random: &mut random::Random, now: Instant) -> (i64, i64) {
    let host = ip(random.below(24) as u16);
    let mac = if random.below(4) == 0 { B } else { A };
    let overrides = random.below(2) == 0;
    let mut out = Vec::new();
    match random.below(8) {
        0..=2 => match table.resolve(now, host, 0) {
            Resolve::Known(..) | Resolve::Failed(_) | Resolve::Full(_) => (1, 1),
            Resolve::Queued { evicted, .. } => (1, i64::from(evicted.is_some())),
        },
        3 => {
            table.lookup(now, host);
            (0, 0)
        }
        step @ 4..=6 => {
            let how = match step {
                4 => Learn::Solicited { overrides },
                5 => Learn::Unsolicited { overrides },
                _ => Learn::Request,
            };
            table.learn(now, host, mac, how, &mut out);
            (0, out.len() as i64)
        }
        _ => {
            let mut actions = Vec::new();
            table.poll(now, &mut actions);
            assert!(table.next_deadline().is_none_or(|next| next > now));
            let failed = actions.iter().map(|action| match action {
                Action::Failed { packets, .. } => packets.len() as i64,
                Action::Solicit { .. } => 0,
            });
            (0, failed.sum())
        }
    }
}

#[test]
fn no_packet_is_lost_or_doubled_whatever_happens() {
    for seed in 0..50 {
        let mut random = random::Random::new(seed);
        let mut table = table(|config| {
            config.capacity = 12;
            config.pending_per_neighbour = 3;
            config.pending_total = 10;
        });
        let mut now = Instant::ZERO;
        let mut inside = 0;
        for _ in 0..2000 {
            now = now + Duration::from_millis(random.below(3000));
            let (given, returned) = random_step(&mut table, &mut random, now);
            inside += given - returned;
            check(&table);
            assert_eq!(table.pending() as i64, inside, "seed {seed}");
        }
        inside -= table.clear().len() as i64;
        assert_eq!(inside, 0);
    }
}

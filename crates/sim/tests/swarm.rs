//! Many seeds, the same seed twice, and breaks that must be found.

use ringwire_sim::{Break, Config, Peers, run, run_captured, sweep};

#[test]
fn a_swarm_of_seeds_violates_nothing_and_meets_every_fault() {
    let summary = sweep(0..200, 2);
    println!("{summary}");
    assert!(summary.violations.is_empty(), "{:#?}", summary.violations);
    assert!(summary.echoes > 1000 && summary.streams > 500, "{summary}");
    for (fault, count) in summary.coverage.kinds() {
        assert!(count > 0, "no {fault}: {summary}");
    }
}

#[test]
fn a_sweep_comes_to_the_same_on_any_number_of_threads() {
    let alone = sweep(20..30, 1);
    let together = sweep(20..30, 3);
    assert_eq!(alone.to_string(), together.to_string());
}

#[test]
fn a_seed_replays_exactly() {
    let first = run(Config::from_seed(7)).expect("no violation");
    let again = run(Config::from_seed(7)).expect("no violation");
    let other = run(Config::from_seed(8)).expect("no violation");
    assert_eq!(first, again);
    assert_ne!(first.digest, other.digest);
}

#[test]
fn a_capture_changes_nothing_and_replays_byte_for_byte() {
    let (first, capture) = run_captured(Config::from_seed(7));
    let (_, again) = run_captured(Config::from_seed(7));
    assert_eq!(first, run(Config::from_seed(7)));
    assert!(capture.as_bytes() == again.as_bytes());
    assert!(capture.as_bytes().len() > 100_000);
}

#[test]
fn seeds_choose_every_kind_of_peer_and_each_is_served() {
    for peers in [Peers::Ringwire, Peers::SmoltcpClient, Peers::SmoltcpServer] {
        let config = (0..100).map(Config::from_seed);
        let config = config.into_iter().find(|config| config.peers == peers);
        let outcome = run(config.expect("some seed chooses it")).expect("no violation");
        assert!(outcome.streams > 0 && outcome.echoes > 20, "{outcome:?}");
    }
}

#[test]
fn streams_find_their_way_where_the_path_mtu_is_low_for_good_reported_or_not() {
    for reports_too_big in [true, false] {
        let config = Config {
            peers: Peers::Ringwire,
            mtu: 9000,
            path_mtu: Some(1280),
            reports_too_big,
            ..Config::from_seed(5)
        };
        let outcome = run(config).expect("no violation");
        let coverage = outcome.coverage;
        assert!(coverage.too_big > 0 && outcome.streams > 0, "{outcome:?}");
        assert_eq!(coverage.too_big_reported > 0, reports_too_big);
    }
}

#[test]
fn an_altered_datagram_is_found() {
    let broken = Config {
        broken: Some(Break::AlteredPayload),
        peers: Peers::Ringwire,
        ..Config::from_seed(3)
    };
    let violation = run(broken).expect_err("the checker sees it");
    assert!(
        violation.contains("altered") && violation.contains("--seed 3"),
        "{violation}"
    );
}

#[test]
fn a_stolen_frame_is_found() {
    let broken = Config {
        broken: Some(Break::StolenFrame),
        peers: Peers::Ringwire,
        leaves: false,
        ..Config::from_seed(3)
    };
    let violation = run(broken).expect_err("the checker sees it");
    assert!(violation.contains("chunks"), "{violation}");
}

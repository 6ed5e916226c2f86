//! Many seeds, the same seed twice, and breaks that must be found.

use ringwire_sim::{Break, Config, Outcome, run};

#[test]
fn a_swarm_of_seeds_violates_nothing() {
    let mut total = Outcome {
        digest: 0,
        virtual_ns: 0,
        packets: 0,
        echoes: 0,
        streams: 0,
        stream_bytes: 0,
        completions: 0,
        faults: 0,
    };
    for seed in 0..100 {
        let outcome = run(Config::from_seed(seed))
            .unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        total.virtual_ns += outcome.virtual_ns;
        total.packets += outcome.packets;
        total.echoes += outcome.echoes;
        total.streams += outcome.streams;
        total.stream_bytes += outcome.stream_bytes;
        total.completions += outcome.completions;
        total.faults += outcome.faults;
    }
    println!("100 seeds: {total:?}");
    assert!(
        total.echoes > 1000 && total.streams > 500 && total.faults > 1000,
        "the swarm did something: {total:?}"
    );
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
fn an_altered_datagram_is_found() {
    let broken = Config {
        broken: Some(Break::AlteredPayload),
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
        ..Config::from_seed(3)
    };
    let violation = run(broken).expect_err("the checker sees it");
    assert!(violation.contains("chunks"), "{violation}");
}

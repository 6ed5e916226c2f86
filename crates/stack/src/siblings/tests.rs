use std::net::SocketAddr;
use std::sync::Barrier;

use super::*;

fn group(count: usize) -> Vec<Sibling> {
    let quiet = || -> Box<dyn Fn() + Send + Sync> { Box::new(|| ()) };
    Sibling::group(3, (0..count).map(|_| quiet()).collect())
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn claim(ip: &str, family: Family, by: Use) -> Claim {
    Claim {
        ip: ip.parse().unwrap(),
        family,
        sharing: Sharing {
            address: false,
            port: true,
        },
        by,
    }
}

fn sole(ip: &str) -> Claim {
    Claim {
        sharing: Sharing::default(),
        ..claim(ip, Family::V4, Use::Bound)
    }
}

#[test]
fn of_two_that_want_a_port_at_the_same_time_one_has_it() {
    let siblings = group(2);
    let start = Barrier::new(2);
    let race = |sibling: &Sibling| {
        let won = (1..=500).map(|port| {
            start.wait();
            sibling.claim(Protocol::Udp, port, sole("0.0.0.0"))
        });
        won.collect::<Vec<bool>>()
    };
    let [first, second] = std::thread::scope(|scope| {
        let racing = [&siblings[0], &siblings[1]].map(|it| scope.spawn(|| race(it)));
        racing.map(|thread| thread.join().unwrap())
    });
    assert!(
        first
            .iter()
            .zip(&second)
            .all(|(first, second)| first != second)
    );
}

#[test]
fn of_two_that_begin_a_flow_at_the_same_time_one_has_it() {
    let siblings = group(2);
    let start = Barrier::new(2);
    let race = |sibling: &Sibling| {
        let won = (1..=500).map(|port| {
            let ends = (
                at("10.0.0.2:80"),
                SocketAddr::new([10, 0, 0, 9].into(), port),
            );
            start.wait();
            sibling.open(Protocol::Tcp, &ends)
        });
        won.collect::<Vec<bool>>()
    };
    let [first, second] = std::thread::scope(|scope| {
        let racing = [&siblings[0], &siblings[1]].map(|it| scope.spawn(|| race(it)));
        racing.map(|thread| thread.join().unwrap())
    });
    assert!(
        first
            .iter()
            .zip(&second)
            .all(|(first, second)| first != second)
    );
}

#[test]
fn who_takes_what_belongs_to_no_flow_is_chosen_as_among_sockets() {
    use Use::{Accepted, Bound, Connected, Listens};
    let cases = [
        // What each of the others has, and which of them takes what comes to 10.0.0.2.
        (vec![("10.0.0.2", Family::V4, Listens)], Some(1)),
        (vec![("0.0.0.0", Family::V4, Bound)], Some(1)),
        (vec![("::", Family::V6, Listens)], Some(1)),
        (vec![("10.0.0.3", Family::V4, Listens)], None),
        (vec![("fd00::2", Family::V6, Listens)], None),
        (vec![("10.0.0.2", Family::V4, Connected)], None),
        (vec![("0.0.0.0", Family::V4, Accepted)], None),
        (
            vec![
                ("0.0.0.0", Family::V4, Bound),
                ("10.0.0.2", Family::V4, Bound),
            ],
            Some(2),
        ),
    ];
    for (others, taker) in cases {
        let siblings = group(3);
        for (sibling, (ip, family, by)) in siblings[1..].iter().zip(&others) {
            let claims = std::iter::once(claim(ip, *family, *by));
            sibling.publish(Protocol::Tcp, 80, claims);
        }
        let ends = (at("10.0.0.2:80"), at("10.0.0.9:99"));
        assert_eq!(
            siblings[0].holder(Protocol::Tcp, &ends),
            taker,
            "{others:?}"
        );
        assert_eq!(siblings[0].holder(Protocol::Udp, &ends), None);
    }
}

#[test]
fn those_who_share_a_port_have_about_the_same_share() {
    let siblings = group(5);
    for sibling in &siblings[1..] {
        let claims = std::iter::once(claim("::", Family::V6, Use::Bound));
        sibling.publish(Protocol::Udp, 7, claims);
    }
    let mut shares = [0; 5];
    for port in 1..=4000 {
        let ends = (
            at("10.0.0.2:7"),
            SocketAddr::new([10, 0, 0, 9].into(), port),
        );
        let holder = siblings[0].holder(Protocol::Udp, &ends).unwrap();
        assert_eq!(siblings[0].holder(Protocol::Udp, &ends), Some(holder));
        shares[holder] += 1;
    }
    assert_eq!(shares[0], 0, "never the one that asks");
    assert!(
        shares[1..].iter().all(|share| (900..1100).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn a_flow_is_had_until_all_that_had_it_are_closed() {
    let siblings = group(2);
    let ends = (at("[fd00::2]:80"), at("[fd00::9]:99"));
    assert!(siblings[0].open(Protocol::Tcp, &ends));
    assert!(siblings[0].open(Protocol::Tcp, &ends));
    assert!(!siblings[1].open(Protocol::Tcp, &ends));
    siblings[1].close(Protocol::Tcp, &ends);
    siblings[0].close(Protocol::Tcp, &ends);
    assert_eq!(siblings[1].owner(Protocol::Tcp, &ends), Some(0));
    assert_eq!(siblings[0].owner(Protocol::Tcp, &ends), None, "its own");
    siblings[0].close(Protocol::Tcp, &ends);
    assert_eq!(siblings[1].owner(Protocol::Tcp, &ends), None);
    assert!(siblings[1].open(Protocol::Tcp, &ends));
}

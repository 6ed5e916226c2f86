//! What stacks that belong together hold of one another, and when it ends.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::build;
use super::harness::{at, pattern};
use super::siblings::House;
use crate::{Family, Protocol, SocketError};

#[test]
fn a_stack_that_takes_no_turns_holds_a_bounded_amount() {
    let mut house = House::new();
    let id = house.engines[0].bound("10.0.0.2:7");
    let frame = build::udp("10.0.0.9:99", "10.0.0.2:7", &pattern(1400));
    for _ in 0..2000 {
        house.engines[1].receive(&frame);
    }
    let (handed, _, dropped) = house.counts()[1];
    assert_eq!(handed + dropped, 2000);
    assert!((1000..1900).contains(&handed), "{handed}");
    assert_eq!(house.wakes.load(Ordering::Relaxed), 1, "woken once");
    house.engines[0]
        .stack
        .poll(house.engines[0].now, &mut house.engines[0].ledger);
    assert_eq!(house.counts()[0].1, 64, "a bounded number in a turn");
    house.exchange();
    assert_eq!(house.counts()[0].1, handed);
    while house.engines[0].recv(id).is_some() {}
    house.engines[1].receive(&frame);
    assert_eq!(house.wakes.load(Ordering::Relaxed), 2, "and woken again");
    house.exchange();
    assert!(house.engines[0].recv(id).is_some(), "there is room again");
}

#[test]
fn what_was_closed_is_in_the_directory_no_more() {
    let mut house = House::new();
    for _ in 0..3 {
        let (client, server) = house.connect("10.0.0.2:80");
        house.engines[0].close(server);
        house.exchange();
        house.remote.close(client);
        house.exchange();
    }
    let connecting = house.engines[1].connecting("10.0.0.9:81");
    house.engines[1].reset_on_close(connecting);
    house.engines[1].close(connecting);
    let bound = house.engines[0].connected("10.0.0.2:7", "10.0.0.9:99");
    house.engines[0].close(bound);
    assert_eq!(house.engines[0].stack.tcp_time_waits(), 3);
    let sizes = |house: &House| house.engines[0].stack.sibling.as_ref().unwrap().sizes();
    assert_eq!(sizes(&house), (0, 3), "what is in TIME-WAIT is known");
    house.engines[0].pass(Duration::from_secs(300));
    assert_eq!(house.engines[0].stack.tcp_time_waits(), 0);
    assert_eq!(sizes(&house), (0, 0));
}

#[test]
fn what_was_handed_over_is_not_handed_over_again() {
    let mut house = House::new();
    let first = house.engines[0].bound("10.0.0.2:7");
    house.engines[1].receive(&build::udp("10.0.0.9:99", "10.0.0.2:7", b"late"));
    house.engines[0].close(first);
    house.engines[1].bound("10.0.0.2:7");
    house.exchange();
    assert_eq!(house.counts(), [(0, 1, 0), (1, 0, 0)]);
    assert_eq!(house.engines[0].stack.counters().rx_no_port, 1);
}

#[test]
fn what_a_stack_had_is_nobodys_when_it_has_gone() {
    let mut house = House::new();
    let (client, _) = house.connect("10.0.0.2:80");
    house.engines[0].bound("10.0.0.2:7");
    house.arrive_at = 1;
    let House {
        engines: [first, mut second],
        mut remote,
        ..
    } = house;
    drop(first);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for port in [80, 7] {
            let id = second.stack.open(protocol, Family::V4);
            let local = SocketAddr::new(at("10.0.0.2:0").ip(), port);
            assert_eq!(second.stack.bind(id, local), Ok(()), "{protocol:?} {port}");
        }
    }
    remote.write(client, b"hello?").unwrap();
    for frame in remote.sent() {
        for answer in second.answer(&frame) {
            remote.receive(&answer);
        }
    }
    for frame in remote.sent() {
        for answer in second.answer(&frame) {
            remote.receive(&answer);
        }
    }
    assert_eq!(remote.read(client, 1), Err(SocketError::Reset));
    assert_eq!(second.stack.counters().handed_over, 0);
}

//! The wire does to packets what it says that it does, and nothing else.

use super::*;

const MTU_FRAME: usize = 1514;

fn path(rate_bytes_per_s: u64, queue_bytes: u64, jitter_ns: u64) -> Path {
    Path {
        rate_bytes_per_s,
        queue_bytes,
        delay_ns: 1_000_000,
        jitter_ns,
    }
}

fn network(path: Path) -> Network {
    Network::new([path; 2], None, true)
}

/// Sends so many numbered frames at time 0; returns when each arrived, in the order of arrival.
fn arrivals(network: &mut Network, count: u16, faults: &Faults) -> Vec<(u16, u64)> {
    let mut random = Random::new(1);
    for number in 0..count {
        let mut frame = vec![0; MTU_FRAME];
        frame[..2].copy_from_slice(&number.to_be_bytes());
        network.send(Direction::ToServer, 0, frame, faults, &mut random);
    }
    let mut seen = Vec::new();
    while let Some(now) = network.next_arrival() {
        let frame = network.arrived(Direction::ToServer, now).expect("due");
        seen.push((u16::from_be_bytes([frame[0], frame[1]]), now));
    }
    seen
}

#[test]
fn a_bottleneck_sends_at_its_rate() {
    let mut network = network(path(1_514_000, u64::from(u32::MAX), 0));
    let seen = arrivals(&mut network, 10, &Faults::default());
    let expected: Vec<(u16, u64)> = (0..10)
        .map(|number| (number, 1_000_000 + (u64::from(number) + 1) * 1_000_000))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_full_queue_drops_the_more_the_fuller_it_is() {
    let mut network = network(path(1_514_000, 3 * MTU_FRAME as u64, 0));
    let seen = arrivals(&mut network, 400, &Faults::default());
    let numbers: Vec<u16> = seen.iter().map(|&(number, _)| number).collect();
    assert_eq!(numbers[..4], [0, 1, 2, 3]);
    assert_eq!(network.coverage.overflowed, 400 - numbers.len() as u64);
    let between = |from, to| numbers.iter().filter(|&&n| from <= n && n < to).count();
    let (first, last) = (between(4, 104), between(300, 400));
    assert!(first > last && last > 0, "{first} at first, {last} at last");
}

#[test]
fn jitter_alone_reorders_nothing() {
    let mut network = network(path(0, 0, 500_000));
    let seen = arrivals(&mut network, 100, &Faults::default());
    assert!(seen.is_sorted_by_key(|&(number, _)| number));
    assert!(
        seen.iter()
            .all(|&(_, at)| (1_000_000..=1_500_000).contains(&at))
    );
    assert!(seen[0].1 < seen[99].1, "there is jitter");
}

#[test]
fn reordering_is_counted_and_seen() {
    let mut network = network(path(0, 0, 0));
    let faults = Faults {
        reordering: 300,
        ..Faults::default()
    };
    let seen = arrivals(&mut network, 100, &faults);
    assert!(!seen.is_sorted_by_key(|&(number, _)| number));
    assert!(network.coverage.reordered > 10);
    assert_eq!(seen.len(), 100);
}

#[test]
fn a_cut_wire_heals_in_time() {
    let mut network = network(path(0, 0, 0));
    let mut random = Random::new(1);
    let faults = Faults {
        partition: 1000,
        ..Faults::default()
    };
    network.step(0, &faults, &mut random);
    assert!(network.is_cut());
    for direction in Direction::BOTH {
        network.send(direction, 0, vec![0; 60], &faults, &mut random);
    }
    assert!(network.coverage.cut_off >= 1);
    network.step(LONGEST_PARTITION_NS, &Faults::default(), &mut random);
    assert!(!network.is_cut());
    let before = network.coverage.cut_off;
    for direction in Direction::BOTH {
        network.send(direction, 0, vec![0; 60], &faults, &mut random);
    }
    assert_eq!(network.coverage.cut_off, before);
}

#[test]
fn a_packet_beyond_the_path_mtu_is_dropped_and_reported_to_its_sender() {
    let mut network = network(path(0, 0, 0));
    network.mtu = Some(1280);
    let mut random = Random::new(1);
    let mut frame = vec![0; MTU_FRAME];
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    frame[12..14].copy_from_slice(&[8, 0]);
    (frame[14], frame[20], frame[23]) = (0x45, 0x40, 6);
    frame[26..30].copy_from_slice(&[10, 0, 0, 1]);
    let calm = Faults::default();
    network.send(Direction::ToServer, 0, frame, &calm, &mut random);
    assert_eq!(network.arrived(Direction::ToServer, u64::MAX), None);
    let report = network.arrived(Direction::ToClient, u64::MAX);
    let report = report.expect("the sender is told");
    assert_eq!(report[..6], [2, 0, 0, 0, 0, 9]);
    assert_eq!(report[34..36], [3, 4]);
    assert_eq!(report[40..42], 1280u16.to_be_bytes());
    assert_eq!(smoltcp::wire::checksum::data(&report[14..34]), 0xffff);
    assert_eq!(smoltcp::wire::checksum::data(&report[34..]), 0xffff);
}

#[test]
fn only_one_fragment_of_a_datagram_is_corrupted() {
    let mut network = network(path(0, 0, 0));
    let mut random = Random::new(1);
    let faults = Faults {
        corruption: 1000,
        ..Faults::default()
    };
    let mut fragment = vec![0; 100];
    fragment[12..14].copy_from_slice(&[8, 0]);
    (fragment[14], fragment[20]) = (0x45, 0x20);
    for _ in 0..3 {
        let copy = fragment.clone();
        network.send(Direction::ToServer, 0, copy, &faults, &mut random);
    }
    let mut altered = 0;
    while let Some(packet) = network.arrived(Direction::ToServer, u64::MAX) {
        let bits = |(a, b): (&u8, &u8)| (a ^ b).count_ones();
        altered += packet.iter().zip(&fragment).map(bits).sum::<u32>();
    }
    assert_eq!(altered, 1);
}

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ringwire_tcp::{Answer, Config, Connection, Segment, SeqNumber};

use super::*;

/// How long each lasts.
const WAIT: Duration = Duration::from_secs(60);

/// What a connection leaves that has ended at this time.
fn left(now: Instant) -> TimeWait {
    let mut connection = Connection::active(Config::default(), SeqNumber(0), 0);
    let from_peer = |seq, ack| Segment {
        seq: SeqNumber(seq),
        ack: Some(SeqNumber(ack)),
        window: 1000,
        ..Segment::default()
    };
    let syn_ack = Segment {
        syn: true,
        ..from_peer(100, 1)
    };
    let fin = Segment {
        fin: true,
        ..from_peer(101, 2)
    };
    while connection.poll_transmit(now, &mut |_| 0).is_some() {}
    assert!(connection.on_segment(now, &syn_ack).established);
    connection.close(now);
    while connection.poll_transmit(now, &mut |_| 0).is_some() {}
    assert!(connection.on_segment(now, &fin).time_wait);
    connection.time_wait(now).expect("both ends have closed")
}

/// The peer's FIN comes once more: the wait begins again.
fn hear_fin(table: &mut TimeWaits, now: Instant, ends: &Ends) {
    let fin = Segment {
        seq: SeqNumber(101),
        ack: Some(SeqNumber(2)),
        fin: true,
        ..Segment::default()
    };
    if let Some(entry) = table.get_mut(ends) {
        let answer = entry.on_segment(now, &fin, &Config::default());
        assert!(matches!(answer, Answer::Ack(_)));
        assert_eq!(entry.until(), now + WAIT);
    }
}

fn ends(port: u16, peer: u32) -> Ends {
    let at = |host: u32, port| SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + host), port));
    (at(1, port), at(2 + peer, 80))
}

fn after(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

#[test]
fn what_is_replaced_counts_once() {
    let mut table = TimeWaits::new(1);
    table.insert(ends(1, 1), left(after(0)));
    table.insert(ends(1, 1), left(after(10)));
    assert_eq!(table.ports[&1], 1);
    table.expire(after(60));
    assert!(table.uses(1), "the second has ten seconds left");
    table.expire(after(70));
    assert!(!table.uses(1));
    assert_eq!(table.next_idle_port(), Some(1));
    assert_eq!(table.next_idle_port(), None);
}

#[test]
fn a_port_is_idle_when_the_last_of_its_connections_is_gone() {
    let mut table = TimeWaits::new(1);
    table.insert(ends(1, 1), left(after(0)));
    table.insert(ends(1, 2), left(after(1)));
    hear_fin(&mut table, after(30), &ends(1, 1));
    table.expire(after(61));
    assert!(table.uses(1));
    assert_eq!(table.next_idle_port(), None);
    // Reopened by the peer.
    table.remove(&ends(1, 1));
    assert!(!table.uses(1));
    assert_eq!(table.next_idle_port(), Some(1));
}

#[test]
fn who_must_make_way_leaves_its_port() {
    let mut table = TimeWaits::new(1);
    let entry = left(after(0));
    for peer in 0..MAX_ENTRIES as u32 {
        assert_eq!(table.insert(ends(1 + (peer & 1) as u16, peer), entry), 0);
    }
    let half = MAX_ENTRIES as u32 / 2;
    for peer in 0..half {
        assert_eq!(table.insert(ends(3, peer), entry), 1);
    }
    let counts = [1, 2, 3].map(|port| table.ports[&port]);
    assert_eq!(counts, [half / 2, half / 2, half]);
    for peer in half..2 * half {
        assert_eq!(table.insert(ends(3, peer), entry), 1);
    }
    assert_eq!(table.len(), MAX_ENTRIES);
    assert!(!table.uses(1) && !table.uses(2));
    let idle: HashSet<u16> = std::iter::from_fn(|| table.next_idle_port()).collect();
    assert_eq!(idle, HashSet::from([1, 2]));
}

#[test]
fn counts_are_those_of_the_entries_whatever_happens() {
    const PORTS: u16 = 4;
    const PEERS: u32 = 5;
    let mut table = TimeWaits::new(1);
    let mut draw = 1u64;
    let mut random = |end: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (draw >> 33) % end
    };
    let mut used = HashSet::new();
    for step in 0..if cfg!(miri) { 200 } else { 20_000 } {
        let now = after(step);
        let ends_of = ends(random(PORTS.into()) as u16, random(PEERS.into()) as u32);
        match random(8) {
            0..3 => {
                table.insert(ends_of, left(now));
            }
            3..5 => table.remove(&ends_of),
            5 => hear_fin(&mut table, now, &ends_of),
            _ => table.expire(now),
        }
        let mut idle = Vec::new();
        while let Some(port) = table.next_idle_port() {
            idle.push(port);
        }
        for port in 0..PORTS {
            let peers = 0..PEERS;
            let count = peers
                .filter(|&peer| table.contains(&ends(port, peer)))
                .count();
            assert_eq!(
                table.ports.get(&port).map_or(0, |&count| count as usize),
                count
            );
            assert_eq!(table.uses(port), count > 0);
            let left_now = used.contains(&port) && count == 0;
            assert_eq!(
                idle.iter().filter(|&&idle| idle == port).count(),
                usize::from(left_now)
            );
            match count {
                0 => used.remove(&port),
                _ => used.insert(port),
            };
        }
    }
    table.expire(after(1_000_000));
    assert_eq!((table.len(), table.ports.len()), (0, 0));
    assert_eq!(table.next_deadline(), None);
}

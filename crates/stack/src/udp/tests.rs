use super::*;
use crate::socket::Event;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn datagram(len: usize) -> Datagram {
    Datagram {
        from: at("10.0.0.9:9"),
        payload: Payload::heap(vec![0; len]),
    }
}

fn bound(sockets: &mut Sockets, family: Family, local: &str) -> SocketId {
    let id = sockets.open(family);
    sockets.bind(id, at(local), 0).unwrap();
    id
}

#[test]
fn the_most_specific_socket_gets_the_datagram() {
    let mut sockets = Sockets::new(1);
    let any = bound(&mut sockets, Family::V4, "0.0.0.0:7");
    let peer = at("10.0.0.9:99");
    assert_eq!(sockets.find(at("10.0.0.2:7"), peer), Some(any));
    assert_eq!(sockets.find(at("10.0.0.2:8"), peer), None);
    sockets.close(any);
    let exact = bound(&mut sockets, Family::V4, "10.0.0.2:7");
    assert_eq!(sockets.find(at("10.0.0.2:7"), peer), Some(exact));
    sockets.connect(exact, Some((at("10.0.0.2:0").ip(), peer)));
    assert_eq!(sockets.find(at("10.0.0.2:7"), peer), Some(exact));
    assert_eq!(
        sockets.find(at("10.0.0.2:7"), at("10.0.0.9:98")),
        None,
        "connected: one peer only"
    );
    sockets.connect(exact, None);
    assert_eq!(
        sockets.find(at("10.0.0.2:7"), at("10.0.0.9:98")),
        Some(exact)
    );
}

#[test]
fn a_port_is_refused_where_addresses_overlap() {
    let mut sockets = Sockets::new(1);
    bound(&mut sockets, Family::V4, "10.0.0.2:7");
    let other = sockets.open(Family::V4);
    assert_eq!(
        sockets.bind(other, at("10.0.0.2:7"), 0),
        Err(SocketError::AddressInUse)
    );
    assert_eq!(
        sockets.bind(other, at("0.0.0.0:7"), 0),
        Err(SocketError::AddressInUse)
    );
    assert_eq!(sockets.bind(other, at("10.0.0.3:7"), 0), Ok(()));
    assert_eq!(
        sockets.bind(other, at("10.0.0.3:8"), 0),
        Err(SocketError::Invalid),
        "bound already"
    );
    let six = sockets.open(Family::V6);
    assert_eq!(
        sockets.bind(six, at("[::]:7"), 0),
        Err(SocketError::AddressInUse),
        "takes IPv4 too"
    );
    assert_eq!(sockets.bind(six, at("[fd00::2]:7"), 0), Ok(()));
}

#[test]
fn an_ipv6_wildcard_takes_both_families() {
    let mut sockets = Sockets::new(1);
    let id = bound(&mut sockets, Family::V6, "[::]:7");
    assert_eq!(sockets.find(at("10.0.0.2:7"), at("10.0.0.9:1")), Some(id));
    assert_eq!(sockets.find(at("[fd00::2]:7"), at("[fd00::9]:1")), Some(id));
    sockets.close(id);
    assert_eq!(sockets.find(at("10.0.0.2:7"), at("10.0.0.9:1")), None);
}

#[test]
fn port_zero_takes_a_free_ephemeral_port_until_none_is_left() {
    let mut sockets = Sockets::new(1);
    let mut seen = std::collections::HashSet::new();
    for draw in 0..u64::from(EPHEMERAL.1) {
        let id = sockets.open(Family::V4);
        sockets.bind(id, at("10.0.0.2:0"), draw / 2).unwrap();
        assert!(seen.insert(sockets.get(id).unwrap().local.unwrap().port()));
    }
    let id = sockets.open(Family::V4);
    assert_eq!(
        sockets.bind(id, at("10.0.0.2:0"), 0),
        Err(SocketError::AddressInUse)
    );
}

#[test]
fn a_full_receive_buffer_gives_the_datagram_back() {
    let mut sockets = Sockets::new(1);
    let id = bound(&mut sockets, Family::V4, "0.0.0.0:7");
    let mut taken = 0;
    while sockets.deliver(id, datagram(100), None).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 212_992 / (DATAGRAM_OVERHEAD_BYTES + 100));
    sockets.pop(id).unwrap();
    assert!(sockets.deliver(id, datagram(100), None).is_ok());
}

#[test]
fn an_old_id_does_not_reach_the_slots_new_socket() {
    let mut sockets = Sockets::new(1);
    let old = bound(&mut sockets, Family::V4, "0.0.0.0:7");
    sockets.close(old);
    let new = bound(&mut sockets, Family::V4, "0.0.0.0:7");
    assert_eq!(old.slot, new.slot);
    assert!(sockets.get(old).is_none());
    assert!(sockets.close(old).is_empty());
    assert!(
        sockets.get(new).is_some(),
        "closing the old one again harms nobody"
    );
    assert_eq!(sockets.find(at("10.0.0.2:7"), at("10.0.0.9:1")), Some(new));
}

#[test]
fn a_socket_is_marked_once_until_its_event_is_taken() {
    let mut sockets = Sockets::new(1);
    let id = bound(&mut sockets, Family::V4, "0.0.0.0:7");
    sockets.deliver(id, datagram(1), None).unwrap();
    sockets.deliver(id, datagram(1), None).unwrap();
    assert_eq!(
        sockets.events.next(),
        Some(Event {
            socket: id,
            receive: true,
            send: false
        })
    );
    assert_eq!(sockets.events.next(), None);
    sockets.deliver(id, datagram(1), None).unwrap();
    assert_eq!(
        sockets.events.next(),
        Some(Event {
            socket: id,
            receive: true,
            send: false
        })
    );
}

//! Several stacks with the same addresses: ports are shared out among all of them, and what arrives at one that has
//! no socket for it is handed over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::build;
use super::harness::{Host, PEER_MAC, at, pattern};
use crate::{AddressState, DadConfig, Family, Protocol, Sibling, SocketError, SocketId};

const REMOTE: &str = "10.0.0.9";

/// Two stacks at 10.0.0.2, and a remote host.
pub(super) struct House {
    pub(super) engines: [Host; 2],
    pub(super) remote: Host,
    /// Which stack frames for the house arrive at.
    pub(super) arrive_at: usize,
    pub(super) wakes: Arc<AtomicUsize>,
}

impl House {
    pub(super) fn new() -> House {
        let wakes = Arc::new(AtomicUsize::new(0));
        let wake = || -> Box<dyn Fn() + Send + Sync> {
            let wakes = Arc::clone(&wakes);
            Box::new(move || {
                wakes.fetch_add(1, Ordering::Relaxed);
            })
        };
        let mut siblings = Sibling::group(5, vec![wake(), wake()]).into_iter();
        let engines = [(), ()].map(|()| {
            let mut host = Host::new();
            host.stack.join(siblings.next().unwrap());
            host
        });
        let remote = Host::with(|setup| {
            setup.config.mac = PEER_MAC;
            setup.config.addresses = vec![
                "10.0.0.9/24".parse().unwrap(),
                "fd00::9/64".parse().unwrap(),
            ];
        });
        House {
            engines,
            remote,
            arrive_at: 0,
            wakes,
        }
    }

    /// Carries frames, and has what was handed over taken, until nobody has anything to say.
    pub(super) fn exchange(&mut self) {
        for _ in 0..10_000 {
            let mut quiet = true;
            for frame in self.remote.sent() {
                self.engines[self.arrive_at].receive(&frame);
                quiet = false;
            }
            for engine in &mut self.engines {
                for frame in engine.sent() {
                    self.remote.receive(&frame);
                    quiet = false;
                }
                quiet &= !take_over(engine);
            }
            if quiet {
                return;
            }
        }
        panic!("the house does not come to rest");
    }

    /// What was handed over, taken over and lost by each.
    pub(super) fn counts(&self) -> [(u64, u64, u64); 2] {
        self.engines.each_ref().map(|engine| {
            let counters = engine.stack.counters();
            (
                counters.handed_over,
                counters.taken_over,
                counters.hand_over_dropped,
            )
        })
    }

    /// A connection of the remote's to a listener of the first stack's.
    pub(super) fn connect(&mut self, to: &str) -> (SocketId, SocketId) {
        let listener = self.engines[0].listener(to, 8);
        let client = self.remote.connecting(to);
        self.exchange();
        assert_eq!(self.remote.stack.tcp_connected(client), Some(Ok(())));
        let server = self.engines[0].accept(listener).unwrap();
        self.engines[0].close(listener);
        (client, server)
    }

    /// Bytes both ways between the remote and the first stack.
    fn talk(&mut self, client: SocketId, server: SocketId) {
        let bytes = pattern(20_000);
        assert_eq!(self.remote.write(client, &bytes), Ok(bytes.len()));
        self.exchange();
        assert_eq!(self.engines[0].read(server, usize::MAX), Ok(bytes.clone()));
        assert_eq!(self.engines[0].write(server, &bytes), Ok(bytes.len()));
        self.exchange();
        assert_eq!(self.remote.read(client, usize::MAX), Ok(bytes));
    }
}

/// Has a stack take what was handed over to it; whether there was something.
fn take_over(host: &mut Host) -> bool {
    let due = host.stack.next_deadline(host.now);
    let waits = due.is_some_and(|due| due <= host.now);
    if waits {
        host.stack.poll(host.now, &mut host.ledger);
    }
    waits
}

fn share(host: &mut Host, id: SocketId) {
    let mut options = host.stack.options(id).unwrap();
    options.reuse_port = true;
    host.stack.set_options(id, options).unwrap();
}

/// A host that has not made sure of its addresses.
fn probing() -> Host {
    Host::with(|setup| setup.config.dad = DadConfig::default())
}

fn socket(host: &mut Host, protocol: Protocol, shares: bool) -> SocketId {
    let id = host.stack.open(protocol, Family::V4);
    if shares {
        share(host, id);
    }
    id
}

#[test]
fn a_connection_is_made_whichever_stack_its_segments_arrive_at() {
    for to in ["10.0.0.2:80", "[fd00::2]:80"] {
        let mut house = House::new();
        house.arrive_at = 1;
        let (client, server) = house.connect(to);
        house.talk(client, server);
        let [first, second] = house.counts();
        assert!(second.0 > 0 && second.1 == first.0, "{first:?} {second:?}");
        assert_eq!(first.1, second.0, "all of it arrived");
        assert_eq!(house.engines[1].stack.counters().tcp_no_connection, 0);
        assert_eq!(house.engines[1].stack.counters().tcp_tx_segments, 0);
    }
}

#[test]
fn a_connection_goes_on_when_its_segments_arrive_elsewhere() {
    let mut house = House::new();
    let (client, server) = house.connect("10.0.0.2:80");
    assert_eq!(house.counts()[0].1, 0, "all of it arrived where it lives");
    for arrive_at in [1, 0, 1] {
        house.arrive_at = arrive_at;
        house.talk(client, server);
    }
    assert!(house.counts()[0].1 > 0);
}

#[test]
fn a_connection_is_known_before_a_listener_that_shares_its_port() {
    let mut house = House::new();
    let listeners = [0, 1].map(|index| {
        let host = &mut house.engines[index];
        let id = socket(host, Protocol::Tcp, true);
        host.stack.bind(id, at("10.0.0.2:80")).unwrap();
        host.stack.tcp_listen(id, 8).unwrap();
        id
    });
    let client = house.remote.connecting("10.0.0.2:80");
    house.exchange();
    let server = house.engines[0].accept(listeners[0]).unwrap();
    assert_eq!(house.counts(), [(0, 0, 0); 2], "it lives where it arrived");
    house.arrive_at = 1;
    house.talk(client, server);
    assert_eq!(
        house.engines[1].accept(listeners[1]),
        Err(SocketError::WouldBlock)
    );
    assert!(house.counts()[1].0 > 0);
}

#[test]
fn each_stack_accepts_what_arrives_at_it_where_both_listen() {
    let mut house = House::new();
    let listeners = [0, 1].map(|index| {
        let host = &mut house.engines[index];
        let id = socket(host, Protocol::Tcp, true);
        host.stack.bind(id, at("0.0.0.0:80")).unwrap();
        host.stack.tcp_listen(id, 8).unwrap();
        id
    });
    for (index, listener) in listeners.into_iter().enumerate() {
        house.arrive_at = index;
        house.remote.connecting("10.0.0.2:80");
        house.exchange();
        assert!(house.engines[index].accept(listener).is_ok());
    }
    assert_eq!(house.counts(), [(0, 0, 0); 2]);
    house.engines[1].stack.close(
        house.engines[1].now,
        &mut house.engines[1].ledger,
        listeners[1],
    );
    let client = house.remote.connecting("10.0.0.2:80");
    house.exchange();
    assert_eq!(house.remote.stack.tcp_connected(client), Some(Ok(())));
    let other = house.engines[0].accept(listeners[0]);
    assert!(other.is_ok(), "the one that is left takes all");
}

#[test]
fn a_port_is_one_stacks_unless_both_share_it() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut house = House::new();
        let [first, second] = &mut house.engines;
        let sole = socket(first, protocol, false);
        first.stack.bind(sole, at("10.0.0.2:80")).unwrap();
        for (address, bound) in [
            ("10.0.0.2:80", Err(SocketError::AddressInUse)),
            ("0.0.0.0:80", Err(SocketError::AddressInUse)),
            ("10.0.0.2:81", Ok(())),
        ] {
            let id = socket(second, protocol, true);
            assert_eq!(second.stack.bind(id, at(address)), bound, "{address}");
        }
        share(first, sole);
        let id = socket(second, protocol, true);
        assert_eq!(second.stack.bind(id, at("10.0.0.2:80")), Ok(()));
        first.stack.close(first.now, &mut first.ledger, sole);
        second.stack.close(second.now, &mut second.ledger, id);
        let id = socket(first, protocol, false);
        assert_eq!(
            first.stack.bind(id, at("10.0.0.2:80")),
            Ok(()),
            "it is free"
        );
    }
}

#[test]
fn a_free_port_is_free_in_every_stack() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut house = House::new();
        let [first, second] = &mut house.engines;
        for port in 32768..=60999 {
            if port != 50000 {
                let id = first.stack.open(protocol, Family::V4);
                let local = SocketAddr::new(at("10.0.0.2:0").ip(), port);
                first.stack.bind(id, local).unwrap();
            }
        }
        let id = second.stack.open(protocol, Family::V4);
        second.stack.bind(id, at("10.0.0.2:0")).unwrap();
        assert_eq!(second.local(id), at("10.0.0.2:50000"));
    }
}

#[test]
fn two_listeners_need_both_to_share_the_port_with_others() {
    let mut house = House::new();
    let [first, second] = house.engines.each_mut().map(|host| {
        let id = socket(host, Protocol::Tcp, false);
        let mut options = host.stack.options(id).unwrap();
        options.reuse_address = true;
        host.stack.set_options(id, options).unwrap();
        host.stack.bind(id, at("10.0.0.2:80")).unwrap();
        id
    });
    assert_eq!(house.engines[0].stack.tcp_listen(first, 8), Ok(()));
    let listened = house.engines[1].stack.tcp_listen(second, 8);
    assert_eq!(listened, Err(SocketError::AddressInUse));
}

#[test]
fn connections_keep_the_port_of_the_listener_that_has_gone() {
    let mut house = House::new();
    let (_, server) = house.connect("10.0.0.2:80");
    let [first, second] = &mut house.engines;
    let id = second.stack.open(Protocol::Tcp, Family::V4);
    let bound = second.stack.bind(id, at("10.0.0.2:80"));
    assert_eq!(bound, Err(SocketError::AddressInUse));
    first.reset_on_close(server);
    first.close(server);
    assert_eq!(second.stack.bind(id, at("10.0.0.2:80")), Ok(()));
}

#[test]
fn datagrams_are_delivered_whichever_stack_they_arrive_at() {
    for (from, to) in [
        ("10.0.0.9:99", "10.0.0.2:7"),
        ("[fd00::9]:99", "[fd00::2]:7"),
    ] {
        let mut house = House::new();
        let id = house.engines[0].bound(to);
        house.engines[1].receive(&build::udp(from, to, b"over there"));
        house.exchange();
        let received = house.engines[0].recv_from(id, from);
        assert_eq!(received, Some(b"over there".to_vec()));
        assert_eq!(house.counts(), [(0, 1, 0), (1, 0, 0)]);
        assert_eq!(house.engines[1].stack.counters().rx_no_port, 0);
    }
}

#[test]
fn datagrams_of_a_connected_socket_find_it() {
    let mut house = House::new();
    let connected = house.engines[0].connected("10.0.0.2:7", "10.0.0.9:99");
    let to_it = build::udp("10.0.0.9:99", "10.0.0.2:7", b"mine");
    let to_nobody = build::udp("10.0.0.9:98", "10.0.0.2:7", b"nobody's");
    house.engines[1].receive(&to_it);
    house.engines[1].receive(&to_nobody);
    house.exchange();
    let received = house.engines[0].recv_from(connected, "10.0.0.9:99");
    assert_eq!(received, Some(b"mine".to_vec()));
    assert_eq!(house.counts(), [(0, 1, 0), (1, 0, 0)]);
    assert_eq!(house.engines[1].stack.counters().rx_no_port, 1);
    house.engines[0].stack.udp_connect(connected, None).unwrap();
    house.engines[1].receive(&to_nobody);
    house.exchange();
    let received = house.engines[0].recv_from(connected, "10.0.0.9:98");
    assert_eq!(received, Some(b"nobody's".to_vec()), "it is open to all");
}

#[test]
fn what_is_put_together_of_fragments_is_handed_over() {
    let mut house = House::new();
    let id = house.engines[0].bound("10.0.0.2:7");
    let payload = pattern(4000);
    let packet = build::udp_packet("10.0.0.9:99", "10.0.0.2:7", &payload);
    for fragment in build::fragments(&packet, 1, 1480) {
        house.engines[1].receive(&build::frame(&fragment));
    }
    house.exchange();
    let received = house.engines[0].recv_from(id, "10.0.0.9:99");
    assert_eq!(received, Some(payload));
}

#[test]
fn what_nobody_has_is_refused_where_it_arrives() {
    let mut house = House::new();
    house.engines[0].meet_peer();
    let sent = house.engines[0].answer(&build::udp("10.0.0.9:99", "10.0.0.2:7", b"?"));
    assert_eq!(sent.len(), 1, "port unreachable");
    let sent = house.engines[0].answer(&build::tcp_syn("10.0.0.9:99", "10.0.0.2:7"));
    assert_eq!(sent.len(), 1, "a reset");
    assert_eq!(house.engines[0].stack.counters().tcp_no_connection, 1);
    assert_eq!(house.counts(), [(0, 0, 0); 2]);
}

#[test]
fn an_answer_of_a_neighbour_teaches_every_stack() {
    for (to, answer) in [
        (
            "10.0.0.9:99",
            build::arp_reply(PEER_MAC, REMOTE, "10.0.0.2"),
        ),
        (
            "[fd00::9]:99",
            build::neighbour_advert(PEER_MAC, "fd00::9", "fd00::2", true),
        ),
    ] {
        let mut house = House::new();
        let family = if at(to).is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        let id = house.engines[0].open(family);
        house.engines[0].send(id, to, b"hello").unwrap();
        assert_eq!(house.engines[0].sent().len(), 1, "a question");
        house.engines[1].receive(&answer);
        assert!(take_over(&mut house.engines[0]));
        let sent = house.engines[0].sent();
        let (_, destination, payload) = build::read_udp(&sent[0]);
        assert_eq!((destination, payload), (at(to), b"hello".to_vec()));
    }
}

#[test]
fn an_icmp_error_goes_to_whose_packet_it_quotes() {
    let mut house = House::new();
    let connected = house.engines[0].connected("10.0.0.2:7", "10.0.0.9:99");
    let quoted = build::udp_packet("10.0.0.2:7", "10.0.0.9:99", b"x");
    let error = build::port_unreachable(REMOTE, "10.0.0.2", &quoted);
    house.engines[1].receive(&build::frame(&error));
    house.exchange();
    assert_eq!(
        house.engines[0].stack.take_error(connected),
        Some(SocketError::Refused)
    );
    assert_eq!(house.engines[1].stack.counters().rx_icmp_ignored, 0);
}

#[test]
fn a_shorter_path_is_told_to_every_stack_that_may_send_datagrams_there() {
    let mut house = House::new();
    let mut ids = Vec::new();
    for host in &mut house.engines {
        host.meet_peer();
        let id = socket(host, Protocol::Udp, true);
        host.stack.bind(id, at("10.0.0.2:7")).unwrap();
        ids.push(id);
    }
    let quoted = build::udp_packet("10.0.0.2:7", "10.0.0.9:99", b"x");
    let mtu = 1000_u16.to_be_bytes();
    let error = build::icmp(REMOTE, "10.0.0.2", 3, 4, [0, 0, mtu[0], mtu[1]], &quoted);
    house.engines[1].receive(&build::frame(&error));
    for (host, id) in house.engines.iter_mut().zip(ids) {
        take_over(host);
        host.send(id, "10.0.0.9:99", &pattern(1200)).unwrap();
        assert_eq!(host.sent().len(), 2, "fragments of 1000 bytes");
    }
}

#[test]
fn a_stack_reaches_a_listener_of_another_ones() {
    let mut house = House::new();
    let listener = house.engines[1].listener("10.0.0.2:80", 8);
    let client = house.engines[0].connecting("10.0.0.2:80");
    house.exchange();
    assert_eq!(house.engines[0].stack.tcp_connected(client), Some(Ok(())));
    let server = house.engines[1].accept(listener).unwrap();
    assert_eq!(house.engines[0].write(client, b"between us"), Ok(10));
    house.exchange();
    let received = house.engines[1].read(server, 100);
    assert_eq!(received, Ok(b"between us".to_vec()));
    let (a, b) = (
        house.engines[0].bound("10.0.0.2:7"),
        house.engines[1].bound("10.0.0.2:8"),
    );
    house.engines[0].send(a, "10.0.0.2:8", b"and so").unwrap();
    house.exchange();
    let received = house.engines[1].recv_from(b, "10.0.0.2:7");
    assert_eq!(received, Some(b"and so".to_vec()));
}

#[test]
fn no_two_stacks_have_a_connection_with_the_same_ends() {
    let mut house = House::new();
    let [first, second] = house.engines.each_mut().map(|host| {
        let id = socket(host, Protocol::Tcp, true);
        host.stack.bind(id, at("10.0.0.2:5000")).unwrap();
        id
    });
    let connect = |host: &mut Host, id, to| {
        let (stack, ledger) = (&mut host.stack, &mut host.ledger);
        stack.tcp_connect(host.now, ledger, id, Some(at(to)))
    };
    let begun = connect(&mut house.engines[0], first, "10.0.0.9:80");
    assert_eq!(begun, Err(SocketError::InProgress));
    let refused = connect(&mut house.engines[1], second, "10.0.0.9:80");
    assert_eq!(refused, Err(SocketError::AddressNotAvailable));
    let begun = connect(&mut house.engines[1], second, "10.0.0.9:81");
    assert_eq!(begun, Err(SocketError::InProgress));
    for (host, id) in house.engines.iter_mut().zip([first, second]) {
        host.reset_on_close(id);
        host.close(id);
    }
}

#[test]
fn a_connection_in_time_wait_is_known_to_every_stack() {
    let mut house = House::new();
    let (client, server) = house.connect("10.0.0.2:80");
    let port = house.remote.local(client).port();
    house.engines[0].close(server);
    house.exchange();
    house.remote.close(client);
    house.exchange();
    assert_eq!(house.engines[0].stack.tcp_time_waits(), 1);
    // The last acknowledgement was lost, as the remote sees it: a segment from before.
    house.arrive_at = 1;
    let late = build::tcp_syn(&format!("10.0.0.9:{port}"), "10.0.0.2:80");
    house.engines[1].receive(&late);
    assert_eq!(house.engines[1].stack.counters().tcp_no_connection, 0);
    assert_eq!(house.counts()[1].0, house.counts()[0].1 + 1, "handed over");
    house.exchange();
}

#[test]
fn a_stack_that_follows_answers_for_its_addresses_once_they_are_settled() {
    let mut host = probing();
    host.stack.follow_addresses();
    host.pass(std::time::Duration::from_secs(20));
    let question = build::arp_request(PEER_MAC, REMOTE, "10.0.0.2");
    assert_eq!(host.answer(&question), Vec::<Vec<u8>>::new());
    let ours = at("10.0.0.2:0").ip();
    assert_eq!(
        host.stack.address_state(ours),
        Some(AddressState::Tentative)
    );
    host.stack.settle_addresses(host.now, &mut host.ledger);
    assert_eq!(
        host.stack.address_state(ours),
        Some(AddressState::Preferred)
    );
    build::without_noise(host.sent());
    let sent = host.answer(&question);
    assert_eq!(sent.len(), 1, "one answer, and no announcement");
    assert_eq!(host.stack.counters().address_conflicts, 0);
}

#[test]
fn a_probe_of_a_sibling_is_no_conflict() {
    let mut host = probing();
    host.stack.follow_addresses();
    let mac = host.config.mac;
    host.receive(&build::arp_request(mac, "0.0.0.0", "10.0.0.2"));
    let state = host.stack.address_state(at("10.0.0.2:0").ip());
    assert_eq!(state, Some(AddressState::Tentative));
    host.receive(&build::arp_request(PEER_MAC, "0.0.0.0", "10.0.0.2"));
    let state = host.stack.address_state(at("10.0.0.2:0").ip());
    assert_eq!(state, Some(AddressState::Duplicate(PEER_MAC)));
}

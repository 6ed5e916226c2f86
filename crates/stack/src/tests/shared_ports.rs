//! The ports of a stack beside a kernel: when the kernel is to hold them for it, and until when.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::build;
use super::harness::{Host, at};
use super::kernel::{FIRST_EPHEMERAL, FakeKernel};
use crate::{Family, Protocol, Reservation, SocketError, SocketId};

/// Ports for connections are taken so many at a time.
const BLOCK: usize = 32;

fn open(host: &mut Host, protocol: Protocol, family: Family) -> SocketId {
    host.stack.open(protocol, family)
}

fn family(local: &str) -> Family {
    match at(local) {
        SocketAddr::V4(_) => Family::V4,
        SocketAddr::V6(_) => Family::V6,
    }
}

/// A socket with these options that is bound there, or why not.
fn bind(
    host: &mut Host,
    protocol: Protocol,
    local: &str,
    (reuse_address, reuse_port): (bool, bool),
) -> Result<SocketId, SocketError> {
    let id = open(host, protocol, family(local));
    let mut options = host.stack.options(id).unwrap();
    options.reuse_address = reuse_address;
    options.reuse_port = reuse_port;
    host.stack.set_options(id, options).unwrap();
    let bound = host.stack.bind(id, at(local));
    if bound.is_err() {
        host.close(id);
    }
    bound.map(|()| id)
}

const ALONE: (bool, bool) = (false, false);
const BOTH: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn connect(host: &mut Host, id: SocketId, to: &str) -> Result<(), SocketError> {
    let (now, to) = (host.now, Some(at(to)));
    host.stack.tcp_connect(now, &mut host.ledger, id, to)
}

/// Ends a connection or a socket without a trace.
fn reset(host: &mut Host, id: SocketId) {
    host.reset_on_close(id);
    host.close(id);
}

fn poll(host: &mut Host) {
    host.stack.poll(host.now, &mut host.ledger);
}

fn held(kernel: &FakeKernel, protocol: Protocol) -> Vec<SocketAddr> {
    kernel.state().ports(protocol)
}

#[test]
fn a_bound_port_is_held_with_the_socket_s_options_until_the_socket_is_closed() {
    for protocol in BOTH {
        for local in ["10.0.0.2:700", "0.0.0.0:700", "[fd00::2]:700", "[::]:700"] {
            for (reuse_address, reuse_port) in [(false, false), (true, false), (false, true)] {
                let kernel = FakeKernel::new();
                let mut host = kernel.host();
                let sharing = (reuse_address, reuse_port);
                let socket = bind(&mut host, protocol, local, sharing).unwrap();
                let wanted = Reservation {
                    protocol,
                    local: at(local),
                    v6_only: false,
                    reuse_address,
                    reuse_port,
                };
                assert_eq!(kernel.state().wanted, [wanted]);
                poll(&mut host);
                assert_eq!(held(&kernel, protocol), [at(local)]);
                host.close(socket);
                poll(&mut host);
                assert_eq!(held(&kernel, protocol), []);
            }
        }
    }
}

#[test]
fn port_0_is_the_kernel_s_choice() {
    for protocol in BOTH {
        let kernel = FakeKernel::new();
        kernel.state().foreign.insert(FIRST_EPHEMERAL);
        let mut host = kernel.host();
        let socket = bind(&mut host, protocol, "10.0.0.2:0", ALONE).unwrap();
        let port = FIRST_EPHEMERAL + 1;
        assert_eq!(
            host.local(socket),
            SocketAddr::new("10.0.0.2".parse().unwrap(), port)
        );
        assert_eq!(held(&kernel, protocol), [host.local(socket)]);
        host.close(socket);
    }
}

#[test]
fn a_port_of_the_kernel_s_choice_is_nobody_else_s() {
    for protocol in BOTH {
        for sharing in [(true, false), (false, true)] {
            let kernel = FakeKernel::new();
            let mut host = kernel.host();
            let sockets = [0; 3].map(|_| bind(&mut host, protocol, "0.0.0.0:0", sharing).unwrap());
            let ports = sockets.map(|socket| host.local(socket).port());
            assert_eq!(HashSet::from(ports).len(), 3, "{ports:?}");
            sockets.iter().for_each(|&socket| host.close(socket));
            poll(&mut host);
            assert_eq!(held(&kernel, protocol), []);
        }
    }
}

#[test]
fn the_kernel_s_refusals_come_through() {
    for protocol in BOTH {
        for error in [
            SocketError::AddressInUse,
            SocketError::Access,
            SocketError::TooManyFiles,
        ] {
            let kernel = FakeKernel::new();
            kernel.state().refuses = Some(error);
            let mut host = kernel.host();
            for local in ["10.0.0.2:700", "10.0.0.2:0"] {
                let bound = bind(&mut host, protocol, local, ALONE);
                assert_eq!(bound, Err(error));
            }
            kernel.state().refuses = None;
            let socket = bind(&mut host, protocol, "10.0.0.2:700", ALONE).unwrap();
            host.close(socket);
        }
    }
}

#[test]
fn a_port_that_a_socket_of_the_kernel_s_has_is_in_use() {
    for protocol in BOTH {
        let kernel = FakeKernel::new();
        kernel.state().foreign.insert(700);
        let mut host = kernel.host();
        let bound = bind(&mut host, protocol, "0.0.0.0:700", ALONE);
        assert_eq!(bound, Err(SocketError::AddressInUse));
    }
}

#[test]
fn who_shares_a_port_of_the_stack_needs_no_second_reservation() {
    for protocol in BOTH {
        let kernel = FakeKernel::new();
        let mut host = kernel.host();
        let sockets =
            [0; 3].map(|_| bind(&mut host, protocol, "0.0.0.0:700", (false, true)).unwrap());
        for socket in sockets {
            poll(&mut host);
            assert_eq!(held(&kernel, protocol), [at("0.0.0.0:700")]);
            host.close(socket);
        }
        poll(&mut host);
        assert_eq!(kernel.state().wanted.len(), 1);
        assert_eq!(held(&kernel, protocol), []);
    }
}

#[test]
fn who_does_not_share_a_port_of_the_stack_asks_the_kernel_for_nothing() {
    for protocol in BOTH {
        let kernel = FakeKernel::new();
        let mut host = kernel.host();
        let socket = bind(&mut host, protocol, "0.0.0.0:700", ALONE).unwrap();
        let bound = bind(&mut host, protocol, "10.0.0.2:700", ALONE);
        assert_eq!(bound, Err(SocketError::AddressInUse));
        assert_eq!(kernel.state().wanted.len(), 1);
        host.close(socket);
    }
}

#[test]
fn a_wildcard_covers_the_addresses_of_its_families() {
    let reservations = |first: &str, second: &str| {
        let kernel = FakeKernel::new();
        let mut host = kernel.host();
        let sockets = [first, second]
            .map(|local| bind(&mut host, Protocol::Udp, local, (false, true)).unwrap());
        let count = held(&kernel, Protocol::Udp).len();
        sockets.iter().for_each(|&socket| host.close(socket));
        poll(&mut host);
        assert_eq!(held(&kernel, Protocol::Udp), [], "{first} and {second}");
        count
    };
    assert_eq!(reservations("0.0.0.0:700", "10.0.0.2:700"), 1);
    assert_eq!(reservations("10.0.0.2:700", "0.0.0.0:700"), 2);
    assert_eq!(reservations("0.0.0.0:700", "[fd00::2]:700"), 2);
    assert_eq!(reservations("0.0.0.0:700", "[::]:700"), 2);
    assert_eq!(reservations("[::]:700", "10.0.0.2:700"), 1);
    assert_eq!(reservations("[::]:700", "0.0.0.0:700"), 1);
    assert_eq!(reservations("[::]:700", "[fd00::2]:700"), 1);
    assert_eq!(reservations("10.0.0.2:700", "[fd00::2]:700"), 2);
}

#[test]
fn the_ipv4_wildcard_of_an_ipv6_socket_covers_ipv4_alone() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let mapped = open(&mut host, Protocol::Udp, Family::V6);
    host.stack.bind(mapped, at("0.0.0.0:700")).unwrap();
    let v6 = bind(&mut host, Protocol::Udp, "[fd00::2]:700", ALONE).unwrap();
    let v4 = at("0.0.0.0:700");
    assert_eq!(kernel.udp_ports(), [v4, at("[fd00::2]:700")]);
    for socket in [mapped, v6] {
        host.close(socket);
    }
}

#[test]
fn to_listen_and_to_connect_have_the_kernel_keep_silent() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = bind(&mut host, Protocol::Tcp, "0.0.0.0:700", ALONE).unwrap();
    assert!(!kernel.is_guarded("0.0.0.0:700"), "bound and no more");
    host.stack.tcp_listen(socket, 8).unwrap();
    assert!(kernel.is_guarded("0.0.0.0:700"));
    let client = bind(&mut host, Protocol::Tcp, "10.0.0.2:701", ALONE).unwrap();
    let begun = connect(&mut host, client, "10.0.0.9:80");
    assert_eq!(begun, Err(SocketError::InProgress));
    assert!(kernel.is_guarded("10.0.0.2:701"));
    host.close(socket);
    reset(&mut host, client);
}

#[test]
fn a_socket_that_is_not_bound_listens_at_a_port_of_the_kernel_s_choice() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = open(&mut host, Protocol::Tcp, Family::V4);
    host.stack.tcp_listen(socket, 8).unwrap();
    let local = host.local(socket);
    assert_eq!(
        (local.port(), kernel.tcp_ports()),
        (FIRST_EPHEMERAL, vec![local])
    );
    assert!(kernel.is_guarded(&local.to_string()));
    host.close(socket);
}

#[test]
fn who_may_not_listen_is_told_and_stays_bound() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = bind(&mut host, Protocol::Tcp, "0.0.0.0:700", ALONE).unwrap();
    kernel.state().refuses_guard = Some(SocketError::AddressInUse);
    let listening = host.stack.tcp_listen(socket, 8);
    assert_eq!(listening, Err(SocketError::AddressInUse));
    assert!(!host.stack.is_listening(socket));
    let begun = connect(&mut host, socket, "10.0.0.9:80");
    assert_eq!(begun, Err(SocketError::AddressInUse));
    kernel.state().refuses_guard = None;
    host.stack.tcp_listen(socket, 8).unwrap();
    host.close(socket);
}

#[test]
fn a_port_is_held_until_the_last_accepted_connection_and_its_time_wait_are_gone() {
    let kernel = FakeKernel::new();
    let mut pair = kernel.pair();
    let listener = pair.a.listener("10.0.0.2:80", 8);
    let clients = ["10.0.0.2:80"; 2].map(|to| pair.b.connecting(to));
    pair.exchange();
    let accepted = clients.map(|_| pair.a.accept(listener).unwrap());
    let is_held = || kernel.tcp_ports() == [at("10.0.0.2:80")];
    pair.a.close(listener);
    poll(&mut pair.a);
    assert!(is_held(), "there are connections");
    reset(&mut pair.a, accepted[0]);
    poll(&mut pair.a);
    assert!(is_held(), "there is a connection");
    pair.a.close(accepted[1]);
    pair.exchange();
    pair.b.close(clients[1]);
    pair.exchange();
    pair.pass(Duration::from_secs(59));
    assert_eq!(pair.a.stack.tcp_time_waits(), 1);
    assert!(is_held(), "there is a TIME-WAIT");
    pair.pass(Duration::from_secs(1));
    assert_eq!(pair.a.stack.tcp_time_waits(), 0);
    assert!(!is_held());
    assert_eq!(kernel.state().released.len(), 1);
}

#[test]
fn a_half_open_connection_holds_its_port() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let listener = host.listener("10.0.0.2:80", 8);
    host.receive(&build::tcp_syn("10.0.0.9:5000", "10.0.0.2:80"));
    poll(&mut host);
    assert_eq!(kernel.tcp_ports().len(), 1);
    host.close(listener);
    poll(&mut host);
    assert_eq!(kernel.tcp_ports(), []);
    host.sent();
}

#[test]
fn a_port_that_was_closed_and_bound_again_is_not_given_back() {
    for protocol in BOTH {
        let kernel = FakeKernel::new();
        let mut host = kernel.host();
        let first = bind(&mut host, protocol, "10.0.0.2:700", ALONE).unwrap();
        host.close(first);
        let again = bind(&mut host, protocol, "10.0.0.2:700", ALONE).unwrap();
        poll(&mut host);
        assert_eq!(held(&kernel, protocol), [at("10.0.0.2:700")]);
        host.close(again);
        poll(&mut host);
        assert_eq!(held(&kernel, protocol), []);
    }
}

#[test]
fn a_datagram_socket_that_sends_or_connects_without_a_port_has_one_until_it_is_closed() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let (sends, connects) = (host.open(Family::V4), host.open(Family::V6));
    host.send(sends, "10.0.0.9:9", b"x").unwrap();
    let to = Some(at("[fd00::9]:9"));
    host.stack.udp_connect(connects, to).unwrap();
    let [v4, v6] = [sends, connects].map(|socket| host.local(socket).port());
    let wildcards = [("0.0.0.0", v4), ("::", v6)];
    let expected = wildcards.map(|(ip, port)| SocketAddr::new(ip.parse().unwrap(), port));
    assert_eq!(kernel.udp_ports(), expected);
    for socket in [sends, connects] {
        host.close(socket);
    }
    poll(&mut host);
    assert_eq!(kernel.udp_ports(), []);
    host.sent();
}

#[test]
fn a_datagram_socket_for_which_there_is_no_port_is_told_why() {
    for (refuses, error) in [
        (SocketError::AddressInUse, SocketError::WouldBlock),
        (SocketError::TooManyFiles, SocketError::TooManyFiles),
    ] {
        let kernel = FakeKernel::new();
        kernel.state().refuses = Some(refuses);
        let mut host = kernel.host();
        let socket = host.open(Family::V4);
        assert_eq!(host.send(socket, "10.0.0.9:9", b"x"), Err(error));
        let to = Some(at("10.0.0.9:9"));
        assert_eq!(host.stack.udp_connect(socket, to), Err(error));
    }
}

#[test]
fn ports_for_connections_are_taken_in_blocks_and_silent() {
    for to in ["10.0.0.9:80", "[fd00::9]:80"] {
        let kernel = FakeKernel::new();
        let mut host = kernel.host();
        for count in 0..2 * BLOCK {
            let blocks = count.div_ceil(BLOCK);
            assert_eq!(kernel.tcp_ports().len(), blocks * BLOCK);
            let stream = host.connecting(to);
            let port = host.local(stream).port();
            let held = kernel.tcp_ports();
            assert!(held.iter().any(|local| local.port() == port));
        }
        let state = kernel.state();
        let silent = |wanted: &Reservation| wanted.v6_only && !wanted.reuse_address;
        assert!(
            state
                .held
                .iter()
                .all(|held| held.guarded && silent(&held.wanted))
        );
        drop(state);
        host.sent();
    }
}

#[test]
fn one_port_is_used_for_several_destinations() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    for destination in 0..8 {
        for _ in 0..BLOCK {
            host.connecting(&format!("10.0.0.9:{}", 80 + destination));
            host.sent();
        }
    }
    assert_eq!(kernel.tcp_ports().len(), BLOCK);
}

#[test]
fn a_port_whose_connection_to_there_is_in_time_wait_is_not_used_for_there() {
    let kernel = FakeKernel::new();
    let mut pair = kernel.pair();
    let listener = pair.b.listener("10.0.0.3:80", 64);
    let mut ports = HashSet::new();
    for count in 0..=BLOCK {
        let client = pair.a.connecting("10.0.0.3:80");
        pair.exchange();
        assert!(ports.insert(pair.a.local(client).port()));
        let server = pair.b.accept(listener).unwrap();
        pair.a.close(client);
        pair.exchange();
        pair.b.close(server);
        pair.exchange();
        assert_eq!(pair.a.stack.tcp_time_waits(), count + 1);
    }
    assert_eq!(kernel.tcp_ports().len(), 2 * BLOCK);
}

#[test]
fn a_few_unused_ports_are_kept_and_many_are_given_back() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let streams: Vec<_> = (0..10 * BLOCK)
        .map(|_| host.connecting("10.0.0.9:80"))
        .collect();
    assert_eq!(kernel.tcp_ports().len(), 10 * BLOCK);
    for &stream in &streams[..2 * BLOCK] {
        reset(&mut host, stream);
    }
    poll(&mut host);
    assert_eq!(kernel.tcp_ports().len(), 10 * BLOCK, "few are unused");
    for &stream in &streams[2 * BLOCK..] {
        reset(&mut host, stream);
    }
    poll(&mut host);
    let kept = kernel.tcp_ports().len();
    assert_eq!(kept, 2 * BLOCK + 10 * BLOCK / 2, "half of them, and some");
    // The more connections come and go, the fewer.
    for _ in 0..kept {
        let stream = host.connecting("10.0.0.9:80");
        reset(&mut host, stream);
        poll(&mut host);
    }
    assert_eq!(kernel.tcp_ports().len(), 4 * BLOCK);
    host.sent();
}

#[test]
fn connections_that_come_and_go_take_ports_once() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    for _ in 0..1000 {
        let stream = host.connecting("10.0.0.9:80");
        host.sent();
        reset(&mut host, stream);
        poll(&mut host);
    }
    assert_eq!(kernel.state().wanted.len(), BLOCK);
    assert_eq!(kernel.state().released, []);
}

#[test]
fn fewer_ports_than_a_block_are_enough() {
    let kernel = FakeKernel::new();
    kernel.state().left = Some(3);
    let mut host = kernel.host();
    for _ in 0..3 {
        host.connecting("10.0.0.9:80");
    }
    let fourth = open(&mut host, Protocol::Tcp, Family::V4);
    let begun = connect(&mut host, fourth, "10.0.0.9:80");
    assert_eq!(begun, Err(SocketError::AddressNotAvailable));
    let elsewhere = connect(&mut host, fourth, "10.0.0.9:81");
    assert_eq!(elsewhere, Err(SocketError::InProgress));
    reset(&mut host, fourth);
    host.sent();
}

#[test]
fn why_the_kernel_has_no_port_for_a_connection_comes_through() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let stream = open(&mut host, Protocol::Tcp, Family::V4);
    for (refuses, error) in [
        (SocketError::TooManyFiles, SocketError::TooManyFiles),
        (SocketError::AddressInUse, SocketError::AddressNotAvailable),
    ] {
        kernel.state().refuses = Some(refuses);
        assert_eq!(connect(&mut host, stream, "10.0.0.9:80"), Err(error));
    }
    kernel.state().refuses = None;
    kernel.state().refuses_guard = Some(SocketError::AddressInUse);
    let begun = connect(&mut host, stream, "10.0.0.9:80");
    assert_eq!(begun, Err(SocketError::AddressNotAvailable));
    assert_eq!(
        kernel.tcp_ports(),
        [],
        "what could not be guarded is given back"
    );
    host.close(stream);
}

#[test]
fn a_port_that_was_kept_for_connections_can_be_bound() {
    for local in ["10.0.0.2", "0.0.0.0", "[::]"] {
        let kernel = FakeKernel::new();
        let mut host = kernel.host();
        for to in ["10.0.0.9:80", "[fd00::9]:80"] {
            let stream = host.connecting(to);
            reset(&mut host, stream);
            poll(&mut host);
        }
        for port in [FIRST_EPHEMERAL + 3, FIRST_EPHEMERAL + 4] {
            let local = format!("{local}:{port}");
            let socket = bind(&mut host, Protocol::Tcp, &local, ALONE);
            let socket = socket.expect("nobody uses it");
            host.stack.tcp_listen(socket, 8).unwrap();
            let stream = host.connecting("10.0.0.9:80");
            assert_ne!(host.local(stream).port(), port);
            host.close(socket);
            reset(&mut host, stream);
            poll(&mut host);
        }
        host.sent();
    }
}

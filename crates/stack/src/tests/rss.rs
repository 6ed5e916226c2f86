//! Sockets that connect choose ports whose answers arrive on a queue of ours.

use std::net::SocketAddr;

use super::build;
use super::harness::{Host, at};
use super::kernel::FakeKernel;
use crate::{Family, HashFields, HashedFields, Protocol, Rss};

/// A NIC with 128 entries in its table, of which the entries of one queue of so many are ours.
fn nic(queues: usize, ours: usize, fields: HashFields) -> Rss {
    let key = (0..40_u8)
        .map(|byte| byte.wrapping_mul(37) ^ 0x5a)
        .collect();
    let table = (0..128).map(|entry| entry % queues == ours).collect();
    let fields = HashedFields {
        tcp_v4: fields,
        tcp_v6: fields,
        udp_v4: fields,
        udp_v6: fields,
    };
    Rss::new(key, table, fields).unwrap()
}

fn connect_udp(host: &mut Host, remote: &str) -> SocketAddr {
    let remote = at(remote);
    let family = if remote.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let id = host.open(family);
    host.stack.udp_connect(id, Some(remote)).unwrap();
    host.local(id)
}

#[test]
fn connections_begin_where_the_answer_arrives() {
    for (queues, remote) in [
        (2, "10.0.0.9:80"),
        (16, "10.0.0.9:80"),
        (16, "[fd00::9]:80"),
    ] {
        let mut host = Host::ready();
        let rss = nic(queues, 1, HashFields::AddressesAndPorts);
        host.stack.set_rss(Some(rss.clone()));
        let mut ports = Vec::new();
        for _ in 0..20 {
            let id = host.connecting(remote);
            ports.push(host.local(id));
            ports.push(connect_udp(&mut host, remote));
        }
        let all_here = ports
            .iter()
            .all(|&local| rss.arrives_here(at(remote), local));
        assert!(all_here, "one of {queues} queues, {remote}: {ports:?}");
    }
}

#[test]
fn a_bound_socket_connects_from_its_port_wherever_the_answer_arrives() {
    let remote = "10.0.0.9:80";
    let mut host = Host::ready();
    let rss = nic(2, 0, HashFields::AddressesAndPorts);
    host.stack.set_rss(Some(rss.clone()));
    let elsewhere =
        |port: &u16| !rss.arrives_here(at(remote), SocketAddr::new(at("10.0.0.2:0").ip(), *port));
    let port = (5000..).find(elsewhere).unwrap();
    let local = format!("10.0.0.2:{port}");
    let id = host.connected(&local, remote);
    assert_eq!(host.local(id), at(&local));
}

#[test]
fn where_ports_are_not_hashed_any_port_will_do() {
    let mut host = Host::ready();
    host.stack.set_rss(Some(nic(128, 5, HashFields::Addresses)));
    let id = host.connecting("10.0.0.9:80");
    assert_ne!(host.local(id).port(), 0);
    assert_ne!(connect_udp(&mut host, "10.0.0.9:80").port(), 0);
}

#[test]
fn a_connection_begins_elsewhere_when_no_port_arrives_here() {
    let mut host = Host::ready();
    // Ports that arrive here are found by the table, and all of them are taken: none is left of few.
    let rss = nic(128, 3, HashFields::AddressesAndPorts);
    let remote = "10.0.0.9:80";
    let ip = at("10.0.0.2:0").ip();
    let here =
        (32768..61000).filter(|&port| rss.arrives_here(at(remote), SocketAddr::new(ip, port)));
    for port in here {
        let id = host.stack.open(Protocol::Tcp, Family::V4);
        host.stack.bind(id, SocketAddr::new(ip, port)).unwrap();
    }
    host.stack.set_rss(Some(rss.clone()));
    let id = host.connecting(remote);
    assert!(!rss.arrives_here(at(remote), host.local(id)));
    assert_eq!(build::without_noise(host.sent()).len(), 1, "the SYN");
}

#[test]
fn of_the_ports_that_the_kernel_holds_one_is_taken_whose_answers_arrive_here() {
    let remote = "10.0.0.9:80";
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let rss = nic(4, 2, HashFields::AddressesAndPorts);
    host.stack.set_rss(Some(rss.clone()));
    for _ in 0..20 {
        let id = host.connecting(remote);
        assert!(rss.arrives_here(at(remote), host.local(id)));
        let local = connect_udp(&mut host, remote);
        assert!(rss.arrives_here(at(remote), local));
    }
}

#[test]
fn the_kernel_is_not_asked_for_hundreds_of_ports_to_find_a_rare_one() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    host.stack
        .set_rss(Some(nic(128, 2, HashFields::AddressesAndPorts)));
    host.connecting("10.0.0.9:80");
    let held = kernel.tcp_ports().len();
    host.connecting("10.0.0.9:80");
    assert_eq!(kernel.tcp_ports().len(), held, "one block does for both");
}

//! What is remembered of the ways that datagrams took, and what makes it forgotten.

use super::build;
use super::harness::{Host, PEER_MAC, ip};
use super::kernel::FakeKernel;
use super::shared::tells;
use crate::way::place;
use crate::{Cidr, KernelEvent, Shutdown, SocketError, SocketId};

const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 77];

fn addresses(cidrs: &[&str]) -> KernelEvent {
    let parse = |cidr: &&str| cidr.parse::<Cidr>().unwrap();
    KernelEvent::Addresses(cidrs.iter().map(parse).collect())
}

/// Sends a datagram; returns source and destination of what goes out.
fn sent(host: &mut Host, socket: SocketId, to: &str) -> Vec<(String, String)> {
    host.send(socket, &format!("{to}:9"), b"x").unwrap();
    let frames = host.sent();
    let ends = frames.iter().map(|frame| {
        let packet = build::read_ip(&build::read_ethernet(frame).payload);
        (packet.from.to_string(), packet.to.to_string())
    });
    ends.collect()
}

fn one(from: &str, to: &str) -> Vec<(String, String)> {
    vec![(from.to_owned(), to.to_owned())]
}

#[test]
fn each_source_has_its_own_way() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    tells(
        &mut host,
        &kernel,
        addresses(&["10.0.0.2/24", "10.0.0.4/24"]),
    );
    let sockets = ["10.0.0.2:700", "10.0.0.4:700"].map(|local| host.bound(local));
    for _ in 0..2 {
        for (socket, from) in sockets.into_iter().zip(["10.0.0.2", "10.0.0.4"]) {
            assert_eq!(sent(&mut host, socket, "10.0.0.9"), one(from, "10.0.0.9"));
        }
    }
}

#[test]
fn destinations_that_share_a_place_are_told_apart() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let others = (3..=254).map(|last| format!("10.0.0.{last}"));
    let other = others
        .filter(|other| other != "10.0.0.9")
        .find(|other| place(ip(other)) == place(ip("10.0.0.9")))
        .expect("two of 250 addresses in 256 places share one");
    kernel.knows(&other, OTHER_MAC, true);
    let socket = host.bound("10.0.0.2:700");
    for _ in 0..2 {
        for (to, mac) in [("10.0.0.9", PEER_MAC), (&other, OTHER_MAC)] {
            host.send(socket, &format!("{to}:9"), b"x").unwrap();
            let frames = host.sent();
            assert_eq!(build::read_ethernet(&frames[0]).to, mac, "{to}");
        }
    }
}

#[test]
fn an_address_that_is_ours_no_longer_is_no_source() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("0.0.0.0:700");
    assert_eq!(
        sent(&mut host, socket, "10.0.0.9"),
        one("10.0.0.2", "10.0.0.9")
    );
    tells(&mut host, &kernel, addresses(&["10.0.0.4/24"]));
    assert_eq!(
        sent(&mut host, socket, "10.0.0.9"),
        one("10.0.0.4", "10.0.0.9")
    );
}

#[test]
fn what_goes_to_an_address_that_became_ours_stays_here() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    assert_eq!(sent(&mut host, socket, "10.0.0.9").len(), 1);
    tells(
        &mut host,
        &kernel,
        addresses(&["10.0.0.2/24", "10.0.0.9/24"]),
    );
    assert_eq!(sent(&mut host, socket, "10.0.0.9"), []);
}

#[test]
fn a_socket_that_is_shut_sends_nothing_on_a_known_way() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.connected("10.0.0.2:700", "10.0.0.9:9");
    assert_eq!(sent(&mut host, socket, "10.0.0.9").len(), 1);
    let now = host.now;
    host.stack
        .shutdown(now, &mut host.ledger, socket, Shutdown::Send)
        .unwrap();
    let refused = host.send(socket, "10.0.0.9:9", b"x");
    assert_eq!(refused, Err(SocketError::Pipe));
}

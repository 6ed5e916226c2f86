//! Datagrams that the kernel gets on a reserved port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use ringwire_xsk::{Protocol, Received, Reservation};

use crate::pair::{
    OURS, OURS_ON_LINK, OURS6, Peer, THEIRS, THEIRS_ON_LINK, THEIRS6, errno, index, on_link,
    readable,
};
use crate::ports::{reserve, wanted};

const PORT: u16 = 4433;

/// What lands there next.
#[track_caller]
fn landed(ours: &Reservation) -> (Received, Vec<u8>) {
    readable(&[ours.as_raw_fd()]);
    let mut buffer = vec![0; 65_535];
    let received = ours.receive(&mut buffer).unwrap().expect("it was readable");
    buffer.truncate(received.len);
    (received, buffer)
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[track_caller]
fn arrives(ours: &Reservation, theirs: &UdpSocket, to: SocketAddr, len: usize) {
    let sent = payload(len);
    theirs.send_to(&sent, to).unwrap();
    let (received, bytes) = landed(ours);
    let from = theirs.local_addr().unwrap();
    let source = (received.from.ip(), received.from.port());
    assert_eq!((source, received.to), ((from.ip(), from.port()), to.ip()));
    assert!(bytes == sent, "{} of {len} bytes", received.len);
    assert_eq!(ours.receive(&mut []).unwrap(), None);
}

pub fn fragments_arrive_whole_with_source_and_destination() {
    let peer = Peer::new();
    let addresses: [(IpAddr, IpAddr, IpAddr); 2] = [
        (OURS.into(), Ipv4Addr::UNSPECIFIED.into(), THEIRS.into()),
        (OURS6.into(), Ipv6Addr::UNSPECIFIED.into(), THEIRS6.into()),
    ];
    for (ours, any, theirs) in addresses {
        let theirs = peer.udp(theirs);
        for local in [ours, any] {
            let reservation = reserve(Protocol::Udp, local, PORT).unwrap();
            arrives(&reservation, &theirs, (ours, PORT).into(), 5000);
            arrives(&reservation, &theirs, (ours, PORT).into(), 0);
        }
    }
}

pub fn an_address_of_the_link_comes_with_its_scope() {
    let peer = Peer::new();
    let ours = Reservation::new(&wanted(Protocol::Udp, on_link(PORT))).unwrap();
    let on_theirs = |ip, port| SocketAddrV6::new(ip, port, 0, peer.index());
    let theirs = peer.enter(|| UdpSocket::bind(on_theirs(THEIRS_ON_LINK, 0)).unwrap());
    let to = on_theirs(OURS_ON_LINK, PORT);
    arrives(&ours, &theirs, to.into(), 5000);
    theirs.send_to(b"again", to).unwrap();
    let port = theirs.local_addr().unwrap().port();
    let from = SocketAddrV6::new(THEIRS_ON_LINK, port, 0, index());
    assert_eq!(landed(&ours).0.from, from.into());
}

pub fn the_longest_datagram_arrives_whole() {
    let peer = Peer::new();
    let ours = reserve(Protocol::Udp, OURS, PORT).unwrap();
    arrives(&ours, &peer.udp(THEIRS), (OURS, PORT).into(), 65_507);
    let ours = reserve(Protocol::Udp, OURS6, PORT).unwrap();
    arrives(&ours, &peer.udp(THEIRS6), (OURS6, PORT).into(), 65_527);
}

pub fn a_broadcast_arrives_with_its_destination() {
    let peer = Peer::new();
    let ours = reserve(Protocol::Udp, Ipv4Addr::UNSPECIFIED, PORT).unwrap();
    let theirs = peer.udp(THEIRS);
    theirs.set_broadcast(true).unwrap();
    let to = Ipv4Addr::new(192, 0, 2, 255);
    arrives(&ours, &theirs, (to, PORT).into(), 100);
}

pub fn an_ipv4_datagram_is_one_on_an_ipv6_port() {
    let peer = Peer::new();
    let ours = reserve(Protocol::Udp, Ipv6Addr::UNSPECIFIED, PORT).unwrap();
    arrives(&ours, &peer.udp(THEIRS), (OURS, PORT).into(), 5000);
    arrives(&ours, &peer.udp(THEIRS6), (OURS6, PORT).into(), 5000);
}

/// The kernel has it come by the interface, but it came by the loopback.
pub fn what_the_host_sends_to_itself_does_not_arrive() {
    let peer = Peer::new();
    let ours = reserve(Protocol::Udp, Ipv4Addr::UNSPECIFIED, PORT).unwrap();
    let program = UdpSocket::bind((OURS, 0)).unwrap();
    program.send_to(b"from the host", (OURS, PORT)).unwrap();
    let program6 = UdpSocket::bind((OURS6, 0)).unwrap();
    let ours6 = reserve(Protocol::Udp, OURS6, PORT).unwrap();
    program6.send_to(b"from the host", (OURS6, PORT)).unwrap();
    arrives(&ours6, &peer.udp(THEIRS6), (OURS6, PORT).into(), 100);
    arrives(&ours, &peer.udp(THEIRS), (OURS, PORT).into(), 100);
}

pub fn a_datagram_longer_than_the_buffer_is_an_error_and_the_next_is_whole() {
    let peer = Peer::new();
    let ours = reserve(Protocol::Udp, OURS, PORT).unwrap();
    let theirs = peer.udp(THEIRS);
    theirs.send_to(&payload(101), (OURS, PORT)).unwrap();
    readable(&[ours.as_raw_fd()]);
    assert_eq!(errno(ours.receive(&mut [0; 100])), libc::EMSGSIZE);
    arrives(&ours, &theirs, (OURS, PORT).into(), 100);
}

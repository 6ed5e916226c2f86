//! Whose a port is.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use libc::{EACCES, EADDRINUSE, EADDRNOTAVAIL, ENODEV, EOPNOTSUPP, SO_REUSEADDR, SO_REUSEPORT};
use ringwire_xsk::{Protocol, Reservation, ReserveConfig};

use crate::pair::{OURS, OURS6, Peer, THEIRS, another_programs, errno, index, on_link, soon};
use crate::support::{CAP_NET_RAW, keep_capabilities};

const PORT: u16 = 4433;
const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const ANY6: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
const BOTH: [Protocol; 2] = [Protocol::Udp, Protocol::Tcp];

/// On `local`, without options.
pub fn wanted(protocol: Protocol, local: SocketAddr) -> ReserveConfig<'static> {
    ReserveConfig {
        interface: "local",
        protocol,
        local,
        v6_only: false,
        reuse_address: false,
        reuse_port: false,
    }
}

pub fn reserve(protocol: Protocol, ip: impl Into<IpAddr>, port: u16) -> io::Result<Reservation> {
    Reservation::new(&wanted(protocol, SocketAddr::new(ip.into(), port)))
}

pub fn a_port_is_taken_in_both_directions() {
    let _peer = Peer::new();
    for protocol in BOTH {
        for ip in [OURS.into(), ANY.into(), OURS6.into(), IpAddr::from(ANY6)] {
            let local = SocketAddr::new(ip, PORT);
            let ours = reserve(protocol, ip, PORT).unwrap();
            assert_eq!(ours.port(), PORT);
            assert_eq!(errno(another_programs(protocol, local, &[])), EADDRINUSE);
            drop(ours);
            let _theirs = another_programs(protocol, local, &[]).unwrap();
            assert_eq!(errno(reserve(protocol, ip, PORT)), EADDRINUSE, "{local}");
        }
        // One protocol's port is not the other's, and one address's is not another's.
        let _ours = reserve(protocol, OURS, PORT).unwrap();
        another_programs(protocol, (Ipv4Addr::LOCALHOST, PORT).into(), &[]).unwrap();
    }
    let _ours = reserve(Protocol::Udp, OURS, PORT).unwrap();
    another_programs(Protocol::Tcp, (OURS, PORT).into(), &[]).unwrap();
}

pub fn a_port_is_free_at_once_when_the_reservation_is_dropped() {
    let _peer = Peer::new();
    for protocol in BOTH {
        let ours = reserve(protocol, ANY, PORT).unwrap();
        if protocol == Protocol::Tcp {
            ours.listen().unwrap();
        }
        drop(ours);
        another_programs(protocol, (ANY, PORT).into(), &[]).unwrap();
        reserve(protocol, ANY, PORT).unwrap();
    }
}

pub fn the_ipv6_wildcard_takes_ipv4_too_unless_told_not_to() {
    let _peer = Peer::new();
    for protocol in BOTH {
        let both = wanted(protocol, (ANY6, PORT).into());
        let one = ReserveConfig {
            v6_only: true,
            ..both
        };
        let ours = Reservation::new(&both).unwrap();
        let theirs = another_programs(protocol, (OURS, PORT).into(), &[]);
        assert_eq!(errno(theirs), EADDRINUSE);
        drop(ours);
        let _ours = Reservation::new(&one).unwrap();
        another_programs(protocol, (OURS, PORT).into(), &[]).unwrap();
        let theirs = another_programs(protocol, (OURS6, PORT).into(), &[]);
        assert_eq!(errno(theirs), EADDRINUSE);
    }
}

pub fn an_address_of_the_link_is_reserved_on_it() {
    let _peer = Peer::new();
    for protocol in BOTH {
        let SocketAddr::V6(scoped) = on_link(PORT) else {
            unreachable!("it is an IPv6 address")
        };
        for scope in [0, index()] {
            let mut local = scoped;
            local.set_scope_id(scope);
            let _ours = Reservation::new(&wanted(protocol, local.into())).unwrap();
            let theirs = another_programs(protocol, scoped.into(), &[]);
            assert_eq!(errno(theirs), EADDRINUSE);
        }
        let mut elsewhere = scoped;
        elsewhere.set_scope_id(1); // the loopback
        let refused = Reservation::new(&wanted(protocol, elsewhere.into()));
        assert_eq!(errno(refused), EADDRNOTAVAIL);
    }
}

pub fn a_port_is_shared_with_reuse_port_on_both_sides_only() {
    let _peer = Peer::new();
    for protocol in BOTH {
        let local = (OURS, PORT).into();
        let sharing = ReserveConfig {
            reuse_port: true,
            ..wanted(protocol, local)
        };
        let ours = Reservation::new(&sharing).unwrap();
        assert_eq!(errno(another_programs(protocol, local, &[])), EADDRINUSE);
        let theirs = another_programs(protocol, local, &[SO_REUSEPORT]).unwrap();
        Reservation::new(&sharing).unwrap();
        if protocol == Protocol::Tcp {
            ours.listen().unwrap(); // both
        }
        drop(ours);
        assert_eq!(errno(reserve(protocol, OURS, PORT)), EADDRINUSE);
        drop(theirs);
    }
}

pub fn a_datagram_port_is_shared_with_reuse_address_on_both_sides_only() {
    let _peer = Peer::new();
    let local = (OURS, PORT).into();
    let sharing = ReserveConfig {
        reuse_address: true,
        ..wanted(Protocol::Udp, local)
    };
    let ours = Reservation::new(&sharing).unwrap();
    assert_eq!(
        errno(another_programs(Protocol::Udp, local, &[])),
        EADDRINUSE
    );
    let _theirs = another_programs(Protocol::Udp, local, &[SO_REUSEADDR]).unwrap();
    drop(ours);
    assert_eq!(errno(reserve(Protocol::Udp, OURS, PORT)), EADDRINUSE);
}

pub fn a_port_in_time_wait_is_had_with_reuse_address_only() {
    let peer = Peer::new();
    // The standard library sets SO_REUSEADDR, as servers do.
    let server = TcpListener::bind((OURS, PORT)).unwrap();
    let mut client = peer.enter(|| TcpStream::connect((OURS, PORT)).unwrap());
    let (connection, _) = server.accept().unwrap();
    drop((server, connection)); // the server closes first
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    drop(client);
    let local = format!("{:08X}:{PORT:04X}", u32::from_ne_bytes(OURS.octets()));
    let in_time_wait = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1] == local && fields[3] == "06" // TCP_TIME_WAIT, include/net/tcp_states.h
    };
    soon(|| {
        let connections = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        connections.lines().skip(1).any(in_time_wait)
    });
    assert_eq!(errno(reserve(Protocol::Tcp, OURS, PORT)), EADDRINUSE);
    let reusing = ReserveConfig {
        reuse_address: true,
        ..wanted(Protocol::Tcp, (OURS, PORT).into())
    };
    Reservation::new(&reusing).unwrap().listen().unwrap();
}

pub fn who_listens_first_has_the_port_that_two_reuse() {
    let _peer = Peer::new();
    let local = (OURS, PORT).into();
    let reusing = ReserveConfig {
        reuse_address: true,
        ..wanted(Protocol::Tcp, local)
    };
    let ours = Reservation::new(&reusing).unwrap();
    let theirs = another_programs(Protocol::Tcp, local, &[SO_REUSEADDR]).unwrap();
    assert_eq!(errno(ours.listen()), EADDRINUSE);
    assert_eq!(errno(Reservation::new(&reusing)), EADDRINUSE);
    drop(theirs);
    ours.listen().unwrap();
    let theirs = another_programs(Protocol::Tcp, local, &[SO_REUSEADDR]);
    assert_eq!(errno(theirs), EADDRINUSE);
}

/// Of four ephemeral ports three are reserved: whatever another program does, it gets the fourth.
pub fn port_0_is_a_port_that_nobody_else_gets() {
    let peer = Peer::new();
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    std::fs::write(range, "40000 40003").unwrap();
    let server = peer.enter(|| TcpListener::bind((THEIRS, PORT)).unwrap());
    for protocol in BOTH {
        // SO_REUSEADDR must not lead to a port that another program has.
        let any = ReserveConfig {
            reuse_address: true,
            ..wanted(protocol, (OURS, 0).into())
        };
        let mut ours: Vec<Reservation> = (0..3).map(|_| Reservation::new(&any).unwrap()).collect();
        let mut ports: Vec<u16> = ours.iter().map(Reservation::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|port| (40000..=40003).contains(port)));
        let fourth = ephemeral(protocol, &server).unwrap();
        assert!(!ports.contains(&fourth), "{fourth} is reserved");
        let local = (OURS, fourth).into();
        let theirs = another_programs(protocol, local, &[SO_REUSEADDR]).unwrap();
        assert_eq!(errno(Reservation::new(&any)), EADDRINUSE);
        drop(theirs);
        ours.push(Reservation::new(&any).unwrap());
        ephemeral(protocol, &server).expect_err("no port is left");
    }
}

/// The port that the kernel gives to another program's socket without one: on sending, on connecting.
fn ephemeral(protocol: Protocol, server: &TcpListener) -> io::Result<u16> {
    let to = server.local_addr().unwrap();
    if protocol == Protocol::Udp {
        return UdpSocket::bind((ANY, 0))?
            .local_addr()
            .map(|local| local.port());
    }
    let mut stream = TcpStream::connect(to)?;
    // The server closes first: the port of who does stays in TIME-WAIT.
    drop(server.accept().unwrap());
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    let local = stream.local_addr()?;
    drop(stream);
    soon(|| another_programs(protocol, local, &[]).is_ok());
    Ok(local.port())
}

pub fn what_the_kernel_refuses_comes_with_its_errno() {
    let _peer = Peer::new();
    let local = (OURS, PORT).into();
    for protocol in BOTH {
        assert_eq!(errno(reserve(protocol, THEIRS, PORT)), EADDRNOTAVAIL);
        for interface in ["nowhere", "", "lo\0cal", "a_name_longer_than_any_has"] {
            let wanted = ReserveConfig {
                interface,
                ..wanted(protocol, local)
            };
            assert_eq!(errno(Reservation::new(&wanted)), ENODEV, "{interface:?}");
        }
    }
    let datagrams = reserve(Protocol::Udp, OURS, PORT).unwrap();
    assert_eq!(errno(datagrams.listen()), EOPNOTSUPP);
    drop(datagrams);
    keep_capabilities(&[CAP_NET_RAW]);
    for protocol in BOTH {
        assert_eq!(errno(reserve(protocol, OURS, 80)), EACCES);
    }
    keep_capabilities(&[]);
    reserve(Protocol::Tcp, OURS, PORT).expect("a port above takes no capability");
}

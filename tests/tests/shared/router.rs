//! A host behind a router, which the peer is.

use std::fs::{self, File};
use std::net::{IpAddr, TcpStream};

use ringwire_tests::net::{PEER_V4, PEER_V6, RING_V4, RING_V6, Veth, fresh_namespace, ip, name_of};

use crate::load::Load;

/// The namespace of the host behind it.
pub struct Far {
    namespace: File,
}

impl Far {
    /// The link to it takes packets of `mtu` bytes, but the host behind it asks for segments as on 1500.
    pub fn new(veth: &Veth, mtu: u32) -> Far {
        let namespace = fresh_namespace();
        veth.in_peer(|| {
            for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                fs::write(format!("/proc/sys/net/{setting}"), "1").expect("a setting");
            }
            let far = name_of(&namespace);
            ip(&format!("link add f0 type veth peer name f1 netns {far}"));
            ip(&format!("link set f0 up mtu {mtu}"));
            ip("addr add 10.9.0.254/24 dev f0\naddr add fd09::fe/64 dev f0 nodad");
        });
        veth.within(&namespace, || {
            ip(&format!("link set lo up\nlink set f1 up mtu {mtu}"));
            ip("addr add 10.9.0.1/24 dev f1\naddr add fd09::1/64 dev f1 nodad");
            ip("route add default via 10.9.0.254 advmss 1460");
            ip("route add default via fd09::fe advmss 1440");
        });
        ip(&format!("route add 10.9.0.0/24 via {PEER_V4}"));
        ip(&format!("route add fd09::/64 via {PEER_V6}"));
        Far { namespace }
    }

    /// Connections from there to the ring's port.
    pub fn loads(&self, veth: &Veth) -> [Load; 2] {
        [RING_V4, RING_V6].map(|to| {
            let to: IpAddr = to.parse().expect("an address");
            let connect = || TcpStream::connect((to, ringwire_tests::stream::PORT));
            Load::on(veth.within(&self.namespace, connect).expect("a connection"))
        })
    }
}

/// A counter of this thread's namespace, by a line's and a column's name.
pub fn counter(file: &str, line: &str, column: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect("counters");
    let mut lines = text.lines().filter_map(|text| text.strip_prefix(line));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let value = pairs
        .find(|(name, _)| *name == column)
        .map(|(_, value)| value);
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

use std::net::SocketAddr;

use super::Stack;
use crate::socket::Protocol;

impl Stack {
    /// Checks what is known of ports against who uses them, right after a poll: `held` is what the kernel holds.
    pub(crate) fn check_reserved(&self, held: &[(Protocol, SocketAddr)]) {
        let reserved = &self.shared.as_ref().unwrap().reserved;
        let ours = reserved.held.iter().flat_map(|(&(protocol, port), all)| {
            let local = move |ip| (protocol, SocketAddr::new(ip, port));
            all.iter().map(move |held| local(held.ip))
        });
        let mut ours: Vec<_> = ours.collect();
        let mut theirs = held.to_vec();
        for held in [&mut ours, &mut theirs] {
            held.sort_by_key(|&(protocol, local)| (protocol == Protocol::Tcp, local));
        }
        assert_eq!(ours, theirs, "what we know is what the kernel holds");
        for (v6, blocks) in [false, true].into_iter().zip(&reserved.blocks) {
            let unused = blocks.ports.iter().filter(|&&port| {
                let known = &blocks.by_number[&port];
                assert_eq!(blocks.ports[known.place], port);
                let wildcard = |held: &super::Held| {
                    held.ip.is_unspecified() && held.ip.is_ipv6() == v6 && held.guarded
                };
                let held = &reserved.held[&(Protocol::Tcp, port)];
                assert!(held.iter().any(wildcard));
                match known.used {
                    true => assert!(self.tcp.uses(port), "{port} is used by nobody"),
                    // It may be the other family's that is used.
                    false => assert!(!self.tcp.uses(port) || held.len() > 1, "{port} is used"),
                }
                !known.used
            });
            assert_eq!(unused.count(), blocks.unused);
            assert_eq!(blocks.by_number.len(), blocks.ports.len());
        }
        for (protocol, local) in theirs {
            let port = local.port();
            let kept = reserved.blocks[usize::from(local.is_ipv6())]
                .by_number
                .contains_key(&port);
            let used = match protocol {
                Protocol::Udp => self.sockets.uses(port),
                Protocol::Tcp => self.tcp.uses(port) || kept,
            };
            assert!(used, "{local} is held for nobody");
        }
    }
}

//! Sockets of all kinds that come and go at random beside a kernel: it holds what is used, and nothing else for long.

use std::net::SocketAddr;
use std::time::Duration;

use super::harness::{Pair, Random, at};
use super::kernel::{FIRST_EPHEMERAL, FakeKernel};
use crate::{Family, Protocol, SocketError, SocketId};

/// Where the other host listens.
const SERVERS: [&str; 4] = ["10.0.0.3:80", "10.0.0.3:81", "[fd00::3]:80", "[fd00::3]:81"];
/// What sockets are bound to, at ports that the kernel gives to connections, too.
const LOCALS: [&str; 5] = ["10.0.0.2", "0.0.0.0", "[fd00::2]", "[::]", "10.0.0.4"];
/// Sockets that are there at a time.
const MOST: usize = 150;

struct Run {
    random: Random,
    kernel: FakeKernel,
    pair: Pair,
    sockets: Vec<SocketId>,
    /// Those of the other host: its listeners, and its ends of connections.
    listeners: Vec<SocketId>,
    peers: Vec<SocketId>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let kernel = FakeKernel::new();
        let mut pair = kernel.pair();
        let listeners = SERVERS.map(|server| pair.b.listener(server, 1000));
        Run {
            random: Random(seed),
            kernel,
            pair,
            sockets: Vec::new(),
            listeners: listeners.into(),
            peers: Vec::new(),
        }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.below(of.len())]
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..35 => self.connect(),
            35..50 => self.bind(),
            50..58 => self.send(),
            58..62 => self.come_in(),
            62..90 => self.close(),
            90..93 => self.pair.pass(Duration::from_secs(61)),
            93..96 => self.change_kernel(),
            _ => self.exchange(),
        }
    }

    fn open(&mut self, protocol: Protocol, family: Family) -> SocketId {
        let id = self.pair.a.stack.open(protocol, family);
        self.sockets.push(id);
        id
    }

    fn connect(&mut self) {
        let to = at(self.pick(&SERVERS));
        let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
        let id = self.open(Protocol::Tcp, family);
        let host = &mut self.pair.a;
        let begun = host
            .stack
            .tcp_connect(host.now, &mut host.ledger, id, Some(to));
        match begun {
            Err(SocketError::InProgress) => {}
            Err(SocketError::AddressNotAvailable) => {
                assert!(self.kernel.state().left.is_some(), "there are ports");
            }
            other => panic!("{other:?}"),
        }
        if self.random.below(2) == 0 {
            self.exchange();
        }
    }

    fn bind(&mut self) {
        let protocol = self.pick(&[Protocol::Tcp, Protocol::Udp]);
        let ip = self.pick(&LOCALS);
        let port = match self.random.below(4) {
            0 => 0,
            _ => FIRST_EPHEMERAL + self.random.below(100) as u16,
        };
        let local = at(&format!("{ip}:{port}"));
        let family = match local {
            SocketAddr::V4(_) if self.random.below(4) > 0 => Family::V4,
            _ => Family::V6,
        };
        let id = self.open(protocol, family);
        let mut options = self.pair.a.stack.options(id).unwrap();
        options.reuse_address = self.random.below(2) == 0;
        options.reuse_port = self.random.below(2) == 0;
        let stack = &mut self.pair.a.stack;
        stack.set_options(id, options).unwrap();
        if stack.bind(id, local).is_ok() && protocol == Protocol::Tcp {
            // Another may listen.
            let _ = stack.tcp_listen(id, 100);
        }
    }

    /// Has datagram sockets bind themselves.
    fn send(&mut self) {
        let id = self.open(Protocol::Udp, Family::V6);
        let to = self.pick(&SERVERS);
        match self.pair.a.send(id, to, b"x") {
            Ok(()) | Err(SocketError::WouldBlock) => {}
            other => panic!("{other:?}"),
        }
    }

    /// The other host connects to a listener.
    fn come_in(&mut self) {
        let stack = &self.pair.a.stack;
        let listening = |id: &&SocketId| stack.is_listening(**id);
        let listeners: Vec<_> = self.sockets.iter().filter(listening).copied().collect();
        if listeners.is_empty() {
            return;
        }
        let listener = self.pick(&listeners);
        let port = self.pair.a.local(listener).port();
        let peer = self.pair.b.connecting(&format!("10.0.0.2:{port}"));
        self.peers.push(peer);
        self.exchange();
        for listener in listeners {
            while let Ok(accepted) = self.pair.a.stack.tcp_accept(listener) {
                self.sockets.push(accepted.socket);
            }
        }
    }

    fn close(&mut self) {
        // Several at a time now and then, so that ports are given back.
        let count = match self.random.below(20) {
            0 => self.sockets.len(),
            _ => 1,
        };
        for _ in 0..count.min(self.sockets.len()) {
            let id = self
                .sockets
                .swap_remove(self.random.below(self.sockets.len()));
            if self.random.below(2) == 0 {
                self.pair.a.reset_on_close(id);
            }
            self.pair.a.close(id);
        }
    }

    /// Others of the kernel's sockets come and go, or it has few ports left.
    fn change_kernel(&mut self) {
        let port = FIRST_EPHEMERAL + self.random.below(200) as u16;
        let few = self.random.below(3) == 0;
        let left = few.then(|| self.random.below(40));
        let mut state = self.kernel.state();
        state.left = left;
        if !state.foreign.remove(&port) {
            state.foreign.insert(port);
        }
    }

    /// Lets both hosts talk; the other closes what we have closed.
    fn exchange(&mut self) {
        self.pair.exchange();
        for &listener in &self.listeners {
            while let Ok(peer) = self.pair.b.accept(listener) {
                self.peers.push(peer);
            }
        }
        for peer in std::mem::take(&mut self.peers) {
            match self.pair.b.read(peer, 100) {
                Err(SocketError::WouldBlock) => self.peers.push(peer),
                _ => self.pair.b.close(peer),
            }
        }
        self.pair.exchange();
    }

    fn check(&mut self) {
        let host = &mut self.pair.a;
        host.stack.poll(host.now, &mut host.ledger);
        let state = self.kernel.state();
        let held = state.held.iter();
        let held: Vec<_> = held
            .map(|held| (held.wanted.protocol, held.wanted.local))
            .collect();
        host.stack.check_reserved(&held);
        for &id in &self.sockets {
            let Some((_, Some(local))) = host.stack.local(id) else {
                continue;
            };
            let holds = |&(protocol, at): &(Protocol, SocketAddr)| {
                let any = at.ip().is_unspecified();
                let covers = at.ip() == local.ip() || any && (at.is_ipv6() || local.is_ipv4());
                (protocol, at.port()) == (id.protocol(), local.port()) && covers
            };
            assert!(held.iter().any(holds), "{local} is not held");
        }
    }
}

#[test]
fn the_kernel_holds_what_is_used_and_a_few_ports_more() {
    for seed in 1..=8 {
        let mut run = Run::new(seed);
        let steps = if cfg!(miri) { 50 } else { 1500 };
        for _ in 0..steps {
            match run.sockets.len() {
                MOST.. => run.close(),
                _ => run.step(),
            }
            if run.random.below(3) > 0 {
                run.check();
            }
        }
        while !run.sockets.is_empty() {
            run.close();
        }
        run.pair.pass(Duration::from_secs(300));
        run.exchange();
        run.pair.pass(Duration::from_secs(300));
        run.check();
        assert_eq!(run.pair.a.stack.tcp_time_waits(), 0);
        assert_eq!(run.kernel.udp_ports(), []);
    }
}

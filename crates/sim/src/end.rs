//! One end of the wire: a host with ringwire, or one with smoltcp.

use ringwire_stack::Instant;

use crate::config::{Address, CLIENT, Config, Faults, Peers, SERVER};
use crate::coverage::Coverage;
use crate::host::{Host, HostConfig, Role};
use crate::random::Random;
use crate::smoltcp_host::{SmoltcpHost, most_bytes};
use crate::traffic::Tally;

pub(crate) enum End {
    Ringwire(Box<Host>),
    Smoltcp(Box<SmoltcpHost>),
}

impl End {
    pub(crate) fn server(now: Instant, config: &Config) -> End {
        if config.peers == Peers::SmoltcpServer {
            let host = SmoltcpHost::server(now, config.seed, &SERVER, config.mtu);
            return End::Smoltcp(Box::new(host));
        }
        let host = HostConfig {
            seed: config.seed,
            address: &SERVER,
            mtu: config.mtu,
            shape: config.shapes[0],
            may_crowd: true,
            may_move: config.peers == Peers::Ringwire,
            resets: config.faults.device_reset > 0,
        };
        End::Ringwire(Box::new(Host::server(now, &host)))
    }

    pub(crate) fn client(now: Instant, config: &Config) -> End {
        if config.peers == Peers::SmoltcpClient {
            let host = SmoltcpHost::client(now, !config.seed, &CLIENT, config.mtu);
            return End::Smoltcp(Box::new(host));
        }
        let host = HostConfig {
            seed: !config.seed,
            address: &CLIENT,
            mtu: config.mtu,
            shape: config.shapes[1],
            may_crowd: config.peers == Peers::Ringwire,
            may_move: config.peers == Peers::Ringwire,
            resets: config.faults.device_reset > 0,
        };
        let most = match config.peers {
            Peers::Ringwire => u64::MAX,
            _ => most_bytes(config.mtu),
        };
        End::Ringwire(Box::new(Host::client(now, &host, most)))
    }

    /// A frame arrives; `false` if it was dropped for want of room.
    pub(crate) fn receive(&mut self, now: Instant, frame: &[u8], random: &mut Random) -> bool {
        match self {
            End::Ringwire(host) => host.receive(frame, random),
            End::Smoltcp(host) => {
                host.receive(now, frame);
                true
            }
        }
    }

    /// Does what there is to do; returns what goes out.
    pub(crate) fn step(
        &mut self,
        now: Instant,
        faults: &Faults,
        random: &mut Random,
        coverage: &mut Coverage,
    ) -> Vec<Vec<u8>> {
        match self {
            End::Ringwire(host) => host.step(now, faults, random, coverage),
            End::Smoltcp(host) => host.step(now, random),
        }
    }

    /// The client's: sends a datagram, and says which.
    pub(crate) fn send(&mut self, random: &mut Random) -> Option<u64> {
        match self {
            End::Ringwire(host) => match &mut host.role {
                Role::Client(client) => Some(client.send(&mut host.requests, random)),
                Role::Server(_) => None,
            },
            End::Smoltcp(host) => host.send(random),
        }
    }

    /// The client's: begins another stream.
    pub(crate) fn connect(&mut self, random: &mut Random, may_fail: bool) {
        match self {
            End::Ringwire(host) => {
                if let Role::Client(client) = &mut host.role {
                    client.connect(&mut host.requests, random, may_fail);
                }
            }
            End::Smoltcp(host) => host.connect(random, may_fail),
        }
    }

    /// Streams of the client's that are not done.
    pub(crate) fn open(&self) -> usize {
        match self {
            End::Ringwire(host) => match &host.role {
                Role::Client(client) => client.open(),
                Role::Server(_) => 0,
            },
            End::Smoltcp(host) => host.open(),
        }
    }

    /// What the client has sent and got.
    pub(crate) fn tally(&mut self) -> Option<&mut Tally> {
        match self {
            End::Ringwire(host) => match &mut host.role {
                Role::Client(client) => Some(&mut client.tally),
                Role::Server(_) => None,
            },
            End::Smoltcp(host) => host.tally(),
        }
    }

    /// Its Ethernet address now; `at` is what it began with.
    pub(crate) fn mac(&self, at: &Address) -> [u8; 6] {
        match self {
            End::Ringwire(host) => host.mac().unwrap_or(at.mac),
            End::Smoltcp(_) => at.mac,
        }
    }

    pub(crate) fn ringwire(&mut self) -> Option<&mut Host> {
        match self {
            End::Ringwire(host) => Some(host),
            End::Smoltcp(_) => None,
        }
    }

    /// What must hold after every step.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        match self {
            End::Ringwire(host) => host.check(),
            End::Smoltcp(host) => {
                let violation = host.tally().and_then(|tally| tally.violation.take());
                violation.map_or(Ok(()), Err)
            }
        }
    }
}

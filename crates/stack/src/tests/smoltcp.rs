//! smoltcp's TCP as the peer, both ways and over both families, also when frames are lost.

use std::collections::VecDeque;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use super::harness::{Host, PEER_MAC, Random, at, ip, pattern};
use crate::{Instant, Shutdown, SocketError, SocketId};

const BYTES: usize = 200_000;

#[derive(Default)]
struct Wire {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

struct Frame(Vec<u8>);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Slot<'a>(&'a mut Vec<Vec<u8>>);

impl TxToken for Slot<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Slot<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Frame, Slot<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Frame(frame), Slot(&mut self.sent)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Slot<'_>> {
        Some(Slot(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// Our host and smoltcp's, on a wire that loses so many of a thousand frames.
struct Pair {
    host: Host,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    random: Random,
    loss: usize,
}

fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros((now.as_nanos() / 1000) as i64)
}

impl Pair {
    fn new(loss: usize) -> Pair {
        let host = Host::ready_with(|setup| setup.layout.rx_chunks = 512);
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(PEER_MAC)));
        config.random_seed = 5;
        let mut interface = Interface::new(config, &mut wire, smoltcp_time(host.now));
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(ip("10.0.0.9").into(), 24))
                .unwrap();
            addresses
                .push(IpCidr::new(ip("fd00::9").into(), 64))
                .unwrap();
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; 65_536]);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Pair {
            host,
            wire,
            interface,
            sockets,
            handle,
            random: Random(7),
            loss,
        }
    }

    /// A millisecond: frames both ways, and timers.
    fn tick(&mut self) {
        self.host.pass(Duration::from_millis(1));
        for _ in 0..8 {
            for frame in self.host.sent() {
                if self.random.below(1000) >= self.loss {
                    self.wire.received.push_back(frame);
                }
            }
            let now = smoltcp_time(self.host.now);
            self.interface.poll(now, &mut self.wire, &mut self.sockets);
            for frame in std::mem::take(&mut self.wire.sent) {
                if self.random.below(1000) >= self.loss {
                    self.host.receive(&frame);
                }
            }
        }
    }

    fn peer(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Sends a stream each way at the same time, then both close; the bytes must be the same.
    fn exchange(&mut self, ours: SocketId) {
        let (out, back) = (pattern(BYTES), pattern(BYTES + 7));
        let (mut sent, mut returned) = (0, 0);
        let (mut received, mut at_peer) = (Vec::new(), Vec::new());
        for _ in 0..200_000 {
            self.tick();
            if sent < out.len() {
                sent += self.host.write(ours, &out[sent..]).unwrap_or(0);
                if sent == out.len() {
                    let (now, host) = (self.host.now, &mut self.host);
                    let shut = host
                        .stack
                        .shutdown(now, &mut host.ledger, ours, Shutdown::Send);
                    shut.unwrap();
                }
            }
            match self.host.read(ours, usize::MAX) {
                Ok(part) if part.is_empty() && received.len() >= back.len() => break,
                Ok(part) => received.extend(part),
                Err(error) => assert_eq!(error, SocketError::WouldBlock),
            }
            let socket = self.peer();
            if returned < back.len() && socket.can_send() {
                returned += socket.send_slice(&back[returned..]).unwrap();
            }
            if returned == back.len() && at_peer.len() == out.len() {
                socket.close();
            }
            while socket.can_recv() {
                socket
                    .recv(|bytes| {
                        at_peer.extend_from_slice(bytes);
                        (bytes.len(), ())
                    })
                    .unwrap();
            }
        }
        assert!(
            at_peer == out,
            "{} of {} bytes at the peer",
            at_peer.len(),
            out.len()
        );
        assert!(
            received == back,
            "{} of {} bytes here",
            received.len(),
            back.len()
        );
    }
}

fn as_client(to: &str, loss: usize) {
    let mut pair = Pair::new(loss);
    pair.peer().listen(80).unwrap();
    let ours = pair.host.connecting(to);
    for _ in 0..20_000 {
        pair.tick();
        if let Some(outcome) = pair.host.stack.tcp_connected(ours) {
            outcome.unwrap();
            return pair.exchange(ours);
        }
    }
    panic!("no connection");
}

fn as_server(local: &str, loss: usize) {
    let mut pair = Pair::new(loss);
    let listener = pair.host.listener(local, 1);
    let (address, port) = (IpAddress::from(at(local).ip()), at(local).port());
    let context = pair.interface.context();
    let socket = pair.sockets.get_mut::<tcp::Socket>(pair.handle);
    socket.connect(context, (address, port), 40_000).unwrap();
    for _ in 0..20_000 {
        pair.tick();
        if let Ok(ours) = pair.host.accept(listener) {
            return pair.exchange(ours);
        }
    }
    panic!("no connection");
}

#[test]
fn smoltcp_serves_us() {
    as_client("10.0.0.9:80", 0);
    as_client("[fd00::9]:80", 0);
}

#[test]
fn we_serve_smoltcp() {
    as_server("10.0.0.2:80", 0);
    as_server("[fd00::2]:80", 0);
}

#[test]
fn bytes_survive_losses_between_us_and_smoltcp() {
    for loss in [10, 50] {
        as_client("10.0.0.9:80", loss);
        as_server("10.0.0.2:80", loss);
    }
}

//! A host whose stack is smoltcp's: another reading of the same RFCs, as server or as client.

use std::collections::VecDeque;

use ringwire_stack::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, HardwareAddress, IpAddress, IpCidr,
    IpEndpoint, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
};

use crate::config::Address;
use crate::random::Random;
use crate::traffic::{self, DATAGRAM_PORT, STREAM_PORT, Stream, Tally};

/// Listening sockets: smoltcp has no backlog, each takes one connection.
const LISTENERS: usize = 16;
const BUFFER_BYTES: usize = 65_536;
const FIRST_LOCAL_PORT: u16 = 20_000;

pub(crate) struct SmoltcpHost {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    datagrams: SocketHandle,
    role: Role,
}

enum Role {
    Server(Vec<SocketHandle>),
    Client(Client),
}

struct Client {
    streams: Vec<Open>,
    next_port: u16,
    most_bytes: u64,
    tally: Tally,
}

struct Open {
    stream: Stream,
    handle: SocketHandle,
}

impl SmoltcpHost {
    fn new(now: Instant, seed: u64, address: &Address, mtu: u16, role: Role) -> SmoltcpHost {
        let mut wire = Wire {
            received: VecDeque::new(),
            sent: Vec::new(),
            mtu: mtu.into(),
        };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(address.mac)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, smoltcp_time(now));
        interface.update_ip_addrs(|addresses| {
            for (ip, prefix) in [(address.v4, 24), (address.v6, 64)] {
                let cidr = IpCidr::new(ip.into(), prefix);
                addresses.push(cidr).expect("room for two addresses");
            }
        });
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; BUFFER_BYTES]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(DATAGRAM_PORT).expect("a port that is not 0");
        let mut sockets = SocketSet::new(Vec::new());
        SmoltcpHost {
            wire,
            interface,
            datagrams: sockets.add(socket),
            sockets,
            role,
        }
    }

    /// A host that echoes.
    pub(crate) fn server(now: Instant, seed: u64, address: &Address, mtu: u16) -> SmoltcpHost {
        let mut host = SmoltcpHost::new(now, seed, address, mtu, Role::Server(Vec::new()));
        let handles = (0..LISTENERS).map(|_| host.sockets.add(stream_socket()));
        host.role = Role::Server(handles.collect());
        host
    }

    /// A host that sends datagrams and opens streams.
    pub(crate) fn client(now: Instant, seed: u64, address: &Address, mtu: u16) -> SmoltcpHost {
        let client = Client {
            streams: Vec::new(),
            next_port: FIRST_LOCAL_PORT,
            most_bytes: most_bytes(mtu),
            tally: Tally::default(),
        };
        SmoltcpHost::new(now, seed, address, mtu, Role::Client(client))
    }

    pub(crate) fn tally(&mut self) -> Option<&mut Tally> {
        match &mut self.role {
            Role::Client(client) => Some(&mut client.tally),
            Role::Server(_) => None,
        }
    }

    /// Streams that are not done.
    pub(crate) fn open(&self) -> usize {
        match &self.role {
            Role::Client(client) => client.streams.len(),
            Role::Server(_) => 0,
        }
    }

    pub(crate) fn receive(&mut self, now: Instant, frame: &[u8]) {
        // smoltcp gives a repeated SYN to the next listening socket: two connections with the same ends.
        if !self.is_repeated_syn(frame) {
            self.wire.received.push_back(frame.to_vec());
            self.poll(now);
        }
    }

    fn is_repeated_syn(&self, frame: &[u8]) -> bool {
        let Role::Server(listeners) = &self.role else {
            return false;
        };
        let Some(from) = source_of_syn(frame) else {
            return false;
        };
        listeners.iter().any(|&handle| {
            let socket = self.sockets.get::<tcp::Socket>(handle);
            socket.remote_endpoint() == Some(from)
        })
    }

    /// Sends a datagram; `None` from a server, or if there is no room for it.
    pub(crate) fn send(&mut self, random: &mut Random) -> Option<u64> {
        let Role::Client(client) = &mut self.role else {
            return None;
        };
        let to = traffic::server(random.chance(500), DATAGRAM_PORT);
        let (serial, bytes) = client.tally.datagram(random, client.most_bytes);
        let socket = self.sockets.get_mut::<udp::Socket>(self.datagrams);
        let sent = socket.send_slice(&bytes, IpEndpoint::from(to));
        sent.ok().map(|()| serial)
    }

    /// Begins another stream.
    pub(crate) fn connect(&mut self, random: &mut Random, may_fail: bool) {
        let Role::Client(client) = &mut self.role else {
            return;
        };
        let stream = client.tally.stream(random, may_fail);
        let mut socket = stream_socket();
        let to = traffic::server(stream.v6, STREAM_PORT);
        let to = IpEndpoint::from(to);
        let context = self.interface.context();
        let begun = socket.connect(context, to, client.next_port);
        begun.expect("the socket is new, and the port as well");
        client.next_port += 1;
        let handle = self.sockets.add(socket);
        client.streams.push(Open { stream, handle });
    }

    /// Does what there is to do; returns what goes out.
    pub(crate) fn step(&mut self, now: Instant, random: &mut Random) -> Vec<Vec<u8>> {
        self.poll(now);
        match &mut self.role {
            Role::Server(listeners) => {
                echo_datagrams(self.sockets.get_mut(self.datagrams));
                for &handle in listeners.iter() {
                    echo_stream(self.sockets.get_mut(handle));
                }
            }
            Role::Client(client) => client.step(&mut self.sockets, self.datagrams, random),
        }
        self.poll(now);
        std::mem::take(&mut self.wire.sent)
    }

    fn poll(&mut self, now: Instant) {
        let now = smoltcp_time(now);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }
}

/// Bytes of the largest datagram in one packet: smoltcp does not fragment as it is built here.
pub(crate) fn most_bytes(mtu: u16) -> u64 {
    u64::from(mtu) - 48
}

/// Who sends a SYN, if the frame is one.
fn source_of_syn(frame: &[u8]) -> Option<IpEndpoint> {
    let (address, segment): (IpAddress, &[u8]) = match EthernetFrame::new_checked(frame).ok()? {
        ethernet if ethernet.ethertype() == EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            let is_tcp = ip.next_header() == IpProtocol::Tcp;
            is_tcp.then(|| (ip.src_addr().into(), ip.payload()))?
        }
        ethernet => {
            let ip = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
            let is_tcp = ip.next_header() == IpProtocol::Tcp;
            is_tcp.then(|| (ip.src_addr().into(), ip.payload()))?
        }
    };
    let tcp = TcpPacket::new_checked(segment).ok()?;
    let is_syn = tcp.syn() && !tcp.ack();
    is_syn.then(|| IpEndpoint::new(address, tcp.src_port()))
}

fn stream_socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_BYTES]);
    tcp::Socket::new(buffer(), buffer())
}

fn echo_datagrams(socket: &mut udp::Socket<'_>) {
    while socket.can_send() {
        let Ok((bytes, from)) = socket.recv() else {
            return;
        };
        let bytes = bytes.to_vec();
        // One that finds no room is lost, as datagrams are.
        let _ = socket.send_slice(&bytes, from.endpoint);
    }
}

fn echo_stream(socket: &mut tcp::Socket<'_>) {
    if !socket.is_open() {
        socket.listen(STREAM_PORT).expect("the socket is closed");
    }
    while socket.can_recv() && socket.can_send() {
        let room = socket.send_capacity() - socket.send_queue();
        let bytes = socket.recv(|bytes| {
            let len = bytes.len().min(room);
            (len, bytes[..len].to_vec())
        });
        let bytes = bytes.expect("it can receive");
        let sent = socket.send_slice(&bytes).expect("it can send");
        assert_eq!(sent, bytes.len(), "smoltcp took less than it had room for");
    }
    if socket.state() == tcp::State::CloseWait && !socket.can_recv() {
        socket.close();
    }
}

impl Client {
    fn step(&mut self, sockets: &mut SocketSet<'_>, datagrams: SocketHandle, random: &mut Random) {
        let socket = sockets.get_mut::<udp::Socket>(datagrams);
        while let Ok((bytes, _)) = socket.recv() {
            self.tally.echo(bytes);
        }
        let mut done = Vec::new();
        for (index, open) in self.streams.iter_mut().enumerate() {
            let before = open.stream.got;
            let socket = sockets.get_mut::<tcp::Socket>(open.handle);
            match open.step(socket, random) {
                Ok(false) => {}
                Ok(true) => done.push(index),
                Err(violation) => self.tally.violation = Some(violation),
            }
            self.tally.bytes += open.stream.got - before;
        }
        for index in done.into_iter().rev() {
            let open = self.streams.swap_remove(index);
            self.tally.finished += 1;
            // In TIME-WAIT at most: what the server still sends is answered with a reset, and nobody reads it.
            sockets.remove(open.handle);
        }
    }
}

impl Open {
    /// `true` when everything has come back, and the end.
    fn step(&mut self, socket: &mut tcp::Socket<'_>, random: &mut Random) -> Result<bool, String> {
        let stream = &mut self.stream;
        let serial = stream.serial;
        if matches!(
            socket.state(),
            tcp::State::SynSent | tcp::State::SynReceived
        ) {
            return Ok(false);
        }
        if !stream.is_sent() && socket.can_send() && random.chance(600) {
            let bytes = stream.next(1 + random.below(8000));
            let sent = socket.send_slice(&bytes).expect("it can send");
            stream.sent += sent as u64;
            if stream.is_sent() {
                socket.close();
            }
        }
        if stream.total == 0 && socket.may_send() {
            socket.close();
        }
        while socket.can_recv() && random.chance(700) {
            let received = socket.recv(|bytes| (bytes.len(), stream.received(bytes)));
            received.expect("it can receive")?;
        }
        if socket.can_recv() || socket.may_recv() {
            return Ok(false);
        }
        if stream.got == stream.total {
            return Ok(true);
        }
        Err(format!(
            "stream {serial}: ended, or was reset, after {} of {} bytes",
            stream.got, stream.total
        ))
    }
}

fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros((now.as_nanos() / 1000) as i64)
}

struct Wire {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    mtu: usize,
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
        capabilities.max_transmission_unit = self.mtu + 14;
        capabilities
    }
}

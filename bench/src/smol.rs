//! Two hosts of smoltcp's.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use crate::hosts::Bytes;
use crate::wire;

/// Bytes of payload in a full segment (smoltcp uses no timestamps unless it is given a clock for them).
pub const SEGMENT_BYTES: usize = 1460;
const FRAME_BYTES: usize = 1514;
/// As large as our windows are.
const BUFFER_BYTES: usize = 256 << 10;

/// One end's buffers.
#[derive(Default)]
struct Buffers {
    arrived: VecDeque<(Box<[u8]>, usize)>,
    free: Vec<Box<[u8]>>,
}

type Shared = Rc<RefCell<Buffers>>;

/// One end of a wire.
struct Port {
    ours: Shared,
    other: Shared,
    /// What is written before it is carried.
    writing: Box<[u8]>,
    /// Frames with a payload that were sent.
    segments: u64,
}

struct Received(Box<[u8]>, usize, Shared);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.0[..self.1]);
        self.2.borrow_mut().free.push(self.0);
        result
    }
}

struct Sending<'a>(&'a mut Port);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let port = self.0;
        let result = f(&mut port.writing[..len]);
        let mut other = port.other.borrow_mut();
        let mut buffer = match other.free.pop() {
            Some(buffer) => buffer,
            None => vec![0; 4096].into_boxed_slice(),
        };
        wire::carry(&port.writing[..len], &mut buffer);
        other.arrived.push_back((buffer, len));
        port.segments += u64::from(len > 1000);
        result
    }
}

impl Device for Port {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let (buffer, len) = self.ours.borrow_mut().arrived.pop_front()?;
        let received = Received(buffer, len, Rc::clone(&self.ours));
        Some((received, Sending(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES;
        capabilities.checksum.ipv4 = Checksum::None;
        capabilities.checksum.tcp = Checksum::None;
        capabilities
    }
}

struct Host {
    port: Port,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

impl Host {
    fn new(last: u8, ours: Shared, other: Shared) -> Host {
        let mut port = Port {
            ours,
            other,
            writing: vec![0; 2048].into_boxed_slice(),
            segments: 0,
        };
        let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, last]));
        let mut config = Config::new(mac);
        config.random_seed = last.into();
        let mut interface = Interface::new(config, &mut port, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(IpAddress::v4(10, 0, 0, last), 24);
            addresses.push(address).expect("room for an address");
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_BYTES]);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Host {
            port,
            interface,
            sockets,
            handle,
        }
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn poll(&mut self, micros: i64) {
        let now = Instant::from_micros(micros);
        self.interface.poll(now, &mut self.port, &mut self.sockets);
    }
}

/// Two hosts and one connection.
pub struct Pair {
    a: Host,
    b: Host,
    micros: i64,
}

impl Pair {
    /// A connection that stands.
    pub fn new() -> Pair {
        let (here, there) = (Shared::default(), Shared::default());
        let mut a = Host::new(2, Rc::clone(&here), Rc::clone(&there));
        let mut b = Host::new(3, there, here);
        b.socket().listen(80).expect("a free port");
        let context = a.interface.context();
        let socket = a.sockets.get_mut::<tcp::Socket>(a.handle);
        socket
            .connect(context, (IpAddress::v4(10, 0, 0, 3), 80), 40_000)
            .expect("a free port");
        let mut micros = 0;
        while !a.socket().may_send() || !b.socket().may_recv() {
            micros += 1000;
            a.poll(micros);
            b.poll(micros);
        }
        Pair { a, b, micros }
    }

    /// Data segments sent so far.
    pub fn segments(&self) -> u64 {
        self.a.port.segments
    }

    /// One turn: the first host writes `source`, the second reads. Returns the bytes read.
    pub fn turn(&mut self, source: &[u8], sink: &mut [u8], bytes: Bytes) -> usize {
        let open = "an open connection";
        match bytes {
            Bytes::Copied => self.a.socket().send_slice(source).expect(open),
            Bytes::InPlace => all(source.len(), |left| {
                let take = |free: &mut [u8]| (free.len().min(left), free.len().min(left));
                self.a.socket().send(take).expect(open)
            }),
        };
        self.a.poll(self.micros);
        self.b.poll(self.micros);
        let read = match bytes {
            Bytes::Copied => self.b.socket().recv_slice(sink).expect(open),
            Bytes::InPlace => all(sink.len(), |left| {
                let take = |used: &mut [u8]| (used.len().min(left), used.len().min(left));
                self.b.socket().recv(take).expect(open)
            }),
        };
        self.b.poll(self.micros);
        self.micros += 77;
        read
    }
}

/// Takes up to `len` bytes; `take` says how many it took of those left: a ring's end cuts them in two.
fn all(len: usize, mut take: impl FnMut(usize) -> usize) -> usize {
    let mut done = 0;
    loop {
        match take(len - done) {
            0 => return done,
            count => done += count,
        }
    }
}

impl Default for Pair {
    fn default() -> Pair {
        Pair::new()
    }
}

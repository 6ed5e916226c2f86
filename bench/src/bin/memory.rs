//! What a TCP data segment costs, in memory and on one core: two of our stacks joined by a copy of
//! each frame, and two of smoltcp's interfaces joined by a queue, in turn. MSS 1460, no receive
//! checksums; ours computes the sender's as it copies, smoltcp's computes none.
//!
//!     memory [ROUNDS] [MEBIBYTES]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant as Clock;

use ringwire_stack::{
    Config, DadConfig, Family, Instant, Packet, Protocol, RxChecksum, SocketId, Stack,
};
use ringwire_umem::{Layout, Ledger, Pool, TxDone, Umem};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

fn main() {
    let number = |at| {
        std::env::args()
            .nth(at)
            .and_then(|word: String| word.parse().ok())
    };
    let (rounds, mebibytes) = (number(1).unwrap_or(5), number(2).unwrap_or(128));
    let bytes = mebibytes << 20;
    println!(
        "TCP in memory, {mebibytes} MiB a round, MSS 1460: ns for a data segment, both ends together"
    );
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let (ours, theirs) = (ringwire(bytes, 0), smoltcp(bytes));
        ratios.push(ours / theirs);
        println!(
            "  round {round}: ringwire {ours:.0}, smoltcp {theirs:.0}, ratio {:.2}",
            ours / theirs
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "  median ratio ringwire / smoltcp: {:.2}",
        ratios[ratios.len() / 2]
    );
    for idle in [1_000, 10_000] {
        let (alone, beside) = (ringwire(bytes, 0), ringwire(bytes, idle));
        let ratio = beside / alone;
        println!(
            "  ringwire beside {idle} idle connections: {beside:.0}, ratio to alone {ratio:.2}"
        );
    }
}

/// One of our hosts.
struct Host {
    stack: Stack,
    ledger: Ledger,
}

impl Host {
    fn new(last: u8) -> Host {
        let layout = Layout {
            chunk_bytes: 4096,
            rx_chunks: 1024,
            header_chunks: 64,
            send_chunks: 1024,
            lend_reserve_chunks: 64,
            registered_bytes: vec![],
        };
        let mut ledger = Ledger::new(Umem::new(layout).expect("memory"));
        let config = Config {
            mac: [2, 0, 0, 0, 0, last],
            mtu: 1500,
            scatter: true,
            queues: 1,
            addresses: vec![format!("10.0.0.{last}/24").parse().expect("an address")],
            gateways: vec![],
            rx_checksum: RxChecksum::Trust,
            dad: DadConfig::OFF,
        };
        let mut stack = Stack::new(START, config, &ledger, [last.into(), 2, 3]);
        // The address is usable from the first look at the time on.
        stack.poll(START, &mut ledger);
        Host { stack, ledger }
    }

    /// Hands what it has to send to another host; says whether there was anything.
    fn send_to(&mut self, now: Instant, other: &mut Host) -> bool {
        let mut described = Vec::with_capacity(1);
        let mut any = false;
        loop {
            described.clear();
            let post = |addr, len, _| described.push((addr, len));
            if self
                .stack
                .transmit(now, &mut self.ledger, 0, u32::MAX, post)
                == 0
            {
                return any;
            }
            any = true;
            for &(addr, len) in &described {
                let bytes = self.ledger.described(addr, len).expect("in flight");
                let mut frame = other.ledger.alloc(Pool::Rx).expect("a free chunk");
                other.ledger.bytes_mut(&mut frame)[..bytes.len()].copy_from_slice(bytes);
                let filled = other.ledger.post_fill(frame, 0);
                let piece = other.ledger.claim(0, filled, len).expect("a filled chunk");
                let packet = Packet::new(piece);
                other.stack.receive(now, &mut other.ledger, packet, 0);
                if let Ok(TxDone::Freed(chunk)) = self.ledger.tx_done(addr) {
                    self.stack.chunk_freed(chunk);
                }
            }
        }
    }
}

const START: Instant = Instant::from_nanos(1_000_000_000);

fn ringwire(bytes: usize, idle: usize) -> f64 {
    let (mut a, mut b) = (Host::new(2), Host::new(3));
    let mut now = START;
    let listener = b.stack.open(Protocol::Tcp, Family::V4);
    let to = "10.0.0.3:80".parse().expect("an address");
    b.stack.bind(listener, to).expect("a free port");
    b.stack.tcp_listen(listener, 1).expect("a bound socket");
    let client = a.stack.open(Protocol::Tcp, Family::V4);
    let _ = a.stack.tcp_connect(now, &mut a.ledger, client, Some(to));
    while a.send_to(now, &mut b) | b.send_to(now, &mut a) {}
    let server = b.stack.tcp_accept(listener).expect("a connection").socket;
    for _ in 0..idle {
        let client = a.stack.open(Protocol::Tcp, Family::V4);
        let _ = a.stack.tcp_connect(now, &mut a.ledger, client, Some(to));
        while a.send_to(now, &mut b) | b.send_to(now, &mut a) {}
        b.stack.tcp_accept(listener).expect("a connection");
    }
    let (source, mut sink) = (vec![7u8; 65_536], vec![0u8; 65_536]);
    let before = a.stack.counters().tcp_tx_segments;
    let start = Clock::now();
    let (mut sent, mut received) = (0, 0);
    while received < bytes {
        sent += write(&mut a, client, &source, bytes - sent);
        a.send_to(now, &mut b);
        received += read(&mut b, server, &mut sink);
        b.send_to(now, &mut a);
        now = Instant::from_nanos(now.as_nanos() + 10_000);
        a.stack.poll(now, &mut a.ledger);
        b.stack.poll(now, &mut b.ledger);
    }
    let segments = a.stack.counters().tcp_tx_segments - before;
    start.elapsed().as_nanos() as f64 / segments as f64
}

fn write(host: &mut Host, id: SocketId, source: &[u8], left: usize) -> usize {
    let len = source.len().min(left);
    let mut at = 0;
    let fill = &mut |part: &mut [u8]| {
        part.copy_from_slice(&source[at..at + part.len()]);
        at += part.len();
    };
    host.stack
        .tcp_send(&mut host.ledger, id, len, false, fill)
        .unwrap_or(0)
}

fn read(host: &mut Host, id: SocketId, sink: &mut [u8]) -> usize {
    let len = host.stack.tcp_available(id).unwrap_or(0).min(sink.len());
    let mut at = 0;
    host.stack.tcp_for_each(&host.ledger, id, len, &mut |part| {
        sink[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    });
    host.stack.tcp_consume(&mut host.ledger, id, len);
    len
}

type Queue = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// One end of a wire of smoltcp's.
struct Wire {
    received: Queue,
    sent: Queue,
    /// Buffers to use again.
    spare: Rc<RefCell<Vec<Vec<u8>>>>,
    count: u64,
}

struct Frame(Vec<u8>, Rc<RefCell<Vec<Vec<u8>>>>);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.0);
        self.1.borrow_mut().push(self.0);
        result
    }
}

struct Slot<'a>(&'a mut Wire);

impl TxToken for Slot<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = self.0.spare.borrow_mut().pop().unwrap_or_default();
        frame.resize(len, 0);
        let result = f(&mut frame);
        self.0.count += u64::from(len > 1000);
        self.0.sent.borrow_mut().push_back(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Slot<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Frame, Slot<'_>)> {
        let frame = self.received.borrow_mut().pop_front()?;
        Some((Frame(frame, Rc::clone(&self.spare)), Slot(self)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Slot<'_>> {
        Some(Slot(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities.checksum.ipv4 = Checksum::None;
        capabilities.checksum.tcp = Checksum::None;
        capabilities
    }
}

/// One of smoltcp's hosts.
struct Peer {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

impl Peer {
    fn new(last: u8, received: Queue, sent: Queue) -> Peer {
        let mut wire = Wire {
            received,
            sent,
            spare: Rc::default(),
            count: 0,
        };
        let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, last]));
        let mut config = smoltcp::iface::Config::new(mac);
        config.random_seed = last.into();
        let mut interface = Interface::new(config, &mut wire, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(IpAddress::v4(10, 0, 0, last), 24);
            addresses.push(address).expect("room for an address");
        });
        // As large as our windows are.
        let buffer = || tcp::SocketBuffer::new(vec![0; 256 << 10]);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Peer {
            wire,
            interface,
            sockets,
            handle,
        }
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn poll(&mut self, micros: i64) {
        let now = smoltcp::time::Instant::from_micros(micros);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }
}

fn smoltcp(bytes: usize) -> f64 {
    let (there, back) = (Queue::default(), Queue::default());
    let mut a = Peer::new(2, Rc::clone(&back), Rc::clone(&there));
    let mut b = Peer::new(3, there, back);
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
    let (source, mut sink) = (vec![7u8; 65_536], vec![0u8; 65_536]);
    let before = a.wire.count;
    let start = Clock::now();
    let (mut sent, mut received) = (0, 0);
    while received < bytes {
        let len = source.len().min(bytes - sent);
        sent += a
            .socket()
            .send_slice(&source[..len])
            .expect("an open connection");
        a.poll(micros);
        b.poll(micros);
        received += b
            .socket()
            .recv_slice(&mut sink)
            .expect("an open connection");
        b.poll(micros);
        micros += 10;
    }
    let segments = a.wire.count - before;
    start.elapsed().as_nanos() as f64 / segments as f64
}

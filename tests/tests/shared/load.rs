//! A server of a ring's in a thread of its own, and peers that keep a server busy.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringwire::{Builder, Counters};
use ringwire_tests::net::{PATIENCE, Veth};
use ringwire_tests::stream::PORT;

/// The echo example's server, as it is: UDP and TCP on one port of all addresses.
mod text {
    use ringwire::{IoUring, cqueue, opcode, squeue, types};
    include!("../../../examples/echo/server.rs");
    include!("../../../examples/echo/group.rs");
    include!("../../../examples/echo/datagrams.rs");
    include!("../../../examples/echo/streams.rs");
}

/// That a peer sends at a time.
const CHUNK: usize = 16 << 10;
/// Of the peer's end, in bytes as `SO_SNDBUF` and `SO_RCVBUF` count them.
const BUFFER: i32 = 128 << 10;
/// Bytes that come back when a stream goes on: more than the buffers on their way hold.
const MUCH: u64 = 2 << 20;
/// For those bytes, with some timeouts on the way.
const LONG: Duration = Duration::from_secs(30);

/// A ring that echoes what comes to [`PORT`] of this thread's namespace.
pub struct Served {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Counters>,
}

impl Served {
    pub fn start(builder: &Builder) -> Served {
        Served::prepared(builder, || {})
    }

    /// `prepare` runs when the ring is there, in the thread that drives it.
    pub fn prepared(builder: &Builder, prepare: impl FnOnce() + Send + 'static) -> Served {
        let (stop, builder) = (Arc::new(AtomicBool::new(false)), builder.clone());
        let (ready, is_ready) = channel();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let ring = builder.build(512).expect("a ring");
            prepare();
            let mut server = text::Server::new(ring, PORT, false).expect("a server");
            ready.send(()).expect("the test waits");
            server.run(&stopped).expect("the server runs");
            server.ring().counters().expect("counters")
        });
        is_ready.recv().expect("the server is there");
        Served { stop, thread }
    }

    /// The ring is gone afterwards.
    pub fn end(self) -> Counters {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the server's thread")
    }
}

/// A connection of the peer's on which all comes back that it sends.
pub struct Load {
    stop: Arc<AtomicBool>,
    echoed: Arc<AtomicU64>,
    stream: TcpStream,
    writer: JoinHandle<io::Result<u64>>,
    reader: JoinHandle<io::Result<u64>>,
}

impl Load {
    /// To the ring's port at one of its end's addresses.
    pub fn to(veth: &Veth, ip: &str) -> Load {
        let ip: IpAddr = ip.parse().expect("an address");
        let to = SocketAddr::from((ip, PORT));
        Load::on(veth.in_peer(|| TcpStream::connect_timeout(&to, LONG).expect("a connection")))
    }

    pub fn on(stream: TcpStream) -> Load {
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        stream.set_write_timeout(Some(LONG)).expect("a timeout");
        for name in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
            set(&stream, libc::SOL_SOCKET, name, BUFFER);
        }
        let (stop, echoed) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let [out, back] = [(); 2].map(|()| stream.try_clone().expect("another handle"));
        let (stopped, counter) = (stop.clone(), echoed.clone());
        Load {
            writer: thread::spawn(move || write(out, &stopped)),
            reader: thread::spawn(move || read(back, &counter)),
            stop,
            echoed,
            stream,
        }
    }

    /// Its packets are sent without "don't fragment" (`IP_PMTUDISC_DONT` of ip(7)).
    pub fn may_be_fragmented(&self) {
        let (name, value) = (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT);
        set(&self.stream, libc::IPPROTO_IP, name, value);
    }

    /// How long the other end's segments are, without options, as the peer's kernel estimates (`tcpi_rcv_mss`).
    pub fn segment(&self) -> u32 {
        // SAFETY: all zeroes is a valid struct of numbers.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut len = size_of_val(&info) as u32;
        let (fd, value) = (self.stream.as_raw_fd(), (&raw mut info).cast());
        // SAFETY: the struct is writable for its length.
        let got =
            unsafe { libc::getsockopt(fd, libc::SOL_TCP, libc::TCP_INFO, value, &raw mut len) };
        assert_eq!(got, 0, "{}", io::Error::last_os_error());
        info.tcpi_rcv_mss
    }

    /// Bytes that have come back.
    pub fn echoed(&self) -> u64 {
        self.echoed.load(Ordering::Relaxed)
    }

    /// Waits until much more has come back, none of which was on its way before.
    pub fn goes_on(&self) {
        let (from, deadline) = (self.echoed(), Instant::now() + LONG);
        while self.echoed() < from + MUCH {
            let come = self.echoed() - from;
            assert!(!self.reader.is_finished(), "it ended after {come} bytes");
            assert!(Instant::now() < deadline, "{come} of {MUCH} bytes");
            thread::yield_now();
        }
    }

    /// Stops sending; all that was sent has come back.
    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let read = self.reader.join().expect("the reader").expect("an end");
        let written = self.writer.join().expect("the writer").expect("an end");
        assert_eq!(read, written);
    }

    /// How the connection fails.
    pub fn failure(self) -> io::ErrorKind {
        let written = self.writer.join().expect("the writer");
        let read = self.reader.join().expect("the reader");
        // One of them is told, and the other that it is over: a writer by EPIPE.
        let told = [written.err(), read.err()].into_iter().flatten();
        let mut kinds = told.map(|error| error.kind());
        let told = kinds.find(|kind| *kind != io::ErrorKind::BrokenPipe);
        told.expect("a failure")
    }
}

fn set(stream: &TcpStream, level: i32, name: i32, value: i32) {
    let (fd, value) = (stream.as_raw_fd(), (&raw const value).cast());
    // SAFETY: the value lives through the call, and has that length.
    let set = unsafe { libc::setsockopt(fd, level, name, value, 4) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

fn write(mut stream: TcpStream, stop: &AtomicBool) -> io::Result<u64> {
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        let chunk: Vec<u8> = (at..).take(CHUNK).map(byte).collect();
        stream.write_all(&chunk)?;
        at += CHUNK as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(at)
}

fn read(mut stream: TcpStream, counter: &AtomicU64) -> io::Result<u64> {
    let (mut buffer, mut at) = ([0; CHUNK], 0);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(at);
        }
        let right = buffer[..count]
            .iter()
            .copied()
            .eq((at..).take(count).map(byte));
        assert!(right, "not what was sent, after {at} bytes");
        at += count as u64;
        counter.store(at, Ordering::Relaxed);
    }
}

/// Of a stream that no shift of it resembles.
fn byte(at: u64) -> u8 {
    (at / 251 + at * 31) as u8
}

/// The length of full segments by IPv4 and by IPv6 at an MTU, behind the timestamps of RFC 7323.
pub fn segments(mtu: u32) -> [u32; 2] {
    [mtu - 20 - 20 - 12, mtu - 40 - 20 - 12]
}

/// A kernel's server in this thread's namespace, to which a peer has a connection under load.
pub fn kernel_load(veth: &Veth, ip: &str) -> (JoinHandle<()>, Load) {
    let ip: IpAddr = ip.parse().expect("an address");
    let listener = TcpListener::bind((ip, 0)).expect("a kernel's listener");
    let to = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        let mut stream = listener.accept().expect("a connection").0;
        let mut buffer = [0; CHUNK];
        loop {
            match stream.read(&mut buffer).expect("the kernel's server reads") {
                0 => return,
                count => stream.write_all(&buffer[..count]).expect("it writes"),
            }
        }
    });
    let stream = veth.in_peer(|| TcpStream::connect(to).expect("a connection"));
    (server, Load::on(stream))
}

/// A datagram of the peer's comes back from the ring's port.
pub fn echoes(peer: &UdpSocket, ip: &str, payload: &[u8]) {
    let ip: IpAddr = ip.parse().expect("an address");
    peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    peer.send_to(payload, (ip, PORT)).expect("the peer sends");
    let mut back = vec![0; 1 << 16];
    let (len, from) = peer.recv_from(&mut back).expect("an echo");
    // From which address the route says, as on the kernel: the socket is bound to none.
    assert_eq!(from.port(), PORT);
    assert!(back[..len] == *payload, "{len} bytes, or others");
}

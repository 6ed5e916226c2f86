//! The two NICs, and what is made over them: rings of either end, and a server.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use ringwire::{Attached, BindMode, Builder, IoUring, Mode, cqueue, squeue};
use ringwire_tests::net::{RING_INTERFACE, RING_V4, RING_V6, Veth};

use crate::server::Server;

/// The second ring's interface, and its addresses: the peer's kernel has others.
const FAR_INTERFACE: &str = "rw1";
pub const FAR_V4: &str = "10.7.0.3";
pub const FAR_V6: &str = "fd07::3";

/// The registered areas of each ring: a plain one, and slots for a segment's payload each, whatever its family.
pub const AREA: usize = 0;
pub const AREA_BYTES: usize = 1 << 20;
pub const SLOTS: usize = 1;
pub const SLOT_BYTES: usize = 1428;

/// The port that the server serves.
pub const PORT: u16 = 7100;

pub struct Bed {
    pub wire: Veth,
}

impl Bed {
    pub fn new() -> Bed {
        Bed {
            wire: Veth::of_nics(["eth0", "eth1"]),
        }
    }

    /// A ring on the first NIC.
    pub fn near(&self) -> IoUring {
        self.wire.in_ring(|| made(&near_builder(), Mode::ZeroCopy))
    }

    /// A ring on the first NIC that RECV_ZC can be registered with.
    pub fn near_big(&self) -> IoUring<squeue::Entry, cqueue::Entry32> {
        let mut near = builder(RING_INTERFACE, RING_V4, RING_V6);
        near.setup_single_issuer().setup_defer_taskrun();
        self.wire.in_ring(|| made(&near, Mode::ZeroCopy))
    }

    /// A ring on the second NIC.
    pub fn far(&self) -> IoUring {
        let far = builder(FAR_INTERFACE, FAR_V4, FAR_V6);
        self.wire.in_peer(|| made(&far, Mode::ZeroCopy))
    }

    /// Both at once: each waits for its link for a while.
    pub fn both(&self) -> (IoUring, IoUring) {
        std::thread::scope(|scope| {
            let near = scope.spawn(|| self.near());
            let far = self.far();
            (near.join().expect("a ring"), far)
        })
    }

    /// The server on the first NIC and a ring on the second.
    pub fn server_and_far(&self) -> (Serving, IoUring) {
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| self.serve(Mode::ZeroCopy));
            let far = self.far();
            (serving.join().expect("a server"), far)
        })
    }

    /// The echo example's server on a ring on the first NIC, in a thread of its own.
    pub fn serve(&self, mode: Mode) -> Serving {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = channel();
        let until = Arc::clone(&stop);
        let serve = move || {
            let ring = match mode {
                Mode::ZeroCopy => made(&near_builder(), mode),
                Mode::Copy => made(near_builder().bind_mode(BindMode::Copy), mode),
            };
            let mut server = Server::new(ring, PORT, false).expect("a server");
            ready.send(()).expect("somebody waits");
            server.run(&until).expect("a server that serves");
            let counters = server.ring().counters().expect("counters").stack;
            assert_eq!(counters.rx_bad_checksum + counters.rx_partial_checksum, 0);
        };
        // A thread begins in its parent's namespace.
        let thread = self.wire.in_ring(|| std::thread::spawn(serve));
        is_ready.recv().expect("a server");
        Serving { stop, thread }
    }

    /// A kernel socket at the second NIC that is connected to the server.
    pub fn client(&self, own: &str, server: &str) -> UdpSocket {
        let socket = self.wire.peer_socket(own);
        socket.connect((server, PORT)).expect("a peer");
        socket
    }
}

/// A server that runs.
pub struct Serving {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Serving {
    /// Ends it.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the server's thread");
    }
}

/// The server's address.
pub fn server(v6: bool) -> SocketAddr {
    at(if v6 { RING_V6 } else { RING_V4 }, PORT)
}

pub fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

pub fn near_builder() -> Builder {
    builder(RING_INTERFACE, RING_V4, RING_V6)
}

fn builder<C: cqueue::EntryMarker>(
    interface: &str,
    v4: &str,
    v6: &str,
) -> Builder<squeue::Entry, C> {
    let mut builder = IoUring::<squeue::Entry, C>::builder();
    builder
        .interface(interface)
        .address(format!("{v4}/24").parse().expect("an address"))
        .address(format!("{v6}/64").parse().expect("an address"))
        .registered_area(AREA_BYTES)
        .registered_slots(128, SLOT_BYTES as u32)
        .detect_duplicates(false);
    builder
}

/// Makes a ring. It has the mode that is wanted, and has waited for the link that attaching resets on some NICs.
fn made<C: cqueue::EntryMarker>(
    builder: &Builder<squeue::Entry, C>,
    mode: Mode,
) -> IoUring<squeue::Entry, C> {
    let ring = builder.build(256).expect("a ring");
    let report = ring.report().expect("a report");
    println!("{report}");
    assert_eq!(report.mode, mode, "{report}");
    assert_eq!(report.attached, Attached::Native, "{report}");
    let mut show = Command::new("ip");
    show.args(["link", "show", &report.interface]);
    let link = show.output().expect("the ip command").stdout;
    let link = String::from_utf8_lossy(&link);
    assert!(link.contains("LOWER_UP"), "{link}");
    ring
}

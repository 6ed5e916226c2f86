//! The least that UDP over AF_XDP can be, on our own `ringwire-xsk`: no neighbours, no sockets, and nobody who keeps
//! account of the chunks; a ceiling for everything above it.
//!
//!     raw --interface NAME --address ADDRESS [--spin]
//!         each frame goes back with its addresses and ports exchanged
//!     raw --interface NAME --address ADDRESS --bytes N --ms N [--warm-ms N]
//!         sends datagrams of so many bytes; prints one line of JSON
//!     raw --interface NAME --address ADDRESS --bytes N --ms N [--warm-ms N] [--watch PID] --window N --to ADDRESS:PORT
//!         keeps so many datagrams outstanding to an echo server, a neighbour that the kernel knows; the address is the
//!         kernel's, which keeps all but the answers; prints one line of JSON
//!
//! and [--xdp-mode native|generic] [--checksums]. With `--checksums` what is received is summed, and what is
//! sent is summed anew, as a stack does it; what a window sends has its checksum in any case. Sending never sleeps.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringwire_bench::args::Args;
use ringwire_bench::measure::Span;
use ringwire_umem::{Layout, Umem};
use ringwire_xsk::{
    AttachMode, BindMode, Interface, Kick, Privileges, Program, Protocol, QueueConfig, Rings,
    Socket,
};

use crate::frame::End;

mod frame;
mod reflect;
mod send;
mod window;

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: i32) {
    STOP.store(true, Ordering::Relaxed);
}

const CHUNKS: u32 = 4096;
const CHUNK_BYTES: u32 = 4096;
/// Chunks in the fill ring from the start on.
const FILLED: u64 = 2048;

/// An AF_XDP socket on queue 0 of an interface, with its memory.
pub struct Port {
    umem: Arc<Umem>,
    rings: Rings,
    socket: Socket,
    /// Chunks that are in no ring.
    free: Vec<u64>,
    checksums: bool,
    _program: Program,
}

/// What is taken from the kernel.
enum Steered {
    /// All that goes to an address, ARP included.
    All(Ipv4Addr),
    /// What goes to a UDP port of an address of the kernel's, which keeps the rest.
    Port(SocketAddrV4),
}

/// What is done.
enum Work {
    Reflect {
        spin: bool,
    },
    Send {
        bytes: usize,
        span: Span,
    },
    Window {
        bytes: usize,
        window: usize,
        to: SocketAddrV4,
        span: Span,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::read(std::env::args().skip(1))?;
    let interface = Interface::by_name(&args.required::<String>("interface")?)?;
    let address: Ipv4Addr = args.required("address")?;
    let modes = [
        ("native", AttachMode::Native),
        ("generic", AttachMode::Generic),
    ];
    let mode = args.choice("xdp-mode", &modes)?;
    let mode = mode.unwrap_or(AttachMode::Native);
    let checksums = args.switch("checksums")?;
    let work = Work::read(&mut args)?;
    args.end()?;
    match work {
        Work::Reflect { spin } => {
            let mut port = Port::open(&interface, Steered::All(address), mode, checksums)?;
            reflect(&mut port, spin);
        }
        Work::Send { bytes, span } => {
            let mut port = Port::open(&interface, Steered::All(address), mode, checksums)?;
            send::run(&mut port, bytes, (interface.mac, address), &span);
        }
        Work::Window {
            bytes,
            span,
            window,
            to,
        } => {
            // A port that the kernel gives to nobody else meanwhile.
            let reserved = UdpSocket::bind((address, 0))?;
            let from = SocketAddrV4::new(address, reserved.local_addr()?.port());
            let mac = window::neighbour(&interface, *to.ip())?;
            let mut port = Port::open(&interface, Steered::Port(from), mode, checksums)?;
            let ends = [(interface.mac, from), (mac, to)];
            let ends = ends.map(|(mac, address)| End { mac, address });
            window::run(&mut port, ends, bytes, window, &span);
        }
    }
    Ok(())
}

/// Echoes until it is stopped.
fn reflect(port: &mut Port, spin: bool) {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, stop as extern "C" fn(i32) as libc::sighandler_t) };
    }
    println!("listening");
    while !STOP.load(Ordering::Relaxed) {
        if !reflect::turn(port) && !spin {
            port.wait();
        }
    }
}

impl Work {
    fn read(args: &mut Args) -> Result<Work, String> {
        let window: Option<usize> = args.optional("window")?;
        let bytes: Option<usize> = args.optional("bytes")?;
        Ok(match (window, bytes) {
            (None, None) => Work::Reflect {
                spin: args.switch("spin")?,
            },
            (None, Some(bytes)) => Work::Send {
                bytes,
                span: Span::read(args)?,
            },
            (Some(window), bytes) => Work::Window {
                bytes: bytes.ok_or("--bytes is missing")?,
                window,
                to: args.required("to")?,
                span: Span::read(args)?,
            },
        })
    }
}

impl Port {
    fn open(
        interface: &Interface,
        steered: Steered,
        mode: AttachMode,
        checksums: bool,
    ) -> Result<Port, Box<dyn Error>> {
        let umem = Umem::new(Layout {
            chunk_bytes: CHUNK_BYTES,
            rx_chunks: CHUNKS,
            header_chunks: 0,
            // There must be one; it is not used.
            send_chunks: 1,
            lend_reserve_chunks: 0,
            areas: vec![],
        })?;
        let program = Program::attach(interface, mode)?;
        let chunk = |number| number * u64::from(CHUNK_BYTES);
        let fill: Vec<u64> = (0..FILLED).map(chunk).collect();
        let config = QueueConfig {
            ifindex: interface.index,
            ifname: &interface.name,
            queue: 0,
            umem: &umem,
            shared_with: None,
            rx_entries: 2048,
            tx_entries: 2048,
            fill_entries: 2048,
            completion_entries: 2048,
            fill: &fill,
            mode: BindMode::Auto,
            scatter: true,
            tx_checksum: false,
            privileges: Privileges::default(),
        };
        let (socket, rings) = Socket::open(&config)?;
        program.set_queue(0, &socket)?;
        match steered {
            Steered::All(address) => program.own_address(address.into())?,
            Steered::Port(to) => {
                let address = (*to.ip()).into();
                program.share_address(address)?;
                program.claim(Protocol::Udp, address, to.port())?;
            }
        }
        Ok(Port {
            umem,
            rings,
            socket,
            free: (FILLED..u64::from(CHUNKS)).map(chunk).collect(),
            checksums,
            _program: program,
        })
    }

    /// The bytes of a chunk that is in no ring.
    ///
    /// # Panics
    /// If they are not inside the memory.
    fn bytes(&mut self, addr: u64, len: u32) -> &mut [u8] {
        let end = addr.checked_add(u64::from(len));
        let all = u64::from(CHUNKS * CHUNK_BYTES);
        assert!(end.is_some_and(|end| end <= all), "outside the UMEM");
        // SAFETY: they lie inside the mapping, which `self` keeps; chunks that are in no ring are this
        // program's alone, and it has one thread.
        unsafe {
            let first = self.umem.as_ptr().add(addr as usize);
            std::slice::from_raw_parts_mut(first, len as usize)
        }
    }

    /// Takes back what was sent.
    fn reap(&mut self) {
        while let Some(addr) = self.rings.completion.pop() {
            self.give_back(addr);
        }
        self.rings.completion.release();
    }

    /// Counts the chunk of an address among the free ones.
    fn give_back(&mut self, addr: u64) {
        self.free.push(addr - addr % u64::from(CHUNK_BYTES));
    }

    /// Gives the kernel chunks to receive into.
    fn refill(&mut self) {
        while self.rings.fill.free() > 0 {
            let Some(addr) = self.free.pop() else {
                break;
            };
            self.rings.fill.push(addr).expect("the ring has room");
        }
        self.rings.fill.publish();
    }

    /// Has the kernel send what is in the TX ring.
    fn kick(&self) {
        if self.rings.tx.needs_wakeup() {
            for _ in 0..16 {
                if !matches!(self.socket.kick_tx(), Ok(Kick::Retry)) {
                    break;
                }
            }
        }
    }

    /// Sleeps until something has come, or for a while.
    fn wait(&self) {
        let mut fd = libc::pollfd {
            fd: self.socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd that lives through the call.
        unsafe { libc::poll(&raw mut fd, 1, 100) };
    }
}

//! The least that UDP over AF_XDP can be, on our own `ringwire-xsk`: no neighbours, no sockets, and nobody who keeps
//! account of the chunks; a ceiling for everything above it.
//!
//!     raw --interface NAME --address ADDRESS
//!         each frame goes back with its addresses and ports exchanged
//!     raw --interface NAME --address ADDRESS --bytes N --ms N [--warm-ms N]
//!         sends datagrams of so many bytes; prints one line of JSON
//!
//! and [--xdp-mode native|generic] [--checksums] [--spin]. With `--checksums` what is received is summed, and what is
//! sent is summed anew, as a stack does it.

use std::error::Error;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringwire_bench::args::Args;
use ringwire_bench::measure::Span;
use ringwire_umem::{Layout, Umem};
use ringwire_xsk::{
    AttachMode, BindMode, Interface, Kick, Privileges, Program, QueueConfig, Rings, Socket,
};

mod frame;
mod reflect;
mod send;

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
    let (checksums, spin) = (args.switch("checksums")?, args.switch("spin")?);
    let bytes: Option<usize> = args.optional("bytes")?;
    let span = bytes.map(|_| Span::read(&mut args)).transpose()?;
    args.end()?;
    let mut port = Port::open(&interface, address, mode, checksums)?;
    if let (Some(bytes), Some(span)) = (bytes, span) {
        send::run(&mut port, bytes, (interface.mac, address), &span);
        return Ok(());
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, stop as extern "C" fn(i32) as libc::sighandler_t) };
    }
    println!("listening");
    while !STOP.load(Ordering::Relaxed) {
        if !reflect::turn(&mut port) && !spin {
            port.wait();
        }
    }
    Ok(())
}

impl Port {
    fn open(
        interface: &Interface,
        address: Ipv4Addr,
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
        program.own_address(address.into())?;
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
            self.free.push(addr - addr % u64::from(CHUNK_BYTES));
        }
        self.rings.completion.release();
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

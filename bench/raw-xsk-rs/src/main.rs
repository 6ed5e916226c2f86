//! The least that a UDP echo over AF_XDP can be, on xsk-rs and libxdp: what `raw` is on ringwire's own layer, so that
//! this layer is measured against one that nobody here wrote.
//!
//!     raw-xsk-rs --interface NAME [--address ADDRESS] [--xdp-mode native|generic] [--checksums] [--spin]
//!
//! All that queue 0 of the interface receives is taken, whatever its address.

use std::error::Error;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use xsk_rs::config::{
    BindFlags, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig, XdpFlags,
};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

#[path = "../../src/args.rs"]
mod args;
#[path = "../../src/bin/raw/frame.rs"]
#[allow(dead_code, reason = "nothing is made here, only sent back")]
mod frame;
mod program;

use args::Args;
use program::{Mode, Program};

/// Frames, and entries of each ring: there is always room for all of them.
const FRAMES: u32 = 2048;
/// Frames of one turn.
const BURST: usize = 64;
/// How long a wait lasts without a packet, in milliseconds.
const PAUSE: i32 = 100;

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: i32) {
    STOP.store(true, Ordering::Relaxed);
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::read(std::env::args().skip(1))?;
    let name: String = args.required("interface")?;
    let _: Option<String> = args.optional("address")?;
    let modes = [("native", Mode::Native), ("generic", Mode::Generic)];
    let mode = args.choice("xdp-mode", &modes)?.unwrap_or(Mode::Native);
    let (checksums, spin) = (args.switch("checksums")?, args.switch("spin")?);
    args.end()?;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, stop as extern "C" fn(i32) as libc::sighandler_t) };
    }
    let mut port = Port::open(&name, checksums)?;
    let _program = Program::attach(&name, mode, port.rx.fd().as_raw_fd())?;
    println!("listening");
    while !STOP.load(Ordering::Relaxed) {
        if port.turn()? == 0 && !spin {
            match port.rx.poll(PAUSE) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A socket on queue 0, with its memory. Each frame goes round: fill ring, RX, TX, completion ring.
struct Port {
    umem: Umem,
    fill: FillQueue,
    completion: CompQueue,
    rx: RxQueue,
    tx: TxQueue,
    burst: Vec<FrameDesc>,
    checksums: bool,
}

impl Port {
    fn open(name: &str, checksums: bool) -> Result<Port, Box<dyn Error>> {
        let size = QueueSize::new(FRAMES)?;
        let config = UmemConfig::builder()
            .fill_queue_size(size)
            .comp_queue_size(size)
            .build()?;
        let (umem, frames) = Umem::new(config, NonZeroU32::new(FRAMES).ok_or("no frames")?, false)?;
        let config = SocketConfig::builder()
            .rx_queue_size(size)
            .tx_queue_size(size)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .xdp_flags(XdpFlags::empty())
            .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        let interface: Interface = name.parse()?;
        // SAFETY: the only socket of this UMEM.
        let (tx, rx, rings) = unsafe { Socket::new(config, &umem, &interface, 0)? };
        let (mut fill, completion) = rings.ok_or("the first socket has both rings")?;
        // SAFETY: frames of this UMEM, which are in no ring.
        unsafe { fill.produce(&frames) };
        let burst = frames[..BURST].to_vec();
        Ok(Port {
            umem,
            fill,
            completion,
            rx,
            tx,
            burst,
            checksums,
        })
    }

    /// Echoes a burst; how many frames there were.
    fn turn(&mut self) -> Result<usize, Box<dyn Error>> {
        loop {
            // SAFETY: the descriptors are overwritten by those of this UMEM's frames.
            let count = unsafe { self.completion.consume(&mut self.burst) };
            // SAFETY: what was sent is in no ring any more.
            unsafe { self.fill.produce(&self.burst[..count]) };
            if count < BURST {
                break;
            }
        }
        // SAFETY: the descriptors are overwritten by those of this UMEM's frames.
        let received = unsafe { self.rx.consume(&mut self.burst) };
        let mut goes = 0;
        for index in 0..received {
            // SAFETY: a frame that was received is this program's until it is in a ring again.
            let mut data = unsafe { self.umem.data_mut(&mut self.burst[index]) };
            let bytes = data.contents_mut();
            if frame::exchange(bytes) && (!self.checksums || frame::sum_again(bytes)) {
                self.burst.swap(goes, index);
                goes += 1;
            }
        }
        // SAFETY: each frame goes into one ring, and is not touched again until it comes back.
        unsafe {
            self.fill.produce(&self.burst[goes..received]);
            self.tx.produce(&self.burst[..goes]);
        }
        if goes > 0 && self.tx.needs_wakeup() {
            self.kick()?;
        }
        Ok(received)
    }

    /// Has the kernel send all that is in the TX ring: a call takes a part of it.
    fn kick(&mut self) -> std::io::Result<()> {
        for _ in 0..16 {
            self.tx.wakeup()?;
            if self.tx.nb_free_exact() == FRAMES {
                break;
            }
        }
        Ok(())
    }
}

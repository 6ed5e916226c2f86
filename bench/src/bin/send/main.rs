//! Who sends, in the comparisons: on ringwire and on the kernel's io_uring, the same text (`sender.rs`) compiled against
//! each, and by system calls. It prints one line of JSON.
//!
//!     send --on ringwire|kernel|syscalls --kind udp|tcp --to ADDRESS:PORT --bytes N --batch N --way WAY
//!
//! and for how long: --ms N [--warm-ms N] [--watch PID]; on ringwire --interface NAME --address IP/BITS. The ways:
//!
//!     plain     SEND: a copy
//!     zc        SEND_ZC: a notification for each request
//!     fixed     SEND_ZC of a registered buffer
//!     batch     SEND_ZC bound to a notification slot that the last of each batch flushes (ringwire)
//!     none      the same without a flush: no notification (ringwire)
//!
//! By system calls there is `plain` alone: sendmmsg(2), or send(2).

use std::error::Error;
use std::net::SocketAddrV4;
use std::process::ExitCode;

use ringwire_bench::args::Args;
use ringwire_bench::measure::Span;

mod syscalls;

mod on_ringwire {
    use ringwire::{Area, IoUring, cqueue, opcode, slots, squeue, types};
    include!("sender.rs");

    /// Payloads in the ring's memory: in slots, with room for headers in front of each, where a payload fits one.
    pub fn places(ring: &IoUring, settings: &Settings) -> (Vec<Area>, Vec<*const u8>) {
        let mut areas = match settings.in_slots() {
            true => ring.take_slots(0).expect("slots"),
            false => vec![ring.take_area(0).expect("an area")],
        };
        areas.iter_mut().for_each(|area| area.fill(7));
        let places = match &areas[..] {
            [row] => row.chunks(settings.bytes).map(<[u8]>::as_ptr).collect(),
            slots => slots.iter().map(|slot| slot.as_ptr()).collect(),
        };
        (areas, places)
    }

    /// A send that is bound to slot 0.
    fn bound(first: *const u8, len: u32, flush: bool) -> squeue::Entry {
        slots::SendZc::new(SOCKET, 0, first, len)
            .flush(flush)
            .build()
    }

    /// Registers slot 0, whose notifications have this tag.
    pub fn register_slot(ring: &IoUring) -> io::Result<()> {
        use ringwire_abi::notifier::{NotifierRegister, NotifierSlot, RINGWIRE_REGISTER_NOTIFIERS};
        let slot = NotifierSlot {
            tag: TAG,
            resv: [0; 3],
        };
        let register = NotifierRegister {
            nr_slots: 1,
            data: &raw const slot as u64,
            ..NotifierRegister::default()
        };
        let (arg, bytes) = ((&raw const register).cast(), size_of_val(&register) as u32);
        // SAFETY: both live through the call.
        unsafe {
            ring.submitter()
                .register(RINGWIRE_REGISTER_NOTIFIERS, arg, bytes)?
        };
        Ok(())
    }
}

mod on_kernel {
    use io_uring::{IoUring, cqueue, opcode, squeue, types};
    include!("sender.rs");

    /// Payloads in memory of its own.
    pub fn places(settings: &Settings) -> (Vec<u8>, Vec<*const u8>) {
        let row = vec![7; settings.bytes * super::PLACES];
        let places = row.chunks(settings.bytes).map(<[u8]>::as_ptr).collect();
        (row, places)
    }

    /// The kernel has no notification slots.
    fn bound(_: *const u8, _: u32, _: bool) -> squeue::Entry {
        unreachable!("refused when the command line was read")
    }
}

/// Payloads that are sent in turn.
const PLACES: usize = 64;
/// The longest payload that has a slot.
const LONGEST_SLOT: usize = 3900;
const ENTRIES: u32 = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Request,
    Fixed,
    Batch,
    None,
}

#[derive(Clone, Copy)]
struct Settings {
    udp: bool,
    to: SocketAddrV4,
    bytes: usize,
    batch: usize,
    way: Way,
}

impl Settings {
    fn in_slots(&self) -> bool {
        self.udp && self.bytes <= LONGEST_SLOT
    }
}

#[derive(Clone, Copy)]
enum On {
    Ringwire,
    Kernel,
    Syscalls,
}

fn main() -> ExitCode {
    match send(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("send: {error}");
            ExitCode::FAILURE
        }
    }
}

fn send(words: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let mut args = Args::read(words)?;
    let ons = [
        ("ringwire", On::Ringwire),
        ("kernel", On::Kernel),
        ("syscalls", On::Syscalls),
    ];
    let on = args.choice("on", &ons)?.ok_or("--on is missing")?;
    let ways = [
        ("plain", Way::Plain),
        ("zc", Way::Request),
        ("fixed", Way::Fixed),
        ("batch", Way::Batch),
        ("none", Way::None),
    ];
    let settings = Settings {
        udp: args
            .choice("kind", &[("udp", true), ("tcp", false)])?
            .ok_or("--kind is missing")?,
        to: args.required("to")?,
        bytes: args.required("bytes")?,
        batch: args.required("batch")?,
        way: args.choice("way", &ways)?.ok_or("--way is missing")?,
    };
    let span = Span::read(&mut args)?;
    match (on, settings.way) {
        (On::Ringwire, way) => {
            let ring = builder(&mut args, &settings)?.build(ENTRIES)?;
            args.end()?;
            let (_areas, places) = on_ringwire::places(&ring, &settings);
            if matches!(way, Way::Batch | Way::None) {
                on_ringwire::register_slot(&ring)?;
            }
            span.measure(&mut on_ringwire::Sender::new(ring, places, settings)?);
        }
        (On::Kernel, Way::Plain | Way::Request | Way::Fixed) => {
            args.end()?;
            let ring = io_uring::IoUring::builder()
                .setup_single_issuer()
                .setup_coop_taskrun()
                .setup_defer_taskrun()
                .build(ENTRIES)?;
            let (_memory, places) = on_kernel::places(&settings);
            span.measure(&mut on_kernel::Sender::new(ring, places, settings)?);
        }
        (On::Syscalls, Way::Plain) => {
            args.end()?;
            span.measure(&mut syscalls::Sender::new(&settings)?);
        }
        _ => return Err("there is no such way there".into()),
    }
    Ok(())
}

fn builder(args: &mut Args, settings: &Settings) -> Result<ringwire::Builder, Box<dyn Error>> {
    let mut builder = ringwire::IoUring::builder();
    builder
        .interface(&args.required::<String>("interface")?)
        .address(args.required("address")?)
        .detect_duplicates(false)
        .setup_single_issuer()
        .setup_defer_taskrun();
    match settings.in_slots() {
        true => builder.registered_slots(PLACES as u32, settings.bytes as u32),
        false => builder.registered_area(PLACES * settings.bytes),
    };
    Ok(builder)
}

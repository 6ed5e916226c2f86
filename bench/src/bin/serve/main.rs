//! The echo servers of the comparisons, for UDP and TCP on one port: on ringwire and on the kernel's io_uring, the same
//! text (`server.rs` and what stands beside it) compiled against each, and on epoll with recvmmsg(2) and sendmmsg(2).
//!
//!     serve --on ringwire --port N --interface NAME --address IP/BITS [--xdp-mode native|generic] [--spin]
//!     serve --on kernel --port N [--spin]
//!     serve --on epoll --port N [--spin]
//!
//! and on both rings `--sqpoll`: a thread of the ring's submits. And `--operation N`, the longest part of a stream that is received and sent at once (4096 by default). With `--spin` a
//! server looks for work again and again instead of sleeping. It prints `listening` when it is ready, and serves until
//! it gets SIGINT or SIGTERM.

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringwire::AttachMode;
use ringwire_bench::args::Args;

mod epoll;

mod on_ringwire {
    use ringwire::{IoUring, cqueue, opcode, squeue, types};
    include!("server.rs");
    include!("../../../../examples/echo/group.rs");
    include!("datagrams.rs");
    include!("streams.rs");

    /// A ringwire ring spins by itself, as its builder was told.
    fn look(_: &mut IoUring) -> io::Result<()> {
        Ok(())
    }
}

mod on_kernel {
    use io_uring::{IoUring, cqueue, opcode, squeue, types};
    include!("server.rs");
    include!("../../../../examples/echo/group.rs");
    include!("datagrams.rs");
    include!("streams.rs");

    /// Submits, and spins until the kernel says that there is work for this task or completions are there: the
    /// flag is in shared memory, so looking takes no system call.
    fn look(ring: &mut IoUring) -> io::Result<()> {
        ring.submit()?;
        for _ in 0..LOOKS {
            if ring.submission().taskrun() || !ring.completion().is_empty() {
                break;
            }
            std::hint::spin_loop();
        }
        Ok(())
    }

    /// Looks before it is time to see whether to stop.
    const LOOKS: u32 = 1 << 20;
}

const ENTRIES: u32 = 1024;
/// Completions that may be there at once: one for each connection.
const COMPLETIONS: u32 = 32_768;

/// Milliseconds without work after which the thread of a ring with SQPOLL sleeps.
const SQPOLL_IDLE: u32 = 20;

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: i32) {
    STOP.store(true, Ordering::Relaxed);
}

fn main() -> ExitCode {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, stop as extern "C" fn(i32) as libc::sighandler_t) };
    }
    match serve(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serve: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Clone, Copy)]
enum On {
    Ringwire,
    Kernel,
    Epoll,
}

/// What all of them are told.
#[derive(Clone, Copy)]
struct Settings {
    port: u16,
    /// Bytes of the longest part of a stream.
    operation: usize,
    spin: bool,
}

fn serve(words: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let mut args = Args::read(words)?;
    let choices = [
        ("ringwire", On::Ringwire),
        ("kernel", On::Kernel),
        ("epoll", On::Epoll),
    ];
    let on = args.choice("on", &choices)?.ok_or("--on is missing")?;
    let sqpoll = args.switch("sqpoll")?;
    let settings = Settings {
        port: args.required("port")?,
        operation: args.optional("operation")?.unwrap_or(4096),
        spin: args.switch("spin")?,
    };
    match on {
        On::Ringwire => {
            let builder = builder(&mut args, settings.spin, sqpoll)?;
            args.end()?;
            let ring = builder.build(ENTRIES)?;
            println!("{}", ring.report()?);
            let mut server = on_ringwire::Server::new(ring, settings)?;
            println!("listening");
            server.run(&STOP)?;
            println!("{:?}", server.tally);
            println!("{}", server.ring().counters()?);
        }
        On::Kernel => {
            args.end()?;
            let mut server = on_kernel::Server::new(kernel_ring(sqpoll)?, settings)?;
            println!("listening");
            server.run(&STOP)?;
            println!("{:?}", server.tally);
        }
        On::Epoll => {
            args.end()?;
            let mut server = epoll::Server::new(settings)?;
            println!("listening");
            server.run(&STOP)?;
        }
    }
    Ok(())
}

fn kernel_ring(sqpoll: bool) -> std::io::Result<io_uring::IoUring> {
    let mut builder = io_uring::IoUring::builder();
    builder.setup_single_issuer().setup_cqsize(COMPLETIONS);
    match sqpoll {
        true => builder.setup_sqpoll(SQPOLL_IDLE),
        false => builder
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_taskrun_flag(),
    };
    builder.build(ENTRIES)
}

fn builder(args: &mut Args, spin: bool, sqpoll: bool) -> Result<ringwire::Builder, String> {
    let modes = [
        ("native", AttachMode::Native),
        ("generic", AttachMode::Generic),
    ];
    let mode = args.choice("xdp-mode", &modes)?;
    let mut builder = ringwire::IoUring::builder();
    builder
        .interface(&args.required::<String>("interface")?)
        .address(args.required("address")?)
        .attach_mode(mode.unwrap_or(AttachMode::Native))
        .detect_duplicates(false)
        .setup_single_issuer()
        .setup_cqsize(COMPLETIONS);
    match sqpoll {
        true => builder.setup_sqpoll(SQPOLL_IDLE),
        false => builder.setup_defer_taskrun(),
    };
    if spin {
        builder.spin(Duration::from_secs(1));
    }
    Ok(builder)
}

//! An echo server for UDP and TCP, on ringwire or on the kernel's io_uring: the same server text (`server.rs` and what stands beside it),
//! compiled against each.
//!
//!     echo --interface eth1 --port 7777
//!     echo --interface eth1 --address 10.0.0.2/24 --address fd00::2/64 --port 7777
//!     echo --backend kernel --port 7777
//!
//! On ringwire it gives up its capabilities before it serves (`privilege.rs`), or has none, if `ringwire run` starts it:
//!
//!     ringwire run --interface eth1 --user nobody -- echo --interface eth1 --address 10.0.0.2/24 --port 7777
//!
//! With `--zero-copy` it is another one (`zero_copy.rs`), on ringwire alone, that moves no byte.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[path = "../privilege.rs"]
mod privilege;
#[path = "../pump.rs"]
mod pump;
mod zero_copy;

mod on_ringwire {
    use ringwire::{IoUring, cqueue, opcode, squeue, types};
    include!("server.rs");
    include!("group.rs");
    include!("datagrams.rs");
    include!("streams.rs");
}

mod on_kernel {
    use io_uring::{IoUring, cqueue, opcode, squeue, types};
    include!("server.rs");
    include!("group.rs");
    include!("datagrams.rs");
    include!("streams.rs");
}

const USAGE: &str = "usage: echo [--backend ringwire|kernel] --port PORT
  --interface NAME       the interface to serve
  --queues N,N,...       its queues (default: all)
  --engines N,N/N,N/...  an engine with a thread for each group of queues (default: one)
  --address IP/BITS      an address that no host on the link has; repeatable (default: the interface's own,
                         shared with the kernel)
  --gateway IP           the router off the link, for such an address; repeatable
  --rx-csum POLICY       verify (default), accept_partial, or trust
  --xdp-mode MODE        auto (default), native, or generic
  --rx-chunks N          chunks of 4096 bytes to receive into (default: 4096 for each queue)
  --send-chunks N        chunks of 4096 bytes to send from (default: 4096)
  --spin MICROSECONDS    how long to look for packets before sleeping (default: 0)
  --zero-copy            send back from where the NIC wrote it
  --no-dad               no duplicate address detection: start at once";

const ENTRIES: u32 = 512;

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: i32) {
    STOP.store(true, Ordering::Relaxed);
}

struct Options {
    kernel: bool,
    zero_copy: bool,
    port: u16,
    /// Groups of queues, if there is to be an engine for each.
    engines: Vec<Vec<u32>>,
    builder: ringwire::Builder,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("echo: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, stop as extern "C" fn(i32) as libc::sighandler_t) };
    }
    let served = match (options.kernel, options.zero_copy) {
        (true, _) => serve_on_kernel(options.port),
        (false, true) => serve_without_copies(&options),
        (false, false) => serve_on_ringwire(&options).map_err(|error| error as _),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

type Served = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn serve_on_ringwire(options: &Options) -> Served {
    let mut rings = match &options.engines[..] {
        [] => vec![options.builder.build(ENTRIES)?],
        groups => {
            let groups: Vec<&[u32]> = groups.iter().map(Vec::as_slice).collect();
            options.builder.build_each(ENTRIES, &groups)?
        }
    };
    let shares = rings.len() > 1;
    let serve = |ring| serve_ring(ring, options.port, shares);
    let last = rings.pop().ok_or("no ring")?;
    // Each engine has a thread, and capabilities are a thread's.
    std::thread::scope(|scope| {
        let others = rings
            .into_iter()
            .map(|ring| scope.spawn(move || serve(ring)));
        let others: Vec<_> = others.collect();
        let mut served = serve(last);
        for other in others {
            served = served.and(other.join().expect("an engine's thread"));
        }
        served
    })
}

fn serve_ring(ring: ringwire::IoUring, port: u16, shares: bool) -> Served {
    println!("{}", ring.report()?);
    let mut server = on_ringwire::Server::new(ring, port, shares)?;
    give_up_privileges()?;
    println!("listening on port {port}");
    server.run(&STOP)?;
    println!("{:?}", server.tally);
    println!("{}", server.ring().counters()?);
    Ok(())
}

fn serve_without_copies(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut server = zero_copy::Server::new(&options.builder, ENTRIES, options.port)?;
    println!("{}", server.ring.report()?);
    give_up_privileges()?;
    println!("listening on port {}", options.port);
    server.run(&STOP)?;
    println!("{:?}", server.tally);
    println!("{}", server.ring.counters()?);
    Ok(())
}

/// What is done from here on takes none.
fn give_up_privileges() -> std::io::Result<()> {
    privilege::drop_capabilities()?;
    println!("privileges: the ring is built, all capabilities are given up");
    Ok(())
}

fn serve_on_kernel(port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let ring = io_uring::IoUring::builder()
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_defer_taskrun()
        .build(ENTRIES)?;
    let mut server = on_kernel::Server::new(ring, port, false)?;
    println!("listening on port {port}");
    server.run(&STOP)?;
    println!("{:?}", server.tally);
    println!(
        "features of the kernel's ring: {:?}",
        server.ring().params()
    );
    Ok(())
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        kernel: false,
        zero_copy: false,
        port: 0,
        engines: Vec::new(),
        builder: ringwire::IoUring::builder(),
    };
    let builder = &mut options.builder;
    while let Some(name) = args.next() {
        match name.as_str() {
            "--no-dad" => {
                builder.detect_duplicates(false);
                continue;
            }
            "--zero-copy" => {
                options.zero_copy = true;
                continue;
            }
            _ => {}
        }
        let value = args.next().ok_or(format!("{name} takes a value"))?;
        let bad = |error: &dyn std::fmt::Display| format!("{name} {value}: {error}");
        match name.as_str() {
            "--backend" => {
                options.kernel = choose(&value, &[("ringwire", false), ("kernel", true)])?
            }
            "--port" => options.port = value.parse().map_err(|error| bad(&error))?,
            "--interface" => {
                builder.interface(&value);
            }
            "--queues" => {
                let queues: Result<Vec<u32>, _> = value.split(',').map(str::parse).collect();
                builder.queues(&queues.map_err(|error| bad(&error))?);
            }
            "--engines" => {
                let group = |group: &str| group.split(',').map(str::parse).collect();
                let groups: Result<_, _> = value.split('/').map(group).collect();
                options.engines = groups.map_err(|error: std::num::ParseIntError| bad(&error))?;
            }
            "--address" => {
                builder.address(value.parse().map_err(|error| bad(&error))?);
            }
            "--gateway" => {
                builder.gateway(value.parse::<IpAddr>().map_err(|error| bad(&error))?);
            }
            "--rx-chunks" => {
                builder.rx_chunks(value.parse().map_err(|error| bad(&error))?);
            }
            "--send-chunks" => {
                builder.send_chunks(value.parse().map_err(|error| bad(&error))?);
            }
            "--rx-csum" => {
                use ringwire::RxChecksum::{AcceptPartial, Trust, Verify};
                let policies = [
                    ("verify", Verify),
                    ("accept_partial", AcceptPartial),
                    ("trust", Trust),
                ];
                builder.rx_checksum(choose(&value, &policies)?);
            }
            "--xdp-mode" => {
                use ringwire::AttachMode::{Auto, Generic, Native};
                builder.attach_mode(choose(
                    &value,
                    &[("auto", Auto), ("native", Native), ("generic", Generic)],
                )?);
            }
            "--spin" => {
                builder.spin(Duration::from_micros(
                    value.parse().map_err(|error| bad(&error))?,
                ));
            }
            _ => return Err(format!("{name} is not known")),
        }
    }
    if options.port == 0 {
        return Err("--port is missing".to_owned());
    }
    // Those of `ringwire run`, if that started this; its own otherwise.
    let privileges = ringwire::Privileges::from_env().map_err(|error| error.to_string())?;
    options.builder.privileges(privileges);
    Ok(options)
}

fn choose<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let chosen = choices.iter().find(|(name, _)| *name == value);
    chosen
        .map(|&(_, choice)| choice)
        .ok_or(format!("{value} is none of the choices"))
}

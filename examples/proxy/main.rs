//! A TCP proxy that moves no byte: what the NIC has written is sent on from where it lies.
//!
//!     proxy --interface eth1 --port 8080 --to 10.0.0.9:80

#[path = "../pump.rs"]
mod pump;

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pump::{Pump, State};
use ringwire::owned::{BufferGroup, Completed, Ring, Socket};

const USAGE: &str =
    "usage: proxy --interface NAME [--address IP/BITS]... --port PORT --to IP:PORT [--no-dad]";

const ENTRIES: u32 = 512;
const SOCKETS: u32 = 4096;
/// Parts that may be received before their completions are taken.
const PARTS: u16 = 4096;

const ACCEPT: u64 = 3;
const OPEN: u64 = 4;
const CONNECT: u64 = 5;
const OTHER: u64 = 6;

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: i32) {
    STOP.store(true, Ordering::Relaxed);
}

/// A client's connection and the one that was made for it: the two directions have an even and an odd key.
struct Pair {
    client: Socket,
    server: Option<Socket>,
    pumps: Option<[Pump; 2]>,
    ended: u32,
    failed: bool,
}

struct Proxy {
    ring: Ring,
    group: BufferGroup,
    listener: Socket,
    to: SocketAddr,
    pairs: HashMap<u32, Pair>,
    next: u32,
    /// Pumps that found no memory to receive into.
    starved: Vec<u32>,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    connections: u64,
    bytes: u64,
    copied_parts: u64,
}

impl Proxy {
    fn new(options: &Options) -> Result<Proxy, Box<dyn Error>> {
        // Also where the kernel copies, and a copy of ours would cost less than another descriptor.
        let builder = options.builder.clone().scatter_from(0).clone();
        let mut ring = Ring::new(&builder, ENTRIES, SOCKETS)?;
        println!("{}", ring.report()?);
        let group = ring.lending_group(PARTS)?;
        ring.socket(0, libc::AF_INET6, libc::SOCK_STREAM)?;
        let listener = ring.wait()?.socket()?;
        let any = format!("[::]:{}", options.port).parse()?;
        ring.bind(0, listener, any)?;
        ring.wait()?.result?;
        ring.listen(0, listener, 1024)?;
        ring.wait()?.result?;
        ring.accept_multishot(ACCEPT << 32, listener)?;
        Ok(Proxy {
            ring,
            group,
            listener,
            to: options.to,
            pairs: HashMap::new(),
            next: 0,
            starved: Vec::new(),
            tally: Tally::default(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        while !STOP.load(Ordering::Relaxed) {
            match self
                .ring
                .submit_and_wait(1, Some(Duration::from_millis(100)))
            {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            let mut idle = true;
            while let Some(done) = self.ring.completion() {
                idle = false;
                self.handle(done)?;
            }
            if idle {
                self.feed(usize::MAX)?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, done: Completed) -> io::Result<()> {
        let (kind, key) = (done.user_data >> 32, done.user_data as u32);
        match kind {
            ACCEPT => self.accepted(done),
            OPEN => self.opened(key, done),
            CONNECT => self.connected(key, done),
            pump::RECEIVE | pump::SEND => self.pumped(kind, key, done),
            _ => Ok(()),
        }
    }

    fn accepted(&mut self, done: Completed) -> io::Result<()> {
        self.ring.reserve(2)?;
        if !done.more {
            self.ring.accept_multishot(ACCEPT << 32, self.listener)?;
        }
        let Ok(client) = done.socket() else {
            return Ok(());
        };
        self.tally.connections += 1;
        let key = self.next;
        self.next = self.next.wrapping_add(2);
        let pair = Pair {
            client,
            server: None,
            pumps: None,
            ended: 0,
            failed: false,
        };
        self.pairs.insert(key, pair);
        let domain = if self.to.is_ipv6() {
            libc::AF_INET6
        } else {
            libc::AF_INET
        };
        let user_data = OPEN << 32 | u64::from(key);
        self.ring.socket(user_data, domain, libc::SOCK_STREAM)?;
        Ok(())
    }

    fn opened(&mut self, key: u32, done: Completed) -> io::Result<()> {
        let Some(pair) = self.pairs.get_mut(&key) else {
            return Ok(());
        };
        let Ok(server) = done.socket() else {
            return self.close(key);
        };
        pair.server = Some(server);
        self.ring.reserve(1)?;
        let user_data = CONNECT << 32 | u64::from(key);
        self.ring.connect(user_data, server, self.to)?;
        Ok(())
    }

    fn connected(&mut self, key: u32, done: Completed) -> io::Result<()> {
        let Proxy {
            ring, group, pairs, ..
        } = self;
        let Some(pair) = pairs.get_mut(&key) else {
            return Ok(());
        };
        let (Ok(_), Some(server)) = (done.result, pair.server) else {
            return self.close(key);
        };
        let mut pumps = [
            Pump::new(key, pair.client, server),
            Pump::new(key + 1, server, pair.client),
        ];
        for pump in &mut pumps {
            pump.receive(ring, group)?;
        }
        pair.pumps = Some(pumps);
        Ok(())
    }

    fn pumped(&mut self, kind: u64, key: u32, done: Completed) -> io::Result<()> {
        let Proxy {
            ring, group, pairs, ..
        } = self;
        let Some(pair) = pairs.get_mut(&(key & !1)) else {
            return Ok(());
        };
        let Some(pumps) = &mut pair.pumps else {
            return Ok(());
        };
        let pump = &mut pumps[(key & 1) as usize];
        let state = match kind {
            pump::RECEIVE => pump.received(ring, group, done)?,
            _ => pump.sent(ring, group, done)?,
        };
        match state {
            State::Running => {}
            State::Starved => self.starved.push(key),
            State::Done if pair.failed => {}
            State::Done => {
                ring.reserve(1)?;
                ring.shutdown(OTHER << 32, pump.to(), Shutdown::Write)?;
                pair.ended += 1;
            }
            // What waits on the two ends now.
            State::Failed if !pair.failed => {
                pair.failed = true;
                ring.reserve(2)?;
                for pump in &*pumps {
                    ring.shutdown(OTHER << 32, pump.to(), Shutdown::Both)?;
                }
            }
            State::Failed => {}
        }
        let idle = pumps.iter().all(Pump::is_idle);
        if idle && (pair.ended == 2 || pair.failed) {
            self.close(key & !1)?;
        }
        // Memory may have come back.
        if kind == pump::SEND {
            self.feed(1)?;
        }
        Ok(())
    }

    /// Has so many of those receive that found no memory.
    fn feed(&mut self, count: usize) -> io::Result<()> {
        let first = self.starved.len().saturating_sub(count);
        for key in self.starved.split_off(first) {
            let pair = self.pairs.get_mut(&(key & !1));
            if let Some(pumps) = pair.and_then(|pair| pair.pumps.as_mut()) {
                pumps[(key & 1) as usize].receive(&mut self.ring, &self.group)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, key: u32) -> io::Result<()> {
        let Some(pair) = self.pairs.remove(&key) else {
            return Ok(());
        };
        for pump in pair.pumps.iter().flatten() {
            self.tally.bytes += pump.bytes;
            self.tally.copied_parts += pump.copied;
        }
        for socket in [Some(pair.client), pair.server].into_iter().flatten() {
            self.ring.reserve(1)?;
            self.ring.close(OTHER << 32, socket)?;
        }
        Ok(())
    }
}

struct Options {
    builder: ringwire::Builder,
    port: u16,
    to: SocketAddr,
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let mut builder = ringwire::IoUring::builder();
    let (mut port, mut to) = (None, None);
    while let Some(name) = args.next() {
        if name == "--no-dad" {
            builder.detect_duplicates(false);
            continue;
        }
        let value = args.next().ok_or(format!("{name} takes a value"))?;
        match name.as_str() {
            "--interface" => drop(builder.interface(&value).clone()),
            "--address" => drop(builder.address(value.parse()?).clone()),
            "--port" => port = Some(value.parse()?),
            "--to" => to = Some(value.parse()?),
            _ => return Err(format!("{name} is not known").into()),
        }
    }
    Ok(Options {
        builder,
        port: port.ok_or("--port is missing")?,
        to: to.ok_or("--to is missing")?,
    })
}

fn serve(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut proxy = Proxy::new(options)?;
    println!("listening on port {}", options.port);
    proxy.run()?;
    println!("{:?}", proxy.tally);
    println!("{}", proxy.ring.counters()?);
    Ok(())
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("proxy: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, stop as extern "C" fn(i32) as libc::sighandler_t) };
    }
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

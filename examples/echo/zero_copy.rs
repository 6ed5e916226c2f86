//! The echo server without a copy, on ringwire alone: datagrams and streams are lent where the NIC wrote them and
//! sent back from there.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringwire::Builder;
use ringwire::owned::{BufferGroup, Completed, Ring, Socket};

use crate::pump::{self, Pump, State};

const SOCKETS: u32 = 4096;
/// Parts that may be received before their completions are taken.
const PARTS: u16 = 4096;

const ACCEPT: u64 = 3;
const DATAGRAM: u64 = 4;
const REPLY: u64 = 5;
const OTHER: u64 = 6;

/// What the server did.
#[derive(Debug, Default)]
pub struct Tally {
    pub datagrams: u64,
    pub connections: u64,
    pub bytes: u64,
    /// Replies and parts of streams that could not be sent from where they lay.
    pub copied: u64,
}

pub struct Server {
    pub ring: Ring,
    group: BufferGroup,
    datagrams: Socket,
    armed: bool,
    listener: Socket,
    pumps: HashMap<u32, Pump>,
    starved: Vec<u32>,
    next: u32,
    pub tally: Tally,
}

impl Server {
    pub fn new(builder: &Builder, entries: u32, port: u16) -> Result<Server, Box<dyn Error>> {
        // Also where the kernel copies, and a copy of ours would cost less than another descriptor.
        let builder = builder.clone().scatter_from(0).clone();
        let mut ring = Ring::new(&builder, entries, SOCKETS)?;
        let group = ring.lending_group(PARTS)?;
        let datagrams = bind(&mut ring, libc::SOCK_DGRAM, port)?;
        let listener = bind(&mut ring, libc::SOCK_STREAM, port)?;
        ring.listen(0, listener, 1024)?;
        ring.wait()?.result?;
        ring.accept_multishot(ACCEPT << 32, listener)?;
        Ok(Server {
            ring,
            group,
            datagrams,
            armed: false,
            listener,
            pumps: HashMap::new(),
            starved: Vec::new(),
            next: 0,
            tally: Tally::default(),
        })
    }

    /// Serves until `stop` is set.
    pub fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            if !self.armed {
                self.ring.reserve(1)?;
                let (socket, group) = (self.datagrams, &self.group);
                self.ring
                    .recv_from_multishot(DATAGRAM << 32, socket, group)?;
                self.armed = true;
            }
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
            DATAGRAM => self.received(done),
            REPLY => {
                self.tally.copied += u64::from(done.copied);
                Ok(())
            }
            ACCEPT => self.accepted(done),
            pump::RECEIVE | pump::SEND => self.pumped(kind, key, done),
            _ => Ok(()),
        }
    }

    fn received(&mut self, done: Completed) -> io::Result<()> {
        self.armed &= done.more;
        let (Some(datagram), Some(from)) = (done.payload, done.address) else {
            return Ok(());
        };
        self.tally.datagrams += 1;
        self.ring.reserve(1)?;
        let (user_data, socket) = (REPLY << 32, self.datagrams);
        if done.rest.is_empty() {
            self.tally.bytes += datagram.len() as u64;
            self.ring.send_zc_to(user_data, socket, datagram, from)?;
            return Ok(());
        }
        // A datagram of several chunks is one reply: put together.
        let parts = done.rest.iter().map(|part| &part[..]);
        let whole: Vec<u8> = std::iter::once(&datagram[..])
            .chain(parts)
            .flatten()
            .copied()
            .collect();
        self.tally.bytes += whole.len() as u64;
        self.tally.copied += 1;
        self.ring.send_to(user_data, socket, whole, from)?;
        Ok(())
    }

    fn accepted(&mut self, done: Completed) -> io::Result<()> {
        if !done.more {
            self.ring.reserve(1)?;
            self.ring.accept_multishot(ACCEPT << 32, self.listener)?;
        }
        let Ok(socket) = done.socket() else {
            return Ok(());
        };
        self.tally.connections += 1;
        let key = self.next;
        self.next = self.next.wrapping_add(1);
        let mut pump = Pump::new(key, socket, socket);
        pump.receive(&mut self.ring, &self.group)?;
        self.pumps.insert(key, pump);
        Ok(())
    }

    fn pumped(&mut self, kind: u64, key: u32, done: Completed) -> io::Result<()> {
        let Server {
            ring, group, pumps, ..
        } = self;
        let Some(pump) = pumps.get_mut(&key) else {
            return Ok(());
        };
        let state = match kind {
            pump::RECEIVE => pump.received(ring, group, done)?,
            _ => pump.sent(ring, group, done)?,
        };
        if state == State::Starved {
            self.starved.push(key);
        }
        if matches!(state, State::Done | State::Failed) {
            ring.reserve(1)?;
            ring.close(OTHER << 32, pump.to())?;
            self.tally.bytes += pump.bytes;
            self.tally.copied += pump.copied;
            pumps.remove(&key);
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
            if let Some(pump) = self.pumps.get_mut(&key) {
                pump.receive(&mut self.ring, &self.group)?;
            }
        }
        Ok(())
    }
}

/// A socket that is bound to the port, for all addresses of both families.
fn bind(ring: &mut Ring, kind: i32, port: u16) -> Result<Socket, Box<dyn Error>> {
    ring.socket(0, libc::AF_INET6, kind)?;
    let socket = ring.wait()?.socket()?;
    ring.bind(0, socket, format!("[::]:{port}").parse()?)?;
    ring.wait()?.result?;
    Ok(socket)
}

//! A server for `iperf3 -c` over ringwire: TCP, to the server or (`-R`) from it, one test at a time.
//!
//!     iperf3 --interface NAME [--address IP/BITS]... [--port PORT]
//!
//! Without an address the interface's own are shared with the kernel; the port is 5201.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv6Addr, Shutdown};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringwire::IoUring;
use ringwire::owned::{Bytes, BytesMut, Completed, Payload, Ring, Socket};

mod protocol;
mod test;

use protocol::{ACCESS_DENIED, COOKIE_BYTES};
use test::{Step, Test};

const SLOTS: u32 = 256;
const ENTRIES: u32 = 256;
/// iperf3's block for TCP.
const BLOCK_BYTES: usize = 128 << 10;

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: i32) {
    STOP.store(true, Ordering::Relaxed);
}

/// What a completion is of: the upper half of `user_data`; the lower is the connection's slot.
const SETUP: u64 = 0;
const ACCEPT: u64 = 1;
const RECEIVE: u64 = 2;
const SEND: u64 = 3;
const SHUTDOWN: u64 = 4;
const CLOSE: u64 = 5;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Its cookie has not come yet.
    New,
    Control,
    /// A stream of the test, with its index.
    Stream(usize),
    /// Only to be closed.
    Leaving,
}

struct Connection {
    role: Role,
    /// What has come of a cookie or a message.
    input: Vec<u8>,
    /// What is received into, unless it is being received into.
    block: BytesMut,
    in_flight: u32,
}

struct Server {
    ring: Ring,
    listener: Socket,
    connections: HashMap<Socket, Connection>,
    test: Option<Test>,
    /// What is sent on streams, on all of them.
    block: Bytes,
    tests: u64,
}

impl Server {
    fn new(mut ring: Ring, port: u16) -> io::Result<Server> {
        ring.socket(SETUP, libc::AF_INET6, libc::SOCK_STREAM)?;
        let listener = ring.wait()?.socket()?;
        ring.bind(SETUP, listener, (Ipv6Addr::UNSPECIFIED, port).into())?;
        ring.wait()?.result?;
        ring.listen(SETUP, listener, 128)?;
        ring.wait()?.result?;
        ring.accept_multishot(ACCEPT << 32, listener)?;
        Ok(Server {
            ring,
            listener,
            connections: HashMap::new(),
            test: None,
            block: vec![0; BLOCK_BYTES].into(),
            tests: 0,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        while !STOP.load(Ordering::Relaxed) {
            let pause = Duration::from_millis(100);
            self.ring.submit_and_wait(1, Some(pause))?;
            while let Some(completed) = self.ring.completion() {
                let socket = Socket(completed.user_data as u32);
                match completed.user_data >> 32 {
                    ACCEPT => self.accepted(completed)?,
                    RECEIVE => self.received(socket, completed)?,
                    SEND => self.sent(socket, completed)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn accepted(&mut self, completed: Completed) -> io::Result<()> {
        if !completed.more {
            self.ring.reserve(1)?;
            self.ring.accept_multishot(ACCEPT << 32, self.listener)?;
        }
        if let Ok(socket) = completed.socket() {
            let connection = Connection {
                role: Role::New,
                input: Vec::new(),
                block: BytesMut::with_capacity(BLOCK_BYTES),
                in_flight: 0,
            };
            self.connections.insert(socket, connection);
            self.receive(socket)?;
        }
        Ok(())
    }

    fn receive(&mut self, socket: Socket) -> io::Result<()> {
        let connection = self.connections.get_mut(&socket).expect("a connection");
        connection.in_flight += 1;
        let room = std::mem::take(&mut connection.block);
        self.ring.reserve(1)?;
        self.ring.recv(of(RECEIVE, socket), socket, room, 0)?;
        Ok(())
    }

    fn received(&mut self, socket: Socket, completed: Completed) -> io::Result<()> {
        let connection = self.connections.get_mut(&socket).expect("a connection");
        connection.in_flight -= 1;
        let block = completed.payload.and_then(Payload::into_bytes_mut);
        let mut block = block.expect("what was received into");
        if completed.result.unwrap_or(0) == 0 {
            return self.leave(socket);
        }
        let bytes = block.len();
        if !matches!(connection.role, Role::Stream(_)) {
            connection.input.extend_from_slice(&block);
        }
        block.clear();
        connection.block = block;
        match connection.role {
            Role::New if connection.input.len() < COOKIE_BYTES => self.receive(socket),
            Role::New => self.introduced(socket),
            Role::Control => {
                let test = self.test.as_mut().expect("a control connection has a test");
                let steps = test.advance(&mut connection.input);
                self.take(socket, steps)?;
                let connection = self.connections.get(&socket);
                if connection.is_some_and(|connection| connection.role == Role::Control) {
                    self.receive(socket)?;
                }
                Ok(())
            }
            Role::Stream(index) => {
                if let Some(test) = &mut self.test {
                    test.carried(index, bytes as u64);
                }
                self.receive(socket)
            }
            Role::Leaving => self.leave(socket),
        }
    }

    /// A connection's cookie has come: it says which test it belongs to.
    fn introduced(&mut self, socket: Socket) -> io::Result<()> {
        let connection = self.connections.get_mut(&socket).expect("a connection");
        let mut cookie = std::mem::take(&mut connection.input);
        let behind = cookie.split_off(COOKIE_BYTES);
        let (role, steps) = match &mut self.test {
            None => {
                let (test, steps) = Test::new(socket, cookie);
                self.test = Some(test);
                connection.input = behind;
                (Role::Control, steps)
            }
            Some(test) => match test.joined(socket, &cookie) {
                Some((index, steps)) => {
                    test.carried(index, behind.len() as u64);
                    (Role::Stream(index), steps)
                }
                None => {
                    self.say(socket, vec![ACCESS_DENIED])?;
                    return self.leave(socket);
                }
            },
        };
        connection.role = role;
        let control = self.test.as_ref().expect("just now").control;
        self.take(control, steps)?;
        let sends =
            matches!(role, Role::Stream(_)) && self.test.as_ref().is_some_and(Test::we_send);
        if !sends {
            self.receive(socket)?;
        }
        Ok(())
    }

    fn take(&mut self, control: Socket, steps: Vec<Step>) -> io::Result<()> {
        for step in steps {
            match step {
                Step::Say(bytes) => self.say(control, bytes)?,
                Step::StartSending => {
                    for socket in self.test.as_ref().expect("a test").streams().to_vec() {
                        self.send_block(socket)?;
                    }
                }
                Step::StopStreams => {
                    for socket in self.test.as_ref().expect("a test").streams().to_vec() {
                        self.leave(socket)?;
                    }
                }
                Step::Finish => {
                    self.tests += 1;
                    self.leave(control)?;
                }
                Step::Abandon => self.leave(control)?,
            }
        }
        Ok(())
    }

    fn say(&mut self, socket: Socket, bytes: Vec<u8>) -> io::Result<()> {
        let connection = self.connections.get_mut(&socket).expect("a connection");
        connection.in_flight += 1;
        self.ring.reserve(1)?;
        let user_data = of(SEND, socket);
        self.ring
            .send(user_data, socket, bytes, libc::MSG_WAITALL)?;
        Ok(())
    }

    fn send_block(&mut self, socket: Socket) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&socket) else {
            return Ok(());
        };
        connection.in_flight += 1;
        self.ring.reserve(1)?;
        self.ring
            .send(of(SEND, socket), socket, self.block.clone(), 0)?;
        Ok(())
    }

    fn sent(&mut self, socket: Socket, completed: Completed) -> io::Result<()> {
        let connection = self.connections.get_mut(&socket).expect("a connection");
        connection.in_flight -= 1;
        match (connection.role, completed.result) {
            (Role::Stream(index), Ok(sent @ 1..)) => {
                if let Some(test) = &mut self.test {
                    test.carried(index, sent.into());
                }
                self.send_block(socket)
            }
            (Role::Control, Ok(1..)) => Ok(()),
            _ => self.leave(socket),
        }
    }

    /// Ends a connection: at once if nothing of it is in flight, else when the last has completed.
    fn leave(&mut self, socket: Socket) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&socket) else {
            return Ok(());
        };
        let role = std::mem::replace(&mut connection.role, Role::Leaving);
        if connection.in_flight == 0 {
            self.connections.remove(&socket);
            self.ring.reserve(1)?;
            self.ring.close(of(CLOSE, socket), socket)?;
        } else if role != Role::Leaving {
            self.ring.reserve(1)?;
            self.ring
                .shutdown(of(SHUTDOWN, socket), socket, Shutdown::Both)?;
        }
        if role == Role::Control {
            // A test ends with its control connection.
            let test = self.test.take().expect("a control connection has a test");
            for &socket in test.streams() {
                self.leave(socket)?;
            }
        }
        Ok(())
    }
}

/// The `user_data` of an operation on a connection.
fn of(kind: u64, socket: Socket) -> u64 {
    kind << 32 | u64::from(socket.0)
}

fn main() -> ExitCode {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, stop as extern "C" fn(i32) as libc::sighandler_t) };
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("iperf3: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = IoUring::builder();
    let mut port = 5201;
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or(format!("{name} takes a value"))?;
        match name.as_str() {
            "--interface" => drop(builder.interface(&value)),
            "--address" => drop(builder.address(value.parse()?)),
            "--port" => port = value.parse()?,
            _ => return Err(format!("{name} is not known").into()),
        }
    }
    let mut server = Server::new(Ring::new(&builder, ENTRIES, SLOTS)?, port)?;
    println!("listening on port {port}");
    server.run()?;
    println!("{} tests run", server.tests);
    println!("{}", server.ring.counters()?);
    Ok(())
}

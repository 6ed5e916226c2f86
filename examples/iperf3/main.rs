//! A server for `iperf3 -c` over ringwire: TCP, to the server or (`-R`) from it, one test at a time.
//!
//!     iperf3 --interface eth1 --address 10.0.0.2/24 --port 5201

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use ringwire::{IoUring, cqueue, opcode, squeue, types};

mod protocol;
mod test;

use protocol::{ACCESS_DENIED, COOKIE_BYTES};
use test::{Step, Test};

const LISTENER: types::Fixed = types::Fixed(0);
const SLOTS: u32 = 256;
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
    block: Vec<u8>,
    /// The messages that were sent on it: a handful, kept until it ends.
    output: Vec<Vec<u8>>,
    in_flight: u32,
}

struct Server {
    ring: IoUring,
    connections: HashMap<u32, Connection>,
    test: Option<Test>,
    /// What is sent on streams, on all of them.
    block: Vec<u8>,
    tests: u64,
}

impl Server {
    fn new(ring: IoUring, port: u16) -> io::Result<Server> {
        let mut server = Server {
            ring,
            connections: HashMap::new(),
            test: None,
            block: vec![0; BLOCK_BYTES],
            tests: 0,
        };
        server.ring.submitter().register_files_sparse(SLOTS)?;
        let slot = types::DestinationSlot::try_from_slot_target(0).expect("a small slot");
        let socket = opcode::Socket::new(libc::AF_INET6, libc::SOCK_STREAM, 0);
        server.complete(socket.file_index(Some(slot)).build())?;
        // SAFETY: all zeroes is a valid sockaddr_in6: the wildcard address.
        let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        address.sin6_family = libc::AF_INET6 as u16;
        address.sin6_port = port.to_be();
        let len = size_of_val(&address) as u32;
        server.complete(opcode::Bind::new(LISTENER, (&raw const address).cast(), len).build())?;
        server.complete(opcode::Listen::new(LISTENER, 128).build())?;
        server.accept();
        Ok(server)
    }

    fn run(&mut self) -> io::Result<()> {
        let pause = types::Timespec::new().nsec(100_000_000);
        let args = types::SubmitArgs::new().timespec(&pause);
        while !STOP.load(Ordering::Relaxed) {
            match self.ring.submitter().submit_with_args(1, &args) {
                Ok(_) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => {}
                Err(error) => return Err(error),
            }
            let completions: Vec<_> = self.ring.completion().collect();
            for cqe in completions {
                let (kind, slot) = (cqe.user_data() >> 32, cqe.user_data() as u32);
                match kind {
                    ACCEPT => self.accepted(cqe.result(), cqe.flags()),
                    RECEIVE => self.received(slot, cqe.result()),
                    SEND => self.sent(slot, cqe.result()),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        let entry = opcode::AcceptMulti::new(LISTENER).allocate_file_index(true);
        self.push(entry.build(), ACCEPT, 0);
    }

    fn accepted(&mut self, res: i32, flags: u32) {
        if let Ok(slot) = u32::try_from(res) {
            let connection = Connection {
                role: Role::New,
                input: Vec::new(),
                block: vec![0; BLOCK_BYTES],
                output: Vec::new(),
                in_flight: 0,
            };
            self.connections.insert(slot, connection);
            self.receive(slot);
        }
        if !cqueue::more(flags) {
            self.accept();
        }
    }

    fn receive(&mut self, slot: u32) {
        let connection = self.connections.get_mut(&slot).expect("a connection");
        connection.in_flight += 1;
        // A cookie is read alone: what follows it on a stream counts.
        let room = match connection.role {
            Role::New => COOKIE_BYTES - connection.input.len(),
            _ => connection.block.len(),
        };
        let entry = opcode::Recv::new(
            types::Fixed(slot),
            connection.block.as_mut_ptr(),
            room as u32,
        );
        self.push(entry.build(), RECEIVE, slot);
    }

    fn received(&mut self, slot: u32, res: i32) {
        let connection = self.connections.get_mut(&slot).expect("a connection");
        connection.in_flight -= 1;
        if res <= 0 {
            return self.leave(slot);
        }
        let bytes = &connection.block[..res as usize];
        match connection.role {
            Role::New => {
                connection.input.extend_from_slice(bytes);
                if connection.input.len() == COOKIE_BYTES {
                    let cookie = std::mem::take(&mut connection.input);
                    self.introduced(slot, cookie);
                } else {
                    self.receive(slot);
                }
            }
            Role::Control => {
                connection.input.extend_from_slice(bytes);
                let test = self.test.as_mut().expect("a control connection has a test");
                let steps = test.advance(&mut connection.input);
                self.take(slot, steps);
                let connection = self.connections.get(&slot);
                if connection.is_some_and(|connection| connection.role == Role::Control) {
                    self.receive(slot);
                }
            }
            Role::Stream(index) => {
                if let Some(test) = &mut self.test {
                    test.carried(index, res as u64);
                }
                self.receive(slot);
            }
            Role::Leaving => self.leave(slot),
        }
    }

    /// A connection's cookie has come: it says which test it belongs to.
    fn introduced(&mut self, slot: u32, cookie: Vec<u8>) {
        let (role, steps) = match &mut self.test {
            None => {
                let (test, steps) = Test::new(slot, cookie);
                self.test = Some(test);
                (Role::Control, steps)
            }
            Some(test) => match test.joined(slot, &cookie) {
                Some((index, steps)) => (Role::Stream(index), steps),
                None => {
                    self.say(slot, vec![ACCESS_DENIED]);
                    return self.leave(slot);
                }
            },
        };
        self.connections.get_mut(&slot).expect("a connection").role = role;
        let control = self.test.as_ref().expect("just now").control;
        self.take(control, steps);
        let sends =
            matches!(role, Role::Stream(_)) && self.test.as_ref().is_some_and(Test::we_send);
        if !sends {
            self.receive(slot);
        }
    }

    fn take(&mut self, control: u32, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Say(bytes) => self.say(control, bytes),
                Step::StartSending => {
                    for slot in self.test.as_ref().expect("a test").streams().to_vec() {
                        self.send_block(slot);
                    }
                }
                Step::StopStreams => {
                    for slot in self.test.as_ref().expect("a test").streams().to_vec() {
                        self.leave(slot);
                    }
                }
                Step::Finish => {
                    self.tests += 1;
                    self.leave(control);
                }
                Step::Abandon => self.leave(control),
            }
        }
    }

    fn say(&mut self, slot: u32, bytes: Vec<u8>) {
        let connection = self.connections.get_mut(&slot).expect("a connection");
        connection.in_flight += 1;
        let (bytes_at, len) = (bytes.as_ptr(), bytes.len() as u32);
        connection.output.push(bytes);
        let entry = opcode::Send::new(types::Fixed(slot), bytes_at, len).flags(libc::MSG_WAITALL);
        self.push(entry.build(), SEND, slot);
    }

    fn send_block(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(&slot) else {
            return;
        };
        connection.in_flight += 1;
        let entry = opcode::Send::new(types::Fixed(slot), self.block.as_ptr(), BLOCK_BYTES as u32);
        self.push(entry.build(), SEND, slot);
    }

    fn sent(&mut self, slot: u32, res: i32) {
        let connection = self.connections.get_mut(&slot).expect("a connection");
        connection.in_flight -= 1;
        match connection.role {
            Role::Stream(index) if res > 0 => {
                if let Some(test) = &mut self.test {
                    test.carried(index, res as u64);
                }
                self.send_block(slot);
            }
            Role::Control if res > 0 => {}
            _ => self.leave(slot),
        }
    }

    /// Ends a connection: at once if nothing of it is in flight, else when the last has completed.
    fn leave(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(&slot) else {
            return;
        };
        let role = std::mem::replace(&mut connection.role, Role::Leaving);
        if connection.in_flight == 0 {
            self.connections.remove(&slot);
            self.push(opcode::Close::new(types::Fixed(slot)).build(), CLOSE, slot);
        } else if role != Role::Leaving {
            let shutdown = opcode::Shutdown::new(types::Fixed(slot), libc::SHUT_RDWR);
            self.push(shutdown.build(), SHUTDOWN, slot);
        }
        if role == Role::Control {
            // A test ends with its control connection.
            let test = self.test.take().expect("a control connection has a test");
            for &slot in test.streams() {
                self.leave(slot);
            }
        }
    }

    fn push(&mut self, entry: squeue::Entry, kind: u64, slot: u32) {
        let entry = entry.user_data(kind << 32 | u64::from(slot));
        // SAFETY: a connection's buffers live until its requests have completed: it is removed when
        // none is in flight. The block of all streams lives as long as the ring.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring
                .submit()
                .expect("a full submission queue can be submitted");
        }
    }

    fn complete(&mut self, entry: squeue::Entry) -> io::Result<()> {
        self.push(entry, SETUP, 0);
        self.ring.submit_and_wait(1)?;
        match self.ring.completion().next().map(|cqe| cqe.result()) {
            Some(0..) => Ok(()),
            res => Err(io::Error::from_raw_os_error(-res.unwrap_or(-libc::EIO))),
        }
    }
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
    let mut server = Server::new(builder.build(256)?, port)?;
    println!("listening on port {port}");
    server.run()?;
    println!("{} tests run", server.tests);
    println!("{}", server.ring.counters()?);
    Ok(())
}

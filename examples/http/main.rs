//! A static HTTP server: the files of one folder, over ringwire.
//!
//!     http --interface eth1 --address 10.0.0.2/24 --port 80 --root DIRECTORY
//!
//! HTTP/1.1, GET and HEAD, one request after another on a connection that stays open.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use ringwire::{IoUring, cqueue, opcode, squeue, types};

mod response;

const LISTENER: types::Fixed = types::Fixed(0);
const SLOTS: u32 = 1024;
/// A request's head must fit.
const HEAD_BYTES: usize = 8192;

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: i32) {
    STOP.store(true, Ordering::Relaxed);
}

/// What a completion is of: the upper half of `user_data`; the lower is the connection's slot.
const SETUP: u64 = 0;
const ACCEPT: u64 = 1;
const RECEIVE: u64 = 2;
const SEND: u64 = 3;
const CLOSE: u64 = 4;

/// A connection: what has come of a request, and the response that is being sent.
struct Connection {
    head: Box<[u8; HEAD_BYTES]>,
    len: usize,
    response: Vec<u8>,
    close: bool,
}

struct Server {
    ring: IoUring,
    root: PathBuf,
    connections: HashMap<u32, Connection>,
    served: u64,
}

impl Server {
    fn new(ring: IoUring, root: PathBuf, port: u16) -> io::Result<Server> {
        let mut server = Server {
            ring,
            root,
            connections: HashMap::new(),
            served: 0,
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
                head: Box::new([0; HEAD_BYTES]),
                len: 0,
                response: Vec::new(),
                close: false,
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
        let room = &mut connection.head[connection.len..];
        let entry = opcode::Recv::new(types::Fixed(slot), room.as_mut_ptr(), room.len() as u32);
        self.push(entry.build(), RECEIVE, slot);
    }

    fn received(&mut self, slot: u32, res: i32) {
        let connection = self.connections.get_mut(&slot).expect("a connection");
        if res <= 0 {
            return self.close(slot);
        }
        connection.len += res as usize;
        let head = &connection.head[..connection.len];
        let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
            if connection.len < HEAD_BYTES {
                return self.receive(slot);
            }
            let response = response::error("431 Request Header Fields Too Large");
            connection.response = response::closing(response);
            connection.close = true;
            return self.send(slot);
        };
        (connection.response, connection.close) = response::answer(&head[..end], &self.root);
        // What came behind the head is the next request.
        connection.head.copy_within(end + 4..connection.len, 0);
        connection.len -= end + 4;
        self.send(slot);
    }

    fn send(&mut self, slot: u32) {
        let response = &self.connections[&slot].response;
        let entry = opcode::Send::new(types::Fixed(slot), response.as_ptr(), response.len() as u32);
        self.push(entry.flags(libc::MSG_WAITALL).build(), SEND, slot);
    }

    fn sent(&mut self, slot: u32, res: i32) {
        let connection = &self.connections[&slot];
        if connection.close || res != connection.response.len() as i32 {
            return self.close(slot);
        }
        self.served += 1;
        self.receive(slot);
    }

    fn close(&mut self, slot: u32) {
        self.connections.remove(&slot);
        self.push(opcode::Close::new(types::Fixed(slot)).build(), CLOSE, slot);
    }

    fn push(&mut self, entry: squeue::Entry, kind: u64, slot: u32) {
        let entry = entry.user_data(kind << 32 | u64::from(slot));
        // SAFETY: a connection's buffers live until its requests have completed: it is removed when
        // none is in flight.
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
            eprintln!("http: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = IoUring::builder();
    let (mut port, mut root) = (80, None);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or(format!("{name} takes a value"))?;
        match name.as_str() {
            "--interface" => drop(builder.interface(&value)),
            "--address" => drop(builder.address(value.parse()?)),
            "--port" => port = value.parse()?,
            "--root" => root = Some(Path::new(&value).canonicalize()?),
            _ => return Err(format!("{name} is not known").into()),
        }
    }
    let root = root.ok_or("usage: http --interface NAME --address IP/BITS --root DIRECTORY")?;
    let mut server = Server::new(builder.build(256)?, root, port)?;
    println!("listening on port {port}");
    server.run()?;
    println!("{} requests served", server.served);
    Ok(())
}

//! A static HTTP server: the files of one folder, over ringwire.
//!
//!     http --interface eth1 --port 80 --root DIRECTORY
//!
//! HTTP/1.1, GET and HEAD, one request after another on a connection that stays open.

use std::collections::HashMap;
use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringwire::IoUring;
use ringwire::owned::{BytesMut, Completed, Payload, Ring, Socket};

mod response;

const SLOTS: u32 = 1024;
const ENTRIES: u32 = 256;
/// Without an address the interface's own are shared with the kernel.
const USAGE: &str =
    "usage: http --interface NAME [--address IP/BITS]... [--port PORT] --root DIRECTORY";
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

/// A connection: what has come of a request, unless it is being received into, and whether it closes
/// after the response that is being sent.
struct Connection {
    head: BytesMut,
    close: bool,
}

struct Server {
    ring: Ring,
    listener: Socket,
    root: PathBuf,
    connections: HashMap<Socket, Connection>,
    served: u64,
}

impl Server {
    fn new(mut ring: Ring, root: PathBuf, port: u16) -> io::Result<Server> {
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
            root,
            connections: HashMap::new(),
            served: 0,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        while !STOP.load(Ordering::Relaxed) {
            let pause = Duration::from_millis(100);
            self.ring.submit_and_wait(1, Some(pause))?;
            while let Some(completed) = self.ring.completion() {
                // Each completion has two operations for an answer, at most.
                self.ring.reserve(2)?;
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
            self.ring.accept_multishot(ACCEPT << 32, self.listener)?;
        }
        if let Ok(socket) = completed.socket() {
            let connection = Connection {
                head: BytesMut::new(),
                close: false,
            };
            self.connections.insert(socket, connection);
            self.receive(socket)?;
        }
        Ok(())
    }

    fn receive(&mut self, socket: Socket) -> io::Result<()> {
        let connection = self.connections.get_mut(&socket).expect("a connection");
        let mut head = std::mem::take(&mut connection.head);
        head.reserve(HEAD_BYTES - head.len());
        self.ring.recv(of(RECEIVE, socket), socket, head, 0)?;
        Ok(())
    }

    fn received(&mut self, socket: Socket, completed: Completed) -> io::Result<()> {
        let connection = self.connections.get_mut(&socket).expect("a connection");
        let head = completed.payload.and_then(Payload::into_bytes_mut);
        connection.head = head.expect("what was received into");
        if completed.result.unwrap_or(0) == 0 {
            return self.close(socket);
        }
        self.proceed(socket)
    }

    /// Answers the next request if its head has come, or receives more of it.
    fn proceed(&mut self, socket: Socket) -> io::Result<()> {
        let connection = self.connections.get_mut(&socket).expect("a connection");
        let head = &mut connection.head;
        let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
            if head.len() < HEAD_BYTES {
                return self.receive(socket);
            }
            let response = response::error("431 Request Header Fields Too Large");
            connection.close = true;
            return self.send(socket, response::closing(response));
        };
        // What came behind the head is the next request.
        let request = head.split_to(end + 4);
        let (response, close) = response::answer(&request[..end], &self.root);
        connection.close = close;
        self.send(socket, response)
    }

    fn send(&mut self, socket: Socket, response: Vec<u8>) -> io::Result<()> {
        let user_data = of(SEND, socket);
        self.ring
            .send(user_data, socket, response, libc::MSG_WAITALL)?;
        Ok(())
    }

    fn sent(&mut self, socket: Socket, completed: Completed) -> io::Result<()> {
        let connection = &self.connections[&socket];
        let response = completed.payload.expect("what was sent");
        let whole = completed
            .result
            .is_ok_and(|sent| sent as usize == response.len());
        if connection.close || !whole {
            return self.close(socket);
        }
        self.served += 1;
        self.proceed(socket)
    }

    fn close(&mut self, socket: Socket) -> io::Result<()> {
        self.connections.remove(&socket);
        self.ring.close(of(CLOSE, socket), socket)?;
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
    let root = root.ok_or(USAGE)?;
    let ring = Ring::new(&builder, ENTRIES, SLOTS)?;
    let mut server = Server::new(ring, root, port)?;
    println!("listening on port {port}");
    server.run()?;
    println!("{} requests served", server.served);
    Ok(())
}

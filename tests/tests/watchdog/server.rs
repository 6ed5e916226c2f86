//! A ring that echoes one connection and watches its interface, driven by the test's own thread.

use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringwire::events::{self, Event};
use ringwire::{Builder, IoUring, RxChecksum, opcode, squeue, types};
use ringwire_tests::net::{RING_INTERFACE, RING_V4, Veth};

/// The longest that anything may take: outages make TCP wait.
const PATIENCE: Duration = Duration::from_secs(30);
pub const PORT: u16 = 7100;

const OTHER: u64 = 1;
const WATCH: u64 = 2;
const ACCEPTED: u64 = 3;
const RECEIVED: u64 = 4;
const SENT: u64 = 5;

/// Whose the ring's addresses are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    Owned,
    Shared,
}

/// What a test's ring is made with.
pub fn builder(addresses: Addresses) -> Builder {
    let mut builder = IoUring::builder();
    builder
        .interface(RING_INTERFACE)
        .rx_checksum(RxChecksum::AcceptPartial)
        .detect_duplicates(false);
    if addresses == Addresses::Owned {
        builder.address(format!("{RING_V4}/24").parse().expect("an address"));
    }
    builder
}

pub struct Server {
    pub ring: IoUring,
    buffer: Vec<u8>,
    pub echoed: usize,
    events: Vec<Event>,
    /// What the watch ended with.
    pub ended: Option<i32>,
}

impl Server {
    /// A watching ring with a listener. The calling thread is in the ring's namespace.
    pub fn new(builder: &Builder) -> Server {
        let mut server = Server {
            ring: builder.build(16).expect("a ring"),
            buffer: vec![0; 65_536],
            echoed: 0,
            events: Vec::new(),
            ended: None,
        };
        let submitter = server.ring.submitter();
        submitter.register_files_sparse(4).expect("a table");
        server.push(events::watch().user_data(WATCH));
        server.await_event(Event::Up);
        server.listen();
        server
    }

    fn listen(&mut self) {
        let slot = |slot| types::DestinationSlot::try_from_slot_target(slot).ok();
        let address = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: PORT.to_be(),
            sin_addr: libc::in_addr { s_addr: 0 },
            sin_zero: [0; 8],
        };
        let link = squeue::Flags::IO_LINK;
        let socket = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0);
        let bind = opcode::Bind::new(types::Fixed(0), (&raw const address).cast(), 16);
        let accept =
            opcode::Accept::new(types::Fixed(0), std::ptr::null_mut(), std::ptr::null_mut());
        self.push(
            socket
                .file_index(slot(0))
                .build()
                .flags(link)
                .user_data(OTHER),
        );
        self.push(bind.build().flags(link).user_data(OTHER));
        let listen = opcode::Listen::new(types::Fixed(0), 4).build();
        self.push(listen.flags(link).user_data(OTHER));
        self.push(accept.file_index(slot(1)).build().user_data(ACCEPTED));
        self.turn();
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: what the entries name lives as long as the server, or until the submit that follows.
        unsafe { self.ring.submission().push(&entry) }.expect("room in the queue");
    }

    fn receive(&mut self) {
        let (at, len) = (self.buffer.as_mut_ptr(), self.buffer.len() as u32);
        let receive = opcode::Recv::new(types::Fixed(1), at, len).build();
        self.push(receive.user_data(RECEIVED));
    }

    /// Enters the ring once, for a moment at most, and serves what has completed.
    pub fn turn(&mut self) {
        let moment = types::Timespec::new().nsec(10_000_000);
        let arguments = types::SubmitArgs::new().timespec(&moment);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Err(error) if error.raw_os_error() != Some(libc::ETIME) => panic!("{error}"),
            _ => {}
        }
        let completions: Vec<_> = self.ring.completion().collect();
        for completion in completions {
            let result = completion.result();
            match completion.user_data() {
                WATCH if !ringwire::cqueue::more(completion.flags()) => self.ended = Some(result),
                WATCH => self
                    .events
                    .push(Event::from_result(result).expect("an event")),
                ACCEPTED => {
                    assert_eq!(result, 0, "a connection in slot 1");
                    self.receive();
                }
                RECEIVED if result > 0 => {
                    let send =
                        opcode::Send::new(types::Fixed(1), self.buffer.as_ptr(), result as u32);
                    let send = send.flags(libc::MSG_WAITALL).build();
                    self.push(send.user_data(SENT));
                }
                RECEIVED => assert_eq!(result, 0, "the end, and no error"),
                SENT => {
                    assert!(result > 0, "a send: {result}");
                    self.echoed += result as usize;
                    self.receive();
                }
                _ => assert!(result >= 0, "{result}"),
            }
        }
    }

    /// Serves until it is so.
    #[track_caller]
    pub fn serve_until(&mut self, mut done: impl FnMut(&mut Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{self:?}");
            self.turn();
        }
    }

    /// Serves until the watch is told of an event; returns those that came before.
    #[track_caller]
    pub fn await_event(&mut self, event: Event) -> Vec<Event> {
        self.serve_until(|server| server.events.contains(&event));
        let at = self.events.iter().position(|&told| told == event);
        let mut before: Vec<Event> = self.events.drain(..=at.unwrap_or(0)).collect();
        before.pop();
        before
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("echoed", &self.echoed)
            .field("events", &self.events)
            .field("ended", &self.ended)
            .field(
                "report",
                &self.ring.report().map(|report| report.to_string()),
            )
            .field("nic", &self.ring.counters().map(|counters| counters.nic))
            .finish_non_exhaustive()
    }
}

/// A client of the peer's, which sends so many bytes and reads them back.
pub struct Client {
    thread: JoinHandle<()>,
}

impl Client {
    pub fn start(veth: &Veth, bytes: usize) -> Client {
        let thread = veth.peer_thread(move || exchange(bytes));
        Client { thread }
    }

    /// Whether it has read all of its bytes.
    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    pub fn join(self) {
        self.thread.join().expect("every byte came back");
    }
}

fn exchange(bytes: usize) {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect((RING_V4, PORT)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut writer = stream.try_clone().expect("a second handle");
    let pattern = |at: usize| (at * 7 + at / 251) as u8;
    let writing = std::thread::spawn(move || {
        let all: Vec<u8> = (0..bytes).map(pattern).collect();
        writer.write_all(&all).expect("room, in time");
    });
    let mut back = vec![0; bytes];
    stream.read_exact(&mut back).expect("all that was sent");
    writing.join().expect("the writer");
    let wrong = (0..bytes).find(|&at| back[at] != pattern(at));
    assert_eq!(wrong, None, "the first byte that is another");
}

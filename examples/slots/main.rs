//! Sends a file to several receivers at once, a frame of it at a time, by notification slots: each frame is read into
//! memory of the ring's, goes from there to all of them, and one notification says that it may be written again.
//!
//!     slots --interface eth1 --file video.ts --udp 10.0.0.9:5004 --tcp 10.0.0.8:5004

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringwire::slots::{self, SendZc};
use ringwire::{Area, Builder, Counters, IoUring, opcode, squeue, types};

const USAGE: &str = "usage: slots --interface NAME --file PATH
  --address IP/BITS  an address that no host on the link has; repeatable (default: the interface's own,
                     shared with the kernel)
  --udp IP:PORT      a receiver of datagrams; repeatable
  --tcp IP:PORT      a receiver of a stream; repeatable
  --frames N         frames to send at most (default: the whole file)
  --fps N            frames a second (default: 50)
  --no-dad           no duplicate address detection: start at once";

/// Bytes of a piece, a packet's payload; pieces of a frame; frames that are filled and sent by turns. A frame is
/// bound to the notification slot of its number, whose tag is that number.
const PIECE_BYTES: u32 = 1400;
const PIECES: usize = 24;
const FRAMES: usize = 2;

/// `user_data` of all requests: no notification has it.
const REQUEST: u64 = u64::MAX;

struct Sender {
    ring: IoUring,
    frames: [Vec<Area>; FRAMES],
    /// Of each frame, whether its notification has yet to come.
    busy: [bool; FRAMES],
    sockets: u32,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    frames: u64,
    /// Of payload, to all receivers together.
    bytes: u64,
    notifications: u64,
    copied: u64,
}

impl Sender {
    fn new(options: &Options) -> Result<Sender, Box<dyn Error>> {
        // A piece has room for the headers of one packet in front of it. What goes to the other receivers meanwhile has
        // them beside it, also where the kernel copies, and a copy of ours would cost less than another descriptor.
        let mut builder = options.builder.clone();
        builder.registered_slots((FRAMES * PIECES) as u32, PIECE_BYTES);
        let ring = builder.scatter_from(0).build(256)?;
        println!("{}", ring.report()?);
        let mut pieces = ring.take_slots(0).expect("the slots that were asked for");
        let second = pieces.split_off(PIECES);
        let tags: Vec<u64> = (0..FRAMES as u64).collect();
        ring.submitter().register_slots(&tags)?;
        let count = options.receivers.len() as u32;
        ring.submitter().register_files_sparse(count)?;
        let mut sender = Sender {
            ring,
            frames: [pieces, second],
            busy: [false; FRAMES],
            sockets: count,
            tally: Tally::default(),
        };
        for (socket, &(kind, to)) in (0..count).zip(&options.receivers) {
            sender.connect(socket, kind, to)?;
        }
        Ok(sender)
    }

    fn connect(&mut self, socket: u32, kind: i32, to: SocketAddr) -> Result<(), Box<dyn Error>> {
        let domain = match to {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        };
        let slot = types::DestinationSlot::try_from_slot_target(socket);
        let open = opcode::Socket::new(domain, kind, 0)
            .file_index(Some(slot.map_err(|_| "too many receivers")?));
        let (address, len) = sockaddr(to);
        let connect = opcode::Connect::new(types::Fixed(socket), address.as_ptr().cast(), len);
        let entries = [open.build().flags(squeue::Flags::IO_LINK), connect.build()];
        for entry in entries {
            self.push(entry)?;
        }
        self.ring.submit_and_wait(2)?;
        for done in self.ring.completion() {
            if done.result() < 0 {
                return Err(format!("{to}: {}", failure(done.result())).into());
            }
        }
        Ok(())
    }

    /// Sends the file, a frame in each interval.
    fn run(&mut self, options: &Options) -> Result<(), Box<dyn Error>> {
        let mut file = File::open(&options.file)?;
        let mut due = Instant::now();
        while self.tally.frames < options.frames {
            let frame = self.free_frame(due)?;
            let len = fill(&mut self.frames[frame], &mut file)?;
            if len == 0 {
                break;
            }
            self.send(frame, len)?;
            // One that was late is not made up for: receivers have little room.
            due = Instant::now() + options.interval;
        }
        while self.busy.contains(&true) {
            self.wait(None)?;
        }
        self.tally.copied = copied(&self.ring.counters()?);
        Ok(())
    }

    /// A frame whose memory nothing needs, when the time has come.
    fn free_frame(&mut self, due: Instant) -> Result<usize, Box<dyn Error>> {
        loop {
            let free = self.busy.iter().position(|&busy| !busy);
            let left = due.saturating_duration_since(Instant::now());
            match free {
                Some(frame) if left.is_zero() => return Ok(frame),
                Some(_) => self.wait(Some(left))?,
                None => self.wait(None)?,
            }
        }
    }

    /// Sends so many bytes of a frame to all, silently, and closes the set.
    fn send(&mut self, frame: usize, len: usize) -> io::Result<()> {
        let mut left = len;
        for index in 0..len.div_ceil(PIECE_BYTES as usize) {
            let piece = &self.frames[frame][index];
            let (from, count) = (piece.as_ptr(), left.min(piece.len()) as u32);
            left -= count as usize;
            for socket in 0..self.sockets {
                let send = SendZc::new(types::Fixed(socket), frame as u16, from, count);
                self.push_silent(send.flags(libc::MSG_WAITALL).build())?;
            }
        }
        self.tally.bytes += len as u64 * u64::from(self.sockets);
        self.push_silent(slots::flush(frame as u32, 1, 0))?;
        self.busy[frame] = true;
        self.tally.frames += 1;
        Ok(())
    }

    /// Submits, and waits for a notification, or for so long.
    fn wait(&mut self, at_most: Option<Duration>) -> Result<(), Box<dyn Error>> {
        let time = types::Timespec::from(at_most.unwrap_or(Duration::from_secs(3600)));
        let args = types::SubmitArgs::new().timespec(&time);
        match self.ring.submitter().submit_with_args(1, &args) {
            Err(error) if error.raw_os_error() != Some(libc::ETIME) => return Err(error.into()),
            _ => {}
        }
        for done in self.ring.completion() {
            match done.user_data() {
                // Only what fails is heard of.
                REQUEST => return Err(failure(done.result()).into()),
                tag => {
                    self.busy[tag as usize] = false;
                    self.tally.notifications += 1;
                }
            }
        }
        Ok(())
    }

    /// Queues a request of which only its failure is heard.
    fn push_silent(&mut self, entry: squeue::Entry) -> io::Result<()> {
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS))
    }

    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        let entry = entry.user_data(REQUEST);
        // SAFETY: an address is read when its entry is submitted, which `connect` waits for. A frame is written again
        // only when its notification has come, and its memory lives as long as the ring needs it.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }
}

/// Reads as much of the file as fits; returns how many bytes.
fn fill(frame: &mut [Area], file: &mut File) -> io::Result<usize> {
    let mut len = 0;
    for piece in frame {
        let mut at = 0;
        while at < piece.len() {
            match file.read(&mut piece[at..])? {
                0 => return Ok(len + at),
                count => at += count,
            }
        }
        len += at;
    }
    Ok(len)
}

/// Packets whose payload was copied, for whatever reason.
fn copied(counters: &Counters) -> u64 {
    let stack = &counters.stack;
    stack.tx_copied_pieces
        + stack.tx_copied_small
        + stack.tx_copied_local
        + stack.tx_copied_neighbour
        + stack.tx_copied_headroom
        + stack.tcp_tx_copied
}

fn failure(result: i32) -> io::Error {
    io::Error::from_raw_os_error(-result)
}

/// A `sockaddr` in its C form, and its length.
fn sockaddr(address: SocketAddr) -> ([u8; 28], u32) {
    let mut bytes = [0; 28];
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    let (family, len) = match address {
        SocketAddr::V4(v4) => {
            bytes[4..8].copy_from_slice(&v4.ip().octets());
            (libc::AF_INET, 16)
        }
        SocketAddr::V6(v6) => {
            bytes[8..24].copy_from_slice(&v6.ip().octets());
            (libc::AF_INET6, 28)
        }
    };
    bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    (bytes, len)
}

struct Options {
    builder: Builder,
    file: String,
    /// Kinds of socket, and where to.
    receivers: Vec<(i32, SocketAddr)>,
    frames: u64,
    interval: Duration,
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        builder: IoUring::builder(),
        file: String::new(),
        receivers: Vec::new(),
        frames: u64::MAX,
        interval: Duration::from_secs(1) / 50,
    };
    while let Some(name) = args.next() {
        if name == "--no-dad" {
            options.builder.detect_duplicates(false);
            continue;
        }
        let value = args.next().ok_or(format!("{name} takes a value"))?;
        match name.as_str() {
            "--interface" => drop(options.builder.interface(&value)),
            "--address" => drop(options.builder.address(value.parse()?)),
            "--file" => options.file = value,
            "--udp" => options.receivers.push((libc::SOCK_DGRAM, value.parse()?)),
            "--tcp" => options.receivers.push((libc::SOCK_STREAM, value.parse()?)),
            "--frames" => options.frames = value.parse()?,
            "--fps" => {
                let rate: u32 = value.parse()?;
                options.interval = Duration::from_secs(1) / rate.max(1);
            }
            _ => return Err(format!("{name} is not known").into()),
        }
    }
    if options.file.is_empty() || options.receivers.is_empty() {
        return Err("a file and a receiver are needed".into());
    }
    Ok(options)
}

fn send_file(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut sender = Sender::new(options)?;
    sender.run(options)?;
    println!("{:?}", sender.tally);
    println!("{}", sender.ring.counters()?);
    Ok(())
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("slots: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match send_file(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slots: {error}");
            ExitCode::FAILURE
        }
    }
}

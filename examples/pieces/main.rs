//! Sends a file over TCP, in pieces of 4 KiB of a registered area, by bundles of them.
//!
//!     pieces --interface eth1 --to 10.0.0.1:9000 --file PATH
//!
//! The file is read into the area, whose pieces go into a buffer group; the NIC reads them where they lie. A bundle's
//! notification says that its pieces can be filled again.

use std::collections::VecDeque;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU16, Ordering};

use ringwire::provided::{entry_addr, send_zc};
use ringwire::{Area, Builder, IoUring, cqueue, opcode, squeue, types};

const USAGE: &str =
    "usage: pieces --interface NAME [--address IP/BITS]... --to IP:PORT --file PATH [--no-dad]";

const PIECE: usize = 4096;
const PIECES: u16 = 1024;
/// What a bundle takes at most: so much comes back with each notification.
const PACE: usize = 64 * PIECE;

const GROUP: u16 = 0;
/// The group's ring is the engine's memory (`IOU_PBUF_RING_MMAP`).
const LENT_MEMORY: u16 = 1;
/// What a notification says of memory that was copied (`IORING_NOTIF_USAGE_ZC_COPIED`).
const COPIED: i32 = i32::MIN;
const SOCKET: types::Fixed = types::Fixed(0);

/// What was sent.
#[derive(Debug, Default)]
struct Tally {
    bytes: u64,
    bundles: u64,
    copied_bundles: u64,
}

/// Pieces that were sent together.
struct Bundle {
    first: u16,
    pieces: u16,
    notified: bool,
}

struct Sender {
    ring: IoUring,
    area: Area,
    entries: *mut types::BufRingEntry,
    tail: u16,
    /// Pieces that can be filled, from the tail on.
    free: u16,
    /// Bytes in the group.
    given: usize,
    /// Bundles whose pieces are not free, in the order of their pieces.
    bundles: VecDeque<Bundle>,
    /// A bundle has not completed.
    waits: bool,
    tally: Tally,
}

impl Sender {
    fn new(builder: &Builder) -> Result<Sender, Box<dyn Error>> {
        let area_bytes = PIECE * usize::from(PIECES);
        let mut builder = builder.clone();
        // Also where the kernel copies, and a copy of ours would cost less than another descriptor.
        builder.registered_area(area_bytes).scatter_from(0);
        let ring = builder.build(64)?;
        println!("{}", ring.report()?);
        let area = ring.take_area(0).expect("the area that was asked for");
        let submitter = ring.submitter();
        submitter.register_files_sparse(1)?;
        let memory = libc::iovec {
            iov_base: area.as_ptr().cast_mut().cast(),
            iov_len: area.len(),
        };
        // SAFETY: the area lives as long as what uses it; the buffer ring has no memory of its own.
        unsafe {
            submitter.register_buffers(&[memory])?;
            submitter.register_buf_ring_with_flags(0, PIECES, GROUP, LENT_MEMORY)?;
        }
        let entries = submitter.buf_ring_memory(GROUP)?;
        Ok(Sender {
            ring,
            area,
            entries,
            tail: 0,
            free: PIECES,
            given: 0,
            bundles: VecDeque::new(),
            waits: false,
            tally: Tally::default(),
        })
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what the entries of this program point at outlives them; bundles are waited for.
        unsafe { self.ring.submission().push(entry) }.map_err(io::Error::other)
    }

    /// Runs a request alone.
    fn run(&mut self, entry: &squeue::Entry) -> io::Result<i32> {
        self.push(entry)?;
        self.ring.submit_and_wait(1)?;
        let completion = self.ring.completion().next().expect("it was waited for");
        result(completion.result())
    }

    fn connect(&mut self, to: SocketAddr) -> io::Result<()> {
        let (name, len) = raw(to);
        let domain = i32::from(name.ss_family);
        let slot = types::DestinationSlot::try_from_slot_target(SOCKET.0).expect("a small slot");
        let socket = opcode::Socket::new(domain, libc::SOCK_STREAM, 0).file_index(Some(slot));
        self.run(&socket.build())?;
        self.run(&opcode::Connect::new(SOCKET, (&raw const name).cast(), len).build())?;
        Ok(())
    }

    /// Puts the next piece, of which so many bytes are filled, into the group; its number is its id.
    fn give(&mut self, len: usize) {
        let piece = self.tail % PIECES;
        // SAFETY: the number is inside the ring, which is there until the engine goes; its tail is a u16 that the
        // other side reads atomically.
        unsafe {
            let entry = &mut *self.entries.add(piece.into());
            entry.set_addr(entry_addr(0, (usize::from(piece) * PIECE) as u64));
            entry.set_len(len as u32);
            entry.set_bid(piece);
            self.tail = self.tail.wrapping_add(1);
            let tail = types::BufRingEntry::tail(self.entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
        self.free -= 1;
        self.given += len;
    }

    /// Fills free pieces; whether the file has ended.
    fn fill(&mut self, file: &mut File) -> io::Result<bool> {
        while self.free > 0 {
            let at = usize::from(self.tail % PIECES) * PIECE;
            let len = read_full(file, &mut self.area[at..at + PIECE])?;
            if len > 0 {
                self.give(len);
            }
            if len < PIECE {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn send(&mut self, mut file: File) -> io::Result<()> {
        let mut ended = false;
        while !ended || self.given > 0 || !self.bundles.is_empty() {
            if !ended {
                ended = self.fill(&mut file)?;
            }
            // The next one takes what has come in the meantime.
            if !self.waits && self.given > 0 {
                let bundle = send_zc(SOCKET, GROUP, PACE as u32).bundle().report_usage();
                self.push(&bundle.build())?;
                self.waits = true;
            }
            if self.waits || !self.bundles.is_empty() {
                self.ring.submit_and_wait(1)?;
            }
            let completions: Vec<_> = self.ring.completion().collect();
            completions.iter().try_for_each(|cqe| self.completed(cqe))?;
        }
        Ok(())
    }

    fn completed(&mut self, cqe: &cqueue::Entry) -> io::Result<()> {
        let first = cqueue::buffer_select(cqe.flags());
        if cqueue::notif(cqe.flags()) {
            self.tally.copied_bundles += u64::from(cqe.result() == COPIED);
            self.notified(first);
            return Ok(());
        }
        let sent = result(cqe.result())? as usize;
        self.bundles.push_back(Bundle {
            first: first.expect("what was sent has its first piece named"),
            pieces: sent.div_ceil(PIECE) as u16,
            notified: false,
        });
        self.waits = false;
        self.given -= sent;
        self.tally.bytes += sent as u64;
        self.tally.bundles += 1;
        Ok(())
    }

    /// A bundle's memory is not needed any more. Notifications come in any order; pieces are filled in theirs.
    fn notified(&mut self, first: Option<u16>) {
        let mut bundles = self.bundles.iter_mut();
        if let Some(bundle) = bundles.find(|bundle| Some(bundle.first) == first) {
            bundle.notified = true;
        }
        while let Some(bundle) = self.bundles.front()
            && bundle.notified
        {
            self.free += bundle.pieces;
            self.bundles.pop_front();
        }
    }

    /// Ends the stream, and waits until the peer has ended its own.
    fn close(&mut self) -> io::Result<()> {
        self.run(&opcode::Shutdown::new(SOCKET, libc::SHUT_WR).build())?;
        let mut rest = [0u8; 512];
        let recv = opcode::Recv::new(SOCKET, rest.as_mut_ptr(), rest.len() as u32).build();
        while self.run(&recv)? > 0 {}
        self.run(&opcode::Close::new(SOCKET).build())?;
        Ok(())
    }
}

/// Reads until the memory is full or the file has ended; only its last piece is shorter than others.
fn read_full(file: &mut File, to: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < to.len() {
        match file.read(&mut to[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn result(res: i32) -> io::Result<i32> {
    if res < 0 {
        Err(io::Error::from_raw_os_error(-res))
    } else {
        Ok(res)
    }
}

/// A `sockaddr` and its length.
fn raw(address: SocketAddr) -> (libc::sockaddr_storage, u32) {
    // SAFETY: all zeroes is a valid sockaddr_storage.
    let mut name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let len = match address {
        SocketAddr::V4(v4) => {
            // SAFETY: a sockaddr_storage has room and alignment for any socket address.
            let to = unsafe { &mut *(&raw mut name).cast::<libc::sockaddr_in>() };
            to.sin_port = v4.port().to_be();
            to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            to.sin_family = libc::AF_INET as u16;
            size_of_val(to)
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let to = unsafe { &mut *(&raw mut name).cast::<libc::sockaddr_in6>() };
            to.sin6_port = v6.port().to_be();
            to.sin6_addr.s6_addr = v6.ip().octets();
            to.sin6_family = libc::AF_INET6 as u16;
            size_of_val(to)
        }
    };
    (name, len as u32)
}

struct Options {
    builder: Builder,
    to: SocketAddr,
    file: File,
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let mut builder = IoUring::builder();
    let (mut to, mut file) = (None, None);
    while let Some(name) = args.next() {
        if name == "--no-dad" {
            builder.detect_duplicates(false);
            continue;
        }
        let value = args.next().ok_or(format!("{name} takes a value"))?;
        match name.as_str() {
            "--interface" => drop(builder.interface(&value).clone()),
            "--address" => drop(builder.address(value.parse()?).clone()),
            "--to" => to = Some(value.parse()?),
            "--file" => {
                file = Some(File::open(&value).map_err(|error| format!("{value}: {error}"))?);
            }
            _ => return Err(format!("{name} is not known").into()),
        }
    }
    Ok(Options {
        builder,
        to: to.ok_or("--to is missing")?,
        file: file.ok_or("--file is missing")?,
    })
}

fn send(options: Options) -> Result<(), Box<dyn Error>> {
    let mut sender = Sender::new(&options.builder)?;
    sender.connect(options.to)?;
    sender.send(options.file)?;
    sender.close()?;
    println!("{:?}", sender.tally);
    println!("{}", sender.ring.counters()?);
    Ok(())
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("pieces: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match send(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pieces: {error}");
            ExitCode::FAILURE
        }
    }
}

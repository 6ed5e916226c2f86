//! A bridge between two interfaces that impairs what passes: two AF_PACKET sockets and a thread.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::impair::{Counts, Impairment, Line};

/// What one of its sockets holds until the thread reads it: seconds at any rate in use.
const RECEIVE_BUFFER_BYTES: libc::c_int = 64 << 20;
/// Frames read from one side before due ones are sent.
const BURST: usize = 64;
const FRAME_BYTES: usize = 65_536;

/// A running bridge; it ends when this is dropped.
pub struct Middlebox {
    stop: OwnedFd,
    thread: Option<JoinHandle<Report>>,
}

/// What a bridge did.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// From the first interface to the second, and back.
    pub lines: [Counts; 2],
    /// Frames that the bridge itself lost, because it was too slow. Anything but 0 spoils a measurement.
    pub overruns: u64,
    /// How late a frame was sent on after it was due, on average: what the machine adds to the delay.
    pub mean_lateness: Duration,
}

impl Middlebox {
    /// Bridges two interfaces of this thread's network namespace.
    ///
    /// # Errors
    /// As socket(2), bind(2) and eventfd(2) give them.
    pub fn start(interfaces: [&str; 2], impairment: Impairment) -> io::Result<Middlebox> {
        let sockets = [packet_socket(interfaces[0])?, packet_socket(interfaces[1])?];
        // SAFETY: a call without pointers; the new descriptor has no other owner.
        let stop = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
            OwnedFd::from_raw_fd(checked(fd)?)
        };
        let bridge = Bridge {
            sockets,
            stop: stop.try_clone()?,
            lines: [Line::new(impairment, 0), Line::new(impairment, 1)],
            start: Instant::now(),
            unsent: 0,
            sent: 0,
            lateness: Duration::ZERO,
        };
        let thread = std::thread::Builder::new()
            .name("middlebox".to_owned())
            .spawn(move || bridge.run())?;
        Ok(Middlebox {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends it, and says what it did.
    ///
    /// # Panics
    /// When its thread has: an interface went away, or a system call failed.
    pub fn finish(mut self) -> Report {
        self.stop()
            .expect("it runs until now")
            .expect("the bridge's thread")
    }

    fn stop(&mut self) -> Option<std::thread::Result<Report>> {
        let thread = self.thread.take()?;
        let one = 1u64;
        // SAFETY: eight readable bytes. An eventfd that is written once has room.
        unsafe { libc::write(self.stop.as_raw_fd(), (&raw const one).cast(), 8) };
        Some(thread.join())
    }
}

impl Drop for Middlebox {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Bridge {
    sockets: [OwnedFd; 2],
    stop: OwnedFd,
    /// Line N begins at socket N.
    lines: [Line; 2],
    start: Instant,
    unsent: u64,
    sent: u64,
    /// Of all frames together.
    lateness: Duration,
}

impl Bridge {
    fn run(mut self) -> Report {
        // SAFETY: no pointers: timers of this thread are as exact as the kernel has them (PR_SET_TIMERSLACK).
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
        let mut buffer = vec![0; FRAME_BYTES];
        while !self.wait() {
            for side in 0..2 {
                self.receive(side, &mut buffer);
            }
            for side in 0..2 {
                self.send_due(side);
            }
        }
        let dropped: u64 = self.sockets.iter().map(dropped_by_kernel).sum();
        Report {
            lines: [self.lines[0].counts(), self.lines[1].counts()],
            overruns: self.unsent + dropped,
            mean_lateness: self.lateness.div_f64(self.sent.max(1) as f64),
        }
    }

    /// Sleeps until something has come or is due; whether it is to stop.
    fn wait(&self) -> bool {
        let due = self.lines.iter().filter_map(Line::next_due).min();
        let left = due.map(|due| due.saturating_sub(self.start.elapsed()));
        let time = left.map(|left| libc::timespec {
            tv_sec: left.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(left.subsec_nanos()),
        });
        let fds = [&self.sockets[0], &self.sockets[1], &self.stop];
        let mut polls = fds.map(|fd| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the array and the time live across the call.
        unsafe {
            libc::ppoll(
                polls.as_mut_ptr(),
                polls.len() as libc::nfds_t,
                time,
                std::ptr::null(),
            )
        };
        polls[2].revents != 0
    }

    fn receive(&mut self, side: usize, buffer: &mut [u8]) {
        for _ in 0..BURST {
            // SAFETY: the buffer is writable for its length.
            let got = unsafe {
                let fd = self.sockets[side].as_raw_fd();
                libc::recv(
                    fd,
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(got) {
                Ok(len) => self.lines[side].offer(self.start.elapsed(), &buffer[..len]),
                Err(_) => {
                    let error = io::Error::last_os_error();
                    assert!(retry(&error), "reading a frame: {error}");
                    return;
                }
            }
        }
    }

    fn send_due(&mut self, side: usize) {
        let now = self.start.elapsed();
        while let Some(due) = self.lines[side].next_due().filter(|due| *due <= now) {
            let frame = self.lines[side].take(now).expect("a frame is due");
            self.lateness += now - due;
            self.sent += 1;
            // SAFETY: the frame is readable for its length.
            let sent = unsafe {
                let fd = self.sockets[1 - side].as_raw_fd();
                libc::send(fd, frame.as_ptr().cast(), frame.len(), 0)
            };
            self.unsent += u64::from(sent < 0);
        }
    }
}

fn retry(error: &io::Error) -> bool {
    // ENETDOWN is said once when a link goes down: at the end, when the namespaces go.
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN)
    )
}

/// A socket that gets every frame that arrives on an interface, and none that leaves (packet(7)).
fn packet_socket(interface: &str) -> io::Result<OwnedFd> {
    // Not in libc 0.2: <linux/if_packet.h>, since Linux 4.20.
    const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
    let index = ringwire_xsk::Interface::by_name(interface)
        .map_err(io::Error::other)?
        .index;
    // No protocol until it is bound, so that nothing of another interface comes.
    // SAFETY: a call without pointers; the new descriptor has no other owner.
    let fd = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        OwnedFd::from_raw_fd(checked(fd)?)
    };
    set(&fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1)?;
    set(
        &fd,
        libc::SOL_SOCKET,
        libc::SO_RCVBUFFORCE,
        &RECEIVE_BUFFER_BYTES,
    )?;
    let promiscuous = libc::packet_mreq {
        mr_ifindex: index as libc::c_int,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(
        &fd,
        libc::SOL_PACKET,
        libc::PACKET_ADD_MEMBERSHIP,
        &promiscuous,
    )?;
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as libc::c_int;
    let len = size_of_val(&address) as u32;
    // SAFETY: the address is readable for its length.
    checked(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(fd)
}

fn set<T>(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as u32;
    // SAFETY: the value is readable for its length.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            len,
        )
    };
    checked(result).map(drop)
}

/// Frames that found the socket's buffer full.
fn dropped_by_kernel(fd: &OwnedFd) -> u64 {
    let mut stats = [0u32; 2]; // struct tpacket_stats: tp_packets, tp_drops
    let mut len = size_of_val(&stats) as u32;
    // SAFETY: the value is writable for its length.
    let result = unsafe {
        let value = stats.as_mut_ptr().cast();
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            value,
            &raw mut len,
        )
    };
    assert_eq!(
        result,
        0,
        "PACKET_STATISTICS: {}",
        io::Error::last_os_error()
    );
    stats[1].into()
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

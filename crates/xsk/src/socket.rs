//! AF_XDP sockets (Linux `net/xdp/xsk.c`): one for each NIC queue, all over one UMEM.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use ringwire_umem::Umem;

use crate::error::Error;
use crate::ring::{Consumer, Entry, Layout, Producer, Rings};

/// How often binding a queue that is still being torn down is tried again, and after how long.
const BUSY_TRIES: u32 = 20;
const BUSY_WAIT: Duration = Duration::from_millis(100);

/// How a socket may be bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindMode {
    /// Without copies where the driver can, else with.
    #[default]
    Auto,
    /// With copies.
    Copy,
}

/// How packets get between the NIC and UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The NIC reads and writes UMEM.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

/// What waking the kernel came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kick {
    /// It took what it could.
    Done,
    /// It was short of something: try again later.
    Retry,
}

/// What a socket is made for.
#[derive(Debug)]
pub struct QueueConfig<'a> {
    /// The interface's index.
    pub ifindex: u32,
    /// Its name, for errors.
    pub ifname: &'a str,
    /// The NIC queue.
    pub queue: u32,
    /// The memory.
    pub umem: &'a Arc<Umem>,
    /// The socket that registered the UMEM, for every one but the first.
    pub shared_with: Option<&'a Socket>,
    /// Sizes of the rings, powers of two.
    pub rx_entries: u32,
    /// As above.
    pub tx_entries: u32,
    /// As above.
    pub fill_entries: u32,
    /// As above.
    pub completion_entries: u32,
    /// Addresses to receive into, in the fill ring before the socket is bound.
    pub fill: &'a [u64],
    /// Copies or not.
    pub mode: BindMode,
    /// Whether packets may span several descriptors (`XDP_USE_SG`), if the kernel can.
    pub scatter: bool,
}

/// What the kernel counted of a socket (`struct xdp_statistics`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets dropped for other reasons than a full ring or an empty one.
    pub rx_dropped: u64,
    /// Descriptors of the fill ring that were not valid.
    pub rx_invalid_descs: u64,
    /// Descriptors of the TX ring that were not valid.
    pub tx_invalid_descs: u64,
    /// Packets dropped because the RX ring was full.
    pub rx_ring_full: u64,
    /// Times that the fill ring was empty.
    pub rx_fill_ring_empty_descs: u64,
    /// Times that the TX ring was empty.
    pub tx_ring_empty_descs: u64,
}

/// A bound AF_XDP socket. The kernel's side of its rings ends when this and the [`Rings`] are dropped.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    queue: u32,
    mode: Mode,
    scatter: bool,
    zero_copy_refused: Option<io::Error>,
    _umem: Arc<Umem>,
}

/// What one attempt to bind asks for.
#[derive(Clone, Copy)]
struct Attempt {
    zero_copy: bool,
    scatter: bool,
}

impl Socket {
    /// Makes and binds a socket.
    ///
    /// # Errors
    /// [`Error::QueueTaken`], [`Error::NoSuchQueue`], [`Error::MissingCapability`],
    /// [`Error::UmemTooLarge`], [`Error::KernelTooOld`], or what else the kernel said.
    pub fn open(config: &QueueConfig<'_>) -> Result<(Socket, Rings), Error> {
        let mut zero_copy_refused = None;
        if config.mode == BindMode::Auto && config.shared_with.is_none() {
            let attempt = Attempt {
                zero_copy: true,
                scatter: config.scatter,
            };
            match bind_patiently(config, attempt) {
                Ok((fd, rings)) => return Socket::finish(config, fd, rings, attempt, None),
                Err(Refusal::Bind(error)) => zero_copy_refused = Some(error),
                Err(Refusal::Setup(error)) => return Err(error),
            }
        }
        let mut attempt = Attempt {
            zero_copy: false,
            scatter: config.scatter,
        };
        let mut bound = bind_patiently(config, attempt);
        if let (Err(Refusal::Bind(error)), true) = (&bound, config.scatter)
            && error.raw_os_error() == Some(libc::EINVAL)
        {
            // Linux before 6.6 does not know XDP_USE_SG.
            attempt.scatter = false;
            bound = bind_patiently(config, attempt);
        }
        match bound {
            Ok((fd, rings)) => Socket::finish(config, fd, rings, attempt, zero_copy_refused),
            Err(Refusal::Setup(error)) => Err(error),
            Err(Refusal::Bind(error)) => Err(bind_error(config, error)),
        }
    }

    fn finish(
        config: &QueueConfig<'_>,
        fd: OwnedFd,
        rings: Rings,
        attempt: Attempt,
        zero_copy_refused: Option<io::Error>,
    ) -> Result<(Socket, Rings), Error> {
        let mut options: u32 = 0;
        // SAFETY: XDP_OPTIONS is a u32 of flags.
        unsafe { get_option(&fd, libc::XDP_OPTIONS, &mut options) }.map_err(|source| {
            Error::Io {
                doing: "reading XDP_OPTIONS",
                source,
            }
        })?;
        let granted = options & libc::XDP_OPTIONS_ZEROCOPY != 0;
        let socket = Socket {
            fd,
            queue: config.queue,
            mode: if granted { Mode::ZeroCopy } else { Mode::Copy },
            scatter: config
                .shared_with
                .map_or(attempt.scatter, |first| first.scatter),
            zero_copy_refused,
            _umem: Arc::clone(config.umem),
        };
        Ok((socket, rings))
    }

    /// Whether the kernel copies.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a packet may span several descriptors.
    pub fn scatter(&self) -> bool {
        self.scatter
    }

    /// The NIC queue.
    pub fn queue(&self) -> u32 {
        self.queue
    }

    /// Why the driver refused zero copy, if it was asked.
    pub fn zero_copy_refused(&self) -> Option<&io::Error> {
        self.zero_copy_refused.as_ref()
    }

    /// Has the kernel look at the TX ring.
    ///
    /// # Errors
    /// `ENXIO`, `ENETDOWN` and the like: the socket sends nothing any more.
    pub fn kick_tx(&self) -> io::Result<Kick> {
        // SAFETY: no memory is passed.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                null_mut(),
                0,
                libc::MSG_DONTWAIT,
                null_mut(),
                0,
            )
        };
        kicked(sent)
    }

    /// Has the kernel look at the fill ring.
    ///
    /// # Errors
    /// As [`kick_tx`](Self::kick_tx).
    pub fn kick_rx(&self) -> io::Result<Kick> {
        // SAFETY: no memory is passed.
        let received = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                null_mut(),
                0,
                libc::MSG_DONTWAIT,
                null_mut(),
                null_mut(),
            )
        };
        kicked(received)
    }

    /// What the kernel counted.
    ///
    /// # Errors
    /// What getsockopt(2) says.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let mut statistics = Statistics::default();
        // SAFETY: `Statistics` is `struct xdp_statistics`.
        unsafe { get_option(&self.fd, libc::XDP_STATISTICS, &mut statistics)? };
        Ok(statistics)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn kicked(result: isize) -> io::Result<Kick> {
    if result >= 0 {
        return Ok(Kick::Done);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR) => Ok(Kick::Retry),
        _ => Err(error),
    }
}

/// Where an attempt failed.
enum Refusal {
    /// bind(2) said no; another way may be open.
    Bind(io::Error),
    /// Nothing else will do better.
    Setup(Error),
}

/// One attempt, repeated while the queue's last socket is still being torn down.
fn bind_patiently(config: &QueueConfig<'_>, attempt: Attempt) -> Result<(OwnedFd, Rings), Refusal> {
    for _ in 1..BUSY_TRIES {
        match bind_once(config, attempt) {
            Err(Refusal::Bind(error)) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(BUSY_WAIT);
            }
            result => return result,
        }
    }
    bind_once(config, attempt)
}

/// Every attempt takes a new socket: one that bind refused is not clean.
fn bind_once(config: &QueueConfig<'_>, attempt: Attempt) -> Result<(OwnedFd, Rings), Refusal> {
    let fd = new_socket().map_err(Refusal::Setup)?;
    if config.shared_with.is_none() {
        register_umem(&fd, config.umem).map_err(Refusal::Setup)?;
    }
    let mut rings = map_rings(&fd, config).map_err(Refusal::Setup)?;
    for &addr in config.fill {
        if rings.fill.push(addr).is_err() {
            break;
        }
    }
    rings.fill.publish();
    let (flags, shared_fd) = match config.shared_with {
        Some(first) => (libc::XDP_SHARED_UMEM, first.as_raw_fd() as u32),
        None => {
            let mode = if attempt.zero_copy {
                libc::XDP_ZEROCOPY
            } else {
                libc::XDP_COPY
            };
            let scatter = if attempt.scatter { libc::XDP_USE_SG } else { 0 };
            (mode | scatter | libc::XDP_USE_NEED_WAKEUP, 0)
        }
    };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: config.ifindex,
        sxdp_queue_id: config.queue,
        sxdp_shared_umem_fd: shared_fd,
    };
    let len = size_of::<libc::sockaddr_xdp>() as u32;
    // SAFETY: the address is a sockaddr_xdp of that length.
    if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) } != 0 {
        return Err(Refusal::Bind(io::Error::last_os_error()));
    }
    Ok((fd, rings))
}

fn new_socket() -> Result<OwnedFd, Error> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd >= 0 {
        // SAFETY: the kernel has just made it, and nobody else has it.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    Err(match io::Error::last_os_error().raw_os_error() {
        Some(libc::EPERM) => Error::MissingCapability {
            doing: "opening an AF_XDP socket",
            capability: "CAP_NET_RAW",
        },
        Some(libc::EAFNOSUPPORT) => Error::KernelTooOld {
            feature: "AF_XDP",
            since: "5.4",
        },
        _ => Error::io("opening an AF_XDP socket"),
    })
}

fn register_umem(fd: &OwnedFd, umem: &Umem) -> Result<(), Error> {
    let registration = libc::xdp_umem_reg {
        addr: umem.as_ptr() as u64,
        len: umem.len_bytes() as u64,
        chunk_size: umem.chunk_bytes(),
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    match set_option(fd, libc::XDP_UMEM_REG, &registration) {
        Ok(()) => Ok(()),
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::ENOBUFS | libc::ENOMEM) => Error::UmemTooLarge {
                bytes: umem.len_bytes(),
                memlock_limit: memlock_limit(),
            },
            Some(libc::EPERM) => Error::MissingCapability {
                doing: "registering a UMEM",
                capability: "CAP_IPC_LOCK",
            },
            _ => Error::Io {
                doing: "registering the UMEM",
                source: error,
            },
        }),
    }
}

/// `RLIMIT_MEMLOCK`, in bytes.
fn memlock_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call fills the struct.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    limit.rlim_cur
}

/// A ring's mapping.
struct Mapping {
    base: *mut libc::c_void,
    len: usize,
}

// SAFETY: the mapping is shared memory, not tied to a thread; it is only unmapped here.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives access to nothing.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `map` made this mapping, and the rings that point into it hold this value.
        unsafe { libc::munmap(self.base, self.len) };
    }
}

fn map_rings(fd: &OwnedFd, config: &QueueConfig<'_>) -> Result<Rings, Error> {
    let size = |option, entries: u32, doing| {
        set_option(fd, option, &entries).map_err(|source| Error::Io { doing, source })
    };
    size(
        libc::XDP_UMEM_FILL_RING,
        config.fill_entries,
        "sizing the fill ring",
    )?;
    size(
        libc::XDP_UMEM_COMPLETION_RING,
        config.completion_entries,
        "sizing the completion ring",
    )?;
    size(libc::XDP_RX_RING, config.rx_entries, "sizing the RX ring")?;
    size(libc::XDP_TX_RING, config.tx_entries, "sizing the TX ring")?;
    // SAFETY: all zeroes is a valid xdp_mmap_offsets.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    // SAFETY: XDP_MMAP_OFFSETS fills this struct.
    let len =
        unsafe { get_option(fd, libc::XDP_MMAP_OFFSETS, &mut offsets) }.map_err(|source| {
            Error::Io {
                doing: "reading the rings' offsets",
                source,
            }
        })?;
    if len != size_of::<libc::xdp_mmap_offsets>() {
        // Before 5.4 the struct had no flags, and so no need_wakeup.
        return Err(Error::KernelTooOld {
            feature: "XDP_USE_NEED_WAKEUP",
            since: "5.4",
        });
    }
    let fill = map::<u64>(
        fd,
        libc::XDP_UMEM_PGOFF_FILL_RING as i64,
        &offsets.fr,
        config.fill_entries,
    )?;
    let completion = map::<u64>(
        fd,
        libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64,
        &offsets.cr,
        config.completion_entries,
    )?;
    let rx = map(
        fd,
        libc::XDP_PGOFF_RX_RING as i64,
        &offsets.rx,
        config.rx_entries,
    )?;
    let tx = map(
        fd,
        libc::XDP_PGOFF_TX_RING as i64,
        &offsets.tx,
        config.tx_entries,
    )?;
    // SAFETY: `map` gives valid pointers into a mapping that the Arc keeps; the socket was made a
    // moment ago, so no other side of ours exists.
    unsafe {
        Ok(Rings {
            fill: Producer::new(fill.0, fill.1),
            completion: Consumer::new(completion.0, completion.1),
            rx: Consumer::new(rx.0, rx.1),
            tx: Producer::new(tx.0, tx.1),
        })
    }
}

fn map<T: Entry>(
    fd: &OwnedFd,
    page_offset: i64,
    offsets: &libc::xdp_ring_offset,
    entries: u32,
) -> Result<(Layout<T>, Arc<Mapping>), Error> {
    let len = offsets.desc as usize + entries as usize * size_of::<T>();
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let base = unsafe {
        libc::mmap(
            null_mut(),
            len,
            protection,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            fd.as_raw_fd(),
            page_offset,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(Error::io("mapping a ring"));
    }
    let at = |offset: u64| base.wrapping_byte_add(offset as usize);
    let layout = Layout {
        producer: at(offsets.producer).cast::<AtomicU32>(),
        consumer: at(offsets.consumer).cast::<AtomicU32>(),
        flags: at(offsets.flags).cast::<AtomicU32>(),
        entries: at(offsets.desc).cast::<T>(),
        capacity: entries,
    };
    Ok((layout, Arc::new(Mapping { base, len })))
}

fn set_option<T>(fd: &OwnedFd, option: i32, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as u32;
    // SAFETY: the value is readable for its size; the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            option,
            (value as *const T).cast(),
            len,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Returns how many bytes the kernel wrote.
///
/// # Safety
/// Every bit pattern is a valid `T`.
unsafe fn get_option<T>(fd: &OwnedFd, option: i32, value: &mut T) -> io::Result<usize> {
    let mut len = size_of::<T>() as u32;
    // SAFETY: the kernel writes at most `len` bytes into the value, which takes any (the caller's promise).
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            option,
            (value as *mut T).cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        Ok(len as usize)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn bind_error(config: &QueueConfig<'_>, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::EBUSY) => Error::QueueTaken {
            interface: config.ifname.to_owned(),
            queue: config.queue,
        },
        Some(libc::EPERM) => Error::MissingCapability {
            doing: "binding an AF_XDP socket",
            capability: "CAP_NET_RAW",
        },
        Some(libc::ENETDOWN) => Error::InterfaceDown {
            name: config.ifname.to_owned(),
        },
        _ => Error::Io {
            doing: "binding an AF_XDP socket",
            source,
        },
    }
}

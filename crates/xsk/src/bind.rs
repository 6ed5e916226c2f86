//! Making an AF_XDP socket and binding it to a queue (Linux `net/xdp/xsk.c`).

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringwire_umem::Umem;

use crate::desc::TxMetadata;
use crate::error::Error;
use crate::interface::Interface;
use crate::mapping::MappedRing;
use crate::offload::{NoTxChecksum, tx_checksum};
use crate::ring::Rings;
use crate::socket::{BindMode, Mode, QueueConfig};

/// How long a queue or a UMEM that is still being torn down is waited for: the kernel does it asynchronously.
pub(crate) const BUSY_TOTAL: Duration = Duration::from_secs(2);
/// The same for a UMEM, where nobody is to wait for a queue: an attempt of the same call may have had it.
const UMEM_TOTAL: Duration = Duration::from_millis(200);
const BUSY_FIRST_WAIT: Duration = Duration::from_millis(5);
const BUSY_LONGEST_WAIT: Duration = Duration::from_millis(200);

const BINDING: &str = "binding an AF_XDP socket";

/// A socket that is bound, and what it was refused on the way.
pub(crate) struct Bound {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) rings: Rings,
    pub(crate) scatter: bool,
    pub(crate) zero_copy_refused: Option<io::Error>,
    pub(crate) scatter_refused: Option<io::Error>,
    pub(crate) tx_checksum_refused: Option<NoTxChecksum>,
}

/// Where an attempt failed.
#[derive(Debug)]
enum Refusal {
    /// bind(2) said no; another mode may do.
    Bind(io::Error),
    /// No other mode will do better.
    Final(Error),
}

/// Tries the modes that the configuration allows, the best first. A queue that is still being torn down is waited for
/// so long.
pub(crate) fn bind(config: &QueueConfig<'_>, patience: Duration) -> Result<Bound, Error> {
    check(config)?;
    let deadline = Instant::now() + patience;
    if let Some(first) = config.shared_with {
        return match bind_patiently(config, libc::XDP_SHARED_UMEM, false, deadline) {
            Ok(made) => {
                let scatter = first.scatter();
                Ok(Bound {
                    fd: made.fd,
                    rings: made.rings,
                    scatter,
                    zero_copy_refused: None,
                    scatter_refused: None,
                    tx_checksum_refused: None,
                })
            }
            Err(Refusal::Final(error)) => Err(error),
            Err(Refusal::Bind(source)) => Err(bind_error(config, source)),
        };
    }
    let interface = Interface::by_name(config.ifname)?;
    let split = split_by_driver(config.umem.chunk_bytes(), interface.mtu);
    // Only who wants checksums written is told what the interface can do about them.
    let offered = match config.tx_checksum {
        true => Some((interface.features(), interface.driver)),
        false => None,
    };
    let attempt = |mode: Mode, scatter: bool| {
        if let (Mode::ZeroCopy, false, Some(reason)) = (mode, scatter, &split) {
            return Err(Refusal::Bind(io::Error::other(reason.clone())));
        }
        let copies = match mode {
            Mode::ZeroCopy => libc::XDP_ZEROCOPY,
            Mode::Copy => libc::XDP_COPY,
        };
        let sg = if scatter { libc::XDP_USE_SG } else { 0 };
        let refused = offered
            .as_ref()
            .and_then(|(features, driver)| tx_checksum(mode, driver, features));
        let metadata = offered.is_some() && refused.is_none();
        let flags = copies | sg | libc::XDP_USE_NEED_WAKEUP;
        let made = bind_patiently(config, flags, metadata, deadline)?;
        let ignorant = metadata && !made.metadata;
        Ok((made, refused.or(ignorant.then_some(NoTxChecksum::Kernel))))
    };
    let granted = best(config.mode, config.scatter, attempt).map_err(|refusal| match refusal {
        Refusal::Bind(source) => bind_error(config, source),
        Refusal::Final(error) => error,
    })?;
    let (made, tx_checksum_refused) = granted.made;
    Ok(Bound {
        fd: made.fd,
        rings: made.rings,
        scatter: granted.scatter,
        zero_copy_refused: granted.zero_copy_refused,
        scatter_refused: granted.scatter_refused,
        tx_checksum_refused,
    })
}

/// What an attempt made, and what was refused before it.
struct Granted<T> {
    made: T,
    scatter: bool,
    zero_copy_refused: Option<io::Error>,
    scatter_refused: Option<io::Error>,
}

/// The best that is not refused. Zero copy comes before scatter: a driver whose packets have one descriptor
/// under zero copy (`xdp-zc-max-segs` 1: igb, virtio_net) refuses the two together (`xp_assign_dev`).
fn best<T>(
    mode: BindMode,
    scatter: bool,
    mut attempt: impl FnMut(Mode, bool) -> Result<T, Refusal>,
) -> Result<Granted<T>, Refusal> {
    let modes: &[Mode] = match mode {
        BindMode::Auto => &[Mode::ZeroCopy, Mode::Copy],
        BindMode::Copy => &[Mode::Copy],
    };
    let scatters: &[bool] = if scatter { &[true, false] } else { &[false] };
    let mut zero_copy_refused = None;
    let mut last = None;
    for &mode in modes {
        let mut scatter_refused = None;
        for &scatter in scatters {
            match attempt(mode, scatter) {
                Ok(made) => {
                    return Ok(Granted {
                        made,
                        scatter,
                        zero_copy_refused,
                        scatter_refused,
                    });
                }
                Err(Refusal::Bind(source)) if scatter => scatter_refused = Some(source),
                Err(Refusal::Bind(source)) if mode == Mode::ZeroCopy => {
                    zero_copy_refused = Some(source);
                }
                Err(Refusal::Bind(source)) => last = Some(source),
                Err(hopeless) => return Err(hopeless),
            }
        }
    }
    // The last attempt is a copy without scatter, so its refusal is there.
    let source = last.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL));
    Err(Refusal::Bind(source))
}

/// What the kernel would answer with a bare EINVAL, or only count.
fn check(config: &QueueConfig<'_>) -> Result<(), Error> {
    let sizes = [
        ("RX", config.rx_entries),
        ("TX", config.tx_entries),
        ("fill", config.fill_entries),
        ("completion", config.completion_entries),
    ];
    if let Some((ring, entries)) = sizes
        .into_iter()
        .find(|(_, entries)| !entries.is_power_of_two())
    {
        return Err(Error::RingSize { ring, entries });
    }
    if config.fill.len() > config.fill_entries as usize {
        let reason = format!(
            "{} addresses in {} entries",
            config.fill.len(),
            config.fill_entries
        );
        return Err(Error::Fill { reason });
    }
    let umem_bytes = config.umem.len_bytes() as u64;
    match config.fill.iter().find(|address| **address >= umem_bytes) {
        Some(address) => Err(Error::Fill {
            reason: format!("address {address} in a UMEM of {umem_bytes} bytes"),
        }),
        None => Ok(()),
    }
}

/// What the kernel leaves free in front of a received frame (`XDP_PACKET_HEADROOM`, linux/bpf.h).
const RECEIVE_HEADROOM: u32 = 256;
/// igb's buffers are of whole KiB (`SRRCTL.BSIZEPACKET`), and its driver rounds down.
const BUFFER_UNIT: u32 = 1024;
/// Of Ethernet beside the payload: header, two VLAN tags, checksum.
const FRAME_OVERHEAD: u32 = 14 + 2 * 4 + 4;

/// Why a driver could not write each frame of the interface whole into one chunk, if so. What exceeds its buffer igb
/// writes into the next chunk, as if it were another frame: nothing marks the two as one without `XDP_USE_SG`.
pub fn split_by_driver(chunk_bytes: u32, mtu: u32) -> Option<String> {
    let buffer = chunk_bytes.saturating_sub(RECEIVE_HEADROOM) / BUFFER_UNIT * BUFFER_UNIT;
    let frame = mtu.saturating_add(FRAME_OVERHEAD);
    (buffer < frame).then(|| {
        format!(
            "frames of {frame} bytes (MTU {mtu}) could be split, as chunks of {chunk_bytes} bytes are buffers of \
             {buffer}: use larger chunks or a smaller MTU"
        )
    })
}

/// Whether each frame of an interface fits into one chunk, with what the kernel leaves free in front of it. One that
/// does not takes several, which must be asked for (`XDP_USE_SG`, Linux 6.6).
pub fn fits_chunk(chunk_bytes: u32, mtu: u32) -> bool {
    chunk_bytes.saturating_sub(RECEIVE_HEADROOM) >= mtu.saturating_add(FRAME_OVERHEAD)
}

/// A socket and its rings.
struct Made {
    fd: Arc<OwnedFd>,
    rings: Rings,
    /// The kernel knows of metadata in front of what is sent.
    metadata: bool,
}

/// One mode, tried again while the queue's last socket, or its UMEM, is still being torn down.
fn bind_patiently(
    config: &QueueConfig<'_>,
    flags: u16,
    metadata: bool,
    deadline: Instant,
) -> Result<Made, Refusal> {
    let mut wait = BUSY_FIRST_WAIT;
    let umem_deadline = deadline.max(Instant::now() + UMEM_TOTAL);
    loop {
        match bind_once(config, flags, metadata) {
            // The UMEM of an attempt before this one counts until the kernel has released it, too.
            Err(Refusal::Final(Error::UmemTooLarge {
                bytes,
                memlock_limit,
            })) if bytes as u64 <= memlock_limit && Instant::now() < umem_deadline => {}
            Err(Refusal::Bind(refused)) => match refused.raw_os_error() {
                Some(libc::EBUSY) if Instant::now() < deadline => {}
                // Of the queue, the interface or the process, not of the mode.
                Some(libc::EBUSY | libc::ENETDOWN | libc::EPERM | libc::ENODEV) => {
                    return Err(Refusal::Final(bind_error(config, refused)));
                }
                _ => return Err(Refusal::Bind(refused)),
            },
            done => return done,
        }
        thread::sleep(wait);
        wait = (wait * 2).min(BUSY_LONGEST_WAIT);
    }
}

/// Every attempt takes a new socket: one that bind refused is not clean.
fn bind_once(config: &QueueConfig<'_>, flags: u16, metadata: bool) -> Result<Made, Refusal> {
    let made = prepare(config, metadata).map_err(Refusal::Final)?;
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: config.ifindex,
        sxdp_queue_id: config.queue,
        sxdp_shared_umem_fd: config
            .shared_with
            .map_or(0, |first| first.as_raw_fd() as u32),
    };
    let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: the address is a sockaddr_xdp of that length for the whole call.
    match unsafe { libc::bind(made.fd.as_raw_fd(), (&raw const address).cast(), len) } {
        0 => Ok(made),
        _ => Err(Refusal::Bind(io::Error::last_os_error())),
    }
}

/// A socket with its UMEM and its rings, the fill ring filled.
fn prepare(config: &QueueConfig<'_>, metadata: bool) -> Result<Made, Error> {
    let fd = Arc::new(config.privileges.xdp_socket()?);
    let mut granted = false;
    if config.shared_with.is_none() {
        granted = register_umem(&fd, config.umem, metadata)?;
    }
    let mut rings = map_rings(&fd, config)?;
    for address in config.fill {
        // `check` saw that they fit.
        let _ = rings.fill.push(*address);
    }
    rings.fill.publish();
    Ok(Made {
        fd,
        rings,
        metadata: granted,
    })
}

/// A socket that is not bound.
pub(crate) fn xdp_socket() -> Result<OwnedFd, Error> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd >= 0 {
        // SAFETY: the kernel has just made it, and nobody else has it.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let source = io::Error::last_os_error();
    Err(match source.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => Error::KernelTooOld {
            feature: "AF_XDP",
            since: "5.4",
        },
        _ => Error::of("opening an AF_XDP socket", "CAP_NET_RAW", source),
    })
}

/// Registers the UMEM; returns whether with metadata in front of what is sent, if that was asked for.
///
/// Kernels before 6.8 read a shorter struct; they take a longer one and ignore the rest. A flag that they do
/// not know they refuse: this one is of 6.11, before which the length alone was the sign.
fn register_umem(fd: &OwnedFd, umem: &Umem, metadata: bool) -> Result<bool, Error> {
    let registration = libc::xdp_umem_reg {
        addr: umem.as_ptr() as u64,
        len: umem.len_bytes() as u64,
        chunk_size: umem.chunk_bytes(),
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    if metadata {
        let with = libc::xdp_umem_reg {
            flags: libc::XDP_UMEM_TX_METADATA_LEN,
            tx_metadata_len: TxMetadata::BYTES as u32,
            ..registration
        };
        match set_option(fd, libc::XDP_UMEM_REG, &with) {
            // Refused before anything was pinned.
            Err(source) if source.raw_os_error() == Some(libc::EINVAL) => {}
            registered => return registered.map(|()| true).map_err(|e| umem_error(umem, e)),
        }
    }
    set_option(fd, libc::XDP_UMEM_REG, &registration)
        .map(|()| false)
        .map_err(|source| umem_error(umem, source))
}

fn umem_error(umem: &Umem, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::ENOBUFS | libc::ENOMEM) => Error::UmemTooLarge {
            bytes: umem.len_bytes(),
            memlock_limit: memlock_limit(),
        },
        _ => Error::of("registering the UMEM", "CAP_IPC_LOCK", source),
    }
}

/// `RLIMIT_MEMLOCK` in bytes.
pub(crate) fn memlock_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call fills the rlimit that it is given.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    limit.rlim_cur
}

fn map_rings(fd: &Arc<OwnedFd>, config: &QueueConfig<'_>) -> Result<Rings, Error> {
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
    let offsets = ring_offsets(fd)?;
    let umem = config.umem;
    let fill = MappedRing {
        entries: config.fill_entries,
        offsets: offsets.fr,
        page_offset: libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t,
    };
    let completion = MappedRing {
        entries: config.completion_entries,
        offsets: offsets.cr,
        page_offset: libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t,
    };
    let rx = MappedRing {
        entries: config.rx_entries,
        offsets: offsets.rx,
        page_offset: libc::XDP_PGOFF_RX_RING,
    };
    let tx = MappedRing {
        entries: config.tx_entries,
        offsets: offsets.tx,
        page_offset: libc::XDP_PGOFF_TX_RING,
    };
    Ok(Rings {
        fill: fill.producer(fd, umem)?,
        completion: completion.consumer(fd, umem)?,
        rx: rx.consumer(fd, umem)?,
        tx: tx.producer(fd, umem)?,
    })
}

fn ring_offsets(fd: &OwnedFd) -> Result<libc::xdp_mmap_offsets, Error> {
    // SAFETY: the struct is integers, for which zero is a value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { zeroed() };
    // SAFETY: XDP_MMAP_OFFSETS fills this struct, which is integers.
    let filled = unsafe { get_option(fd, libc::XDP_MMAP_OFFSETS, &mut offsets) };
    let filled = filled.map_err(|source| Error::Io {
        doing: "reading the rings' offsets",
        source,
    })?;
    if filled != size_of::<libc::xdp_mmap_offsets>() {
        // Before 5.4 the struct had no flags, and so no need_wakeup.
        return Err(Error::KernelTooOld {
            feature: "XDP_USE_NEED_WAKEUP",
            since: "5.4",
        });
    }
    Ok(offsets)
}

fn set_option<T>(fd: &OwnedFd, option: i32, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    let value = (&raw const *value).cast();
    // SAFETY: the value is readable for its size; the kernel copies it.
    match unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, value, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reads a socket option; returns how many bytes the kernel wrote.
///
/// # Safety
/// Every bit pattern is a valid `T`.
pub(crate) unsafe fn get_option<T>(fd: &OwnedFd, option: i32, value: &mut T) -> io::Result<usize> {
    let mut len = size_of::<T>() as libc::socklen_t;
    let value = (&raw mut *value).cast();
    // SAFETY: the kernel writes at most `len` bytes into the value, which takes any (the caller's word).
    match unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, value, &raw mut len) } {
        0 => Ok(len as usize),
        _ => Err(io::Error::last_os_error()),
    }
}

fn bind_error(config: &QueueConfig<'_>, source: io::Error) -> Error {
    let interface = || config.ifname.to_owned();
    match source.raw_os_error() {
        Some(libc::EBUSY) => Error::QueueTaken {
            interface: interface(),
            queue: config.queue,
        },
        Some(libc::ENETDOWN) => Error::InterfaceDown { name: interface() },
        Some(libc::ENODEV) => Error::NoInterface { name: interface() },
        // EINVAL has a dozen causes; that the queue is not there is the likely one, and can be checked.
        Some(libc::EINVAL) => match Interface::by_name(config.ifname) {
            Ok(found) if config.queue >= found.rx_queues => {
                let available = found.rx_queues;
                Error::NoSuchQueue {
                    interface: interface(),
                    queue: config.queue,
                    available,
                }
            }
            _ => Error::Io {
                doing: BINDING,
                source,
            },
        },
        _ => Error::of(BINDING, "CAP_NET_RAW", source),
    }
}

#[cfg(test)]
#[path = "bind_tests.rs"]
mod tests;

//! AF_XDP sockets (Linux `net/xdp/xsk.c`): one for each NIC queue, all over one UMEM.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Duration;

use ringwire_umem::Umem;

use crate::bind::{BUSY_TOTAL, Bound, bind, get_option};
#[cfg(doc)]
use crate::desc::TxMetadata;
use crate::error::Error;
use crate::issuer::privileges::Privileges;
use crate::offload::NoTxChecksum;
use crate::ring::Rings;

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
    /// Entries of the RX ring, a power of two.
    pub rx_entries: u32,
    /// Entries of the TX ring, a power of two.
    pub tx_entries: u32,
    /// Entries of the fill ring, a power of two: at least those of the NIC's ring and the RX ring together.
    pub fill_entries: u32,
    /// Entries of the completion ring, a power of two.
    pub completion_entries: u32,
    /// Addresses to receive into, in the fill ring before the socket is bound: drivers take their
    /// buffers then.
    pub fill: &'a [u64],
    /// Copies or not.
    pub mode: BindMode,
    /// Whether packets may span several descriptors (`XDP_USE_SG`), if the kernel can.
    pub scatter: bool,
    /// Whether checksums are to be written behind us, if the kernel and the driver can: asked of the first
    /// socket over a UMEM. Where [`Socket::tx_checksum`] says yes, each descriptor needs [`TxMetadata::BYTES`]
    /// in front of it, in its chunk.
    pub tx_checksum: bool,
    /// Whose privileges open it: by default the process's own.
    pub privileges: Privileges,
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

/// A bound AF_XDP socket.
///
/// The queue is let go of when both this and its [`Rings`] are dropped, in either order: each keeps the
/// descriptor, the UMEM and, the rings, their mappings.
#[derive(Debug)]
pub struct Socket {
    fd: Arc<OwnedFd>,
    umem: Arc<Umem>,
    queue: u32,
    mode: Mode,
    scatter: bool,
    zero_copy_refused: Option<io::Error>,
    scatter_refused: Option<io::Error>,
    tx_checksum: bool,
    tx_checksum_refused: Option<NoTxChecksum>,
}

impl Socket {
    /// Makes a socket and binds it, with the best of what the configuration allows and the driver
    /// can: without copies if possible, and then with scatter if possible. The first socket over a UMEM
    /// registers it; the others share it and the first one's mode.
    ///
    /// A queue that is still being torn down is tried again for about two seconds.
    ///
    /// # Errors
    /// [`Error::QueueTaken`], [`Error::NoSuchQueue`], [`Error::InterfaceDown`],
    /// [`Error::MissingCapability`], [`Error::UmemTooLarge`], [`Error::KernelTooOld`],
    /// [`Error::RingSize`] and [`Error::Fill`] for what the kernel would not take, or what else it said.
    ///
    /// # Panics
    /// If `shared_with` is a socket over another UMEM.
    pub fn open(config: &QueueConfig<'_>) -> Result<(Socket, Rings), Error> {
        Socket::open_within(config, BUSY_TOTAL)
    }

    /// The same, without waiting for a queue that is still being torn down: it is [`Error::QueueTaken`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// # Panics
    /// As [`open`](Self::open).
    pub fn open_now(config: &QueueConfig<'_>) -> Result<(Socket, Rings), Error> {
        Socket::open_within(config, Duration::ZERO)
    }

    fn open_within(config: &QueueConfig<'_>, patience: Duration) -> Result<(Socket, Rings), Error> {
        if let Some(first) = config.shared_with {
            assert!(
                Arc::ptr_eq(&first.umem, config.umem),
                "socket: shared with one over another UMEM"
            );
        }
        let Bound {
            fd,
            rings,
            scatter,
            zero_copy_refused,
            scatter_refused,
            tx_checksum_refused,
        } = bind(config, patience)?;
        let mut options = libc::xdp_options { flags: 0 };
        // SAFETY: XDP_OPTIONS fills a `struct xdp_options`, which is an integer.
        let read = unsafe { get_option(&fd, libc::XDP_OPTIONS, &mut options) };
        read.map_err(|source| Error::Io {
            doing: "reading XDP_OPTIONS",
            source,
        })?;
        let zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
        let socket = Socket {
            fd,
            umem: Arc::clone(config.umem),
            queue: config.queue,
            mode: if zero_copy {
                Mode::ZeroCopy
            } else {
                Mode::Copy
            },
            scatter,
            zero_copy_refused,
            scatter_refused,
            tx_checksum: match config.shared_with {
                Some(first) => first.tx_checksum,
                None => config.tx_checksum && tx_checksum_refused.is_none(),
            },
            tx_checksum_refused,
        };
        Ok((socket, rings))
    }

    /// Whether a socket may be opened with these privileges, as far as that can be told without binding it.
    ///
    /// # Errors
    /// [`Error::MissingCapability`], [`Error::NotIssued`] or what else the kernel said.
    pub fn may_open(privileges: &Privileges) -> Result<(), Error> {
        privileges.xdp_socket().map(drop)
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

    /// Why packets may not span several descriptors, if that was asked for and refused.
    pub fn scatter_refused(&self) -> Option<&io::Error> {
        self.scatter_refused.as_ref()
    }

    /// Whether the checksums of packets with [`TxMetadata`] are written behind us.
    pub fn tx_checksum(&self) -> bool {
        self.tx_checksum
    }

    /// Why they are not, if that was asked for.
    pub fn tx_checksum_refused(&self) -> Option<NoTxChecksum> {
        self.tx_checksum_refused
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

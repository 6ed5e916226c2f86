//! A ring without `unsafe`: it owns the memory of operations in flight.
//!
//! An entry of io_uring names memory by address, and whoever pushes it promises that the memory is
//! valid until the completion. [`Ring`] keeps that promise itself: a buffer is moved into the
//! operation, and comes back with its last completion, whatever came of it. Operations are methods;
//! each queues one entry of the kernel's interface, and its completion says what the kernel's does.
//!
//! * Sockets are direct descriptors: [`Socket`], a number. The ring finds free slots.
//! * A send takes a [`Payload`]: bytes that are shared, one's own, or received before.
//! * A receive takes a [`BytesMut`], and appends to it; or it chooses a buffer of a [`BufferGroup`] when
//!   data has come, and its completion brings a [`ProvidedBuffer`], which goes back to the group when
//!   it is dropped; or nothing is copied, and its completion brings a [`Lent`] guard of the memory that the NIC
//!   wrote to ([`Ring::lending_group`]).
//! * Nothing is allocated for an operation once the ring has had as many in flight.
//! * A ring that is dropped stops first, and then frees what its operations hold; one that is leaked
//!   leaks it.
//! * The ring, its groups and their buffers stay in one thread: they are not `Send`. What is lent goes to any.
//!
//! What is not here is there by [`Ring::push`], which is `unsafe`: the other operations and flags,
//! bundles, and buffers that are used up piece by piece (`IOU_PBUF_RING_INC`).
//!
//! ```no_run
//! use bytes::BytesMut;
//! use ringwire::IoUring;
//! use ringwire::owned::Ring;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = IoUring::builder();
//! let builder = builder.interface("eth1").address("10.0.0.2/24".parse()?);
//! let mut ring = Ring::new(builder, 8, 1)?;
//! ring.socket(0, libc::AF_INET, libc::SOCK_STREAM)?;
//! let socket = ring.wait()?.socket()?;
//! ring.link().connect(1, socket, "10.0.0.1:7".parse()?)?;
//! ring.link().send(2, socket, &b"hello"[..], 0)?;
//! ring.recv(3, socket, BytesMut::with_capacity(100), 0)?;
//! for _ in 1..=3 {
//!     let done = ring.wait()?;
//!     println!("{}: {:?} {:?}", done.user_data, done.result, done.payload);
//! }
//! # Ok(())
//! # }
//! ```

mod address;
#[cfg(test)]
mod engine_tests;
mod entries;
mod group;
mod lending;
mod operations;
mod payload;
mod request;
mod slab;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

pub use bytes::{Bytes, BytesMut};
use ringwire_umem::Area;
pub use ringwire_umem::Lent;

pub use group::{BufferGroup, ProvidedBuffer};
pub use payload::{Completed, Full, Operation, Payload, Socket};

use crate::builder::Builder;
use crate::lent::IOU_PBUF_RING_LENT;
use crate::report::{Counters, Report};
use crate::ring::IoUring;
use crate::setup_error::SetupError;
use crate::{squeue, types};
use group::{Group, Memory};
use lending::Lending;
use request::Request;
use slab::{RAW, Slab};

/// A ring that owns the memory of its operations in flight.
///
/// It stays in its thread:
///
/// ```compile_fail,E0277
/// fn moves<T: Send>() {}
/// moves::<ringwire::owned::Ring>();
/// ```
///
/// As in [`IoUring`], packets and timers move only in [`submit`](Self::submit),
/// [`submit_and_wait`](Self::submit_and_wait) and [`wait`](Self::wait).
#[derive(Debug)]
pub struct Ring {
    // Fields are dropped in this order. The ring is first: with it the engine stops, which reads and
    // writes what the others own.
    ring: IoUring,
    slab: Slab,
    /// The groups that are registered, by their ids.
    groups: Vec<Option<Group>>,
    /// The next operation is linked to the one behind it.
    link: bool,
}

impl Ring {
    /// A ring as [`Builder::build`] makes it, with a table of `slots` sockets.
    ///
    /// # Errors
    /// As there; [`SetupError::Io`] for a table that the ring does not take.
    pub fn new(builder: &Builder, entries: u32, slots: u32) -> Result<Ring, SetupError> {
        let ring = builder.build(entries)?;
        let registered = ring.submitter().register_files_sparse(slots);
        registered.map_err(|source| SetupError::Io {
            doing: "registering the table of sockets",
            source,
        })?;
        Ok(Ring {
            ring,
            slab: Slab::default(),
            groups: Vec::new(),
            link: false,
        })
    }

    /// Hands what is queued to the engine and takes a turn; returns how many operations were taken.
    ///
    /// # Errors
    /// See [`Submitter::submit`](crate::Submitter::submit).
    pub fn submit(&mut self) -> io::Result<usize> {
        self.ring.submit()
    }

    /// As [`submit`](Self::submit), and waits for `want` completions: until the timeout has passed or
    /// a signal has come, neither of which is an error.
    ///
    /// # Errors
    /// See [`Submitter::submit_and_wait`](crate::Submitter::submit_and_wait).
    pub fn submit_and_wait(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<usize> {
        let submitter = self.ring.submitter();
        let submitted = match timeout.map(types::Timespec::from) {
            None => submitter.submit_and_wait(want),
            Some(time) => {
                let args = types::SubmitArgs::new().timespec(&time);
                submitter.submit_with_args(want, &args)
            }
        };
        match submitted {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => Ok(0),
            submitted => submitted,
        }
    }

    /// The next completion. What is queued is submitted when there is none yet. Signals do not end
    /// the wait.
    ///
    /// # Errors
    /// As for [`submit_and_wait`](Self::submit_and_wait).
    pub fn wait(&mut self) -> io::Result<Completed> {
        loop {
            if let Some(completed) = self.completion() {
                return Ok(completed);
            }
            self.submit_and_wait(1, None)?;
        }
    }

    /// Takes a completion that is there.
    ///
    /// # Panics
    /// If it is of no operation in flight: somebody has sent this ring a message (MSG_RING) with a
    /// `user_data` that [`push`](Self::push) forbids.
    pub fn completion(&mut self) -> Option<Completed> {
        let entry = self.ring.completion().next()?;
        if entry.user_data() & RAW != 0 {
            return Some(slab::completed(entry.user_data() & !RAW, &entry));
        }
        Some(self.slab.complete(&entry))
    }

    /// Operations that the submission queue has room for.
    pub fn room(&mut self) -> usize {
        let queue = self.ring.submission();
        queue.capacity() - queue.len()
    }

    /// Submits, if the queue has not room for so many operations.
    ///
    /// # Errors
    /// As for [`submit`](Self::submit).
    pub fn reserve(&mut self, operations: usize) -> io::Result<()> {
        if self.room() < operations {
            self.submit()?;
        }
        Ok(())
    }

    /// Operations that were queued and have not completed for the last time.
    pub fn in_flight(&self) -> usize {
        self.slab.len()
    }

    /// Makes a group of buffers and registers it: `entries` of them, a power of two up to 32,768, with
    /// `buffer_bytes` each.
    ///
    /// # Errors
    /// `EINVAL` for other numbers; `ENOSPC` for more than 65,536 groups in the life of a ring.
    pub fn buffer_group(&mut self, entries: u16, buffer_bytes: u32) -> io::Result<BufferGroup> {
        if buffer_bytes == 0 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let id = self.next_group(entries)?;
        let memory = Memory::new(id, entries, buffer_bytes);
        // SAFETY: `groups` keeps the memory until it is unregistered or the ring has been dropped.
        unsafe {
            let submitter = self.ring.submitter();
            submitter.register_buf_ring_with_flags(memory.ring_address(), entries, id, 0)?;
        }
        Ok(self.keep(Group::Own(memory)))
    }

    /// Makes a group without buffers and registers it: its receives bring what the NIC has written where it
    /// lies, in [`Lent`] guards. `entries` is how many parts may be received before their completions are
    /// taken, a power of two up to 32,768; a datagram has up to 18 parts.
    ///
    /// What is kept is missing for receiving: while only the reserve is left
    /// ([`Builder::rx_chunks`](crate::Builder::rx_chunks)), receives with the group end with `ENOBUFS`, and
    /// what has come stays where it is.
    ///
    /// # Errors
    /// As for [`buffer_group`](Self::buffer_group).
    pub fn lending_group(&mut self, entries: u16) -> io::Result<BufferGroup> {
        let id = self.next_group(entries)?;
        let submitter = self.ring.submitter();
        let lending = Lending::new(id, entries, |address| {
            // SAFETY: `groups` keeps the memory until it is unregistered or the ring has been dropped.
            unsafe {
                submitter.register_buf_ring_with_flags(address, entries, id, IOU_PBUF_RING_LENT)?;
            }
            submitter.lent_buffers(id)
        })?;
        Ok(self.keep(Group::Lent(lending)))
    }

    /// The id of the next group. It is given once: an operation that outlives its group must not find another.
    fn next_group(&self, entries: u16) -> io::Result<u16> {
        if !entries::is_possible(entries) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        u16::try_from(self.groups.len()).map_err(|_| io::Error::from_raw_os_error(libc::ENOSPC))
    }

    fn keep(&mut self, group: Group) -> BufferGroup {
        self.groups.push(Some(group.clone()));
        BufferGroup { group }
    }

    /// Unregisters a group. Receives that wait for one of its buffers end with `ENOBUFS` when data has
    /// come; buffers that are lent stay valid.
    ///
    /// # Errors
    /// See [`Submitter::unregister_buf_ring`](crate::Submitter::unregister_buf_ring).
    ///
    /// # Panics
    /// If it is a group of another ring.
    pub fn remove_buffer_group(&mut self, group: BufferGroup) -> io::Result<()> {
        let id = self.own(&group).id();
        self.ring.submitter().unregister_buf_ring(id)?;
        self.groups[usize::from(id)] = None;
        Ok(())
    }

    /// The memory of a group, which must be one of this ring's: ids are told apart only there.
    fn own(&self, group: &BufferGroup) -> Group {
        let registered = self.groups.get(usize::from(group.group.id()));
        let own = registered.and_then(Option::as_ref);
        assert!(
            own.is_some_and(|own| own.is(&group.group)),
            "owned: a group of buffers is used with the ring that made it"
        );
        group.group.clone()
    }

    /// Links the next operation to the one that is queued after it, which starts when it has
    /// succeeded (`IOSQE_IO_LINK`): `ring.link().send(…)`. Both must be submitted together:
    /// [`reserve`](Self::reserve) room for the whole chain first.
    pub fn link(&mut self) -> &mut Ring {
        self.link = true;
        self
    }

    fn flags(&mut self) -> squeue::Flags {
        match std::mem::take(&mut self.link) {
            true => squeue::Flags::IO_LINK,
            false => squeue::Flags::empty(),
        }
    }

    /// Queues an operation, or gives it back.
    fn queue(&mut self, user_data: u64, request: Request) -> Result<Operation, Request> {
        let flags = self.flags();
        if self.room() == 0 {
            return Err(request);
        }
        let (operation, entry) = self.slab.insert(user_data, request);
        // SAFETY: the slab owns what the entry names until the operation's last completion, or until
        // the ring has been dropped.
        let pushed = unsafe { self.ring.submission().push(&entry.flags(flags)) };
        pushed.expect("owned: the queue has room");
        Ok(operation)
    }

    /// Queues any entry; its `user_data` is replaced.
    ///
    /// # Errors
    /// [`Full`] when the submission queue is.
    ///
    /// # Panics
    /// If `user_data` has its uppermost bit set.
    ///
    /// # Safety
    /// As for [`SubmissionQueue::push`](crate::SubmissionQueue::push). Nothing is kept for the entry,
    /// nor given back by its completions: a buffer of a [`BufferGroup`] that they name stays out of it.
    /// A message to this ring (MSG_RING), and a tag of what is registered with it, must have the
    /// uppermost bit of its `user_data` set; the completion comes without it.
    pub unsafe fn push(&mut self, user_data: u64, entry: squeue::Entry) -> Result<(), Full<()>> {
        assert!(user_data & RAW == 0, "owned: the uppermost bit is taken");
        let entry = entry.user_data(user_data | RAW);
        // SAFETY: the caller's promise is push's.
        unsafe { self.ring.submission().push(&entry) }.map_err(|_| Full(()))
    }

    /// The ring below, for what is registered with it.
    ///
    /// # Safety
    /// Tags must be as [`push`](Self::push) says, and the groups and the table of sockets that this
    /// ring has registered must stay.
    pub unsafe fn io_uring(&self) -> &IoUring {
        &self.ring
    }

    /// See [`IoUring::take_area`].
    pub fn take_area(&self, area: usize) -> Option<Area> {
        self.ring.take_area(area)
    }

    /// See [`IoUring::take_slots`].
    pub fn take_slots(&self, area: usize) -> Option<Vec<Area>> {
        self.ring.take_slots(area)
    }

    /// See [`IoUring::report`].
    ///
    /// # Errors
    /// As there.
    pub fn report(&self) -> io::Result<Report> {
        self.ring.report()
    }

    /// See [`IoUring::counters`].
    ///
    /// # Errors
    /// As there.
    pub fn counters(&self) -> io::Result<Counters> {
        self.ring.counters()
    }
}

impl AsRawFd for Ring {
    /// See [`IoUring`]'s.
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

//! The engine: one ring, one or more NIC queues over one UMEM, owned by one thread at a time.
//!
//! [`Engine::submit`] is the kernel's `io_uring_enter` without the wait; [`Engine::turn`] moves
//! packets, timers and completions by one bounded step. Time is an argument, and the far side of the
//! rings is a [`Port`], so the engine runs in the simulator as it runs on a NIC.

mod accept;
mod address;
#[cfg(test)]
pub(crate) mod bed;
mod buffers;
mod cancel;
mod chain;
mod command;
mod complete;
mod datagram;
#[cfg(test)]
mod entries_tests;
mod error_queue;
mod eventfd;
mod files;
mod issue;
mod lend;
mod lent_group;
mod lent_receive;
mod memory;
mod message;
mod nic;
mod notifier;
#[cfg(test)]
mod notify_tests;
mod poll;
mod read_write;
mod receive;
mod register;
mod registered;
mod registered_group;
mod request;
mod restriction;
mod ring_message;
mod send;
mod settings;
mod socket_option;
mod stream;
mod stream_send;
mod submit;
mod tcp_info;
mod tcp_option;
mod timeout;
mod timers;
mod watch;
pub(crate) mod watchdog;
mod zero_copy;
#[cfg(test)]
mod zero_copy_bed;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use io_uring::cqueue;
use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_SETUP_TASKRUN_FLAG, IORING_SQ_TASKRUN};
use ringwire_stack::{Instant, SocketError, Stack};
use ringwire_umem::{Census, Ledger};
use ringwire_xsk::Rings;

use crate::mailbox::Mailbox;
use crate::queue::{CompletionQueue, QueueMemory, SubmissionQueue};
use buffers::Groups;
use chain::Work;
use eventfd::Signals;
use files::Files;
use lend::RefillQueue;
use nic::Nic;
use notifier::Notifiers;
use registered::Registered;
pub(crate) use registered::Shown;
use request::{RequestId, Requests};
use restriction::Restrictions;
use settings::Settings;
use timers::Timers;
use watch::Watches;
use watchdog::Watchdog;
use zero_copy::Notices;

pub use crate::queue::Completion;
pub use nic::{NicCounters, Port};
pub use watchdog::{Failure, LinkState, NewLink};

/// How long after the turn before a turn is late.
const LATE: Duration = Duration::from_millis(10);

/// How an engine is made.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Entries of the submission queue, a power of two.
    pub sq_entries: u32,
    /// Entries of the completion queue, a power of two.
    pub cq_entries: u32,
    /// Set-up flags (`IORING_SETUP_*`).
    pub setup_flags: u32,
}

/// What the engine counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineCounters {
    /// Submissions taken.
    pub submitted: u64,
    /// Completions posted, or put into the overflow list.
    pub completed: u64,
    /// Completions that found the queue full.
    pub overflowed: u64,
    /// Turns taken.
    pub turns: u64,
    /// Turns that came more than 10 ms after the one before while packets waited: the application
    /// was busy elsewhere, and the network waited for it.
    pub late_turns: u64,
    /// Entries of lent buffer groups that were no credit: their buffer id is beyond the group, is in its ring
    /// already, or names a frame of which more comes.
    pub bad_lent_bids: u64,
    /// Entries of the refill ring that named nothing that was lent.
    pub bad_refills: u64,
}

/// The engine of one ring.
#[derive(Debug)]
pub struct Engine {
    queues: Arc<QueueMemory>,
    setup_flags: u32,
    nic: Nic,
    ledger: Ledger,
    stack: Stack,
    requests: Requests,
    files: Files,
    groups: Groups,
    /// What zero-copy receives were registered with.
    refills: Option<RefillQueue>,
    registered: Registered,
    notices: Notices,
    notifiers: Notifiers,
    /// Entries are taken that do not ask for completions: notifications wait for those that do.
    deferring: bool,
    signals: Signals,
    restrictions: Option<Restrictions>,
    settings: Settings,
    /// What other rings have sent to this one.
    mailbox: Arc<Mailbox>,
    /// Completions that wait for room in the queue.
    overflow: VecDeque<Completion>,
    /// Requests that have completed, and are to be let go of.
    finished: VecDeque<RequestId>,
    /// How many of these, the last ones, have not posted their completions.
    unposted: usize,
    /// What has its turn after what completes at once.
    work: VecDeque<Work>,
    /// Heads of chains that wait for a drain, in order.
    deferred: VecDeque<RequestId>,
    /// Requests of those chains.
    held_back: usize,
    /// A drain was seen, and what queued behind it has not all gone.
    drain_active: bool,
    /// There is a drain in the chain that the batch is in the middle of: what follows waits for it.
    drain_next: bool,
    /// A request with CQE_SKIP_SUCCESS was seen, so drains are refused.
    skip_seen: bool,
    timers: Timers,
    watchdog: Watchdog,
    watches: Watches,
    /// Timeouts that wait for a number of completions: by that number, then in order.
    counted: VecDeque<(u32, RequestId)>,
    clock: libc::clockid_t,
    now: Instant,
    last_turn: Instant,
    counters: EngineCounters,
}

impl Engine {
    /// An engine over these rings, one set for each NIC queue. What is in their fill rings must be
    /// owned so in the ledger.
    pub fn new(
        now: Instant,
        config: EngineConfig,
        ledger: Ledger,
        stack: Stack,
        rings: Vec<Rings>,
        port: Box<dyn Port>,
    ) -> Engine {
        let queues = Arc::new(QueueMemory::new(
            config.sq_entries,
            config.cq_entries,
            config.setup_flags,
        ));
        Engine {
            queues,
            setup_flags: config.setup_flags,
            nic: Nic::new(rings, port),
            ledger,
            stack,
            requests: Requests::default(),
            files: Files::default(),
            groups: Groups::default(),
            refills: None,
            registered: Registered::default(),
            notices: Notices::default(),
            notifiers: Notifiers::default(),
            deferring: false,
            signals: Signals::default(),
            restrictions: None,
            settings: Settings::default(),
            mailbox: Arc::default(),
            overflow: VecDeque::new(),
            finished: VecDeque::new(),
            unposted: 0,
            work: VecDeque::new(),
            deferred: VecDeque::new(),
            held_back: 0,
            drain_active: false,
            drain_next: false,
            skip_seen: false,
            timers: Timers::default(),
            watchdog: Watchdog::new(),
            watches: Watches::default(),
            counted: VecDeque::new(),
            clock: libc::CLOCK_MONOTONIC,
            now,
            last_turn: now,
            counters: EngineCounters::default(),
        }
    }

    /// The application's side of the submission queue, of 64-byte entries.
    pub fn submission(&mut self) -> SubmissionQueue<'_> {
        SubmissionQueue::new(&self.queues)
    }

    /// The application's side of the completion queue, of 16-byte entries.
    pub fn completion(&mut self) -> CompletionQueue<'_> {
        CompletionQueue::new(&self.queues)
    }

    /// The same, of entries of this size: 32 bytes with `IORING_SETUP_CQE32` and `IORING_SETUP_CQE_MIXED`.
    ///
    /// # Panics
    /// If the ring was set up for entries of another size.
    pub fn completion_of<C: cqueue::EntryMarker>(&mut self) -> CompletionQueue<'_, C> {
        CompletionQueue::new(&self.queues)
    }

    /// The queues that the application's side shares.
    pub(crate) fn queues(&self) -> &Arc<QueueMemory> {
        &self.queues
    }

    /// Where other rings put their messages.
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// One step: completion rings, fill rings, received packets, timers, sockets, packets to send.
    /// Each part is bounded.
    pub fn turn(&mut self, now: Instant) {
        self.move_in(now);
        self.post_repaid();
        self.take_messages();
        if self.watches.has_news() {
            self.post_news();
        }
        self.run_work();
        self.service_sockets();
        self.fire_timers();
        self.move_out();
        self.show_waiting(false);
        self.signal();
    }

    /// A step that completes nothing: requests that wait go on waiting, for the turn of an enter that
    /// asks for completions (`IORING_SETUP_DEFER_TASKRUN`).
    pub fn turn_deferred(&mut self, now: Instant) {
        self.move_in(now);
        self.move_out();
        let due = self.timers.first(&self.requests);
        let due = due.is_some_and(|(at, _)| at <= now)
            || self.mailbox.is_filled()
            || self.watches.has_news()
            || self.ledger.has_repaid();
        self.show_waiting(self.stack.has_event() || due || !self.work.is_empty());
    }

    /// Tells the application whether an enter that asks for completions would find work.
    fn show_waiting(&self, waits: bool) {
        if self.setup_flags & IORING_SETUP_TASKRUN_FLAG != 0 {
            self.queues.set_sq_flag(IORING_SQ_TASKRUN, waits);
        }
    }

    fn move_in(&mut self, now: Instant) {
        self.counters.turns += 1;
        let late = now - self.last_turn > LATE;
        self.now = now;
        self.last_turn = now;
        self.reap_sent();
        self.take_credits();
        self.take_refills();
        self.refill();
        let received = self.receive_burst();
        self.counters.late_turns += u64::from(late && received > 0);
        self.stack.poll(now, &mut self.ledger);
    }

    fn move_out(&mut self) {
        self.send_or_drop();
        self.nic.kick();
        self.watch_queues();
    }

    fn send_or_drop(&mut self) {
        if !self.drop_burst() {
            self.send_burst();
        }
    }

    /// Which clock an absolute time to wait until is on (`IORING_REGISTER_CLOCK`).
    pub(crate) fn wait_clock(&self) -> libc::clockid_t {
        self.clock
    }

    /// Completions that the application can take.
    pub fn completions_ready(&self) -> u32 {
        self.queues.cq_ready()
    }

    /// Closes every connection, for the end of a ring: [`drain`](Self::drain) sees to the rest.
    pub fn hang_up(&mut self, now: Instant) {
        self.stack.tcp_hang_up(now, &mut self.ledger);
    }

    /// Resets what connections are left.
    pub fn reset_all(&mut self, now: Instant) {
        self.stack.tcp_reset_all(now, &mut self.ledger);
    }

    /// A turn without requests, for the end of a ring: the application's memory may be gone. `true`
    /// while there is something to send, or a connection that is not closed.
    pub fn drain(&mut self, now: Instant) -> bool {
        self.now = now;
        self.reap_sent();
        self.refill();
        self.receive_burst();
        self.stack.poll(now, &mut self.ledger);
        self.send_or_drop();
        self.nic.kick();
        self.send_waits() || self.stack.tcp_connections() > 0
    }

    /// Whether a turn would find something to do at once.
    pub fn has_work(&mut self) -> bool {
        self.nic.has_received() || self.nic.has_sent() || self.watches.has_news()
    }

    /// When the next turn is due even if no packet arrives.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let timer = self.timers.first(&self.requests).map(|(at, _)| at);
        let stack = self.stack.next_deadline(self.now);
        let retry = self.send_waits().then(|| self.now + nic::RETRY);
        let sockets = self.sockets_deadline();
        [timer, stack, retry, sockets].into_iter().flatten().min()
    }

    /// Packets wait for the NIC to take them, which only another kick brings about.
    fn send_waits(&self) -> bool {
        self.nic.in_flight() > 0 || (0..self.nic.queues()).any(|queue| self.stack.has_tx(queue))
    }

    /// A sleep is over; `beside`: the kernel beside us has something to say.
    pub(crate) fn woken(&mut self, beside: bool) {
        if beside {
            self.stack.kernel_is_ready();
        }
    }

    /// What the engine counted.
    pub fn counters(&self) -> EngineCounters {
        self.counters
    }

    /// What the rings counted.
    pub fn nic_counters(&self) -> NicCounters {
        self.nic.counters()
    }

    /// The stack, for its counters and addresses.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The stack, before the engine takes turns.
    pub(crate) fn stack_mut(&mut self) -> &mut Stack {
        &mut self.stack
    }

    /// The addresses, which another engine has probed, are ours.
    pub(crate) fn settle_addresses(&mut self, now: Instant) {
        self.stack.settle_addresses(now, &mut self.ledger);
    }

    /// Chunks by owner.
    pub fn census(&self) -> Census {
        self.ledger.census()
    }

    /// Requests that have not completed.
    pub fn pending_requests(&self) -> usize {
        self.requests.len()
    }

    fn service_sockets(&mut self) {
        // Bounded: what becomes ready while serving is next turn's, but for a requeued multishot.
        const BURST: usize = 256;
        for _ in 0..BURST {
            let Some(event) = self.stack.next_event() else {
                return;
            };
            let socket = event.socket;
            if event.receive {
                self.serve_receives(socket);
                self.serve_error_receives(socket);
            }
            if event.send {
                self.serve_sends(socket);
            }
            self.serve_polls(&event);
            self.run_work();
        }
    }
}

/// The kernel's errno for a socket operation's error.
fn errno(error: SocketError) -> Errno {
    match error {
        SocketError::WouldBlock => Errno::EAGAIN,
        SocketError::MessageSize => Errno::EMSGSIZE,
        SocketError::DestinationRequired => Errno::EDESTADDRREQ,
        SocketError::NetworkUnreachable => Errno::ENETUNREACH,
        SocketError::Refused => Errno::ECONNREFUSED,
        SocketError::ProtocolUnreachable => Errno::ENOPROTOOPT,
        SocketError::Access => Errno::EACCES,
        SocketError::AddressInUse => Errno::EADDRINUSE,
        SocketError::TooManyFiles => Errno::EMFILE,
        SocketError::AddressNotAvailable => Errno::EADDRNOTAVAIL,
        SocketError::AddressFamily => Errno::EAFNOSUPPORT,
        SocketError::Invalid => Errno::EINVAL,
        SocketError::NotConnected => Errno::ENOTCONN,
        SocketError::Pipe => Errno::EPIPE,
        SocketError::Reset => Errno::ECONNRESET,
        SocketError::TimedOut => Errno::ETIMEDOUT,
        SocketError::Protocol => Errno::EPROTO,
        SocketError::HostDown => Errno::EHOSTDOWN,
        SocketError::NoNetwork => Errno::ENONET,
        SocketError::HostUnreachable => Errno::EHOSTUNREACH,
        SocketError::InProgress => Errno::EINPROGRESS,
        SocketError::Already => Errno::EALREADY,
        SocketError::Connected => Errno::EISCONN,
        SocketError::Aborted => Errno::ECONNABORTED,
        SocketError::NotSupported => Errno::EOPNOTSUPP,
    }
}

// What rings of other set-ups do. Compiled twice, with the rings of the kernel's crate and of ringwire.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use io_uring::{opcode, types};
use ringwire_abi::flags::*;
use ringwire_abi::register::GetEventsArg;
use ringwire_abi::sqe::Sqe;
use ringwire_tests::net::{PATIENCE, PEER_V4, Veth};

pub type Case = fn(&mut World);

pub const CASES: &[(&str, Case)] = &[
    ("enter_flags", enter_flags),
    ("arguments_of_a_wait", wait_arguments),
    ("signal_masks_of_a_wait", signal_masks),
    ("how_waits_end", wait_ends),
    ("signals_and_waits", interrupted),
    ("what_is_asked_for_and_is_not_there", short_queue),
    ("a_disabled_ring", disabled),
    ("a_disabled_ring_is_its_enablers", enabler),
    ("a_single_issuer", single_issuer),
    ("deferred_completions", deferred),
    ("deferred_completions_are_the_owners", deferred_owner),
    ("completions_of_32_bytes", big_completions),
    ("a_small_ring_refuses_big_completions", small_completions),
    ("entries_of_128_bytes", big_entries),
    ("big_completions_overflow_in_order", big_overflow),
    ("messages_to_another_ring", messages),
    ("messages_that_are_refused", refused_messages),
    ("messages_to_oneself", own_messages),
    ("messages_overflow_over_there", overflowing_messages),
    ("messages_without_a_ring", ringless_messages),
    ("a_message_wakes_a_ring", waking_message),
    ("a_message_wakes_a_polling_thread", waking_message_polled),
    ("messages_to_a_ring_that_defers", deferred_messages),
    ("buffers_cloned_from_another_ring", clones),
    ("set_ups_that_are_refused", refused_set_ups),
    ("polled_submissions", polled),
    ("signals_and_polled_waits", interrupted_polled),
    ("the_pollable_fd_of_a_polled_ring", polled_fd),
    ("polled_waits", polled_waits),
    ("a_bad_entry_does_not_stop_a_polled_ring", polled_stop_rule),
    ("a_polling_thread_sleeps_and_is_woken", polled_sleep),
    ("room_in_a_polled_queue", polled_room),
    ("a_polled_ring_that_is_disabled", polled_disabled),
    ("a_polled_ring_registers", polled_registers),
    ("a_polled_queue_that_overflows", polled_overflow),
    ("anyone_submits_to_a_polled_ring", polled_threads),
    ("a_polled_ring_receives_while_its_thread_sleeps", polled_receive),
];

/// What a case writes down, and the peer's end of the pair.
pub struct World {
    peer: UdpSocket,
    pub transcript: Vec<String>,
}

impl World {
    pub fn new(veth: &Veth) -> World {
        World {
            peer: veth.peer_socket(PEER_V4),
            transcript: Vec::new(),
        }
    }

    fn say(&mut self, what: impl std::fmt::Debug) {
        self.transcript.push(format!("{what:?}"));
    }

    /// An enter, and what it returned.
    fn enter(&mut self, ring: &IoUring, what: &str, call: (u32, u32, u32), arg: Option<&GetEventsArg>) {
        let (to_submit, want, flags) = call;
        // SAFETY: what the argument points at outlives the call, or is refused.
        let entered = unsafe { ring.submitter().enter(to_submit, want, flags, arg) };
        self.say((what, entered.map_err(|error| error.raw_os_error())));
    }

    fn completions(&mut self, ring: &mut IoUring) {
        let completions: Vec<_> = ring.completion().map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags())).collect();
        self.say(completions);
    }
}

fn plain() -> IoUring {
    builder().build(8).expect("a ring")
}

fn nop(user_data: u64) -> squeue::Entry {
    opcode::Nop::new().build().user_data(user_data)
}

/// A NOP that completes with `res`, and 32 bytes.
fn big_nop(user_data: u64, res: i32) -> squeue::Entry {
    let sqe = Sqe {
        opcode: IORING_OP_NOP,
        off: 0x11,
        addr: 0x22,
        len: res as u32,
        op_flags: IORING_NOP_INJECT_RESULT | IORING_NOP_CQE32,
        user_data,
        ..Sqe::default()
    };
    sqe.to_entry()
}

fn push<S: squeue::EntryMarker, C: cqueue::EntryMarker>(ring: &mut IoUring<S, C>, entry: squeue::Entry) {
    // SAFETY: what the cases point at lives until they end.
    unsafe { ring.submission().push(&entry.into()) }.expect("room in the queue");
}

fn timespec(seconds: i64, nanos: i64) -> Box<[i64; 2]> {
    Box::new([seconds, nanos])
}

fn timed(time: &[i64; 2]) -> GetEventsArg {
    GetEventsArg {
        timespec: time.as_ptr() as u64,
        ..GetEventsArg::default()
    }
}

const GET: u32 = IORING_ENTER_GETEVENTS;
const EXT: u32 = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;

fn enter_flags(world: &mut World) {
    let ring = plain();
    for flags in [0, IORING_ENTER_GETEVENTS, IORING_ENTER_SQ_WAKEUP, IORING_ENTER_SQ_WAIT, IORING_ENTER_NO_IOWAIT] {
        world.enter(&ring, "known", (0, 0, flags), None);
    }
    world.enter(&ring, "registered", (0, 0, IORING_ENTER_REGISTERED_RING), None);
    for bit in 8..32 {
        world.enter(&ring, "unknown", (0, 0, 1 << bit), None);
    }
}

fn wait_arguments(world: &mut World) {
    let mut ring = plain();
    let now = timespec(0, 0);
    let good = timed(&now);
    world.enter(&ring, "no argument", (0, 0, EXT), None);
    world.enter(&ring, "nothing wanted", (0, 0, EXT), Some(&good));
    world.enter(&ring, "timeout", (0, 1, EXT), Some(&good));
    let bad = GetEventsArg { timespec: 8, ..good };
    world.enter(&ring, "bad pointer", (0, 0, EXT), Some(&bad));
    world.enter(&ring, "not read", (0, 0, IORING_ENTER_EXT_ARG), Some(&bad));
    // SAFETY: these are refused, or not read.
    unsafe {
        let submitter = ring.submitter();
        let sizes = [
            submitter.enter(0, 0, EXT, Some(&[0u64; 2])),
            submitter.enter(0, 0, EXT, Some(&[0u64; 4])),
            submitter.enter(0, 0, IORING_ENTER_EXT_ARG, Some(&[0u64; 2])),
            submitter.enter(0, 0, EXT | IORING_ENTER_EXT_ARG_REG, Some(&[0u64; 8])),
            submitter.enter(0, 0, EXT | IORING_ENTER_EXT_ARG_REG, Some(&good)),
            submitter.enter(0, 0, GET | IORING_ENTER_EXT_ARG_REG, Some(&good)),
        ];
        world.say(sizes.map(|entered| entered.map_err(|error| error.raw_os_error())));
    }
    push(&mut ring, nop(1));
    world.enter(&ring, "submitted first", (1, 1, EXT), Some(&bad));
    world.completions(&mut ring);
}

fn signal_masks(world: &mut World) {
    let mut ring = plain();
    let now = timespec(0, 0);
    let mask = [0u64; 16];
    let good = GetEventsArg { sigmask: mask.as_ptr() as u64, sigmask_bytes: 8, ..timed(&now) };
    world.enter(&ring, "mask", (0, 1, EXT), Some(&good));
    let short = GetEventsArg { sigmask_bytes: 4, ..good };
    world.enter(&ring, "short mask", (0, 1, EXT), Some(&short));
    world.enter(&ring, "mask that is not needed", (0, 0, EXT), Some(&short));
    let nowhere = GetEventsArg { sigmask: 16, ..good };
    world.enter(&ring, "mask nowhere", (0, 1, EXT), Some(&nowhere));
    push(&mut ring, nop(1));
    world.enter(&ring, "nop", (1, 0, 0), None);
    world.enter(&ring, "enough is there", (0, 1, EXT), Some(&short));
}

fn wait_ends(world: &mut World) {
    let mut ring = plain();
    for (seconds, nanos) in [(-1, 0), (0, -5), (0, 1_000_000), (0, 1_200_000_000)] {
        let time = timespec(seconds, nanos);
        let start = Instant::now();
        world.enter(&ring, "timeout", (0, 1, EXT), Some(&timed(&time)));
        world.say(start.elapsed() >= Duration::from_secs(1));
    }
    let past = timespec(1, 0);
    world.enter(&ring, "in the past", (0, 1, EXT | IORING_ENTER_ABS_TIMER), Some(&timed(&past)));
    let least = GetEventsArg { min_wait_us: 20_000, ..GetEventsArg::default() };
    world.enter(&ring, "minimum alone", (0, 1, EXT), Some(&least));
    let time = timespec(0, 1_000_000);
    let start = Instant::now();
    let both = GetEventsArg { min_wait_us: 20_000, ..timed(&time) };
    world.enter(&ring, "minimum above timeout", (0, 1, EXT), Some(&both));
    world.say(start.elapsed() >= Duration::from_millis(20));
    let time = timespec(1000, 0);
    let both = GetEventsArg { min_wait_us: 20_000, ..timed(&time) };
    push(&mut ring, nop(1));
    world.enter(&ring, "one of two after the minimum", (1, 2, EXT), Some(&both));
    world.completions(&mut ring);
    // A timeout that fires ends a wait for more.
    let soon = types::Timespec::from(Duration::from_millis(5));
    push(&mut ring, opcode::Timeout::new(&soon).build().user_data(2));
    world.enter(&ring, "a timeout of one's own", (1, 3, EXT), Some(&timed(&time)));
    world.completions(&mut ring);
    world.enter(&ring, "more than the queue holds", (0, 1000, EXT), Some(&timed(&past)));
}

/// A thread that waits gets signals until its wait is over.
fn interrupt(world: &mut World, ring: &mut IoUring) {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: the action is whole, and its handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
    }
    let mask = 1u64 << (libc::SIGUSR1 - 1);
    let time = timespec(0, 30_000_000);
    let masked = GetEventsArg { sigmask: &raw const mask as u64, sigmask_bytes: 8, ..timed(&time) };
    for arg in [None, Some(&masked)] {
        let ring = &*ring;
        let waited = std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let waiter = scope.spawn(move || {
                // SAFETY: no pointers are passed.
                tell.send(unsafe { libc::pthread_self() }).expect("the other thread");
                let flags = if arg.is_some() { EXT } else { GET };
                // SAFETY: what the argument points at outlives the call.
                unsafe { ring.submitter().enter(0, 1, flags, arg) }
            });
            let thread = told.recv().expect("the thread");
            while !waiter.is_finished() {
                // SAFETY: the thread has not been joined.
                unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
                std::thread::sleep(Duration::from_millis(1));
            }
            waiter.join().expect("the waiting thread")
        });
        world.say(waited.map_err(|error| error.raw_os_error()));
    }
    push(ring, nop(1));
    ring.submit_and_wait(1).expect("a completion");
    world.completions(ring);
}

fn interrupted(world: &mut World) {
    interrupt(world, &mut plain());
}

fn interrupted_polled(world: &mut World) {
    interrupt(world, &mut awake());
}

fn short_queue(world: &mut World) {
    let mut ring = plain();
    let forever = timespec(1000, 0);
    world.enter(&ring, "nothing there", (3, 1, EXT), Some(&timed(&forever)));
    push(&mut ring, nop(1));
    world.enter(&ring, "less than asked for", (3, 5, EXT), Some(&timed(&forever)));
    push(&mut ring, nop(2));
    push(&mut ring, nop(3));
    world.enter(&ring, "more than asked for", (1, 2, EXT), Some(&timed(&forever)));
    world.say(ring.submission().len());
    world.completions(&mut ring);
}

fn disabled(world: &mut World) {
    let mut ring: IoUring = builder().setup_r_disabled().build(8).expect("a ring");
    push(&mut ring, nop(1));
    world.enter(&ring, "disabled", (1, 0, 0), None);
    world.enter(&ring, "disabled, unknown flag", (0, 0, 1 << 20), None);
    world.say(ring.submitter().register_files_sparse(4).is_ok());
    for _ in 0..2 {
        let enabled = ring.submitter().register_enable_rings();
        world.say(enabled.map_err(|error| error.raw_os_error()));
    }
    world.enter(&ring, "enabled", (1, 0, 0), None);
    world.completions(&mut ring);
    drop(ring);
    let enabled = plain().submitter().register_enable_rings();
    world.say(enabled.map_err(|error| error.raw_os_error()));
}

/// Does something in another thread.
fn elsewhere<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(run).join().expect("the other thread"))
}

fn enabler(world: &mut World) {
    let mut ring: IoUring = builder().setup_r_disabled().setup_single_issuer().build(8).expect("a ring");
    elsewhere(|| ring.submitter().register_enable_rings()).expect("anyone may");
    push(&mut ring, nop(1));
    let here = ring.submit().map_err(|error| error.raw_os_error());
    let there = elsewhere(|| ring.submit().map_err(|error| error.raw_os_error()));
    world.say((here, there));
    let registered = ring.submitter().register_files_sparse(4);
    world.say(registered.map_err(|error| error.raw_os_error()));
}

fn single_issuer(world: &mut World) {
    let mut ring: IoUring = builder().setup_single_issuer().build(8).expect("a ring");
    world.say((ring.params().is_setup_single_issuer(), ring.params().is_setup_sqpoll()));
    world.say((ring.params().sq_entries(), ring.params().cq_entries()));
    push(&mut ring, nop(1));
    let there = elsewhere(|| ring.submit().map_err(|error| error.raw_os_error()));
    world.say(there);
    let registered = elsewhere(|| ring.submitter().register_files_sparse(4));
    world.say(registered.map_err(|error| error.raw_os_error()));
    let here = ring.submit().map_err(|error| error.raw_os_error());
    world.say(here);
    // Who only waits need not be the owner.
    let waited = elsewhere(|| ring.submitter().submit_and_wait(1).map_err(|error| error.raw_os_error()));
    world.say(waited);
    world.completions(&mut ring);
}

/// A bound UDP socket in slot 0, and its port.
fn socket(ring: &mut IoUring) -> [u8; 16] {
    ring.submitter().register_files_sparse(4).expect("a table");
    let slot = types::DestinationSlot::try_from_slot_target(0).expect("a slot");
    push(ring, opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0).file_index(Some(slot)).build());
    ring.submit_and_wait(1).expect("a socket");
    assert_eq!(ring.completion().next().expect("a completion").result(), 0);
    let mut address = [0; 16];
    address[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&7000u16.to_be_bytes());
    push(ring, opcode::Bind::new(types::Fixed(0), address.as_ptr().cast(), 16).build());
    ring.submit_and_wait(1).expect("an address");
    assert_eq!(ring.completion().next().expect("a completion").result(), 0);
    address
}

fn deferred(world: &mut World) {
    let mut ring: IoUring = builder().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().build(8).expect("a ring");
    socket(&mut ring);
    let mut buffer = [0u8; 64];
    push(&mut ring, opcode::Recv::new(types::Fixed(0), buffer.as_mut_ptr(), 64).build().user_data(5));
    push(&mut ring, nop(6));
    world.enter(&ring, "what completes at once", (2, 0, 0), None);
    world.completions(&mut ring);
    world.peer.send_to(b"datagram", "10.7.0.2:7000").expect("sent");
    let deadline = Instant::now() + PATIENCE;
    while !ring.submission().taskrun() {
        assert!(Instant::now() < deadline, "nothing came");
        // SAFETY: no argument.
        unsafe { ring.submitter().enter::<u64>(0, 0, 0, None) }.expect("a turn");
    }
    world.enter(&ring, "not asked for", (0, 0, 0), None);
    world.completions(&mut ring);
    world.enter(&ring, "asked for", (0, 0, GET), None);
    world.say(ring.submission().taskrun());
    world.completions(&mut ring);
    world.say(&buffer[..8]);
}

fn deferred_owner(world: &mut World) {
    let ring: IoUring = builder().setup_single_issuer().setup_defer_taskrun().build(8).expect("a ring");
    for flags in [0, GET, IORING_ENTER_SQ_WAKEUP] {
        // SAFETY: no argument.
        let entered = elsewhere(|| unsafe { ring.submitter().enter::<u64>(0, 0, flags, None) });
        world.say(entered.map_err(|error| error.raw_os_error()));
    }
}

fn big_completions(world: &mut World) {
    let mut ring = builder::<squeue::Entry, cqueue::Entry32>().build(8).expect("a ring");
    for user_data in 0..20 {
        push(&mut ring, big_nop(user_data, 7));
        push(&mut ring, nop(100 + user_data));
        ring.submit_and_wait(2).expect("completions");
        let completions: Vec<_> = ring
            .completion()
            .map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags(), *cqe.big_cqe()))
            .collect();
        world.say(completions);
    }
}

fn small_completions(world: &mut World) {
    let mut ring = plain();
    push(&mut ring, big_nop(1, 7));
    push(&mut ring, nop(2));
    world.enter(&ring, "refused", (2, 0, 0), None);
    world.completions(&mut ring);
}

fn big_entries(world: &mut World) {
    let mut ring = builder::<squeue::Entry128, cqueue::Entry>().build(4).expect("a ring");
    for round in 0..5u64 {
        for user_data in 0..3 {
            push(&mut ring, nop(10 * round + user_data));
        }
        world.say(ring.submission().len());
        world.say(ring.submit().map_err(|error| error.raw_os_error()));
        let completions: Vec<_> = ring.completion().map(|cqe| (cqe.user_data(), cqe.result())).collect();
        world.say(completions);
    }
}

fn big_overflow(world: &mut World) {
    let mut ring = builder::<squeue::Entry, cqueue::Entry32>().setup_cqsize(4).build(4).expect("a ring");
    for user_data in 0..7 {
        push(&mut ring, big_nop(user_data, user_data as i32));
        ring.submit().expect("taken");
    }
    world.say(ring.submission().cq_overflow());
    loop {
        let completions: Vec<_> =
            ring.completion().map(|cqe| (cqe.user_data(), cqe.result(), *cqe.big_cqe())).collect();
        if completions.is_empty() {
            break;
        }
        world.say(completions);
        ring.submit().expect("flushed");
    }
    world.say(ring.submission().cq_overflow());
}

fn raw(error: impl Into<std::io::Error>) -> Option<i32> {
    error.into().raw_os_error()
}

fn refused_set_ups(world: &mut World) {
    fn errno<S: squeue::EntryMarker, C: cqueue::EntryMarker>(builder: &Builder<S, C>) -> Option<i32> {
        builder.build(8).err().and_then(raw)
    }
    fn small() -> Builder {
        builder()
    }
    world.say([
        errno(small().setup_sqpoll(1).setup_coop_taskrun()),
        errno(small().setup_sqpoll(1).setup_single_issuer().setup_defer_taskrun()),
        errno(small().setup_sqpoll_cpu(0)),
        errno(small().setup_sqpoll(1).setup_sqpoll_cpu(9999)),
        errno(small().setup_defer_taskrun()),
        errno(small().setup_taskrun_flag()),
        errno(small().setup_cqsize(4)),
        errno(small().setup_cqsize(0)),
    ]);
    world.say([small().build(0).is_err(), small().build(100_000).is_err()]);
}

/// Pages that stay, each a buffer.
fn pages(count: usize) -> Vec<libc::iovec> {
    let memory = vec![0u8; count * 4096].leak();
    let pages = memory.chunks_mut(4096);
    pages.map(|page| libc::iovec { iov_base: page.as_mut_ptr().cast(), iov_len: page.len() }).collect()
}

fn clones(world: &mut World) {
    let (mut into, veth) = (plain(), second());
    let mut from: IoUring = veth.in_ring(plain);
    let fd = from.as_raw_fd();
    let none = io_uring::types::CloneBuffersFlags::empty();
    let replace = io_uring::types::CloneBuffersFlags::DST_REPLACE;
    let error = |result: std::io::Result<()>| result.map_err(|error| error.raw_os_error());
    let clone = |world: &mut World, into: &IoUring, what, (from, to, count), flags| {
        let cloned = into.submitter().register_buffers_clone_offset(fd, from, to, count, flags);
        world.say((what, error(cloned)));
    };
    clone(world, &into, "of none", (0, 0, 0), none);
    let buffers = pages(2);
    // SAFETY: the pages are leaked.
    unsafe { from.submitter().register_buffers2(&buffers, &[51, 52]) }.expect("buffers");
    clone(world, &into, "too many", (0, 0, 3), none);
    clone(world, &into, "of two", (0, 1, 2), none);
    clone(world, &into, "of two again", (0, 0, 0), none);
    clone(world, &into, "over them", (1, 0, 1), replace);
    // SAFETY: the pages are leaked.
    let update = |at| unsafe { from.submitter().register_buffers_update(at, &buffers[..1], Some(&[61])) };
    world.say(("update", error(update(0)), error(update(2))));
    from.submitter().unregister_buffers().expect("there are some");
    from.submit().expect("a turn");
    world.completions(&mut from);
    clone(world, &into, "of none any more", (0, 0, 0), replace);
    // SAFETY: the pages are leaked.
    let third = |at| unsafe { into.submitter().register_buffers_update(at, &buffers[..1], None) };
    world.say(("three slots", error(third(2)), error(third(3))));
    world.say(error(into.submitter().unregister_buffers()));
    into.submit().expect("a turn");
    push(&mut into, Sqe { user_data: 9, ..Sqe::default() }.to_entry());
    into.submit().expect("taken");
    world.completions(&mut into);
}

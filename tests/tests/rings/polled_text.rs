// Rings whose submissions a thread takes (SQPOLL).

/// Waits for so many completions, and writes them down together.
fn gather(world: &mut World, ring: &mut IoUring, count: usize) {
    let mut completions = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while completions.len() < count {
        assert!(Instant::now() < deadline, "{completions:?}");
        ring.submit().expect("a submit");
        completions.extend(ring.completion().map(|cqe| (cqe.user_data(), cqe.result())));
    }
    world.say(completions);
}

/// A ring whose thread does not fall asleep in any test.
fn awake() -> IoUring {
    builder().setup_sqpoll(100_000).build(8).expect("a ring")
}

fn polled(world: &mut World) {
    let mut ring = awake();
    world.say((ring.params().is_setup_sqpoll(), ring.params().sq_thread_idle()));
    for round in 0..20 {
        push(&mut ring, nop(2 * round));
        push(&mut ring, nop(2 * round + 1));
        gather(world, &mut ring, 2);
    }
    world.say(ring.submission().need_wakeup());
    world.enter(&ring, "what is asked for is what is returned", (7, 0, 0), None);
    world.enter(&ring, "a wake-up that is not needed", (0, 0, IORING_ENTER_SQ_WAKEUP), None);
    world.say(ring.submit().map_err(|error| error.raw_os_error()));
}

fn is_readable(fd: RawFd, timeout: Duration) -> bool {
    let mut polled = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, which lives through the call.
    let count = unsafe { libc::poll(&raw mut polled, 1, timeout.as_millis() as i32) };
    count == 1 && polled.revents & libc::POLLIN != 0
}

fn polled_fd(world: &mut World) {
    let mut ring = awake();
    let fd = ring.as_raw_fd();
    for round in 0..5 {
        ring.submit().expect("a submit");
        // A thread that is about to say so keeps it readable for a moment.
        let deadline = Instant::now() + PATIENCE;
        while is_readable(fd, Duration::ZERO) {
            assert!(Instant::now() < deadline, "it stays readable");
            ring.submit().expect("a submit");
        }
        push(&mut ring, nop(round));
        ring.submit().expect("a submit");
        world.say(is_readable(fd, PATIENCE));
        world.completions(&mut ring);
    }
}

fn polled_waits(world: &mut World) {
    let mut ring = awake();
    let (now, soon) = (timespec(0, 0), timespec(0, 5_000_000));
    world.enter(&ring, "timeout", (0, 1, EXT), Some(&timed(&now)));
    world.enter(&ring, "timeout", (0, 1, EXT), Some(&timed(&soon)));
    world.enter(&ring, "timeout after a submission", (1, 1, EXT), Some(&timed(&soon)));
    world.enter(&ring, "in the past", (0, 1, EXT | IORING_ENTER_ABS_TIMER), Some(&timed(&soon)));
    push(&mut ring, nop(1));
    ring.submit_and_wait(1).expect("a wait");
    world.completions(&mut ring);
    let time = types::Timespec::from(Duration::from_millis(5));
    push(&mut ring, opcode::Timeout::new(&time).build().user_data(2));
    ring.submit_and_wait(3).expect("a wait");
    world.completions(&mut ring);
    let least = GetEventsArg { min_wait_us: 20_000, ..GetEventsArg::default() };
    push(&mut ring, nop(3));
    gather(world, &mut ring, 1);
    world.enter(&ring, "minimum alone", (0, 1, EXT), Some(&least));
}

fn polled_stop_rule(world: &mut World) {
    let mut ring = awake();
    let bad = Sqe { opcode: 200, user_data: 2, ..Sqe::default() };
    for entry in [nop(1), bad.to_entry(), nop(3)] {
        push(&mut ring, entry);
    }
    gather(world, &mut ring, 3);
}

fn until_asleep(ring: &mut IoUring) {
    let deadline = Instant::now() + PATIENCE;
    while !ring.submission().need_wakeup() {
        assert!(Instant::now() < deadline, "it does not sleep");
        std::thread::yield_now();
    }
}

fn polled_sleep(world: &mut World) {
    let mut ring: IoUring = builder().setup_sqpoll(1).build(8).expect("a ring");
    until_asleep(&mut ring);
    push(&mut ring, nop(1));
    world.enter(&ring, "without a wake-up", (1, 0, 0), None);
    gather(world, &mut ring, 1);
    until_asleep(&mut ring);
    push(&mut ring, nop(2));
    ring.submit_and_wait(1).expect("a wait");
    world.completions(&mut ring);
    until_asleep(&mut ring);
    // A timer wakes the thread by itself.
    let time = types::Timespec::from(Duration::from_millis(20));
    push(&mut ring, opcode::Timeout::new(&time).build().user_data(3));
    ring.submit_and_wait(1).expect("a wait");
    world.completions(&mut ring);
}

fn polled_room(world: &mut World) {
    let mut ring = awake();
    let mut pushed = 0;
    while pushed < 100 {
        // SAFETY: a NOP names no memory.
        if unsafe { ring.submission().push(&nop(pushed)) }.is_ok() {
            pushed += 1;
        } else {
            ring.submit().expect("a submit");
            let waited = ring.submitter().squeue_wait().map_err(|error| error.raw_os_error());
            assert_eq!(waited, Ok(0));
            assert!(!ring.submission().is_full());
        }
        ring.completion().for_each(drop);
    }
    world.say(pushed);
}

fn polled_disabled(world: &mut World) {
    let mut ring: IoUring = builder().setup_sqpoll(1).setup_r_disabled().build(8).expect("a ring");
    push(&mut ring, nop(1));
    world.enter(&ring, "disabled", (1, 1, GET), None);
    world.say(ring.submission().len());
    ring.submitter().register_enable_rings().expect("enabled");
    gather(world, &mut ring, 1);
}

fn polled_registers(world: &mut World) {
    let mut ring = awake();
    for _ in 0..20 {
        push(&mut ring, nop(1));
        let registered = ring.submitter().register_files_sparse(4).map_err(|error| error.raw_os_error());
        let again = ring.submitter().register_files_sparse(4).map_err(|error| error.raw_os_error());
        let gone = ring.submitter().unregister_files().map_err(|error| error.raw_os_error());
        world.say((registered, again, gone));
        gather(world, &mut ring, 1);
    }
}

fn polled_overflow(world: &mut World) {
    let mut ring: IoUring = builder().setup_sqpoll(100_000).setup_cqsize(4).build(4).expect("a ring");
    let deadline = Instant::now() + PATIENCE;
    for user_data in 0..10 {
        push(&mut ring, nop(user_data));
        while !ring.submission().is_empty() {
            assert!(Instant::now() < deadline, "nothing is taken");
            // A submit would also flush what has overflowed.
            if ring.submission().need_wakeup() {
                let wake = IORING_ENTER_SQ_WAKEUP;
                // SAFETY: no argument.
                unsafe { ring.submitter().enter::<u64>(0, 0, wake, None) }.expect("a wake-up");
            }
            std::thread::yield_now();
        }
    }
    while !ring.submission().cq_overflow() {
        assert!(Instant::now() < deadline, "nothing overflows");
    }
    gather(world, &mut ring, 10);
    world.say(ring.submission().cq_overflow());
}

fn polled_threads(world: &mut World) {
    let mut ring: IoUring = builder().setup_sqpoll(1).setup_single_issuer().build(8).expect("a ring");
    push(&mut ring, nop(1));
    // How many were queued still is the thread's pace.
    elsewhere(|| ring.submit_and_wait(1)).expect("a wait");
    world.completions(&mut ring);
    let registered = elsewhere(|| ring.submitter().register_files_sparse(4));
    world.say(registered.map_err(|error| error.raw_os_error()));
}

fn polled_receive(world: &mut World) {
    let mut ring: IoUring = builder().setup_sqpoll(1).build(8).expect("a ring");
    socket(&mut ring);
    let mut buffer = [0u8; 64];
    for round in 0..5u8 {
        push(&mut ring, opcode::Recv::new(types::Fixed(0), buffer.as_mut_ptr(), 64).build().user_data(5));
        ring.submit().expect("taken");
        until_asleep(&mut ring);
        world.peer.send_to(&[round; 8], "10.7.0.2:7000").expect("sent");
        ring.submit_and_wait(1).expect("a wait");
        world.completions(&mut ring);
        world.say(&buffer[..8]);
    }
    // A request is in flight when the ring is dropped.
    push(&mut ring, opcode::Recv::new(types::Fixed(0), buffer.as_mut_ptr(), 64).build().user_data(5));
    ring.submit().expect("taken");
    drop(ring);
}

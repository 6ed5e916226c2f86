// MSG_RING, from ring to ring.

/// A pair for a second ring: an interface has one ring.
fn second() -> Veth {
    Veth::new(1, 1500, false)
}

/// MSG_RING with data, as an entry to be changed.
fn message(ring: RawFd) -> Sqe {
    Sqe {
        opcode: IORING_OP_MSG_RING,
        fd: ring,
        off: 7,
        len: 42,
        user_data: 1,
        ..Sqe::default()
    }
}

/// Sends a message, and writes down what came of it on both sides.
fn send(world: &mut World, from: &mut IoUring, to: &mut IoUring, sqe: &Sqe) {
    push(from, sqe.to_entry());
    from.submit_and_wait(1).expect("a completion");
    world.completions(from);
    to.submit().expect("a turn");
    world.completions(to);
}

fn messages(world: &mut World) {
    let (mut from, veth) = (plain(), second());
    let mut to: IoUring = veth.in_ring(plain);
    let fd = to.as_raw_fd();
    send(world, &mut from, &mut to, &message(fd));
    send(world, &mut from, &mut to, &Sqe { len: -5i32 as u32, ..message(fd) });
    let passes = Sqe { file_index: 0x0001_0001, op_flags: IORING_MSG_RING_FLAGS_PASS, ..message(fd) };
    send(world, &mut from, &mut to, &passes);
    push(&mut from, Sqe { flags: IOSQE_CQE_SKIP_SUCCESS, ..message(fd) }.to_entry());
    from.submit().expect("taken");
    world.completions(&mut from);
    to.submit_and_wait(1).expect("a message");
    world.completions(&mut to);
    for user_data in 0..5 {
        push(&mut from, Sqe { off: user_data, user_data, ..message(fd) }.to_entry());
    }
    from.submit_and_wait(5).expect("completions");
    to.submit_and_wait(5).expect("messages");
    world.completions(&mut from);
    world.completions(&mut to);
}

fn refused_messages(world: &mut World) {
    let (mut from, veth) = (plain(), second());
    let disabled: IoUring = veth.in_ring(|| builder().setup_r_disabled().build(8).expect("a ring"));
    let (own, fd, socket) = (from.as_raw_fd(), disabled.as_raw_fd(), world.peer.as_raw_fd());
    let slot = 1 << 1;
    let refused = [
        Sqe { file_index: 3, ..message(own) },
        Sqe { op_flags: 1, ..message(own) },
        Sqe { op_flags: 4, ..message(own) },
        Sqe { addr3: 9, ..message(own) },
        Sqe { buf_index: 1, ..message(own) },
        Sqe { addr: 2, ..message(own) },
        Sqe { ioprio: 1, ..message(own) },
        message(-1),
        message(socket),
        Sqe { addr: 5, ..message(socket) },
        message(fd),
        Sqe { addr3: 3, ..message(fd) },
        Sqe { flags: IOSQE_FIXED_FILE, ..message(0) },
        Sqe { addr: 1, len: 1, ..message(own) },
        Sqe { addr: 1, len: 0, ..message(own) },
        Sqe { addr: 1, len: 0, ..message(fd) },
        Sqe { addr: 1, len: 0, ..message(socket) },
        Sqe { addr: 1, len: 0, file_index: slot, ..message(fd) },
    ];
    for sqe in refused {
        push(&mut from, sqe.to_entry());
        from.submit_and_wait(1).expect("a completion");
        world.completions(&mut from);
    }
    disabled.submitter().register_enable_rings().expect("enabled");
    // There is no descriptor to send.
    push(&mut from, Sqe { addr: 1, len: 0, ..message(fd) }.to_entry());
    from.submit_and_wait(1).expect("a completion");
    world.completions(&mut from);
}

fn own_messages(world: &mut World) {
    let mut ring = plain();
    let fd = ring.as_raw_fd();
    push(&mut ring, message(fd).to_entry());
    ring.submit_and_wait(2).expect("both");
    world.completions(&mut ring);
}

fn overflowing_messages(world: &mut World) {
    let (mut from, veth) = (plain(), second());
    let mut to: IoUring = veth.in_ring(|| builder().setup_cqsize(2).build(2).expect("a ring"));
    let fd = to.as_raw_fd();
    for user_data in 0..5 {
        push(&mut from, Sqe { off: user_data, ..message(fd) }.to_entry());
        from.submit_and_wait(1).expect("a completion");
        world.completions(&mut from);
    }
    world.enter(&to, "nothing is asked for", (0, 0, 0), None);
    world.say(to.submission().cq_overflow());
    for _ in 0..3 {
        world.completions(&mut to);
        world.enter(&to, "flushed", (0, 0, GET), None);
    }
    world.say(to.submission().cq_overflow());
}

fn ringless_messages(world: &mut World) {
    let mut ring = plain();
    let (fd, socket) = (ring.as_raw_fd(), world.peer.as_raw_fd());
    for sqe in [
        message(fd),
        Sqe { flags: IOSQE_FIXED_FILE, ..message(fd) },
        Sqe { addr: 1, ..message(fd) },
        Sqe { addr3: 1, ..message(fd) },
        Sqe { opcode: IORING_OP_NOP, ..message(fd) },
        message(socket),
        message(-1),
    ] {
        // SAFETY: the ring takes any user_data.
        let sent = unsafe { register_sync_msg(&sqe.to_entry()) };
        world.say(sent.map_err(|error| error.raw_os_error()));
        ring.submit().expect("a turn");
        world.completions(&mut ring);
    }
}

/// A message comes while a thread waits.
fn wake(world: &mut World, mut to: IoUring) {
    let mut from = plain();
    let fd = to.as_raw_fd();
    for round in 0..20 {
        let waited = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| to.submit_and_wait(1).map_err(|error| error.raw_os_error()));
            push(&mut from, Sqe { off: round, ..message(fd) }.to_entry());
            from.submit_and_wait(1).expect("a completion");
            waiter.join().expect("the waiting thread")
        });
        world.say(waited);
        world.completions(&mut to);
        world.completions(&mut from);
    }
}

fn waking_message(world: &mut World) {
    let veth = second();
    let to = veth.in_ring(plain);
    wake(world, to);
}

fn waking_message_polled(world: &mut World) {
    let veth = second();
    let to = veth.in_ring(|| builder().setup_sqpoll(1).build(8).expect("a ring"));
    wake(world, to);
}

fn deferred_messages(world: &mut World) {
    let (mut from, veth) = (plain(), second());
    let mut to: IoUring = veth.in_ring(|| {
        let mut builder = builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
        builder.build(8).expect("a ring")
    });
    push(&mut from, message(to.as_raw_fd()).to_entry());
    from.submit_and_wait(1).expect("a completion");
    world.completions(&mut from);
    world.enter(&to, "not asked for", (0, 0, 0), None);
    world.say(to.submission().taskrun());
    world.completions(&mut to);
    world.enter(&to, "asked for", (0, 0, GET), None);
    world.say(to.submission().taskrun());
    world.completions(&mut to);
}

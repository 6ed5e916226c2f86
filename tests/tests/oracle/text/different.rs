//! Where ringwire differs from the kernel, and is meant to.

use super::register::*;
use super::*;

pub const CASES: &[Case] = &[
    case("plain_descriptors", plain_descriptors),
    case("operations_on_files", operations_on_files),
    case("requests_on_descriptors", requests_on_descriptors),
    case("times_in_the_entry", times_in_the_entry),
    case("source_by_interface", source_by_interface),
    case("kinds_of_sockets", kinds_of_sockets),
    case("options_are_read_at_every_level", options_of_other_levels),
    case("options_that_are_not_there", missing_options),
    case(
        "control_messages_that_are_not_there",
        missing_control_messages,
    ),
    case("loopback", loopback),
    case("time_wait_and_bind", time_wait_and_bind),
    case("time_passes_only_in_turns", turns),
    case("buffer_sizes_of_a_new_socket", default_buffers),
    case("urgent_data", urgent_data),
    case("names_of_sockets", names),
    case("registered_memory_and_copies", registered_copies),
    case("user_data_of_a_notification", notification_user_data),
    case("descriptors_in_a_table", descriptors_in_a_table),
    case("registrations_that_are_not_there", missing_registrations),
    case("limits_of_workers_at_first", first_workers),
    case("napi_ids_of_processors", napi_ids_of_processors),
    case("entry_overwritten_while_in_use", entry_overwritten),
    case(
        "incremental_buffer_of_a_receive_in_parts",
        incremental_parts,
    ),
    case("length_beyond_an_incremental_buffer", beyond_incremental),
    case("bundles_of_datagrams", datagram_bundles),
    case("lent_buffer_groups", lent_groups),
    case("groups_of_registered_memory", registered_groups),
    case("length_of_a_multishot_messages_iovec", message_iovec),
    case("ranges_that_come_back_with_a_send", msg_zerocopy::inline),
];

/// A result that has no fixed value: whether it is one, or the error.
fn sign(res: i32) -> Result<(), i32> {
    if res < 0 { Err(res) } else { Ok(()) }
}

impl Bench {
    /// Runs a request whose result may be any that is not an error.
    fn run_for_sign(&mut self, entry: squeue::Entry, user_data: u64) {
        let (res, flags) = self.result(entry);
        self.say((user_data, sign(res), flags));
    }
}

fn plain_descriptors(bench: &mut Bench) {
    let socket = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0);
    bench.run_for_sign(socket.build(), 1);
    bench.listener(4);
    let _stream = bench.peer_connects();
    let accept = opcode::Accept::new(types::Fixed(0), std::ptr::null_mut(), std::ptr::null_mut());
    bench.run_for_sign(accept.build(), 2);
}

fn operations_on_files(bench: &mut Bench) {
    let path = c"/dev/null";
    let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr());
    bench.run_for_sign(open.build(), 1);
    bench.run_for_sign(opcode::Fsync::new(types::Fd(-1)).build(), 2);
    bench.run_for_sign(
        opcode::Splice::new(types::Fd(-1), -1, types::Fd(-1), -1, 0).build(),
        3,
    );
}

fn requests_on_descriptors(bench: &mut Bench) {
    const SYNC_CANCEL: u32 = 24;
    const NOP_FILE: u8 = 1 << 1;
    let fd = bench.peer.as_raw_fd();
    let nop = raw(opcode::Nop::new().build(), |bytes| {
        bytes[4..8].copy_from_slice(&fd.to_ne_bytes());
        bytes[28] = NOP_FILE;
    });
    bench.run(nop, 1);
    bench.run(cancel_by(2, fd as u32, 0, 0), 2);
    // The key's user_data, its fd and flags (by fd), no time.
    let mut key = [0u64; 8];
    key[1] = u64::from(fd as u32) | 2 << 32;
    (key[2], key[3]) = (u64::MAX, u64::MAX);
    bench.register("by a descriptor", SYNC_CANCEL, &key, 1);
}

fn times_in_the_entry(bench: &mut Bench) {
    const IMMEDIATE: u32 = 1 << 7;
    let timeout = raw(opcode::Timeout::new(std::ptr::null()).build(), |bytes| {
        bytes[16..24].copy_from_slice(&1000u64.to_ne_bytes());
        bytes[28..32].copy_from_slice(&IMMEDIATE.to_ne_bytes());
    });
    bench.run(timeout, 1);
}

fn source_by_interface(bench: &mut Bench) {
    bench.bound();
    // SAFETY: the list ends with an entry without an index, and its names are strings.
    let index = unsafe {
        let mut entry = libc::if_nameindex();
        assert!(!entry.is_null(), "the interfaces");
        while (*entry).if_index != 0 && std::ffi::CStr::from_ptr((*entry).if_name) == c"lo" {
            entry = entry.add(1);
        }
        (*entry).if_index
    };
    assert!(index > 0, "an interface");
    let mut peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    let mut info = [0; 12];
    info[..4].copy_from_slice(&index.to_ne_bytes());
    let name = (libc::SOL_IP, libc::IP_PKTINFO);
    super::datagram::run_with_control(bench, &mut peer, name, &info, 1);
}

fn kinds_of_sockets(bench: &mut Bench) {
    bench.files();
    let udp = libc::IPPROTO_UDP;
    for (user_data, (domain, kind, protocol)) in [
        (libc::AF_UNIX, libc::SOCK_STREAM, 0),
        (libc::AF_PACKET, libc::SOCK_RAW, 0),
        (libc::AF_INET, libc::SOCK_RAW, udp),
        (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP),
    ]
    .into_iter()
    .enumerate()
    {
        let slot = types::DestinationSlot::try_from_slot_target(0).unwrap();
        let entry = opcode::Socket::new(domain, kind, protocol).file_index(Some(slot));
        bench.run(entry.build(), user_data as u64);
    }
}

fn options_of_other_levels(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    bench.get_int(0, tcp_level(libc::TCP_NODELAY), 2);
    bench.get_int(0, (libc::IPPROTO_IP, libc::IP_TTL), 3);
}

fn missing_options(bench: &mut Bench) {
    bench.bound();
    bench.set_int(0, socket_level(libc::SO_BROADCAST), 1, 1);
    bench.set_int(0, socket_level(libc::SO_PRIORITY), 1, 2);
    bench.set_int(0, socket_level(libc::SO_TIMESTAMP), 1, 3);
    bench.set_int(0, (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER), 0, 4);
    bench.set_int(0, (libc::IPPROTO_IP, libc::IP_RECVERR), 1, 5);
    bench.set_int(0, (libc::IPPROTO_IP, libc::IP_PKTINFO), 1, 6);
    bench.run(socket(libc::AF_INET6, 1), 7);
    bench.set_int(1, (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY), 1, 8);
}

fn missing_control_messages(bench: &mut Bench) {
    bench.bound();
    let mut peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    let mut control = [0u64; 8];
    let mark = 7u32;
    // SAFETY: all zeroes is a valid msghdr; the control buffer is aligned and long enough.
    let header = unsafe {
        let len = size_of_val(&mark) as u32;
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_name = (&raw mut peer).cast();
        header.msg_namelen = 16;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(len) as usize;
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        (*message).cmsg_level = libc::SOL_SOCKET;
        (*message).cmsg_type = libc::SO_MARK;
        (*message).cmsg_len = libc::CMSG_LEN(len) as usize;
        libc::CMSG_DATA(message).cast::<u32>().write_unaligned(mark);
        header
    };
    bench.run(
        opcode::SendMsg::new(types::Fixed(0), &raw const header).build(),
        1,
    );
}

fn loopback(bench: &mut Bench) {
    bench.files();
    bench.run(socket(libc::AF_INET, 0), 1);
    bench.run(bind_entry(0, &v4("127.0.0.1", PORT)), 2);
    bench.run(socket(libc::AF_INET, 1), 3);
    bench.run(connect_entry(1, &v4("127.0.0.1", PORT)), 4);
    // Its own address is the ring's too, and reaches it on the kernel by the loopback interface.
    bench.run(socket(libc::AF_INET, 2), 5);
    bench.run(bind_entry(2, &any_v4(PORT + 1)), 6);
    bench.run(connect_entry(2, &v4(RING_V4, PORT + 1)), 7);
    bench.run(send_on(2, b"myself", 0), 8);
    let mut buffer = [0; 16];
    bench.run(recv_on(2, &mut buffer, libc::MSG_DONTWAIT), 9);
}

fn time_wait_and_bind(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run(close_entry(1), 1);
    bench.peer_sees_end(&mut stream);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // Acknowledging it is what begins TIME-WAIT.
    bench.pump("the peer's end is acknowledged", || {
        unacknowledged(&stream) == 0
    });
    drop(stream);
    bench.run(close_entry(0), 2);
    bench.stream_socket(libc::AF_INET, 0, 3);
    bench.run(bind_entry(0, &any_v4(PORT)), 4);
}

fn turns(bench: &mut Bench) {
    let mut stream = bench.connected();
    stream.write_all(b"acknowledge me").unwrap();
    let deadline = std::time::Instant::now() + Duration::from_millis(200);
    // Longer than any delayed acknowledgement takes.
    while unacknowledged(&stream) > 0 && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    bench.say(("acknowledged without a turn", unacknowledged(&stream) == 0));
    bench.pump("the peer's data is acknowledged", || {
        unacknowledged(&stream) == 0
    });
}

fn default_buffers(bench: &mut Bench) {
    bench.files();
    bench.stream_socket(libc::AF_INET, 0, 1);
    let mut values = [0i32; 2];
    for (value, name) in values.iter_mut().zip([libc::SO_RCVBUF, libc::SO_SNDBUF]) {
        let address = std::ptr::from_mut(value).expose_provenance();
        let (res, _) = bench.result(option_entry(0, GET, socket_level(name), address, 4));
        assert_eq!(res, 4);
    }
    let values = std::hint::black_box(values);
    bench.say(("512 KiB and 1 MiB", values == [512 * 1024, 1024 * 1024]));
}

fn urgent_data(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run(send_on(1, b"!", libc::MSG_OOB), 1);
    bench.run(send_on(1, b"x", 0), 2);
    let got = bench.peer_reads(&mut stream, 1);
    bench.say(got);
}

fn descriptors_in_a_table(bench: &mut Bench) {
    let peer = [bench.peer.as_raw_fd()];
    bench.register("a socket's", REGISTER_FILES, &peer, 1);
    bench.register_at("end", UNREGISTER_FILES, 0, 0);
    bench.files();
    bench.register("in a slot", FILES_UPDATE, &rsrc_update(0, at(&peer)), 1);
}

fn missing_registrations(bench: &mut Bench) {
    // A region of memory, at an address that is none: what is there says so.
    bench.register_at("a region", 34, 8, 1);
}

fn first_workers(bench: &mut Bench) {
    let mut limits = [0u32; 2];
    let result = bench.register_quietly(19, limits.as_mut_ptr() as u64, 2);
    bench.say((result, limits.map(|limit| limit > 0)));
}

fn napi_ids_of_processors(bench: &mut Bench) {
    // Microseconds, what to do in the third byte, with what.
    for mut napi in [[0u32, 0, 1, 0], [0, 1 << 8, 1, 0]] {
        let result = bench.register_quietly(27, napi.as_mut_ptr() as u64, 1);
        bench.say(("napi", result));
    }
}

fn entry_overwritten(bench: &mut Bench) {
    const INCREMENTAL: u16 = 2;
    bench.bound();
    bench.buffer_ring(INCREMENTAL);
    bench.provide(0, 16);
    // SAFETY: the entry is in the ring, which is never unmapped.
    unsafe { (*bench.buffer_ring).set_addr(bench.buffer_ring as u64) };
    // Received over its own entry: the length becomes 2 MiB. The tail stays.
    let mut over = [0; 16];
    over[10] = 0x20;
    over[14] = 1;
    bench.peer_sends(&over);
    bench.until_readable();
    bench.run(recv_group(0, 0, 0, 0), 1);
}

/// GETSOCKNAME: the socket's own address, or its peer's.
fn name_entry(slot: u32, peer: u8, name: &mut [u8], len: &mut u32) -> squeue::Entry {
    const GETSOCKNAME: u8 = 5;
    let entry = option_entry(slot, GETSOCKNAME, (0, 0), 0, 0);
    raw(entry, |bytes| {
        bytes[16..24].copy_from_slice(&(name.as_mut_ptr() as u64).to_ne_bytes());
        bytes[44] = peer;
        bytes[48..56].copy_from_slice(&(std::ptr::from_mut(len) as u64).to_ne_bytes());
    })
}

fn names(bench: &mut Bench) {
    let stream = bench.connected();
    bench.stream_socket(libc::AF_INET6, 2, 1);
    let port = stream.local_addr().unwrap().port().to_be_bytes();
    let asked = [
        (0, 0, 16),
        (0, 1, 16),
        (1, 0, 4),
        (1, 0, 16),
        (1, 1, 16),
        (2, 0, 28),
        (3, 0, 16),
    ];
    for (user_data, (slot, peer, room)) in (2..).zip(asked) {
        let (mut name, mut len) = ([0; 28], room);
        bench.run(name_entry(slot, peer, &mut name, &mut len), user_data);
        let (name, len) = std::hint::black_box((name, len));
        // The peer's port is another each time.
        let shown = if name[2..4] == port {
            &name[4..8]
        } else {
            &name[..8]
        };
        bench.say((len, shown));
    }
    let (mut name, mut len) = ([0; 28], -1i32 as u32);
    bench.run(name_entry(1, 0, &mut name, &mut len), 10);
    bench.run(name_entry(1, 2, &mut name, &mut len), 11);
    let longer = raw(name_entry(1, 0, &mut name, &mut len), |bytes| bytes[24] = 1);
    bench.run(longer, 12);
}

fn registered_copies(bench: &mut Bench) {
    let mut stream = bench.connected();
    let memory = counted(4096);
    let parts = [libc::iovec {
        iov_base: memory.as_ptr().cast_mut().cast(),
        iov_len: 4000,
    }];
    // SAFETY: the memory lives until the case ends.
    unsafe { bench.ring.submitter().register_buffers(&parts) }.expect("a registered buffer");
    let fixed = |entry: squeue::Entry, index: u8| {
        raw(entry, |bytes| {
            bytes[2] |= 4;
            bytes[40] = index;
        })
    };
    bench.run(fixed(send_on(1, &memory[..8], 0), 0), 1);
    bench.run(fixed(send_on(1, &memory[3990..4001], 0), 0), 2);
    bench.run(fixed(send_on(1, &memory[..8], 0), 1), 3);
    stream.write_all(b"received").unwrap();
    bench.readable(1);
    let into = |at: usize, len| {
        let at = memory.as_ptr().wrapping_add(at).cast_mut();
        opcode::Recv::new(types::Fixed(1), at, len).build()
    };
    bench.run(fixed(into(3990, 11), 0), 4);
    bench.run(fixed(into(0, 8), 1), 5);
    bench.run(fixed(into(100, 8), 0), 6);
    bench.say(std::hint::black_box(&memory)[100..108].to_vec());
}

fn notification_user_data(bench: &mut Bench) {
    let _stream = bench.connected();
    let send = opcode::SendZc::new(types::Fixed(1), b"zero".as_ptr(), 4).build();
    let other = raw(send, |bytes| bytes[48] = 77);
    bench.run(other, 1);
    bench.run(opcode::Nop::new().build(), 2);
}

const INCREMENTAL: u16 = 2;

fn incremental_parts(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run(socket(libc::AF_INET, 2), 930);
    bench.run(bind_entry(2, &any_v4(PORT)), 931);
    bench.buffer_ring(INCREMENTAL);
    bench.provide(0, 100);
    bench.provide(1, 100);
    bench.push(recv_group(1, 8, 0, libc::MSG_WAITALL), 1);
    bench.submit();
    stream.write_all(b"half").unwrap();
    bench.until_taken(&stream);
    stream.write_all(b"full").unwrap();
    bench.wait(1);
    bench.push(recv_group(2, 0, 0, 0), 2);
    bench.submit();
    bench.peer_sends(b"behind");
    bench.wait(1);
    bench.say((bench.buffer(0, 10), bench.buffer(1, 6)));
}

fn beyond_incremental(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(INCREMENTAL);
    bench.provide(0, 8);
    bench.provide(1, 8);
    bench.peer_sends(b"more than eight");
    bench.until_readable();
    bench.run(recv_group(0, 0, 0, libc::MSG_TRUNC), 1);
    bench.peer_sends(b"12345678");
    bench.until_readable();
    bench.run(recv_group(0, 0, 0, 0), 2);
}

fn datagram_bundles(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 100);
    bench.push(recv_group(0, 0, MULTISHOT | BUNDLE, 0), 1);
    bench.submit();
    bench.peer_sends(b"last");
    bench.wait(1);
}

fn lent_groups(bench: &mut Bench) {
    // Nobody's memory: without it the ring's own is used. The flag is ringwire's.
    const MMAP: u16 = 1;
    const LENT: u16 = 1 << 15;
    let lent = buf_reg(0, 8, 1, MMAP | LENT, 0);
    bench.register("lent", REGISTER_PBUF_RING, &lent, 1);
    bench.register(
        "incremental",
        REGISTER_PBUF_RING,
        &buf_reg(0, 8, 2, MMAP | LENT | 2, 0),
        1,
    );
    bench.register("gone", UNREGISTER_PBUF_RING, &buf_reg(0, 0, 1, 0, 0), 1);
}

fn registered_groups(bench: &mut Bench) {
    const FIXED: u16 = 4;
    let _stream = bench.connected();
    bench.buffer_ring(0);
    let memory = counted(4096);
    let parts = [libc::iovec {
        iov_base: memory.as_ptr().cast_mut().cast(),
        iov_len: 4000,
    }];
    // SAFETY: the memory lives until the case ends.
    unsafe { bench.ring.submitter().register_buffers(&parts) }.expect("a registered buffer");
    // An entry's address: the offset above the index's 20 bits.
    for (bid, (index, offset)) in (0..).zip([(0u64, 100u64), (0, 200), (0, 3999), (1, 0)]) {
        let tail = bench.tail;
        let addr = offset << 20 | index;
        provide_in(bench.buffer_ring, BUFFERS, tail, addr, 8, bid);
        bench.tail = tail + 1;
    }
    let zero_copy = |ioprio: u16| {
        let send = opcode::SendZc::new(types::Fixed(1), std::ptr::null(), 0);
        let send = send.buf_index(Some(GROUP)).zc_flags(ioprio).build();
        send.flags(squeue::Flags::BUFFER_SELECT)
    };
    bench.run(send_group(0, FIXED), 1);
    bench.run(zero_copy(BUNDLE), 2);
    bench.run(send_group(0, FIXED), 3);
    bench.run(send_group(0, FIXED), 4);
    bench.run(send_group(0, FIXED), 5);
}

fn message_iovec(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 64);
    bench.provide(1, 64);
    let mut part = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 20,
    };
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut part, 1);
    let entry = opcode::RecvMsgMulti::new(types::Fixed(0), &raw const header, GROUP);
    bench.push(entry.build(), 1);
    bench.submit();
    for payload in [b"first", b"other"] {
        bench.peer_sends(payload);
        bench.wait(1);
    }
}

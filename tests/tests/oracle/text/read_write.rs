//! READ and WRITE on sockets, in all their forms.

use super::*;

pub const CASES: &[Case] = &[
    case("read_and_write_of_a_connection", connection),
    case("read_and_write_of_datagrams", datagrams),
    case("read_and_write_offsets", offsets),
    case("readv_and_writev", vectored),
    case("read_and_write_fixed", fixed),
    case("readv_and_writev_fixed", vectored_fixed),
    case("read_flags", read_flags),
    case("write_flags", write_flags),
    case("read_and_write_without_waiting", without_waiting),
    case("read_into_provided_buffers", provided),
    case("readv_into_provided_buffers", provided_vectored),
    case("read_and_write_refused_at_preparation", refused),
    case("read_and_write_at_bad_addresses", bad_addresses),
    case("read_and_write_of_unconnected_sockets", unconnected),
    case("read_and_write_of_nothing", nothing),
    case("read_and_write_in_links", links),
    case("read_that_is_short_breaks_its_link", short_reads),
    case("read_that_waits_is_cancelled", cancelled),
    case("read_multishot_of_a_connection", multishot_stream),
    case("read_multishot_of_datagrams", multishot_datagrams),
    case("read_multishot_refused", multishot_refused),
    case("read_multishot_finds_the_queue_full", multishot_queue_full),
    case("read_after_the_socket_is_shut_down", shut_down),
];

const NOTHING: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

fn read_on(slot: u32, buffer: &mut [u8]) -> opcode::Read {
    opcode::Read::new(types::Fixed(slot), buffer.as_mut_ptr(), buffer.len() as u32)
}

fn write_on(slot: u32, bytes: &[u8]) -> opcode::Write {
    opcode::Write::new(types::Fixed(slot), bytes.as_ptr(), bytes.len() as u32)
}

fn readv_on(slot: u32, parts: &[libc::iovec]) -> squeue::Entry {
    opcode::Readv::new(types::Fixed(slot), parts.as_ptr(), parts.len() as u32).build()
}

fn writev_on(slot: u32, parts: &[libc::iovec]) -> squeue::Entry {
    opcode::Writev::new(types::Fixed(slot), parts.as_ptr(), parts.len() as u32).build()
}

/// A read that takes its buffer from the group.
fn read_group(slot: u32, len: u32) -> squeue::Entry {
    let read = opcode::Read::new(types::Fixed(slot), std::ptr::null_mut(), len);
    read.buf_group(GROUP)
        .build()
        .flags(squeue::Flags::BUFFER_SELECT)
}

fn read_multi(slot: u32) -> squeue::Entry {
    let entry = opcode::ReadMulti::new(types::Fixed(slot), 0, GROUP).build();
    // The builder forgets it.
    entry.flags(squeue::Flags::FIXED_FILE)
}

impl Bench {
    /// The peer writes, and it has arrived.
    fn arrives(&mut self, stream: &mut TcpStream, bytes: &[u8]) {
        stream.write_all(bytes).expect("the peer writes");
        self.readable(1);
    }

    /// A datagram from the peer, and it has arrived.
    fn datagram_arrives(&mut self, payload: &[u8]) {
        self.peer_sends(payload);
        self.until_readable();
    }

    fn registers(&mut self, memory: &[u8]) {
        // SAFETY: what the cases register lives until they end.
        unsafe { self.ring.submitter().register_buffers(&[iovec(memory)]) }
            .expect("a registered buffer");
    }
}

fn connection(bench: &mut Bench) {
    let mut stream = bench.connected();
    let mut buffer = [0; 16];
    bench.run(write_on(1, b"written").build(), 1);
    let got = bench.peer_reads(&mut stream, 7);
    bench.say(got);
    bench.push(read_on(1, &mut buffer).build(), 2);
    bench.submit();
    stream.write_all(b"to be read").unwrap();
    bench.wait(1);
    bench.say(buffer);
    bench.arrives(&mut stream, b"more than it takes");
    bench.run(read_on(1, &mut buffer).build(), 3);
    bench.run(read_on(1, &mut buffer).build(), 4);
    bench.say(buffer);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.run(read_on(1, &mut buffer).build(), 5);
    bench.run(read_on(1, &mut buffer).build(), 6);
    let long = counted(8 << 20);
    bench.push(write_on(1, &long).build(), 7);
    bench.ring.submit_and_wait(1).expect("a turn");
    let sent = bench.ring.completion().next().map(|cqe| cqe.result());
    let sent = sent.expect("a completion");
    bench.say(("a part", sent > 0 && (sent as usize) < long.len()));
    let got = bench.peer_reads(&mut stream, sent as usize);
    bench.say(("a beginning", got == long[..sent as usize]));
}

fn datagrams(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0; 8];
    bench.run(write_on(0, b"nowhere").build(), 1);
    let address = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    bench.run(connect_entry(0, &address), 2);
    bench.run(write_on(0, b"written").build(), 3);
    bench.at_peer();
    bench.datagram_arrives(b"short");
    bench.run(read_on(0, &mut buffer).build(), 4);
    bench.datagram_arrives(b"longer than that");
    bench.run(read_on(0, &mut buffer).build(), 5);
    bench.say(buffer);
    bench.datagram_arrives(b"");
    bench.run(read_on(0, &mut buffer).build(), 6);
    let long = counted(65_508);
    bench.run(write_on(0, &long).build(), 7);
    bench.run(writev_on(0, &[iovec(b"in "), iovec(b"parts")]), 8);
    bench.at_peer();
    bench.datagram_arrives(b"in two parts");
    let mut other = [0; 8];
    bench.run(readv_on(0, &[iovec(&buffer[..6]), iovec(&other)]), 9);
    other[7] = 1;
    bench.say((buffer, other));
}

fn offsets(bench: &mut Bench) {
    let mut stream = bench.connected();
    let mut buffer = [0; 4];
    for (user_data, offset) in [(1, 0), (2, u64::MAX), (3, 5), (4, 1 << 63)] {
        bench.arrives(&mut stream, b"1234");
        bench.run(read_on(1, &mut buffer).offset(offset).build(), user_data);
        bench.run(write_on(1, b"5678").offset(offset).build(), user_data + 10);
        bench.push(recv_on(1, &mut buffer, libc::MSG_DONTWAIT), user_data + 20);
        bench.wait(1);
    }
}

fn vectored(bench: &mut Bench) {
    let mut stream = bench.connected();
    let parts = [iovec(b"one "), NOTHING, iovec(b"two")];
    bench.run(writev_on(1, &parts), 1);
    let got = bench.peer_reads(&mut stream, 7);
    bench.say(got);
    let (first, second) = ([0u8; 4], [0u8; 4]);
    bench.arrives(&mut stream, b"parts");
    bench.run(readv_on(1, &[iovec(&first), NOTHING, iovec(&second)]), 2);
    bench.say((first, second));
    bench.run(writev_on(1, &[]), 3);
    bench.run(readv_on(1, &[]), 4);
    bench.run(readv_on(1, &[NOTHING]), 5);
    // The iovecs are copied at submission.
    let mut parts = [iovec(&first)];
    bench.push(readv_on(1, &parts), 6);
    bench.submit();
    parts[0] = NOTHING;
    stream.write_all(b"late").unwrap();
    bench.wait(1);
    bench.say((first, parts[0].iov_len));
}

fn fixed(bench: &mut Bench) {
    let mut stream = bench.connected();
    let mut memory = counted(4096);
    let base = memory.as_mut_ptr();
    let read = |at: usize, len, index| {
        opcode::ReadFixed::new(types::Fixed(1), base.wrapping_add(at), len, index).build()
    };
    let write = |at: usize, len, index| {
        opcode::WriteFixed::new(types::Fixed(1), base.wrapping_add(at), len, index).build()
    };
    bench.run(write(0, 8, 0), 1);
    bench.registers(&memory);
    bench.run(write(8, 8, 0), 2);
    let got = bench.peer_reads(&mut stream, 8);
    bench.say(got);
    bench.arrives(&mut stream, b"fixed");
    bench.run(read(100, 16, 0), 3);
    bench.say(memory[96..112].to_vec());
    bench.run(write(0, 8, 1), 4);
    bench.run(write(4090, 7, 0), 5);
    bench.run(read(4090, 7, 0), 6);
    bench.run(write(4096, 0, 0), 7);
    bench.run(read(4096, 0, 0), 8);
    bench.run(read(5000, 0, 0), 9);
    // A read holds its buffer.
    bench.push(read(0, 16, 0), 10);
    bench.submit();
    bench
        .ring
        .submitter()
        .unregister_buffers()
        .expect("no buffers");
    bench.run(read(0, 16, 0), 11);
    stream.write_all(b"held").unwrap();
    bench.wait(1);
    bench.say(memory[..5].to_vec());
}

fn vectored_fixed(bench: &mut Bench) {
    let mut stream = bench.connected();
    let memory = counted(4096);
    let part = |at: usize, len: usize| iovec(&memory[at..at + len]);
    let read = |parts: &[libc::iovec], index| {
        let (parts, len) = (parts.as_ptr(), parts.len() as u32);
        opcode::ReadvFixed::new(types::Fixed(1), parts, len, index).build()
    };
    let write = |parts: &[libc::iovec], index| {
        let (parts, len) = (parts.as_ptr(), parts.len() as u32);
        opcode::WritevFixed::new(types::Fixed(1), parts, len, index).build()
    };
    bench.run(write(&[part(0, 4)], 0), 1);
    bench.registers(&memory[..4000]);
    bench.run(write(&[part(0, 4), part(100, 4)], 0), 2);
    let got = bench.peer_reads(&mut stream, 8);
    bench.say(got);
    bench.arrives(&mut stream, b"vectored");
    bench.run(read(&[part(200, 3), part(300, 8)], 0), 3);
    bench.say((memory[200..204].to_vec(), memory[300..306].to_vec()));
    bench.run(write(&[part(0, 4), part(4000, 4)], 0), 4);
    bench.run(write(&[part(0, 4), part(0, 0)], 0), 5);
    bench.run(write(&[], 0), 6);
    bench.run(read(&[], 0), 7);
    bench.run(write(&vec![part(0, 1); 1025], 0), 8);
    bench.run(write(&[part(0, 4)], 7), 9);
    let nowhere = opcode::WritevFixed::new(types::Fixed(1), std::ptr::dangling(), 1, 0);
    bench.run(nowhere.build(), 10);
}

fn read_flags(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.arrives(&mut stream, &[b'x'; 200]);
    for bit in 0..32 {
        let mut buffer = [0; 4];
        let entry = read_on(1, &mut buffer).rw_flags(1 << bit).build();
        bench.run(entry, bit);
    }
    let mut buffer = [0; 4];
    let both = libc::RWF_APPEND | libc::RWF_NOAPPEND;
    bench.run(read_on(1, &mut buffer).rw_flags(both).build(), 40);
    let several = libc::RWF_NOWAIT | libc::RWF_HIPRI;
    bench.run(read_on(1, &mut buffer).rw_flags(several).build(), 41);
}

fn write_flags(bench: &mut Bench) {
    let _stream = bench.connected();
    for bit in 0..32 {
        bench.run(write_on(1, b"flag").rw_flags(1 << bit).build(), bit);
    }
    let both = libc::RWF_APPEND | libc::RWF_NOAPPEND;
    bench.run(write_on(1, b"flag").rw_flags(both).build(), 40);
    bench.run(write_on(3, b"flag").rw_flags(both).build(), 41);
}

fn without_waiting(bench: &mut Bench) {
    let _stream = bench.connected();
    let mut buffer = [0; 4];
    let nowait = libc::RWF_NOWAIT;
    bench.run(read_on(1, &mut buffer).rw_flags(nowait).build(), 1);
    bench.fill(1);
    bench.run(write_on(1, b"more").rw_flags(nowait).build(), 2);
}

fn provided(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run(read_group(1, 0), 1);
    bench.buffer_ring(0);
    bench.run(read_group(1, 0), 2);
    bench.provide(0, 8);
    bench.provide(1, 8);
    bench.provide(2, 8);
    bench.arrives(&mut stream, b"0123456789abcdef");
    bench.run(read_group(1, 0), 3);
    bench.run(read_group(1, 4), 4);
    bench.run(read_group(1, 100), 5);
    bench.say(bench.buffer(2, 8));
    bench.run(read_group(1, 0), 6);
    bench.provide(3, 8);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.run(read_group(1, 0), 7);
    // Nor is a buffer kept by a read that fails.
    for (user_data, at, value) in [(8, 8, 5), (9, 30, 1), (10, 4, 3)] {
        bench.provide(user_data as u16 - 4, 8);
        let entry = raw(read_group(1, 0), |bytes| bytes[at] = value);
        bench.run(entry, user_data);
        bench.run(read_group(1, 0), user_data + 10);
    }
}

fn provided_vectored(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    bench.provide(0, 8);
    bench.provide(1, 8);
    let select = |parts: &[libc::iovec]| {
        raw(readv_on(1, parts), |bytes| {
            bytes[40..42].copy_from_slice(&GROUP.to_ne_bytes());
        })
        .flags(squeue::Flags::BUFFER_SELECT)
    };
    let beyond = |len| libc::iovec {
        iov_base: 8 as *mut _,
        iov_len: len,
    };
    bench.arrives(&mut stream, b"0123456789abcdef");
    bench.run(select(&[beyond(4)]), 1);
    bench.run(select(&[beyond(0)]), 2);
    bench.run(select(&[]), 3);
    bench.run(select(&[beyond(4), beyond(4)]), 4);
    bench.run(select(&[beyond(4)]), 5);
    let nowhere = raw(select(&[]), |bytes| {
        bytes[16..24].copy_from_slice(&8u64.to_ne_bytes());
        bytes[24] = 1;
    });
    bench.run(nowhere, 6);
}

fn refused(bench: &mut Bench) {
    let _stream = bench.connected();
    let mut buffer = [0; 4];
    let mut with = |entry: squeue::Entry, at: usize, value: u8, user_data| {
        bench.run(raw(entry, |bytes| bytes[at] = value), user_data);
    };
    for (user_data, at, value) in [(1, 56, 2), (2, 42, 1), (3, 3, 0x80), (4, 2, 1), (5, 48, 1)] {
        with(write_on(1, b"bad").build(), at, value, user_data);
        let select = |entry: squeue::Entry| entry.flags(squeue::Flags::BUFFER_SELECT);
        with(select(write_on(1, b"bad").build()), 24, 3, user_data + 10);
    }
    // An I/O priority with a class means nothing, and is taken.
    with(write_on(1, b"good").build(), 3, 0x20, 20);
    let many = vec![iovec(b"x"); 1025];
    bench.run(writev_on(1, &many), 21);
    bench.run(writev_on(1, &many[1..]), 22);
    bench.run(readv_on(1, &many), 23);
    bench.push(writev_on(1, &many), 24);
    bench.push(opcode::Nop::new().build(), 25);
    bench.submit();
    bench.wait(2);
    bench.run(read_on(3, &mut buffer).build(), 26);
}

fn bad_addresses(bench: &mut Bench) {
    let mut stream = bench.connected();
    let beyond = (1u64 << 63) as *mut u8;
    bench.run(
        opcode::Write::new(types::Fixed(1), 8 as *const u8, 4).build(),
        1,
    );
    bench.run(opcode::Write::new(types::Fixed(1), beyond, 4).build(), 2);
    bench.run(opcode::Read::new(types::Fixed(1), beyond, 4).build(), 3);
    bench.arrives(&mut stream, b"stays");
    bench.run(
        opcode::Read::new(types::Fixed(1), 8 as *mut u8, 4).build(),
        4,
    );
    let mut buffer = [0; 8];
    bench.run(read_on(1, &mut buffer).build(), 5);
    let far = libc::iovec {
        iov_base: beyond.cast(),
        iov_len: 4,
    };
    bench.run(writev_on(1, &[iovec(b"good"), far]), 6);
    let long = libc::iovec {
        iov_len: 1 << 63,
        ..iovec(b"x")
    };
    bench.run(writev_on(1, &[iovec(b"good"), long]), 7);
    bench.run(readv_on(1, &[long, far]), 8);
    let nowhere = opcode::Writev::new(types::Fixed(1), std::ptr::dangling(), 1);
    bench.run(nowhere.build(), 9);
    // A send's and a receive's memory is looked at as early.
    bench.push(opcode::Send::new(types::Fixed(1), beyond, 4).build(), 10);
    bench.push(opcode::Nop::new().build(), 11);
    bench.submit();
    bench.wait(2);
    bench.push(opcode::Recv::new(types::Fixed(1), beyond, 4).build(), 12);
    bench.push(opcode::Nop::new().build(), 13);
    bench.submit();
    bench.wait(2);
}

fn unconnected(bench: &mut Bench) {
    bench.files();
    let mut buffer = [0; 4];
    bench.stream_socket(libc::AF_INET, 0, 1);
    bench.run(read_on(0, &mut buffer).build(), 2);
    bench.run(write_on(0, b"nobody").build(), 3);
    bench.run(read_on(0, &mut []).build(), 4);
    bench.run(write_on(0, b"").build(), 5);
    bench.run(bind_entry(0, &any_v4(PORT)), 6);
    bench.run(opcode::Listen::new(types::Fixed(0), 4).build(), 7);
    bench.run(read_on(0, &mut buffer).build(), 8);
    bench.run(write_on(0, b"nobody").build(), 9);
}

fn nothing(bench: &mut Bench) {
    let _stream = bench.connected();
    bench.run(read_on(1, &mut []).build(), 1);
    bench.run(write_on(1, b"").build(), 2);
    bench.run(socket(libc::AF_INET, 2), 3);
    bench.run(bind_entry(2, &any_v4(PORT + 1)), 4);
    bench.run(read_on(2, &mut []).build(), 5);
    bench.run(write_on(2, b"").build(), 6);
    let address = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    bench.run(connect_entry(2, &address), 7);
    bench.run(write_on(2, b"").build(), 8);
    bench.at_peer();
}

fn links(bench: &mut Bench) {
    let mut stream = bench.connected();
    let mut buffer = [0; 4];
    bench.push(write_on(1, b"one").build().flags(link()), 1);
    bench.push(write_on(1, b"two").build().flags(link()), 2);
    bench.push(read_on(1, &mut buffer).build().flags(link()), 3);
    bench.push(opcode::Nop::new().build(), 4);
    bench.submit();
    let got = bench.peer_reads(&mut stream, 6);
    stream.write_all(b"full").unwrap();
    bench.wait(4);
    bench.say(got);
}

fn short_reads(bench: &mut Bench) {
    let mut stream = bench.connected();
    let mut buffer = [0; 8];
    bench.arrives(&mut stream, b"short");
    bench.push(read_on(1, &mut buffer).build().flags(link()), 1);
    bench.push(opcode::Nop::new().build(), 2);
    bench.wait(2);
    let long = counted(8 << 20);
    bench.push(write_on(1, &long).build().flags(link()), 3);
    bench.push(opcode::Nop::new().build(), 4);
    bench.ring.submit_and_wait(2).expect("a turn");
    let seen: Vec<_> = bench.ring.completion().collect();
    bench.say((seen[0].result() > 0, seen[1].user_data(), seen[1].result()));
    bench.peer_reads(&mut stream, seen[0].result() as usize);
    bench.buffer_ring(0);
    bench.provide(0, 8);
    bench.arrives(&mut stream, b"short");
    bench.push(read_group(1, 0).flags(link()), 5);
    bench.push(opcode::Nop::new().build(), 6);
    bench.wait(2);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.push(read_on(1, &mut buffer).build().flags(link()), 7);
    bench.push(opcode::Nop::new().build(), 8);
    bench.wait(2);
    bench.push(read_on(1, &mut []).build().flags(link()), 9);
    bench.push(opcode::Nop::new().build(), 10);
    bench.wait(2);
}

fn cancelled(bench: &mut Bench) {
    let _stream = bench.connected();
    let mut buffer = [0; 8];
    bench.push(read_on(1, &mut buffer).build(), 1);
    bench.submit();
    bench.cancel(1);
    bench.wait(2);
    bench.push(readv_on(1, &[iovec(&buffer)]), 2);
    bench.submit();
    const BY_OPCODE: u8 = 1 << 5;
    let cancel = |opcode: u8| {
        let entry = opcode::AsyncCancel::new(0).build();
        raw(entry, |bytes| {
            bytes[28] = BY_OPCODE;
            bytes[24] = opcode;
        })
    };
    bench.run(cancel(opcode::Read::CODE), 3);
    bench.push(cancel(opcode::Readv::CODE), 4);
    bench.wait(2);
}

fn multishot_stream(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run(read_multi(1), 1);
    bench.buffer_ring(0);
    bench.run(read_multi(1), 2);
    bench.provide(0, 8);
    bench.provide(1, 8);
    bench.push(read_multi(1), 3);
    bench.submit();
    stream.write_all(b"0123").unwrap();
    bench.wait(1);
    stream.write_all(b"456").unwrap();
    bench.wait(1);
    stream.write_all(b"789").unwrap();
    bench.wait(1);
    bench.say((bench.buffer(0, 8), bench.buffer(1, 8)));
    // What is there at once goes into as many buffers as it takes.
    for bid in 2..6 {
        bench.provide(bid, 8);
    }
    stream.write_all(b"abcdefghijklm").unwrap();
    bench.readable(1);
    bench.push(read_multi(1), 4);
    bench.wait(2);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.wait(1);
    bench.push(read_multi(1), 5);
    bench.wait(1);
}

fn multishot_datagrams(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 8);
    bench.provide(1, 8);
    bench.push(read_multi(0), 1);
    bench.submit();
    for payload in [&b"one"[..], b"two and more", b"three"] {
        bench.peer_sends(payload);
        bench.wait(1);
    }
    bench.provide(2, 8);
    bench.provide(3, 8);
    bench.push(read_multi(0), 2);
    bench.wait(1);
    bench.peer_sends(b"");
    bench.wait(1);
    bench.peer_sends(b"");
    bench.until_readable();
    bench.run(read_group(0, 0), 10);
    bench.provide(4, 8);
    bench.push(read_multi(0), 3);
    bench.submit();
    bench.cancel(3);
    bench.wait(2);
}

fn multishot_refused(bench: &mut Bench) {
    let _stream = bench.connected();
    bench.buffer_ring(0);
    bench.provide(0, 8);
    let with = |at: usize| raw(read_multi(1), |bytes| bytes[at] = 1);
    bench.run(with(16), 1);
    bench.run(with(24), 2);
    bench.run(with(2), 3);
    bench.run(with(28), 4);
    let plain = raw(read_multi(1), |bytes| bytes[1] &= !0x20);
    bench.run(plain, 5);
    bench.run(read_multi(3), 6);
    bench.push(with(29), 7);
    bench.wait(1);
    let nowait = raw(read_multi(1), |bytes| bytes[28] = libc::RWF_NOWAIT as u8);
    bench.run(nowait, 8);
}

fn multishot_queue_full(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    bench.provide(0, 8);
    bench.provide(1, 8);
    bench.arrives(&mut stream, b"data");
    for _ in 0..CQ_ENTRIES {
        bench.push(opcode::Nop::new().build(), 1);
    }
    bench.submit();
    bench.push(read_multi(1), 2);
    bench.submit();
    bench.wait(CQ_ENTRIES as usize + 1);
}

fn shut_down(bench: &mut Bench) {
    let stream = bench.connected();
    let mut buffer = [0; 8];
    bench.run(shutdown_entry(1, libc::SHUT_RD), 1);
    bench.run(read_on(1, &mut buffer).build(), 2);
    bench.run(shutdown_entry(1, libc::SHUT_WR), 3);
    bench.run(write_on(1, b"too late").build(), 4);
    bench.run(write_on(1, b"").build(), 5);
    drop(stream);
    bench.run(socket(libc::AF_INET, 2), 6);
    bench.run(bind_entry(2, &any_v4(PORT + 1)), 7);
    bench.push(read_on(2, &mut buffer).build().flags(link()), 8);
    bench.push(opcode::Nop::new().build(), 9);
    bench.submit();
    let address = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    bench.run(connect_entry(2, &address), 10);
    bench.push(shutdown_entry(2, libc::SHUT_RD), 11);
    bench.wait_for_each(3);
    bench.run(shutdown_entry(2, libc::SHUT_WR), 12);
    bench.run(write_on(2, b"too late").build(), 13);
}

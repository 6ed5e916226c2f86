//! Zero-copy sends: the completion, and the notification that follows it.

use super::*;

pub const CASES: &[Case] = &[
    case("zero_copy_to_a_connection", to_connection),
    case("zero_copy_datagrams", datagrams),
    case("zero_copy_vectored", vectored),
    case("zero_copy_messages", messages),
    case("zero_copy_from_registered_memory", registered),
    case("zero_copy_message_in_registered_memory", registered_message),
    case("zero_copy_refused_without_a_notification", refused_early),
    case("zero_copy_refused_with_a_notification", refused_late),
    case("zero_copy_fails_at_its_socket", fails),
    case("zero_copy_without_waiting", dont_wait),
    case("zero_copy_polls_first", poll_first),
    case("zero_copy_in_a_chain", chains),
    case("zero_copy_in_a_broken_chain", broken_chains),
    case("zero_copy_in_a_chain_that_cannot_be_prepared", bad_chains),
    case("zero_copy_in_a_silenced_chain", silenced_chain),
    case("zero_copy_cancelled_before_it_sent", cancelled),
    case("zero_copy_cancelled_half_way", cancelled_half_way),
    case("zero_copy_waits_for_all", wait_all),
    case("zero_copy_finds_the_queue_full", queue_full),
    case("zero_copy_notifies_before_a_tag", tag),
    case("zero_copy_counts_twice_for_a_timeout", counted_by_timeout),
];

const POLL_FIRST: u16 = 1;
const FIXED: u16 = 4;
const REPORT: u16 = 8;
const VECTORIZED: u16 = 32;

fn send_zc(slot: u32, bytes: &[u8]) -> opcode::SendZc {
    opcode::SendZc::new(types::Fixed(slot), bytes.as_ptr(), bytes.len() as u32)
}

fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

fn message(parts: &[libc::iovec]) -> libc::msghdr {
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_ptr().cast_mut();
    header.msg_iovlen = parts.len();
    header
}

fn send_message(slot: u32, header: &libc::msghdr, ioprio: u16) -> squeue::Entry {
    opcode::SendMsgZc::new(types::Fixed(slot), header)
        .ioprio(ioprio)
        .build()
}

/// The peer's address, for datagrams.
fn peer_of(bench: &Bench) -> libc::sockaddr_in {
    v4(PEER_V4, bench.peer.local_addr().unwrap().port())
}

impl Bench {
    /// One request with its notification.
    fn run_zc(&mut self, entry: squeue::Entry, user_data: u64) {
        self.push(entry, user_data);
        self.wait(2);
    }

    fn register_memory(&mut self, memory: &[&[u8]]) {
        let parts: Vec<_> = memory.iter().map(|bytes| iovec(bytes)).collect();
        // SAFETY: what the cases register lives until they end.
        unsafe { self.ring.submitter().register_buffers(&parts) }.expect("registered buffers");
    }
}

fn to_connection(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run_zc(send_zc(1, b"plain").build(), 1);
    bench.run_zc(send_zc(1, b"report").zc_flags(REPORT).build(), 2);
    bench.run_zc(send_zc(1, b"").build(), 3);
    bench.run_zc(send_zc(1, b"").zc_flags(REPORT).build(), 4);
    let address = v4("192.0.2.1", 9);
    let to = send_zc(1, b"to").dest_addr((&raw const address).cast());
    bench.run_zc(to.dest_addr_len(16).build(), 5);
    let long = counted(20_000);
    bench.run_zc(send_zc(1, &long).zc_flags(REPORT).build(), 6);
    let got = bench.peer_reads(&mut stream, 13);
    bench.say(got);
    let got = bench.peer_reads(&mut stream, 20_000);
    bench.say(got == long);
}

fn datagrams(bench: &mut Bench) {
    bench.bound();
    let address = peer_of(bench);
    let to = |bytes| {
        let send = send_zc(0, bytes).dest_addr((&raw const address).cast());
        send.dest_addr_len(16)
    };
    bench.run_zc(to(b"to the peer").build(), 1);
    bench.at_peer();
    bench.run_zc(to(b"reported").zc_flags(REPORT).build(), 2);
    bench.at_peer();
    bench.run_zc(to(b"").build(), 3);
    bench.at_peer();
    bench.run_zc(send_zc(0, b"nowhere").build(), 4);
    bench.run_zc(send_zc(0, b"nowhere").zc_flags(REPORT).build(), 5);
    let long = counted(65_508);
    bench.run_zc(to(&long).build(), 6);
    bench.run_zc(to(&long[..65_507]).build(), 7);
    bench.at_peer();
    bench.run_zc(to(b"too short").dest_addr_len(7).build(), 8);
    bench.run(connect_entry(0, &address), 9);
    bench.run_zc(send_zc(0, b"connected").build(), 10);
    bench.at_peer();
}

fn vectored(bench: &mut Bench) {
    let mut stream = bench.connected();
    let entry = |parts: &[libc::iovec]| {
        let len = parts.len() as u32;
        let send = opcode::SendZc::new(types::Fixed(1), parts.as_ptr().cast(), len);
        send.zc_flags(VECTORIZED).build()
    };
    let parts = [iovec(b"one "), iovec(b""), iovec(b"two "), iovec(b"three")];
    bench.run_zc(entry(&parts), 1);
    let got = bench.peer_reads(&mut stream, 13);
    bench.say(got);
    bench.run_zc(entry(&[]), 2);
    let bad = [
        iovec(b"good"),
        libc::iovec {
            iov_base: (1u64 << 63) as *mut _,
            iov_len: 4,
        },
    ];
    bench.run_zc(entry(&bad), 3);
    let bad = [
        iovec(b"good"),
        libc::iovec {
            iov_len: 1 << 63,
            ..parts[0]
        },
    ];
    bench.run_zc(entry(&bad), 4);
    let many = vec![iovec(b"x"); 1025];
    bench.run_zc(entry(&many), 5);
    // More parts than the kernel pins pages for at a time.
    let all = raw(entry(&many[1..]), |bytes| {
        bytes[28..32].copy_from_slice(&libc::MSG_WAITALL.to_ne_bytes());
    });
    bench.run_zc(all, 6);
    let got = bench.peer_reads(&mut stream, 1024);
    bench.say(got.len());
    let nowhere = opcode::SendZc::new(types::Fixed(1), 8 as *const u8, 1).zc_flags(VECTORIZED);
    bench.run_zc(nowhere.build(), 7);
}

fn messages(bench: &mut Bench) {
    bench.bound();
    let mut address = peer_of(bench);
    let parts = [iovec(b"in "), iovec(b"parts")];
    let mut header = message(&parts);
    bench.run_zc(send_message(0, &header, 0), 1);
    header.msg_name = (&raw mut address).cast();
    header.msg_namelen = 16;
    bench.run_zc(send_message(0, &header, REPORT), 2);
    bench.at_peer();
    bench.run_zc(send_message(0, &header, VECTORIZED), 3);
    bench.at_peer();
    header.msg_namelen = u32::MAX;
    bench.run_zc(send_message(0, &header, 0), 4);
    header.msg_namelen = 16;
    header.msg_iovlen = 1025;
    bench.run_zc(send_message(0, &header, 0), 5);
    header.msg_iovlen = 0;
    bench.run_zc(send_message(0, &header, 0), 6);
    bench.at_peer();
    let nowhere = opcode::SendMsgZc::new(types::Fixed(0), std::ptr::dangling());
    bench.run_zc(nowhere.build(), 7);
}

fn registered(bench: &mut Bench) {
    let mut stream = bench.connected();
    let memory = counted(8192);
    let fixed = |at: usize, len: usize, index| {
        let send = opcode::SendZc::new(
            types::Fixed(1),
            memory.as_ptr().wrapping_add(at),
            len as u32,
        );
        send.buf_index(Some(index))
    };
    bench.run_zc(fixed(0, 16, 0).build(), 1);
    bench.register_memory(&[&memory]);
    bench.run_zc(fixed(0, 16, 0).build(), 2);
    bench.run_zc(fixed(5000, 16, 0).zc_flags(REPORT).build(), 3);
    let got = bench.peer_reads(&mut stream, 32);
    bench.say(got);
    bench.run_zc(fixed(0, 16, 1).build(), 4);
    bench.run_zc(fixed(8190, 3, 0).build(), 5);
    bench.run_zc(fixed(8190, 2, 0).build(), 6);
    bench.run_zc(fixed(8192, 0, 0).build(), 7);
    bench.run_zc(fixed(9000, 0, 0).build(), 8);
    bench.run_zc(fixed(0, 16, 0).zc_flags(VECTORIZED).build(), 9);
    bench.run_zc(fixed(0, 16, 9).zc_flags(REPORT).build(), 10);
    let got = bench.peer_reads(&mut stream, 2);
    bench.say(got);
}

fn registered_message(bench: &mut Bench) {
    let mut stream = bench.connected();
    let memory = counted(8192);
    let index = |entry| raw(entry, |bytes| bytes[40] = 0);
    let part = |at: usize, len: usize| iovec(&memory[at..at + len]);
    let parts = [part(0, 4), part(100, 4), part(8188, 4)];
    bench.run_zc(index(send_message(1, &message(&parts), FIXED)), 1);
    bench.register_memory(&[&memory[..8188], &memory[8188..]]);
    bench.run_zc(index(send_message(1, &message(&parts[..2]), FIXED)), 2);
    let got = bench.peer_reads(&mut stream, 8);
    bench.say(got);
    bench.run_zc(index(send_message(1, &message(&parts), FIXED | REPORT)), 3);
    let header = message(&parts[2..]);
    let other = raw(send_message(1, &header, FIXED), |bytes| bytes[40] = 1);
    bench.run_zc(other, 4);
    let got = bench.peer_reads(&mut stream, 4);
    bench.say(got);
    let empty = [part(0, 4), part(0, 0)];
    bench.run_zc(index(send_message(1, &message(&empty), FIXED)), 5);
    bench.run_zc(index(send_message(1, &message(&[]), FIXED)), 6);
    let nowhere = [
        part(0, 4),
        libc::iovec {
            iov_base: (1u64 << 63) as *mut _,
            iov_len: 4,
        },
    ];
    bench.run_zc(index(send_message(1, &message(&nowhere), FIXED)), 7);
}

fn refused_early(bench: &mut Bench) {
    let _stream = bench.connected();
    let skip = squeue::Flags::SKIP_SUCCESS;
    let select = squeue::Flags::BUFFER_SELECT;
    let bad_pad = raw(send_zc(1, b"pad").build(), |bytes| bytes[56] = 1);
    bench.run(bad_pad, 1);
    bench.run(send_zc(1, b"select").build().flags(select), 2);
    bench.run(send_zc(1, b"skip").build().flags(skip), 3);
    bench.run(
        send_zc(1, b"drain").build().flags(squeue::Flags::IO_DRAIN),
        4,
    );
    let unknown = raw(send_zc(1, b"flag").build(), |bytes| bytes[1] |= 0x80);
    bench.run(unknown, 5);
    let personality = raw(send_zc(1, b"who").build(), |bytes| bytes[42] = 1);
    bench.run(personality, 6);
}

fn refused_late(bench: &mut Bench) {
    let _stream = bench.connected();
    const BUNDLE_FLAG: u16 = 16;
    bench.run_zc(send_zc(1, b"bundle").zc_flags(BUNDLE_FLAG).build(), 1);
    bench.run_zc(
        send_zc(1, b"both").zc_flags(BUNDLE_FLAG | REPORT).build(),
        2,
    );
    bench.run_zc(send_zc(1, b"many").zc_flags(0x8000).build(), 3);
    let to = send_zc(1, b"to").dest_addr(8 as *const _).dest_addr_len(16);
    bench.run_zc(to.zc_flags(REPORT).build(), 4);
    let address = v4("192.0.2.1", 9);
    let to = send_zc(1, b"to").dest_addr((&raw const address).cast());
    bench.run_zc(to.dest_addr_len(129).build(), 5);
    let pad = raw(send_zc(1, b"pad").build(), |bytes| bytes[46] = 1);
    bench.run_zc(pad, 6);
    let beyond = opcode::SendZc::new(types::Fixed(1), (1u64 << 63) as *const u8, 1);
    bench.run_zc(beyond.build(), 7);
    let header = message(&[]);
    let offset = raw(send_message(1, &header, 0), |bytes| bytes[8] = 1);
    bench.run_zc(offset, 8);
    // A submission that cannot be prepared ends its batch.
    bench.push(send_zc(1, b"bundle").zc_flags(BUNDLE_FLAG).build(), 9);
    bench.push(opcode::Nop::new().build(), 10);
    bench.submit();
    bench.wait_for_each(3);
}

fn fails(bench: &mut Bench) {
    let _stream = bench.connected();
    bench.run_zc(send_zc(3, b"nobody").build(), 1);
    bench.run_zc(send_zc(3, b"nobody").zc_flags(REPORT).build(), 2);
    bench.run_zc(
        opcode::SendZc::new(types::Fixed(1), 8 as *const u8, 4).build(),
        3,
    );
    bench.stream_socket(libc::AF_INET, 2, 4);
    bench.run_zc(send_zc(2, b"unconnected").build(), 5);
    bench.run_zc(
        send_message(2, &message(&[iovec(b"unconnected")]), REPORT),
        6,
    );
    bench.run(shutdown_entry(1, libc::SHUT_WR), 7);
    bench.run_zc(send_zc(1, b"shut").zc_flags(REPORT).build(), 8);
    bench.run_zc(send_zc(0, b"listener").build(), 9);
}

fn dont_wait(bench: &mut Bench) {
    let _stream = bench.connected();
    bench.fill(1);
    bench.run_zc(send_zc(1, b"more").flags(libc::MSG_DONTWAIT).build(), 2);
}

fn poll_first(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run_zc(send_zc(1, b"polled").zc_flags(POLL_FIRST).build(), 1);
    let parts = [iovec(b" twice")];
    bench.run_zc(send_message(1, &message(&parts), POLL_FIRST | REPORT), 2);
    let got = bench.peer_reads(&mut stream, 12);
    bench.say(got);
}

fn chains(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.push(send_zc(1, b"one ").build().flags(link()), 1);
    bench.push(send_zc(1, b"two ").build().flags(link()), 2);
    bench.push(send_on(1, b"three", 0), 3);
    bench.wait_for_each(5);
    let got = bench.peer_reads(&mut stream, 13);
    bench.say(got);
}

fn broken_chains(bench: &mut Bench) {
    let _stream = bench.connected();
    // One that fails breaks it; one behind a failure never goes.
    bench.push(send_zc(3, b"nobody").build().flags(link()), 1);
    bench.push(opcode::Nop::new().build(), 2);
    bench.wait_for_each(3);
    bench.push(
        send_zc(3, b"nobody")
            .build()
            .flags(squeue::Flags::IO_HARDLINK),
        3,
    );
    bench.push(opcode::Nop::new().build(), 4);
    bench.wait_for_each(3);
    bench.push(send_on(3, b"nobody", 0).flags(link()), 5);
    bench.push(
        send_zc(1, b"behind").zc_flags(REPORT).build().flags(link()),
        6,
    );
    bench.push(send_zc(1, b"behind").build(), 7);
    bench.wait_for_each(5);
}

fn bad_chains(bench: &mut Bench) {
    let _stream = bench.connected();
    const BUNDLE_FLAG: u16 = 16;
    bench.push(send_zc(1, b"good").build().flags(link()), 1);
    bench.push(
        send_zc(1, b"bad")
            .zc_flags(BUNDLE_FLAG)
            .build()
            .flags(link()),
        2,
    );
    bench.push(send_zc(1, b"good").build(), 3);
    bench.submit();
    bench.wait_for_each(6);
    bench.push(send_zc(1, b"good").build().flags(link()), 4);
    bench.push(bad(), 5);
    bench.submit();
    bench.wait_for_each(3);
    bench.push(bad().flags(link()), 6);
    bench.push(send_zc(1, b"good").zc_flags(REPORT).build(), 7);
    bench.submit();
    bench.wait_for_each(3);
}

fn silenced_chain(bench: &mut Bench) {
    let _stream = bench.connected();
    let skip = squeue::Flags::SKIP_SUCCESS;
    bench.push(send_on(3, b"nobody", 0).flags(link() | skip), 1);
    bench.push(send_zc(1, b"behind").build(), 2);
    bench.wait_for_each(2);
    bench.push(opcode::Nop::new().build(), 3);
    bench.wait(1);
}

fn cancelled(bench: &mut Bench) {
    let _stream = bench.connected();
    bench.fill(1);
    bench.push(send_zc(1, b"more").zc_flags(REPORT).build(), 2);
    bench.submit();
    bench.cancel(2);
    bench.wait_for_each(3);
}

fn cancelled_half_way(bench: &mut Bench) {
    let mut stream = bench.connected();
    let bytes = counted(32 << 20);
    let all = send_zc(1, &bytes).flags(libc::MSG_WAITALL).zc_flags(REPORT);
    bench.push(all.build(), 1);
    bench.submit();
    bench.cancel(1);
    let mut sent = 0;
    let mut seen = Vec::new();
    // The kernel's notification waits for the peer.
    while seen.len() < 3 {
        bench.ring.submit_and_wait(1).expect("a turn");
        for cqe in bench.ring.completion() {
            if cqe.user_data() == 1 && !io_uring::cqueue::notif(cqe.flags()) {
                sent = cqe.result() as usize;
            }
            let res = if cqe.result() > 0 { 1 } else { cqe.result() };
            seen.push((cqe.user_data(), res, cqe.flags()));
        }
        if seen.len() == 2 {
            let got = bench.peer_reads(&mut stream, sent);
            assert!(got == bytes[..sent], "the bytes differ");
        }
    }
    bench.say(seen);
    assert!(sent > 0 && sent < bytes.len(), "{sent}");
}

fn wait_all(bench: &mut Bench) {
    let mut stream = bench.connected();
    let bytes = counted(4 << 20);
    let all = send_zc(1, &bytes).flags(libc::MSG_WAITALL).build();
    bench.push(all.flags(link()), 1);
    bench.push(opcode::Nop::new().build(), 2);
    bench.submit();
    let got = bench.peer_reads(&mut stream, bytes.len());
    assert!(got == bytes, "the bytes differ");
    bench.wait_for_each(3);
}

fn queue_full(bench: &mut Bench) {
    let _stream = bench.connected();
    for _ in 0..CQ_ENTRIES - 1 {
        bench.push(opcode::Nop::new().build(), 1);
    }
    bench.submit();
    bench.push(send_zc(3, b"nobody").zc_flags(REPORT).build(), 2);
    bench.submit();
    bench.push(opcode::Nop::new().build(), 3);
    bench.submit();
    let overflown = bench.ring.submission().cq_overflow();
    bench.say(overflown);
    bench.wait_for_each(CQ_ENTRIES as usize + 2);
}

fn tag(bench: &mut Bench) {
    let mut stream = bench.connected();
    let memory = counted(4096);
    let parts = [iovec(&memory)];
    // SAFETY: the memory lives until the case ends.
    unsafe { bench.ring.submitter().register_buffers2(&parts, &[77]) }.expect("a tagged buffer");
    let send = opcode::SendZc::new(types::Fixed(1), memory.as_ptr(), 4096);
    bench.push(send.buf_index(Some(0)).build(), 1);
    bench.submit();
    bench
        .ring
        .submitter()
        .unregister_buffers()
        .expect("no buffers");
    bench.wait(3);
    let got = bench.peer_reads(&mut stream, 4096);
    bench.say(got == memory);
}

fn counted_by_timeout(bench: &mut Bench) {
    let _stream = bench.connected();
    let time = types::Timespec::from(PATIENCE);
    bench.push(opcode::Timeout::new(&time).count(2).build(), 1);
    bench.submit();
    bench.push(send_zc(3, b"nobody").build(), 2);
    bench.wait(3);
}

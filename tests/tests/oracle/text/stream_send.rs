//! Sending to a connection.

use super::*;

pub const CASES: &[Case] = &[
    case(
        "tcp_send_of_nothing_and_at_bad_addresses",
        stream_send_errors,
    ),
    case("tcp_send_from_provided_buffers", stream_provided_sends),
    case("tcp_send_bundle", send_bundle),
    case("tcp_send_waits_for_all", send_wait_all),
    case("tcp_send_that_is_cancelled_half_way", send_cancelled),
    case("tcp_send_without_waiting", send_dont_wait),
    case("tcp_send_more", send_more),
    case("tcp_send_vectorized", vectorized),
    case("udp_send_vectorized", vectorized_datagram),
    case("tcp_send_vectorized_and_provided", vectorized_and_provided),
];

fn stream_send_errors(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run(send_on(1, b"", 0), 1);
    bench.run(
        opcode::Send::new(types::Fixed(1), 8 as *const u8, 4).build(),
        2,
    );
    let address = v4("192.0.2.1", 9);
    let to = opcode::Send::new(types::Fixed(1), b"to".as_ptr(), 2);
    bench.run(
        to.dest_addr((&raw const address).cast())
            .dest_addr_len(16)
            .build(),
        3,
    );
    let got = bench.peer_reads(&mut stream, 2);
    bench.say(got);
    // Nothing is at the second address: what lies before it goes.
    let parts = [
        libc::iovec {
            iov_base: b"good".as_ptr().cast_mut().cast(),
            iov_len: 4,
        },
        libc::iovec {
            iov_base: 8 as *mut libc::c_void,
            iov_len: 4,
        },
    ];
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_ptr().cast_mut();
    header.msg_iovlen = 2;
    bench.run(
        opcode::SendMsg::new(types::Fixed(1), &raw const header).build(),
        4,
    );
}

fn stream_provided_sends(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run(send_group(0, 0), 1);
    bench.buffer_ring(0);
    bench.run(send_group(0, 0), 2);
    bench.buffers[..8].copy_from_slice(b"0123bid0");
    bench.buffers[BUFFER_BYTES..BUFFER_BYTES + 4].copy_from_slice(b"bid1");
    bench.provide(0, 8);
    bench.provide(1, 4);
    bench.run(send_group(4, 0), 3);
    bench.run(send_group(0, 0), 4);
    let got = bench.peer_reads(&mut stream, 8);
    bench.say(got);
    bench.run(shutdown_entry(1, libc::SHUT_WR), 5);
    bench.provide(2, 4);
    bench.run(send_group(0, 0), 6);
    bench.run(send_group(0, 0), 7);
}

fn send_bundle(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.run(send_group(0, BUNDLE), 1);
    bench.buffer_ring(0);
    bench.run(send_group(0, BUNDLE), 2);
    for bid in 0..4u16 {
        let at = usize::from(bid) * BUFFER_BYTES;
        bench.buffers[at..at + 4].fill(b'a' + bid as u8);
        bench.provide(bid, 4);
    }
    bench.run(send_group(0, BUNDLE), 3);
    let got = bench.peer_reads(&mut stream, 16);
    bench.say(got);
    for bid in 0..4 {
        bench.provide(bid, 4);
    }
    bench.push(send_group(6, BUNDLE), 4);
    bench.wait(2);
    let got = bench.peer_reads(&mut stream, 16);
    bench.say(got);
    let message = raw(
        opcode::SendMsg::new(types::Fixed(1), std::ptr::null()).build(),
        |bytes| bytes[2] = 16,
    );
    bench.run(message, 5);
}

fn send_wait_all(bench: &mut Bench) {
    let mut stream = bench.connected();
    let bytes = counted(8 << 20);
    bench.push(send_on(1, &bytes, libc::MSG_WAITALL).flags(link()), 1);
    bench.push(opcode::Nop::new().build(), 2);
    bench.submit();
    let got = bench.peer_reads(&mut stream, bytes.len());
    assert!(got == bytes, "the bytes differ");
    bench.wait(2);
    // Without it a send may be short, and what it says is what was sent.
    bench.push(send_on(1, &bytes, 0), 3);
    bench.ring.submit_and_wait(1).expect("a turn");
    let sent = bench
        .ring
        .completion()
        .next()
        .map(|cqe| cqe.result())
        .unwrap_or(0);
    assert!(sent > 0 && sent as usize <= bytes.len(), "{sent}");
    let got = bench.peer_reads(&mut stream, sent as usize);
    bench.say(("a beginning", got == bytes[..sent as usize]));
}

fn send_cancelled(bench: &mut Bench) {
    let mut stream = bench.connected();
    let bytes = counted(32 << 20);
    bench.push(send_on(1, &bytes, libc::MSG_WAITALL), 1);
    bench.submit();
    bench.cancel(1);
    bench.ring.submit_and_wait(2).expect("a turn");
    let results: Vec<_> = bench
        .ring
        .completion()
        .map(|cqe| (cqe.user_data(), cqe.result()))
        .collect();
    bench.say((results[0], results[1].0));
    let sent = results[1].1;
    assert!(sent > 0 && (sent as usize) < bytes.len(), "{sent}");
    bench.run(shutdown_entry(1, libc::SHUT_WR), 2);
    let got = bench.peer_reads(&mut stream, sent as usize);
    bench.say(("a beginning", got == bytes[..sent as usize]));
    bench.peer_sees_end(&mut stream);
}

fn send_dont_wait(bench: &mut Bench) {
    let mut stream = bench.connected();
    let bytes = counted(1 << 20);
    let mut sent = 0usize;
    // Until nothing fits any more.
    let refused = loop {
        bench.push(send_on(1, &bytes, libc::MSG_DONTWAIT), 1);
        bench.ring.submit_and_wait(1).expect("a turn");
        match bench.ring.completion().next().map(|cqe| cqe.result()) {
            Some(count @ 1..) => sent += count as usize,
            other => break other,
        }
        assert!(sent < 1 << 30, "it takes everything");
    };
    bench.say(refused);
    let _ = bench.peer_reads(&mut stream, sent);
}

fn send_more(bench: &mut Bench) {
    let mut stream = bench.connected();
    for (user_data, part) in [&b"held "[..], b"back"].into_iter().enumerate() {
        bench.run(send_on(1, part, libc::MSG_MORE), user_data as u64);
    }
    let early = stream.read(&mut [0; 16]).map_err(|error| error.kind());
    bench.say(early);
    bench.run(send_on(1, b" and gone", 0), 3);
    let got = bench.peer_reads(&mut stream, 18);
    bench.say(String::from_utf8(got));
}

const VECTORIZED: u16 = 32;

fn part(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

fn send_parts(slot: u32, parts: &[libc::iovec]) -> squeue::Entry {
    let len = parts.len() as u32;
    let send = opcode::Send::new(types::Fixed(slot), parts.as_ptr().cast(), len);
    raw(send.build(), |bytes| bytes[2] = VECTORIZED as u8)
}

fn vectorized(bench: &mut Bench) {
    let mut stream = bench.connected();
    let parts = [part(b"one "), part(b""), part(b"two "), part(b"three")];
    bench.run(send_parts(1, &parts), 1);
    let got = bench.peer_reads(&mut stream, 13);
    bench.say(got);
    bench.run(send_parts(1, &[]), 2);
    bench.run(send_parts(1, &[part(b"")]), 3);
    let many = vec![part(b"x"); 1025];
    bench.run(send_parts(1, &many), 4);
    bench.run(send_parts(1, &many[1..]), 5);
    let got = bench.peer_reads(&mut stream, 1024);
    bench.say(got.len());
    let beyond = libc::iovec {
        iov_base: (1u64 << 63) as *mut libc::c_void,
        iov_len: 4,
    };
    bench.run(send_parts(1, &[part(b"good"), beyond]), 6);
    let negative = libc::iovec {
        iov_len: 1 << 63,
        ..parts[0]
    };
    bench.run(send_parts(1, &[part(b"good"), negative]), 7);
    let nowhere = opcode::Send::new(types::Fixed(1), 8 as *const u8, 1);
    let nowhere = raw(nowhere.build(), |bytes| bytes[2] = VECTORIZED as u8);
    bench.run(nowhere, 8);
    // The array is copied at submission.
    let mut parts = vec![part(b"copied")];
    bench.push(send_parts(1, &parts), 9);
    bench.submit();
    parts[0] = part(b"forgotten");
    bench.wait(1);
    let got = bench.peer_reads(&mut stream, 6);
    bench.say((got, parts.len()));
}

fn vectorized_datagram(bench: &mut Bench) {
    bench.bound();
    let address = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    let to = |entry| {
        raw(entry, |bytes: &mut [u8; 64]| {
            let at = (&raw const address) as u64;
            bytes[8..16].copy_from_slice(&at.to_ne_bytes());
            bytes[44] = 16;
        })
    };
    bench.run(to(send_parts(0, &[part(b"in "), part(b"parts")])), 1);
    bench.at_peer();
    bench.run(to(send_parts(0, &[])), 2);
    bench.at_peer();
    bench.run(send_parts(0, &[part(b"nowhere")]), 3);
}

fn vectorized_and_provided(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    bench.buffers[..4].copy_from_slice(b"bid0");
    bench.provide(0, 4);
    bench.run(send_group(0, VECTORIZED), 1);
    let got = bench.peer_reads(&mut stream, 4);
    bench.say(got);
    bench.run(send_group(2000, VECTORIZED), 2);
}

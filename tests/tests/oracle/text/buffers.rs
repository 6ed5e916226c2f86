//! Provided buffers: groups, rings, incremental use.

use super::*;

pub const CASES: &[Case] = &[
    case("legacy_provided_buffers", legacy_buffers),
    case("incremental_buffers", incremental_buffers),
    case("buffer_ring_registration", buffer_ring_registration),
    case("buffer_of_a_receive_that_waits_for_all", waits_for_all),
    case("empty_group_and_the_end_of_sending", end_of_sending),
    case(
        "empty_group_and_the_end_of_sending_once",
        end_of_sending_once,
    ),
    case("failed_send_from_provided_buffers", failed_send),
    case("failed_datagram_from_provided_buffers", failed_datagram),
    case("failed_send_from_incremental_buffers", failed_incremental),
    case("send_of_a_length_from_a_list", send_from_a_list),
    case("datagrams_from_bundles", datagram_bundles),
];

fn legacy_buffers(bench: &mut Bench) {
    bench.bound();
    let memory = bench.buffers.as_mut_ptr();
    let select = squeue::Flags::BUFFER_SELECT;
    let one = || {
        opcode::Recv::new(types::Fixed(0), std::ptr::null_mut(), 0)
            .buf_group(GROUP)
            .build()
            .flags(select)
    };
    bench.run(one(), 1);
    bench.run(
        opcode::ProvideBuffers::new(memory, 64, 2, GROUP, 5).build(),
        2,
    );
    bench.peer_sends(b"legacy");
    bench.until_readable();
    bench.run(one(), 3);
    bench.push(one(), 4);
    bench.submit();
    bench.run(opcode::AsyncCancel::new(4).build(), 5);
    bench.wait(1);
    bench.run(opcode::RemoveBuffers::new(9, GROUP).build(), 6);
    bench.run(opcode::RemoveBuffers::new(1, 99).build(), 7);
    bench.run(one(), 8);
}

fn incremental_buffers(bench: &mut Bench) {
    const INCREMENTAL: u16 = 2;
    bench.bound();
    bench.buffer_ring(INCREMENTAL);
    bench.provide(0, 100);
    bench.push(opcode::RecvMulti::new(types::Fixed(0), GROUP).build(), 1);
    bench.submit();
    for payload in [[1u8; 40], [2; 40], [3; 40]] {
        bench.peer_sends(&payload);
        bench.wait(1);
    }
    bench.wait(1);
    bench.say(bench.buffer(0, 100));
}

fn buffer_ring_registration(bench: &mut Bench) {
    bench.buffer_ring(0);
    let address = bench.buffer_ring as u64;
    let register = |bench: &mut Bench, address, entries, group, flags| {
        // SAFETY: the mapping is never unmapped.
        let result = unsafe {
            bench
                .ring
                .submitter()
                .register_buf_ring_with_flags(address, entries, group, flags)
        };
        bench.say(result.map_err(|error| error.raw_os_error()));
    };
    register(bench, address, BUFFERS, GROUP, 0);
    register(bench, address, 3, 9, 0);
    register(bench, address, 0, 9, 0);
    register(bench, address + 16, BUFFERS, 9, 0);
    register(bench, address, BUFFERS, 9, 0x80);
    for group in [GROUP, GROUP, 50] {
        let result = bench
            .ring
            .submitter()
            .unregister_buf_ring(group)
            .map_err(|error| error.raw_os_error());
        bench.say(result);
    }
}

/// A connection in slot 1, and a datagram socket in slot 2.
fn connected_and_bound(bench: &mut Bench) -> TcpStream {
    let stream = bench.connected();
    bench.run(socket(libc::AF_INET, 2), 930);
    bench.run(bind_entry(2, &any_v4(PORT)), 931);
    stream
}

fn waits_for_all(bench: &mut Bench) {
    let mut stream = connected_and_bound(bench);
    bench.buffer_ring(0);
    bench.provide(0, 100);
    bench.provide(1, 100);
    bench.push(recv_group(1, 8, 0, libc::MSG_WAITALL), 1);
    bench.submit();
    stream.write_all(b"half").unwrap();
    bench.until_taken(&stream);
    // Another gets another buffer.
    bench.push(recv_group(2, 0, 0, 0), 2);
    bench.submit();
    bench.peer_sends(b"not there");
    bench.wait(1);
    stream.write_all(b"full").unwrap();
    bench.wait(1);
    bench.say((bench.buffer(0, 9), bench.buffer(1, 9)));
    bench.run(recv_group(2, 0, 0, libc::MSG_DONTWAIT), 3);
}

fn end_of_sending(bench: &mut Bench) {
    let mut stream = bench.connected();
    bench.buffer_ring(0);
    bench.provide(0, 100);
    bench.push(recv_group(1, 0, MULTISHOT, 0), 1);
    bench.submit();
    stream.write_all(b"the only buffer").unwrap();
    bench.wait(1);
    bench.run(shutdown_entry(1, libc::SHUT_WR), 2);
    bench.cancel(1);
    bench.wait_unordered(2);
}

fn end_of_sending_once(bench: &mut Bench) {
    let _stream = connected_and_bound(bench);
    bench.buffer_ring(0);
    bench.provide(0, 100);
    bench.push(recv_group(1, 0, 0, 0), 1);
    bench.submit();
    bench.push(recv_group(2, 0, 0, 0), 2);
    bench.submit();
    bench.peer_sends(b"the only buffer");
    bench.wait(1);
    bench.push(shutdown_entry(1, libc::SHUT_WR), 3);
    bench.wait_unordered(2);
}

fn failed_send(bench: &mut Bench) {
    let _stream = bench.connected();
    bench.buffer_ring(0);
    for bid in 0..4 {
        bench.provide(bid, 4);
    }
    bench.run(shutdown_entry(1, libc::SHUT_WR), 1);
    bench.run(send_group(0, 0), 2);
    bench.run(send_group(6, BUNDLE), 3);
    bench.run(send_group(0, 0), 4);
    bench.run(send_group(0, 0), 5);
}

/// A send from the group to the peer, by a datagram socket in slot 1; or to nowhere.
fn datagram(len: u32, ioprio: u16, to: Option<&libc::sockaddr_in>) -> squeue::Entry {
    raw(send_group(len, ioprio), |bytes| {
        if let Some(to) = to {
            let at = std::ptr::from_ref(to) as u64;
            bytes[8..16].copy_from_slice(&at.to_ne_bytes());
            bytes[44] = 16;
        }
    })
}

fn failed_datagram(bench: &mut Bench) {
    bench.files();
    bench.run(socket(libc::AF_INET, 1), 900);
    bench.buffer_ring(0);
    for bid in 0..4 {
        bench.provide(bid, 4);
    }
    bench.run(datagram(0, 0, None), 1);
    bench.run(datagram(6, BUNDLE, None), 2);
    bench.run(datagram(0, 0, None), 3);
    bench.run(datagram(0, 0, None), 4);
}

fn failed_incremental(bench: &mut Bench) {
    let _stream = bench.connected();
    bench.buffer_ring(2);
    for bid in 0..2 {
        bench.provide(bid, 8);
    }
    bench.run(send_group(4, 0), 1);
    bench.run(shutdown_entry(1, libc::SHUT_WR), 2);
    bench.run(send_group(2, 0), 3);
    bench.run(send_group(0, 0), 4);
    bench.run(send_group(0, 0), 5);
    bench.run(send_group(0, 0), 6);
}

fn send_from_a_list(bench: &mut Bench) {
    let mut stream = bench.connected();
    let memory = bench.buffers.as_mut_ptr();
    bench.run(
        opcode::ProvideBuffers::new(memory, 8, 4, GROUP, 5).build(),
        1,
    );
    bench.run(send_group(3, 0), 2);
    bench.push(send_group(3, BUNDLE), 3);
    bench.wait(3);
    let got = bench.peer_reads(&mut stream, 32);
    bench.say(got);
}

fn datagram_bundles(bench: &mut Bench) {
    bench.files();
    bench.run(socket(libc::AF_INET, 1), 900);
    bench.buffer_ring(0);
    for bid in 0..4 {
        bench.provide(bid, 4);
    }
    let to = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    bench.push(datagram(6, BUNDLE, Some(&to)), 1);
    bench.wait(2);
    bench.at_peer();
    bench.at_peer();
}

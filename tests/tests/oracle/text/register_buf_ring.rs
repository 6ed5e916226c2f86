//! Buffer rings: how they are registered, and what stands in their entries afterwards.

use super::register::*;
use super::*;

pub const CASES: &[Case] = &[
    case("buf_ring_registration_errors", registration_errors),
    case("buf_ring_check_order", check_order),
    case("buf_ring_sizes", sizes),
    case("buf_ring_unregistration_errors", unregistration_errors),
    case("buf_ring_lent_memory", lent_memory),
    case("buf_ring_status_errors", status_errors),
    case("buf_ring_status_of_use", status_of_use),
    case("buf_ring_in_place_of_a_group", in_place_of_a_group),
    case("buf_ring_replaced_by_a_group", replaced_by_a_group),
    case("buf_ring_with_a_group_in_flight", group_in_flight),
    case("buf_ring_entry_of_a_cut_buffer", entry_of_a_cut_buffer),
    case(
        "buf_ring_entry_of_an_incremental_buffer",
        entry_of_an_incremental_buffer,
    ),
    case("buf_ring_least_that_is_left", least_that_is_left),
    case("buf_ring_buffer_comes_back", buffer_comes_back),
    case("buf_ring_received_over_itself", received_over_itself),
    case("buf_ring_unregistered_in_flight", unregistered_in_flight),
    case("buf_ring_group_is_full", group_is_full),
];

const MMAP: u16 = 1;
const INCREMENTAL: u16 = 2;

fn page() -> u64 {
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    let page = Box::leak(Box::new(Page([0; 4096])));
    at(&page.0)
}

fn registration_errors(bench: &mut Bench) {
    let page = page();
    let mut refused = |what, reg: [u64; 5]| bench.register(what, REGISTER_PBUF_RING, &reg, 1);
    refused("no entries", buf_reg(page, 0, 1, 0, 0));
    refused("three", buf_reg(page, 3, 1, 0, 0));
    refused("too many", buf_reg(page, 65536, 1, 0, 0));
    refused("a flag", buf_reg(page, 8, 1, 4, 0));
    refused("no address", buf_reg(0, 8, 1, 0, 0));
    refused("not on a page", buf_reg(page + 16, 8, 1, 0, 0));
    refused("no memory", buf_reg(0, 8, 1, 0, 0));
    refused("the least without INC", buf_reg(page, 8, 1, 0, 1));
    refused("the least without INC, lent", buf_reg(0, 8, 1, MMAP, 1));
    for word in [3, 4] {
        let mut reg = buf_reg(page, 8, 1, 0, 0);
        reg[word] = 1;
        refused("reserved", reg);
    }
    let mut reserved = buf_reg(page, 8, 1, INCREMENTAL, 0);
    reserved[2] = 1 << 32;
    refused("reserved beside the least", reserved);
    let good = buf_reg(page, 8, 1, 0, 0);
    bench.register("a count", REGISTER_PBUF_RING, &good, 2);
    bench.register("no count", REGISTER_PBUF_RING, &good, 0);
    bench.register_at("no argument", REGISTER_PBUF_RING, 0, 1);
    bench.register_at("an argument of nothing", REGISTER_PBUF_RING, 8, 1);
    bench.register("good", REGISTER_PBUF_RING, &good, 1);
    bench.register("again", REGISTER_PBUF_RING, &good, 1);
}

fn check_order(bench: &mut Bench) {
    let page = page();
    bench.register("good", REGISTER_PBUF_RING, &buf_reg(page, 8, 1, 0, 0), 1);
    let mut refused = |what, reg: [u64; 5]| bench.register(what, REGISTER_PBUF_RING, &reg, 1);
    refused("there, no address", buf_reg(0, 8, 1, 0, 0));
    refused("there, not on a page", buf_reg(page + 8, 8, 1, 0, 0));
    refused("there, three", buf_reg(page, 3, 1, 0, 0));
    refused("there, a flag", buf_reg(page, 8, 1, 8, 0));
    refused("there, lent", buf_reg(0, 8, 1, MMAP, 0));
    refused("no address, three", buf_reg(0, 3, 2, 0, 0));
}

fn sizes(bench: &mut Bench) {
    bench.register("one", REGISTER_PBUF_RING, &buf_reg(page(), 1, 1, 0, 0), 1);
    bench.register(
        "as many as may be",
        REGISTER_PBUF_RING,
        &buf_reg(0, 32768, 2, MMAP, 0),
        1,
    );
    bench.register(
        "the last group",
        REGISTER_PBUF_RING,
        &buf_reg(page(), 2, 65535, 0, 0),
        1,
    );
}

fn unregistration_errors(bench: &mut Bench) {
    let memory = bench.buffers.as_mut_ptr();
    let unregister = |group, flags| buf_reg(0, 0, group, flags, 0);
    bench.register("no group", UNREGISTER_PBUF_RING, &unregister(1, 0), 1);
    bench.run(opcode::ProvideBuffers::new(memory, 64, 1, 2, 0).build(), 1);
    bench.register("not a ring", UNREGISTER_PBUF_RING, &unregister(2, 0), 1);
    bench.register(
        "a ring",
        REGISTER_PBUF_RING,
        &buf_reg(page(), 8, 3, 0, 0),
        1,
    );
    bench.register("a flag", UNREGISTER_PBUF_RING, &unregister(3, MMAP), 1);
    bench.register(
        "reserved",
        UNREGISTER_PBUF_RING,
        &[0, 3u64 << 32, 0, 0, 1],
        1,
    );
    bench.register("a count", UNREGISTER_PBUF_RING, &unregister(3, 0), 2);
    bench.register_at("no argument", UNREGISTER_PBUF_RING, 0, 1);
    bench.register_at("no memory", UNREGISTER_PBUF_RING, 8, 1);
    bench.register(
        "more than asked",
        UNREGISTER_PBUF_RING,
        &buf_reg(7, 7, 3, 0, 7),
        1,
    );
    bench.register("again", UNREGISTER_PBUF_RING, &unregister(3, 0), 1);
    bench.register("anew", REGISTER_PBUF_RING, &buf_reg(page(), 8, 3, 0, 0), 1);
}

fn lent_memory(bench: &mut Bench) {
    bench.register("lent", REGISTER_PBUF_RING, &buf_reg(0, 8, 1, MMAP, 0), 1);
    bench.register(
        "an address too",
        REGISTER_PBUF_RING,
        &buf_reg(8, 8, 2, MMAP, 0),
        1,
    );
    bench.register(
        "incremental",
        REGISTER_PBUF_RING,
        &buf_reg(0, 8, 3, MMAP | INCREMENTAL, 0),
        1,
    );
    status(bench, 1);
    for group in [1, 2, 3, 1] {
        bench.register("end", UNREGISTER_PBUF_RING, &buf_reg(0, 0, group, 0, 0), 1);
    }
}

pub fn status(bench: &mut Bench, group: u32) {
    // Group and head, then what is reserved.
    let mut status = [group, 99, 0, 0, 0, 0, 0, 0, 0, 0];
    let result = bench.register_quietly(PBUF_STATUS, status.as_mut_ptr() as u64, 1);
    bench.say(("status", group, result, status));
}

fn status_errors(bench: &mut Bench) {
    let memory = bench.buffers.as_mut_ptr();
    status(bench, 1);
    bench.run(opcode::ProvideBuffers::new(memory, 64, 1, 1, 0).build(), 1);
    status(bench, 1);
    bench.register(
        "a ring",
        REGISTER_PBUF_RING,
        &buf_reg(page(), 8, 2, 0, 0),
        1,
    );
    status(bench, 2);
    status(bench, 2 + (1 << 16));
    bench.register(
        "reserved",
        PBUF_STATUS,
        &[2u32, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        1,
    );
    bench.register(
        "a count",
        PBUF_STATUS,
        &[2u32, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        2,
    );
    bench.register_at("no argument", PBUF_STATUS, 0, 1);
    bench.register_at("no memory", PBUF_STATUS, 8, 1);
}

fn receive(len: u32) -> squeue::Entry {
    recv_group(0, len, 0, 0)
}

fn status_of_use(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    for bid in 0..2 {
        bench.provide(bid, 100);
    }
    status(bench, GROUP.into());
    for user_data in 1..3 {
        bench.peer_sends(b"used");
        bench.until_readable();
        bench.run(receive(0), user_data);
        status(bench, GROUP.into());
    }
    bench.run(receive(0), 3);
    status(bench, GROUP.into());
}

fn in_place_of_a_group(bench: &mut Bench) {
    let memory = bench.buffers.as_mut_ptr();
    let ring = buf_reg(page(), 8, 1, 0, 0);
    bench.run(opcode::ProvideBuffers::new(memory, 64, 2, 1, 0).build(), 1);
    bench.register("there are two", REGISTER_PBUF_RING, &ring, 1);
    bench.run(opcode::RemoveBuffers::new(1, 1).build(), 2);
    bench.register("there is one", REGISTER_PBUF_RING, &ring, 1);
    bench.run(opcode::RemoveBuffers::new(1, 1).build(), 3);
    bench.run(opcode::RemoveBuffers::new(1, 1).build(), 4);
    bench.register("nowhere", REGISTER_PBUF_RING, &buf_reg(0, 8, 1, 0, 0), 1);
    bench.run(opcode::RemoveBuffers::new(1, 1).build(), 5);
    bench.register("in its place", REGISTER_PBUF_RING, &ring, 1);
    bench.run(opcode::ProvideBuffers::new(memory, 64, 2, 1, 0).build(), 6);
    bench.run(opcode::RemoveBuffers::new(1, 1).build(), 7);
}

fn replaced_by_a_group(bench: &mut Bench) {
    bench.bound();
    let memory = bench.buffers.as_mut_ptr();
    bench.buffer_ring(0);
    bench.register("end", UNREGISTER_PBUF_RING, &buf_reg(0, 0, GROUP, 0, 0), 1);
    bench.run(
        opcode::ProvideBuffers::new(memory, 64, 1, GROUP, 9).build(),
        1,
    );
    bench.peer_sends(b"a group again");
    bench.until_readable();
    bench.run(receive(0), 2);
}

fn group_in_flight(bench: &mut Bench) {
    let mut peer = bench.connected();
    let memory = bench.buffers.as_mut_ptr();
    bench.run(
        opcode::ProvideBuffers::new(memory, 64, 1, GROUP, 9).build(),
        1,
    );
    // It takes the only buffer, gets a part of what it waits for, and keeps the buffer.
    bench.push(recv_group(1, 8, 0, libc::MSG_WAITALL), 2);
    bench.submit();
    peer.write_all(b"half").expect("the peer sends");
    bench.until_taken(&peer);
    bench.buffer_ring(0);
    bench.provide(1, 100);
    peer.write_all(b"full").expect("the peer sends");
    bench.wait(1);
    bench.say(bench.buffer(0, 8));
    status(bench, GROUP.into());
    peer.write_all(b"ring").expect("the peer sends");
    bench.readable(1);
    bench.run(recv_group(1, 0, 0, 0), 3);
    status(bench, GROUP.into());
}

/// What stands in the ring's entries: how far into the first buffer, how long, which one.
fn entries(bench: &mut Bench, count: usize) {
    let base = bench.buffers.as_ptr() as u64;
    let said: Vec<_> = (0..count)
        .map(|index| {
            // SAFETY: the index is in the ring, which is never unmapped.
            let entry = unsafe { &*bench.buffer_ring.add(index) };
            (entry.addr().wrapping_sub(base), entry.len(), entry.bid())
        })
        .collect();
    bench.say(("entries", said));
}

fn entry_of_a_cut_buffer(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 100);
    bench.provide(1, 100);
    bench.peer_sends(b"more than ten bytes");
    bench.until_readable();
    bench.run(receive(10), 1);
    entries(bench, 2);
    status(bench, GROUP.into());
}

fn entry_of_an_incremental_buffer(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(INCREMENTAL);
    bench.provide(0, 100);
    bench.provide(1, 100);
    for (user_data, len) in [(1, 40), (2, 0), (3, 60), (4, 90), (5, 30)] {
        bench.peer_sends(&vec![user_data as u8; len]);
        bench.until_readable();
        bench.run(receive(0), user_data);
        entries(bench, 2);
        status(bench, GROUP.into());
    }
}

fn least_that_is_left(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.register("end", UNREGISTER_PBUF_RING, &buf_reg(0, 0, GROUP, 0, 0), 1);
    let memory = bench.buffer_ring as u64;
    let reg = buf_reg(memory, BUFFERS.into(), GROUP, INCREMENTAL, 20);
    bench.register("the least is 20", REGISTER_PBUF_RING, &reg, 1);
    bench.provide(0, 100);
    bench.provide(1, 100);
    for (user_data, len) in [(1, 80), (2, 1), (3, 81)] {
        bench.peer_sends(&vec![user_data as u8; len]);
        bench.until_readable();
        bench.run(receive(0), user_data);
        entries(bench, 2);
        status(bench, GROUP.into());
    }
    bench.run(receive(0), 4);
}

fn buffer_comes_back(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(4, 100);
    bench.push(receive(0), 1);
    bench.submit();
    bench.cancel(1);
    bench.wait(2);
    status(bench, GROUP.into());
    bench.peer_sends(b"the same");
    bench.until_readable();
    bench.run(receive(0), 2);
}

fn received_over_itself(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 16);
    bench.provide(1, 100);
    // The buffer is its own entry.
    // SAFETY: the entry is in the ring, which is never unmapped.
    unsafe { (*bench.buffer_ring).set_addr(bench.buffer_ring as u64) };
    let mut over = [0xff; 16];
    // The tail is in it too.
    over[14..].copy_from_slice(&2u16.to_ne_bytes());
    bench.peer_sends(&over);
    bench.until_readable();
    bench.run(receive(0), 1);
    status(bench, GROUP.into());
    bench.peer_sends(b"the next one");
    bench.until_readable();
    bench.run(receive(0), 2);
}

fn unregistered_in_flight(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    bench.provide(0, 100);
    bench.push(receive(0), 1);
    bench.submit();
    bench.register("end", UNREGISTER_PBUF_RING, &buf_reg(0, 0, GROUP, 0, 0), 1);
    bench.peer_sends(b"nowhere to go");
    bench.wait(1);
}

fn group_is_full(bench: &mut Bench) {
    let memory = bench.buffers.as_mut_ptr();
    bench.run(opcode::ProvideBuffers::new(memory, 0, 1, 1, 0).build(), 1);
    bench.run(
        opcode::ProvideBuffers::new(memory, 1, 65534, 1, 0).build(),
        2,
    );
    bench.run(opcode::ProvideBuffers::new(memory, 1, 9, 1, 0).build(), 3);
    bench.run(opcode::ProvideBuffers::new(memory, 1, 1, 1, 0).build(), 4);
    bench.run(opcode::RemoveBuffers::new(3, 1).build(), 5);
    bench.run(opcode::RemoveBuffers::new(65535, 1).build(), 6);
    bench.run(
        opcode::ProvideBuffers::new(std::ptr::null_mut(), 8, 1, 1, 0).build(),
        7,
    );
    bench.run(
        opcode::ProvideBuffers::new(u64::MAX as *mut u8, 8, 1, 1, 0).build(),
        8,
    );
}

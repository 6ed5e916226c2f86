//! Provided buffers: groups, rings, incremental use.

use super::*;

pub const CASES: &[Case] = &[
    case("legacy_provided_buffers", legacy_buffers),
    case("incremental_buffers", incremental_buffers),
    case("buffer_ring_registration", buffer_ring_registration),
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

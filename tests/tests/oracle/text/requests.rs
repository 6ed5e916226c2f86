//! Requests: entries that are refused, links, drain, skipped completions.

use super::*;

pub const CASES: &[Case] = &[
    case("nop", nop),
    case("entries_that_are_refused", refused_entries),
    case("the_submission_stop_rule", stop_rule),
    case("a_ring_that_submits_all", stop_rule).with(|builder| {
        builder.setup_submit_all();
    }),
    case("links", links),
    case("skipped_completions", skips),
    case("drain", drain),
    case("nop_by_task_work", nop_by_task_work),
];

fn nop(bench: &mut Bench) {
    bench.run(opcode::Nop::new().build(), 1);
    let inject = |res: i32| {
        raw(opcode::Nop::new().build(), |bytes| {
            bytes[28] = 1;
            bytes[24..28].copy_from_slice(&res.to_ne_bytes());
        })
    };
    bench.run(inject(42), 2);
    bench.run(inject(-5), 3);
}

fn refused_entries(bench: &mut Bench) {
    let address = any_v4(1);
    let changes: [(usize, u8); 6] = [(0, 200), (1, 0x80), (1, 0x21), (2, 1), (42, 1), (24, 1)];
    for (index, (at, value)) in changes.into_iter().enumerate() {
        bench.run(
            raw(connect_entry(0, &address), |bytes| bytes[at] = value),
            index as u64,
        );
    }
    bench.run(
        opcode::Recv::new(types::Fixed(99), std::ptr::null_mut(), 0).build(),
        10,
    );
    bench.run(
        opcode::Recv::new(types::Fd(-1), std::ptr::null_mut(), 0).build(),
        11,
    );
    bench.run(
        opcode::Connect::new(types::Fixed(0), std::ptr::null(), 16).build(),
        12,
    );
    bench.run(
        opcode::RecvMsg::new(types::Fixed(0), std::ptr::null_mut()).build(),
        13,
    );
    bench.run(
        opcode::SendMsg::new(types::Fixed(0), std::ptr::null()).build(),
        14,
    );
    bench.run(opcode::RecvMulti::new(types::Fixed(0), 77).build(), 15);
}

fn stop_rule(bench: &mut Bench) {
    for (entry, user_data) in [
        (opcode::Nop::new().build(), 1),
        (bad(), 2),
        (opcode::Nop::new().build(), 3),
    ] {
        bench.push(entry, user_data);
    }
    bench.submit();
    let left = bench.ring.submission().len();
    bench.say(("left", left));
    bench.wait(3);
}

fn links(bench: &mut Bench) {
    let nop = || opcode::Nop::new().build();
    let closed = || opcode::Close::new(types::Fixed(0)).build();
    let hard = squeue::Flags::IO_HARDLINK;
    let chains: [Vec<squeue::Entry>; 7] = [
        vec![nop().flags(link()), nop().flags(link()), nop()],
        vec![closed().flags(link()), nop().flags(link()), nop()],
        vec![closed().flags(hard), nop().flags(link()), nop()],
        vec![nop().flags(link()), bad().flags(link()), nop()],
        vec![bad().flags(hard), nop()],
        vec![nop().flags(link()), nop().flags(link()), bad()],
        vec![nop().flags(link()), nop().flags(link())],
    ];
    for (index, chain) in chains.into_iter().enumerate() {
        let len = chain.len();
        for (position, entry) in chain.into_iter().enumerate() {
            bench.push(entry, (index * 10 + position) as u64);
        }
        bench.submit();
        bench.wait(len);
    }
}

fn skips(bench: &mut Bench) {
    let nop = || opcode::Nop::new().build();
    let closed = || opcode::Close::new(types::Fixed(0)).build();
    let skip = squeue::Flags::SKIP_SUCCESS;
    bench.push(nop().flags(skip), 1);
    bench.push(nop(), 2);
    bench.wait(1);
    bench.run(closed().flags(skip), 3);
    bench.push(closed().flags(link() | skip), 4);
    bench.push(nop().flags(link()), 5);
    bench.push(nop(), 6);
    bench.push(nop(), 7);
    bench.wait(2);
    bench.push(closed().flags(link()), 8);
    bench.push(nop().flags(link() | skip), 9);
    bench.push(nop().flags(skip), 10);
    bench.wait(3);
    bench.run(nop().flags(squeue::Flags::IO_DRAIN), 11);
}

fn drain(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0u8; 16];
    bench.push(recv(&mut buffer), 1);
    bench.push(opcode::Nop::new().build().flags(squeue::Flags::IO_DRAIN), 2);
    bench.push(opcode::Nop::new().build(), 3);
    bench.submit();
    bench.peer_sends(b"go");
    bench.wait(3);
    bench.run(opcode::Nop::new().build().flags(squeue::Flags::IO_DRAIN), 4);
    bench.run(opcode::Nop::new().build(), 5);
}

fn nop_by_task_work(bench: &mut Bench) {
    const TASK_WORK: u8 = 1 << 4;
    let by_task_work = || raw(opcode::Nop::new().build(), |bytes| bytes[28] = TASK_WORK);
    bench.push(by_task_work(), 1);
    bench.push(opcode::Nop::new().build(), 2);
    bench.wait(2);
    bench.push(by_task_work().flags(link()), 3);
    bench.push(opcode::Nop::new().build(), 4);
    bench.push(opcode::Nop::new().build(), 5);
    bench.wait(3);
}

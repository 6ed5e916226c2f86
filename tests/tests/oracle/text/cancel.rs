//! Cancellation.

use super::*;

pub const CASES: &[Case] = &[case("cancellation", cancellation)];

fn cancellation(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0u8; 16];
    bench.run(opcode::AsyncCancel::new(77).build(), 1);
    bench.push(recv(&mut buffer), 2);
    bench.submit();
    bench.push(opcode::AsyncCancel::new(2).build(), 3);
    bench.wait(2);
    let all = || opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fixed(0)).all()).build();
    bench.run(all(), 4);
    bench.push(recv(&mut buffer), 5);
    bench.push(
        opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).build(),
        5,
    );
    bench.submit();
    bench.push(all(), 6);
    bench.wait(3);
    bench.run(
        opcode::AsyncCancel2::new(types::CancelBuilder::any()).build(),
        7,
    );
    bench.run(
        opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fixed(3))).build(),
        8,
    );
}

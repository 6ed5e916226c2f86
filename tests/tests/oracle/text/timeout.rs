//! Timeouts.

use super::*;

pub const CASES: &[Case] = &[case("timeouts", timeouts)];

fn timeouts(bench: &mut Bench) {
    let short = types::Timespec::from(Duration::from_millis(5));
    let long = types::Timespec::from(Duration::from_secs(60));
    bench.run(opcode::Timeout::new(&short).build(), 1);
    bench.push(opcode::Timeout::new(&long).count(2).build(), 2);
    bench.push(opcode::Nop::new().build(), 3);
    bench.push(opcode::Nop::new().build(), 4);
    bench.wait(3);
    bench.push(opcode::Timeout::new(&short).build().flags(link()), 5);
    bench.push(opcode::Nop::new().build(), 6);
    bench.wait(2);
    let success = types::TimeoutFlags::ETIME_SUCCESS;
    bench.push(
        opcode::Timeout::new(&short)
            .flags(success)
            .build()
            .flags(link()),
        7,
    );
    bench.push(opcode::Nop::new().build(), 8);
    bench.wait(2);
    bench.push(
        opcode::Timeout::new(&short)
            .count(3)
            .flags(types::TimeoutFlags::MULTISHOT)
            .build(),
        9,
    );
    bench.wait(3);
    bench.push(opcode::Timeout::new(&long).build(), 10);
    bench.submit();
    bench.run(opcode::AsyncCancel::new(10).build(), 11);
    bench.wait(1);
    bench.run(opcode::Timeout::new(std::ptr::null()).build(), 12);
    let absolute = opcode::Timeout::new(&short)
        .flags(types::TimeoutFlags::ABS)
        .build();
    bench.run(absolute, 13);
}

//! The completion queue when it is full.

use super::*;

pub const CASES: &[Case] = &[
    case("overflowing_completions_keep_their_order", overflow),
    case("multishot_on_a_full_queue", multishot_overflow),
];

fn overflow(bench: &mut Bench) {
    for round in 0..3 {
        for entry in 0..10 {
            bench.push(opcode::Nop::new().build(), round * 10 + entry);
        }
        bench.submit();
    }
    let flagged = bench.ring.submission().cq_overflow();
    let ready = bench.ring.completion().len();
    bench.say((flagged, ready));
    bench.wait(30);
    let flagged = bench.ring.submission().cq_overflow();
    let lost = bench.ring.completion().overflow();
    bench.say((flagged, lost));
}

fn multishot_overflow(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    for bid in 0..BUFFERS {
        bench.provide(bid, 100);
    }
    bench.push(opcode::RecvMulti::new(types::Fixed(0), GROUP).build(), 1);
    bench.submit();
    for entry in 0..15 {
        bench.push(opcode::Nop::new().build(), 100 + entry);
    }
    bench.submit();
    for payload in [b"first", b"secnd", b"third"] {
        bench.peer_sends(payload);
    }
    // Room for one: the second datagram ends the multishot receive, the third stays.
    bench.run_until_overflow();
    bench.wait(17);
    bench.until_readable();
    let mut buffer = [0u8; 16];
    bench.run(recv(&mut buffer), 2);
    bench.say(&buffer[..5]);
}

impl Bench {
    /// Enters, taking nothing out of the queue, until a completion has overflowed.
    pub fn run_until_overflow(&mut self) {
        let pause = types::Timespec::from(Duration::from_millis(10));
        let args = types::SubmitArgs::new().timespec(&pause);
        for _ in 0..500 {
            if self.ring.submission().cq_overflow() {
                return;
            }
            let _ = self.ring.submitter().submit_with_args(17, &args);
        }
        self.say("no overflow");
    }
}

//! Random programs of entries that need no network, on the engine and on the running kernel's io_uring.

use std::collections::VecDeque;
use std::time::Duration;

use io_uring::{IoUring, opcode, squeue, types};
use ringwire_abi::flags::*;
use ringwire_abi::sqe::Sqe;

use crate::engine::bed::{Bed, ENTRIES};

/// What a program is made of.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// NOP with this result.
    Nop(i32),
    /// An entry that cannot be prepared.
    Bad,
    /// One whose flags cannot even be read.
    Unreadable,
    LinkTimeout,
    /// A timeout that comes with this number of completions, or not at all.
    Timeout(u32),
    TimeoutRemove(u64),
    Cancel(u64),
}

#[derive(Clone, Copy, Debug)]
struct Step {
    kind: Kind,
    flags: u8,
    /// The batch ends behind it.
    submit: bool,
}

#[derive(Clone, Debug)]
struct Program {
    submit_all: bool,
    steps: Vec<Step>,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

const LONG: types::Timespec = types::Timespec::new().sec(600);

impl Program {
    /// With `workers`, there are entries that the kernel leaves to its workers, whose completions come in
    /// no order; without, entries that look at others.
    fn random(random: &mut Random, workers: bool) -> Program {
        let len = 1 + random.below(u64::from(ENTRIES) - 4);
        let submit_all = random.one_in(2);
        let steps = (0..len).map(|_| Step::random(random, workers, len));
        let steps = steps.collect();
        let mut program = Program { submit_all, steps };
        if !workers {
            // A chain that its batch cuts is a worker's, too.
            for step in &mut program.steps {
                if step.submit {
                    step.flags &= !(IOSQE_IO_LINK | IOSQE_IO_HARDLINK);
                }
            }
        }
        program.close();
        program
    }

    /// The last entry ends its chain and its batch.
    fn close(&mut self) {
        if let Some(last) = self.steps.last_mut() {
            last.submit = true;
            last.flags &= !(IOSQE_IO_LINK | IOSQE_IO_HARDLINK);
        }
    }

    fn without(&self, index: usize) -> Program {
        let mut program = self.clone();
        program.steps.remove(index);
        program.close();
        program
    }
}

impl Step {
    fn random(random: &mut Random, workers: bool, len: u64) -> Step {
        let kind = match random.below(14) {
            0 => Kind::Bad,
            1 => Kind::Unreadable,
            2 | 3 => Kind::LinkTimeout,
            4 if !workers => Kind::Timeout(random.below(4) as u32),
            5 if !workers => Kind::TimeoutRemove(random.below(len)),
            6 if !workers => Kind::Cancel(random.below(len)),
            7 | 8 => Kind::Nop(-5),
            9 => Kind::Nop(7),
            _ => Kind::Nop(0),
        };
        let mut flags = 0;
        for (flag, one_in) in [
            (IOSQE_IO_LINK, 2),
            (IOSQE_IO_HARDLINK, 5),
            (IOSQE_CQE_SKIP_SUCCESS, 6),
        ] {
            flags |= if random.one_in(one_in) { flag } else { 0 };
        }
        if workers {
            for (flag, one_in) in [(IOSQE_IO_DRAIN, 5), (IOSQE_ASYNC, 6)] {
                flags |= if random.one_in(one_in) { flag } else { 0 };
            }
        }
        if matches!(kind, Kind::Timeout(_)) {
            // The kernel loses count of completions with a timeout that has none.
            flags &= !IOSQE_CQE_SKIP_SUCCESS;
        }
        Step {
            kind,
            flags,
            submit: random.one_in(5),
        }
    }

    fn entry(&self, user_data: u64) -> squeue::Entry {
        let nop = opcode::Nop::new().build();
        let mut sqe = Sqe::from_entry(&match self.kind {
            Kind::Nop(_) | Kind::Bad | Kind::Unreadable => nop,
            Kind::LinkTimeout => opcode::LinkTimeout::new(&LONG).build(),
            Kind::Timeout(count) => opcode::Timeout::new(&LONG).count(count).build(),
            Kind::TimeoutRemove(other) => opcode::TimeoutRemove::new(other).build(),
            Kind::Cancel(other) => opcode::AsyncCancel::new(other).build(),
        });
        sqe.user_data = user_data;
        sqe.flags = self.flags;
        match self.kind {
            Kind::Nop(res) => (sqe.op_flags, sqe.len) = (IORING_NOP_INJECT_RESULT, res as u32),
            Kind::Bad => sqe.personality = 1,
            Kind::Unreadable => sqe.flags |= 0x80,
            _ => {}
        }
        sqe.to_entry()
    }
}

type Seen = (u64, i32, u32);

/// What a run says: what each submission took, and the completions.
#[derive(Debug, Default, PartialEq)]
struct Transcript {
    taken: Vec<usize>,
    completions: Vec<Seen>,
}

fn batches(program: &Program) -> impl Iterator<Item = Vec<squeue::Entry>> {
    let entries = program.steps.iter().enumerate();
    let mut entries: VecDeque<_> = entries
        .map(|(index, step)| (step.entry(index as u64), step.submit))
        .collect();
    std::iter::from_fn(move || {
        let mut batch = Vec::new();
        while let Some((entry, submit)) = entries.pop_front() {
            batch.push(entry);
            if submit {
                break;
            }
        }
        (!batch.is_empty()).then_some(batch)
    })
}

/// Cancels what waits for something that does not come. What a worker has it might cancel, too.
fn sweep() -> squeue::Entry {
    opcode::AsyncCancel2::new(types::CancelBuilder::any())
        .build()
        .user_data(999)
}

/// As often as a bad entry may end a batch.
const TRIES: usize = ENTRIES as usize;

fn on_engine(program: &Program, workers: bool) -> Transcript {
    let mut bed = Bed::new(if program.submit_all {
        IORING_SETUP_SUBMIT_ALL
    } else {
        0
    });
    let mut transcript = Transcript::default();
    let mut run = |batch: Vec<squeue::Entry>| {
        for entry in batch {
            // SAFETY: the entries point at a constant.
            unsafe { bed.engine.submission().push(&entry) }.expect("room in the queue");
        }
        for _ in 0..TRIES {
            let queued = bed.engine.submission().len();
            if queued == 0 {
                break;
            }
            let taken = bed
                .engine
                .submit(ringwire_stack::Instant::ZERO, queued as u32);
            transcript.taken.push(taken as usize);
        }
        transcript.completions.extend(bed.completions());
    };
    batches(program).for_each(&mut run);
    if !workers {
        run(vec![sweep()]);
    }
    transcript
}

/// `want`: the completions that are waited for.
fn on_kernel(program: &Program, workers: bool, want: usize) -> Transcript {
    let mut builder = IoUring::builder();
    if program.submit_all {
        builder.setup_submit_all();
    }
    let mut ring: IoUring = builder.build(ENTRIES).expect("a ring");
    let mut transcript = Transcript::default();
    let patience = types::Timespec::from(Duration::from_secs(2));
    let run = |ring: &mut IoUring, transcript: &mut Transcript, batch: Vec<squeue::Entry>| {
        for entry in batch {
            // SAFETY: the entries point at a constant.
            unsafe { ring.submission().push(&entry) }.expect("room in the queue");
        }
        for _ in 0..TRIES {
            if ring.submission().is_empty() {
                break;
            }
            transcript.taken.push(ring.submit().expect("a submission"));
        }
        let seen = ring.completion();
        let seen = seen.map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags()));
        transcript.completions.extend(seen);
    };
    for batch in batches(program) {
        run(&mut ring, &mut transcript, batch);
    }
    let wait = |ring: &mut IoUring, transcript: &mut Transcript, want: usize| {
        while transcript.completions.len() < want {
            let args = types::SubmitArgs::new().timespec(&patience);
            let waited = ring.submitter().submit_with_args(1, &args);
            let seen = ring.completion();
            let seen = seen.map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags()));
            transcript.completions.extend(seen);
            if waited.is_err() {
                return;
            }
        }
    };
    if !workers {
        run(&mut ring, &mut transcript, vec![sweep()]);
    }
    wait(&mut ring, &mut transcript, want);
    transcript
}

/// What differs, if anything does, and does so again: once in tens of thousands of runs the kernel's work
/// is interrupted where it is not in the next.
fn difference(program: &Program, workers: bool) -> Option<(Transcript, Transcript)> {
    let compared = (0..3).map(|_| compare(program, workers));
    compared.reduce(|first, again| first.and(again)).flatten()
}

fn compare(program: &Program, workers: bool) -> Option<(Transcript, Transcript)> {
    let mut ours = on_engine(program, workers);
    let mut theirs = on_kernel(program, workers, ours.completions.len());
    if workers {
        ours.completions.sort_unstable();
        theirs.completions.sort_unstable();
    }
    (ours != theirs).then_some((ours, theirs))
}

/// Leaves out what is not needed for a difference.
fn shrink(mut program: Program, workers: bool) -> Program {
    loop {
        let smaller = (0..program.steps.len()).map(|index| program.without(index));
        let found = smaller
            .filter(|program| !program.steps.is_empty())
            .find(|program| difference(program, workers).is_some());
        match found {
            Some(found) => program = found,
            None => return program,
        }
    }
}

fn programs_agree(workers: bool) {
    for seed in 0..5_000 {
        let program = Program::random(&mut Random(seed), workers);
        if compare(&program, workers).is_some() && difference(&program, workers).is_some() {
            let program = shrink(program, workers);
            let difference = difference(&program, workers);
            panic!("seed {seed}: {program:#?}\nengine and kernel: {difference:?}");
        }
    }
}

#[test]
fn links_and_timeouts_complete_as_on_the_kernel_and_in_its_order() {
    programs_agree(false);
}

#[test]
fn drains_and_what_the_kernel_leaves_to_workers_complete_as_on_the_kernel() {
    programs_agree(true);
}

//! What two threads of a ring do with each other, in every order that there is. A slot that is touched
//! out of order fails, and so does a wake-up that is lost: nobody goes on then.

use std::sync::Arc;

use io_uring::opcode;
use loom::thread;
use ringwire_abi::flags::{IORING_SETUP_SQPOLL, IORING_SQ_CQ_OVERFLOW, IORING_SQ_NEED_WAKEUP};
use ringwire_xsk::Waker;
use ringwire_xsk::sync::Mutex;

use crate::mailbox::{Mailbox, Peer};
use crate::params::Parameters;
use crate::poller::Poller;
use crate::queue::{Completion, CompletionQueue, QueueMemory, SubmissionQueue};

/// Both queues hold two entries.
fn queues() -> Arc<QueueMemory> {
    Arc::new(QueueMemory::new(2, 2, IORING_SETUP_SQPOLL))
}

fn poller(waker: &Waker) -> Arc<Poller> {
    let params = Parameters {
        sq_entries: 2,
        cq_entries: 2,
        setup_flags: IORING_SETUP_SQPOLL,
        sq_thread_idle: 1,
    };
    Arc::new(Poller::new(&params, waker).unwrap().unwrap())
}

fn push(queues: &QueueMemory, user_data: u64) -> bool {
    let entry = opcode::Nop::new().build().user_data(user_data);
    // SAFETY: a NOP names no memory.
    unsafe { SubmissionQueue::new(queues).push(&entry) }.is_ok()
}

fn completion(user_data: u64) -> Completion {
    Completion {
        user_data,
        ..Completion::default()
    }
}

fn take(queues: &QueueMemory) -> Option<u64> {
    let mut queue: CompletionQueue<'_> = CompletionQueue::new(queues);
    queue.next().map(|cqe| cqe.user_data())
}

#[test]
fn every_submission_is_taken_once_also_in_slots_used_again() {
    loom::model(|| {
        let queues = queues();
        let ours = queues.clone();
        let application = thread::spawn(move || {
            for user_data in 0..3 {
                while !push(&ours, user_data) {
                    thread::yield_now();
                }
            }
        });
        for expected in 0..3 {
            let taken = loop {
                match queues.take_sqe(u32::MAX) {
                    Some(taken) => break taken.sqe.user_data,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(taken, expected);
        }
        application.join().unwrap();
    });
}

#[test]
fn every_completion_is_taken_once_also_in_slots_used_again() {
    loom::model(|| {
        let queues = queues();
        let ours = queues.clone();
        let engine = thread::spawn(move || {
            for user_data in 0..3 {
                while !ours.post_cqe(&completion(user_data)) {
                    thread::yield_now();
                }
            }
        });
        for expected in 0..3 {
            let taken = loop {
                match take(&queues) {
                    Some(taken) => break taken,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(taken, expected);
        }
        engine.join().unwrap();
    });
}

#[test]
fn who_sees_the_overflow_flag_finds_what_it_stands_for() {
    loom::model(|| {
        let queues = queues();
        let overflow = Arc::new(Mutex::new(Vec::new()));
        let (ours, kept) = (queues.clone(), overflow.clone());
        let engine = thread::spawn(move || {
            for user_data in 0..3 {
                if !ours.post_cqe(&completion(user_data)) {
                    kept.lock().unwrap().push(user_data);
                    ours.set_sq_flag(IORING_SQ_CQ_OVERFLOW, true);
                }
            }
        });
        let mut taken = Vec::new();
        while taken.len() < 3 {
            if let Some(user_data) = take(&queues) {
                taken.push(user_data);
            } else if queues.overflowed() {
                assert_eq!(*overflow.lock().unwrap(), [2]);
                // What was posted before the flag was set is there by now.
                taken.extend(std::iter::from_fn(|| take(&queues)));
                taken.push(2);
            } else {
                thread::yield_now();
            }
        }
        assert_eq!(taken, [0, 1, 2]);
        engine.join().unwrap();
    });
}

#[test]
fn a_polling_thread_that_falls_asleep_is_woken_for_what_is_submitted() {
    loom::model(|| {
        let (queues, waker) = (queues(), Waker::new().unwrap());
        let (ours, sleeper) = (queues.clone(), waker.clone());
        let thread = thread::spawn(move || {
            while ours.take_sqe(u32::MAX).is_none() {
                if ours.fall_asleep() {
                    sleeper.sleep(None, None).unwrap();
                }
                ours.set_sq_flag(IORING_SQ_NEED_WAKEUP, false);
                thread::yield_now();
            }
        });
        assert!(push(&queues, 1));
        if queues.is_asleep() {
            waker.wake();
        }
        thread.join().unwrap();
    });
}

#[test]
fn the_engine_is_had_by_one_thread_and_handed_over_to_who_wants_it() {
    loom::model(|| {
        let waker = Waker::new().unwrap();
        let poller = poller(&waker);
        let engine = Arc::new(Mutex::new(0));
        let (ours, core) = (poller.clone(), engine.clone());
        let thread = thread::spawn(move || {
            // There is never anything to do: it sleeps, with the engine.
            ours.serve(&core, |_| {
                waker.sleep(None, None).unwrap();
                thread::yield_now();
            });
        });
        *poller.take(&engine).unwrap() += 1;
        poller.stop();
        thread.join().unwrap();
        assert_eq!(*engine.lock().unwrap(), 1);
    });
}

#[test]
fn who_waits_for_a_completion_is_told_of_it() {
    loom::model(|| {
        let queues = queues();
        let poller = poller(&Waker::new().unwrap());
        let (ours, theirs) = (queues.clone(), poller.clone());
        let thread = thread::spawn(move || {
            assert!(ours.post_cqe(&completion(1)));
            theirs.tell();
        });
        let bell = poller.bell().unwrap();
        while queues.cq_ready() == 0 {
            bell.sleep(None, None).unwrap();
            thread::yield_now();
        }
        assert_eq!(take(&queues), Some(1));
        drop(bell);
        thread.join().unwrap();
    });
}

#[test]
fn no_message_between_rings_is_lost_nor_its_wake_up() {
    loom::model(|| {
        let peer = Peer {
            mailbox: Arc::new(Mailbox::default()),
            queues: queues(),
            buffers: Arc::default(),
            waker: Waker::new().unwrap(),
        };
        let senders: Vec<_> = (1..=2)
            .map(|user_data| {
                let peer = peer.clone();
                thread::spawn(move || peer.send(completion(user_data)))
            })
            .collect();
        let mut seen = 0;
        loop {
            seen += peer.mailbox.take().iter().map(|m| m.user_data).sum::<u64>();
            if seen == 3 {
                break;
            }
            peer.waker.sleep(None, None).unwrap();
            thread::yield_now();
        }
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

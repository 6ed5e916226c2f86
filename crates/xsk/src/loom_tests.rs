//! Two threads at a ring in plain memory and at a waker, in every order that there is. A slot that is
//! touched out of order, or a wake-up that is lost, which is a deadlock, fails.

use loom::thread;

use crate::pair;
use crate::sync::{AtomicU32, Ordering, fence};
use crate::waiter::Waker;

/// More than the ring holds: slots are used again.
const ENTRIES: u64 = 3;

#[test]
fn a_ring_hands_every_entry_over_once() {
    loom::model(|| {
        let (mut producer, mut consumer) = pair::<u64>(2);
        let sender = thread::spawn(move || {
            let mut next = 0;
            while next < ENTRIES {
                while next < ENTRIES && producer.push(next).is_ok() {
                    next += 1;
                }
                producer.publish();
                thread::yield_now();
            }
        });
        let mut expected = 0;
        while expected < ENTRIES {
            while let Some(entry) = consumer.pop() {
                assert_eq!(entry, expected);
                expected += 1;
            }
            consumer.release();
            thread::yield_now();
        }
        sender.join().unwrap();
    });
}

#[test]
fn a_consumer_that_asks_to_be_woken_is() {
    loom::model(|| {
        let (mut producer, mut consumer) = pair::<u64>(2);
        let waker = Waker::new().unwrap();
        let sleeper = waker.clone();
        let receiver = thread::spawn(move || {
            consumer.set_needs_wakeup(true);
            // As the kernel's side does it.
            fence(Ordering::SeqCst);
            if consumer.available() == 0 {
                sleeper.sleep(None, None).unwrap();
            }
            assert_eq!(consumer.pop(), Some(1));
        });
        producer.push(1).unwrap();
        producer.publish();
        if producer.needs_wakeup() {
            waker.wake();
        }
        receiver.join().unwrap();
    });
}

/// Two threads each count something and wake a third, which takes one wake-up for both or one for each.
#[test]
fn what_a_wake_up_was_for_is_seen() {
    loom::model(|| {
        let waker = Waker::new().unwrap();
        let count = std::sync::Arc::new(AtomicU32::new(0));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let (waker, count) = (waker.clone(), count.clone());
                thread::spawn(move || {
                    count.fetch_add(1, Ordering::Relaxed);
                    waker.wake();
                })
            })
            .collect();
        while count.load(Ordering::Relaxed) < 2 {
            waker.sleep(None, None).unwrap();
            // While it is being rung it does not sleep: the other goes on then.
            thread::yield_now();
        }
        for other in others {
            other.join().unwrap();
        }
    });
}

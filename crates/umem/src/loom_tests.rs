//! Two threads at the list of chunks that come back, in every order that there is. A chunk that is lost, comes
//! twice, or is touched out of order fails; a wake-up that is lost is a deadlock.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::returns::Returns;
use crate::sync::{Watch, yield_now};

/// What a waiting engine sleeps on.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !std::mem::take(&mut *rung) {
            rung = self.changed.wait(rung).unwrap();
        }
    }
}

/// Lends so many parts of each chunk.
fn lent(chunks: u32, parts: u32) -> (Arc<Returns>, Watch) {
    let returns = Returns::new(chunks);
    (0..chunks).for_each(|chunk| returns.add(chunk, parts));
    (Arc::new(returns), Watch::new(chunks as usize))
}

/// What the guard of a part does when it is dropped, and before that: it reads.
fn give_back(returns: &Returns, watch: &Watch, chunk: u32) {
    watch.read(chunk as usize, 1);
    if returns.subtract(chunk) == Some(true) {
        returns.put(chunk);
    }
}

/// Takes what is there, to be written to by a NIC.
fn take(returns: &Returns, watch: &Watch, taken: &mut [u32]) {
    returns.take(|chunk| {
        watch.write(chunk as usize, 1);
        taken[chunk as usize] += 1;
    });
}

#[test]
fn every_chunk_comes_back_once() {
    loom::model(|| {
        let (returns, watch) = lent(3, 1);
        let givers = [vec![0, 1], vec![2]].map(|chunks| {
            let (returns, watch) = (Arc::clone(&returns), watch.clone());
            thread::spawn(move || {
                for chunk in chunks {
                    give_back(&returns, &watch, chunk);
                }
            })
        });
        let mut taken = [0; 3];
        while taken.iter().sum::<u32>() < 3 {
            take(&returns, &watch, &mut taken);
            yield_now();
        }
        for giver in givers {
            giver.join().unwrap();
        }
        take(&returns, &watch, &mut taken);
        assert_eq!(taken, [1; 3]);
    });
}

#[test]
fn a_chunk_that_two_have_parts_of_comes_back_with_the_last() {
    loom::model(|| {
        let (returns, watch) = lent(1, 2);
        let givers = [(); 2].map(|()| {
            let (returns, watch) = (Arc::clone(&returns), watch.clone());
            thread::spawn(move || give_back(&returns, &watch, 0))
        });
        let mut taken = [0];
        while taken == [0] {
            take(&returns, &watch, &mut taken);
            yield_now();
        }
        for giver in givers {
            giver.join().unwrap();
        }
        take(&returns, &watch, &mut taken);
        assert_eq!(taken, [1]);
    });
}

#[test]
fn a_chunk_that_was_taken_may_come_back_again() {
    loom::model(|| {
        let (returns, watch) = lent(2, 1);
        let giver = {
            let (returns, watch) = (Arc::clone(&returns), watch.clone());
            thread::spawn(move || {
                give_back(&returns, &watch, 0);
                give_back(&returns, &watch, 1);
            })
        };
        let (mut taken, mut again) = ([0; 2], false);
        while taken != [2, 1] {
            take(&returns, &watch, &mut taken);
            if taken[0] == 1 && !again {
                again = true;
                returns.add(0, 1);
                give_back(&returns, &watch, 0);
            }
            yield_now();
        }
        giver.join().unwrap();
        take(&returns, &watch, &mut taken);
        assert_eq!(taken, [2, 1]);
    });
}

#[test]
fn an_engine_that_sleeps_is_woken_by_what_comes_back() {
    loom::model(|| {
        let (returns, watch) = lent(2, 1);
        let bell = Arc::new(Bell::default());
        let ring = Arc::clone(&bell);
        returns.set_wake(Box::new(move || ring.ring()));
        let giver = {
            let (returns, watch) = (Arc::clone(&returns), watch.clone());
            thread::spawn(move || {
                give_back(&returns, &watch, 0);
                give_back(&returns, &watch, 1);
            })
        };
        let mut taken = [0; 2];
        while taken.iter().sum::<u32>() < 2 {
            if returns.want() {
                bell.wait();
            }
            take(&returns, &watch, &mut taken);
        }
        giver.join().unwrap();
        assert_eq!(taken, [1; 2]);
    });
}

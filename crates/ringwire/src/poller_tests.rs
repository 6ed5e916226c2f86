use super::*;

fn params(setup_flags: u32, sq_thread_idle: u32) -> Parameters {
    Parameters {
        sq_entries: 4,
        cq_entries: 8,
        setup_flags,
        sq_thread_idle,
    }
}

fn poller(sq_thread_idle: u32) -> Poller {
    let waker = Waker::new().expect("a waker");
    let poller = Poller::new(&params(IORING_SETUP_SQPOLL, sq_thread_idle), &waker);
    poller.expect("wakers").expect("a ring that is polled")
}

#[test]
fn only_a_polled_ring_has_a_thread() {
    let waker = Waker::new().expect("a waker");
    let none = Poller::new(&params(0, 5), &waker).expect("no fds");
    assert!(none.is_none());
}

#[test]
fn an_idle_time_of_zero_is_a_second() {
    assert_eq!(poller(0).idle, Duration::from_secs(1));
    assert_eq!(poller(3).idle, Duration::from_millis(3));
}

#[test]
fn only_those_who_sleep_are_told() {
    let poller = poller(1);
    poller.tell();
    let (first, second) = (
        poller.bell().expect("a bell"),
        poller.bell().expect("a bell"),
    );
    poller.tell();
    // Neither sleep would end without it.
    first.sleep(None, None).expect("no signal");
    second.sleep(None, None).expect("no signal");
    drop((first, second));
    poller.tell();
    let reused = poller.bell().expect("a bell");
    let zero = Some(Duration::ZERO);
    assert_eq!(reused.sleep(zero, None), Ok(()));
    assert_eq!(poller.bells().spare.len(), 1, "one of two is used again");
}

#[test]
fn the_end_of_the_thread_is_told_to_those_who_wait_and_to_those_who_enter() {
    let queues = QueueMemory::new(4, 8, IORING_SETUP_SQPOLL);
    let poller = poller(1);
    assert_eq!(poller.check(), Ok(()));
    let bell = poller.bell().expect("a bell");
    drop(LastWords {
        queues: &queues,
        poller: &poller,
    });
    bell.sleep(None, None).expect("no signal");
    assert_eq!(poller.check(), Err(Errno::EOWNERDEAD));
    assert!(queues.sq_flags() & IORING_SQ_NEED_WAKEUP != 0);
}

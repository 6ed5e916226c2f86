use super::*;

/// A test that sleeps so and is not woken does not end.
const FOREVER: Option<Duration> = None;
const NOT_AT_ALL: Option<Duration> = Some(Duration::ZERO);

fn is_readable(waker: &Waker) -> bool {
    let mut fds = [readable(waker.as_raw_fd())];
    poll(&mut fds, NOT_AT_ALL, None).expect("a poll");
    fds[0].revents != 0
}

#[test]
fn who_was_woken_before_does_not_sleep() {
    let waiter = Waiter::new(&[]).expect("a waiter");
    waiter.waker().wake();
    waiter.waker().wake();
    waiter.sleep(FOREVER, None).expect("no signal");
    assert!(!is_readable(waiter.waker()), "one sleep takes all wakes");
}

#[test]
fn a_thread_that_sleeps_is_woken_by_another() {
    let waiter = Waiter::new(&[]).expect("a waiter");
    let waker = waiter.waker().clone();
    let other = std::thread::spawn(move || waker.wake());
    waiter.sleep(FOREVER, None).expect("no signal");
    other.join().expect("the other thread");
    let waker = Waker::new().expect("a waker");
    let other = std::thread::spawn({
        let waker = waker.clone();
        move || waker.wake()
    });
    waker.sleep(FOREVER, None).expect("no signal");
    other.join().expect("the other thread");
}

#[test]
fn no_wake_is_lost_between_two_threads() {
    const ROUNDS: u32 = 2000;
    let waiter = Waiter::new(&[]).expect("a waiter");
    let (there, back) = (waiter.waker().clone(), Waker::new().expect("a waker"));
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let other = std::thread::spawn({
        let (back, count) = (back.clone(), count.clone());
        move || {
            for round in 1..=ROUNDS {
                count.store(round, Ordering::SeqCst);
                there.wake();
                // Every second time the other is not waited for: it may be clearing right now.
                while round % 2 == 0 && count.load(Ordering::SeqCst) == round {
                    back.sleep(FOREVER, None).expect("no signal");
                }
            }
        }
    });
    let mut seen = 0;
    while seen < ROUNDS {
        waiter.sleep(FOREVER, None).expect("no signal");
        seen = count.load(Ordering::SeqCst) & !(1 << 31);
        if seen % 2 == 0 {
            count.fetch_or(1 << 31, Ordering::SeqCst);
            back.wake();
        }
    }
    other.join().expect("the other thread");
}

#[test]
fn the_pollable_fd_shows_a_wake_until_it_is_cleared() {
    let waiter = Waiter::new(&[]).expect("a waiter");
    let shown = || {
        let mut fds = [readable(waiter.epoll_fd())];
        poll(&mut fds, NOT_AT_ALL, None).expect("a poll");
        fds[0].revents != 0
    };
    assert!(!shown());
    waiter.waker().wake();
    assert!(shown());
    waiter.waker().clear();
    assert!(!shown());
    waiter.waker().wake();
    assert!(shown(), "it can be rung again");
}

#[test]
fn a_thread_runs_on_processors_that_there_are() {
    let allowed = std::fs::read_to_string("/proc/thread-self/status").expect("the status");
    let list = allowed
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let list = list.expect("a list of processors").trim().to_owned();
    let first = list.split([',', '-']).next().expect("a processor");
    std::thread::spawn({
        let cpu = first.parse().expect("a number");
        move || run_on_cpu(cpu).expect("a processor that is allowed")
    })
    .join()
    .expect("the thread");
    let missing = run_on_cpu(9999).expect_err("no such processor");
    assert_eq!(missing.raw_os_error(), Some(libc::EINVAL));
}

#[test]
fn a_socket_wakes_the_pollable_fd_once_that_is_shown_and_a_sleeper_always() {
    let mut waiter = Waiter::new(&[]).expect("a waiter");
    let socket = Waker::new().expect("a waker");
    socket.wake();
    let shown = |waiter: &Waiter| {
        let mut fds = [readable(waiter.epoll_fd())];
        poll(&mut fds, NOT_AT_ALL, None).expect("a poll");
        fds[0].revents != 0
    };
    waiter
        .replace_sockets(vec![socket.as_raw_fd()])
        .expect("room");
    assert!(!shown(&waiter));
    waiter.sleep(FOREVER, None).expect("no signal");
    waiter.show(None);
    assert!(shown(&waiter));
    waiter.sleep(FOREVER, None).expect("no signal");
}

#[test]
fn the_pollable_fd_is_readable_at_its_deadline() {
    let mut waiter = Waiter::new(&[]).expect("a waiter");
    let mut fds = [readable(waiter.epoll_fd())];
    waiter.show(Some(Duration::ZERO));
    poll(&mut fds, FOREVER, None).expect("a poll");
    assert_ne!(fds[0].revents, 0);
}

#[test]
fn sockets_are_watched_in_place_of_others() {
    let mut waiter = Waiter::new(&[]).expect("a waiter");
    let (old, new) = (
        Waker::new().expect("a waker"),
        Waker::new().expect("a waker"),
    );
    old.wake();
    new.wake();
    let shown = |waiter: &Waiter| {
        let mut fds = [readable(waiter.epoll_fd())];
        poll(&mut fds, NOT_AT_ALL, None).expect("a poll");
        fds[0].revents != 0
    };
    waiter.replace_sockets(vec![old.as_raw_fd()]).expect("room");
    waiter.show(None);
    assert!(shown(&waiter));
    waiter.sleep(FOREVER, None).expect("no signal");
    waiter.replace_sockets(vec![]).expect("room");
    assert!(!shown(&waiter));
    waiter.replace_sockets(vec![new.as_raw_fd()]).expect("room");
    assert!(shown(&waiter));
    waiter.sleep(FOREVER, None).expect("no signal");
}

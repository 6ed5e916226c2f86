use super::*;

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn until(want: u32, min_wait: Option<u64>, deadline: Option<u64>) -> Until {
    Until {
        want,
        min_wait: min_wait.map(at),
        deadline: deadline.map(at),
        sigmask: (0, 0),
    }
}

const DONE: Option<Result<(), Errno>> = Some(Ok(()));
const TIMED_OUT: Option<Result<(), Errno>> = Some(Err(Errno::ETIME));

#[test]
fn a_wait_ends_with_the_completions_wanted() {
    let until = until(2, None, None);
    assert_eq!(until.is_over(at(9), 1), None);
    assert_eq!(until.is_over(at(9), 2), DONE);
}

#[test]
fn a_timeout_is_an_error_only_without_completions() {
    let until = until(2, None, Some(10));
    assert_eq!(until.is_over(at(9), 0), None);
    assert_eq!(until.is_over(at(10), 0), TIMED_OUT);
    assert_eq!(until.is_over(at(10), 1), DONE);
}

#[test]
fn after_the_minimum_wait_one_completion_is_enough() {
    let until = until(2, Some(5), Some(10));
    assert_eq!(until.is_over(at(4), 1), None);
    assert_eq!(until.is_over(at(5), 0), None);
    assert_eq!(until.is_over(at(5), 1), DONE);
    assert_eq!(until.is_over(at(10), 0), TIMED_OUT);
}

#[test]
fn a_minimum_wait_alone_is_a_timeout() {
    let until = until(2, Some(5), None);
    assert_eq!(until.is_over(at(4), 0), None);
    assert_eq!(until.is_over(at(5), 0), TIMED_OUT);
}

#[test]
fn a_timeout_does_not_cut_the_minimum_wait_short() {
    let until = until(2, Some(10), Some(5));
    assert_eq!(until.is_over(at(5), 0), None);
    assert_eq!(until.next_look(at(6)), Some(at(10)));
    assert_eq!(until.is_over(at(10), 0), TIMED_OUT);
}

#[test]
fn times_that_have_passed_are_now() {
    assert_eq!(deadline(at(7), (-1, 0), None), Some(at(7)));
    assert_eq!(deadline(at(7), (0, -5), None), Some(at(7)));
    assert_eq!(
        deadline(at(7), (1, 0), Some(Duration::from_secs(2))),
        Some(at(7))
    );
}

#[test]
fn an_absolute_time_counts_on_its_clock() {
    let clock = Some(Duration::from_secs(100));
    assert_eq!(deadline(at(7), (100, 3_000_000), clock), Some(at(10)));
    assert_eq!(deadline(at(7), (0, 1_500_000_000), None), Some(at(1507)));
}

#[test]
fn a_time_that_no_timer_counts_to_never_comes() {
    assert_eq!(deadline(at(7), (i64::MAX, 0), None), None);
}

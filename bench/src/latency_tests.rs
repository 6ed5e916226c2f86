use super::*;

#[test]
fn a_time_is_found_again_within_a_thirty_second_part() {
    for nanos in [0, 1, 31, 32, 63, 64, 65, 100, 2_300, 123_456, 9_999_999_999] {
        let mut times = Times::default();
        times.record(nanos);
        let found = times.quantile(0.5);
        assert!(
            found.abs_diff(nanos) <= nanos / 32,
            "{nanos} became {found}"
        );
    }
}

#[test]
fn a_quantile_is_the_time_that_so_many_do_not_exceed() {
    let mut times = Times::default();
    (1..=20).for_each(|nanos| times.record(nanos));
    assert_eq!(times.quantile(0.5), 10);
    assert_eq!(times.quantile(0.99), 20);
    assert_eq!(times.quantile(0.05), 1);
}

#[test]
fn without_times_a_quantile_is_zero() {
    assert_eq!(Times::default().quantile(0.99), 0);
}

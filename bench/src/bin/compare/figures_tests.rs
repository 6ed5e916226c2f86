use super::*;

#[test]
fn the_median_of_an_even_number_lies_between_the_middle_two() {
    let spread = Spread::of([4.0, 1.0, 3.0, 2.0].into_iter());
    let expected = Spread {
        least: 1.0,
        median: 2.5,
        most: 4.0,
    };
    assert_eq!(spread, Some(expected));
}

#[test]
fn what_is_no_number_is_left_out() {
    let spread = Spread::of([f64::NAN, 7.0, f64::INFINITY].into_iter());
    assert_eq!(spread.map(|it| it.median), Some(7.0));
    assert_eq!(Spread::of([f64::NAN].into_iter()), None);
}

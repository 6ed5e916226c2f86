//! The kernel is the oracle: one text (`text/`) runs on the kernel's io_uring and on ringwire, over a veth
//! pair with the same addresses, and the transcripts of completions must be equal.

// The text is a module of both, on purpose.
#![allow(clippy::duplicate_mod)]

use std::collections::BTreeSet;

use libtest_mimic::{Arguments, Trial};
use ringwire_tests::privileged;

mod different;
mod differential;
mod on_kernel;
mod on_ringwire;
mod program;

/// What a case says on both rings, at the same time: most of what takes long is waiting.
fn transcripts(
    theirs: &'static on_kernel::text::Case,
    ours: &'static on_ringwire::text::Case,
) -> (Vec<String>, Vec<String>) {
    std::thread::scope(|scope| {
        let expected = scope.spawn(|| theirs.transcript());
        let actual = ours.transcript();
        (expected.join().expect("the kernel's side"), actual)
    })
}

fn equal(expected: &[String], actual: &[String]) {
    assert!(!expected.is_empty(), "the case says nothing");
    let difference = expected
        .iter()
        .zip(actual)
        .find(|(expected, actual)| expected != actual);
    assert!(
        expected == actual,
        "first difference (kernel, ringwire): {difference:?}\nkernel:   {expected:#?}\nringwire: {actual:#?}"
    );
}

type Cases = (
    &'static on_kernel::text::Case,
    &'static on_ringwire::text::Case,
);

fn trial(
    (theirs, ours): Cases,
    check: impl FnOnce(&[String], &[String]) + Send + 'static,
) -> Trial {
    assert_eq!(theirs.name, ours.name);
    privileged(theirs.name, move || {
        let (expected, actual) = transcripts(theirs, ours);
        check(&expected, &actual);
    })
}

fn main() {
    let arguments = Arguments::from_args();
    let same = on_kernel::text::cases().zip(on_ringwire::text::cases());
    let mut trials: Vec<Trial> = same.map(|cases| trial(cases, equal)).collect();
    let theirs = on_kernel::text::different_cases();
    let ours = on_ringwire::text::different_cases();
    for (difference, cases) in different::DIFFERENCES.iter().zip(theirs.iter().zip(ours)) {
        assert_eq!(difference.name, cases.0.name);
        trials.push(trial(cases, |kernel, ringwire| {
            difference.check(kernel, ringwire)
        }));
    }
    assert_eq!(different::DIFFERENCES.len(), theirs.len());
    trials.push(Trial::test("differences_are_documented", || {
        different::page_names_them();
        Ok(())
    }));
    let names: BTreeSet<&str> = on_kernel::text::cases().map(|case| case.name).collect();
    trials.push(Trial::test("cases_are_documented", move || {
        different::page_of_cases_names_cases(&names);
        Ok(())
    }));
    trials.extend(differential::trials());
    libtest_mimic::run(&arguments, trials).exit();
}

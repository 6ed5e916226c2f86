//! What is said of what a probe saw.

use std::net::Ipv4Addr;

use ringwire::{Attached, Mode};

use super::super::probe::{Seen, SeenQueue, examine, judge};
use super::*;

/// Two queues, a question by each, and an answer to each by the second.
fn seen() -> Seen {
    let queue = |queue, answers| SeenQueue {
        queue,
        bound: Ok(Mode::ZeroCopy),
        completed: true,
        answers,
    };
    Seen {
        attached: Attached::Native,
        native_refused: None,
        queues: vec![queue(0, 0), queue(1, 2)],
        counted: 2,
        target: Some(Ipv4Addr::new(10, 0, 0, 1)),
    }
}

/// The verdict of the one line that has these words.
#[track_caller]
fn verdict_of(seen: &Seen, words: &str) -> Verdict {
    let findings = judge(seen);
    let mut with = findings
        .iter()
        .filter(|finding| finding.says.contains(words));
    let finding = with
        .next()
        .unwrap_or_else(|| panic!("{words}: {findings:?}"));
    assert!(with.next().is_none(), "{words}: {findings:?}");
    finding.verdict
}

#[test]
fn what_was_answered_is_proven_and_only_that() {
    let seen = seen();
    assert!(
        judge(&seen)
            .iter()
            .all(|finding| finding.verdict == Verdict::Ok)
    );
    verdict_of(&seen, "sending is proven: 2 answers to 2 questions");
    verdict_of(
        &seen,
        "receiving is proven on 1: 10.0.0.1 answered. Not on 0:",
    );
    verdict_of(
        &seen,
        "queue 1: bound (zero copy), sent, and the descriptor came back; 2 answers",
    );
}

#[test]
fn an_answer_to_some_questions_proves_not_all_queues() {
    let mut seen = seen();
    seen.queues[1].answers = 1;
    verdict_of(
        &seen,
        "sending is proven as far as the interface: it counted 2 packets for 2",
    );
    seen.counted = 1;
    assert_eq!(verdict_of(&seen, "sending is not proven"), Verdict::Note);
}

#[test]
fn without_an_answer_receiving_is_not_proven() {
    let mut seen = seen();
    seen.queues[1].answers = 0;
    assert_eq!(
        verdict_of(&seen, "10.0.0.1 did not answer"),
        Verdict::Problem
    );
    // Nobody was asked: nothing is wrong.
    seen.target = None;
    assert_eq!(verdict_of(&seen, "receiving is not proven"), Verdict::Note);
}

#[test]
fn a_queue_that_is_not_bound_or_sends_nothing_hurts() {
    let mut seen = seen();
    seen.queues[0].completed = false;
    assert_eq!(
        verdict_of(&seen, "queue 0: bound (zero copy), but"),
        Verdict::Problem
    );
    seen.queues[0].bound = Err("taken".to_owned());
    assert_eq!(
        verdict_of(&seen, "queue 0: not bound: taken"),
        Verdict::Problem
    );
    // One question was sent then, and two answers are enough for it.
    verdict_of(&seen, "sending is proven: 2 answers to 1 question");
}

#[test]
fn nothing_that_was_sent_is_nothing_proven() {
    let mut seen = seen();
    for queue in &mut seen.queues {
        (queue.completed, queue.answers) = (false, 0);
    }
    assert_eq!(verdict_of(&seen, "sending is not proven"), Verdict::Note);
}

#[test]
fn why_the_driver_refused_the_program_is_said() {
    let mut seen = seen();
    seen.attached = Attached::Generic;
    seen.native_refused = Some("Invalid argument".to_owned());
    let words = "generically: the driver said: Invalid argument";
    assert_eq!(verdict_of(&seen, words), Verdict::Note);
}

#[test]
fn without_the_privilege_the_capability_is_named_and_nothing_done() {
    let mut machine = healthy();
    machine.host.capabilities = ALL & !(1 << 13);
    // There is no such interface.
    let findings = examine(&machine, None);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].verdict, Verdict::Problem);
    assert!(
        findings[0].says.ends_with("lacks CAP_NET_RAW"),
        "{}",
        findings[0]
    );
}

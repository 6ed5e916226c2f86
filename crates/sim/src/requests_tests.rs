//! The rule of exactly one last completion is enforced.

use io_uring::{opcode, squeue, types};

use super::*;

fn pushed(entry: squeue::Entry) -> (Requests, u64) {
    let mut requests = Requests::default();
    let id = requests.push(entry, Purpose::Quiet);
    (requests, id)
}

#[test]
fn a_second_completion_is_a_violation() {
    let (mut requests, id) = pushed(opcode::Nop::new().build());
    assert_eq!(requests.completed(id, false), Ok(Purpose::Quiet));
    let again = requests.completed(id, false).expect_err("completed twice");
    assert!(again.contains("twice"), "{again}");
}

#[test]
fn a_completion_of_a_request_that_never_was_is_a_violation() {
    let (mut requests, id) = pushed(opcode::Nop::new().build());
    assert!(requests.completed(id + 1, false).is_err());
}

#[test]
fn only_multishot_operations_may_say_that_more_comes() {
    let (mut requests, id) = pushed(opcode::Nop::new().build());
    assert!(requests.completed(id, true).is_err());
    let (mut requests, id) = pushed(opcode::RecvMulti::new(types::Fixed(0), 1).build());
    for more in [true, true, false] {
        assert_eq!(requests.completed(id, more), Ok(Purpose::Quiet));
    }
    assert!(requests.completed(id, false).is_err());
}

#[test]
fn an_unanswered_request_counts_unless_it_may_be_silent() {
    let silent = opcode::Nop::new().build();
    let (mut requests, _) = pushed(silent.flags(squeue::Flags::SKIP_SUCCESS));
    assert_eq!(requests.unanswered(), 0);
    let id = requests.push(opcode::Nop::new().build(), Purpose::Quiet);
    assert_eq!(requests.unanswered(), 1);
    requests.may_be_silent(id);
    assert_eq!(requests.unanswered(), 0);
}

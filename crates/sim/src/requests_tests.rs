//! The rule of exactly one last completion is enforced, and that of notifications.

use super::*;

const MORE: u32 = IORING_CQE_F_MORE;
const NOTIFICATION: u32 = IORING_CQE_F_NOTIF;
const RESULT: Result<Answer, String> = Ok(Answer::Result(Purpose::Quiet));
const NOTIFIED: Result<Answer, String> = Ok(Answer::Notification(Purpose::Quiet));

fn pushed(entry: squeue::Entry) -> (Requests, u64) {
    let mut requests = Requests::default();
    let id = requests.push(entry, Purpose::Quiet);
    (requests, id)
}

fn zero_copy() -> squeue::Entry {
    opcode::SendZc::new(types::Fixed(0), std::ptr::null(), 0).build()
}

/// A zero-copy send behind a request that it is linked to.
fn linked() -> (Requests, u64) {
    let head = opcode::Nop::new().build().flags(squeue::Flags::IO_LINK);
    let (mut requests, head) = pushed(head);
    let id = requests.push(zero_copy(), Purpose::Quiet);
    assert_eq!(requests.completed(head, -1, 0), RESULT);
    (requests, id)
}

#[test]
fn a_second_completion_is_a_violation() {
    let (mut requests, id) = pushed(opcode::Nop::new().build());
    assert_eq!(requests.completed(id, 0, 0), RESULT);
    let again = requests.completed(id, 0, 0).expect_err("completed twice");
    assert!(again.contains("twice"), "{again}");
}

#[test]
fn a_completion_of_a_request_that_never_was_is_a_violation() {
    let (mut requests, id) = pushed(opcode::Nop::new().build());
    assert!(requests.completed(id + 1, 0, 0).is_err());
}

#[test]
fn only_multishot_requests_may_say_that_more_comes() {
    let nothing = std::ptr::null_mut();
    for once in [
        opcode::Nop::new().build(),
        opcode::Recv::new(types::Fixed(0), nothing, 0).build(),
        opcode::Accept::new(types::Fixed(0), nothing.cast(), nothing.cast()).build(),
        opcode::PollAdd::new(types::Fixed(0), 1).build(),
    ] {
        let (mut requests, id) = pushed(once);
        assert!(requests.completed(id, 0, MORE).is_err());
    }
    for often in [
        opcode::RecvMulti::new(types::Fixed(0), 1).build(),
        opcode::AcceptMulti::new(types::Fixed(0)).build(),
        opcode::PollAdd::new(types::Fixed(0), 1).multi(true).build(),
    ] {
        let (mut requests, id) = pushed(often);
        for flags in [MORE, MORE, 0] {
            assert_eq!(requests.completed(id, 1, flags), RESULT);
        }
        assert!(requests.completed(id, 1, 0).is_err());
    }
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

#[test]
fn a_zero_copy_send_is_answered_by_a_completion_and_one_notification() {
    let (mut requests, id) = pushed(zero_copy());
    assert_eq!(requests.completed(id, 5, MORE), RESULT);
    assert_eq!(requests.unanswered(), 1, "its notification is owed");
    assert_eq!(requests.completed(id, 0, NOTIFICATION), NOTIFIED);
    assert_eq!(requests.unanswered(), 0);
    assert!(requests.completed(id, 0, NOTIFICATION).is_err());
}

#[test]
fn a_notification_before_its_completion_is_a_violation() {
    let (mut requests, id) = pushed(zero_copy());
    assert!(requests.completed(id, 0, NOTIFICATION).is_err());
}

#[test]
fn a_notification_that_was_not_announced_is_a_violation() {
    let (mut requests, id) = pushed(zero_copy());
    assert_eq!(requests.completed(id, -22, 0), RESULT);
    assert!(requests.completed(id, 0, NOTIFICATION).is_err());
}

#[test]
fn a_second_completion_in_a_notifications_place_is_a_violation() {
    for flags in [0, MORE] {
        let (mut requests, id) = pushed(zero_copy());
        assert_eq!(requests.completed(id, 5, MORE), RESULT);
        assert!(requests.completed(id, 5, flags).is_err());
    }
}

#[test]
fn a_notification_is_the_last_completion() {
    let (mut requests, id) = pushed(zero_copy());
    assert_eq!(requests.completed(id, 5, MORE), RESULT);
    assert!(requests.completed(id, 0, NOTIFICATION | MORE).is_err());
}

#[test]
fn only_zero_copy_sends_are_notified_of() {
    let (mut requests, id) = pushed(opcode::Nop::new().build());
    assert!(requests.completed(id, 0, NOTIFICATION).is_err());
}

#[test]
fn a_zero_copy_send_that_is_cancelled_with_its_chain_is_notified_of_though_nothing_says_so() {
    let (mut requests, id) = linked();
    assert_eq!(requests.completed(id, -libc::ECANCELED, 0), RESULT);
    assert_eq!(requests.unanswered(), 1);
    assert_eq!(requests.completed(id, 0, NOTIFICATION), NOTIFIED);
    assert_eq!(requests.unanswered(), 0);
}

#[test]
fn a_chain_that_is_cancelled_in_silence_has_its_notifications() {
    let (mut requests, id) = linked();
    requests.may_be_silent(id);
    assert_eq!(requests.unanswered(), 1);
    assert_eq!(requests.completed(id, 0, NOTIFICATION), NOTIFIED);
    assert_eq!(requests.unanswered(), 0);
}

#[test]
fn a_notification_may_have_a_name_of_its_own() {
    let mut named = Sqe::from_entry(&zero_copy());
    named.addr3 = 1;
    let (mut requests, id) = pushed(named.to_entry());
    let name = Sqe::from_entry(requests.front().expect("it was pushed")).addr3;
    assert_ne!(name, id);
    assert_eq!(requests.completed(id, 5, MORE), RESULT);
    assert_eq!(requests.completed(name, 0, NOTIFICATION), NOTIFIED);
    assert_eq!(requests.unanswered(), 0);
}

#[test]
fn a_poll_may_complete_by_the_name_it_is_given_and_then_by_no_other() {
    let poll = || opcode::PollAdd::new(types::Fixed(0), 1).multi(true).build();
    let (mut requests, id) = pushed(poll());
    requests.pop_front();
    let update = Sqe {
        opcode: IORING_OP_POLL_REMOVE,
        addr: id,
        len: IORING_POLL_UPDATE_USER_DATA,
        ..Sqe::default()
    };
    requests.push(update.to_entry(), Purpose::Quiet);
    let name = Sqe::from_entry(requests.front().expect("it was pushed")).off;
    assert_eq!(requests.completed(id, 1, MORE), RESULT, "not changed yet");
    assert_eq!(requests.completed(name, 1, MORE), RESULT);
    assert!(requests.completed(id, 1, MORE).is_err());
    assert_eq!(requests.completed(name, 1, 0), RESULT);
}

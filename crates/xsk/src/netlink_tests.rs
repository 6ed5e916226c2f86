use std::os::unix::net::UnixDatagram;

use super::*;

const KIND: u16 = 30;

fn answer(value: u64) -> Vec<u8> {
    message(KIND, 0, 1, &attribute(3, &value.to_ne_bytes()))
}

#[test]
fn an_answer_is_of_the_kind_asked_for_and_whole() {
    let whole = answer(8);
    assert!(matches!(first(&whole, KIND), Ok((Some(_), &[]))));
    assert!(matches!(first(&whole, 31), Err(Silence::Malformed)));
    for len in 0..whole.len() {
        let cut = first(&whole[..len], KIND);
        assert!(matches!(cut, Err(Silence::Malformed)), "{len}");
    }
}

#[test]
fn answers_follow_each_other_until_the_end() {
    let end = message(libc::NLMSG_DONE as u16, 0, 1, &0i32.to_ne_bytes());
    let all = [answer(1), answer(2), end].concat();
    let (one, rest) = first(&all, KIND).expect("the first");
    assert_eq!(find(one.unwrap(), 3).unwrap().and_then(u64_of), Some(1));
    let (two, rest) = first(rest, KIND).expect("the second");
    assert_eq!(find(two.unwrap(), 3).unwrap().and_then(u64_of), Some(2));
    assert!(matches!(first(rest, KIND), Ok((None, &[]))));
}

#[test]
fn an_error_is_the_kernels_errno() {
    let errno_of =
        |kind: i32, payload: &[u8]| match first(&message(kind as u16, 0, 1, payload), KIND) {
            Err(Silence::Io(error)) => error.raw_os_error(),
            _ => None,
        };
    let noent = (-libc::ENOENT).to_ne_bytes();
    assert_eq!(errno_of(libc::NLMSG_ERROR, &noent), Some(libc::ENOENT));
    assert_eq!(errno_of(libc::NLMSG_DONE, &noent), Some(libc::ENOENT));
    let least = i32::MIN.to_ne_bytes();
    assert_eq!(errno_of(libc::NLMSG_ERROR, &least), Some(i32::MAX));
    assert_eq!(errno_of(libc::NLMSG_ERROR, &[]), None);
}

#[test]
fn an_attribute_is_found_behind_others_and_not_in_what_is_cut() {
    let all = [attribute(1, b"odd"), attribute(2, &7u32.to_ne_bytes())].concat();
    assert_eq!(find(&all, 2).unwrap().and_then(u32_of), Some(7));
    assert!(matches!(find(&all, 9), Ok(None)));
    assert!(matches!(
        find(&all[..all.len() - 1], 2),
        Err(Silence::Malformed)
    ));
}

#[test]
fn a_nest_is_an_attribute_of_attributes() {
    let nested = nest(5, &attribute(1, b"x"));
    let inner = find(&nested, 5).unwrap().expect("the nest");
    assert_eq!(find(inner, 1).unwrap(), Some(&b"x"[..]));
}

#[test]
fn a_string_ends_at_its_terminator_if_it_has_one() {
    assert_eq!(string_of(b"veth\0"), "veth");
    assert_eq!(string_of(b"veth"), "veth");
    assert_eq!(string_of(b""), "");
}

/// A socket whose other end is a kernel that has said all that it will say.
fn asks_of(told: &[Vec<u8>]) -> (Netlink, UnixDatagram) {
    let (socket, kernel) = UnixDatagram::pair().expect("a pair of sockets");
    for part in told {
        kernel.send(part).expect("room for it");
    }
    let netlink = Netlink {
        socket: socket.into(),
        sequence: Cell::new(0),
    };
    (netlink, kernel)
}

/// A dump of one answer that the question of this number is answered with.
fn dumped(sequence: u32, value: u64, flags: i32) -> Vec<u8> {
    let value = attribute(3, &value.to_ne_bytes());
    let end = message(libc::NLMSG_DONE as u16, 0, sequence, &0i32.to_ne_bytes());
    [message(KIND, flags as u16, sequence, &value), end].concat()
}

#[test]
fn a_dump_that_was_not_of_one_moment_is_asked_for_again() {
    let (interrupted, whole) = (libc::NLM_F_DUMP_INTR, 0);
    let (netlink, _kernel) = asks_of(&[dumped(1, 8, interrupted), dumped(2, 9, whole)]);
    let answers = netlink.dump(KIND, &[], KIND).expect("a dump");
    assert_eq!(answers, [attribute(3, &9u64.to_ne_bytes())]);
}

#[test]
fn a_dump_that_is_never_of_one_moment_is_given_up() {
    let told: Vec<_> = (1..=DUMPS + 1)
        .map(|sequence| dumped(sequence, 8, libc::NLM_F_DUMP_INTR))
        .collect();
    let (netlink, _kernel) = asks_of(&told);
    let answers = netlink.dump(KIND, &[], KIND);
    assert!(matches!(answers, Err(Silence::Unsteady)));
    assert_eq!(netlink.sequence.get(), DUMPS);
}

#[test]
fn the_rest_of_a_question_that_was_given_up_answers_no_other() {
    let value = attribute(3, &9u64.to_ne_bytes());
    let told = [dumped(0, 8, 0), message(KIND, 0, 1, &value)];
    let (netlink, _kernel) = asks_of(&told);
    assert_eq!(netlink.ask(KIND, &[], KIND).expect("an answer"), value);
}

#[test]
fn an_order_is_obeyed_or_refused_with_an_errno() {
    let answered = |payload: &[u8]| {
        let told = [message(libc::NLMSG_ERROR as u16, 0, 1, payload)];
        asks_of(&told).0.tell(KIND, 0, &[])
    };
    assert!(answered(&0i32.to_ne_bytes()).is_ok());
    let refused = answered(&(-libc::EPERM).to_ne_bytes());
    let refused = io::Error::from(refused.expect_err("a refusal"));
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    assert!(matches!(answered(&[0; 3]), Err(Silence::Malformed)));
    let (netlink, _kernel) = asks_of(&[answer(8)]);
    assert!(matches!(
        netlink.tell(KIND, 0, &[]),
        Err(Silence::Malformed)
    ));
}

#[test]
fn a_family_that_no_kernel_has_is_missing() {
    let netlink = Netlink::open(libc::NETLINK_GENERIC).expect("a netlink socket");
    assert!(matches!(netlink.family("no-such"), Err(Silence::NoFamily)));
}

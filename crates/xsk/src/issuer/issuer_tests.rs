use std::io::ErrorKind;
use std::thread;

use super::*;
use crate::maps::Protocol;
use crate::program::AttachMode;
use crate::seqpacket::Received;

const INTERFACE: &str = "eth1";

/// An issuer and a child that says whatever it likes.
fn two() -> (Issuer, OwnedFd) {
    Issuer::new(INTERFACE, &[80]).unwrap()
}

/// Of another interface than the issuer's: refused without a privilege, and without a look at the machine.
fn foreign() -> Request {
    Request::Membership {
        interface: "lo".to_owned(),
        mac: [1; 6],
    }
}

fn reserve(interface: &str, port: u16) -> Request {
    Request::Reserve {
        interface: interface.to_owned(),
        protocol: Protocol::Tcp,
        local: ([0, 0, 0, 0], port).into(),
        v6_only: false,
        reuse_address: false,
        reuse_port: false,
    }
}

fn ask(child: &OwnedFd, number: u32, request: Request) -> io::Result<()> {
    let bytes = Numbered { number, request }.encode();
    send(child.as_fd(), &bytes, &[], libc::MSG_DONTWAIT)
}

fn answered(child: &OwnedFd) -> (u32, Answer) {
    let mut buffer = [0; message::ANSWER_BYTES];
    let Received { len, fds, whole } = receive(child.as_fd(), &mut buffer).unwrap();
    assert!(whole && fds.is_empty());
    Answer::decode(&buffer[..len]).unwrap()
}

fn reason(answer: Answer) -> String {
    match answer {
        Answer::Refused { reason, .. } => reason,
        issued => panic!("{issued:?}"),
    }
}

#[test]
fn another_interface_is_refused_with_the_cure() {
    let (issuer, child) = two();
    let of_lo = |mode| Request::Program {
        interface: "lo".to_owned(),
        mode,
    };
    for request in [foreign(), of_lo(AttachMode::Auto)] {
        ask(&child, 9, request).unwrap();
        assert!(issuer.answer().unwrap());
        let (number, answer) = answered(&child);
        assert_eq!(number, 9);
        let reason = reason(answer);
        assert!(reason.contains("'eth1'"), "{reason}");
        assert!(reason.contains("`--interface lo`"), "{reason}");
    }
}

#[test]
fn a_port_that_was_not_allowed_is_refused_with_the_cure() {
    let (issuer, child) = two();
    ask(&child, 1, reserve(INTERFACE, 81)).unwrap();
    assert!(issuer.answer().unwrap());
    let reason = reason(answered(&child).1);
    assert!(reason.contains("`--bind 81`"), "{reason}");
}

#[test]
fn a_port_that_was_allowed_is_so_on_the_interface_alone() {
    let (issuer, child) = two();
    ask(&child, 1, reserve("lo", 80)).unwrap();
    assert!(issuer.answer().unwrap());
    let reason = reason(answered(&child).1);
    assert!(reason.contains("'lo' is not its interface"), "{reason}");
}

#[test]
fn what_the_kernel_said_of_a_port_comes_over() {
    // There is no such interface.
    let (issuer, child) = Issuer::new("no-such-one", &[80]).unwrap();
    ask(&child, 1, reserve("no-such-one", 80)).unwrap();
    assert!(issuer.answer().unwrap());
    let (_, answer) = answered(&child);
    assert!(
        matches!(
            answer,
            Answer::Refused {
                errno: libc::ENODEV,
                ..
            }
        ),
        "{answer:?}"
    );
}

#[test]
fn a_message_that_is_no_request_ends_it() {
    let whole = Numbered {
        number: 1,
        request: foreign(),
    }
    .encode();
    let longer = [whole.as_slice(), &[0]].concat();
    let mut unknown = whole;
    unknown[8] = 99;
    for bytes in [&whole[..63], &longer, &unknown, b"x", &[0xff; 4096]] {
        let (issuer, child) = two();
        send(child.as_fd(), bytes, &[], 0).unwrap();
        let error = issuer.serve().unwrap_err();
        assert!(error.to_string().contains("no request"), "{error}");
    }
}

#[test]
fn descriptors_that_nobody_asked_for_are_refused_and_closed() {
    let (issuer, child) = two();
    let (given, kept) = pair().unwrap();
    let bytes = Numbered {
        number: 1,
        request: Request::XdpSocket,
    }
    .encode();
    send(child.as_fd(), &bytes, &[given.as_fd()], 0).unwrap();
    drop(given);
    assert!(issuer.answer().unwrap());
    let (_, answer) = answered(&child);
    assert!(reason(answer).contains("no descriptor"));
    // The last copy of the other end is gone.
    let closed = receive(kept.as_fd(), &mut [0; 1]).unwrap();
    assert_eq!(closed.len, 0);
}

#[test]
fn more_descriptors_than_a_message_carries_are_no_request() {
    let (issuer, child) = two();
    let (one, _other) = pair().unwrap();
    let bytes = Numbered {
        number: 1,
        request: foreign(),
    }
    .encode();
    send(child.as_fd(), &bytes, &[one.as_fd(); 100], 0).unwrap();
    assert!(issuer.serve().is_err());
}

#[test]
fn serving_ends_when_the_child_has_closed() {
    let (issuer, child) = two();
    drop(child);
    issuer.serve().unwrap();
}

#[test]
fn a_child_that_ends_without_its_answer_is_no_error() {
    let (issuer, child) = two();
    ask(&child, 1, foreign()).unwrap();
    ask(&child, 2, foreign()).unwrap();
    assert!(issuer.answer().unwrap());
    drop(child);
    issuer.serve().unwrap();
}

#[test]
fn a_child_that_floods_without_reading_is_dropped_and_never_waited_for() {
    let (issuer, child) = two();
    let most = 100_000;
    let error = (0..most).find_map(|number| {
        ask(&child, number, foreign()).unwrap();
        issuer.answer().err()
    });
    let error = error.expect("it is not answered for ever");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(error.to_string().contains("does not read"), "{error}");
}

#[test]
fn a_child_that_asks_often_is_answered_as_often() {
    let (issuer, child) = two();
    thread::scope(|scope| {
        let served = scope.spawn(move || issuer.serve());
        for number in 0..2_000 {
            ask(&child, number, foreign()).unwrap();
            assert_eq!(answered(&child).0, number);
        }
        drop(child);
        served.join().unwrap().unwrap();
    });
}

#[test]
fn what_the_issuer_says_is_the_childs_error() {
    let (issuer, child) = two();
    let privileges = Privileges::from_socket(child).unwrap();
    let lo = Interface::by_name("lo").unwrap();
    thread::scope(|scope| {
        scope.spawn(move || issuer.serve().unwrap());
        let error = privileges.join_multicast(&lo, [1; 6]).unwrap_err();
        assert!(
            error.to_string().contains("'lo' is not its interface"),
            "{error}"
        );
        drop(privileges);
    });
}

#[test]
fn an_issuer_that_has_gone_is_named() {
    let (issuer, child) = two();
    let privileges = Privileges::from_socket(child).unwrap();
    drop(issuer);
    let error = privileges.xdp_socket().unwrap_err();
    assert!(error.to_string().contains("it has gone"), "{error}");
}

#[test]
fn an_answer_that_does_not_fit_is_refused() {
    let (issuer, child) = two();
    let privileges = Privileges::from_socket(child).unwrap();
    // No descriptor comes with it, and then too many.
    let (one, other) = pair().unwrap();
    for fds in [vec![], vec![one.as_fd(), other.as_fd()]] {
        thread::scope(|scope| {
            let asked = scope.spawn(|| privileges.xdp_socket());
            let mut buffer = [0; REQUEST_BYTES];
            receive(issuer.as_fd(), &mut buffer).unwrap();
            let number = Numbered::decode(&buffer).unwrap().number;
            let answer = Answer::Issued.encode(number);
            send(issuer.as_fd(), &answer, &fds, 0).unwrap();
            let error = asked.join().unwrap().unwrap_err();
            assert!(error.to_string().contains("does not fit"), "{error}");
        });
    }
}

#[test]
fn a_late_answer_is_not_taken_for_the_next_one() {
    let (issuer, child) = two();
    let privileges = Privileges::from_socket(child).unwrap();
    let late = Answer::Refused {
        errno: 0,
        reason: "too late".to_owned(),
    }
    .encode(77);
    send(issuer.as_fd(), &late, &[], 0).unwrap();
    let lo = Interface::by_name("lo").unwrap();
    thread::scope(|scope| {
        scope.spawn(move || issuer.serve().unwrap());
        let error = privileges.join_multicast(&lo, [1; 6]).unwrap_err();
        assert!(error.to_string().contains("'lo' is not"), "{error}");
        drop(privileges);
    });
}

#[test]
fn a_descriptor_of_another_kind_is_no_issuers_socket() {
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    for fd in [
        OwnedFd::from(stream),
        std::fs::File::open("/dev/null").unwrap().into(),
    ] {
        let error = Privileges::from_socket(fd).unwrap_err();
        assert!(
            error.to_string().contains("not an issuer's socket"),
            "{error}"
        );
    }
}

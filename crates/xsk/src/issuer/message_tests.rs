use super::*;

fn every_request() -> Vec<Request> {
    let interface = || "eth1".to_owned();
    let reserve = |local: &str, protocol, set: u8| Request::Reserve {
        interface: interface(),
        protocol,
        local: local.parse().unwrap(),
        v6_only: set & 1 != 0,
        reuse_address: set & 2 != 0,
        reuse_port: set & 4 != 0,
    };
    let mode = |mode| Request::Program {
        interface: interface(),
        mode,
    };
    vec![
        Request::XdpSocket,
        mode(AttachMode::Auto),
        mode(AttachMode::Native),
        mode(AttachMode::Generic),
        Request::Membership {
            interface: interface(),
            mac: [0x33, 0x33, 0xff, 1, 2, 3],
        },
        Request::IcmpErrors {
            interface: interface(),
        },
        reserve("10.0.0.1:80", Protocol::Tcp, 2),
        reserve("0.0.0.0:53", Protocol::Udp, 4),
        reserve("[fd00::1]:443", Protocol::Tcp, 1),
        reserve("[fe80::1%7]:443", Protocol::Udp, 6),
        reserve("[::ffff:10.0.0.1]:80", Protocol::Tcp, 7),
    ]
}

#[test]
fn a_request_comes_over_as_it_was_asked() {
    for request in every_request() {
        let asked = Numbered {
            number: 0xdead_beef,
            request,
        };
        assert_eq!(Numbered::decode(&asked.encode()), Some(asked));
    }
}

#[test]
fn a_request_of_another_length_is_none() {
    let bytes = Numbered {
        number: 1,
        request: Request::XdpSocket,
    }
    .encode();
    for len in 0..REQUEST_BYTES {
        assert_eq!(Numbered::decode(&bytes[..len]), None, "{len}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert_eq!(Numbered::decode(&longer), None);
}

/// Each byte changed to each value either makes another request, which says so, or none: no byte is ignored.
#[test]
fn no_byte_of_a_request_is_ignored() {
    for request in every_request() {
        let number = 7;
        let bytes = Numbered { number, request }.encode();
        let mut seen = std::collections::HashSet::from([format!("{:?}", Numbered::decode(&bytes))]);
        for at in 0..REQUEST_BYTES {
            for value in (0..=u8::MAX).filter(|value| *value != bytes[at]) {
                let mut changed = bytes;
                changed[at] = value;
                if let Some(other) = Numbered::decode(&changed) {
                    assert!(
                        seen.insert(format!("{:?}", Some(other))),
                        "byte {at}: {value}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_unknown_request_and_another_version_are_none() {
    let bytes = Numbered {
        number: 1,
        request: Request::XdpSocket,
    }
    .encode();
    for (at, value) in [(3, 2), (8, 0), (8, 99), (8, 255), (63, 1), (9, 1)] {
        let mut changed = bytes;
        changed[at] = value;
        assert_eq!(Numbered::decode(&changed), None, "byte {at}: {value}");
    }
}

#[test]
fn a_name_without_an_end_is_no_request() {
    let mut bytes = Numbered {
        number: 1,
        request: Request::Membership {
            interface: "a".repeat(15),
            mac: [1; 6],
        },
    }
    .encode();
    assert!(Numbered::decode(&bytes).is_some());
    bytes[31] = b'a';
    assert_eq!(Numbered::decode(&bytes), None);
}

fn refused(errno: i32, reason: &str) -> Answer {
    let reason = reason.to_owned();
    Answer::Refused { errno, reason }
}

#[test]
fn an_answer_comes_over_as_it_was_given() {
    let program = |attached, native_refused| Answer::Program {
        attached,
        native_refused,
    };
    for answer in [
        Answer::Issued,
        program(Attached::Native, 0),
        program(Attached::Generic, libc::EOPNOTSUPP),
        refused(0, ""),
        refused(libc::EACCES, "port 80 is not among those of `--bind`"),
    ] {
        assert_eq!(Answer::decode(&answer.encode(3)), Some((3, answer)));
    }
}

#[test]
fn a_long_reason_is_cut() {
    let bytes = refused(0, &"é".repeat(REASON_BYTES)).encode(3);
    assert_eq!(bytes.len(), ANSWER_BYTES);
    assert!(matches!(
        Answer::decode(&bytes),
        Some((3, Answer::Refused { .. }))
    ));
}

#[test]
fn what_is_no_answer_is_none() {
    let bytes = Answer::Issued.encode(3);
    for len in 0..HEAD_BYTES {
        assert_eq!(Answer::decode(&bytes[..len]), None, "{len}");
    }
    for (at, value) in [(0, b'x'), (3, 2), (8, 0), (8, 9)] {
        let mut changed = bytes.clone();
        changed[at] = value;
        assert_eq!(Answer::decode(&changed), None, "byte {at}: {value}");
    }
}

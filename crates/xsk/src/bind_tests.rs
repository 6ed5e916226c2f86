use super::*;

const ZERO_COPY: Mode = Mode::ZeroCopy;
const COPY: Mode = Mode::Copy;

type Attempt = (Mode, bool);

/// Binds by a driver that grants these; returns what it came to and what was tried on the way.
fn driver(
    mode: BindMode,
    scatter: bool,
    grants: &[Attempt],
) -> (Result<Granted<Mode>, Refusal>, Vec<Attempt>) {
    let mut tried = Vec::new();
    let granted = best(mode, scatter, |mode, scatter| {
        tried.push((mode, scatter));
        match grants.contains(&(mode, scatter)) {
            true => Ok(mode),
            false => {
                let errno = if scatter {
                    libc::EOPNOTSUPP
                } else {
                    libc::EINVAL
                };
                Err(Refusal::Bind(io::Error::from_raw_os_error(errno)))
            }
        }
    });
    (granted, tried)
}

fn errno(refused: &Option<io::Error>) -> Option<i32> {
    refused.as_ref().and_then(io::Error::raw_os_error)
}

#[test]
fn zero_copy_without_scatter_goes_before_scatter_with_copies() {
    let grants = [(ZERO_COPY, false), (COPY, true), (COPY, false)];
    let (granted, tried) = driver(BindMode::Auto, true, &grants);
    let granted = granted.unwrap();
    assert_eq!((granted.made, granted.scatter), (ZERO_COPY, false));
    assert_eq!(errno(&granted.scatter_refused), Some(libc::EOPNOTSUPP));
    assert_eq!(errno(&granted.zero_copy_refused), None);
    assert_eq!(tried, [(ZERO_COPY, true), (ZERO_COPY, false)]);
}

#[test]
fn both_together_are_the_best() {
    let grants = [(ZERO_COPY, true), (ZERO_COPY, false), (COPY, true)];
    let (granted, tried) = driver(BindMode::Auto, true, &grants);
    let granted = granted.unwrap();
    assert_eq!((granted.made, granted.scatter), (ZERO_COPY, true));
    assert_eq!(tried, [(ZERO_COPY, true)]);
}

#[test]
fn without_zero_copy_scatter_is_tried_again() {
    let (granted, _) = driver(BindMode::Auto, true, &[(COPY, true), (COPY, false)]);
    let granted = granted.unwrap();
    assert_eq!((granted.made, granted.scatter), (COPY, true));
    assert_eq!(errno(&granted.zero_copy_refused), Some(libc::EINVAL));
    // What zero copy said of it is not what this mode says.
    assert_eq!(errno(&granted.scatter_refused), None);
}

#[test]
fn what_is_not_asked_for_is_not_tried() {
    let (granted, tried) = driver(BindMode::Copy, false, &[(COPY, false)]);
    assert!(granted.unwrap().zero_copy_refused.is_none());
    assert_eq!(tried, [(COPY, false)]);
}

#[test]
fn a_driver_that_grants_nothing_is_the_last_refusal() {
    let (granted, tried) = driver(BindMode::Auto, true, &[]);
    let Err(Refusal::Bind(error)) = granted else {
        panic!("granted something");
    };
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    assert_eq!(tried.len(), 4);
}

#[test]
fn a_queue_that_is_taken_is_not_tried_in_another_mode() {
    let mut tried = 0;
    let granted = best::<()>(BindMode::Auto, true, |_, _| {
        tried += 1;
        let interface = "eth9".to_owned();
        Err(Refusal::Final(Error::QueueTaken {
            interface,
            queue: 0,
        }))
    });
    assert!(matches!(
        granted,
        Err(Refusal::Final(Error::QueueTaken { .. }))
    ));
    assert_eq!(tried, 1);
}

#[test]
fn a_frame_that_the_nic_would_split_is_known_by_its_mtu_and_the_chunks() {
    // A buffer of 1 KiB; one of 3 KiB, into which the frames of an MTU of 3046 just fit.
    assert!(split_by_driver(2048, 1500).is_some());
    assert_eq!(split_by_driver(2048, 998), None);
    assert_eq!(split_by_driver(4096, 1500), None);
    assert_eq!(split_by_driver(4096, 3046), None);
    let reason = split_by_driver(4096, 3047).expect("a reason");
    assert!(reason.contains("3073 bytes (MTU 3047)"), "{reason}");
}

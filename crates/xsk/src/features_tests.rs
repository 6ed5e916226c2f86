use super::*;

fn answer(family: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    message(family, DEV_GET, &attributes.concat())
}

/// As `netdev_nl_dev_fill` writes them, with the attributes that are not read.
fn device(xdp: u64, segments: Option<u32>, xsk: u64) -> Vec<u8> {
    let mut attributes = attribute(DEV_IFINDEX, &7u32.to_ne_bytes());
    attributes.extend(attribute(DEV_XDP_FEATURES, &xdp.to_ne_bytes()));
    attributes.extend(attribute(5, &0u64.to_ne_bytes()));
    attributes.extend(attribute(DEV_XSK_FEATURES, &xsk.to_ne_bytes()));
    if let Some(segments) = segments {
        attributes.extend(attribute(DEV_XDP_ZC_MAX_SEGS, &segments.to_ne_bytes()));
    }
    attributes
}

#[test]
fn a_device_with_everything_is_read() {
    let features = Features::read(&device(0x7f, Some(8), 3)).unwrap();
    assert_eq!(features.zero_copy, Some(true));
    assert_eq!(features.zero_copy_segments, Some(8));
    assert_eq!(features.tx_checksum, Some(true));
    assert_eq!(features.unknown, None);
}

#[test]
fn a_device_with_nothing_is_read() {
    let features = Features::read(&device(0x77, None, 1)).unwrap();
    assert_eq!(features.zero_copy, Some(false));
    assert_eq!(features.zero_copy_segments, None);
    assert_eq!(features.tx_checksum, Some(false));
}

#[test]
fn what_an_older_kernel_leaves_out_is_not_known() {
    // Linux 6.3 tells nothing but the XDP features.
    let attributes = attribute(DEV_XDP_FEATURES, &8u64.to_ne_bytes());
    let features = Features::read(&attributes).unwrap();
    assert_eq!(features.zero_copy, Some(true));
    assert_eq!(
        (features.zero_copy_segments, features.tx_checksum),
        (None, None)
    );
}

#[test]
fn a_number_of_another_size_makes_no_sense() {
    for kind in [DEV_XDP_FEATURES, DEV_XDP_ZC_MAX_SEGS, DEV_XSK_FEATURES] {
        assert_eq!(Features::read(&attribute(kind, &[1; 5])), None, "{kind}");
    }
}

#[test]
fn attributes_that_are_cut_anywhere_are_refused_or_whole() {
    let whole = device(8, Some(4), 2);
    for len in 0..whole.len() {
        // Cut between two attributes it is an answer with fewer; cut inside one it is none.
        let boundary = Attributes(&whole[..len]).all(|attribute| attribute.is_some());
        assert_eq!(Features::read(&whole[..len]).is_some(), boundary, "{len}");
    }
    assert_eq!(
        Features::read(&[0, 0, 3, 0]),
        None,
        "a length below the header"
    );
}

#[test]
fn an_answer_is_the_familys_and_whole() {
    let whole = answer(30, &[device(8, None, 0)]);
    assert!(answered(&whole, 30).is_ok());
    assert!(matches!(answered(&whole, 31), Err(Silence::Malformed)));
    for len in 0..whole.len() {
        let cut = answered(&whole[..len], 30);
        assert!(matches!(cut, Err(Silence::Malformed)), "{len}");
    }
}

#[test]
fn an_error_is_the_kernels_errno() {
    let mut error = message(libc::NLMSG_ERROR as u16, 0, &[0; 16]);
    error[MESSAGE_HEADER..MESSAGE_HEADER + 4].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
    let Err(Silence::Io(error)) = answered(&error, 30) else {
        panic!("no error");
    };
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    let mut least = message(libc::NLMSG_ERROR as u16, 0, &[]);
    least[MESSAGE_HEADER..].copy_from_slice(&i32::MIN.to_ne_bytes());
    assert!(matches!(answered(&least, 30), Err(Silence::Io(_))));
}

#[test]
fn an_interface_that_is_not_there_is_unknown() {
    let features = Features::of(u32::MAX);
    assert!(features.unknown.is_some(), "{features:?}");
    assert_eq!((features.zero_copy, features.tx_checksum), (None, None));
}

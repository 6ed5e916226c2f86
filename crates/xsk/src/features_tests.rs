use super::*;

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
    assert_eq!(
        (features.native, features.native_scatter),
        (Some(true), Some(true))
    );
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
fn an_interface_that_is_not_there_is_unknown() {
    let features = Features::of(u32::MAX);
    assert!(features.unknown.is_some(), "{features:?}");
    assert_eq!((features.zero_copy, features.tx_checksum), (None, None));
}

#[test]
fn a_driver_that_cannot_redirect_is_not_native() {
    for (offered, native) in [(0, false), (1, false), (2, false), (3, true)] {
        let features = Features::read(&device(offered, None, 0)).unwrap();
        assert_eq!(features.native, Some(native), "{offered}");
        assert_eq!(features.native_scatter, Some(false));
    }
}

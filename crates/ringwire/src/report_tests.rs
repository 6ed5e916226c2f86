use super::*;

fn report() -> Report {
    Report {
        interface: "eth9".to_owned(),
        driver: "igb".to_owned(),
        queues: vec![0],
        mtu: 1500,
        attached: Attached::Native,
        native_refused: None,
        mode: Mode::ZeroCopy,
        zero_copy_refused: None,
        scatter: false,
        scatter_refused: Some("Operation not supported".to_owned()),
        features: Features::default(),
        umem_bytes: 4096,
        huge_pages: false,
        rx_checksum: RxChecksum::Verify,
    }
}

#[test]
fn what_the_driver_offers_is_in_the_report() {
    let mut features = Features::default();
    features.zero_copy = Some(true);
    features.zero_copy_segments = Some(1);
    features.tx_checksum = Some(false);
    let text = Report {
        features,
        ..report()
    }
    .to_string();
    let line = "driver: zero copy offered, 1 chunk a packet; TX checksums not offered\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_kernel_that_does_not_tell_is_in_the_report() {
    let mut features = Features::default();
    features.unknown = Some("needs Linux 6.3".to_owned());
    let text = Report {
        features,
        ..report()
    }
    .to_string();
    let line = "driver: the kernel does not say what it offers (needs Linux 6.3)\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn zero_copy_without_scatter_says_why() {
    let text = report().to_string();
    assert!(text.contains("AF_XDP zero copy; "), "{text}");
    let line = "packets over several chunks: no (Operation not supported)\n";
    assert!(text.contains(line), "{text}");
}

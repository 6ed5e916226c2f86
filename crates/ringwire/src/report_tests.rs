use super::*;

fn report() -> Report {
    Report {
        interface: "eth9".to_owned(),
        driver: "igb".to_owned(),
        queues: vec![0],
        mtu: 1500,
        addresses: AddressMode::Owned,
        attached: Attached::Native,
        native_refused: None,
        mode: Mode::ZeroCopy,
        zero_copy_refused: None,
        scatter: false,
        scatter_refused: Some("Operation not supported".to_owned()),
        scatter_from: 0,
        features: Features::default(),
        umem_bytes: 4096,
        huge_pages: false,
        rx_checksum: RxChecksum::Verify,
        tx_checksum: TxChecksum::Software,
        tx_checksum_refused: None,
        link: LinkState::Up,
        serving: true,
        lost: None,
    }
}

#[test]
fn what_keeps_a_ring_from_serving_is_in_the_report() {
    assert!(!report().to_string().contains("does not serve"));
    let gone = Report {
        link: LinkState::Removed,
        serving: false,
        ..report()
    };
    assert!(
        gone.to_string().ends_with(
            "\nthe interface does not serve now: it is gone\nnew sockets are being opened"
        )
    );
    let lost = Report {
        lost: Some("it needs CAP_NET_RAW".to_owned()),
        ..report()
    };
    let text = lost.to_string();
    assert!(text.ends_with("\nnew sockets are needed and cannot be had: it needs CAP_NET_RAW"));
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

#[test]
fn who_writes_checksums_is_in_the_report() {
    let mut report = report();
    let last = |report: &Report| {
        let text = report.to_string();
        text.lines().last().map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(last(&report), "checksums on send: software");
    report.tx_checksum_refused = Some("needs Linux 6.11".to_owned());
    let refused = "checksums on send: software (needs Linux 6.11)";
    assert_eq!(last(&report), refused);
    report.tx_checksum_refused = None;
    report.tx_checksum = TxChecksum::Offload;
    assert_eq!(last(&report), "checksums on send: by the NIC");
    report.mode = Mode::Copy;
    assert_eq!(last(&report), "checksums on send: by the kernel or the NIC");
    report.driver = "veth".to_owned();
    let warning = "; on veth by neither, unless `ethtool -K eth9 tx off`";
    assert!(last(&report).ends_with(warning), "{}", last(&report));
}

fn scattering(mode: Mode, segments: Option<u32>) -> Report {
    let mut report = Report {
        mode,
        scatter: true,
        scatter_refused: None,
        ..report()
    };
    report.features.zero_copy_segments = segments;
    report
}

#[test]
fn short_payloads_are_copied_where_the_kernel_copies_too() {
    let mut report = scattering(Mode::Copy, None);
    report.scatter_from = scatter_from(Mode::Copy);
    assert_eq!(report.plan_limits().scatter_from_bytes, 4096);
    let text = report.to_string();
    let line = "from slots, and in up to 17 descriptors from 4096 bytes on\n";
    assert!(text.contains(line), "{text}");
    assert_eq!(scatter_from(Mode::ZeroCopy), 0);
}

#[test]
fn without_scatter_a_packet_is_one_descriptor() {
    assert_eq!(report().plan_limits().descriptors, 1);
}

#[test]
fn under_zero_copy_the_driver_says_how_many_descriptors_a_packet_has() {
    let descriptors = |mode, segments| scattering(mode, segments).plan_limits().descriptors;
    assert_eq!(descriptors(Mode::ZeroCopy, Some(8)), 8);
    let most = PlanLimits::SCATTER.descriptors;
    assert_eq!(
        descriptors(Mode::ZeroCopy, Some(64)),
        most,
        "never more than the kernel takes"
    );
    // Of the copy that the kernel makes the driver says nothing.
    assert_eq!(descriptors(Mode::Copy, Some(8)), most);
}

#[test]
fn checksums_that_are_written_behind_us_take_room_in_front() {
    let mut report = scattering(Mode::Copy, None);
    assert_eq!(report.plan_limits().headroom, 0);
    report.tx_checksum = TxChecksum::Offload;
    assert_eq!(report.plan_limits().headroom, 32);
}

#[test]
fn whose_the_addresses_are_is_in_the_report() {
    let owned = report().to_string();
    assert!(owned.contains("addresses: the ring's own\n"), "{owned}");
    let addresses = AddressMode::Shared;
    let shared = Report {
        addresses,
        ..report()
    }
    .to_string();
    let line = "addresses: shared with the kernel\n";
    assert!(shared.contains(line), "{shared}");
}

#[test]
fn what_went_between_engines_is_in_the_counters_summary() {
    let mut counters = Counters {
        engine: EngineCounters::default(),
        nic: NicCounters::default(),
        stack: StackCounters::default(),
        steering: SteerCounters::default(),
        sockets: Vec::new(),
    };
    assert!(!counters.to_string().contains("between engines"));
    counters.stack.taken_over = 3;
    counters.stack.hand_over_dropped = 2;
    let text = counters.to_string();
    assert!(text.ends_with("\nbetween engines: 0 packets handed over, 3 taken over, 2 lost"));
}

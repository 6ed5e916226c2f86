//! What is judged of the interface: link, mode, queues, offloads, quirks.

use ringwire::Mode;

use super::*;

#[test]
fn an_interface_that_is_down_or_has_no_carrier_hurts() {
    let mut machine = healthy();
    machine.link.carrier = false;
    assert_verdict(&machine, "link", Verdict::Problem);
    machine.link.up = false;
    assert_cured_by(&machine, "link", "ip link set dev eth1 up");
    let mut machine = veth();
    machine.link.carrier = false;
    machine.peer.as_mut().unwrap().link.up = false;
    assert_cured_by(&machine, "link", "ip link set dev rw1 up");
}

#[test]
fn an_mtu_below_what_the_families_need_is_said() {
    let mut machine = healthy();
    machine.link.mtu = 1280;
    assert_verdict(&machine, "mtu", Verdict::Ok);
    machine.link.mtu = 1279;
    assert_verdict(&machine, "mtu", Verdict::Note);
    machine.link.mtu = 575;
    assert_cured_by(&machine, "mtu", "ip link set dev eth1 mtu 1280");
}

#[test]
fn packets_over_several_chunks_are_lost_by_kernels_that_know_none() {
    let mut machine = veth();
    machine.link.mtu = 9000;
    assert_verdict(&machine, "mtu", Verdict::Note);
    machine.host.version = Some((6, 5));
    // 4096 less 256 of headroom, 14 of Ethernet, two tags and the checksum.
    assert_cured_by(&machine, "mtu", "ip link set dev rw0 mtu 3814");
    machine.link.mtu = 3814;
    assert_verdict(&machine, "mtu", Verdict::Ok);
}

#[test]
fn a_driver_with_zero_copy_gives_it() {
    let machine = healthy();
    assert_eq!(mode::mode(&machine), Mode::ZeroCopy);
    assert!(about(&machine, "mode").says.starts_with("zero copy"));
    assert!(about(&machine, "scatter").says.contains("8 descriptors"));
}

#[test]
fn one_descriptor_a_packet_is_said() {
    let mut machine = healthy();
    machine.features.zero_copy_segments = Some(1);
    assert_verdict(&machine, "scatter", Verdict::Note);
    assert_verdict(&machine, "mode", Verdict::Ok);
}

#[test]
fn an_mtu_that_the_driver_would_split_costs_zero_copy() {
    let mut machine = healthy();
    machine.features.zero_copy_segments = Some(1);
    machine.link.mtu = 3046;
    assert_verdict(&machine, "mode", Verdict::Ok);
    machine.link.mtu = 3047;
    assert_cured_by(&machine, "mode", "ip link set dev eth1 mtu 3046");
    assert_eq!(mode::mode(&machine), Mode::Copy);
    machine.features.zero_copy_segments = Some(2);
    assert_verdict(&machine, "mode", Verdict::Ok);
}

#[test]
fn a_driver_without_zero_copy_copies_and_that_is_no_problem() {
    let machine = veth();
    assert_eq!(about(&machine, "mode").says, "copy: veth has no zero copy");
    assert_verdict(&machine, "mode", Verdict::Note);
    assert_verdict(&machine, "attach", Verdict::Ok);
    assert_eq!(Diagnosis::of(&machine).problems(), 0);
}

#[test]
fn a_program_that_cannot_run_in_the_driver_costs_zero_copy_too() {
    let mut machine = healthy();
    machine.features.native = Some(false);
    assert!(about(&machine, "attach").says.starts_with("generic"));
    assert_eq!(mode::mode(&machine), Mode::Copy);
    assert_verdict(&machine, "gso", Verdict::Note);
}

#[test]
fn a_large_mtu_may_cost_the_program_in_a_driver_that_gives_it_single_buffers() {
    let mut machine = healthy();
    machine.features.native_scatter = Some(false);
    assert_verdict(&machine, "attach", Verdict::Ok);
    machine.link.mtu = 9000;
    assert_verdict(&machine, "attach", Verdict::Note);
}

#[test]
fn a_veth_with_too_few_queues_for_its_other_end_runs_the_program_generically() {
    let mut machine = veth();
    let peer = machine.peer.as_mut().unwrap();
    peer.nic.channels = channels(2, 2);
    switch_on(&mut peer.nic, "tx-tcp-segmentation", true);
    assert_cured_by(&machine, "attach", "ethtool -L rw1 tx 1");
    // Which is when super-packets arrive.
    assert_cured_by(
        &machine,
        "gso",
        "ethtool -K rw1 tso off gso off tx-udp-segmentation off",
    );
    machine.rx_queues = 2;
    machine.nic.channels = channels(2, 2);
    assert_verdict(&machine, "attach", Verdict::Ok);
    assert!(all_about(&machine, "gso").is_empty());
}

/// virtio_net, as a guest has it from a device with these features.
fn virtio(bits: &[u32]) -> Machine {
    let mut machine = healthy();
    machine.driver.name = "virtio_net".to_owned();
    machine.features.zero_copy_segments = Some(1);
    let bits = bits.iter().fold(0, |all, bit| all | 1 << bit);
    machine.virtio = Some(VirtioFeatures(bits));
    machine
}

#[test]
fn virtio_has_zero_copy_only_with_a_device_that_takes_dma_addresses() {
    let mut machine = virtio(&[33]);
    assert_verdict(&machine, "mode", Verdict::Ok);
    machine.virtio = Some(VirtioFeatures(0));
    assert_verdict(&machine, "mode", Verdict::Problem);
    assert!(
        about(&machine, "mode")
            .cure
            .unwrap()
            .contains("iommu_platform=on")
    );
    assert_eq!(mode::mode(&machine), Mode::Copy);
}

#[test]
fn virtio_refuses_a_program_while_the_host_merges_packets() {
    // GUEST_TSO4, without and with CTRL_GUEST_OFFLOADS.
    let mut machine = virtio(&[7, 33]);
    switch_on(&mut machine.nic, "rx-gro-hw", false);
    assert_verdict(&machine, "attach", Verdict::Problem);
    assert_verdict(&machine, "mode", Verdict::Note);
    assert!(
        about(&machine, "lro")
            .cure
            .unwrap()
            .contains("guest_tso4=off")
    );
    let mut machine = virtio(&[2, 7, 33]);
    switch_on(&mut machine.nic, "rx-gro-hw", true);
    assert_verdict(&machine, "attach", Verdict::Ok);
    assert_verdict(&machine, "mode", Verdict::Ok);
    assert!(all_about(&machine, "lro").is_empty(), "the driver does it");
}

#[test]
fn virtios_partial_checksums_are_said() {
    let mut machine = virtio(&[1, 2, 33]);
    switch_on(&mut machine.nic, "rx-checksum", true);
    let finding = about(&machine, "checksums");
    assert_eq!(finding.verdict, Verdict::Note);
    assert_eq!(finding.cure.as_deref(), Some("ethtool -K eth1 rx off"));
}

#[test]
fn another_program_hurts_wherever_it_runs() {
    for (mode, off) in [
        (XdpMode::Native, "xdpdrv"),
        (XdpMode::Generic, "xdpgeneric"),
        (XdpMode::Hardware, "xdpoffload"),
    ] {
        let mut machine = healthy();
        machine.link.xdp = vec![XdpProgram { mode, id: 40 }];
        let finding = about(&machine, "xdp");
        assert_eq!(finding.verdict, Verdict::Problem);
        assert!(finding.says.contains("program 40"), "{finding}");
        let cure = finding.cure.expect("a cure");
        assert!(
            cure.starts_with(&format!("ip link set dev eth1 {off} off")),
            "{cure}"
        );
    }
}

#[test]
fn checksums_of_what_is_sent_are_the_nics_if_it_can() {
    let mut machine = healthy();
    machine.features.tx_checksum = Some(false);
    let says = about(&machine, "tx metadata").says;
    assert!(says.contains("the driver does not offer it"), "{says}");
    machine.features.tx_checksum = Some(true);
    machine.host.version = Some((6, 10));
    let says = about(&machine, "tx metadata").says;
    assert!(says.contains("needs Linux 6.11"), "{says}");
}

#[test]
fn a_queue_that_is_not_there_can_be_made_or_not() {
    let mut machine = healthy();
    machine.wanted_queues = Some(vec![0, 5]);
    let finding = all_about(&machine, "queues").remove(0);
    assert_eq!(finding.cure.as_deref(), Some("ethtool -L eth1 combined 6"));
    machine.wanted_queues = Some(vec![8]);
    let finding = all_about(&machine, "queues").remove(0);
    assert_eq!(finding.cure.as_deref(), Some("ask for queues below 4"));
    let mut machine = veth();
    machine.wanted_queues = Some(vec![1]);
    let finding = all_about(&machine, "queues").remove(0);
    assert_eq!(finding.cure.as_deref(), Some("ethtool -L rw0 rx 2 tx 2"));
}

#[test]
fn a_queue_by_which_nothing_can_be_sent_hurts() {
    let mut machine = veth();
    machine.rx_queues = 4;
    machine.nic.channels = channels(4, 2);
    let findings = all_about(&machine, "queues");
    assert_eq!(findings.len(), 2);
    assert!(findings[1].says.starts_with("nothing can be sent by 2, 3"));
    assert_eq!(findings[1].cure.as_deref(), Some("ethtool -L rw0 tx 4"));
    machine.wanted_queues = Some(vec![0, 1]);
    assert_eq!(all_about(&machine, "queues").len(), 1);
}

#[test]
fn flows_on_queues_that_ringwire_is_not_to_have_are_lost_to_it() {
    let mut machine = healthy();
    machine.wanted_queues = Some(vec![0, 1]);
    assert_cured_by(&machine, "rss", "ethtool -X eth1 equal 2");
    machine.wanted_queues = Some(vec![1, 3]);
    assert_cured_by(&machine, "rss", "ethtool -X eth1 weight 0 1 0 1");
    machine.nic.indirection = Some(vec![1, 3]);
    assert_verdict(&machine, "rss", Verdict::Ok);
}

#[test]
fn a_queue_on_which_no_flow_arrives_is_worth_knowing() {
    let mut machine = healthy();
    machine.nic.indirection = Some(vec![0, 1, 2]);
    let finding = about(&machine, "rss");
    assert_eq!(finding.verdict, Verdict::Note);
    assert_eq!(finding.cure.as_deref(), Some("ethtool -X eth1 equal 4"));
}

#[test]
fn where_flows_arrive_matters_with_several_queues_only() {
    let mut machine = healthy();
    machine.nic.indirection = None;
    assert_verdict(&machine, "rss", Verdict::Note);
    machine.rx_queues = 1;
    machine.nic.channels = combined(1, 1);
    assert!(all_about(&machine, "rss").is_empty());
}

#[test]
fn somebodys_rules_for_flows_are_said() {
    let mut machine = healthy();
    machine.steering_rules = Some(1);
    let finding = about(&machine, "ntuple");
    assert_eq!(finding.verdict, Verdict::Note);
    assert!(finding.says.starts_with("1 rule put"), "{finding}");
}

#[test]
fn merged_packets_hurt() {
    let mut machine = healthy();
    switch_on(&mut machine.nic, "rx-lro", true);
    assert_cured_by(&machine, "lro", "ethtool -K eth1 lro off");
    let mut machine = healthy();
    switch_on(&mut machine.nic, "rx-gro-hw", true);
    assert_cured_by(&machine, "lro", "ethtool -K eth1 rx-gro-hw off");
    switch_on(&mut machine.nic, "rx-gro-hw", false);
    assert!(
        about(&machine, "lro")
            .cure
            .unwrap()
            .starts_with("none by ethtool")
    );
}

#[test]
fn the_kernels_own_gro_does_not_hurt() {
    let mut machine = healthy();
    switch_on(&mut machine.nic, "rx-gro", true);
    assert_verdict(&machine, "offloads", Verdict::Ok);
}

#[test]
fn stripped_tags_hurt_where_there_are_vlans() {
    let mut machine = healthy();
    switch_on(&mut machine.nic, "rx-vlan-hw-parse", true);
    assert_verdict(&machine, "vlan", Verdict::Note);
    machine.vlans = vec!["eth1.7".to_owned()];
    assert_cured_by(&machine, "vlan", "ethtool -K eth1 rxvlan off");
}

#[test]
fn a_veths_other_end_that_leaves_checksums_or_tags_is_cured_there() {
    let mut machine = veth();
    let peer = machine.peer.as_mut().unwrap();
    switch_on(&mut peer.nic, "tx-checksum-ip-generic", true);
    switch_on(&mut peer.nic, "tx-vlan-hw-insert", true);
    assert_cured_by(&machine, "checksums", "ethtool -K rw1 tx off");
    assert_verdict(&machine, "vlan", Verdict::Note);
    machine.peer.as_mut().unwrap().vlans = vec!["rw1.7".to_owned()];
    assert_cured_by(&machine, "vlan", "ethtool -K rw1 txvlan off");
}

#[test]
fn of_a_veths_other_end_elsewhere_is_said_that_it_cannot_be_seen() {
    let mut machine = veth();
    machine.peer = None;
    machine.link.tied_elsewhere = true;
    let finding = about(&machine, "checksums");
    assert_eq!(finding.verdict, Verdict::Note);
    assert!(finding.says.contains("interface 3 there"), "{finding}");
}

#[test]
fn a_quirk_hurts_if_nobody_takes_care_of_it() {
    let mut machine = healthy();
    machine.driver.name = "ice".to_owned();
    assert!(
        all_about(&machine, "driver quirk").is_empty(),
        "fixed in 6.11"
    );
    machine.host.version = Some((6, 9));
    assert_verdict(&machine, "driver quirk", Verdict::Problem);
    // It is one of zero copy.
    machine.features.zero_copy = Some(false);
    assert!(all_about(&machine, "driver quirk").is_empty());
    machine.driver.name = "igb".to_owned();
    let quirks = all_about(&machine, "driver quirk");
    assert!(!quirks.is_empty());
    assert!(quirks.iter().all(|quirk| quirk.verdict == Verdict::Note));
}

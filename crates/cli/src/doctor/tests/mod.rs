//! Machines that are made up, and what the doctor says of them.

mod nic;
mod probe;
mod process;

use ringwire_xsk::{Amount, Channels, HugePages, Offload, VirtioFeatures, XdpMode, XdpProgram};

use super::finding::{Finding, Verdict, word};
use super::machine::{Machine, Peer};
use super::{Diagnosis, mode};

/// All capabilities that Linux has.
const ALL: u64 = (1 << 41) - 1;

fn amount(now: u32, most: u32) -> Amount {
    Amount { now, most }
}

fn combined(now: u32, most: u32) -> Option<Channels> {
    Some(Channels {
        combined: amount(now, most),
        ..Channels::default()
    })
}

/// A machine of which there is nothing to say: four queues of a NIC with zero copy, huge pages, root.
fn healthy() -> Machine {
    let mut machine = Machine::default();
    let host = &mut machine.host;
    host.release = "6.12.1".to_owned();
    host.version = Some((6, 12));
    host.af_xdp = true;
    host.huge_pages = Some(HugePages {
        total: 100,
        free: 100,
    });
    host.capabilities = ALL;
    host.initial_user_namespace = true;
    host.unprivileged_bpf_disabled = Some(2);
    let link = &mut machine.link;
    link.index = 2;
    link.name = "eth1".to_owned();
    (link.up, link.carrier) = (true, true);
    link.mtu = 1500;
    machine.driver.name = "mlx5_core".to_owned();
    let features = &mut machine.features;
    features.native = Some(true);
    features.native_scatter = Some(true);
    features.zero_copy = Some(true);
    features.zero_copy_segments = Some(8);
    features.tx_checksum = Some(true);
    machine.nic.channels = combined(4, 8);
    machine.nic.indirection = Some(vec![0, 1, 2, 3, 0, 1, 2, 3]);
    machine.rx_queues = 4;
    machine.steering_rules = Some(0);
    machine
}

/// An end of a veth pair whose other end is `rw1`, here too, with whole checksums.
fn veth() -> Machine {
    let mut machine = healthy();
    machine.link.name = "rw0".to_owned();
    machine.link.kind = Some("veth".to_owned());
    machine.link.tied_to = Some(3);
    machine.driver.name = "veth".to_owned();
    machine.features.zero_copy = Some(false);
    machine.features.zero_copy_segments = None;
    machine.features.tx_checksum = Some(false);
    machine.nic.channels = channels(1, 1);
    machine.nic.indirection = None;
    machine.rx_queues = 1;
    machine.steering_rules = None;
    let mut peer = Peer::default();
    peer.link.name = "rw1".to_owned();
    (peer.link.up, peer.link.carrier) = (true, true);
    peer.nic.channels = channels(1, 1);
    machine.peer = Some(peer);
    machine
}

/// Of RX and TX queues.
fn channels(rx: u32, tx: u32) -> Option<Channels> {
    Some(Channels {
        rx: amount(rx, 8),
        tx: amount(tx, 8),
        ..Channels::default()
    })
}

fn switch_on(offloads: &mut ringwire_xsk::Nic, name: &str, changeable: bool) {
    let offload = Offload {
        active: true,
        changeable,
    };
    offloads.offloads.insert(name.to_owned(), offload);
}

/// What is said of a subject, which must be said once.
fn about(machine: &Machine, subject: &str) -> Finding {
    let mut found = all_about(machine, subject);
    assert_eq!(found.len(), 1, "{subject}: {found:?}");
    found.remove(0)
}

fn all_about(machine: &Machine, subject: &str) -> Vec<Finding> {
    let mut findings = Diagnosis::of(machine).findings;
    findings.retain(|finding| finding.subject == subject);
    findings
}

/// That a subject is a problem which a command cures; each problem says why it is one.
#[track_caller]
fn assert_cured_by(machine: &Machine, subject: &str, cure: &str) {
    let finding = about(machine, subject);
    assert_eq!(finding.verdict, Verdict::Problem, "{finding}");
    assert!(finding.why.is_some(), "{finding}");
    assert_eq!(finding.cure.as_deref(), Some(cure), "{finding}");
}

#[track_caller]
fn assert_verdict(machine: &Machine, subject: &str, verdict: Verdict) {
    let finding = about(machine, subject);
    assert_eq!(finding.verdict, verdict, "{finding}");
}

#[test]
fn of_a_machine_that_has_all_everything_is_ok() {
    let diagnosis = Diagnosis::of(&healthy());
    for finding in &diagnosis.findings {
        assert_eq!(finding.verdict, Verdict::Ok, "{finding}");
    }
    assert_eq!(diagnosis.problems(), 0);
    assert!(diagnosis.to_string().ends_with("eth1: nothing hurts"));
}

#[test]
fn of_a_machine_that_says_nothing_nothing_is_made_up() {
    let mut silent = Machine::default();
    silent.host.af_xdp = true;
    silent.link.name = "odd0".to_owned();
    (silent.link.up, silent.link.carrier) = (true, true);
    silent.link.mtu = 1500;
    silent.rx_queues = 1;
    silent.nic.unknown = Some("no answer".to_owned());
    let diagnosis = Diagnosis::of(&silent);
    assert_eq!(diagnosis.problems(), 0, "{diagnosis}");
    for subject in [
        "driver",
        "attach",
        "mode",
        "offloads",
        "huge pages",
        "memlock",
        "bpf",
    ] {
        assert_verdict(&silent, subject, Verdict::Note);
    }
}

#[test]
fn text_and_json_say_the_same() {
    let mut machine = healthy();
    machine.link.up = false;
    let diagnosis = Diagnosis::of(&machine);
    let json = diagnosis.to_json();
    assert_eq!(json["interface"], "eth1");
    assert_eq!(json["problems"], 1);
    let findings = json["findings"].as_array().expect("findings");
    assert_eq!(findings.len(), diagnosis.findings.len());
    let link = findings
        .iter()
        .find(|one| one["subject"] == "link")
        .expect("the link");
    assert_eq!(link["verdict"], "problem");
    assert_eq!(link["cure"], "ip link set dev eth1 up");
    let text = diagnosis.to_string();
    assert!(text.contains("problem  link         down\n"), "{text}");
    assert!(text.contains("cure: ip link set dev eth1 up\n"), "{text}");
    assert!(text.ends_with("eth1: 1 problem"), "{text}");
}

#[test]
fn a_name_is_one_word_of_a_command() {
    assert_eq!(word("eth1.100"), "eth1.100");
    assert_eq!(word("a;reboot"), "'a;reboot'");
    assert_eq!(word("it's"), r"'it'\''s'");
    assert_eq!(word(""), "''");
}

//! Offloads that hurt: what is left to a device that is not there, what is merged, what XDP cannot see.
//!
//! Names are the kernel's (net/ethtool/common.c `netdev_features_strings`); commands have ethtool's short ones.

use super::finding::{Finding, word};
use super::machine::{Machine, Peer};
use super::mode::is_generic;

const WRITES_NO_CHECKSUMS: [&str; 3] = [
    "tx-checksum-ip-generic",
    "tx-checksum-ipv4",
    "tx-checksum-ipv6",
];
const SENDS_SUPER_PACKETS: [&str; 4] = [
    "tx-generic-segmentation",
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
];

pub(crate) fn judge(machine: &Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(reason) = &machine.nic.unknown {
        findings.push(Finding::note("offloads", format!("not known: {reason}")));
    }
    findings.extend(merging(machine));
    if machine.is_veth() {
        findings.extend(other_end(machine));
    } else {
        findings.extend(vlan(machine));
        findings.extend(neighbours(machine));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("offloads", "none that hurts"));
    }
    findings
}

/// LRO and the NIC's GRO. virtio_net switches its own off for a program, if it can.
fn merging(machine: &Machine) -> Vec<Finding> {
    const MERGES: [(&str, &str, &str); 2] = [
        ("rx-lro", "LRO", "lro"),
        ("rx-gro-hw", "hardware GRO", "rx-gro-hw"),
    ];
    let itself = machine.virtio.is_some() && !is_generic(machine);
    let on = MERGES
        .iter()
        .filter(|(offload, ..)| machine.nic.active(offload) && !itself);
    on.map(|(offload, what, short)| {
        let why = "packets are merged beyond the MTU, and many drivers then refuse an XDP program";
        let finding = Finding::problem("lro", format!("{what} is on"), why);
        let fixed = match machine.virtio {
            Some(_) => {
                "at the host, for QEMU: -device virtio-net-pci,guest_tso4=off,guest_tso6=off,..."
            }
            None => "none by ethtool: the driver does not let it be switched off",
        };
        finding.cured_by(switch(machine, offload, short).unwrap_or_else(|| fixed.to_owned()))
    })
    .collect()
}

/// The command that switches an offload of the interface off, if it can be.
fn switch(machine: &Machine, offload: &str, short: &str) -> Option<String> {
    let changeable = machine.nic.offloads.get(offload)?.changeable;
    changeable.then(|| format!("ethtool -K {} {short} off", word(&machine.link.name)))
}

/// A tag that the NIC strips is out of the packet before the XDP program sees it.
fn vlan(machine: &Machine) -> Option<Finding> {
    if !machine.nic.active("rx-vlan-hw-parse") {
        return None;
    }
    let cure = switch(machine, "rx-vlan-hw-parse", "rxvlan");
    let cure = cure.unwrap_or_else(|| {
        "none by ethtool: keep other VLANs off this port, at the switch".to_owned()
    });
    let says = "the NIC strips VLAN tags (rxvlan)";
    Some(tagged(says, cure, &machine.vlans))
}

/// Something hides tags: it hurts where there are VLANs.
fn tagged(says: &str, cure: String, vlans: &[String]) -> Finding {
    let why = "XDP then takes a tagged packet for an untagged one: traffic of other VLANs reaches ringwire";
    match vlans.is_empty() {
        true => Finding::note("vlan", format!("{says}; no VLAN interface is here"))
            .because(why)
            .cured_by(cure),
        false => {
            let says = format!("{says}, and there are VLANs: {}", vlans.join(", "));
            Finding::problem("vlan", says, why).cured_by(cure)
        }
    }
}

/// A veth's other end, whose kernel leaves work to the device.
fn other_end(machine: &Machine) -> Vec<Finding> {
    let Some(peer) = &machine.peer else {
        return vec![out_of_sight(machine)];
    };
    let name = word(&peer.link.name);
    let does = |offloads: &[&str]| offloads.iter().any(|offload| peer.nic.active(offload));
    let mut findings = Vec::new();
    if does(&WRITES_NO_CHECKSUMS) {
        let says = format!(
            "{}, the other end, leaves checksums unwritten",
            peer.link.name
        );
        let why = "its packets carry a partial sum, and ringwire drops them (unless by RxChecksum::AcceptPartial)";
        let cure = format!("ethtool -K {name} tx off");
        findings.push(Finding::problem("checksums", says, why).cured_by(cure));
    }
    if is_generic(machine) && does(&SENDS_SUPER_PACKETS) {
        let says = format!(
            "{}, the other end, sends packets beyond the MTU",
            peer.link.name
        );
        let why = "a program that does not run in the driver gets them whole";
        let cure = format!("ethtool -K {name} tso off gso off tx-udp-segmentation off");
        findings.push(Finding::problem("gso", says, why).cured_by(cure));
    }
    findings.extend(hidden_tags(machine, peer));
    findings
}

fn hidden_tags(machine: &Machine, peer: &Peer) -> Option<Finding> {
    if !peer.nic.active("tx-vlan-hw-insert") {
        return None;
    }
    let says = format!(
        "{}, the other end, keeps VLAN tags beside the packet (txvlan)",
        peer.link.name
    );
    let cure = format!("ethtool -K {} txvlan off", word(&peer.link.name));
    let vlans = [machine.vlans.as_slice(), peer.vlans.as_slice()].concat();
    Some(tagged(&says, cure, &vlans))
}

/// A veth's other end in another network namespace.
fn out_of_sight(machine: &Machine) -> Finding {
    let number = machine
        .link
        .tied_to
        .map_or(String::new(), |index| format!(" (interface {index} there)"));
    let says = format!("the other end is in another network namespace{number}, and cannot be seen");
    let why = "a kernel that leaves checksums unwritten, or keeps VLAN tags beside the packet, has its packets dropped or mistaken";
    let gso = if is_generic(machine) {
        " tso off gso off tx-udp-segmentation off"
    } else {
        ""
    };
    let cure = format!("in that namespace: ethtool -K PEER tx off txvlan off{gso}");
    Finding::note("checksums", says).because(why).cured_by(cure)
}

/// Senders on this machine, or under the same hypervisor, by another device than veth.
fn neighbours(machine: &Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    if machine.virtio.is_some() && machine.nic.active("rx-checksum") {
        let why = "a guest of the same host leaves checksums unwritten, and ringwire drops its packets (unless by RxChecksum::AcceptPartial)";
        let says = "packets may carry partial checksums (virtio's GUEST_CSUM)";
        let cure = switch(machine, "rx-checksum", "rx");
        let cure = cure.unwrap_or_else(|| {
            "at the host, for QEMU: -device virtio-net-pci,guest_csum=off,...".to_owned()
        });
        findings.push(Finding::note("checksums", says).because(why).cured_by(cure));
    }
    if machine.features.native == Some(false) {
        let why = "a program that does not run in the driver gets them whole";
        let finding = Finding::note(
            "gso",
            "senders on this machine may send packets beyond the MTU",
        );
        let cure =
            "for each such interface: ethtool -K PEER tso off gso off tx-udp-segmentation off";
        findings.push(finding.because(why).cured_by(cure));
    }
    findings
}

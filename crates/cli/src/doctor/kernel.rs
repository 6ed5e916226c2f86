//! The kernel: what it has, and what only later ones have.

use ringwire_xsk::Host;

use super::finding::Finding;
use super::machine::Machine;

const SUBJECT: &str = "kernel";

/// What ringwire can use, and from which Linux version on.
const FEATURES: [((u32, u32), &str); 4] = [
    (
        (6, 3),
        "what the driver offers cannot be read (netdev netlink, 6.3)",
    ),
    (
        (6, 3),
        "the RSS table cannot be read (ethtool netlink, 6.3)",
    ),
    ((6, 6), "packets have to fit one chunk (several: 6.6)"),
    (
        (6, 11),
        "checksums are written by ringwire (TX metadata: 6.11)",
    ),
];

pub(crate) fn judge(machine: &Machine) -> Vec<Finding> {
    let host = &machine.host;
    let says = format!("Linux {}", host.release);
    let (major, minor) = Host::LEAST_VERSION;
    if host.before(Host::LEAST_VERSION) {
        let why = format!(
            "the XDP program takes packets of several buffers (xdp.frags), Linux {major}.{minor}"
        );
        let cure = format!(
            "boot Linux {major}.{minor} or later; 6.11 or later has all that ringwire can use"
        );
        return vec![Finding::problem(SUBJECT, says, why).cured_by(cure)];
    }
    if !host.af_xdp {
        let why = "it was built without AF_XDP sockets";
        let cure =
            "boot a kernel with CONFIG_XDP_SOCKETS=y: `grep XDP_SOCKETS /boot/config-$(uname -r)`";
        return vec![Finding::problem(SUBJECT, says, why).cured_by(cure)];
    }
    let lacks: Vec<&str> = FEATURES
        .iter()
        .filter(|(since, _)| host.before(*since))
        .map(|(_, lack)| *lack)
        .collect();
    vec![match lacks.is_empty() {
        true => Finding::ok(SUBJECT, says),
        false => Finding::note(SUBJECT, format!("{says}: {}", lacks.join("; "))),
    }]
}

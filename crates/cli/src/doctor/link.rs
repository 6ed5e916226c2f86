//! The interface: driver, link, MTU, addresses.

use ringwire::{CHUNK_BYTES, LEAST_MTU_V4, LEAST_MTU_V6};
use ringwire_xsk::fits_chunk;

use super::finding::{Finding, word};
use super::machine::Machine;

pub(crate) fn judge(machine: &Machine) -> Vec<Finding> {
    vec![
        driver(machine),
        link(machine),
        mtu(machine),
        addresses(machine),
    ]
}

fn driver(machine: &Machine) -> Finding {
    let driver = &machine.driver;
    if driver.name.is_empty() {
        let says = format!("{} does not say which it has", machine.driver_name());
        return Finding::note("driver", says);
    }
    let mut says = driver.name.clone();
    let facts = [
        ("", &driver.version),
        ("firmware ", &driver.firmware),
        ("at ", &driver.bus),
    ];
    for (what, fact) in facts {
        // As drivers say that there is none.
        if !matches!(fact.as_str(), "" | "N/A") {
            says += &format!(", {what}{fact}");
        }
    }
    Finding::ok("driver", says)
}

fn link(machine: &Machine) -> Finding {
    let link = &machine.link;
    let set_up = |name: &str| format!("ip link set dev {} up", word(name));
    if !link.up {
        let why = "ringwire refuses an interface that is down";
        return Finding::problem("link", "down", why).cured_by(set_up(&link.name));
    }
    if link.carrier {
        return Finding::ok("link", "up");
    }
    let finding = Finding::problem("link", "up, but without a carrier", "nothing passes");
    match &machine.peer {
        Some(peer) if !peer.link.up => finding.cured_by(set_up(&peer.link.name)),
        _ if machine.is_veth() => {
            let cure = "in the other end's network namespace: ip link set dev PEER up";
            finding.cured_by(cure)
        }
        _ => finding.cured_by("connect the cable, or bring the other end up"),
    }
}

fn mtu(machine: &Machine) -> Finding {
    let (mtu, name) = (machine.link.mtu, word(&machine.link.name));
    let set = |mtu: u32| format!("ip link set dev {name} mtu {mtu}");
    if mtu < LEAST_MTU_V4 {
        let why = format!("ringwire takes {LEAST_MTU_V4} at least, and {LEAST_MTU_V6} for IPv6");
        return Finding::problem("mtu", mtu.to_string(), why).cured_by(set(LEAST_MTU_V6));
    }
    if mtu < LEAST_MTU_V6 {
        let says = format!("{mtu}: too small for IPv6");
        return Finding::note("mtu", says).cured_by(set(LEAST_MTU_V6));
    }
    if fits_chunk(CHUNK_BYTES, mtu) {
        return Finding::ok(
            "mtu",
            format!("{mtu}: a packet fits a chunk of {CHUNK_BYTES} bytes"),
        );
    }
    let says = format!("{mtu}: a packet can take several chunks of {CHUNK_BYTES} bytes");
    if machine.host.before((6, 6)) {
        let why = "packets over several chunks take Linux 6.6: larger ones are lost";
        return Finding::problem("mtu", says, why).cured_by(set(largest(CHUNK_BYTES)));
    }
    Finding::note("mtu", says)
}

/// The largest MTU of which each packet fits a chunk.
fn largest(chunk_bytes: u32) -> u32 {
    let fits = |mtu: &u32| fits_chunk(chunk_bytes, *mtu);
    (0..=chunk_bytes).rev().find(fits).unwrap_or(0)
}

fn addresses(machine: &Machine) -> Finding {
    let addresses = machine.addresses.iter();
    let addresses: Vec<String> = addresses.map(|(ip, bits)| format!("{ip}/{bits}")).collect();
    match addresses.is_empty() {
        true => Finding::ok(
            "addresses",
            "the kernel has none here: a ring takes one of its own",
        ),
        false => Finding::ok(
            "addresses",
            format!("a ring shares the kernel's: {}", addresses.join(", ")),
        ),
    }
}

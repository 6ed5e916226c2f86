//! The mode that ringwire would get, and why not a better one.

use ringwire::{CHUNK_BYTES, Mode};
use ringwire_xsk::{NoTxChecksum, XdpMode, XdpProgram, fits_chunk, split_by_driver, tx_checksum};

use super::finding::{Finding, word};
use super::machine::Machine;

pub(crate) fn judge(machine: &Machine) -> Vec<Finding> {
    let mut findings = programs(machine);
    findings.push(attachment(machine));
    findings.push(sockets(machine).1);
    findings.push(scatter(machine));
    findings.push(checksums(machine));
    findings
}

/// Other programs on the interface. The kernel takes one for each place, and ringwire never replaces one.
fn programs(machine: &Machine) -> Vec<Finding> {
    let programs = &machine.link.xdp;
    if programs.is_empty() {
        return vec![Finding::ok("xdp", "no XDP program is attached")];
    }
    programs
        .iter()
        .map(|program| other(machine, *program))
        .collect()
}

fn other(machine: &Machine, program: XdpProgram) -> Finding {
    let (place, off) = match program.mode {
        XdpMode::Native => ("in the driver", "xdpdrv"),
        XdpMode::Generic => ("generically", "xdpgeneric"),
        XdpMode::Hardware => ("in the NIC", "xdpoffload"),
    };
    let id = program.id;
    let says = format!("XDP program {id} is attached {place}");
    let why = "ringwire never replaces a program, so it will not start. If that is a ringwire that runs here, all is well";
    let cure = format!(
        "ip link set dev {} {off} off; where that is refused, stop its owner: bpftool prog show id {id}",
        word(&machine.link.name)
    );
    Finding::problem("xdp", says, why).cured_by(cure)
}

/// Why a driver that runs XDP programs would refuse one here.
struct Obstacle {
    says: String,
    why: &'static str,
    cure: String,
}

/// What stands in the way of a program in the driver, if that can be known.
fn obstacle(machine: &Machine) -> Option<Obstacle> {
    if let Some((peer, queues)) = too_many_peer_queues(machine) {
        let rx = machine.rx_queues;
        return Some(Obstacle {
            says: format!(
                "{peer}, the other end, has {queues} TX queues, and this one {rx} RX queues"
            ),
            why: "veth then refuses a program in the driver; behind it, each packet costs an skb",
            cure: format!("ethtool -L {} tx {rx}", word(peer)),
        });
    }
    machine.virtio?.forces_offloads().then(|| Obstacle {
        says: "the host merges packets or leaves checksums unwritten, and cannot be told to stop"
            .to_owned(),
        why: "virtio_net then refuses a program; behind the driver, each packet costs an skb",
        cure: "at the host, for QEMU: -device virtio-net-pci,ctrl_guest_offloads=on,...".to_owned(),
    })
}

/// A veth's other end, with its number of TX queues, if those are more than this one's RX queues (`veth_xdp_set`).
fn too_many_peer_queues(machine: &Machine) -> Option<(&str, u32)> {
    let peer = machine.peer.as_ref()?;
    let channels = peer.nic.channels?;
    let queues = channels.tx.now.saturating_add(channels.combined.now);
    (queues > machine.rx_queues).then_some((&peer.link.name, queues))
}

/// Where ringwire's own program would run.
fn attachment(machine: &Machine) -> Finding {
    const SUBJECT: &str = "attach";
    let driver = machine.driver_name();
    if let Some(Obstacle { says, why, cure }) = obstacle(machine) {
        return Finding::problem(SUBJECT, format!("generic: {says}"), why).cured_by(cure);
    }
    let mtu = machine.link.mtu;
    let large = !fits_chunk(CHUNK_BYTES, mtu);
    match machine.features.native {
        Some(true) if large && machine.features.native_scatter == Some(false) => {
            let says = format!("native if {driver} takes a program at MTU {mtu}, else generic");
            let why = "its programs are not given packets of several buffers";
            Finding::note(SUBJECT, says).because(why)
        }
        Some(true) => Finding::ok(SUBJECT, format!("native: {driver} runs the XDP program")),
        Some(false) => {
            let says = format!("generic: {driver} runs no XDP program that redirects");
            Finding::note(SUBJECT, says).because("the kernel makes an skb of each packet first")
        }
        None => {
            let says = format!("native if {driver} can, else generic: {}", unknown(machine));
            Finding::note(SUBJECT, says)
        }
    }
}

fn unknown(machine: &Machine) -> String {
    let reason = machine.features.unknown.as_deref();
    format!(
        "the kernel does not say ({})",
        reason.unwrap_or("no reason given")
    )
}

/// Whether the program would not run in the driver, as far as that can be known.
pub(crate) fn is_generic(machine: &Machine) -> bool {
    machine.features.native == Some(false) || obstacle(machine).is_some()
}

/// The mode of the sockets, and what is to be said of it. What cannot be known counts as a copy.
fn sockets(machine: &Machine) -> (Mode, Finding) {
    const SUBJECT: &str = "mode";
    let driver = machine.driver_name();
    let copy = |finding| (Mode::Copy, finding);
    match machine.features.zero_copy {
        None => {
            let says = format!("zero copy if {driver} can, else copy: {}", unknown(machine));
            return copy(Finding::note(SUBJECT, says));
        }
        Some(false) => {
            let says = format!("copy: {driver} has no zero copy");
            let why = "the kernel copies each packet once";
            return copy(Finding::note(SUBJECT, says).because(why));
        }
        Some(true) => {}
    }
    if is_generic(machine) {
        let says = "copy: zero copy takes a program in the driver (line `attach`)";
        return copy(Finding::note(SUBJECT, says));
    }
    if machine
        .virtio
        .is_some_and(|device| !device.takes_dma_addresses())
    {
        let says = "copy: the device takes no DMA addresses (VIRTIO_F_ACCESS_PLATFORM)";
        let why = "virtio_net has zero copy only with a device that does";
        let cure = "at the host, for QEMU: -device virtio-net-pci,iommu_platform=on,...";
        return copy(Finding::problem(SUBJECT, says, why).cured_by(cure));
    }
    if let Some(reason) = split(machine) {
        let whole = |mtu: &u32| split_by_driver(CHUNK_BYTES, *mtu).is_none();
        let mtu = (0..machine.link.mtu).rev().find(whole).unwrap_or(0);
        let cure = format!("ip link set dev {} mtu {mtu}", word(&machine.link.name));
        let says = format!("copy, though {driver} has zero copy");
        return copy(Finding::problem(SUBJECT, says, reason).cured_by(cure));
    }
    let says = format!("zero copy: {driver} offers it");
    (Mode::ZeroCopy, Finding::ok(SUBJECT, says))
}

/// The mode that the sockets would get.
pub(crate) fn mode(machine: &Machine) -> Mode {
    sockets(machine).0
}

/// Why a driver with zero copy would not be asked for it, if so: each frame has to be whole where a packet is one
/// descriptor.
fn split(machine: &Machine) -> Option<String> {
    match machine.features.zero_copy_segments {
        Some(2..) => None,
        _ => split_by_driver(CHUNK_BYTES, machine.link.mtu),
    }
}

fn scatter(machine: &Machine) -> Finding {
    const SUBJECT: &str = "scatter";
    let segments = machine.features.zero_copy_segments.unwrap_or(1);
    match mode(machine) {
        _ if machine.host.before((6, 6)) => Finding::note(
            SUBJECT,
            "a packet is one descriptor: several take Linux 6.6",
        ),
        Mode::ZeroCopy if segments > 1 => {
            Finding::ok(SUBJECT, format!("a packet may have {segments} descriptors"))
        }
        Mode::ZeroCopy => Finding::note(
            SUBJECT,
            "a packet is one descriptor under this driver's zero copy",
        )
        .because("sends without a copy are from slots: docs/ZERO_COPY.md"),
        Mode::Copy => Finding::ok(SUBJECT, "a packet may have several descriptors"),
    }
}

fn checksums(machine: &Machine) -> Finding {
    const SUBJECT: &str = "tx metadata";
    let refused = tx_checksum(mode(machine), &machine.driver.name, &machine.features);
    let old = machine.host.before((6, 11)).then_some(NoTxChecksum::Kernel);
    match old.or(refused) {
        None => Finding::ok(
            SUBJECT,
            "checksums can be left to the NIC or the kernel (Builder::tx_checksum)",
        ),
        Some(why) => Finding::note(SUBJECT, format!("checksums are written by ringwire: {why}")),
    }
}

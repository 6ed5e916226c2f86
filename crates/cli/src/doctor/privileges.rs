//! Privileges: which step takes which capability, and which of them this process has.

use ringwire_xsk::Host;

use super::finding::Finding;
use super::machine::Machine;

/// A capability: its bit (linux/capability.h) and its name.
#[derive(Clone, Copy)]
pub(crate) struct Capability(u32, &'static str);

pub(crate) const NET_ADMIN: Capability = Capability(12, "CAP_NET_ADMIN");
pub(crate) const NET_RAW: Capability = Capability(13, "CAP_NET_RAW");
pub(crate) const IPC_LOCK: Capability = Capability(14, "CAP_IPC_LOCK");
const SYS_ADMIN: Capability = Capability(21, "CAP_SYS_ADMIN");
const BPF: Capability = Capability(39, "CAP_BPF");

/// The privileged steps of a ring's set-up, in their order. Attaching is none: a `bpf_link` asks for nothing but the
/// loaded program.
const STEPS: [(&str, &[Capability]); 3] = [
    ("load the XDP program", &[BPF, NET_ADMIN]),
    ("open AF_XDP sockets, join multicast groups", &[NET_RAW]),
    ("pin a UMEM beyond `ulimit -l`", &[IPC_LOCK]),
];

/// Gives a program all of them.
pub(crate) const SET_CAPABILITIES: &str =
    "sudo setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep PROGRAM";

/// Whether a process has a capability. CAP_SYS_ADMIN was CAP_BPF before there was one, and still stands for it.
pub(crate) fn has(host: &Host, capability: Capability) -> bool {
    let set = |Capability(bit, _)| host.capabilities >> bit & 1 == 1;
    set(capability) || capability.0 == BPF.0 && set(SYS_ADMIN)
}

/// The capabilities that a process lacks to load a program and to open sockets.
pub(crate) fn lacking(host: &Host) -> Vec<&'static str> {
    let needed = [BPF, NET_ADMIN, NET_RAW].into_iter();
    let lacks = needed.filter(|one| !has(host, *one));
    lacks.map(|Capability(_, name)| name).collect()
}

pub(crate) fn judge(machine: &Machine) -> Vec<Finding> {
    let host = &machine.host;
    vec![capabilities(host), unprivileged_bpf(host)]
}

fn capabilities(host: &Host) -> Finding {
    const SUBJECT: &str = "privileges";
    let lacks = |(_, needed): &&(&str, &[Capability])| needed.iter().any(|one| !has(host, *one));
    let missing: Vec<String> = STEPS
        .iter()
        .filter(lacks)
        .map(|step| without(host, step))
        .collect();
    if !missing.is_empty() {
        // The program that is to run may have what this one has not.
        return Finding::note(
            SUBJECT,
            format!("this process could not {}", missing.join("; ")),
        )
        .because("a program on ringwire takes them at the start, by root or by its file")
        .cured_by(SET_CAPABILITIES);
    }
    if host.initial_user_namespace {
        let all = "CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK";
        return Finding::ok(
            SUBJECT,
            format!("this process has {all}: all that it takes"),
        );
    }
    let why = "loading a program and pinning memory take capabilities outside it";
    Finding::problem(
        SUBJECT,
        "the capabilities are those of a user namespace",
        why,
    )
    .cured_by("run it outside: as real root, or by a program's file capabilities")
}

/// A step, and what is missing for it.
fn without(host: &Host, (step, needed): &(&str, &[Capability])) -> String {
    let missing = needed.iter().filter(|one| !has(host, **one));
    let names: Vec<&str> = missing.map(|Capability(_, name)| *name).collect();
    format!("{step} (no {})", names.join(", "))
}

fn unprivileged_bpf(host: &Host) -> Finding {
    const SUBJECT: &str = "bpf";
    let says = match host.unprivileged_bpf_disabled {
        None => return Finding::note(SUBJECT, "kernel.unprivileged_bpf_disabled cannot be read"),
        Some(0) => {
            "any user may load programs, though not XDP's (kernel.unprivileged_bpf_disabled is 0)"
        }
        Some(_) => "only CAP_BPF may load programs (kernel.unprivileged_bpf_disabled)",
    };
    Finding::ok(SUBJECT, says)
}

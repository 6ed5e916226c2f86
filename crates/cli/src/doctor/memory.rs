//! Memory: huge pages for the UMEM, and whether it may be pinned.

use ringwire::Builder;

use super::finding::Finding;
use super::machine::Machine;
use super::privileges::{IPC_LOCK, NET_ADMIN, NET_RAW, SET_CAPABILITIES, has};

/// Bytes of the huge pages that a UMEM takes.
const HUGE_PAGE_BYTES: u64 = 2 << 20;
const RESERVED: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

pub(crate) fn judge(machine: &Machine) -> Vec<Finding> {
    let queues = machine.queues().len() as u32;
    let builder: Builder = Builder::default();
    match builder.umem_bytes(queues.max(1)) {
        Ok(bytes) => vec![
            huge_pages(machine, bytes as u64),
            pinning(machine, bytes as u64),
        ],
        Err(error) => {
            let says = format!("{queues} queues are too many for one UMEM");
            vec![
                Finding::problem("memory", says, error.to_string())
                    .cured_by("divide them: --queues"),
            ]
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn huge_pages(machine: &Machine, umem_bytes: u64) -> Finding {
    const SUBJECT: &str = "huge pages";
    let needed = umem_bytes.div_ceil(HUGE_PAGE_BYTES);
    let umem = format!("a UMEM has {} by default", mebibytes(umem_bytes));
    let Some(pages) = machine.host.huge_pages else {
        let says = format!("the kernel has none of 2 MiB; {umem}");
        return Finding::note(SUBJECT, says).because("more TLB misses");
    };
    let free = format!("{} of 2 MiB free", pages.free);
    if pages.free >= needed {
        return Finding::ok(SUBJECT, format!("{free}; {umem}: {needed} of them"));
    }
    let total = pages.total.saturating_add(needed - pages.free);
    Finding::note(SUBJECT, format!("{free}, and {needed} are needed: {umem}"))
        .because("on ordinary pages there are more TLB misses")
        .cured_by(format!("echo {total} | sudo tee {RESERVED}"))
}

fn pinning(machine: &Machine, umem_bytes: u64) -> Finding {
    const SUBJECT: &str = "memlock";
    let host = &machine.host;
    if has(host, IPC_LOCK) && host.initial_user_namespace {
        return Finding::ok(SUBJECT, "no limit: CAP_IPC_LOCK");
    }
    if host.memlock_limit >= umem_bytes {
        return Finding::ok(SUBJECT, "a default UMEM is within `ulimit -l`");
    }
    let says = format!(
        "`ulimit -l` allows {} KiB, and a default UMEM has {}",
        host.memlock_limit / 1024,
        mebibytes(umem_bytes)
    );
    let why = "the kernel then refuses to pin it (ENOBUFS), unless the program has CAP_IPC_LOCK";
    // Whoever has the other capabilities would come as far as this.
    match has(host, NET_RAW) && has(host, NET_ADMIN) {
        true => Finding::problem(SUBJECT, says, why).cured_by(SET_CAPABILITIES),
        false => Finding::note(SUBJECT, says)
            .because(why)
            .cured_by(SET_CAPABILITIES),
    }
}

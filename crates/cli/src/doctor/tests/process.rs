//! What is judged of the machine and the process: kernel, memory, privileges.

use super::*;

const IPC_LOCK: u64 = 1 << 14;
const SYS_ADMIN: u64 = 1 << 21;
const BPF: u64 = 1 << 39;

#[test]
fn a_kernel_that_cannot_load_the_program_hurts() {
    let mut machine = healthy();
    machine.host.version = Some((5, 17));
    assert_verdict(&machine, "kernel", Verdict::Problem);
    machine.host.version = Some((5, 18));
    assert_verdict(&machine, "kernel", Verdict::Note);
    machine.host.af_xdp = false;
    assert_verdict(&machine, "kernel", Verdict::Problem);
}

#[test]
fn what_only_later_kernels_have_is_listed() {
    let mut machine = healthy();
    machine.host.version = Some((6, 6));
    let says = about(&machine, "kernel").says;
    assert!(
        says.contains("6.11") && !says.contains("several: 6.6"),
        "{says}"
    );
    machine.host.version = Some((6, 5));
    let says = about(&machine, "kernel").says;
    assert!(says.contains("several: 6.6"), "{says}");
    // A release that cannot be read lacks nothing for certain.
    machine.host.version = None;
    assert_verdict(&machine, "kernel", Verdict::Ok);
}

#[test]
fn huge_pages_are_counted_for_all_queues() {
    let mut machine = healthy();
    // 4096 chunks to receive for each of four queues, 4096 to send, 512 for headers: 82 MiB.
    machine.host.huge_pages = Some(HugePages {
        total: 50,
        free: 41,
    });
    assert_verdict(&machine, "huge pages", Verdict::Ok);
    machine.host.huge_pages = Some(HugePages {
        total: 50,
        free: 40,
    });
    let finding = about(&machine, "huge pages");
    assert_eq!(finding.verdict, Verdict::Note);
    let cure = finding.cure.expect("a cure");
    assert!(cure.starts_with("echo 51 | sudo tee /sys/"), "{cure}");
    machine.wanted_queues = Some(vec![0]);
    assert_verdict(&machine, "huge pages", Verdict::Ok);
}

#[test]
fn the_memory_limit_matters_without_ipc_lock() {
    let mut machine = healthy();
    machine.host.memlock_limit = 8 << 20;
    assert_verdict(&machine, "memlock", Verdict::Ok);
    // Whoever has the rest would come as far as this.
    machine.host.capabilities = ALL & !IPC_LOCK;
    assert_verdict(&machine, "memlock", Verdict::Problem);
    machine.host.capabilities = 0;
    assert_verdict(&machine, "memlock", Verdict::Note);
    machine.host.memlock_limit = 82 << 20;
    assert_verdict(&machine, "memlock", Verdict::Ok);
}

#[test]
fn each_step_says_what_it_lacks() {
    let mut machine = healthy();
    machine.host.capabilities = 0;
    let finding = about(&machine, "privileges");
    assert_eq!(finding.verdict, Verdict::Note);
    for lack in [
        "load the XDP program (no CAP_BPF, CAP_NET_ADMIN)",
        "open AF_XDP sockets, join multicast groups (no CAP_NET_RAW)",
        "(no CAP_IPC_LOCK)",
    ] {
        assert!(finding.says.contains(lack), "{finding}");
    }
    assert!(finding.cure.expect("a cure").contains("setcap"));
}

#[test]
fn cap_sys_admin_stands_for_cap_bpf() {
    let mut machine = healthy();
    machine.host.capabilities = ALL & !BPF;
    assert_verdict(&machine, "privileges", Verdict::Ok);
    machine.host.capabilities = ALL & !BPF & !SYS_ADMIN;
    assert_verdict(&machine, "privileges", Verdict::Note);
}

#[test]
fn root_of_a_user_namespace_only_looks_like_root() {
    let mut machine = healthy();
    machine.host.initial_user_namespace = false;
    assert_verdict(&machine, "privileges", Verdict::Problem);
    // Its CAP_IPC_LOCK does not count for a UMEM either.
    machine.host.memlock_limit = 8 << 20;
    assert_verdict(&machine, "memlock", Verdict::Problem);
}

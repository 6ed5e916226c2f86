//! What figures depend on: the machine, its kernel, and how the run was made.

use std::fs;
use std::process::Command;

use crate::process::Cores;
use crate::run::Effort;

/// Names and values, for the report.
pub fn describe(cores: Cores, effort: Effort) -> Vec<(&'static str, String)> {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = processors.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let count = processors.matches("processor\t").count();
    vec![
        ("processor", format!("{count} x {}", field("model name"))),
        ("hypervisor", hypervisor(&field("flags"))),
        ("kernel", file("/proc/sys/kernel/osrelease")),
        ("kernel's build", file("/proc/sys/kernel/version")),
        (
            "clock source",
            file("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        ),
        ("mitigations", mitigations()),
        ("compiler", output("rustc", &["--version"])),
        (
            "revision",
            output("git", &["describe", "--always", "--dirty"]),
        ),
        (
            "build",
            if cfg!(debug_assertions) {
                "dev: for a look, not for figures"
            } else {
                "release"
            }
            .to_owned(),
        ),
        ("load at the start", file("/proc/loadavg")),
        (
            "pinning",
            format!(
                "the load's end on core {}, the contestant on core {} (sched_setaffinity)",
                cores.load, cores.server
            ),
        ),
        (
            "rounds",
            format!(
                "{} of {} ms, each after {} ms of warming up; the contestants of a cell in turn",
                effort.rounds, effort.milliseconds, effort.warm
            ),
        ),
        (
            "link",
            "a veth pair of one queue between two network namespaces, AF_XDP in copy mode"
                .to_owned(),
        ),
    ]
}

fn file(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn output(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let output = output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    output.unwrap_or_default()
}

fn hypervisor(flags: &str) -> String {
    let virtual_machine = flags.split_whitespace().any(|flag| flag == "hypervisor");
    if virtual_machine {
        "yes: a virtual machine"
    } else {
        "no"
    }
    .to_owned()
}

/// Those that cost something in each system call.
fn mitigations() -> String {
    let all = fs::read_dir("/sys/devices/system/cpu/vulnerabilities");
    let mut all: Vec<String> = all
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let what = file(&entry.path().to_string_lossy());
            let name = entry.file_name().to_string_lossy().into_owned();
            what.starts_with("Mitigation")
                .then(|| format!("{name}: {what}"))
        })
        .collect();
    all.sort();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join("; ")
    }
}

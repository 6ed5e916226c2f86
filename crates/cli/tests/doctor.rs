//! `ringwire doctor` on veth pairs: what it says is what the kernel then does, and its commands cure.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};

use libtest_mimic::Arguments;
use ringwire_tests::net::{PEER_V4, RING_INTERFACE, RING_V4, Veth, ip};
use ringwire_tests::privileged;
use ringwire_xsk::{AttachMode, Attached, Interface, Program};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_ringwire");
/// The user `nobody`, and its group, wherever there are users.
const NOBODY: u32 = 65534;

/// What the doctor said.
struct Said {
    findings: Vec<Value>,
    status: i32,
}

impl Said {
    fn of(output: &Output) -> Said {
        let json: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let findings = json["findings"].as_array().expect("findings").clone();
        let status = output.status.code().expect("an exit status");
        let problems = findings
            .iter()
            .filter(|one| one["verdict"] == "problem")
            .count();
        assert_eq!(json["problems"], problems);
        assert_eq!(status, i32::from(problems > 0), "{json:#}");
        Said { findings, status }
    }

    /// The verdict on a subject and what is said; nothing if nothing is.
    fn about(&self, subject: &str) -> Option<(&str, &str)> {
        let finding = self.finding(subject)?;
        Some((finding["verdict"].as_str()?, finding["says"].as_str()?))
    }

    fn verdict(&self, subject: &str) -> Option<&str> {
        self.about(subject).map(|(verdict, _)| verdict)
    }

    fn finding(&self, subject: &str) -> Option<&Value> {
        self.findings.iter().find(|one| one["subject"] == subject)
    }

    /// Runs the command that is to cure a subject.
    fn cure(&self, subject: &str) {
        let finding = self.finding(subject).expect("a finding");
        let command = finding["cure"].as_str().expect("a cure");
        let output = Command::new("sh").args(["-c", command]).output();
        let output = output.expect("a shell");
        assert!(output.status.success(), "{command}: {output:?}");
    }
}

/// Looks at an interface of this thread's namespace.
fn doctor(interface: &str) -> Said {
    doctor_with(interface, &[])
}

fn doctor_with(interface: &str, options: &[&str]) -> Said {
    let output = Command::new(BINARY)
        .args(["doctor", interface, "--json"])
        .args(options)
        .output();
    Said::of(&output.expect("the doctor"))
}

/// A namespace in which both ends of a pair are, `a0` and `a1`, of so many RX and TX queues each.
fn both_here(a0: u32, a1: u32) -> Veth {
    let veth = Veth::new(1, 1500, false);
    veth.in_ring(|| {
        ip(&format!(
            "link add a0 numrxqueues {a0} numtxqueues {a0} type veth peer name a1 numrxqueues {a1} numtxqueues {a1}\n\
             link set a0 up\nlink set a1 up\n"
        ));
    });
    veth
}

/// What the library gets where the doctor says what it would get.
fn attached(interface: &str) -> Attached {
    let interface = Interface::by_name(interface).expect("the interface");
    let program = Program::attach(&interface, AttachMode::Auto).expect("the program");
    program.mode()
}

fn a_veth_pair_is_copy_mode_and_nothing_hurts() {
    let veth = Veth::new(2, 1500, true);
    veth.in_ring(|| {
        let said = doctor(RING_INTERFACE);
        assert_eq!(
            said.about("mode"),
            Some(("note", "copy: veth has no zero copy"))
        );
        assert_eq!(
            said.about("attach"),
            Some(("ok", "native: veth runs the XDP program"))
        );
        assert_eq!(attached(RING_INTERFACE), Attached::Native);
        assert_eq!(said.verdict("link"), Some("ok"));
        assert_eq!(said.verdict("xdp"), Some("ok"));
        let (_, addresses) = said.about("addresses").expect("addresses");
        assert!(addresses.contains(&format!("{RING_V4}/24")), "{addresses}");
        let (_, queues) = said.about("queues").expect("queues");
        assert!(
            queues.starts_with("2 RX (at most 2), 2 TX (at most 2)"),
            "{queues}"
        );
        // The other end is in another namespace.
        assert_eq!(said.verdict("checksums"), Some("note"));
        assert_eq!(said.status, 0);
    });
}

fn text_has_a_line_for_each_finding_and_the_cure() {
    both_here(1, 1).in_ring(|| {
        let output = Command::new(BINARY).args(["doctor", "a0"]).output();
        let output = output.expect("the doctor");
        let text = String::from_utf8(output.stdout).expect("text");
        for line in [
            "ok       driver       veth, 1.0",
            "note     mode         copy: veth has no zero copy",
            "problem  checksums    a1, the other end, leaves checksums unwritten",
            "                      cure: ethtool -K a1 tx off",
            "a0: 1 problem",
        ] {
            assert!(text.lines().any(|said| said == line), "{line}\n{text}");
        }
        assert_eq!(output.status.code(), Some(1));
    });
}

fn unwritten_checksums_are_cured_by_the_command() {
    both_here(1, 1).in_ring(|| {
        let said = doctor("a0");
        assert_eq!(said.status, 1);
        said.cure("checksums");
        let said = doctor("a0");
        assert_eq!(said.verdict("checksums"), None);
        assert_eq!(said.status, 0);
    });
}

fn hidden_tags_are_cured_by_the_command() {
    both_here(1, 1).in_ring(|| {
        let said = doctor("a0");
        // No VLAN interface is here.
        assert_eq!(said.verdict("vlan"), Some("note"));
        said.cure("vlan");
        assert_eq!(doctor("a0").verdict("vlan"), None);
    });
}

fn a_veth_with_too_few_queues_is_generic_until_cured() {
    both_here(1, 2).in_ring(|| {
        let said = doctor("a0");
        assert_eq!(said.verdict("attach"), Some("problem"));
        assert_eq!(said.verdict("gso"), Some("problem"));
        assert_eq!(attached("a0"), Attached::Generic);
        said.cure("attach");
        let said = doctor("a0");
        assert_eq!(said.verdict("attach"), Some("ok"));
        assert_eq!(said.verdict("gso"), None);
        assert_eq!(attached("a0"), Attached::Native);
    });
}

fn super_packets_are_cured_by_the_command() {
    both_here(1, 2).in_ring(|| {
        let said = doctor("a0");
        assert_eq!(said.verdict("gso"), Some("problem"));
        said.cure("gso");
        let said = doctor("a0");
        assert_eq!(said.verdict("gso"), None);
        assert_eq!(said.verdict("attach"), Some("problem"), "still generic");
    });
}

fn an_interface_that_is_down_is_cured_by_the_command() {
    both_here(1, 1).in_ring(|| {
        ip("link set a1 down");
        let said = doctor("a0");
        assert_eq!(
            said.about("link"),
            Some(("problem", "up, but without a carrier"))
        );
        said.cure("link");
        assert_eq!(doctor("a0").verdict("link"), Some("ok"));
        ip("link set a0 down");
        doctor("a0").cure("link");
        assert_eq!(doctor("a0").verdict("link"), Some("ok"));
    });
}

fn another_program_is_seen_in_its_place_and_left_there() {
    let veth = Veth::new(1, 1500, false);
    veth.in_ring(|| {
        for (mode, place) in [
            (AttachMode::Native, "is attached in the driver"),
            (AttachMode::Generic, "is attached generically"),
        ] {
            let interface = Interface::by_name(RING_INTERFACE).expect("the interface");
            let program = Program::attach(&interface, mode).expect("the program");
            let said = doctor(RING_INTERFACE);
            let (verdict, says) = said.about("xdp").expect("programs");
            assert!(verdict == "problem" && says.ends_with(place), "{says}");
            assert_eq!(said.status, 1);
            drop(program);
            assert_eq!(doctor(RING_INTERFACE).verdict("xdp"), Some("ok"));
        }
    });
}

fn an_ordinary_user_can_look() {
    // Where cargo builds, such a user may have no access.
    let folder = std::env::temp_dir().join(format!("ringwire-doctor-{}", std::process::id()));
    let binary = Copied::new(folder);
    let veth = Veth::new(2, 1500, true);
    veth.in_ring(|| {
        let output = Command::new(binary.path())
            .args(["doctor", RING_INTERFACE, "--json"])
            .uid(NOBODY)
            .gid(NOBODY)
            .output();
        let said = Said::of(&output.expect("the doctor"));
        let root = doctor(RING_INTERFACE);
        for subject in [
            "kernel",
            "driver",
            "link",
            "mtu",
            "addresses",
            "xdp",
            "attach",
            "mode",
            "queues",
            "huge pages",
            "bpf",
        ] {
            assert!(said.about(subject).is_some(), "{subject}");
            assert_eq!(said.about(subject), root.about(subject));
        }
        let (verdict, says) = said.about("privileges").expect("privileges");
        assert_eq!(verdict, "note");
        assert!(says.contains("no CAP_NET_RAW"), "{says}");
        assert_eq!(said.status, 0);
        let output = Command::new(binary.path())
            .args(["doctor", RING_INTERFACE, "--json", "--probe"])
            .uid(NOBODY)
            .gid(NOBODY)
            .output();
        let said = Said::of(&output.expect("the doctor"));
        let lacks = "not made: this process lacks CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW";
        assert_eq!(probed(&said), [("problem", lacks)]);
    });
}

/// What the probe said: the verdicts with the words.
fn probed(said: &Said) -> Vec<(&str, &str)> {
    let probe = said.findings.iter().filter(|one| one["subject"] == "probe");
    let texts = probe.map(|one| Some((one["verdict"].as_str()?, one["says"].as_str()?)));
    texts.collect::<Option<_>>().expect("texts")
}

fn neighbours() -> String {
    let output = Command::new("ip").args(["-4", "neigh", "show"]).output();
    String::from_utf8(output.expect("the ip command").stdout).expect("text")
}

fn a_probe_is_answered_and_leaves_nothing_behind() {
    let veth = Veth::new(2, 1500, true);
    veth.in_ring(|| {
        let said = doctor_with(RING_INTERFACE, &["--probe", "--target", PEER_V4]);
        let lines = probed(&said);
        let has = |words: &str| {
            lines
                .iter()
                .any(|(verdict, says)| *verdict == "ok" && says.starts_with(words))
        };
        for words in [
            "the program ran in the driver",
            "queue 0: bound (copy), sent, and the descriptor came back",
            "queue 1: bound (copy), sent, and the descriptor came back",
            "sending is proven: 2 answers to 2 questions",
            "receiving is proven on ",
        ] {
            assert!(has(words), "{words}: {lines:?}");
        }
        assert_eq!(
            doctor(RING_INTERFACE).verdict("xdp"),
            Some("ok"),
            "it is detached"
        );
        // The kernel did not hear the answers.
        assert_eq!(neighbours(), "");
    });
    veth.in_peer(|| assert_eq!(neighbours(), "", "the question names nobody"));
}

fn a_probe_says_what_it_did_not_prove() {
    let veth = Veth::new(1, 1500, true);
    veth.in_ring(|| {
        let said = doctor_with(RING_INTERFACE, &["--probe"]);
        let lines = probed(&said);
        let words = "receiving is not proven: the kernel knows no IPv4 neighbour";
        assert!(
            lines
                .iter()
                .any(|(verdict, says)| *verdict == "note" && says.starts_with(words)),
            "{lines:?}"
        );
        let nobody = "10.7.0.99";
        let said = doctor_with(RING_INTERFACE, &["--probe", "--target", nobody]);
        let words = "receiving is not proven: 10.7.0.99 did not answer";
        let lines = probed(&said);
        assert!(
            lines
                .iter()
                .any(|(verdict, says)| *verdict == "problem" && says.starts_with(words)),
            "{lines:?}"
        );
    });
}

fn a_queue_that_cannot_send_is_found_by_looking_and_by_probing() {
    let veth = Veth::new(1, 1500, false);
    veth.in_ring(|| {
        ip("link add a0 numrxqueues 2 numtxqueues 1 type veth peer name a1 numrxqueues 1 numtxqueues 2\n\
            link set a0 up\nlink set a1 up\n");
        let said = doctor_with("a0", &["--probe"]);
        let looked = said.findings.iter().find(|one| one["subject"] == "queues" && one["verdict"] == "problem");
        let looked = looked.expect("a problem")["says"].as_str().expect("text");
        assert!(looked.starts_with("nothing can be sent by 1:"), "{looked}");
        let lines = probed(&said);
        let words = "queue 1: bound (copy), but its descriptor did not come back";
        assert!(lines.iter().any(|(verdict, says)| *verdict == "problem" && says.starts_with(words)), "{lines:?}");
        Command::new("sh").args(["-c", "ethtool -L a0 rx 1"]).output().expect("a shell");
        assert_eq!(doctor("a0").verdict("queues"), Some("ok"));
    });
}

fn a_probe_does_not_start_beside_another_program() {
    let veth = Veth::new(1, 1500, false);
    veth.in_ring(|| {
        let interface = Interface::by_name(RING_INTERFACE).expect("the interface");
        let _program = Program::attach(&interface, AttachMode::Native).expect("the program");
        let said = doctor_with(RING_INTERFACE, &["--probe"]);
        let lines = probed(&said);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].1.starts_with("another XDP program is attached"),
            "{lines:?}"
        );
        assert_eq!(
            doctor(RING_INTERFACE).verdict("xdp"),
            Some("problem"),
            "it is still there"
        );
    });
}

/// A copy of the binary that anybody may run, for as long as this lives.
struct Copied {
    folder: PathBuf,
}

impl Copied {
    fn new(folder: PathBuf) -> Copied {
        let for_all = fs::Permissions::from_mode(0o755);
        fs::create_dir(&folder).expect("a folder");
        let copied = Copied { folder };
        fs::set_permissions(&copied.folder, for_all.clone()).expect("its permissions");
        fs::copy(BINARY, copied.path()).expect("a copy");
        fs::set_permissions(copied.path(), for_all).expect("its permissions");
        // Whoever runs it must not find it open for writing.
        File::open(copied.path())
            .and_then(|file| file.sync_all())
            .expect("the copy");
        copied
    }

    fn path(&self) -> PathBuf {
        self.folder.join("ringwire")
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn what_is_not_there_is_an_error_of_its_own() {
    let refused = |args: &[&str], words: &str| {
        let output = Command::new(BINARY)
            .args(args)
            .output()
            .expect("the doctor");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(words), "{error}");
        assert!(output.stdout.is_empty());
    };
    refused(&["doctor", "no-such-if"], "no interface 'no-such-if'");
    refused(&["doctor"], "usage:");
}

fn main() -> ExitCode {
    let tests: [(&str, fn()); 13] = [
        (
            "a_veth_pair_is_copy_mode_and_nothing_hurts",
            a_veth_pair_is_copy_mode_and_nothing_hurts,
        ),
        (
            "text_has_a_line_for_each_finding_and_the_cure",
            text_has_a_line_for_each_finding_and_the_cure,
        ),
        (
            "unwritten_checksums_are_cured_by_the_command",
            unwritten_checksums_are_cured_by_the_command,
        ),
        (
            "hidden_tags_are_cured_by_the_command",
            hidden_tags_are_cured_by_the_command,
        ),
        (
            "a_veth_with_too_few_queues_is_generic_until_cured",
            a_veth_with_too_few_queues_is_generic_until_cured,
        ),
        (
            "super_packets_are_cured_by_the_command",
            super_packets_are_cured_by_the_command,
        ),
        (
            "an_interface_that_is_down_is_cured_by_the_command",
            an_interface_that_is_down_is_cured_by_the_command,
        ),
        (
            "another_program_is_seen_in_its_place_and_left_there",
            another_program_is_seen_in_its_place_and_left_there,
        ),
        ("an_ordinary_user_can_look", an_ordinary_user_can_look),
        (
            "a_probe_is_answered_and_leaves_nothing_behind",
            a_probe_is_answered_and_leaves_nothing_behind,
        ),
        (
            "a_probe_says_what_it_did_not_prove",
            a_probe_says_what_it_did_not_prove,
        ),
        (
            "a_queue_that_cannot_send_is_found_by_looking_and_by_probing",
            a_queue_that_cannot_send_is_found_by_looking_and_by_probing,
        ),
        (
            "a_probe_does_not_start_beside_another_program",
            a_probe_does_not_start_beside_another_program,
        ),
    ];
    let mut trials: Vec<_> = tests
        .into_iter()
        .map(|(name, test)| privileged(name, test))
        .collect();
    trials.push(libtest_mimic::Trial::test(
        "what_is_not_there_is_an_error_of_its_own",
        || {
            what_is_not_there_is_an_error_of_its_own();
            Ok(())
        },
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

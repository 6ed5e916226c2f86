//! The command: a seed replays exactly, a trace can be read, a sweep sums up.

use std::process::{Command, Output};

fn ringwire_sim(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire-sim"));
    command.args(args).output().expect("the program runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_seed_has_the_same_digest_in_another_process() {
    let digest = |seed: &str| {
        let output = ringwire_sim(&["--seed", seed]);
        assert!(output.status.success());
        let text = text(&output);
        let line = text.lines().find(|line| line.starts_with("digest "));
        line.expect("a digest").to_owned()
    };
    assert_eq!(digest("11"), digest("11"));
    assert_ne!(digest("11"), digest("12"));
}

#[test]
fn a_trace_is_a_pcapng_file_with_both_ends_of_the_wire() {
    let file = std::env::temp_dir().join(format!("ringwire-sim-{}.pcapng", std::process::id()));
    let name = file.to_str().expect("a name in UTF-8");
    let output = ringwire_sim(&["--seed", "11", "--trace", name]);
    let bytes = std::fs::read(&file).expect("the trace");
    std::fs::remove_file(&file).expect("it is ours");
    assert!(output.status.success());
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let (mut at, mut kinds) = (0, Vec::new());
    while at < bytes.len() {
        kinds.push(word(at));
        at += word(at + 4) as usize;
    }
    assert_eq!(at, bytes.len(), "blocks fill the file");
    assert_eq!(kinds[..3], [0x0a0d_0d0a, 1, 1]);
    assert!(kinds.len() > 1000 && kinds[3..].iter().all(|&kind| kind == 6));
}

#[test]
fn a_trace_that_cannot_be_written_is_an_error() {
    let output = ringwire_sim(&["--seed", "11", "--trace", "/nowhere/trace.pcapng"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/trace.pcapng"));
}

#[test]
fn a_sweep_prints_seeds_hours_segments_and_faults() {
    let output = ringwire_sim(&["--seeds", "0..4"]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for words in [
        "4 seeds",
        "virtual hours",
        "segments",
        "0 violations",
        "partitions",
        "corrupted",
    ] {
        assert!(text.contains(words), "no {words}: {text}");
    }
}

#[test]
fn what_is_no_command_is_refused() {
    for args in [
        &[][..],
        &["--seed"],
        &["--seed", "x"],
        &["--seeds", "5..5"],
        &["--seeds", "5"],
    ] {
        let output = ringwire_sim(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage"));
    }
}

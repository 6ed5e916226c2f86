//! No operation takes more instructions than the record says, `bench/instructions.json`, by more than
//! [`guard::TOLERATED_PERCENT`]; nor fewer, for the record would hide it if they came back. Counted by callgrind, in a
//! release build, so the same on every machine where the compiler, the C library and the processor's features are:
//! elsewhere, and where Valgrind is not installed, the operations are listed as skipped, with the reason.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use ringwire_bench::guard::{self, Counts, Record};

fn main() {
    let arguments = Arguments::from_args();
    let record = Record::read().expect("the record");
    let counted = match arguments.list {
        // To list them takes no build.
        true => Err("they are listed".into()),
        false => count(&record),
    };
    let mut trials: Vec<Trial> = record
        .instructions
        .keys()
        .map(|name| trial(name, &record, &counted))
        .collect();
    // What is not in the record fails, too.
    let new = counted.iter().flatten().map(|(name, _)| name);
    let new = new.filter(|name| !record.instructions.contains_key(*name));
    trials.extend(new.map(|name| trial(name, &record, &counted)));
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: &str, record: &Record, counted: &Result<Counts, String>) -> Trial {
    match counted {
        Err(reason) => Trial::test(name, || Ok(()))
            .with_kind(format!("skipped: {reason}"))
            .with_ignored_flag(true),
        Ok(counts) => {
            let result = match counts.get(name) {
                Some(&now) => record.holds(name, now),
                None => Err(format!("{name} is in the record, but not counted")),
            };
            Trial::test(name, || result.map_err(Failed::from))
        }
    }
}

/// Counts, if that can be compared.
///
/// # Panics
/// If the program cannot be built, or does not run to its end.
fn count(record: &Record) -> Result<Counts, String> {
    guard::valgrind_version()?;
    let now = guard::count(&build()).expect("counts");
    let differences = record.environment.differences(&now.environment);
    match differences.is_empty() {
        true => Ok(now.instructions),
        false => Err(differences.join("; ")),
    }
}

/// The program, as it is released. Where nothing has changed since it was built, this builds nothing.
fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Beside the folder of this test's profile.
    let test = std::env::current_exe().expect("this test's path");
    let target = test.ancestors().nth(3).expect("the target folder");
    let mut command = Command::new(&cargo);
    // Of the same toolchain, where a proxy of the name is not in the path: sudo(8) has one of its own.
    let rustc = Path::new(&cargo).with_file_name("rustc");
    if rustc.exists() {
        command.env("RUSTC", rustc);
    }
    let status = command
        .args(["build", "--release", "--quiet", "--bin", "instructions"])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .status();
    assert!(status.expect("cargo").success(), "the program is built");
    target.join("release/instructions")
}

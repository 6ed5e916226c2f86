//! Tells the program whose instructions are counted what it is built by and for.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let rustc = env::var_os("RUSTC").expect("cargo names the compiler");
    let version = Command::new(rustc).arg("-vV").output().expect("rustc -vV");
    let version = String::from_utf8(version.stdout).expect("text");
    let line = |key: &str| {
        let value = version.lines().find_map(|line| line.strip_prefix(key));
        value.map(str::trim).unwrap_or_default().to_owned()
    };
    let commit: String = line("commit-hash:").chars().take(9).collect();
    println!(
        "cargo:rustc-env=BUILT_BY={} ({commit}), LLVM {}",
        line("release:"),
        line("LLVM version:")
    );
    for (name, variable) in [
        ("BUILT_FOR", "TARGET"),
        ("BUILT_WITH", "CARGO_CFG_TARGET_FEATURE"),
        ("BUILT_AT", "OPT_LEVEL"),
    ] {
        let value = env::var(variable).unwrap_or_default();
        println!("cargo:rustc-env={name}={value}");
    }
}

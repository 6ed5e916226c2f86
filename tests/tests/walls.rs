//! The house's walls: who may import whom, where `unsafe` may stand, how long a file may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The crates of the house that a package names, development included, by their folders.
fn imports(folder: &Path) -> BTreeSet<String> {
    let metadata = std::process::Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
            "--manifest-path",
        ])
        .arg(folder.join("Cargo.toml"))
        .output()
        .expect("cargo metadata");
    assert!(
        metadata.status.success(),
        "{}",
        String::from_utf8_lossy(&metadata.stderr)
    );
    let json: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("cargo's JSON");
    let manifest = folder.join("Cargo.toml");
    let packages = json["packages"].as_array().expect("packages");
    let package = packages
        .iter()
        .find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&manifest));
    let dependencies = package.expect("the package")["dependencies"]
        .as_array()
        .expect("dependencies");
    let names = dependencies
        .iter()
        .filter_map(|dependency| dependency["name"].as_str());
    names
        .filter(|name| name.starts_with("ringwire"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_crate_imports_only_what_it_may() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("abi", &[] as &[&str]),
        ("umem", &[]),
        ("tcp", &[]),
        ("xsk", &["ringwire-umem"]),
        ("stack", &["ringwire-tcp", "ringwire-umem"]),
        (
            "ringwire",
            &[
                "ringwire-abi",
                "ringwire-stack",
                "ringwire-umem",
                "ringwire-xsk",
            ],
        ),
        (
            "sim",
            &[
                "ringwire",
                "ringwire-abi",
                "ringwire-stack",
                "ringwire-tcp",
                "ringwire-umem",
                "ringwire-xsk",
            ],
        ),
        // What it tests is run over the tests' network.
        (
            "cli",
            &[
                "ringwire",
                "ringwire-tests",
                "ringwire-umem",
                "ringwire-xsk",
            ],
        ),
    ]);
    let crates = std::fs::read_dir(root().join("crates")).expect("the crates");
    for folder in crates.map(|entry| entry.expect("an entry").path()) {
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let allowed = allowed
            .get(name)
            .unwrap_or_else(|| panic!("{name} has no place in the house"));
        for import in imports(&folder) {
            assert!(
                allowed.contains(&import.as_str()),
                "{name} must not import {import}"
            );
        }
    }
    assert!(!imports(&root().join("examples")).contains("ringwire-sim"));
}

#[test]
fn unsafe_stands_only_where_it_may() {
    let may = |path: &str| {
        let crates = ["crates/abi/", "crates/umem/", "crates/xsk/", "crates/sim/"];
        // The queues' memory, the application's pointers, the safe layer, which keeps the promises about
        // them, and the calls that pass a caller's promise about what it registers on.
        let files = [
            "queue.rs",
            "queue_tests.rs",
            "usermem.rs",
            "usermem_tests.rs",
            "lent.rs",
            "ring.rs",
            "register.rs",
            "zcrx.rs",
            "submitter.rs",
            "loom_tests.rs",
            "engine/register.rs",
            "engine/lend.rs",
            "engine/lend_tests.rs",
            "engine/bed.rs",
            "engine/chain_tests.rs",
            "engine/entries_tests.rs",
            "engine/lent_group_tests.rs",
            "engine/zero_copy_tests.rs",
            "owned/mod.rs",
            "owned/engine_tests.rs",
            "owned/entries.rs",
            "owned/group.rs",
            "owned/group_tests.rs",
            "owned/lending_tests.rs",
            "owned/request.rs",
            "owned/slab.rs",
            "owned/slab_tests.rs",
        ];
        crates.iter().any(|prefix| path.starts_with(prefix))
            || files
                .iter()
                .any(|file| path == format!("crates/ringwire/src/{file}"))
    };
    let mut found = Vec::new();
    sources(&root().join("crates"), &mut found);
    for path in found {
        let text = std::fs::read_to_string(&path).expect("a source");
        let name = path
            .strip_prefix(root())
            .expect("inside")
            .to_str()
            .expect("a name")
            .to_owned();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let uses = code.filter(|line| {
            ["unsafe {", "unsafe fn", "unsafe impl"]
                .iter()
                .any(|word| line.contains(word))
        });
        let first = uses.into_iter().next();
        assert!(first.is_none() || may(&name), "{name}: {first:?}");
    }
    for (name, file) in [("tcp", "lib"), ("stack", "lib"), ("cli", "main")] {
        let text = std::fs::read_to_string(root().join(format!("crates/{name}/src/{file}.rs")))
            .expect("a source");
        assert!(
            text.contains("#![forbid(unsafe_code)]"),
            "{name} forbids unsafe code"
        );
    }
}

#[test]
fn a_file_is_read_at_a_sitting() {
    const MOST_LINES: usize = 650;
    let mut found = Vec::new();
    sources(&root().join("crates"), &mut found);
    sources(&root().join("examples"), &mut found);
    for path in found {
        let lines = std::fs::read_to_string(&path)
            .expect("a source")
            .lines()
            .count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
    }
}

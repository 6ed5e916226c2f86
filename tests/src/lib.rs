//! Support for tests that need network namespaces and privileges.

pub mod echo;
pub mod impair;
pub mod middlebox;
pub mod net;
pub mod privilege;
pub mod stream;

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

/// An example's program, built beside the test that asks.
///
/// # Panics
/// When it is not there.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test's path");
    let folder = test.parent().and_then(Path::parent);
    let path = folder.expect("the target folder").join(name);
    assert!(
        path.exists(),
        "{} is built by `cargo test --workspace`",
        path.display()
    );
    path
}

/// A test that needs privileges. Without them it is listed as ignored, with the reason as its kind.
pub fn privileged(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    let run = move || -> Result<(), Failed> {
        test();
        Ok(())
    };
    match privilege::missing() {
        None => Trial::test(name, run),
        Some(reason) => Trial::test(name, run)
            .with_kind(format!("skipped: {reason}"))
            .with_ignored_flag(true),
    }
}

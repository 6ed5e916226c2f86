//! Support for tests that need network namespaces and privileges.

pub mod echo;
pub mod impair;
pub mod middlebox;
pub mod net;
pub mod privilege;
pub mod stream;

use libtest_mimic::{Failed, Trial};

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

//! The first process of the guest in which ringwire meets drivers with zero copy (`scripts/zc.sh`). The guest has two
//! NICs, joined back to back. The checks run one after the other; the last line says what came of them, and the
//! guest goes.

mod bed;
mod bulk;
mod datagrams;
mod doctor;
mod evidence;
#[path = "../../examples/echo/zero_copy.rs"]
mod forward;
mod forwarding;
mod lending;
mod notifications;
#[path = "../../examples/pump.rs"]
mod pump;
mod refill;
mod setup;
mod streams;
mod system;

/// The echo example's server, as it is.
mod server {
    use ringwire::{IoUring, cqueue, opcode, squeue, types};
    include!("../../examples/echo/server.rs");
    include!("../../examples/echo/group.rs");
    include!("../../examples/echo/datagrams.rs");
    include!("../../examples/echo/streams.rs");
}

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::evidence::Evidence;

/// For all checks together: less than scripts/zc/guest.sh gives the guest.
const LIMIT: Duration = Duration::from_secs(160);

type Check = (&'static str, fn(&Bed));

/// The check that is running, for the line that says that it did not end.
static RUNNING: Mutex<&str> = Mutex::new("starting");

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("zc-guest is the first process of a guest: run scripts/zc.sh");
        return ExitCode::from(2);
    }
    system::mount();
    let driver = system::boot_parameter("driver");
    let name = driver.clone();
    std::thread::spawn(move || {
        std::thread::sleep(LIMIT);
        conclude(&name, "has no end");
    });
    let verdict = catch_unwind(AssertUnwindSafe(|| run(&driver)));
    match verdict {
        Ok(verdict) => println!("zero copy {driver}: {verdict}"),
        Err(_) => conclude(&driver, "does not hold"),
    }
    system::power_off()
}

/// Says what is wrong with the check that is running, and ends the guest.
fn conclude(driver: &str, what: &str) -> ! {
    let running = RUNNING.lock().map_or("?", |running| *running);
    println!("zero copy {driver}: '{running}' {what}");
    system::power_off()
}

fn run(driver: &str) -> String {
    system::load_modules(driver);
    let bed = Bed::new();
    let evidence = Evidence::of(driver);
    let checks = setup::CHECKS
        .iter()
        .chain(datagrams::CHECKS)
        .chain(streams::CHECKS)
        .chain(notifications::CHECKS)
        .chain(refill::CHECKS)
        .chain(forwarding::CHECKS)
        .chain(doctor::CHECKS);
    let mut passed = 0;
    for &check in checks {
        let before = evidence.read();
        perform(check, &bed);
        evidence.read().assert_zero_copy(&before, check.0);
        passed += 1;
    }
    perform(setup::SMALL_CHUNKS, &bed);
    passed += 1;
    let all = evidence.read();
    // That the probes tell one from the other is seen where copying is asked for.
    perform(setup::COPY, &bed);
    evidence.read().assert_copy(&all, setup::COPY.0);
    passed += 1;
    format!(
        "mode zero-copy, {passed} checks passed, driver path seen ({all}), Linux {}",
        system::kernel_release()
    )
}

fn perform((name, check): Check, bed: &Bed) {
    *RUNNING.lock().expect("no check has panicked") = name;
    let start = Instant::now();
    check(bed);
    println!("{name}: {} ms", start.elapsed().as_millis());
}

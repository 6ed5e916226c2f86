//! The instructions that each operation takes, counted by callgrind in memory, without checksums: what a change has
//! made dearer shows here, on any machine, to a tenth of a percent. Beside the record in `bench/instructions.json`,
//! which a test compares them with, too.
//!
//!     instructions             counts, and compares
//!     instructions --record    counts, compares, and writes the record anew
//!
//! It runs itself under Valgrind, where it does all that is listed below.

use std::ffi::CString;
use std::process::ExitCode;

use ringwire_bench::callgrind::{self, toggle};
use ringwire_bench::engines::Protocol::{self, Tcp, Udp};
use ringwire_bench::guard::{self, Environment, Record};
use ringwire_bench::receiving::{WAYS, Way as ReceiveWay};
use ringwire_bench::requests::Measured::Nop;
use ringwire_bench::sending::{IDS, Way};
use ringwire_bench::{bulk, echo, receiving, requests, sending};

/// Operations that are counted, and at least as many before them: tables have grown and windows are open then.
const COUNTED: usize = 2048;
/// Connections of those that are many.
const MANY: u32 = 10_000;
/// Bytes of a message, and of a datagram or segment that is not short.
const SHORT: usize = 64;
const LONG: usize = 1400;

/// In the place of a clock, for what is not counted.
fn nothing() -> u64 {
    0
}

fn main() -> ExitCode {
    if callgrind::is_running() {
        count();
        return ExitCode::SUCCESS;
    }
    let record = std::env::args()
        .nth(1)
        .is_some_and(|word| word == "--record");
    let program = std::env::current_exe().expect("this program's path");
    match guard::count(&program) {
        Ok(measured) => tell(&measured, record),
        Err(reason) => {
            eprintln!("instructions: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Prints old, new and percent; and writes the record.
fn tell(measured: &Record, record: bool) -> ExitCode {
    let old = Record::read().ok();
    if let Some(old) = &old {
        for line in old.environment.differences(&measured.environment) {
            println!("{line}");
        }
    }
    println!(
        "{:44} {:>10} {:>10} {:>8}",
        "instructions", "record", "now", "%"
    );
    for (name, &now) in &measured.instructions {
        match old.as_ref().and_then(|old| old.instructions.get(name)) {
            Some(&old) => {
                let percent = guard::percent(old, now);
                println!("{name:44} {old:10.1} {now:10.1} {percent:+8.2}");
            }
            None => println!("{name:44} {:>10} {now:10.1}", "-"),
        }
    }
    if record && let Err(error) = measured.write() {
        eprintln!("instructions: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Under callgrind: what is counted, each once it has warmed up.
fn count() {
    Environment::of_this_program().print();
    count_requests();
    for (protocol, connections, shared, name) in [
        (Udp, 1, false, "udp echo"),
        (Tcp, 1, false, "tcp request and response"),
        (
            Tcp,
            MANY,
            false,
            "tcp request and response, 10000 connections",
        ),
        (Udp, 1, true, "udp echo, shared addresses"),
        (Tcp, 1, true, "tcp request and response, shared addresses"),
    ] {
        let mut bed = echo::Bed::new(protocol, connections, SHORT, shared);
        let warm = COUNTED.max(connections as usize);
        whole(name, warm, COUNTED, || bed.operation());
    }
    for (clocks, name) in [
        ([toggle as fn() -> u64, nothing], "tcp segment out"),
        ([nothing, toggle], "tcp segment in"),
    ] {
        let mut bed = bulk::Bed::new(clocks);
        let requests = COUNTED / bulk::SEGMENTS;
        (0..requests).for_each(|_| bed.operation());
        recorded(name, requests * bulk::SEGMENTS, || {
            (0..requests).for_each(|_| bed.operation());
        });
    }
    for (name, protocol) in Protocol::NAMED {
        for (way, how) in [
            (Way::Copy, "send"),
            (Way::InPlace, "send_zc in place"),
            (Way::Scatter, "send_zc scattered"),
        ] {
            count_sends(&format!("{name} {how}"), protocol, way);
        }
        for way in WAYS {
            count_receives(&format!("{name} recv {}", way.name), protocol, way);
        }
    }
}

fn count_requests() {
    let mut bed = requests::Bed::new(Nop);
    whole("nop", COUNTED, COUNTED, || bed.operation());
}

/// The sender's part, with its completions and notifications.
fn count_sends(name: &str, protocol: Protocol, way: Way) {
    let mut bed = sending::Bed::new(protocol, way, LONG, IDS, [toggle, nothing]);
    bed.run(COUNTED);
    recorded(name, COUNTED, || {
        bed.run(COUNTED);
    });
}

/// The receiver's part.
fn count_receives(name: &str, protocol: Protocol, way: ReceiveWay) {
    let mut bed = receiving::Bed::new(protocol, way, SHORT);
    bed.run(COUNTED, nothing);
    recorded(name, COUNTED, || {
        bed.run(COUNTED, toggle);
    });
}

/// Counts all that an operation does, at both ends and between them.
fn whole(name: &str, warm: usize, operations: usize, mut operation: impl FnMut()) {
    (0..warm).for_each(|_| operation());
    recorded(name, operations, || {
        toggle();
        (0..operations).for_each(|_| operation());
        toggle();
    });
}

/// Has callgrind record what is counted meanwhile, of so many operations.
fn recorded(name: &str, operations: usize, work: impl FnOnce()) {
    let title = CString::new(guard::title(operations, name)).expect("no zero byte");
    callgrind::record(&title, work);
}

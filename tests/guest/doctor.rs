//! `ringwire doctor` on a driver with zero copy: it foresees the mode, and its probe gets it.

use std::process::Command;
use std::time::{Duration, Instant};

use ringwire_tests::net::{PATIENCE, PEER_V4, RING_INTERFACE};
use ringwire_xsk::Interface;

use crate::Check;
use crate::bed::Bed;

pub const CHECKS: &[Check] = &[(
    "the doctor foresees zero copy, and its probe gets it",
    probe,
)];

fn probe(bed: &Bed) {
    let doctor = || {
        Command::new("/bin/ringwire")
            .args(["doctor", RING_INTERFACE, "--probe", "--target", PEER_V4])
            .output()
            .expect("the doctor")
    };
    let output = bed.wire.in_ring(|| {
        // The check before has detached a program, on which some drivers reset the link.
        let deadline = Instant::now() + PATIENCE;
        let carrier = || Interface::by_name(RING_INTERFACE).is_ok_and(|found| found.carrier);
        while !carrier() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        doctor()
    });
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    for line in [
        "ok       attach       native: ",
        "ok       mode         zero copy: ",
        "ok       probe        the program ran in the driver",
        "ok       probe        queue 0: bound (zero copy), sent, and the descriptor came back",
        "ok       probe        sending is proven: ",
        "ok       probe        receiving is proven on ",
    ] {
        assert!(said.lines().any(|has| has.starts_with(line)), "{line}");
    }
    assert!(output.status.success(), "something hurts");
}

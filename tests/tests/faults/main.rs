//! Bad input and faults, on a real ring over veth: each ends in a counter, an errno or a typed error
//! that names the cure, and the server goes on serving.

mod frames;
mod server;
mod setup;
mod streams;
mod traffic;

use libtest_mimic::Arguments;
use ringwire_tests::privileged;

fn main() {
    let trials = setup::CASES
        .iter()
        .chain(frames::CASES)
        .chain(traffic::CASES)
        .chain(streams::CASES);
    let trials = trials.map(|&(name, case)| privileged(name, case)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

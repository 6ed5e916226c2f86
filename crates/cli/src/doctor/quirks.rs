//! What the driver is known to do (`ringwire_xsk::QUIRKS`).

use ringwire::Mode;

use super::finding::Finding;
use super::machine::Machine;
use super::mode::mode;

pub(crate) fn judge(machine: &Machine) -> Vec<Finding> {
    let quirks = ringwire_xsk::quirks(&machine.driver.name, machine.host.version);
    let concerns = quirks.filter(|quirk| !quirk.zero_copy_only || mode(machine) == Mode::ZeroCopy);
    concerns
        .map(|quirk| {
            let says = format!("{} {}", quirk.driver, quirk.does);
            let why = format!("known from {}", quirk.source);
            match quirk.hurts {
                true => Finding::problem("driver quirk", says, why).cured_by(quirk.answer),
                false => {
                    Finding::note("driver quirk", format!("{says}; {}", quirk.answer)).because(why)
                }
            }
        })
        .collect()
}

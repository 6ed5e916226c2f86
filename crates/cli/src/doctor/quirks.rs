//! What the driver is known to do (`ringwire_xsk::QUIRKS`).

use ringwire::Mode;

use super::finding::Finding;
use super::machine::Machine;
use super::mode::mode;

const SUBJECT: &str = "driver quirk";

pub(crate) fn judge(machine: &Machine) -> Vec<Finding> {
    let quirks = ringwire_xsk::quirks(&machine.driver.name, machine.host.version);
    let concerns = quirks.filter(|quirk| !quirk.zero_copy_only || mode(machine) == Mode::ZeroCopy);
    concerns
        .map(|quirk| {
            let says = format!("{} {}", quirk.driver, quirk.does);
            let source = quirk.source;
            match quirk.hurts {
                true => {
                    let why = format!("ringwire does not take care of it ({source})");
                    Finding::problem(SUBJECT, says, why).cured_by(quirk.answer)
                }
                false => Finding::note(SUBJECT, format!("{says}: {} ({source})", quirk.answer)),
            }
        })
        .collect()
}

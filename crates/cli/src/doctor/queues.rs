//! Queues: how many there are, and whether what arrives reaches those that ringwire would have.

use ringwire_xsk::{Amount, Channels};

use super::finding::{Finding, count, row, word};
use super::machine::Machine;

pub(crate) fn judge(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![queues(machine)];
    findings.extend(sending(machine));
    findings.extend(spreading(machine));
    findings.extend(rules(machine));
    findings
}

fn queues(machine: &Machine) -> Finding {
    const SUBJECT: &str = "queues";
    let says = match machine.nic.channels {
        Some(channels) => text(channels),
        None => "1, as the driver does not tell".to_owned(),
    };
    let wanted = machine.queues();
    let Some(&last) = wanted.iter().find(|queue| **queue >= machine.rx_queues) else {
        let says = match &machine.wanted_queues {
            Some(_) => format!("{says}; ringwire is to have {}", row(&wanted)),
            None => format!("{says}; ringwire would have them all"),
        };
        return Finding::ok(SUBJECT, says);
    };
    let finding = Finding::problem(
        SUBJECT,
        format!("{says}; there is no queue {last}"),
        "ringwire refuses a queue that is not there",
    );
    let needed = wanted
        .iter()
        .max()
        .map_or(1, |queue| queue.saturating_add(1));
    let most = machine.nic.channels.unwrap_or_default();
    let name = word(&machine.link.name);
    if needed <= most.combined.most {
        finding.cured_by(format!("ethtool -L {name} combined {needed}"))
    } else if needed <= most.rx.most && needed <= most.tx.most {
        finding.cured_by(format!("ethtool -L {name} rx {needed} tx {needed}"))
    } else {
        finding.cured_by(format!("ask for queues below {}", machine.rx_queues))
    }
}

fn text(channels: Channels) -> String {
    let kinds = [
        ("combined", channels.combined),
        ("RX", channels.rx),
        ("TX", channels.tx),
    ];
    let there = kinds
        .iter()
        .filter(|(_, amount)| *amount != Amount::default());
    let texts: Vec<String> = there
        .map(|(kind, amount)| format!("{} {kind} (at most {})", amount.now, amount.most))
        .collect();
    texts.join(", ")
}

/// The kernel takes nothing from a socket on a queue by which nothing can be sent (`__xsk_generic_xmit`).
fn sending(machine: &Machine) -> Option<Finding> {
    let channels = machine.nic.channels?;
    let tx_queues = channels.tx.now.saturating_add(channels.combined.now);
    let deaf: Vec<u32> = machine
        .queues()
        .into_iter()
        .filter(|queue| (tx_queues..machine.rx_queues).contains(queue))
        .collect();
    if deaf.is_empty() {
        return None;
    }
    let says = format!(
        "nothing can be sent by {}: {} and {}",
        row(&deaf),
        count(machine.rx_queues.into(), "RX queue"),
        count(tx_queues.into(), "TX queue")
    );
    let why = "ringwire answers by the queue on which a flow arrives";
    let name = word(&machine.link.name);
    let cure = match machine.rx_queues <= channels.tx.most {
        true => format!("ethtool -L {name} tx {}", machine.rx_queues),
        false => format!("ethtool -L {name} rx {tx_queues}"),
    };
    Some(Finding::problem("queues", says, why).cured_by(cure))
}

/// RSS: which queues received flows are spread over.
fn spreading(machine: &Machine) -> Option<Finding> {
    const SUBJECT: &str = "rss";
    if machine.rx_queues <= 1 {
        return None;
    }
    let ours = machine.queues();
    let partial = ours.len() < machine.rx_queues as usize;
    let Some(table) = &machine.nic.indirection else {
        let unknown = "which queues flows arrive on is not known";
        let finding = Finding::note(SUBJECT, unknown);
        return Some(match partial {
            true => {
                finding.because("what arrives on the others goes to the kernel: take all queues")
            }
            false => finding.because("ringwire has them all, so none is missed"),
        });
    };
    let used = |queue: &u32| table.contains(queue);
    let lost: Vec<u32> = (0..machine.rx_queues)
        .filter(|queue| used(queue) && !ours.contains(queue))
        .collect();
    if !lost.is_empty() {
        let says = format!(
            "flows also arrive on {}, which ringwire is not to have",
            row(&lost)
        );
        let why = "those packets go to the kernel";
        return Some(Finding::problem(SUBJECT, says, why).cured_by(spread(machine, &ours)));
    }
    let idle: Vec<u32> = ours.iter().copied().filter(|queue| !used(queue)).collect();
    if idle.is_empty() {
        return Some(Finding::ok(
            SUBJECT,
            format!("flows arrive on {}", row(&ours)),
        ));
    }
    let says = format!(
        "no flow arrives on {}, which ringwire would have",
        row(&idle)
    );
    Some(Finding::note(SUBJECT, says).cured_by(spread(machine, &ours)))
}

/// The command that spreads flows over queues evenly.
fn spread(machine: &Machine, over: &[u32]) -> String {
    let name = word(&machine.link.name);
    if (0..over.len() as u32).eq(over.iter().copied()) {
        return format!("ethtool -X {name} equal {}", over.len());
    }
    let last = over
        .iter()
        .max()
        .copied()
        .unwrap_or(0)
        .min(machine.rx_queues);
    let weights = (0..=last).map(|queue| if over.contains(&queue) { "1" } else { "0" });
    format!(
        "ethtool -X {name} weight {}",
        weights.collect::<Vec<_>>().join(" ")
    )
}

/// Rules of somebody's that put flows where RSS would not.
fn rules(machine: &Machine) -> Option<Finding> {
    const SUBJECT: &str = "ntuple";
    let name = word(&machine.link.name);
    match machine.steering_rules? {
        0 => Some(Finding::ok(
            SUBJECT,
            "no rule puts flows on queues of their own",
        )),
        rules => {
            let says = format!(
                "{} put flows on queues of their own",
                count(rules.into(), "rule")
            );
            let why = "a flow that they put on a queue that ringwire has not goes to the kernel";
            let look =
                format!("ethtool -n {name} shows them; ethtool -N {name} delete N takes one away");
            Some(Finding::note(SUBJECT, says).because(why).cured_by(look))
        }
    }
}

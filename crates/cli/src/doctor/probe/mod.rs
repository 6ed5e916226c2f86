//! `--probe`: what a ring would get, got; and what was proven of it.

mod arp;
mod wire;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};

use ringwire::{Attached, Mode};
use ringwire_xsk::neighbours;

use super::finding::{Finding, count, row};
use super::machine::Machine;
use super::privileges::{SET_CAPABILITIES, lacking};

const SUBJECT: &str = "probe";

/// What a probe saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Where the program ran, and why not in the driver.
    pub(crate) attached: Attached,
    pub(crate) native_refused: Option<String>,
    /// Each queue.
    pub(crate) queues: Vec<SeenQueue>,
    /// By how much the interface's counter of sent packets rose.
    pub(crate) counted: u64,
    /// Who was asked.
    pub(crate) target: Option<Ipv4Addr>,
}

/// What a probe saw of a queue.
#[derive(Clone, Debug)]
pub(crate) struct SeenQueue {
    pub(crate) queue: u32,
    /// The mode that it was bound with, or why it was not.
    pub(crate) bound: Result<Mode, String>,
    /// The descriptor came back.
    pub(crate) completed: bool,
    /// Answers that came by it.
    pub(crate) answers: u32,
}

/// Probes, and says what it saw. `target` is the neighbour to ask; one that the kernel knows if there is none.
pub(crate) fn examine(machine: &Machine, target: Option<Ipv4Addr>) -> Vec<Finding> {
    let lacking = lacking(&machine.host);
    if !lacking.is_empty() {
        let says = format!("not made: this process lacks {}", lacking.join(", "));
        let why = "a probe loads a program and opens sockets, as ringwire does";
        let cure =
            format!("run it as root, or: {SET_CAPABILITIES}, for the ringwire command itself");
        return vec![Finding::problem(SUBJECT, says, why).cured_by(cure)];
    }
    match run(machine, target) {
        Ok(seen) => judge(&seen),
        Err(error) => {
            let why = "ringwire would fail in the same way";
            vec![Finding::problem(SUBJECT, error.to_string(), why)]
        }
    }
}

fn run(machine: &Machine, target: Option<Ipv4Addr>) -> Result<Seen, Box<dyn Error>> {
    let known = neighbours(machine.link.index)?;
    let known = known.into_iter().find_map(|neighbour| match neighbour {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    wire::probe(machine, target.or(known))
}

/// What is to be said of it.
pub(crate) fn judge(seen: &Seen) -> Vec<Finding> {
    let mut findings = vec![match (seen.attached, &seen.native_refused) {
        (Attached::Native, _) => Finding::ok(SUBJECT, "the program ran in the driver"),
        (Attached::Generic, None) => Finding::note(SUBJECT, "the program ran generically"),
        (Attached::Generic, Some(refused)) => Finding::note(
            SUBJECT,
            format!("the program ran generically: the driver said: {refused}"),
        ),
    }];
    findings.extend(seen.queues.iter().map(queue));
    findings.push(sending(seen));
    findings.push(receiving(seen));
    findings
}

fn queue(seen: &SeenQueue) -> Finding {
    let number = seen.queue;
    let mode = match &seen.bound {
        Ok(Mode::ZeroCopy) => "zero copy",
        Ok(Mode::Copy) => "copy",
        Err(error) => {
            let why = "ringwire could not have this queue";
            return Finding::problem(SUBJECT, format!("queue {number}: not bound: {error}"), why);
        }
    };
    if !seen.completed {
        let says = format!(
            "queue {number}: bound ({mode}), but its descriptor did not come back within a second"
        );
        let why =
            "nothing is sent by it: a TX queue, a carrier or the driver's zero copy is missing";
        return Finding::problem(SUBJECT, says, why);
    }
    let answers = match seen.answers {
        0 => String::new(),
        answers => format!("; {} came by it", count(answers.into(), "answer")),
    };
    let says =
        format!("queue {number}: bound ({mode}), sent, and the descriptor came back{answers}");
    Finding::ok(SUBJECT, says)
}

/// A descriptor comes back of a packet that was dropped, too.
fn sending(seen: &Seen) -> Finding {
    let sent = seen.queues.iter().filter(|queue| queue.completed).count() as u64;
    let (questions, answers) = (count(sent, "question"), count(answers(seen), "answer"));
    if sent > 0 && self::answers(seen) >= sent {
        return Finding::ok(
            SUBJECT,
            format!("sending is proven: {answers} to {questions}"),
        );
    }
    let counted = count(seen.counted, "packet");
    if sent > 0 && seen.counted >= sent {
        let says =
            format!("sending is proven as far as the interface: it counted {counted} for {sent}");
        return Finding::ok(SUBJECT, says);
    }
    let says = format!("sending is not proven: the interface counted {counted} for {sent}");
    let why = "its driver may not count, or what was given to it was dropped";
    Finding::note(SUBJECT, says).because(why)
}

fn receiving(seen: &Seen) -> Finding {
    let Some(target) = seen.target else {
        let says =
            "receiving is not proven: the kernel knows no IPv4 neighbour here that could be asked";
        return Finding::note(SUBJECT, says).cured_by("name one: --target IP");
    };
    if answers(seen) == 0 {
        let says = format!("receiving is not proven: {target} did not answer within a second");
        let why = "it may not be there: else nothing arrives at the queues that are bound";
        let cure = format!("ping {target} asks it without ringwire; --target IP names another");
        return Finding::problem(SUBJECT, says, why).cured_by(cure);
    }
    let of = |answered: bool| -> Vec<u32> {
        let queues = seen.queues.iter();
        let queues = queues.filter(|queue| (queue.answers > 0) == answered);
        queues.map(|queue| queue.queue).collect()
    };
    let says = format!(
        "receiving is proven on {}: {target} answered",
        row(&of(true))
    );
    let others = of(false);
    if others.is_empty() {
        return Finding::ok(SUBJECT, says);
    }
    let others = row(&others);
    let says =
        format!("{says}. Not on {others}: by which queue an answer comes is the NIC's choice");
    Finding::ok(SUBJECT, says)
}

fn answers(seen: &Seen) -> u64 {
    seen.queues
        .iter()
        .map(|queue| u64::from(queue.answers))
        .sum()
}

//! The `ringwire` command. `ringwire doctor IFACE` says what has to be known of a machine and an interface before
//! ringwire runs there: docs/DOCTOR.md. `ringwire run` starts a program without any privilege, and issues to it what takes
//! one: docs/PRIVILEGES.md.
#![forbid(unsafe_code)]

mod doctor;
mod run;

use std::error::Error;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;

use doctor::{Diagnosis, Machine};

const USAGE: &str = "\
usage: ringwire doctor INTERFACE [--queues N,N,...] [--json] [--probe [--target IP]]
       ringwire run --interface INTERFACE [--user NAME|UID] [--bind PORT]... -- COMMAND [ARGUMENT...]

doctor: what has to be known before ringwire runs there
  --queues   the queues that ringwire is to have; all of them by default
  --json     the same, for programs
  --probe    attach the program, bind each queue, send a frame by each, and look for an answer: takes root
  --target   the IPv4 neighbour that the probe asks; one that the kernel knows by default

  The exit status is 0 if nothing hurts, 1 if something does, and 2 for wrong arguments or no such interface.

run: a program without any privilege, whose ring is built with those of this process
  --interface  the only one that it gets them for
  --user       whom it runs as, and this process too; needed if root starts it
  --bind       a port that takes a privilege, of an address that the kernel has too; repeatable

  The exit status is the command's, 128 and the number of the signal that ended it, 125 if it could not be
  started, and 2 for wrong arguments.";

/// Something hurts.
const PROBLEMS: u8 = 1;
/// Wrong arguments, or nothing to look at.
const NOTHING_SEEN: u8 = 2;

struct Options {
    interface: String,
    queues: Option<Vec<u32>>,
    json: bool,
    probe: bool,
    target: Option<Ipv4Addr>,
}

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == "run")
    {
        return run::main(std::env::args_os().skip(2));
    }
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("ringwire: {message}\n{USAGE}");
            return ExitCode::from(NOTHING_SEEN);
        }
    };
    let machine = match Machine::look(&options.interface, options.queues) {
        Ok(machine) => machine,
        Err(error) => {
            eprintln!("ringwire: {error}");
            return ExitCode::from(NOTHING_SEEN);
        }
    };
    let mut diagnosis = Diagnosis::of(&machine);
    if options.probe {
        diagnosis.probe(&machine, options.target);
    }
    if options.json {
        say(&format!("{:#}", diagnosis.to_json()));
    } else {
        say(&diagnosis.to_string());
    }
    match diagnosis.problems() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(PROBLEMS),
    }
}

/// Who closed the pipe has seen enough: that is no error.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// What was asked for; nothing if that was help.
fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, Box<dyn Error>> {
    match args.next().as_deref() {
        Some("doctor") => {}
        Some("--help" | "-h" | "help") => return Ok(None),
        Some(other) => return Err(format!("{other} is no command").into()),
        None => return Err("a command is missing".into()),
    }
    let (mut interface, mut queues, mut target) = (None, None, None);
    let (mut json, mut probe) = (false, false);
    while let Some(argument) = args.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--probe" => probe = true,
            "--target" => {
                let ip = args.next().ok_or("--target takes an address")?;
                let parsed = ip
                    .parse()
                    .map_err(|_| format!("--target {ip}: not an IPv4 address"))?;
                target = Some(parsed);
            }
            "--queues" => queues = Some(list(&args.next().ok_or("--queues takes a list")?)?),
            "--help" | "-h" => return Ok(None),
            option if option.starts_with('-') => {
                return Err(format!("{option} is not known").into());
            }
            _ if interface.is_some() => return Err("one interface at a time".into()),
            _ => interface = Some(argument),
        }
    }
    if target.is_some() && !probe {
        return Err("--target is for --probe".into());
    }
    Ok(Some(Options {
        interface: interface.ok_or("an interface is missing")?,
        queues,
        json,
        probe,
        target,
    }))
}

/// Queues, as in `0,1,2`, each once and in order.
fn list(text: &str) -> Result<Vec<u32>, Box<dyn Error>> {
    let queues = text.split(',').map(str::parse);
    let mut queues: Vec<u32> = queues
        .collect::<Result<_, _>>()
        .map_err(|_| format!("--queues {text}: not a list as in 0,1"))?;
    queues.sort_unstable();
    queues.dedup();
    Ok(queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &str) -> Result<Option<Options>, String> {
        parse(args.split_whitespace().map(str::to_owned)).map_err(|error| error.to_string())
    }

    #[test]
    fn an_interface_and_options_come_in_any_order() {
        let options = parsed("doctor --json eth1 --queues 2,0,2")
            .unwrap()
            .unwrap();
        assert_eq!(options.interface, "eth1");
        assert_eq!(options.queues, Some(vec![0, 2]));
        assert!(options.json);
        let options = parsed("doctor eth1").unwrap().unwrap();
        assert_eq!((options.queues, options.json), (None, false));
        assert!(!options.probe);
        let options = parsed("doctor eth1 --target 10.0.0.1 --probe")
            .unwrap()
            .unwrap();
        assert!(options.probe);
        assert_eq!(options.target, Some(Ipv4Addr::new(10, 0, 0, 1)));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let wrong = [
            "",
            "doctor",
            "nurse eth1",
            "doctor a b",
            "doctor eth1 --loud",
            "doctor eth1 --queues",
            "doctor eth1 --queues 0,x",
            "doctor eth1 --queues ,",
            "doctor eth1 --target 10.0.0.1",
            "doctor eth1 --probe --target gateway",
        ];
        for args in wrong {
            assert!(parsed(args).is_err(), "{args}");
        }
    }

    #[test]
    fn help_is_no_error() {
        for args in ["--help", "doctor --help", "doctor eth1 -h"] {
            assert!(parsed(args).unwrap().is_none(), "{args}");
        }
    }
}

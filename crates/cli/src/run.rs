//! `ringwire run`: starts a program without any privilege, and issues to it what takes one.

use std::error::Error;
use std::ffi::OsString;
use std::num::NonZeroU16;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};

use ringwire_xsk::{Interface, Issuer, User};

use crate::{NOTHING_SEEN, USAGE, say};

/// The command could not be started, as env(1) has it.
const NOT_STARTED: u8 = 125;
/// To which a signal's number is added, as shells have it.
const BY_SIGNAL: i32 = 128;

struct Options {
    interface: String,
    user: Option<User>,
    ports: Vec<u16>,
    command: Vec<OsString>,
}

pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let options = match parse(args) {
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
    match run(&options) {
        Ok(status) => ExitCode::from(code(status)),
        Err(error) => {
            let command = options.command[0].display();
            eprintln!("ringwire: {command}: {error}");
            ExitCode::from(NOT_STARTED)
        }
    }
}

fn run(options: &Options) -> Result<ExitStatus, Box<dyn Error>> {
    // It may come later, but a wrong name is better seen now.
    Interface::by_name(&options.interface)?;
    let issuer = Issuer::new(&options.interface, &options.ports)?;
    let mut command = Command::new(&options.command[0]);
    command.args(&options.command[1..]);
    let tell = |error| eprintln!("ringwire: nothing is issued any more: {error}");
    Ok(ringwire_xsk::run(issuer, options.user, command, tell)?)
}

fn code(status: ExitStatus) -> u8 {
    let signal = || BY_SIGNAL + status.signal().unwrap_or(0);
    status.code().unwrap_or_else(signal) as u8
}

/// What was asked for; nothing if that was help.
fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Option<Options>, Box<dyn Error>> {
    let (mut interface, mut user, mut ports) = (None, None, Vec::new());
    loop {
        let name = args.next().ok_or("`--` and a command are missing")?;
        let name = text(name)?;
        if name == "--" {
            break;
        }
        if name == "--help" || name == "-h" {
            return Ok(None);
        }
        if !["--interface", "--user", "--bind"].contains(&name.as_str()) {
            return Err(format!("{name} is not known: the command stands behind `--`").into());
        }
        let value = text(args.next().ok_or(format!("{name} takes a value"))?)?;
        match name.as_str() {
            "--user" => {
                let found = User::named(&value);
                user = Some(found.ok_or(format!("there is no user '{value}'"))?);
            }
            "--bind" => {
                let port: Result<NonZeroU16, _> = value.parse();
                ports.push(
                    port.map_err(|_| format!("--bind {value}: not a port"))?
                        .get(),
                );
            }
            _ if interface.is_some() => return Err("one interface at a time".into()),
            _ => interface = Some(value),
        }
    }
    let command: Vec<OsString> = args.collect();
    if command.is_empty() {
        return Err("a command is missing behind `--`".into());
    }
    Ok(Some(Options {
        interface: interface.ok_or("--interface is missing")?,
        user,
        ports,
        command,
    }))
}

fn text(argument: OsString) -> Result<String, String> {
    let text = argument.into_string();
    text.map_err(|odd| format!("{} is not UTF-8", odd.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &str) -> Result<Option<Options>, String> {
        parse(args.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_stands_behind_the_dashes_is_the_commands() {
        let options = parsed(
            "--user root --bind 80 --interface eth1 --bind 443 -- echo --interface eth2 -- x",
        );
        let options = options.unwrap().unwrap();
        assert_eq!(options.interface, "eth1");
        assert_eq!(options.ports, [80, 443]);
        assert_eq!(options.user, User::named("0"));
        assert_eq!(options.command, ["echo", "--interface", "eth2", "--", "x"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (args, says) in [
            ("", "`--` and a command"),
            ("--interface eth1 echo", "echo is not known"),
            ("--interface eth1 --", "command is missing"),
            ("-- echo", "--interface is missing"),
            ("--interface", "takes a value"),
            ("--interface a --interface b -- echo", "one interface"),
            (
                "--interface eth1 --user no:such:user -- echo",
                "no user 'no:such:user'",
            ),
            ("--interface eth1 --bind 0 -- echo", "--bind 0: not a port"),
            ("--interface eth1 --bind http -- echo", "not a port"),
            ("--loud -- echo", "--loud is not known"),
        ] {
            let message = parsed(args).err().expect(args);
            assert!(message.contains(says), "{args}: {message}");
        }
    }

    #[test]
    fn help_is_no_error() {
        assert!(parsed("--help").unwrap().is_none());
        // The command's own.
        assert!(parsed("--interface eth1 -- echo --help").unwrap().is_some());
    }

    #[test]
    fn the_status_is_the_commands() {
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
    }
}

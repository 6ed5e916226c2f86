//! The load of the comparisons: the same program for all servers. It prints one line of JSON.
//!
//!     load udp      --to ADDRESS:PORT --bytes N --window N [--rate N]
//!     load one      --to ADDRESS:PORT --bytes N
//!     load tcp      --to ADDRESS:PORT --bytes N --connections N [--outstanding N] [--rate N]
//!     load requests --to ADDRESS:PORT --bytes N --concurrent N --from ADDRESS[,ADDRESS...]
//!     load bulk     --to ADDRESS:PORT --bytes N --connections N
//!     load sink     --port N
//!
//! and for how long: --ms N [--warm-ms N] [--watch PID]. `sink` takes connections and drops what comes, until it is ended.
//!
//! Without a rate the load never sleeps: what is measured is not its own wake-ups. With one it sleeps between ticks of
//! 100 µs, so that the processors' time is what the requests took.

use std::process::ExitCode;

use ringwire_bench::args::Args;
use ringwire_bench::measure::{Load, Pace, Span};

mod bulk;
mod requests;
mod sink;
mod tcp;
mod udp;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let kind = words.next().unwrap_or_default();
    match Args::read(words).and_then(|args| run(&kind, args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("load: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(kind: &str, mut args: Args) -> Result<(), String> {
    if kind == "sink" {
        let port = args.required("port")?;
        args.end()?;
        return sink::run(port).map_err(|error| error.to_string());
    }
    let (to, bytes) = (args.required("to")?, args.required("bytes")?);
    let span = Span::read(&mut args)?;
    let pace = args.optional("rate")?.map(Pace::new);
    let mut load: Box<dyn Load> = match kind {
        "udp" => Box::new(udp::Window::new(to, bytes, args.required("window")?, pace)),
        "one" => Box::new(udp::One::new(to, bytes)),
        "tcp" => {
            let connections = args.required("connections")?;
            let outstanding = args.optional("outstanding")?.unwrap_or(connections);
            Box::new(tcp::PingPong::new(
                to,
                bytes,
                connections,
                outstanding,
                pace,
            ))
        }
        "requests" => {
            let (concurrent, from) = (
                args.required("concurrent")?,
                args.required::<String>("from")?,
            );
            let from: Result<Vec<_>, _> = from.split(',').map(str::parse).collect();
            let from = from.map_err(|error| format!("--from: {error}"))?;
            Box::new(requests::Requests::new(to, bytes, concurrent, from))
        }
        "bulk" => Box::new(bulk::Bulk::new(to, bytes, args.required("connections")?)),
        _ => return Err(format!("{kind:?} is no kind of load")),
    };
    args.end()?;
    span.measure(&mut *load);
    Ok(())
}

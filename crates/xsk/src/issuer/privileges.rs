//! Whose privileges a ring is built with: the process's own, or those of the parent that issues.

use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::message::{ANSWER_BYTES, Answer, Numbered, Request};
use crate::bind::xdp_socket;
use crate::error::Error;
use crate::icmp::IcmpErrors;
use crate::interface::{Interface, MulticastMembership};
use crate::maps::{MAPS, Maps};
use crate::program::{AttachMode, Loaded, Program};
use crate::reservation::{Reservation, ReserveConfig};
use crate::seqpacket::{duplicate, receive, send, set_patience};

/// Names the descriptor at which a program finds its issuer.
pub(crate) const VARIABLE: &str = "RINGWIRE_ISSUER";

/// How long an answer may take. Attaching a program resets some NICs, which takes seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whose privileges the steps of a ring's set-up take: by default the process's own. Cheap to clone; the clones of one
/// take turns.
#[derive(Clone, Debug, Default)]
pub struct Privileges {
    issued: Option<Arc<Issued>>,
}

#[derive(Debug)]
struct Issued {
    socket: OwnedFd,
    /// The number of the last request. Locked until the answer is there.
    number: Mutex<u32>,
}

impl Privileges {
    /// Those of the parent at the other end of a socket ([`Issuer::new`](crate::Issuer::new)).
    ///
    /// # Errors
    /// [`Error::NotIssued`] if it is no such socket.
    pub fn from_socket(socket: OwnedFd) -> Result<Privileges, Error> {
        set_patience(&socket, PATIENCE).map_err(|error| Error::NotIssued {
            reason: format!("the descriptor is not an issuer's socket ({error})"),
        })?;
        let number = Mutex::new(0);
        Ok(Privileges {
            issued: Some(Arc::new(Issued { socket, number })),
        })
    }

    /// Those of the parent that `ringwire run` is, which names its socket in the environment variable
    /// `RINGWIRE_ISSUER`; the process's own where that is not set. Each call gives the same ones. What the process
    /// executes does not inherit the socket from then on.
    ///
    /// A program with capabilities of its own (by its file, or set-user-ID) ignores the variable, as it is the word of
    /// whoever started it.
    ///
    /// # Errors
    /// [`Error::NotIssued`] if the variable names no such socket.
    pub fn from_env() -> Result<Privileges, Error> {
        static PROCESS: OnceLock<Privileges> = OnceLock::new();
        let Some(named) = env::var_os(VARIABLE).filter(|_| !is_secure()) else {
            return Ok(Privileges::default());
        };
        static OPENING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(privileges) = PROCESS.get() {
            return Ok(privileges.clone());
        }
        let number = named.to_str().and_then(|number| number.parse().ok());
        let socket = number.and_then(|number| duplicate(number).ok());
        let socket = socket.ok_or_else(|| Error::NotIssued {
            reason: format!(
                "{VARIABLE} names no socket of this process: it is for the command of `ringwire run` itself, not for \
                 what that starts"
            ),
        })?;
        let privileges = Privileges::from_socket(socket)?;
        Ok(PROCESS.get_or_init(|| privileges).clone())
    }

    /// Loads the steering program and attaches it, as [`Program::attach`] does.
    ///
    /// # Errors
    /// As there, or [`Error::NotIssued`].
    pub fn attach(&self, interface: &Interface, mode: AttachMode) -> Result<Program, Error> {
        let Some(issued) = &self.issued else {
            return Program::attach(interface, mode);
        };
        let name = interface.name.clone();
        let request = Request::Program {
            interface: name,
            mode,
        };
        let (answer, fds) = issued.ask(request)?;
        let Answer::Program {
            attached,
            native_refused,
        } = answer
        else {
            return Err(unfit().into());
        };
        let [program, link, maps @ ..]: [OwnedFd; 2 + MAPS] = exactly(fds)?;
        Ok(Program::of(Loaded {
            link,
            program,
            maps: Maps::of_fds(maps)?,
            attached,
            native_refused: (native_refused != 0)
                .then(|| io::Error::from_raw_os_error(native_refused)),
        }))
    }

    /// Joins a multicast group, as [`Interface::join_multicast`] does.
    ///
    /// # Errors
    /// As there, or [`Error::NotIssued`].
    pub fn join_multicast(
        &self,
        interface: &Interface,
        mac: [u8; 6],
    ) -> Result<MulticastMembership, Error> {
        let Some(issued) = &self.issued else {
            return interface.join_multicast(mac);
        };
        let interface = interface.name.clone();
        let request = Request::Membership { interface, mac };
        let socket = issued.ask_for_one(request)?;
        Ok(MulticastMembership::of_socket(socket))
    }

    /// Opens the sockets that get ICMP errors, as [`IcmpErrors::open`] does.
    ///
    /// # Errors
    /// [`Error::MissingCapability`], [`Error::NotIssued`], or what the kernel says.
    pub fn icmp_errors(&self, interface: &str) -> Result<IcmpErrors, Error> {
        let Some(issued) = &self.issued else {
            let doing = "opening raw sockets for ICMP errors";
            return IcmpErrors::open(interface)
                .map_err(|source| Error::of(doing, "CAP_NET_RAW", source));
        };
        let interface = interface.to_owned();
        let (_, fds) = issued.ask(Request::IcmpErrors { interface })?;
        IcmpErrors::of_sockets(fds).ok_or_else(|| unfit().into())
    }

    /// Reserves a port, as [`Reservation::new`] does. The issuer is asked only for a port that takes
    /// CAP_NET_BIND_SERVICE.
    ///
    /// # Errors
    /// As there: `EACCES` for a port that the issuer was not told of.
    pub fn reserve(&self, config: &ReserveConfig<'_>) -> io::Result<Reservation> {
        let refused = match Reservation::new(config) {
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => error,
            reserved => return reserved,
        };
        let Some(issued) = &self.issued else {
            return Err(refused);
        };
        let asked = issued.ask_for_one(Request::Reserve {
            interface: config.interface.to_owned(),
            protocol: config.protocol,
            local: config.local,
            v6_only: config.v6_only,
            reuse_address: config.reuse_address,
            reuse_port: config.reuse_port,
        });
        match asked {
            Ok(socket) => Reservation::of_socket(socket),
            Err(Refused { errno: 0, .. }) => Err(refused),
            Err(Refused { errno, .. }) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// An AF_XDP socket that is not bound.
    pub(crate) fn xdp_socket(&self) -> Result<OwnedFd, Error> {
        match &self.issued {
            None => xdp_socket(),
            Some(issued) => Ok(issued.ask_for_one(Request::XdpSocket)?),
        }
    }
}

impl Issued {
    fn ask_for_one(&self, request: Request) -> Result<OwnedFd, Refused> {
        let (answer, fds) = self.ask(request)?;
        match answer {
            Answer::Issued => exactly(fds).map(|[fd]: [OwnedFd; 1]| fd),
            _ => Err(unfit()),
        }
    }

    /// Asks, and waits for the answer.
    fn ask(&self, request: Request) -> Result<(Answer, Vec<OwnedFd>), Refused> {
        let mut last = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        let number = last.wrapping_add(1);
        *last = number;
        let asked = Numbered { number, request }.encode();
        send(self.socket.as_fd(), &asked, &[], libc::MSG_DONTWAIT).map_err(silent)?;
        let mut buffer = [0; ANSWER_BYTES];
        loop {
            let received = match receive(self.socket.as_fd(), &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received.map_err(silent)?,
            };
            if received.len == 0 {
                return Err(silent(io::ErrorKind::BrokenPipe.into()));
            }
            let answered = Answer::decode(&buffer[..received.len]).filter(|_| received.whole);
            match answered.ok_or_else(unfit)? {
                // Of a request that was given up.
                (late, _) if late != number => {}
                (_, Answer::Refused { errno, reason }) => return Err(Refused { errno, reason }),
                (_, answer) => return Ok((answer, received.fds)),
            }
        }
    }
}

fn exactly<const N: usize>(fds: Vec<OwnedFd>) -> Result<[OwnedFd; N], Refused> {
    fds.try_into().map_err(|_| unfit())
}

/// Why the issuer did not: what the kernel told it, or 0, and in words.
struct Refused {
    errno: i32,
    reason: String,
}

impl From<Refused> for Error {
    fn from(Refused { reason, .. }: Refused) -> Error {
        Error::NotIssued { reason }
    }
}

fn unfit() -> Refused {
    let reason =
        "its answer does not fit the request: the two are of different versions".to_owned();
    Refused { errno: 0, reason }
}

fn silent(error: io::Error) -> Refused {
    let reason = match error.kind() {
        io::ErrorKind::WouldBlock => format!("it has not answered for {} s", PATIENCE.as_secs()),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            "it has gone, or serves no more: start this program again by it".to_owned()
        }
        _ => error.to_string(),
    };
    Refused { errno: 0, reason }
}

/// Whether the kernel gave this process privileges that whoever started it lacks (getauxval(3)).
fn is_secure() -> bool {
    // SAFETY: the call reads a number that the kernel gave at exec.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

//! What takes privileges, issued by a process that has them to one that has none, over a Unix socket.
//!
//! The process that serves strangers (the *child*) asks by [`Privileges`](crate::Privileges); the one that started it
//! (the *parent*) has an [`Issuer`]. The child is not trusted: it gets what its parent was told to issue, on one
//! interface, as often as it asks, and cannot make the parent wait.

pub(crate) mod credentials;
pub(crate) mod launch;
pub(crate) mod message;
pub(crate) mod privileges;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::bind::xdp_socket;
use crate::error::Error;
use crate::interface::Interface;
use crate::program::Loaded;
use crate::reservation::{Reservation, ReserveConfig};
use crate::seqpacket::{pair, receive, send};
use message::{Answer, Numbered, REQUEST_BYTES, Request};
use privileges::Privileges;

/// Issues to one child what takes privileges.
#[derive(Debug)]
pub struct Issuer {
    socket: OwnedFd,
    interface: String,
    ports: Vec<u16>,
}

/// An answer, and what comes with it.
struct Issue {
    answer: Answer,
    fds: Vec<OwnedFd>,
}

impl Issuer {
    /// For an interface of the calling thread's network namespace, and the ports that the child may reserve though it
    /// takes CAP_NET_BIND_SERVICE: those below 1024. The second value is the child's end ([`Privileges::from_socket`](crate::Privileges::from_socket)).
    ///
    /// # Errors
    /// What socketpair(2) says.
    pub fn new(interface: &str, ports: &[u16]) -> io::Result<(Issuer, OwnedFd)> {
        let (socket, child) = pair()?;
        let issuer = Issuer {
            socket,
            interface: interface.to_owned(),
            ports: ports.to_vec(),
        };
        Ok((issuer, child))
    }

    /// Answers until the child has closed its end.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn serve(&self) -> io::Result<()> {
        while self.answer()? {}
        Ok(())
    }

    /// Waits for one request and answers it: an [`Issuer`] is readable ([`AsFd`]) when there is one. Returns false when
    /// the child has closed its end.
    ///
    /// # Errors
    /// For a child that breaks the protocol: what it says is no request, or it asks without reading the answers. It is
    /// not to be answered again.
    pub fn answer(&self) -> io::Result<bool> {
        // One byte more, so that what is too long is seen.
        let mut buffer = [0; REQUEST_BYTES + 1];
        let received = match receive(self.socket.as_fd(), &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            // It ended with answers unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            received => received?,
        };
        if received.len == 0 && received.fds.is_empty() {
            return Ok(false);
        }
        let asked = Numbered::decode(&buffer[..received.len]).filter(|_| received.whole);
        let no_request = || io::Error::other("the child's message is no request");
        let Numbered { number, request } = asked.ok_or_else(no_request)?;
        let issue = self.issue(request, received.fds);
        let issue = issue.unwrap_or_else(|error| Issue {
            answer: Answer::Refused {
                errno: errno_of(&error),
                reason: error.to_string(),
            },
            fds: Vec::new(),
        });
        let fds: Vec<BorrowedFd<'_>> = issue.fds.iter().map(AsFd::as_fd).collect();
        let answer = issue.answer.encode(number);
        match send(self.socket.as_fd(), &answer, &fds, libc::MSG_DONTWAIT) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            // ETOOMANYREFS: its descriptors wait, more than it may have open.
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("the child does not read its answers ({error})"),
            )),
        }
    }

    fn issue(&self, request: Request, with: Vec<OwnedFd>) -> Result<Issue, Error> {
        if !with.is_empty() {
            return Err(refused("no descriptor belongs to that request"));
        }
        match request {
            Request::XdpSocket => Ok(Issue::of(vec![xdp_socket()?])),
            Request::Program { interface, mode } => {
                let loaded = Loaded::attach(&self.interface(&interface)?, mode)?;
                Issue::of_program(&loaded)
            }
            Request::Membership { interface, mac } => {
                let membership = self.interface(&interface)?.join_multicast(mac)?;
                Ok(Issue::of(vec![membership.into_socket()]))
            }
            Request::IcmpErrors { interface } => {
                let errors = Privileges::default().icmp_errors(self.allowed(&interface)?)?;
                Ok(Issue::of(errors.into_sockets()))
            }
            Request::Reserve {
                interface,
                protocol,
                local,
                v6_only,
                reuse_address,
                reuse_port,
            } => self.reserve(&ReserveConfig {
                interface: self.allowed(&interface)?,
                protocol,
                local,
                v6_only,
                reuse_address,
                reuse_port,
            }),
        }
    }

    fn reserve(&self, config: &ReserveConfig<'_>) -> Result<Issue, Error> {
        let port = config.local.port();
        if !self.ports.contains(&port) {
            let reason =
                format!("port {port} is not one of its ports: start it with `--bind {port}`");
            return Err(refused(reason));
        }
        let reserved = Reservation::new(config).map_err(|source| Error::Io {
            doing: "reserving a port",
            source,
        })?;
        Ok(Issue::of(vec![reserved.into_socket()]))
    }

    /// Looked up each time: an interface that went and came back has another index.
    fn interface(&self, name: &str) -> Result<Interface, Error> {
        Interface::by_name(self.allowed(name)?)
    }

    fn allowed(&self, name: &str) -> Result<&str, Error> {
        match name == self.interface {
            true => Ok(&self.interface),
            false => Err(refused(format!(
                "'{name}' is not its interface, which is '{}': start it with `--interface {name}`",
                self.interface
            ))),
        }
    }

    /// The capabilities that issuing takes.
    pub(crate) fn needs(&self) -> u64 {
        match self.ports.is_empty() {
            true => credentials::ISSUED,
            false => credentials::ISSUED | 1 << credentials::CAP_NET_BIND_SERVICE,
        }
    }
}

/// Readable when there is a request, or the child has closed.
impl AsFd for Issuer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Issue {
    fn of(fds: Vec<OwnedFd>) -> Issue {
        Issue {
            answer: Answer::Issued,
            fds,
        }
    }

    /// Copies: the program is detached when the child, which then has the only ones, has ended.
    fn of_program(loaded: &Loaded) -> Result<Issue, Error> {
        let native_refused = loaded.native_refused.as_ref();
        let own = [loaded.program.as_fd(), loaded.link.as_fd()];
        let copies = own.into_iter().chain(loaded.maps.fds());
        let copies: io::Result<Vec<OwnedFd>> = copies.map(|fd| fd.try_clone_to_owned()).collect();
        Ok(Issue {
            answer: Answer::Program {
                attached: loaded.attached,
                native_refused: native_refused
                    .and_then(io::Error::raw_os_error)
                    .unwrap_or(0),
            },
            fds: copies.map_err(|source| Error::Io {
                doing: "duplicating the program's descriptors",
                source,
            })?,
        })
    }
}

/// What the kernel said, if it was the kernel.
fn errno_of(error: &Error) -> i32 {
    match error {
        Error::Io { source, .. } => source.raw_os_error().unwrap_or(0),
        _ => 0,
    }
}

fn refused(reason: impl Into<String>) -> Error {
    Error::NotIssued {
        reason: reason.into(),
    }
}

#[cfg(test)]
#[path = "issuer_tests.rs"]
mod tests;

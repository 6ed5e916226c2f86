//! A parent and its child: starts a command without any privilege, and stays beside it as its issuer.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::ptr::null_mut;

use super::Issuer;
use super::credentials::{User, is_root, keep_only, raise_memlock_limit};
use super::privileges::VARIABLE;
use crate::error::Error;

/// What is passed on to the child.
const PASSED_ON: [i32; 6] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// Runs a command as a process without any capability, that finds its issuer by
/// [`Privileges::from_env`](crate::Privileges::from_env); returns how it ended.
///
/// The calling process becomes the user for good, if one is given, and keeps only the capabilities that issuing takes:
/// it is to have one thread, and no other task. Signals that end a process are passed on to the command. If this
/// process ends first, however it does, the kernel kills the command (`PR_SET_PDEATHSIG`, prctl(2)), but not what that
/// has started.
///
/// `tell` hears why the command is served no more, if it breaks the protocol.
///
/// # Errors
/// [`Error::NoUser`] for root without a user, or what the kernel says, as of a command that is not there.
pub fn run(
    issuer: (Issuer, OwnedFd),
    user: Option<User>,
    command: Command,
    tell: impl FnMut(io::Error),
) -> Result<ExitStatus, Error> {
    let (issuer, socket) = issuer;
    raise_memlock_limit();
    match user {
        None if is_root() => return Err(Error::NoUser),
        None => {}
        Some(user) => {
            let doing = "becoming the user, which takes root,";
            user.become_it()
                .map_err(|source| Error::Io { doing, source })?;
        }
    }
    let doing = "giving up capabilities";
    keep_only(issuer.needs()).map_err(|source| Error::Io { doing, source })?;
    let doing = "blocking signals";
    let signals = Signals::block().map_err(|source| Error::Io { doing, source })?;
    let doing = "starting the command";
    let started = start(command, socket, signals.before);
    let mut child = started.map_err(|source| Error::Io { doing, source })?;
    let ended = attend(issuer, &signals, &mut child, tell);
    if ended.is_err() {
        // It is not left without its issuer.
        let _ = child.kill();
        let _ = child.wait();
    }
    let doing = "waiting for the command";
    ended.map_err(|source| Error::Io { doing, source })
}

fn start(mut command: Command, socket: OwnedFd, mask: libc::sigset_t) -> io::Result<Child> {
    let number: RawFd = socket.as_raw_fd();
    // SAFETY: the call only tells.
    let parent = unsafe { libc::getpid() };
    let prepare = move || {
        keep_only(0)?;
        // SAFETY: system calls that take numbers, and a signal set; the socket is open in the child, too.
        let done = unsafe {
            libc::fcntl(number, libc::F_SETFD, 0) == 0
                && libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, null_mut()) == 0
                // After the capabilities: their change would take it back (`commit_creds`).
                && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) == 0
        };
        // SAFETY: the call only tells. A parent that ended before prctl(2) sends nothing.
        match done && unsafe { libc::getppid() } == parent {
            true => Ok(()),
            false => Err(io::Error::last_os_error()),
        }
    };
    command.env(VARIABLE, number.to_string());
    // SAFETY: the closure makes system calls and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    // The socket is closed here afterwards: the child has the only copy.
    command.spawn()
}

/// Serves until the child has ended.
fn attend(
    issuer: Issuer,
    signals: &Signals,
    child: &mut Child,
    mut tell: impl FnMut(io::Error),
) -> io::Result<ExitStatus> {
    let mut issuer = Some(issuer);
    loop {
        let asked = wait(&signals.fd, issuer.as_ref())?;
        if let Some(signal) = signals.next()? {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            // What the terminal sent, the child has got from there, too.
            let from_terminal = signal.ssi_code == libc::SI_KERNEL;
            if signal.ssi_signo as i32 != libc::SIGCHLD && !from_terminal {
                // SAFETY: a signal to a child that has not been waited for.
                unsafe { libc::kill(child.id() as libc::pid_t, signal.ssi_signo as i32) };
            }
        }
        if let (true, Some(serving)) = (asked, &issuer) {
            match serving.answer() {
                Ok(true) => {}
                Ok(false) => issuer = None,
                Err(error) => {
                    issuer = None;
                    tell(error);
                }
            }
        }
    }
}

/// Sleeps until there is a signal or a request; says whether there is a request.
fn wait(signals: &OwnedFd, issuer: Option<&Issuer>) -> io::Result<bool> {
    let of = |fd: RawFd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // A negative one is passed over.
    let asked = issuer.map_or(-1, |issuer| issuer.as_fd().as_raw_fd());
    let mut fds = [of(signals.as_raw_fd()), of(asked)];
    // SAFETY: the array has two entries and lives across the call.
    match unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) } {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
        _ => Ok(fds[1].revents != 0),
    }
}

/// Signals that are read (signalfd(2)) instead of having their effect, while this lives.
struct Signals {
    fd: OwnedFd,
    before: libc::sigset_t,
}

impl Signals {
    fn block() -> io::Result<Signals> {
        // SAFETY: zeroes are a signal set, which sigemptyset(3) makes an empty one; all calls take sets and numbers,
        // and the new descriptor has no other owner. Where SIGCHLD was ignored, there would be none to wait for.
        unsafe {
            let (mut set, mut before): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
            libc::sigemptyset(&raw mut set);
            for signal in PASSED_ON.into_iter().chain([libc::SIGCHLD]) {
                libc::sigaddset(&raw mut set, signal);
            }
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, &raw mut before) != 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Signals {
                    fd: OwnedFd::from_raw_fd(fd),
                    before,
                }),
            }
        }
    }

    fn next(&self) -> io::Result<Option<libc::signalfd_siginfo>> {
        // SAFETY: zeroes are a signalfd_siginfo, which read(2) fills whole or not at all.
        let (read, signal) = unsafe {
            let mut signal: libc::signalfd_siginfo = zeroed();
            let len = size_of::<libc::signalfd_siginfo>();
            let read = libc::read(self.fd.as_raw_fd(), (&raw mut signal).cast(), len);
            (read, signal)
        };
        match read {
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                error => Err(error),
            },
            _ => Ok(Some(signal)),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // SAFETY: the set is the one that sigprocmask(2) gave.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.before, null_mut()) };
    }
}

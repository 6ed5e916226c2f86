//! Processes that are pinned to a core and end with this one.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The two cores, by number.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    pub load: usize,
    pub server: usize,
}

impl Cores {
    /// The first two that this process may run on.
    ///
    /// # Errors
    /// If there is one alone.
    pub fn choose() -> Result<Cores, String> {
        let mut allowed: libc::cpu_set_t = no_cores();
        let len = size_of_val(&allowed);
        // SAFETY: the set is written to for its length.
        unsafe { libc::sched_getaffinity(0, len, &raw mut allowed) };
        // SAFETY: the numbers are below the set's size.
        let has = |core: &usize| unsafe { libc::CPU_ISSET(*core, &allowed) };
        let mut cores = (0..libc::CPU_SETSIZE as usize).filter(has);
        match (cores.next(), cores.next()) {
            (Some(load), Some(server)) => Ok(Cores { load, server }),
            _ => Err("two cores are needed: one for each end".to_owned()),
        }
    }
}

fn no_cores() -> libc::cpu_set_t {
    // SAFETY: all zeroes is the empty set.
    unsafe { std::mem::zeroed() }
}

/// A program with its arguments.
#[derive(Clone, Debug)]
pub struct Line {
    pub program: String,
    pub words: Vec<String>,
}

impl Line {
    /// Splits words at spaces.
    pub fn new(program: &str, words: &str) -> Line {
        Line {
            program: program.to_owned(),
            words: words.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// As one types it.
    pub fn text(&self) -> String {
        let name = self.program.rsplit('/').next().unwrap_or_default();
        format!("{name} {}", self.words.join(" "))
    }

    /// Starts it on a core, in this thread's network namespace.
    fn spawn(&self, core: usize) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.words).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: system calls alone, which are safe between fork and exec.
        unsafe { command.pre_exec(move || prepare(core)) };
        command.spawn()
    }
}

/// What a new process is given: its core, all the files that it may have, and an end with this thread's.
fn prepare(core: usize) -> std::io::Result<()> {
    let mut set = no_cores();
    let mut files = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: set and limit live across the calls; the core is one that this process has.
    let done = unsafe {
        libc::CPU_SET(core, &mut set);
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut files);
        files.rlim_cur = files.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &files) == 0
            && libc::sched_setaffinity(0, size_of_val(&set), &set) == 0
            && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) == 0
    };
    match done {
        true => Ok(()),
        false => Err(std::io::Error::last_os_error()),
    }
}

/// A server.
pub struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it said before it was ready.
    pub said: Vec<String>,
}

impl Server {
    /// Starts it on a core, in this thread's namespace.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(line: &Line, core: usize) -> Result<Server, String> {
        let failed = |error| format!("{}: {error}", line.program);
        let mut child = line.spawn(core).map_err(failed)?;
        let output = child.stdout.take().expect("it is piped");
        Ok(Server {
            child,
            output: BufReader::new(output),
            said: Vec::new(),
        })
    }

    /// Waits until it says that it listens.
    ///
    /// # Errors
    /// What it said if it ended instead.
    pub fn ready(&mut self) -> Result<(), String> {
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line);
            if read.is_err() || line.is_empty() {
                let mut error = String::new();
                let pipe = self.child.stderr.as_mut();
                let _ = pipe.map(|pipe| pipe.read_to_string(&mut error));
                return Err(format!("it ended: {}", error.trim()));
            }
            if line.starts_with("listening") {
                return Ok(());
            }
            self.said.push(line.trim_end().to_owned());
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Stops it, so that it takes no time while another one is measured.
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        // SAFETY: no memory is concerned; the child was not waited for, so the number is its own.
        unsafe { libc::kill(self.pid(), signal) };
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.go_on();
        self.signal(libc::SIGINT);
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, in this thread's namespace; what it printed.
///
/// # Errors
/// What it said if it failed, or that it took too long.
pub fn run(line: &Line, core: usize, patience: Duration) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", line.program);
    let mut child = line.spawn(core).map_err(failed)?;
    let (mut output, mut errors) = (child.stdout.take(), child.stderr.take());
    // Both pipes are read while it runs: a full one would stop it.
    let reader = std::thread::spawn(move || text(output.as_mut()));
    let complaints = std::thread::spawn(move || text(errors.as_mut()));
    let until = Instant::now() + patience;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Instant::now() > until => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{}: not done after {patience:?}", line.text()));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let output = reader.join().unwrap_or_default();
    let complaint = complaints.join().unwrap_or_default();
    match status.success() {
        true => Ok(output),
        false => Err(format!("{}: {status}: {}", line.text(), complaint.trim())),
    }
}

fn text(pipe: Option<&mut impl Read>) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.map(|pipe| pipe.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

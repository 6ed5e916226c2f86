//! A copy of the echo example with file capabilities, and how an ordinary user starts it.

use std::ffi::{CStr, CString};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use std::{env, fs, process};

use ringwire_tests::example;
use ringwire_tests::net::{PATIENCE, RING_INTERFACE, RING_V4, RING_V6, Veth};

/// A capability's number (linux/capability.h) and its name.
pub type Capability = (u32, &'static str);

pub const NET_ADMIN: Capability = (12, "CAP_NET_ADMIN");
pub const NET_RAW: Capability = (13, "CAP_NET_RAW");
pub const IPC_LOCK: Capability = (14, "CAP_IPC_LOCK");
pub const BPF: Capability = (39, "CAP_BPF");

/// What building a ring takes.
pub const ALL: [Capability; 4] = [NET_RAW, NET_ADMIN, BPF, IPC_LOCK];

/// Who owns nothing, on every distribution (`DEFAULT_OVERFLOWUID`, linux/highuid.h).
pub const ORDINARY_USER: u32 = 65534;

/// Too little for any UMEM.
const MEMLOCK_BYTES: u64 = 64 << 10;

pub const PORT: u16 = 7000;

/// Where a program may have file capabilities, and an ordinary user can start it.
pub fn folder() -> Option<PathBuf> {
    let candidates = [env::temp_dir(), "/var/tmp".into(), "/dev/shm".into()];
    candidates.into_iter().find(|folder| {
        let Ok(path) = CString::new(folder.as_os_str().as_bytes()) else {
            return false;
        };
        // SAFETY: zeroes are a statvfs, which the call fills; the path ends with a zero.
        let (status, found) = unsafe {
            let mut found: libc::statvfs = std::mem::zeroed();
            (libc::statvfs(path.as_ptr(), &raw mut found), found)
        };
        status == 0 && found.f_flag & (libc::ST_NOSUID | libc::ST_NOEXEC) == 0
    })
}

/// A copy of the echo example, in a folder of its own that goes with this.
pub struct Program {
    folder: PathBuf,
    pub path: PathBuf,
}

impl Program {
    /// With these file capabilities.
    pub fn with(capabilities: &[Capability]) -> Program {
        let program = Program::plain();
        set_file_capabilities(&program.path, capabilities).expect("file capabilities");
        program
    }

    /// That everybody can start.
    pub fn plain() -> Program {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = folder().expect("a folder for it");
        let folder = folder.join(format!("ringwire-privileges-{}-{number}", process::id()));
        let path = folder.join("echo");
        fs::create_dir(&folder).expect("a folder of its own");
        let program = Program { folder, path };
        fs::copy(example("echo"), &program.path).expect("a copy of the echo example");
        for path in [&program.folder, &program.path] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("for everybody");
        }
        program
    }

    /// Started by an ordinary user at the ring's end, with a UMEM's limit that is too low.
    pub fn start(&self, veth: &Veth, options: &[&str]) -> Echo {
        let mut command = arguments(Command::new(&self.path));
        command.args(options);
        let become_ordinary = || {
            let limit = libc::rlimit {
                rlim_cur: MEMLOCK_BYTES,
                rlim_max: MEMLOCK_BYTES,
            };
            // SAFETY: plain system calls, allowed between fork and exec; the limit lives across its own.
            let done = unsafe {
                libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) == 0
                    && libc::setgroups(0, std::ptr::null()) == 0
                    && libc::setresgid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER) == 0
                    && libc::setresuid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER) == 0
            };
            match done {
                true => Ok(()),
                false => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: the closure makes system calls and allocates nothing.
        unsafe { command.pre_exec(become_ordinary) };
        Echo::spawn(veth, command)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A folder that stays is no failure of what was tested.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The echo example's command line behind `command`.
pub fn arguments(mut command: Command) -> Command {
    command
        .args(["--interface", RING_INTERFACE, "--no-dad"])
        .args(["--address", &format!("{RING_V4}/24")])
        .args(["--address", &format!("{RING_V6}/64")])
        .args(["--port", &PORT.to_string()]);
    command
}

/// `struct vfs_cap_data`, revision 2, with the effective bit: as `setcap ...+ep` writes it.
fn set_file_capabilities(path: &Path, capabilities: &[Capability]) -> io::Result<()> {
    const NAME: &CStr = c"security.capability";
    const REVISION_2_EFFECTIVE: u32 = 0x0200_0001;
    let set: u64 = capabilities.iter().map(|(bit, _)| 1u64 << bit).sum();
    // Permitted and inheritable, the lower word of each first.
    let words = [REVISION_2_EFFECTIVE, set as u32, 0, (set >> 32) as u32, 0];
    let value: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: both strings end with a zero, and the value is readable for its length.
    let status = unsafe {
        libc::setxattr(
            path.as_ptr(),
            NAME.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The echo example, started.
pub struct Echo {
    pub child: Child,
    output: BufReader<ChildStdout>,
}

impl Echo {
    pub fn spawn(veth: &Veth, mut command: Command) -> Echo {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A process that another test has just forked may still hold the descriptor that the copy was written by.
        let deadline = Instant::now() + PATIENCE;
        let mut child = loop {
            match veth.in_ring(|| command.spawn()) {
                Err(error)
                    if error.kind() == io::ErrorKind::ExecutableFileBusy
                        && Instant::now() < deadline =>
                {
                    std::thread::yield_now();
                }
                started => break started.expect("the echo example"),
            }
        };
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Echo { child, output }
    }

    /// What it says before it listens.
    pub fn listening(&mut self) -> String {
        let mut said = String::new();
        let mut last = String::new();
        while !last.starts_with("listening") {
            last.clear();
            let read = self.output.read_line(&mut last).expect("its output");
            assert!(read > 0, "it does not listen: {}", self.complaint());
            said += &last;
        }
        said
    }

    /// What it says when it fails.
    pub fn failure(mut self) -> String {
        let complaint = self.complaint();
        let status = self.child.wait().expect("its end");
        assert!(!status.success(), "it fails");
        complaint
    }

    fn complaint(&mut self) -> String {
        let mut text = String::new();
        let errors = self.child.stderr.as_mut().expect("its errors");
        errors.read_to_string(&mut text).expect("its errors");
        text
    }

    /// `/proc/PID/status` of each of its threads.
    pub fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("its threads");
        let status = |task: io::Result<fs::DirEntry>| {
            fs::read_to_string(task.expect("a thread").path().join("status"))
        };
        tasks
            .map(|task| status(task).expect("a thread's status"))
            .collect()
    }

    /// Stopped by a signal: how it ended, and what it said.
    pub fn stop(mut self, signal: i32) -> (ExitStatus, String) {
        let mut said = String::new();
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        self.output.read_to_string(&mut said).expect("its output");
        (self.child.wait().expect("its end"), said)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It has ended, unless a test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

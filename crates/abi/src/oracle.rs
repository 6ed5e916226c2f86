//! The running kernel's io_uring, asked about one entry at a time.

use crate::errno::Errno;
use crate::register::IORING_REGISTER_ZCRX_IFQ;
use crate::sqe::Sqe;
use crate::zcrx::{RegionDesc, ZcrxAreaReg, ZcrxReg};
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, squeue};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The kernel whose checks this crate copies. Older ones look at fewer fields.
const OLDEST: (u32, u32) = (6, 18);

/// An entry that takes longer does not complete by itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// Completes single entries on rings of the running kernel.
pub(crate) struct Kernel {
    opcodes: Probe,
}

impl Kernel {
    /// `None`, with the reason on standard output, where there is no io_uring to ask.
    pub(crate) fn new() -> Option<Self> {
        let reason = match Self::open() {
            Ok(kernel) => return Some(kernel),
            Err(reason) => reason,
        };
        println!("skipped the comparison with the kernel's io_uring: {reason}");
        None
    }

    fn open() -> Result<Self, String> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_err(|error| format!("no kernel release: {error}"))?;
        if version(&release) < Some(OLDEST) {
            let (major, minor) = OLDEST;
            return Err(format!(
                "Linux {} is older than {major}.{minor}",
                release.trim()
            ));
        }
        let ring = IoUring::new(1).map_err(|error| format!("io_uring_setup: {error}"))?;
        let mut opcodes = Probe::new();
        ring.submitter()
            .register_probe(&mut opcodes)
            .map_err(|error| format!("probe: {error}"))?;
        Ok(Self { opcodes })
    }

    /// Whether the kernel has this operation.
    pub(crate) fn knows(&self, opcode: u8) -> bool {
        self.opcodes.is_supported(opcode)
    }

    /// Sets a ring up, and returns the numbers of entries of its two queues, `(sq, cq)`, or the errno.
    pub(crate) fn ring_sizes(
        &self,
        entries: u32,
        cq_entries: u32,
        flags: u32,
    ) -> Result<(u32, u32), i32> {
        // `struct io_uring_params`: 120 bytes, of which the first three words are the two sizes and
        // the flags.
        let mut params = [0u32; 30];
        params[1] = cq_entries;
        params[2] = flags;
        // SAFETY: the kernel reads and writes the 120 bytes of `params` during the call.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, &raw mut params) };
        if fd < 0 {
            let error = std::io::Error::last_os_error();
            return Err(error.raw_os_error().expect("a system call's error"));
        }
        // SAFETY: the kernel has just made it, and nobody else has it.
        drop(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        Ok((params[0], params[1]))
    }

    /// Registers a zero-copy receive queue of no interface on a ring of its own, and returns the errno.
    pub(crate) fn register_zcrx(&self, reg: ZcrxReg, region: RegionDesc, clamp: bool) -> Errno {
        let mut builder = IoUring::<squeue::Entry, cqueue::Entry32>::builder();
        builder.setup_single_issuer().setup_defer_taskrun();
        if clamp {
            builder.setup_clamp();
        }
        let ring = builder.build(1).expect("a ring, as in Kernel::new");
        let mut region = region;
        // Its memory is no area's: the kernel looks at the interface before.
        let mut area = ZcrxAreaReg::default();
        let mut reg = ZcrxReg {
            region_ptr: &raw mut region as u64,
            area_ptr: &raw mut area as u64,
            ..reg
        };
        let (fd, opcode, arg) = (ring.as_raw_fd(), IORING_REGISTER_ZCRX_IFQ, &raw mut reg);
        // SAFETY: the kernel reads and writes the three structures during the call. It refuses the
        // interface before it keeps anything.
        let res = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, opcode, arg, 1) };
        assert_eq!(res, -1, "there is no such interface");
        let error = std::io::Error::last_os_error().raw_os_error();
        error.and_then(Errno::new).expect("a system call's error")
    }

    /// Submits `sqe` on a ring of its own and returns the `res` of its first completion.
    ///
    /// The entry must name no memory that its operation may write, and complete by itself.
    pub(crate) fn result(&self, sqe: &Sqe) -> i32 {
        let mut ring = IoUring::new(1).expect("a ring, as in Kernel::new");
        // SAFETY: `push` asks for parameters that stay valid until the completion. Per the contract of
        // this function the entry names no memory that could be written; bad addresses are EFAULT.
        unsafe { ring.submission().push(&sqe.to_entry()) }.expect("room for one entry");
        let patience = Timespec::from(PATIENCE);
        let args = SubmitArgs::new().timespec(&patience);
        let submitted = ring.submitter().submit_with_args(1, &args);
        submitted.expect("io_uring_enter");
        match ring.completion().next() {
            Some(completion) => completion.result(),
            None => panic!("it does not complete by itself: {sqe:x?}"),
        }
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

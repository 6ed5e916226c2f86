//! Whose rights a process has (credentials(7), capabilities(7)), and giving them up.

use std::ffi::CString;
use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::ptr::null_mut;

/// <linux/capability.h>.
pub(crate) const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_BPF: u32 = 39;

/// What an issuer needs in any case.
pub(crate) const ISSUED: u64 = 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW | 1 << CAP_BPF;

/// Bytes for the strings of an entry of the user database (`_SC_GETPW_R_SIZE_MAX` is a hint of 1024).
const ENTRY_BYTES: usize = 16 << 10;

/// A user, and its own group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    uid: libc::uid_t,
    gid: libc::gid_t,
}

impl User {
    /// By its name, or by its number: one that the user database does not know has the group of that number.
    pub fn named(user: &str) -> Option<User> {
        let name = CString::new(user).ok()?;
        // SAFETY: zeroes are a passwd; the buffer is as long as is said; the name ends with a zero. On success
        // `found` is null or the entry, of which only numbers are read.
        let entry = |by: &dyn Fn(*mut libc::passwd, *mut i8, *mut *mut libc::passwd)| unsafe {
            let mut entry: libc::passwd = zeroed();
            let mut strings = vec![0i8; ENTRY_BYTES];
            let mut found = null_mut();
            by(&raw mut entry, strings.as_mut_ptr(), &raw mut found);
            (!found.is_null()).then_some(User {
                uid: entry.pw_uid,
                gid: entry.pw_gid,
            })
        };
        // SAFETY: as above.
        let by_name = entry(&|to, strings, found| unsafe {
            libc::getpwnam_r(name.as_ptr(), to, strings.cast(), ENTRY_BYTES, found);
        });
        let number = || user.parse().ok();
        by_name.or_else(|| {
            let uid: libc::uid_t = number()?;
            // SAFETY: as above.
            let by_number = entry(&|to, strings, found| unsafe {
                libc::getpwuid_r(uid, to, strings.cast(), ENTRY_BYTES, found);
            });
            Some(by_number.unwrap_or(User { uid, gid: uid }))
        })
    }

    /// Becomes this user, of no other groups, and keeps the permitted capabilities. Of all threads.
    pub(crate) fn become_it(self) -> io::Result<()> {
        let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
        let (uid, gid) = (self.uid, self.gid);
        // SAFETY: numbers are passed, and an empty list.
        let done = unsafe {
            libc::prctl(libc::PR_SET_KEEPCAPS, on, unused, unused, unused) == 0
                && libc::setgroups(0, std::ptr::null()) == 0
                && libc::setresgid(gid, gid, gid) == 0
                && libc::setresuid(uid, uid, uid) == 0
        };
        checked(done)
    }
}

pub(crate) fn is_root() -> bool {
    // SAFETY: the call only tells.
    unsafe { libc::geteuid() == 0 }
}

/// `struct __user_cap_header_struct` and `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h).
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

const VERSION_3: u32 = 0x2008_0522;

/// `struct __user_cap_data_struct`: the lower 32 capabilities, and then the others.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up the calling thread's capabilities but these, of which it has no more than before, and whatever a program
/// that it executes would gain: for good. Only system calls, so that it may stand between fork and exec.
pub(crate) fn keep_only(capabilities: u64) -> io::Result<()> {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    let own = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut sets = MaybeUninit::<[Sets; 2]>::zeroed();
    // SAFETY: numbers are passed, and structs as capget(2) and capset(2) have them for version 3.
    unsafe {
        checked(
            libc::syscall(libc::SYS_capget, &raw const own, sets.as_mut_ptr()) == 0
                && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, unused, unused, unused) == 0,
        )?;
        let mut sets = sets.assume_init();
        for (sets, wanted) in sets.iter_mut().zip([capabilities, capabilities >> 32]) {
            sets.permitted &= wanted as u32;
            sets.effective = sets.permitted;
            sets.inheritable = 0;
        }
        checked(libc::syscall(libc::SYS_capset, &raw const own, sets.as_ptr()) == 0)
    }
}

/// Raises what the calling process and those that it starts may lock, if it may.
pub(crate) fn raise_memlock_limit() {
    let most = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the limit lives across the call. Without CAP_SYS_RESOURCE it stays what it is.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const most) };
}

fn checked(done: bool) -> io::Result<()> {
    match done {
        true => Ok(()),
        false => Err(io::Error::last_os_error()),
    }
}

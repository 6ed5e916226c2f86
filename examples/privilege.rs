//! Gives up what only building a ring takes: docs/PRIVILEGES.md.

use std::io;

/// `struct __user_cap_header_struct` and `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h).
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

const VERSION_3: u32 = 0x2008_0522;

/// Gives up every capability of the calling thread, and whatever a program that it executes would gain: for good.
///
/// Each thread has capabilities of its own, and one that it starts later inherits what is left: call this before
/// there are others. A ring with `setup_sqpoll` has started one.
pub fn drop_capabilities() -> io::Result<()> {
    let own = Header {
        version: VERSION_3,
        pid: 0,
    };
    // Effective, permitted and inheritable, in two words each; ambient ones go with them (capabilities(7)).
    let none = [[0u32; 3]; 2];
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: numbers are passed, and structs as capset(2) has them for version 3.
    let given_up = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, unused, unused, unused) == 0
            && libc::syscall(libc::SYS_capset, &raw const own, none.as_ptr()) == 0
    };
    if given_up {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

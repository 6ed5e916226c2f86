//! Which privileges the process has.

use std::process::Command;

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: u32 = 21;

/// Why privileged tests cannot run here; `None` if they can.
pub fn missing() -> Option<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap_or("0")
        .trim();
    let effective = u64::from_str_radix(line, 16).unwrap_or(0);
    let needed = [
        (CAP_NET_ADMIN, "CAP_NET_ADMIN"),
        (CAP_NET_RAW, "CAP_NET_RAW"),
        (CAP_SYS_ADMIN, "CAP_SYS_ADMIN"),
    ];
    for (bit, name) in needed {
        if effective >> bit & 1 == 0 {
            return Some(format!("needs {name}"));
        }
    }
    match Command::new("ip").arg("-V").output() {
        Ok(_) => None,
        Err(_) => Some("needs the ip command (iproute2)".to_owned()),
    }
}

/// Has this thread give up every capability.
pub fn drop_capabilities() {
    #[repr(C)]
    struct Header(u32, i32);
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header(VERSION_3, 0);
    let none = [[0u32; 3]; 2];
    // SAFETY: the structs are as capset(2) has them for version 3.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    assert_eq!(result, 0, "dropping capabilities");
}

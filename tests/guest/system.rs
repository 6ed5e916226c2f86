//! What the first process of a system has to do.

use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Mounts what the checks read, and takes the console for this process's output.
pub fn mount() {
    for (kind, at) in [
        (c"devtmpfs", c"/dev"),
        (c"proc", c"/proc"),
        (c"sysfs", c"/sys"),
        (c"tracefs", c"/sys/kernel/tracing"),
    ] {
        mount_one(kind, at);
    }
    let console = OpenOptions::new()
        .write(true)
        .open("/dev/console")
        .expect("the console");
    for output in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: a call without pointers; nobody owns the standard descriptors.
        unsafe { libc::dup2(console.as_raw_fd(), output) };
    }
}

fn mount_one(kind: &CStr, at: &CStr) {
    // SAFETY: the strings end with a NUL, and these file systems take no data.
    let result = unsafe {
        libc::mount(
            kind.as_ptr(),
            at.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    let error = std::io::Error::last_os_error();
    // The kernel may have mounted /dev by itself.
    assert!(
        result == 0 || error.raw_os_error() == Some(libc::EBUSY),
        "mounting {at:?}: {error}"
    );
}

/// The value of `name=VALUE` on the kernel's command line.
pub fn boot_parameter(name: &str) -> String {
    let line = std::fs::read_to_string("/proc/cmdline").expect("the command line");
    let value = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.expect("the parameter").to_owned()
}

/// Loads a driver and what it needs, and waits for its two NICs.
pub fn load_modules(driver: &str) {
    let modules: &[&str] = match driver {
        "virtio_net" => &["failover", "net_failover", "virtio_net"],
        "igb" => &["dca", "i2c-algo-bit", "igb"],
        _ => panic!("no module is known for {driver}"),
    };
    for module in modules {
        let file = File::open(format!("/lib/modules/{module}.ko")).expect("the module");
        let options = CString::default();
        // SAFETY: the descriptor is open and the options end with a NUL.
        let result = unsafe {
            libc::syscall(
                libc::SYS_finit_module,
                file.as_raw_fd(),
                options.as_ptr(),
                0,
            )
        };
        assert_eq!(
            result,
            0,
            "loading {module}: {}",
            std::io::Error::last_os_error()
        );
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !Path::new("/sys/class/net/eth1").exists() {
        assert!(Instant::now() < deadline, "{driver} finds no two NICs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As in `uname -r`.
pub fn kernel_release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    release.trim().to_owned()
}

/// Ends the guest.
pub fn power_off() -> ! {
    // SAFETY: calls without pointers.
    unsafe {
        // What was printed leaves by a serial port.
        libc::tcdrain(libc::STDOUT_FILENO);
        libc::reboot(libc::LINUX_REBOOT_CMD_POWER_OFF);
    }
    panic!("the guest does not go");
}

//! What has to be known of the machine and of this process: kernel, memory, privileges.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;

use crate::bind::memlock_limit;
use crate::interface::new_socket;

/// The first version with XDP programs that take packets of several buffers, as the steering program does.
pub(crate) const FRAGS_SINCE: (u32, u32) = (5, 18);

/// `SO_NETNS_COOKIE` (asm-generic/socket.h).
const SO_NETNS_COOKIE: i32 = 71;

/// What tells the calling thread's network namespace from all others since the machine was started; `None` before Linux
/// 5.14.
pub fn network_namespace() -> Option<u64> {
    let socket = new_socket(libc::AF_INET, libc::SOCK_DGRAM).ok()?;
    let mut cookie = 0u64;
    let mut len = size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: the kernel writes at most so many bytes into the number.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    (status == 0).then_some(cookie)
}

/// Huge pages of 2 MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HugePages {
    /// Reserved for use as huge pages.
    pub total: u64,
    /// Of those, neither in use nor promised to anybody.
    pub free: u64,
}

/// The machine and this process. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Host {
    /// The kernel's release, as `uname -r` says it.
    pub release: String,
    /// Its version, if that can be read from the release.
    pub version: Option<(u32, u32)>,
    /// Whether the kernel has AF_XDP sockets.
    pub af_xdp: bool,
    /// Huge pages.
    pub huge_pages: Option<HugePages>,
    /// `RLIMIT_MEMLOCK` in bytes (`ulimit -l`): `u64::MAX` where there is none.
    pub memlock_limit: u64,
    /// The effective capabilities, a bit for each (capabilities(7)).
    pub capabilities: u64,
    /// Whether they count outside the process's user namespace too: to load a program or to pin memory takes that.
    pub initial_user_namespace: bool,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<u32>,
}

impl Host {
    /// Looks around. No privilege is needed.
    pub fn look() -> Host {
        let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
        Host {
            version: parse_release(&release),
            release,
            af_xdp: has_af_xdp(),
            huge_pages: huge_pages(),
            memlock_limit: memlock_limit(),
            capabilities: capabilities(&read("/proc/self/status").unwrap_or_default()),
            initial_user_namespace: in_initial_user_namespace(),
            unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
        }
    }

    /// Whether the kernel is older than a version: false where its own is not known.
    pub fn before(&self, version: (u32, u32)) -> bool {
        self.version.is_some_and(|running| running < version)
    }

    /// The first Linux version that ringwire's XDP program runs on.
    pub const LEAST_VERSION: (u32, u32) = FRAGS_SINCE;
}

/// Whether the running kernel is older than a version.
pub(crate) fn kernel_before(version: (u32, u32)) -> bool {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    parse_release(&release).is_some_and(|running| running < version)
}

/// The first two numbers of a kernel release, as in `6.1.0-13-amd64`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Without CAP_NET_RAW a kernel that has the family answers EPERM (`xsk_create`), and one that has not EAFNOSUPPORT.
fn has_af_xdp() -> bool {
    match new_socket(libc::AF_XDP, libc::SOCK_RAW) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() != Some(libc::EAFNOSUPPORT),
    }
}

fn huge_pages() -> Option<HugePages> {
    let of = |name| number(&format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{name}"));
    let free: u64 = of("free_hugepages")?;
    Some(HugePages {
        total: of("nr_hugepages")?,
        free: free.saturating_sub(of("resv_hugepages")?),
    })
}

/// The calling thread's effective capabilities: each thread has its own (capabilities(7)).
pub(crate) fn effective_capabilities() -> u64 {
    capabilities(&read("/proc/thread-self/status").unwrap_or_default())
}

pub(crate) fn in_initial_user_namespace() -> bool {
    read("/proc/self/uid_map").is_none_or(|map| is_identity(&map))
}

/// The effective set, of what `/proc/PID/status` says.
fn capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0)
}

/// Whether a `uid_map` is that of the initial user namespace: all users, as themselves.
fn is_identity(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn read(path: &str) -> Option<String> {
    let text: io::Result<String> = fs::read_to_string(path);
    text.ok().map(|text| text.trim_end().to_owned())
}

fn number<T: std::str::FromStr>(path: &str) -> Option<T> {
    read(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_compared_by_its_numbers() {
        assert_eq!(parse_release("6.1.0-13-amd64\n"), Some((6, 1)));
        assert_eq!(parse_release("5.9-rc1"), Some((5, 9)));
        assert_eq!(parse_release("odd"), None);
        assert!(parse_release("5.9.1") < Some(FRAGS_SINCE));
        assert!(!kernel_before((2, 6)));
    }

    #[test]
    fn the_effective_capabilities_are_read() {
        let status = "Name:\tx\nCapPrm:\t0000000000003000\nCapEff:\t0000000000001000\n";
        assert_eq!(capabilities(status), 1 << 12);
        assert_eq!(capabilities("Name:\tx\n"), 0);
    }

    #[test]
    fn a_user_namespace_of_its_own_maps_fewer_users() {
        assert!(is_identity("         0          0 4294967295"));
        assert!(!is_identity("         0       1000          1"));
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let host = Host::look();
        assert!(host.version.is_some(), "{host:?}");
        assert!(!host.before((2, 6)) && host.before((u32::MAX, 0)));
    }
}

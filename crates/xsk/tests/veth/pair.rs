//! A veth pair between two network namespaces, with IPv6.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use ringwire_xsk::Change;

use crate::rtnetlink::{open, until};
use crate::support::run;

/// A veth pair: `local` in this thread's namespace, `peer` in another. Neither has addresses that the test did not add.
pub struct Pair {
    peer: File,
}

impl Pair {
    /// Both ends are up, and the kernel has done all that it does about that.
    pub fn new() -> Pair {
        let pair = Pair::without_carrier();
        let mut rtnetlink = open("local");
        pair.at_peer("ip link set peer up");
        until(&mut rtnetlink, "a carrier", |_, change| {
            matches!(change, Change::Link { carrier: true, .. })
        });
        pair
    }

    /// The peer's end is down.
    pub fn without_carrier() -> Pair {
        let here = namespace();
        // SAFETY: no memory is passed; only this thread changes its namespace.
        let status = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(status, 0, "unshare: {}", io::Error::last_os_error());
        let pair = Pair { peer: namespace() };
        enter(&here);
        let there = format!("/proc/{}/fd/{}", std::process::id(), pair.peer.as_raw_fd());
        run(&format!(
            "ip link add local type veth peer name peer address 02:00:00:00:00:02 netns {there}"
        ));
        pair.at_peer("ip link set peer addrgenmode none");
        // Duplicate address detection without a random delay, and all questions asked again at once.
        set("/proc/sys/net/ipv6/conf/local/router_solicitation_delay", 0);
        set("/proc/sys/net/ipv6/neigh/local/retrans_time_ms", 20);
        set("/proc/sys/net/ipv4/neigh/local/retrans_time_ms", 20);
        run("ip link set lo up");
        run("ip link set local addrgenmode none");
        run("ip link set local up");
        pair
    }

    /// Runs a command in the peer's namespace.
    pub fn at_peer(&self, command: &str) {
        self.in_peer(|| drop(run(command)));
    }

    /// Runs something with this thread in the peer's namespace.
    pub fn in_peer(&self, run: impl FnOnce()) {
        let here = namespace();
        enter(&self.peer);
        run();
        enter(&here);
    }
}

fn namespace() -> File {
    File::open("/proc/thread-self/ns/net").expect("this thread's network namespace")
}

fn enter(namespace: &File) {
    // SAFETY: no memory is passed; only this thread changes its namespace.
    let status = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(status, 0, "setns: {}", io::Error::last_os_error());
}

pub fn set(switch: &str, value: u32) {
    std::fs::write(switch, value.to_string()).unwrap_or_else(|error| panic!("{switch}: {error}"));
}

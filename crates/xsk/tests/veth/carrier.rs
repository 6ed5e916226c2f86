//! What an interface says about its link, on a tap whose carrier the test switches.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;

use libtest_mimic::Trial;
use ringwire_xsk::Interface;

use crate::support::{run, trial};

/// `TUNSETCARRIER` (linux/if_tun.h).
const TUNSETCARRIER: libc::c_ulong = 0x4004_54e2;

/// Ignored where there is no tap to be had.
pub fn case() -> Trial {
    let name = "the_carrier_is_the_links_own_and_not_what_was_last_made_known";
    let test = trial(name, the_carrier_is_the_links_own);
    match File::open("/dev/net/tun") {
        Ok(_) => test,
        Err(error) => test
            .with_ignored_flag(true)
            .with_kind(format!("needs /dev/net/tun: {error}")),
    }
}

/// `IFF_RUNNING` follows a second behind where the link changes twice within one (net/core/link_watch.c).
fn the_carrier_is_the_links_own() {
    let tap = tap("local");
    run("ip link set dev local up");
    for carrier in [0, 1, 0, 1, 0] {
        // SAFETY: the request reads an int.
        let status =
            unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETCARRIER as _, &raw const carrier) };
        assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
        let interface = Interface::by_name("local").unwrap();
        assert_eq!(interface.carrier, carrier == 1);
    }
}

/// A tap of this thread's namespace, for as long as the file is open.
fn tap(name: &str) -> File {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
    // SAFETY: the request reads and writes an ifreq.
    let status = unsafe {
        libc::ioctl(
            file.as_raw_fd(),
            libc::TUNSETIFF as libc::Ioctl,
            &raw mut request,
        )
    };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    file
}

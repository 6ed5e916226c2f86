//! A network interface, as the calling thread's network namespace has it.
//!
//! Everything is asked by ioctl or rtnetlink on sockets of that namespace; sysfs would show the namespace in
//! which it was mounted.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::error::Error;
use crate::features::Features;
use crate::netlink::string_of;
use crate::rtnetlink::Link;

/// `ETHTOOL_GDRVINFO` (linux/ethtool.h).
const ETHTOOL_GDRVINFO: u32 = 0x03;
/// `ETHTOOL_GCHANNELS` (linux/ethtool.h).
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// `ETHTOOL_GRXCLSRLCNT` (linux/ethtool.h).
const ETHTOOL_GRXCLSRLCNT: u32 = 0x2e;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    cmd: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware: [u8; 32],
    bus: [u8; 32],
    _reserved: [u8; 44],
    _counts: [u32; 5],
}

const _: () = assert!(size_of::<DriverInfo>() == 196);

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct Channels {
    cmd: u32,
    _max: [u32; 4],
    rx: u32,
    tx: u32,
    _other: u32,
    combined: u32,
}

/// `struct ethtool_rxnfc`, as far as the count of rules goes.
#[repr(C, align(8))]
struct FlowRules {
    cmd: u32,
    _flow: [u32; 45],
    count: u32,
    _end: u32,
}

const _: () = assert!(size_of::<FlowRules>() == 192);

/// What a driver says of itself (`ethtool -i`). What it does not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// Its name.
    pub name: String,
    /// Its version: the kernel's release, for most of those that are part of the kernel.
    pub version: String,
    /// The version of the device's firmware.
    pub firmware: String,
    /// Where the device is, as a PCI address for one.
    pub bus: String,
}

/// What has to be known of an interface before packets are taken from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interface {
    /// Its index in the network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether the link is there (`IFF_LOWER_UP`): attaching an XDP program resets it on some NICs.
    pub carrier: bool,
    /// RX queues in use (`ethtool -l`): 1 where the driver does not tell.
    pub rx_queues: u32,
    /// TX queues in use; those that it was made with where the driver does not tell.
    pub tx_queues: u32,
    /// The driver's name (`ethtool -i`): empty where it does not tell.
    pub driver: String,
}

impl Interface {
    /// Looks an interface up in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::NoInterface`] if there is none of that name.
    pub fn by_name(name: &str) -> Result<Interface, Error> {
        let no_interface = || Error::NoInterface {
            name: name.to_owned(),
        };
        // The kernel takes 15 bytes and a terminator.
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
            return Err(no_interface());
        }
        let control = Control::open(name)?;
        let index = control
            .request(libc::SIOCGIFINDEX)
            .map_err(|_| no_interface())?;
        let mac = control.request(libc::SIOCGIFHWADDR);
        let mac = mac.map_err(|source| Error::Io {
            doing: "reading the MAC address",
            source,
        })?;
        let mtu = control.request(libc::SIOCGIFMTU);
        let mtu = mtu.map_err(|source| Error::Io {
            doing: "reading the MTU",
            source,
        })?;
        // SAFETY: each request succeeded, so the kernel filled the member that it defines; all of them
        // are plain integers.
        let (index, mac, mtu) =
            unsafe { (index.ifru_ifindex, mac.ifru_hwaddr.sa_data, mtu.ifru_mtu) };
        let index = u32::try_from(index).map_err(|_| no_interface())?;
        let link = Link::by_index(index).map_err(|source| Error::Io {
            doing: "reading the interface's flags",
            source,
        })?;
        let channels = control.channels();
        Ok(Interface {
            index,
            name: name.to_owned(),
            mac: std::array::from_fn(|byte| mac[byte] as u8),
            mtu: u32::try_from(mtu).unwrap_or(0),
            up: link.up,
            carrier: link.carrier,
            rx_queues: channels.map_or(1, |(rx, _)| rx),
            tx_queues: channels.map_or(link.tx_queues.max(1), |(_, tx)| tx),
            driver: control.driver().unwrap_or_default().name,
        })
    }

    /// What the driver offers to XDP and AF_XDP.
    pub fn features(&self) -> Features {
        Features::of(self.index)
    }

    /// What the driver says of itself.
    pub fn driver_info(&self) -> Driver {
        let control = Control::open(&self.name).ok();
        let driver = control.and_then(|control| control.driver().ok());
        driver.unwrap_or_default()
    }

    /// How many rules put received flows on queues of their own (`ethtool -n`); `None` where the driver has no such
    /// rules.
    pub fn steering_rules(&self) -> Option<u32> {
        Control::open(&self.name).ok()?.steering_rules()
    }

    /// Has the NIC let the frames of a multicast group through, for as long as the guard lives. An owned
    /// IPv6 address needs it for its solicited-node group, of which the kernel knows nothing.
    ///
    /// # Errors
    /// [`Error::MissingCapability`] without CAP_NET_RAW.
    pub fn join_multicast(&self, mac: [u8; 6]) -> Result<MulticastMembership, Error> {
        let doing = "joining a multicast group";
        // Protocol 0: the socket holds the membership and receives nothing. Nor does it if another process gets it.
        let socket = new_socket(libc::AF_PACKET, libc::SOCK_RAW)
            .map_err(|source| Error::of(doing, "CAP_NET_RAW", source))?;
        deafen(&socket).map_err(|source| Error::Io { doing, source })?;
        let mut address = [0; 8];
        address[..6].copy_from_slice(&mac);
        let request = libc::packet_mreq {
            mr_ifindex: self.index as i32,
            mr_type: libc::PACKET_MR_MULTICAST as u16,
            mr_alen: 6,
            mr_address: address,
        };
        // SAFETY: the option takes a packet_mreq, and `request` is one for the whole call.
        let status = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const request).cast(),
                size_of::<libc::packet_mreq>() as u32,
            )
        };
        match status {
            0 => Ok(MulticastMembership { socket }),
            _ => Err(Error::io(doing)),
        }
    }
}

/// Keeps a multicast group's frames coming until it is dropped.
#[derive(Debug)]
pub struct MulticastMembership {
    socket: OwnedFd,
}

impl MulticastMembership {
    /// One that another process has made.
    pub(crate) fn of_socket(socket: OwnedFd) -> MulticastMembership {
        MulticastMembership { socket }
    }

    /// To give it to another process.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

/// Has a packet socket drop whatever arrives, for good: a filter that lets nothing through, and is locked
/// (`SO_LOCK_FILTER`, socket(7)).
fn deafen(socket: &OwnedFd) -> io::Result<()> {
    let mut nothing = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let filter = libc::sock_fprog {
        len: 1,
        filter: &raw mut nothing,
    };
    let on = 1i32;
    let (fd, level) = (socket.as_raw_fd(), libc::SOL_SOCKET);
    // SAFETY: SO_ATTACH_FILTER takes a sock_fprog, whose one instruction lives across the call, and SO_LOCK_FILTER an
    // int.
    let status = unsafe {
        let len = size_of::<libc::sock_fprog>() as u32;
        let attached = libc::setsockopt(
            fd,
            level,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            len,
        );
        match attached {
            0 => libc::setsockopt(fd, level, libc::SO_LOCK_FILTER, (&raw const on).cast(), 4),
            refused => refused,
        }
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A socket to ask about one interface.
pub(crate) struct Control {
    socket: OwnedFd,
    request: libc::ifreq,
}

impl Control {
    pub(crate) fn open(name: &str) -> Result<Control, Error> {
        let socket = new_socket(libc::AF_INET, libc::SOCK_DGRAM).map_err(|source| Error::Io {
            doing: "opening a control socket",
            source,
        })?;
        // SAFETY: an ifreq is integers and a pointer that no request reads before it is set.
        let mut request: libc::ifreq = unsafe { zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        Ok(Control { socket, request })
    }

    fn request(&self, code: libc::c_ulong) -> io::Result<libc::__c_anonymous_ifr_ifru> {
        let mut request = self.request;
        ioctl(self.socket.as_raw_fd(), code, &mut request)?;
        Ok(request.ifr_ifru)
    }

    /// `T` is the struct that its `cmd` asks for.
    pub(crate) fn ethtool<T>(&self, value: &mut T) -> io::Result<()> {
        let mut request = self.request;
        request.ifr_ifru.ifru_data = (&raw mut *value).cast();
        ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &mut request)
    }

    /// RX and TX queues in use, if the driver tells.
    fn channels(&self) -> Option<(u32, u32)> {
        let mut channels = Channels {
            cmd: ETHTOOL_GCHANNELS,
            ..Channels::default()
        };
        self.ethtool(&mut channels).ok()?;
        let with_combined = |alone: u32| alone.saturating_add(channels.combined).max(1);
        Some((with_combined(channels.rx), with_combined(channels.tx)))
    }

    fn driver(&self) -> io::Result<Driver> {
        let mut info = DriverInfo {
            cmd: ETHTOOL_GDRVINFO,
            driver: [0; 32],
            version: [0; 32],
            firmware: [0; 32],
            bus: [0; 32],
            _reserved: [0; 44],
            _counts: [0; 5],
        };
        self.ethtool(&mut info)?;
        Ok(Driver {
            name: string_of(&info.driver),
            version: string_of(&info.version),
            firmware: string_of(&info.firmware),
            bus: string_of(&info.bus),
        })
    }

    fn steering_rules(&self) -> Option<u32> {
        let mut rules = FlowRules {
            cmd: ETHTOOL_GRXCLSRLCNT,
            _flow: [0; 45],
            count: 0,
            _end: 0,
        };
        self.ethtool(&mut rules).ok()?;
        Some(rules.count)
    }
}

pub(crate) fn new_socket(family: i32, kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    match fd {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the descriptor is new and nobody else's.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

fn ioctl(fd: RawFd, code: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: every code used here takes an ifreq; where it holds a pointer, `Control::ethtool` has set
    // it to a live struct of the size that the struct's command implies.
    match unsafe { libc::ioctl(fd, code as libc::Ioctl, &raw mut *request) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

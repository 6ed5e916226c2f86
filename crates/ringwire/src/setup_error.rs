//! Why a ring could not be made.

use std::io;
use std::net::IpAddr;

use ringwire_abi::errno::Errno;
use ringwire_stack::MAX_ADDRESSES;
use ringwire_umem::UmemError;

/// Why a ring could not be made. Each message names the cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The queue sizes or flags are not ones that io_uring takes.
    #[error("io_uring takes no such queue sizes or flags ({0}): see io_uring_setup(2)")]
    Ring(Errno),
    /// No interface was named.
    #[error("no interface was named: call Builder::interface")]
    NoInterface,
    /// No address was given, and there is none to share.
    #[error(
        "{0} has no address to share with the kernel: `ip address add 10.0.0.2/24 dev {0}`, or call Builder::address \
         with one that no host on the link has"
    )]
    NoAddress(String),
    /// A gateway was given for addresses that are the kernel's.
    #[error(
        "Builder::gateway is for addresses of the ring's own: shared ones follow the kernel's routes (`ip route`)"
    )]
    GatewayOfTheKernel,
    /// Too many addresses.
    #[error("{0} addresses are too many: at most {MAX_ADDRESSES}")]
    TooManyAddresses(usize),
    /// Another host has the address.
    #[error("{address} is in use by the host with Ethernet address {}: choose another address", mac_text(.mac))]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        mac: [u8; 6],
    },
    /// The link is too small for the addresses' families (RFC 1122, section 3.3.3; RFC 8200, section 5).
    #[error(
        "{interface} has an MTU of {mtu}, and {least} are needed: `ip link set dev {interface} mtu {least}`"
    )]
    SmallMtu {
        /// The interface.
        interface: String,
        /// Its MTU, in bytes.
        mtu: u32,
        /// The least that works: 576 for IPv4, 1280 for IPv6.
        least: u32,
    },
    /// A ring, or one of several, was given no queues.
    #[error("a ring needs a queue: name at least one for each")]
    NoQueues,
    /// Two rings were given the same queue.
    #[error("queue {0} is in two groups: a queue is one ring's")]
    QueueInTwoGroups(u32),
    /// The memory could not be had.
    #[error(transparent)]
    Umem(#[from] UmemError),
    /// The interface, its queues, or a privilege.
    #[error(transparent)]
    Xsk(#[from] ringwire_xsk::Error),
    /// Something else.
    #[error("{doing} failed: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl From<SetupError> for io::Error {
    fn from(error: SetupError) -> io::Error {
        match error {
            SetupError::Ring(errno) => io::Error::from_raw_os_error(errno.raw()),
            error => io::Error::other(error),
        }
    }
}

fn mac_text(mac: &[u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

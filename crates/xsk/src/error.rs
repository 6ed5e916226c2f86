//! Why a set-up failed, and what cures it.

use std::io;

/// A set-up that failed. Each message names the cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such interface in this network namespace.
    #[error(
        "there is no interface '{name}' in this network namespace: `ip link` lists those that are there"
    )]
    NoInterface {
        /// The name asked for.
        name: String,
    },
    /// The interface is down.
    #[error("interface '{name}' is down: `ip link set dev {name} up`")]
    InterfaceDown {
        /// The interface.
        name: String,
    },
    /// The interface has no such queue.
    #[error("'{interface}' has no queue {queue}, only 0 to {}: ask for fewer queues, or `ethtool -L {interface} combined N`", .available - 1)]
    NoSuchQueue {
        /// The interface.
        interface: String,
        /// The queue asked for.
        queue: u32,
        /// How many there are.
        available: u32,
    },
    /// The queue receives and has no TX queue of its number: what is sent by it would go nowhere.
    #[error("queue {queue} of '{interface}' has no TX queue of its number, only 0 to {}: `ethtool -L {interface} combined N`, or as many of `rx` as of `tx`", .available - 1)]
    NoTxQueue {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// How many TX queues there are.
        available: u32,
    },
    /// Somebody else has the queue.
    #[error(
        "queue {queue} of '{interface}' is taken by another AF_XDP socket: `ss --xdp -ap` shows whose; stop that program, or ask for other queues"
    )]
    QueueTaken {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// A privilege is missing.
    #[error(
        "{doing} needs {capability}: run as root, or `setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep PROGRAM`"
    )]
    MissingCapability {
        /// What was refused.
        doing: &'static str,
        /// What it takes.
        capability: &'static str,
    },
    /// The process has its capabilities in a user namespace of its own, and they do not count outside it.
    #[error(
        "{doing} takes capabilities of the initial user namespace, and this process is in another one, as in a \
         rootless container: start it outside of that"
    )]
    UserNamespace {
        /// What was refused.
        doing: &'static str,
    },
    /// The kernel does not let us pin that much memory.
    #[error(
        "the kernel refuses to pin a UMEM of {bytes} bytes (`ulimit -l` allows {memlock_limit} without \
         CAP_IPC_LOCK): ask for a smaller one, raise `ulimit -l`, or \
         `setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep PROGRAM`"
    )]
    UmemTooLarge {
        /// Its size.
        bytes: usize,
        /// `RLIMIT_MEMLOCK` in bytes.
        memlock_limit: u64,
    },
    /// The kernel lacks something.
    #[error(
        "this kernel has no {feature}: it takes Linux {since} or later with CONFIG_XDP_SOCKETS and CONFIG_BPF_SYSCALL"
    )]
    KernelTooOld {
        /// What is missing.
        feature: &'static str,
        /// The first version that has it.
        since: &'static str,
    },
    /// The process that was to issue it did not.
    #[error("the issuer of this program's privileges says: {reason}")]
    NotIssued {
        /// What it said, with the cure.
        reason: String,
    },
    /// A command that is to have no privileges would be root.
    #[error(
        "the command would be root, who owns the system's files: name another user (`--user nobody`)"
    )]
    NoUser,
    /// Somebody else's XDP program is attached. It is never replaced.
    #[error(
        "another XDP program is attached to '{interface}': stop what attached it, or `ip link set dev {interface} xdp off`"
    )]
    ForeignProgram {
        /// The interface.
        interface: String,
    },
    /// A ring size that the kernel does not take.
    #[error("the {ring} ring cannot have {entries} entries: use a power of two")]
    RingSize {
        /// Which ring.
        ring: &'static str,
        /// The size asked for.
        entries: u32,
    },
    /// The addresses for the fill ring do not fit the ring or the UMEM.
    #[error("the fill ring cannot start with {reason}")]
    Fill {
        /// What is wrong with them.
        reason: String,
    },
    /// A socket was to serve a queue to which it is not bound, so the kernel would drop its packets.
    #[error(
        "a socket that is bound to queue {bound} cannot serve queue {queue}: open one for that queue"
    )]
    WrongQueue {
        /// The queue to serve.
        queue: u32,
        /// The socket's queue.
        bound: u32,
    },
    /// The kernel refuses the steering program.
    #[error("the kernel refuses the steering program: {log}")]
    Program {
        /// What libbpf said, the verifier's last words included.
        log: String,
    },
    /// A steering map has no room for another entry.
    #[error("no more than {entries} {what} can be steered: give some up first")]
    MapFull {
        /// What it holds.
        what: &'static str,
        /// Its size.
        entries: u32,
    },
    /// Something else.
    #[error("{doing} failed: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// Of an operation that takes a capability.
    pub(crate) fn of(doing: &'static str, capability: &'static str, source: io::Error) -> Error {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Error::MissingCapability { doing, capability },
            _ => Error::Io { doing, source },
        }
    }

    pub(crate) fn io(doing: &'static str) -> Error {
        Error::Io {
            doing,
            source: io::Error::last_os_error(),
        }
    }
}

//! The steering program (bpf/steer.bpf.c): loading it, attaching it, telling it what to redirect.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libbpf_rs::libbpf_sys;
use libbpf_rs::{ErrorKind, Object, ObjectBuilder, PrintLevel, set_print};

use crate::error::Error;
use crate::host::{FRAGS_SINCE, effective_capabilities, in_initial_user_namespace, kernel_before};
use crate::interface::Interface;
use crate::maps::{Local, MAX_QUEUES, Maps, Protocol, SteerCounters, solicited_node};
use crate::socket::Socket;

/// libelf reads the object where it lies, so it must lie where an ELF header may.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../bpf/steer.bpf.o"));

/// <linux/capability.h>.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

/// How much of the verifier's words an error repeats, in bytes: its verdict is at the end.
const LOG_TAIL: usize = 2000;

/// How the program may be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver if that is possible, else generically.
    #[default]
    Auto,
    /// In the driver or not at all.
    Native,
    /// Generically: after the kernel has made an skb of the packet.
    Generic,
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// In the driver.
    Native,
    /// Generically. A peer in the same kernel (veth) should have its segmentation off
    /// (`ethtool -K PEER tso off gso off tx-udp-segmentation off`): super-packets arrive unsegmented.
    Generic,
}

/// The steering program, attached to an interface for as long as this lives, or the process.
///
/// It passes every packet to the kernel but those that were claimed here, and those go to the socket
/// that was set for the queue on which they arrive. All of it can be told from any thread: several engines
/// share one program.
#[derive(Debug)]
pub struct Program {
    /// The attachment: the kernel detaches when the process has ended, however it did.
    link: Mutex<OwnedFd>,
    program: OwnedFd,
    maps: Maps,
    told: Mutex<Told>,
    attached: Attached,
    native_refused: Option<io::Error>,
}

/// What the maps were told. It is locked for as long as an entry is changed, so that the two agree.
#[derive(Debug, Default)]
struct Told {
    /// Several owned addresses can share a group.
    locals: HashMap<IpAddr, Local>,
    /// How often each port is claimed: several engines may have it.
    claims: HashMap<(Protocol, IpAddr, u16), usize>,
}

impl Told {
    /// Whether an owned address has this solicited-node group.
    fn has_group(&self, group: IpAddr) -> bool {
        let owned = |(address, local): (&IpAddr, &Local)| {
            *local == Local::Owned && solicited_node(*address) == Some(group)
        };
        self.locals.iter().any(owned)
    }
}

impl Program {
    /// Loads the program and attaches it by a `bpf_link`, in the calling thread's network namespace,
    /// which must be the one in which the interface was looked up.
    ///
    /// Several drivers reset the link on this: attach first, wait for the carrier, then open sockets.
    ///
    /// # Errors
    /// [`Error::ForeignProgram`] if the interface has an XDP program already (it is never replaced),
    /// [`Error::MissingCapability`], [`Error::UserNamespace`], [`Error::Program`] if the kernel refuses the program, or what
    /// else the kernel said.
    pub fn attach(interface: &Interface, mode: AttachMode) -> Result<Program, Error> {
        Loaded::attach(interface, mode).map(Program::of)
    }

    pub(crate) fn of(loaded: Loaded) -> Program {
        Program {
            link: Mutex::new(loaded.link),
            program: loaded.program,
            maps: loaded.maps,
            told: Mutex::default(),
            attached: loaded.attached,
            native_refused: loaded.native_refused,
        }
    }

    /// Attaches it again, as it was, to an interface that has come in the place of one that is gone: with all that it
    /// was told. Nothing if it is attached there. Needs no privilege from Linux 5.19 on.
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    pub fn attach_again(&self, interface: &Interface) -> Result<(), Error> {
        let mut attachment = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if attached_program(interface).is_some_and(|id| id == self.id()) {
            return Ok(());
        }
        let flags = match self.attached {
            Attached::Native => libbpf_sys::XDP_FLAGS_DRV_MODE,
            Attached::Generic => libbpf_sys::XDP_FLAGS_SKB_MODE,
        };
        let made = link(interface, &self.program, flags);
        *attachment = made.map_err(|error| attach_error(interface, error))?;
        Ok(())
    }

    /// The kernel's number for it; 0, which no program has, if the kernel does not say.
    fn id(&self) -> u32 {
        let mut info = libbpf_sys::bpf_prog_info::default();
        let mut len = size_of_val(&info) as u32;
        let program = self.program.as_raw_fd();
        // SAFETY: the struct is writable for the length that goes with it, and asks for nothing behind it.
        let status =
            unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program, &raw mut info, &raw mut len) };
        if status == 0 { info.id } else { 0 }
    }

    /// How it is attached.
    pub fn mode(&self) -> Attached {
        self.attached
    }

    /// Why the driver refused it, if it was asked and did.
    pub fn native_refused(&self) -> Option<&io::Error> {
        self.native_refused.as_ref()
    }

    /// Gives what is claimed and arrives on a queue to that queue's socket. The slot empties itself
    /// when the socket is closed.
    ///
    /// # Errors
    /// [`Error::WrongQueue`] for a socket of another queue: the kernel would drop what it is given.
    pub fn set_queue(&self, queue: u32, socket: &Socket) -> Result<(), Error> {
        if socket.queue() != queue {
            return Err(Error::WrongQueue {
                queue,
                bound: socket.queue(),
            });
        }
        if queue >= MAX_QUEUES {
            return Err(Error::MapFull {
                what: "queues",
                entries: MAX_QUEUES,
            });
        }
        self.maps.set_socket(queue, socket.as_fd())
    }

    /// Claims all traffic to an address that the kernel does not have, ARP and ND included, and for an IPv6 address
    /// queries for its solicited-node group; a NIC must be told to let the group through
    /// ([`Interface::join_multicast`]). What else comes to that group, as solicitations for an address of the kernel's with
    /// the same last three bytes, stays with the kernel. An address that was shared is so no more.
    ///
    /// # Errors
    /// [`Error::MapFull`].
    pub fn own_address(&self, address: IpAddr) -> Result<(), Error> {
        let address = address.to_canonical();
        let mut told = self.told();
        self.maps.set_local(address, Local::Owned)?;
        if let Some(group) = solicited_node(address) {
            self.maps.set_local(group, Local::Group)?;
        }
        told.locals.insert(address, Local::Owned);
        Ok(())
    }

    /// Gives an address up. No failure if it was not owned.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn disown_address(&self, address: IpAddr) -> Result<(), Error> {
        self.forget(&mut self.told(), address.to_canonical(), Local::Owned)
    }

    /// Has the claimed ports of an address of the kernel's steered. ARP, ND, ICMP, fragments and all other
    /// ports stay with the kernel. An address that was owned is so no more.
    ///
    /// # Errors
    /// [`Error::MapFull`].
    pub fn share_address(&self, address: IpAddr) -> Result<(), Error> {
        let address = address.to_canonical();
        let mut told = self.told();
        // An owned address has a group, which goes with it.
        self.forget(&mut told, address, Local::Owned)?;
        self.maps.set_local(address, Local::Shared)?;
        told.locals.insert(address, Local::Shared);
        Ok(())
    }

    /// Leaves an address to the kernel, claimed ports or not. No failure if it was not shared.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unshare_address(&self, address: IpAddr) -> Result<(), Error> {
        self.forget(&mut self.told(), address.to_canonical(), Local::Shared)
    }

    /// Takes an address out of the maps if it is in them as this.
    fn forget(&self, told: &mut Told, address: IpAddr, local: Local) -> Result<(), Error> {
        if told.locals.get(&address) != Some(&local) {
            return Ok(());
        }
        self.maps.remove_local(address)?;
        told.locals.remove(&address);
        match solicited_node(address) {
            Some(group) if local == Local::Owned && !told.has_group(group) => {
                self.maps.remove_local(group)
            }
            _ => Ok(()),
        }
    }

    /// Claims a port of a [shared](Self::share_address) address; fragments stay with the kernel. The
    /// unspecified address claims the port on every shared address of its family, those included that are
    /// shared later. Claims are counted: a port that was claimed twice is steered until it has been given up
    /// twice.
    ///
    /// # Errors
    /// [`Error::MapFull`].
    pub fn claim(&self, protocol: Protocol, address: IpAddr, port: u16) -> Result<(), Error> {
        let address = address.to_canonical();
        let key = (protocol, address, port);
        let mut told = self.told();
        if !told.claims.contains_key(&key) {
            self.maps.claim(protocol, address, port)?;
        }
        *told.claims.entry(key).or_default() += 1;
        Ok(())
    }

    /// Gives a claimed port up. No failure if it was not claimed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unclaim(&self, protocol: Protocol, address: IpAddr, port: u16) -> Result<(), Error> {
        let key = (protocol, address.to_canonical(), port);
        let mut told = self.told();
        match told.claims.get_mut(&key) {
            None => Ok(()),
            Some(claims) if *claims > 1 => {
                *claims -= 1;
                Ok(())
            }
            Some(_) => {
                self.maps.unclaim(key.0, key.1, key.2)?;
                told.claims.remove(&key);
                Ok(())
            }
        }
    }

    /// What became of the packets so far, summed over all CPUs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn counters(&self) -> Result<SteerCounters, Error> {
        self.maps.counters()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // A panic between two map updates leaves nothing that the next call does not set right.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program as it takes privileges to make one. Dropped as it is, it stays attached where another process has the
/// link too.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) link: OwnedFd,
    pub(crate) program: OwnedFd,
    pub(crate) maps: Maps,
    pub(crate) attached: Attached,
    pub(crate) native_refused: Option<io::Error>,
}

impl Loaded {
    pub(crate) fn attach(interface: &Interface, mode: AttachMode) -> Result<Loaded, Error> {
        let object = load()?;
        let program = program_fd(&object)?;
        let maps = Maps::of(&object)?;
        let mut native_refused = None;
        let mut native_link = None;
        if mode != AttachMode::Generic {
            match link(interface, &program, libbpf_sys::XDP_FLAGS_DRV_MODE) {
                Ok(link) => native_link = Some(link),
                Err(error) if mode == AttachMode::Native => {
                    return Err(attach_error(interface, error));
                }
                Err(error) if is_final(interface, &error) => {
                    return Err(attach_error(interface, error));
                }
                Err(error) => native_refused = Some(error),
            }
        }
        let (link, attached) = match native_link {
            Some(link) => (link, Attached::Native),
            None => {
                let link = link(interface, &program, libbpf_sys::XDP_FLAGS_SKB_MODE)
                    .map_err(|error| attach_error(interface, error))?;
                (link, Attached::Generic)
            }
        };
        Ok(Loaded {
            link,
            program,
            maps,
            attached,
            native_refused,
        })
    }
}

/// The loaded program, as bpf(2) takes it: to run it on packets of a test's own (`BPF_PROG_TEST_RUN`).
impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}

fn load() -> Result<Object, Error> {
    let (loaded, log) = with_log(|| {
        let mut builder = ObjectBuilder::default();
        builder.name("ringwire")?.open_memory(&OBJECT.0)?.load()
    });
    let refused = |error: &libbpf_rs::Error| match error.kind() {
        ErrorKind::PermissionDenied => unprivileged("loading the steering program"),
        _ => None,
    };
    loaded.map_err(|error| match refused(&error) {
        Some(unprivileged) => unprivileged,
        None if kernel_before(FRAGS_SINCE) => Error::KernelTooOld {
            feature: "XDP programs for packets in several pieces (xdp.frags)",
            since: "5.18",
        },
        None => Error::Program {
            log: format!("{error:#}; libbpf says: {}", log.trim()),
        },
    })
}

/// Which privilege to load a program this thread lacks, if one. With all of them it is the verifier that says
/// EACCES, or a security module.
fn unprivileged(doing: &'static str) -> Option<Error> {
    let missing = missing_to_load(effective_capabilities());
    let missing = missing.map(|capability| Error::MissingCapability { doing, capability });
    missing.or((!in_initial_user_namespace()).then_some(Error::UserNamespace { doing }))
}

/// `bpf_prog_load`, `map_create`: CAP_SYS_ADMIN stands for both (`bpf_token_capable`, kernel/bpf/token.c).
fn missing_to_load(effective: u64) -> Option<&'static str> {
    let has = |capability: u32| effective & (1 << capability | 1 << CAP_SYS_ADMIN) != 0;
    match (has(CAP_BPF), has(CAP_NET_ADMIN)) {
        (true, true) => None,
        (false, true) => Some("CAP_BPF"),
        (true, false) => Some("CAP_NET_ADMIN"),
        (false, false) => Some("CAP_BPF and CAP_NET_ADMIN"),
    }
}

impl Drop for Program {
    /// Closing the link would not do: a child of the process has a copy of it, between its fork and
    /// its exec.
    fn drop(&mut self) {
        let link = self.link.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: no pointers are passed. An interface that has gone has nothing to detach from.
        unsafe { libbpf_sys::bpf_link_detach(link.as_raw_fd()) };
    }
}

fn program_fd(object: &Object) -> Result<OwnedFd, Error> {
    let program = object.progs().find(|program| program.name() == "steer");
    let program = program.ok_or_else(|| Error::Program {
        log: "it is not in the object".to_owned(),
    })?;
    let fd = program.as_fd().try_clone_to_owned();
    fd.map_err(|source| Error::Io {
        doing: "duplicating the program's descriptor",
        source,
    })
}

/// libbpf-rs attaches without flags; the mode is one.
fn link(interface: &Interface, program: &OwnedFd, flags: u32) -> io::Result<OwnedFd> {
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        flags,
        ..Default::default()
    };
    let ifindex = interface.index as i32;
    // SAFETY: the options are a bpf_link_create_opts of the size that they state, for the whole call.
    let fd = unsafe {
        libbpf_sys::bpf_link_create(
            program.as_raw_fd(),
            ifindex,
            libbpf_sys::BPF_XDP,
            &raw const options,
        )
    };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the kernel has just made the descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the generic mode would be refused for the same reason, so that the first answer is the one
/// to give.
fn is_final(interface: &Interface, error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENODEV)) || is_foreign(interface, error)
}

/// Some drivers answer EBUSY for reasons of their own, so the interface is asked, too.
fn is_foreign(interface: &Interface, error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) && has_program(interface)
}

fn has_program(interface: &Interface) -> bool {
    attached_program(interface).is_some()
}

/// The number of the program on an interface; 0 of several.
fn attached_program(interface: &Interface) -> Option<u32> {
    let mut query = libbpf_sys::bpf_xdp_query_opts {
        sz: size_of::<libbpf_sys::bpf_xdp_query_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    // SAFETY: `query` is a bpf_xdp_query_opts of the size that it states, for the whole call.
    let status = unsafe { libbpf_sys::bpf_xdp_query(interface.index as i32, 0, &raw mut query) };
    let attached = status == 0 && u32::from(query.attach_mode) != libbpf_sys::XDP_ATTACHED_NONE;
    attached.then_some(query.prog_id)
}

fn attach_error(interface: &Interface, error: io::Error) -> Error {
    if is_foreign(interface, &error) {
        return Error::ForeignProgram {
            interface: interface.name.clone(),
        };
    }
    match error.raw_os_error() {
        Some(libc::ENODEV) => Error::NoInterface {
            name: interface.name.clone(),
        },
        // Whoever has the program's descriptor may attach it (`bpf_xdp_link_attach`).
        _ => Error::Io {
            doing: "attaching the steering program",
            source: error,
        },
    }
}

thread_local! {
    /// What libbpf printed on this thread, while [`with_log`] runs.
    static LOG: RefCell<String> = const { RefCell::new(String::new()) };
}

/// libbpf has one print function for the process: two threads must not take turns at replacing it.
static PRINTING: Mutex<()> = Mutex::new(());

/// Runs `work` with libbpf's messages kept from stderr; returns the end of them beside the result.
fn with_log<T>(work: impl FnOnce() -> T) -> (T, String) {
    let _one_at_a_time = PRINTING.lock().unwrap_or_else(PoisonError::into_inner);
    let keep = |_: PrintLevel, message: String| LOG.with_borrow_mut(|log| log.push_str(&message));
    let previous = set_print(Some((PrintLevel::Warn, keep)));
    let result = work();
    set_print(previous);
    let log = LOG.take();
    let mut cut = log.len().saturating_sub(LOG_TAIL);
    while !log.is_char_boundary(cut) {
        cut += 1;
    }
    (result, log[cut..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capability_that_is_missing_is_named() {
        let both = 1 << CAP_BPF | 1 << CAP_NET_ADMIN;
        assert_eq!(missing_to_load(both), None);
        assert_eq!(missing_to_load(1 << CAP_SYS_ADMIN), None);
        assert_eq!(missing_to_load(1 << CAP_NET_ADMIN), Some("CAP_BPF"));
        assert_eq!(missing_to_load(1 << CAP_BPF), Some("CAP_NET_ADMIN"));
        assert_eq!(missing_to_load(0), Some("CAP_BPF and CAP_NET_ADMIN"));
    }
}

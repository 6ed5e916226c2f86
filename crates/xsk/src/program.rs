//! The steering program: loading, attaching, and its maps (`bpf/steer.h` is the other side).
//!
//! It is attached by a `bpf_link`: when the process dies, however it dies, the kernel detaches it.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys;
use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle, ObjectBuilder};

use crate::error::Error;
use crate::interface::Interface;
use crate::socket::Socket;

/// The compiled program. `make bpf` regenerates it; linking this crate takes no clang.
static OBJECT: &[u8] = include_bytes!("../../../bpf/steer.bpf.o");

const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Where in the kernel the program is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver if it can, else behind it.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// Behind the driver, on socket buffers: works everywhere.
    Generic,
}

/// Where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// In the driver.
    Native,
    /// Behind the driver, on socket buffers.
    Generic,
}

/// A transport protocol whose ports can be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// What became of the packets that the program saw (`enum steer_reason`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SteerCounters {
    /// Passed: neither ARP nor IP.
    pub pass_not_ip: u64,
    /// Passed: VLAN-tagged.
    pub pass_vlan: u64,
    /// Passed: ends inside a header.
    pub pass_truncated: u64,
    /// Passed: headers that make no sense.
    pub pass_malformed: u64,
    /// Passed: a fragment to an address that is not owned.
    pub pass_fragment: u64,
    /// Passed: nobody here claims it.
    pub pass_foreign: u64,
    /// Passed: claimed, but no socket is bound to its queue.
    pub pass_no_socket: u64,
    /// Redirected: to an owned address.
    pub redirect_owned: u64,
    /// Redirected: to a claimed port.
    pub redirect_claim: u64,
    /// Redirected: ARP about an owned address.
    pub redirect_arp: u64,
    /// Redirected: neighbour discovery about an owned address.
    pub redirect_neighbor: u64,
}

/// The loaded and attached program. Dropping it detaches it.
#[derive(Debug)]
pub struct Program {
    _link: OwnedFd,
    attached: Attached,
    native_refused: Option<io::Error>,
    xsks: MapHandle,
    owned: MapHandle,
    claims: MapHandle,
    counters: MapHandle,
}

impl Program {
    /// Loads the program and attaches it to an interface.
    ///
    /// # Errors
    /// [`Error::ForeignProgram`] if another one is there, which is never replaced;
    /// [`Error::MissingCapability`]; or what the kernel said.
    pub fn attach(interface: &Interface, mode: AttachMode) -> Result<Program, Error> {
        // libbpf would write to stderr; what matters is in the error.
        libbpf_rs::set_print(None);
        let opened = ObjectBuilder::default()
            .open_memory(OBJECT)
            .map_err(load_error)?;
        let object = opened.load().map_err(load_error)?;
        let program = object.progs().next().ok_or_else(|| damaged("program"))?;
        let (link, attached, native_refused) =
            attach(program.as_fd().as_raw_fd(), interface, mode)?;
        let map = |name: &str| {
            let map = object
                .maps()
                .find(|map| map.name() == name)
                .ok_or_else(|| damaged("map"))?;
            MapHandle::try_from(&map).map_err(load_error)
        };
        Ok(Program {
            _link: link,
            attached,
            native_refused,
            xsks: map("xsks")?,
            owned: map("owned")?,
            claims: map("claims")?,
            counters: map("counters")?,
        })
    }

    /// Where it runs.
    pub fn mode(&self) -> Attached {
        self.attached
    }

    /// Why the driver refused it, if it was asked.
    pub fn native_refused(&self) -> Option<&io::Error> {
        self.native_refused.as_ref()
    }

    /// Has a queue's packets go to a socket.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn set_queue(&self, queue: u32, socket: &Socket) -> Result<(), Error> {
        let fd = socket.as_raw_fd() as u32;
        update(
            &self.xsks,
            &queue.to_ne_bytes(),
            &fd.to_ne_bytes(),
            "putting a socket into the XSKMAP",
        )
    }

    /// Takes all traffic to an address, and for IPv6 the solicitations to its group.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn own_address(&self, address: IpAddr) -> Result<(), Error> {
        for key in owned_keys(address) {
            update(&self.owned, &key, &[1], "owning an address")?;
        }
        Ok(())
    }

    /// Leaves an address to the kernel again.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn disown_address(&self, address: IpAddr) -> Result<(), Error> {
        for key in owned_keys(address) {
            delete(&self.owned, &key, "disowning an address")?;
        }
        Ok(())
    }

    /// Takes the traffic to a port. The wildcard address stands for every address of its family.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn claim(&self, protocol: Protocol, address: IpAddr, port: u16) -> Result<(), Error> {
        update(
            &self.claims,
            &claim_key(protocol, address, port),
            &[1],
            "claiming a port",
        )
    }

    /// Leaves a port to the kernel again.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn unclaim(&self, protocol: Protocol, address: IpAddr, port: u16) -> Result<(), Error> {
        delete(
            &self.claims,
            &claim_key(protocol, address, port),
            "giving a port up",
        )
    }

    /// What the program counted, over all CPUs.
    ///
    /// # Errors
    /// What the kernel said of the map.
    pub fn counters(&self) -> Result<SteerCounters, Error> {
        let mut counters = SteerCounters::default();
        let named = [
            &mut counters.pass_not_ip,
            &mut counters.pass_vlan,
            &mut counters.pass_truncated,
            &mut counters.pass_malformed,
            &mut counters.pass_fragment,
            &mut counters.pass_foreign,
            &mut counters.pass_no_socket,
            &mut counters.redirect_owned,
            &mut counters.redirect_claim,
            &mut counters.redirect_arp,
            &mut counters.redirect_neighbor,
        ];
        for (reason, counter) in (0u32..).zip(named) {
            let values = self
                .counters
                .lookup_percpu(&reason.to_ne_bytes(), MapFlags::ANY)
                .map_err(|error| map_error(&error, "reading the steering counters"))?;
            *counter = values
                .into_iter()
                .flatten()
                .filter_map(|value| value.first_chunk().copied())
                .map(u64::from_ne_bytes)
                .sum();
        }
        Ok(counters)
    }
}

fn attach(
    program: i32,
    interface: &Interface,
    mode: AttachMode,
) -> Result<(OwnedFd, Attached, Option<io::Error>), Error> {
    let error = |source: io::Error| match source.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => Error::ForeignProgram {
            interface: interface.name.clone(),
        },
        Some(libc::EPERM | libc::EACCES) => Error::MissingCapability {
            doing: "attaching an XDP program",
            capability: "CAP_NET_ADMIN",
        },
        _ => Error::Io {
            doing: "attaching the XDP program",
            source,
        },
    };
    let native = |error| (mode != AttachMode::Generic).then_some(error);
    let refused = if mode == AttachMode::Generic {
        None
    } else {
        match link(program, interface.index, XDP_FLAGS_DRV_MODE) {
            Ok(link) => return Ok((link, Attached::Native, None)),
            Err(refused) if mode == AttachMode::Native => return Err(error(refused)),
            Err(refused)
                if matches!(
                    refused.raw_os_error(),
                    Some(libc::EBUSY | libc::EEXIST | libc::EPERM)
                ) =>
            {
                return Err(error(refused));
            }
            Err(refused) => native(refused),
        }
    };
    match link(program, interface.index, XDP_FLAGS_SKB_MODE) {
        Ok(link) => Ok((link, Attached::Generic, refused)),
        Err(source) => Err(error(source)),
    }
}

/// libbpf-rs attaches XDP without flags only, so the kernel's choice would be silent.
fn link(program: i32, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as _,
        flags,
        ..Default::default()
    };
    // SAFETY: the options are initialised and carry their size; libbpf reads them during the call.
    let fd = unsafe {
        libbpf_sys::bpf_link_create(
            program,
            ifindex as i32,
            libbpf_sys::BPF_XDP,
            &raw const options,
        )
    };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the kernel has just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An address as `struct steer_addr`.
fn address_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn owned_keys(address: IpAddr) -> Vec<[u8; 16]> {
    let mut keys = vec![address_key(address)];
    if let IpAddr::V6(address) = address {
        // The solicited-node group (RFC 4291, section 2.7.1).
        let low = address.octets();
        keys.push([
            0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, low[13], low[14], low[15],
        ]);
    }
    keys
}

/// `struct steer_claim`.
fn claim_key(protocol: Protocol, address: IpAddr, port: u16) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&address_key(address));
    key[16..18].copy_from_slice(&port.to_be_bytes());
    key[18] = match protocol {
        Protocol::Udp => libc::IPPROTO_UDP as u8,
        Protocol::Tcp => libc::IPPROTO_TCP as u8,
    };
    key
}

fn update(map: &MapHandle, key: &[u8], value: &[u8], doing: &'static str) -> Result<(), Error> {
    map.update(key, value, MapFlags::ANY)
        .map_err(|error| map_error(&error, doing))
}

fn delete(map: &MapHandle, key: &[u8], doing: &'static str) -> Result<(), Error> {
    map.delete(key).map_err(|error| map_error(&error, doing))
}

fn map_error(error: &libbpf_rs::Error, doing: &'static str) -> Error {
    Error::Io {
        doing,
        source: io::Error::other(error.to_string()),
    }
}

fn damaged(what: &'static str) -> Error {
    let source = io::Error::other(format!(
        "the compiled object has no such {what}: rebuild it with `make bpf`"
    ));
    Error::Io {
        doing: "loading the XDP program",
        source,
    }
}

fn load_error(error: libbpf_rs::Error) -> Error {
    match error.kind() {
        ErrorKind::PermissionDenied => Error::MissingCapability {
            doing: "loading an XDP program",
            capability: "CAP_BPF and CAP_NET_ADMIN",
        },
        _ => Error::Io {
            doing: "loading the XDP program",
            source: io::Error::other(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_the_program_lays_them_out() {
        let key = claim_key(Protocol::Udp, "10.0.0.2".parse().unwrap(), 0x1234);
        assert_eq!(key[10..], [0xff, 0xff, 10, 0, 0, 2, 0x12, 0x34, 17, 0]);
        let owned = owned_keys("fd00::aa:bbcc:ddee".parse().unwrap());
        assert_eq!(owned[1][11..], [1, 0xff, 0xcc, 0xdd, 0xee]);
    }

    #[test]
    fn counters_are_in_the_order_of_the_header() {
        let header = include_str!("../../../bpf/steer.h");
        let reasons: Vec<String> = header
            .lines()
            .filter_map(|line| line.trim().strip_prefix("STEER_"))
            .filter_map(|line| line.split_once(','))
            .map(|(name, _)| name.to_lowercase())
            .filter(|name| name != "reasons")
            .collect();
        let debug = format!("{:?}", SteerCounters::default());
        let fields: Vec<&str> = debug
            .split(['{', ','])
            .skip(1)
            .filter_map(|field| field.split_once(':'))
            .map(|(name, _)| name.trim())
            .collect();
        assert_eq!(reasons, fields);
    }
}

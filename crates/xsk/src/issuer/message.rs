//! What the two say to each other: one message of SOCK_SEQPACKET each way. A request has a fixed size and every byte of
//! it is looked at; an answer has a fixed head, and the reason in words where it is a refusal.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::maps::Protocol;
use crate::program::{AttachMode, Attached};

/// "rwi" and the version: another one is not understood.
const MAGIC: [u8; 4] = *b"rwi\x01";
/// Bytes of a request.
pub(crate) const REQUEST_BYTES: usize = 64;
/// Bytes of an answer's head.
const HEAD_BYTES: usize = 16;
/// Bytes that a refusal's reason can have.
const REASON_BYTES: usize = 4096;
/// Bytes of the longest answer.
pub(crate) const ANSWER_BYTES: usize = HEAD_BYTES + REASON_BYTES;

const NAME: std::ops::Range<usize> = 16..16 + libc::IFNAMSIZ;
const MAC: std::ops::Range<usize> = 32..38;
const ADDRESS: std::ops::Range<usize> = 32..48;
const SCOPE: std::ops::Range<usize> = 48..52;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// An AF_XDP socket that is not bound. Answered with its descriptor.
    XdpSocket,
    /// The steering program, attached to the interface. Answered with those of the program, its link and its maps.
    Program { interface: String, mode: AttachMode },
    /// The membership of a multicast group. Answered with the descriptor that keeps it.
    Membership { interface: String, mac: [u8; 6] },
    /// The raw sockets that get ICMP errors of the interface. Answered with that of IPv4, and that of IPv6 if the
    /// kernel has it.
    IcmpErrors { interface: String },
    /// A reserved port, as [`ReserveConfig`](crate::ReserveConfig) has it. Answered with the socket's descriptor.
    Reserve {
        interface: String,
        protocol: Protocol,
        local: SocketAddr,
        v6_only: bool,
        reuse_address: bool,
        reuse_port: bool,
    },
}

/// A request, numbered, so that its answer is told from a late one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) number: u32,
    pub(crate) request: Request,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The descriptors come with it.
    Issued,
    /// The program's descriptors come with it: how it is attached, and what the driver said if it refused.
    Program {
        attached: Attached,
        native_refused: i32,
    },
    /// No, and why not: what the kernel said, or 0, and in words.
    Refused { errno: i32, reason: String },
}

const XDP_SOCKET: u8 = 1;
const PROGRAM: u8 = 2;
const MEMBERSHIP: u8 = 3;
const ICMP_ERRORS: u8 = 4;
const RESERVE: u8 = 5;

/// Of a reserved port.
const IS_V6: u8 = 1 << 0;
const V6_ONLY: u8 = 1 << 1;
const REUSE_ADDRESS: u8 = 1 << 2;
const REUSE_PORT: u8 = 1 << 3;

impl Numbered {
    pub(crate) fn encode(&self) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.number.to_ne_bytes());
        let interface = match &self.request {
            Request::XdpSocket => {
                bytes[8] = XDP_SOCKET;
                ""
            }
            Request::Program { interface, mode } => {
                bytes[8] = PROGRAM;
                bytes[9] = *mode as u8;
                interface
            }
            Request::Membership { interface, mac } => {
                bytes[8] = MEMBERSHIP;
                bytes[MAC].copy_from_slice(mac);
                interface
            }
            Request::IcmpErrors { interface } => {
                bytes[8] = ICMP_ERRORS;
                interface
            }
            Request::Reserve {
                interface,
                protocol,
                local,
                v6_only,
                reuse_address,
                reuse_port,
            } => {
                bytes[8] = RESERVE;
                bytes[9] = *protocol as u8;
                for (flag, on) in [
                    (IS_V6, local.is_ipv6()),
                    (V6_ONLY, *v6_only),
                    (REUSE_ADDRESS, *reuse_address),
                    (REUSE_PORT, *reuse_port),
                ] {
                    bytes[10] |= if on { flag } else { 0 };
                }
                put_address(&mut bytes, *local);
                interface
            }
        };
        // One byte is left for the end: a longer name names no interface.
        let len = interface.len().min(libc::IFNAMSIZ - 1);
        bytes[NAME][..len].copy_from_slice(&interface.as_bytes()[..len]);
        bytes
    }

    /// What a process that is not trusted asks for; nothing if that is no request.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Numbered> {
        let bytes: &[u8; REQUEST_BYTES] = bytes.try_into().ok()?;
        let name = &bytes[NAME];
        let end = name.iter().position(|byte| *byte == 0)?;
        let interface = std::str::from_utf8(&name[..end]).ok()?.to_owned();
        let request = match bytes[8] {
            XDP_SOCKET => Request::XdpSocket,
            PROGRAM => Request::Program {
                interface,
                mode: [AttachMode::Auto, AttachMode::Native, AttachMode::Generic]
                    .into_iter()
                    .find(|mode| *mode as u8 == bytes[9])?,
            },
            MEMBERSHIP => Request::Membership {
                interface,
                mac: bytes[MAC].try_into().ok()?,
            },
            ICMP_ERRORS => Request::IcmpErrors { interface },
            RESERVE => Request::Reserve {
                interface,
                protocol: [Protocol::Udp, Protocol::Tcp]
                    .into_iter()
                    .find(|protocol| *protocol as u8 == bytes[9])?,
                local: address(bytes, bytes[10] & IS_V6 != 0)?,
                v6_only: bytes[10] & V6_ONLY != 0,
                reuse_address: bytes[10] & REUSE_ADDRESS != 0,
                reuse_port: bytes[10] & REUSE_PORT != 0,
            },
            _ => return None,
        };
        let number = u32::from_ne_bytes(bytes[4..8].try_into().ok()?);
        let numbered = Numbered { number, request };
        // Nothing is in the bytes but what was read: magic, values out of range and unused bytes are compared too.
        (numbered.encode() == *bytes).then_some(numbered)
    }
}

fn put_address(bytes: &mut [u8; REQUEST_BYTES], address: SocketAddr) {
    let (ip, scope) = match address {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
        SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
    };
    bytes[12..14].copy_from_slice(&address.port().to_ne_bytes());
    bytes[ADDRESS].copy_from_slice(&ip.octets());
    bytes[SCOPE].copy_from_slice(&scope.to_ne_bytes());
}

fn address(bytes: &[u8; REQUEST_BYTES], is_v6: bool) -> Option<SocketAddr> {
    let octets: [u8; 16] = bytes[ADDRESS].try_into().ok()?;
    let port = u16::from_ne_bytes([bytes[12], bytes[13]]);
    let scope = u32::from_ne_bytes(bytes[SCOPE].try_into().ok()?);
    let ip = Ipv6Addr::from(octets);
    Some(match is_v6 {
        true => SocketAddrV6::new(ip, port, 0, scope).into(),
        false => SocketAddr::new(IpAddr::V4(ip.to_ipv4_mapped()?), port),
    })
}

const ISSUED: u8 = 1;
const PROGRAM_ISSUED: u8 = 2;
const REFUSED: u8 = 3;

impl Answer {
    /// The answer to the request of that number.
    pub(crate) fn encode(&self, number: u32) -> Vec<u8> {
        let mut bytes = vec![0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&number.to_ne_bytes());
        match self {
            Answer::Issued => bytes[8] = ISSUED,
            Answer::Program {
                attached,
                native_refused,
            } => {
                bytes[8] = PROGRAM_ISSUED;
                bytes[9] = *attached as u8;
                bytes[12..16].copy_from_slice(&native_refused.to_ne_bytes());
            }
            Answer::Refused { errno, reason } => {
                bytes[8] = REFUSED;
                bytes[12..16].copy_from_slice(&errno.to_ne_bytes());
                let reason = &reason.as_bytes()[..reason.len().min(REASON_BYTES)];
                bytes.extend_from_slice(reason);
            }
        }
        bytes
    }

    /// An answer and the number of its request; nothing if that is no answer.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(u32, Answer)> {
        let (head, reason) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let errno = i32::from_ne_bytes(head[12..16].try_into().ok()?);
        let answer = match head[8] {
            ISSUED => Answer::Issued,
            PROGRAM_ISSUED => Answer::Program {
                attached: [Attached::Native, Attached::Generic]
                    .into_iter()
                    .find(|attached| *attached as u8 == head[9])?,
                native_refused: errno,
            },
            REFUSED => Answer::Refused {
                errno,
                reason: String::from_utf8_lossy(reason).into_owned(),
            },
            _ => return None,
        };
        (head[..4] == MAGIC).then_some(())?;
        let number = u32::from_ne_bytes(head[4..8].try_into().ok()?);
        Some((number, answer))
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;

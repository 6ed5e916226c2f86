//! Socket addresses in the application's layout (`sockaddr_in`, `sockaddr_in6`).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ringwire_abi::errno::Errno;
use ringwire_stack::Family;

pub(super) const IN_BYTES: usize = 16;
pub(super) const IN6_BYTES: usize = 28;
/// `SIN6_LEN_RFC2133`: an address without a scope.
const IN6_LEAST_BYTES: usize = 24;

/// An address that an operation was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// `AF_UNSPEC`.
    Unspecified,
    /// An address; IPv4-mapped ones come out as IPv4.
    Address(SocketAddr),
}

/// Reads an address for a socket of a family. The errors differ by operation in the kernel: this one
/// says that the address is too short or of another family.
pub(super) fn parse(bytes: &[u8], family: Family) -> Result<Given, Errno> {
    if bytes.len() < 2 {
        return Err(Errno::EINVAL);
    }
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    match i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
        libc::AF_UNSPEC => Ok(Given::Unspecified),
        libc::AF_INET if bytes.len() < IN_BYTES => Err(Errno::EINVAL),
        libc::AF_INET => {
            let octets: [u8; 4] = bytes[4..8].try_into().expect("four bytes");
            Ok(Given::Address(SocketAddr::new(octets.into(), port(2))))
        }
        libc::AF_INET6 if family == Family::V4 => Err(Errno::EAFNOSUPPORT),
        libc::AF_INET6 if bytes.len() < IN6_LEAST_BYTES => Err(Errno::EINVAL),
        libc::AF_INET6 => {
            let octets: [u8; 16] = bytes[8..24].try_into().expect("sixteen bytes");
            Ok(Given::Address(SocketAddr::new(
                Ipv6Addr::from(octets).to_canonical(),
                port(2),
            )))
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// Writes an address as a socket of this family reports it; returns the bytes and their length.
pub(super) fn emit(address: SocketAddr, family: Family) -> ([u8; IN6_BYTES], usize) {
    let mut bytes = [0; IN6_BYTES];
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    match (family, address.ip()) {
        (Family::V4, IpAddr::V4(ip)) => {
            bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&ip.octets());
            (bytes, IN_BYTES)
        }
        (_, ip) => {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            bytes[8..24].copy_from_slice(&ip.octets());
            (bytes, IN6_BYTES)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_there_and_back() {
        for (text, family) in [
            ("10.0.0.2:7", Family::V4),
            ("[fd00::2]:65535", Family::V6),
            ("10.0.0.2:7", Family::V6),
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let (bytes, len) = emit(address, family);
            assert_eq!(
                parse(&bytes[..len], family),
                Ok(Given::Address(address)),
                "{text}"
            );
            for short in 0..len.min(IN6_LEAST_BYTES) {
                assert_eq!(
                    parse(&bytes[..short], family),
                    Err(Errno::EINVAL),
                    "{text} cut to {short}"
                );
            }
        }
        assert_eq!(parse(&[0, 0], Family::V4), Ok(Given::Unspecified));
        assert_eq!(parse(&[1, 0], Family::V4), Err(Errno::EAFNOSUPPORT));
        let (six, len) = emit("[fd00::2]:7".parse().unwrap(), Family::V6);
        assert_eq!(parse(&six[..len], Family::V4), Err(Errno::EAFNOSUPPORT));
    }
}

//! Socket addresses as `struct sockaddr_in` and `sockaddr_in6` have them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of the longer of the two, `struct sockaddr_in6`.
pub(super) const MAX_BYTES: usize = 28;
const IN_BYTES: usize = 16;

/// The bytes of an address, and how many they are.
pub(super) fn encode(address: SocketAddr) -> ([u8; MAX_BYTES], u32) {
    let mut bytes = [0; MAX_BYTES];
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(address) => {
            bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&address.ip().octets());
            (bytes, IN_BYTES as u32)
        }
        SocketAddr::V6(address) => {
            bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&address.flowinfo().to_be_bytes());
            bytes[8..24].copy_from_slice(&address.ip().octets());
            bytes[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
            (bytes, MAX_BYTES as u32)
        }
    }
}

/// The address in these bytes; `None` for what is too short or of another family.
pub(super) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET if bytes.len() >= IN_BYTES => {
            let octets: [u8; 4] = *bytes[4..].first_chunk()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(octets), port).into())
        }
        libc::AF_INET6 if bytes.len() >= MAX_BYTES => {
            let flowinfo = u32::from_be_bytes(*bytes[4..].first_chunk()?);
            let octets: [u8; 16] = *bytes[8..].first_chunk()?;
            let scope = u32::from_ne_bytes(*bytes[24..].first_chunk()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, flowinfo, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_was_given() {
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 0x000a_bcde, 3);
        let others = ["10.0.0.2:7", "[fd00::2]:65535", "[::ffff:10.0.0.2]:7"];
        let others = others.map(|text| text.parse().unwrap());
        for address in others.into_iter().chain([SocketAddr::V6(scoped)]) {
            let (bytes, len) = encode(address);
            assert_eq!(decode(&bytes[..len as usize]), Some(address));
        }
    }

    #[test]
    fn what_is_too_short_or_of_another_family_is_no_address() {
        for text in ["10.0.0.2:7", "[fd00::2]:7"] {
            let (bytes, len) = encode(text.parse().unwrap());
            for short in 0..len as usize {
                assert_eq!(decode(&bytes[..short]), None, "{text} cut to {short}");
            }
        }
        assert_eq!(decode(&[0; MAX_BYTES]), None);
    }
}

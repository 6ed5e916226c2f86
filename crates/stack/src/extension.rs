//! IPv6 extension headers (RFC 8200, section 4), walked and skipped.

use smoltcp::wire::IpProtocol;

/// More of them than any honest packet has (RFC 8504, section 5.3, lets a host set a limit).
const MAX_HEADERS: usize = 8;

/// What the walk ended at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// An upper-layer protocol, `len` bytes behind the IPv6 header.
    Upper { protocol: IpProtocol, len: usize },
    /// A source route that is not done (RFC 8200, section 4.4): its types are unknown here, or
    /// deprecated (RFC 5095).
    SourceRoute,
    /// A fragment header; `len` includes it.
    Fragment {
        next_header: IpProtocol,
        len: usize,
        offset: usize,
        more: bool,
        id: u32,
    },
}

/// Walks the headers in `bytes`, which follow the IPv6 header. `None` if they are cut off, or too many.
pub(crate) fn walk_extensions(first: IpProtocol, bytes: &[u8]) -> Option<Walk> {
    let mut protocol = first;
    let mut len = 0;
    for _ in 0..=MAX_HEADERS {
        match protocol {
            IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts => {
                // Each is a multiple of 8 bytes long; a routing header's fourth is Segments Left.
                let header = bytes.get(len..len + 8)?;
                if protocol == IpProtocol::Ipv6Route && header[3] != 0 {
                    return Some(Walk::SourceRoute);
                }
                protocol = header[0].into();
                len += 8 * (usize::from(header[1]) + 1);
                if len > bytes.len() {
                    return None;
                }
            }
            IpProtocol::Ipv6Frag => {
                let header = bytes.get(len..len + 8)?;
                let field = u16::from_be_bytes([header[2], header[3]]);
                return Some(Walk::Fragment {
                    next_header: header[0].into(),
                    len: len + 8,
                    offset: usize::from(field & !7),
                    more: field & 1 == 1,
                    id: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
                });
            }
            _ => return Some(Walk::Upper { protocol, len }),
        }
    }
    None
}

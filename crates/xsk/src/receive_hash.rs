//! How a NIC spreads received flows over its queues (`ethtool -x`, `ethtool -n INTERFACE rx-flow-hash tcp4`), by the
//! ioctls that any kernel with AF_XDP has and that anybody may ask (net/ethtool/ioctl.c, `dev_ethtool`).

use crate::interface::{Control, Interface};

/// `ETHTOOL_GRXFH` and `ETHTOOL_GRSSH` (linux/ethtool.h).
const ETHTOOL_GRXFH: u32 = 0x29;
const ETHTOOL_GRSSH: u32 = 0x46;
/// `ETH_RSS_HASH_TOP`: the Toeplitz hash.
const HASH_TOEPLITZ: u8 = 1;
/// Words of indirection table and key that there is room for: the largest tables have 2048 entries.
const CONFIG_WORDS: usize = 4096;
/// `TCP_V4_FLOW`, `UDP_V4_FLOW`, `TCP_V6_FLOW`, `UDP_V6_FLOW`.
const TCP_V4: u32 = 1;
const UDP_V4: u32 = 2;
const TCP_V6: u32 = 5;
const UDP_V6: u32 = 6;

/// `struct ethtool_rxfh`, with room for what follows it.
#[repr(C)]
struct HashConfig {
    cmd: u32,
    _context: u32,
    table_entries: u32,
    key_bytes: u32,
    function: u8,
    transformation: u8,
    _reserved: [u8; 6],
    config: [u32; CONFIG_WORDS],
}

const _: () = assert!(size_of::<HashConfig>() == 24 + 4 * CONFIG_WORDS);

/// `struct ethtool_rxnfc`, as far as the hashed fields go.
#[repr(C, align(8))]
struct FlowHash {
    cmd: u32,
    flow: u32,
    data: u64,
    _rest: [u32; 44],
}

const _: () = assert!(size_of::<FlowHash>() == 192);

/// What of a packet is hashed (`RXH_IP_SRC` and its like of linux/ethtool.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowFields(u64);

impl FlowFields {
    /// `RXH_IP_SRC` and `RXH_IP_DST`.
    const ADDRESSES: u64 = 1 << 4 | 1 << 5;
    /// `RXH_L4_B_0_1` and `RXH_L4_B_2_3`: the first four bytes behind the IP header.
    const PORTS: u64 = 1 << 6 | 1 << 7;

    /// Both addresses and nothing else.
    pub fn is_addresses(self) -> bool {
        self.0 == Self::ADDRESSES
    }

    /// Both addresses, both ports, and nothing else.
    pub fn is_addresses_and_ports(self) -> bool {
        self.0 == Self::ADDRESSES | Self::PORTS
    }
}

/// How received flows are spread over the queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiveHash {
    /// The key of the Toeplitz hash.
    pub key: Vec<u8>,
    /// The queues, of which the hash selects one.
    pub indirection: Vec<u32>,
    /// What is hashed of TCP over IPv4.
    pub tcp_v4: FlowFields,
    /// What is hashed of TCP over IPv6.
    pub tcp_v6: FlowFields,
    /// What is hashed of UDP over IPv4.
    pub udp_v4: FlowFields,
    /// What is hashed of UDP over IPv6.
    pub udp_v6: FlowFields,
}

impl ReceiveHash {
    /// Asks about an interface of the calling thread's network namespace. `None`: the driver does not tell, or the
    /// hash is not a plain Toeplitz one.
    pub fn of(interface: &Interface) -> Option<ReceiveHash> {
        let control = Control::open(&interface.name).ok()?;
        let mut config = Box::new(HashConfig {
            cmd: ETHTOOL_GRSSH,
            _context: 0,
            table_entries: 0,
            key_bytes: 0,
            function: 0,
            transformation: 0,
            _reserved: [0; 6],
            config: [0; CONFIG_WORDS],
        });
        // With sizes of 0 the kernel tells the sizes, and with those it tells all (`ethtool_get_rxfh`).
        control.ethtool(&mut *config).ok()?;
        if !config.fits() {
            return None;
        }
        config.cmd = ETHTOOL_GRSSH;
        control.ethtool(&mut *config).ok()?;
        let (key, indirection) = config.read()?;
        let fields = |flow| {
            let mut hash = FlowHash {
                cmd: ETHTOOL_GRXFH,
                flow,
                data: 0,
                _rest: [0; 44],
            };
            let told = control.ethtool(&mut hash);
            FlowFields(told.map_or(0, |()| hash.data))
        };
        Some(ReceiveHash {
            key,
            indirection,
            tcp_v4: fields(TCP_V4),
            tcp_v6: fields(TCP_V6),
            udp_v4: fields(UDP_V4),
            udp_v6: fields(UDP_V6),
        })
    }
}

impl HashConfig {
    /// Whether there is room for what the kernel will write.
    fn fits(&self) -> bool {
        let bytes = u64::from(self.table_entries) * 4 + u64::from(self.key_bytes);
        bytes <= 4 * CONFIG_WORDS as u64
    }

    /// Key and table, of a hash that is a plain Toeplitz one.
    fn read(&self) -> Option<(Vec<u8>, Vec<u32>)> {
        let plain = self.function == HASH_TOEPLITZ && self.transformation == 0;
        if !plain || !self.fits() {
            return None;
        }
        let (table, key) = self.config.split_at(self.table_entries as usize);
        let key = key.iter().flat_map(|word| word.to_ne_bytes());
        let key = key.take(self.key_bytes as usize).collect();
        Some((key, table.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(function: u8, transformation: u8, table: &[u32], key: &[u8]) -> Box<HashConfig> {
        let mut words = [0; CONFIG_WORDS];
        words[..table.len()].copy_from_slice(table);
        let key_words = key.chunks_exact(4);
        for (word, bytes) in words[table.len()..].iter_mut().zip(key_words) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Box::new(HashConfig {
            cmd: ETHTOOL_GRSSH,
            _context: 0,
            table_entries: table.len() as u32,
            key_bytes: key.len() as u32,
            function,
            transformation,
            _reserved: [0; 6],
            config: words,
        })
    }

    #[test]
    fn the_key_stands_behind_the_table() {
        let key: Vec<u8> = (1..=40).collect();
        let told = config(HASH_TOEPLITZ, 0, &[0, 1, 2, 3], &key);
        assert_eq!(told.read(), Some((key, vec![0, 1, 2, 3])));
    }

    #[test]
    fn a_hash_that_is_no_plain_toeplitz_is_not_told() {
        let key = [7; 40];
        for (function, transformation) in [(2, 0), (4, 0), (0, 0), (HASH_TOEPLITZ, 1)] {
            assert_eq!(config(function, transformation, &[0, 1], &key).read(), None);
        }
    }

    #[test]
    fn sizes_that_there_is_no_room_for_are_refused() {
        let mut told = config(HASH_TOEPLITZ, 0, &[], &[]);
        for (entries, bytes) in [(4096, 4), (4095, 8), (u32::MAX, 0), (0, u32::MAX)] {
            (told.table_entries, told.key_bytes) = (entries, bytes);
            assert!(!told.fits());
            assert_eq!(told.read(), None);
        }
    }

    #[test]
    fn what_is_hashed_is_told_by_its_bits() {
        assert!(FlowFields(0x30).is_addresses());
        assert!(FlowFields(0xf0).is_addresses_and_ports());
        for other in [0, 0x10, 0x70, 0xf8, 0x1f0, 1 << 31] {
            let fields = FlowFields(other);
            assert!(!fields.is_addresses() && !fields.is_addresses_and_ports());
        }
    }

    #[test]
    fn an_interface_without_a_hash_tells_none() {
        let interface = Interface::by_name("lo").unwrap();
        assert_eq!(ReceiveHash::of(&interface), None);
    }
}

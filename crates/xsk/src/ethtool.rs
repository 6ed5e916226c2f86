//! How a NIC is set, as ethtool(8) would tell: channels, rings, offloads, and where received flows go.
//!
//! By the generic netlink family `ethtool` (Linux 5.6; Documentation/networking/ethtool-netlink.rst). What a driver or
//! the kernel does not tell is no error.

use std::collections::BTreeMap;

use crate::netlink::{Attributes, Netlink, Silence, attribute, find, nest, string_of, u32_of};

/// `ETHTOOL_MSG_FEATURES_GET`, `ETHTOOL_MSG_RINGS_GET`, `ETHTOOL_MSG_CHANNELS_GET`, `ETHTOOL_MSG_RSS_GET`
/// (linux/ethtool_netlink_generated.h).
const FEATURES_GET: u8 = 11;
const RINGS_GET: u8 = 15;
const CHANNELS_GET: u8 = 17;
const RSS_GET: u8 = 38;
/// `ETHTOOL_A_*_HEADER`, and in it `ETHTOOL_A_HEADER_DEV_INDEX`.
const HEADER: u16 = 1;
const HEADER_DEV_INDEX: u16 = 1;
/// `ETHTOOL_A_FEATURES_HW`, `_ACTIVE`, `_NOCHANGE`.
const FEATURES_HW: u16 = 2;
const FEATURES_ACTIVE: u16 = 4;
const FEATURES_NOCHANGE: u16 = 5;
/// `ETHTOOL_A_BITSET_BITS`, `ETHTOOL_A_BITSET_BITS_BIT`, and in it `ETHTOOL_A_BITSET_BIT_NAME`, `_VALUE`.
const BITSET_NOMASK: u16 = 1;
const BITSET_BITS: u16 = 3;
const BITS_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;
/// `ETHTOOL_A_RSS_INDIR`.
const RSS_INDIR: u16 = 4;

/// So many of something now, and at most: 0 and 0 where the driver has none of its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Now.
    pub now: u32,
    /// At most.
    pub most: u32,
}

/// Channels (`ethtool -l`): a combined one is an RX and a TX queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// Of RX queues alone.
    pub rx: Amount,
    /// Of TX queues alone.
    pub tx: Amount,
    /// Of both.
    pub combined: Amount,
}

/// An offload (`ethtool -k`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Whether it is done.
    pub active: bool,
    /// Whether `ethtool -K` can change that.
    pub changeable: bool,
}

/// How a NIC is set. What is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Nic {
    /// Its channels.
    pub channels: Option<Channels>,
    /// Entries of each RX ring of the hardware's (`ethtool -g`).
    pub rx_ring: Option<Amount>,
    /// Entries of each TX ring of the hardware's.
    pub tx_ring: Option<Amount>,
    /// Its offloads, by the kernel's names (net/ethtool/common.c `netdev_features_strings`).
    pub offloads: BTreeMap<String, Offload>,
    /// The queues that received flows are spread over: a hash selects an entry (`ethtool -x`; Linux 6.3).
    pub indirection: Option<Vec<u32>>,
    /// Why the kernel told nothing of all this.
    pub unknown: Option<String>,
}

impl Nic {
    /// Asks about an interface of the calling thread's network namespace.
    pub fn of(index: u32) -> Nic {
        ask(index).unwrap_or_else(|silence| Nic {
            unknown: Some(match silence {
                Silence::NoFamily => {
                    "the kernel was built without CONFIG_ETHTOOL_NETLINK".to_owned()
                }
                other => other.to_string(),
            }),
            ..Nic::default()
        })
    }

    /// Whether an offload is done: false too where nothing is known of it.
    pub fn active(&self, offload: &str) -> bool {
        self.offloads
            .get(offload)
            .is_some_and(|offload| offload.active)
    }
}

fn ask(index: u32) -> Result<Nic, Silence> {
    let netlink = Netlink::open(libc::NETLINK_GENERIC)?;
    let family = netlink.family("ethtool")?;
    let device = nest(HEADER, &attribute(HEADER_DEV_INDEX, &index.to_ne_bytes()));
    // A driver that lacks one of these answers EOPNOTSUPP.
    let ask = |command| netlink.ask_generic(family, command, &device).ok();
    let rings = ask(RINGS_GET);
    // `ETHTOOL_A_RINGS_RX_MAX`, and the others in the order of the header; `ETHTOOL_A_CHANNELS_RX_MAX` likewise.
    let ring = |now, most| {
        rings
            .as_ref()
            .map(|rings| amount(rings, now, most))
            .transpose()
    };
    let offloads = netlink.ask_generic(family, FEATURES_GET, &device)?;
    Ok(Nic {
        channels: ask(CHANNELS_GET)
            .map(|answer| channels(&answer))
            .transpose()?,
        rx_ring: ring(6, 2)?,
        tx_ring: ring(9, 5)?,
        offloads: self::offloads(&offloads)?,
        indirection: match ask(RSS_GET) {
            Some(answer) => find(&answer, RSS_INDIR)?.map(indirection),
            None => None,
        },
        unknown: None,
    })
}

fn channels(answer: &[u8]) -> Result<Channels, Silence> {
    Ok(Channels {
        rx: amount(answer, 6, 2)?,
        tx: amount(answer, 7, 3)?,
        combined: amount(answer, 9, 5)?,
    })
}

/// An amount, of the attributes that say how much there is and how much there may be.
fn amount(answer: &[u8], now: u16, most: u16) -> Result<Amount, Silence> {
    let number =
        |kind| -> Result<u32, Silence> { Ok(find(answer, kind)?.and_then(u32_of).unwrap_or(0)) };
    Ok(Amount {
        now: number(now)?,
        most: number(most)?,
    })
}

fn indirection(value: &[u8]) -> Vec<u32> {
    let (entries, _) = value.as_chunks::<4>();
    entries
        .iter()
        .map(|entry| u32::from_ne_bytes(*entry))
        .collect()
}

/// The first set has a bit for each offload that there is (`features_fill_reply`).
fn offloads(answer: &[u8]) -> Result<BTreeMap<String, Offload>, Silence> {
    let set = |kind| match find(answer, kind)? {
        Some(set) => bits(set),
        None => Ok(BTreeMap::new()),
    };
    let changeable = set(FEATURES_HW)?;
    let active = set(FEATURES_ACTIVE)?;
    let fixed = set(FEATURES_NOCHANGE)?;
    let names = changeable.keys().chain(active.keys());
    let offload = |name: &String| Offload {
        active: active.contains_key(name),
        changeable: changeable.get(name) == Some(&true) && !fixed.contains_key(name),
    };
    Ok(names.map(|name| (name.clone(), offload(name))).collect())
}

/// The named bits of a bitset and their values. One without a mask lists those that are set, with no value
/// (`ethnl_put_bitset32`).
fn bits(set: &[u8]) -> Result<BTreeMap<String, bool>, Silence> {
    let all_set = find(set, BITSET_NOMASK)?.is_some();
    let mut bits = BTreeMap::new();
    for bit in Attributes(find(set, BITSET_BITS)?.unwrap_or_default()) {
        let (kind, bit) = bit.ok_or(Silence::Malformed)?;
        if kind != BITS_BIT {
            continue;
        }
        if let Some(name) = find(bit, BIT_NAME)? {
            let value = all_set || find(bit, BIT_VALUE)?.is_some();
            bits.insert(string_of(name), value);
        }
    }
    Ok(bits)
}

#[cfg(test)]
#[path = "ethtool_tests.rs"]
mod tests;

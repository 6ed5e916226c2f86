//! The kernel's side of an engine's rings, and the wire between two.

use std::sync::Arc;

use ringwire_umem::Umem;
use ringwire_xsk::{Consumer, Desc, Producer};

use crate::{memcheck, wire};

/// Bytes that the kernel leaves free in front of what it received (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;
const ETHERNET_BYTES: usize = 14;
/// Bytes of each header that are looked at, to find the payload.
const LONGEST_HEADERS: usize = ETHERNET_BYTES + 60 + 60;

/// The kernel's side of an engine's rings.
pub struct Nic {
    pub(crate) umem: Arc<Umem>,
    pub(crate) fill: Consumer<u64>,
    pub(crate) completion: Producer<u64>,
    pub(crate) rx: Producer<Desc>,
    pub(crate) tx: Consumer<Desc>,
    /// The packet that is being sent.
    packet: Vec<Desc>,
    /// What was received cannot be touched (`memcheck`) until the application opens it.
    pub seals: bool,
    /// Packets with payload that the wire loses next.
    pub loses: usize,
}

impl Nic {
    pub(crate) fn new(
        umem: Arc<Umem>,
        fill: Consumer<u64>,
        completion: Producer<u64>,
        rx: Producer<Desc>,
        tx: Consumer<Desc>,
    ) -> Nic {
        Nic {
            umem,
            fill,
            completion,
            rx,
            tx,
            packet: Vec::new(),
            seals: false,
            loses: 0,
        }
    }

    /// Takes the next packet that is to be sent, in its descriptors.
    fn take_packet(&mut self) -> bool {
        while self
            .packet
            .last()
            .is_none_or(|desc| desc.options & Desc::CONTINUED != 0)
        {
            let Some(desc) = self.tx.pop() else {
                return false;
            };
            self.packet.push(desc);
        }
        true
    }

    /// Carries what this one sends to the other one, as long as that has room.
    pub(crate) fn carry(&mut self, other: &mut Nic) {
        while self.take_packet() {
            let room = other.umem.chunk_bytes() as usize - HEADROOM;
            let len: usize = self.packet.iter().map(|desc| desc.len as usize).sum();
            if (other.fill.available() as usize) < len.div_ceil(room) {
                break;
            }
            if self.loses > 0 && payload_at(&self.headers()) < len {
                self.loses -= 1;
            } else {
                self.deliver(other, (len, room));
            }
            for desc in self.packet.drain(..) {
                let done = self.completion.push(desc.addr);
                done.expect("room for all that is sent");
            }
        }
        self.tx.release();
        self.completion.publish();
        other.fill.release();
        other.rx.publish();
    }

    /// Drops what this one sends.
    pub(crate) fn discard(&mut self) {
        while let Some(desc) = self.tx.pop() {
            let done = self.completion.push(desc.addr);
            done.expect("room for all that is sent");
        }
        self.tx.release();
        self.completion.publish();
    }

    /// Copies the packet into the other one's chunks.
    fn deliver(&self, other: &mut Nic, (len, room): (usize, usize)) {
        let payload = match other.seals {
            true => payload_at(&self.headers()),
            false => len,
        };
        let mut sent = self.packet.iter().map(|desc| self.sent(desc));
        let mut from: &[u8] = &[];
        let mut at = 0;
        while at < len {
            let addr = other.fill.pop().expect("it was available") + HEADROOM as u64;
            let to = other.received(addr, room);
            if other.seals {
                memcheck::open(to.as_ptr(), to.len());
            }
            let here = room.min(len - at);
            let mut filled = 0;
            while filled < here {
                if from.is_empty() {
                    from = sent.next().expect("a descriptor for each byte");
                }
                let take = from.len().min(here - filled);
                memcheck_aside(self.seals, || {
                    wire::carry(&from[..take], &mut to[filled..]);
                });
                from = &from[take..];
                filled += take;
            }
            let sealed = payload.clamp(at, at + here) - at;
            if sealed < here {
                memcheck::seal(to[sealed..].as_ptr(), here - sealed);
            }
            at += here;
            let options = if at < len { Desc::CONTINUED } else { 0 };
            let len = here as u32;
            let pushed = other.rx.push(Desc { addr, len, options });
            pushed.expect("room for all that is filled");
        }
    }

    /// The first bytes of the packet.
    fn headers(&self) -> Vec<u8> {
        let bytes = self.packet.iter().flat_map(|desc| self.sent(desc));
        memcheck_aside(self.seals, || {
            bytes.take(LONGEST_HEADERS).copied().collect()
        })
    }

    fn sent(&self, desc: &Desc) -> &[u8] {
        // SAFETY: the ledger checked the span when it gave it out; what is described is the NIC's to read.
        unsafe {
            let first = self.umem.as_ptr().add(desc.addr as usize);
            std::slice::from_raw_parts(first, desc.len as usize)
        }
    }

    fn received<'a>(&self, addr: u64, len: usize) -> &'a mut [u8] {
        // SAFETY: a chunk that was in the fill ring is the NIC's to write to, until its descriptor is in the
        // RX ring: behind the last use of this. The UMEM outlives the wire's step.
        unsafe {
            let first = self.umem.as_ptr().add(addr as usize);
            std::slice::from_raw_parts_mut(first, len)
        }
    }
}

fn memcheck_aside<T>(aside: bool, work: impl FnOnce() -> T) -> T {
    match aside {
        true => memcheck::as_device(work),
        false => work(),
    }
}

/// Where the payload of a UDP datagram, a TCP segment or a fragment behind the first begins, the Ethernet
/// header included; behind everything, if there is none.
fn payload_at(frame: &[u8]) -> usize {
    const NONE: usize = usize::MAX;
    let Some(ip) = frame.get(ETHERNET_BYTES..) else {
        return NONE;
    };
    let (protocol, at, later_fragment) = match ip.first().map(|byte| byte >> 4) {
        Some(4) if ip.len() >= 20 => {
            let offset = u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff;
            (ip[9], usize::from(ip[0] & 15) * 4, offset > 0)
        }
        // A fragment header (RFC 8200, section 4.5) is the only extension header that is sent here.
        Some(6) if ip.len() >= 48 && ip[6] == 44 => {
            let offset = u16::from_be_bytes([ip[42], ip[43]]) & 0xfff8;
            (ip[40], 48, offset > 0)
        }
        Some(6) if ip.len() >= 40 => (ip[6], 40, false),
        _ => return NONE,
    };
    let header = match protocol {
        6 | 17 if later_fragment => 0,
        17 => 8,
        6 => ip
            .get(at + 12)
            .map_or(NONE, |byte| usize::from(byte >> 4) * 4),
        _ => return NONE,
    };
    header.saturating_add(ETHERNET_BYTES + at)
}

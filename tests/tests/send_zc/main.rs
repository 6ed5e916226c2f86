//! Zero-copy sends from registered areas, over veth to Linux: what arrives, where it was sent from, and when the
//! memory comes back.

mod datagrams;
mod numbered;
mod provided;
mod slots;
mod streams;

use std::time::{Duration, Instant};

use libtest_mimic::Arguments;
use ringwire::{Area, Builder, Counters, IoUring, cqueue, opcode, squeue, types};
use ringwire_tests::net::{PATIENCE, RING_INTERFACE, RING_V4, RING_V6, Veth};
use ringwire_tests::privileged;

/// `IORING_SEND_ZC_REPORT_USAGE`, and what a notification then says of a payload that was copied.
const REPORT_USAGE: u16 = 8;
const COPIED: i32 = i32::MIN;

/// The registered areas: one in a row, and slots for one packet each.
const PLAIN_BYTES: usize = 4 << 20;
const SLOTS: u32 = 64;
const SLOT_BYTES: u32 = 1440;

/// A pair of namespaces, a ring at its end, and its registered memory.
struct Bed {
    // Dropped before its interface.
    ring: IoUring,
    plain: Area,
    slots: Vec<Area>,
    veth: Veth,
}

impl Bed {
    fn new() -> Bed {
        Bed::with_mtu(1500)
    }

    fn with_mtu(mtu: u32) -> Bed {
        Bed::with(mtu, Some(0))
    }

    /// One that describes payloads from so many bytes on beside their headers.
    fn with(mtu: u32, scatter_from: Option<u32>) -> Bed {
        Bed::set_up(mtu, |builder| {
            if let Some(bytes) = scatter_from {
                builder.scatter_from(bytes);
            }
        })
    }

    fn set_up(mtu: u32, set_up: impl FnOnce(&mut Builder)) -> Bed {
        let veth = Veth::new(1, mtu, false);
        veth.peer_offloads_off();
        let ring = veth.in_ring(|| {
            let mut builder = IoUring::builder();
            set_up(&mut builder);
            builder
                .interface(RING_INTERFACE)
                .address(format!("{RING_V4}/24").parse().expect("an address"))
                .address(format!("{RING_V6}/64").parse().expect("an address"))
                .registered_area(PLAIN_BYTES)
                .registered_slots(SLOTS, SLOT_BYTES)
                .detect_duplicates(false)
                .build(64)
                .expect("a ring")
        });
        ring.submitter().register_files_sparse(8).expect("a table");
        let plain = ring.take_area(0).expect("an area");
        let slots = ring.take_slots(1).expect("slots");
        Bed {
            ring,
            plain,
            slots,
            veth,
        }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: what the entries of the cases point at outlives their notifications.
        unsafe { self.ring.submission().push(entry) }.expect("room in the queue");
    }

    /// Takes turns until this many completions are there.
    fn wait(&mut self, count: usize) -> Vec<cqueue::Entry> {
        let start = Instant::now();
        let mut completions = Vec::new();
        while completions.len() < count {
            assert!(
                start.elapsed() < 4 * PATIENCE,
                "{} of {count} completions: {completions:?}",
                completions.len()
            );
            ringwire_tests::stream::wait(&mut self.ring, Duration::from_millis(50));
            completions.extend(self.ring.completion());
        }
        completions
    }

    /// A zero-copy send: its result, and whether its notification says that it was copied.
    fn send(&mut self, entry: squeue::Entry) -> (i32, bool) {
        self.push(&entry);
        let completions = self.wait(2);
        let [sent, notification] = &completions[..] else {
            panic!("a completion and a notification: {completions:?}")
        };
        assert!(cqueue::more(sent.flags()) && cqueue::notif(notification.flags()));
        (sent.result(), notification.result() == COPIED)
    }

    /// Has a socket number its sends with MSG_ZEROCOPY.
    fn number_sends(&mut self, socket: types::Fixed) {
        let on = 1i32;
        let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_ZEROCOPY as u32);
        let value = std::ptr::from_ref(&on).cast();
        let entry = opcode::SetSockOpt::new(socket, level, name, value, 4);
        assert_eq!(
            ringwire_tests::stream::run(&mut self.ring, entry.build()),
            0
        );
    }

    fn counters(&self) -> Counters {
        self.ring.counters().expect("counters")
    }
}

/// SEND_ZC of these bytes on a direct descriptor, with its usage reported.
fn send_zc(socket: types::Fixed, bytes: &[u8], msg_flags: i32) -> squeue::Entry {
    opcode::SendZc::new(socket, bytes.as_ptr(), bytes.len() as u32)
        .zc_flags(REPORT_USAGE)
        .flags(msg_flags)
        .build()
}

/// A `msghdr` of these iovecs, and SENDMSG_ZC of it.
fn message(parts: &[libc::iovec]) -> libc::msghdr {
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_ptr().cast_mut();
    header.msg_iovlen = parts.len();
    header
}

fn sendmsg_zc(socket: types::Fixed, header: &libc::msghdr) -> squeue::Entry {
    opcode::SendMsgZc::new(socket, header)
        .ioprio(REPORT_USAGE)
        .build()
}

fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

fn main() {
    let cases = [
        datagrams::CASES,
        streams::CASES,
        numbered::CASES,
        provided::CASES,
        slots::CASES,
    ];
    let cases = cases.into_iter().flatten();
    let trials = cases.map(|&(name, case)| privileged(name, case)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

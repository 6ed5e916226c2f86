//! No request allocates or frees memory once its kind has been used: counted by the allocator, over all
//! that an engine does for it, the stack and TCP included.

use std::sync::atomic::{AtomicU16, Ordering};

use ringwire::msg_zerocopy::{ErrorMessage, RangeArray, ZeroCopyRange};
use ringwire::provided::{entry_addr, send_zc};
use ringwire::{cqueue, opcode, slots, squeue, types};
use ringwire_abi::notifier::{NotifierRegister, NotifierSlot, RINGWIRE_REGISTER_NOTIFIERS};
use ringwire_abi::register::{BufReg, IORING_REGISTER_BUFFERS, IORING_REGISTER_PBUF_RING};
use ringwire_bench::count;
use ringwire_bench::engines::{End, Engines, Setup, first, second};
use ringwire_umem::AreaLayout;

#[global_allocator]
static ALLOCATOR: count::Counting = count::Counting;

const BYTES: usize = 512;
/// A full segment's payload.
const FULL: usize = 1448;
const GROUP: u16 = 5;
const BUFFERS: u16 = 8;

/// Runs a round until nothing is new to it, and counts the allocator's calls in those that follow.
fn assert_no_calls(mut round: impl FnMut()) {
    (0..3000).for_each(|_| round());
    let before = count::calls();
    (0..1000).for_each(|_| round());
    assert_eq!(
        count::calls() - before,
        0,
        "calls of the allocator in 1000 rounds"
    );
}

/// Pushes an entry whose memory the test owns, and which it waits for.
fn push(end: &mut End, entry: squeue::Entry) {
    // SAFETY: the buffers of these tests outlive the engines.
    unsafe { end.push(&entry) }
}

/// Waits for completions of both ends, none of which may be an error.
fn wait(engines: &mut Engines, at_first: u32, at_second: u32) {
    let check = |cqe: cqueue::Entry| assert!(cqe.result() >= 0, "{cqe:?}");
    engines.wait(first, at_first, check);
    engines.wait(second, at_second, check);
}

fn streams() -> Engines {
    let mut engines = Engines::new();
    engines.connect_streams();
    engines
}

fn datagrams() -> Engines {
    let mut engines = Engines::new();
    engines.connect_datagrams();
    engines
}

#[test]
fn nop() {
    let mut engines = Engines::new();
    assert_no_calls(|| {
        push(&mut engines.a, opcode::Nop::new().build());
        wait(&mut engines, 1, 0);
    });
}

#[test]
fn chains() {
    let mut engines = Engines::new();
    assert_no_calls(|| {
        for flags in [
            squeue::Flags::IO_LINK,
            squeue::Flags::IO_HARDLINK,
            squeue::Flags::IO_DRAIN,
        ] {
            push(&mut engines.a, opcode::Nop::new().build().flags(flags));
        }
        wait(&mut engines, 3, 0);
    });
}

fn send(slot: u32, from: &[u8]) -> opcode::Send {
    opcode::Send::new(types::Fixed(slot), from.as_ptr(), from.len() as u32)
}

fn recv(slot: u32, to: &mut [u8]) -> opcode::Recv {
    opcode::Recv::new(types::Fixed(slot), to.as_mut_ptr(), to.len() as u32)
}

#[test]
fn send_and_recv_on_streams() {
    let (from, mut to) = ([1; BYTES], [0; BYTES]);
    let mut engines = streams();
    assert_no_calls(|| {
        push(
            &mut engines.b,
            recv(0, &mut to).flags(libc::MSG_WAITALL).build(),
        );
        push(
            &mut engines.a,
            send(0, &from).flags(libc::MSG_WAITALL).build(),
        );
        wait(&mut engines, 1, 1);
    });
}

#[test]
fn send_and_recv_of_datagrams() {
    let (from, mut to) = ([1; BYTES], [0; BYTES]);
    let mut engines = datagrams();
    assert_no_calls(|| {
        push(&mut engines.b, recv(2, &mut to).build());
        push(&mut engines.a, send(2, &from).build());
        wait(&mut engines, 1, 1);
    });
}

#[test]
fn zero_copy_sends() {
    let (from, mut to) = ([1; BYTES], [0; BYTES]);
    let mut engines = streams();
    let send = opcode::SendZc::new(types::Fixed(0), from.as_ptr(), BYTES as u32).build();
    assert_no_calls(|| {
        push(
            &mut engines.b,
            recv(0, &mut to).flags(libc::MSG_WAITALL).build(),
        );
        push(&mut engines.a, send.clone());
        wait(&mut engines, 2, 1);
    });
}

/// Zero-copy sends of memory in UMEM, on a stream and as datagrams: from slots, with headers in front of them, and
/// from where a row goes from one chunk to the next, with headers elsewhere. Two full segments at a time, which are
/// acknowledged at once.
#[test]
fn zero_copy_sends_from_where_it_lies() {
    for socket in [0, 2] {
        for in_slots in [true, false] {
            let slots = AreaLayout::Slots {
                count: 2,
                payload_bytes: FULL as u32,
            };
            let mut engines = Engines::with(&Setup {
                areas: vec![slots, AreaLayout::Plain(3 * 4096)],
                ..Setup::default()
            });
            engines.connect_streams();
            engines.connect_datagrams();
            let (slots, row) = (engines.a.slots(0), engines.a.area(1));
            let parts = match in_slots {
                true => [&slots[0][..], &slots[1]],
                false => [4096, 8192].map(|end| &row[end - FULL / 2..][..FULL]),
            };
            let sends = parts.map(|part| {
                let (from, len) = (part.as_ptr(), part.len() as u32);
                opcode::SendZc::new(types::Fixed(socket), from, len).build()
            });
            let mut to = [[0; FULL]; 2];
            assert_no_calls(|| {
                for (to, send) in to.iter_mut().zip(&sends) {
                    let recv = recv(socket, to).flags(libc::MSG_WAITALL);
                    push(&mut engines.b, recv.build());
                    push(&mut engines.a, send.clone());
                }
                wait(&mut engines, 4, 2);
            });
            let counters = engines.a.engine.stack().counters();
            let described = [counters.tx_scattered, counters.tx_in_place];
            assert!(described[usize::from(in_slots)] >= 8000, "{described:?}");
        }
    }
}

/// Sends that are bound to a notification slot, silently, on a stream and as datagrams: the only completion is the
/// notification of both, behind a flush by the second or by a request. Two full segments are acknowledged at once.
#[test]
fn sends_of_a_notification_slot() {
    const TAG: u64 = 0xfeed;
    for (socket, by_request) in [(0, false), (0, true), (2, false), (2, true)] {
        let slots = AreaLayout::Slots {
            count: 2,
            payload_bytes: FULL as u32,
        };
        let mut engines = Engines::with(&Setup {
            areas: vec![slots],
            ..Setup::default()
        });
        engines.connect_streams();
        engines.connect_datagrams();
        register_slot(&mut engines.a, TAG);
        let parts = engines.a.slots(0);
        let silent = squeue::Flags::SKIP_SUCCESS;
        let mut to = [[0; FULL]; 2];
        let mut number = 0;
        assert_no_calls(|| {
            for (index, (to, part)) in to.iter_mut().zip(&parts).enumerate() {
                let recv = recv(socket, to).flags(libc::MSG_WAITALL);
                push(&mut engines.b, recv.build());
                let (from, len) = (part.as_ptr(), FULL as u32);
                let send = slots::SendZc::new(types::Fixed(socket), 0, from, len);
                let send = send.flush(index == 1 && !by_request).build();
                push(&mut engines.a, send.flags(silent));
            }
            if by_request {
                push(&mut engines.a, slots::flush(0, 1, 0).flags(silent));
            }
            engines.wait(second, 2, |cqe| assert_eq!(cqe.result(), FULL as i32));
            engines.wait(first, 1, |cqe| {
                let notification = (cqe.user_data(), cqe.result(), cqe.flags());
                assert_eq!(notification, (TAG, 0, number));
                number += 1;
            });
        });
    }
}

/// Registers a notification slot with this tag.
fn register_slot(end: &mut End, tag: u64) {
    let slot = NotifierSlot { tag, resv: [0; 3] };
    let register = NotifierRegister {
        nr_slots: 1,
        data: &raw const slot as u64,
        ..NotifierRegister::default()
    };
    let (arg, bytes) = (&raw const register as u64, size_of_val(&register) as u32);
    // SAFETY: the arguments live through the call.
    let registered = unsafe { end.engine.register(RINGWIRE_REGISTER_NOTIFIERS, arg, bytes) };
    registered.expect("a slot");
}

#[test]
fn messages() {
    for slot in [0, 2] {
        let (mut from, mut to) = ([1u8; BYTES], [0u8; BYTES]);
        let iovec = |bytes: &mut [u8]| libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        let (mut source, mut sink) = (iovec(&mut from), iovec(&mut to));
        let header = |iovec: &mut libc::iovec| {
            // SAFETY: a msghdr of zeroes is one without a name, control messages and memory.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            header.msg_iov = iovec;
            header.msg_iovlen = 1;
            header
        };
        let (out, mut into) = (header(&mut source), header(&mut sink));
        let mut engines = Engines::new();
        engines.connect_streams();
        engines.connect_datagrams();
        assert_no_calls(|| {
            let recv = opcode::RecvMsg::new(types::Fixed(slot), &raw mut into);
            push(&mut engines.b, recv.flags(libc::MSG_WAITALL as u32).build());
            push(
                &mut engines.a,
                opcode::SendMsg::new(types::Fixed(slot), &raw const out).build(),
            );
            wait(&mut engines, 1, 1);
        });
    }
}

/// Has the socket in a slot number its sends with MSG_ZEROCOPY.
fn number_sends(engines: &mut Engines, slot: u32) {
    let on = 1i32;
    let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_ZEROCOPY as u32);
    let value = std::ptr::from_ref(&on).cast();
    let set = opcode::SetSockOpt::new(types::Fixed(slot), level, name, value, 4);
    push(&mut engines.a, set.build());
    wait(engines, 1, 0);
}

/// Sends that their socket numbers, on a stream and as datagrams. Their ranges come back with a later one, or out of the
/// error queue. Two full segments are acknowledged at once.
#[test]
fn numbered_messages() {
    for (slot, inline) in [(0, true), (0, false), (2, true), (2, false)] {
        let slots = AreaLayout::Slots {
            count: 1,
            payload_bytes: FULL as u32,
        };
        let mut engines = Engines::with(&Setup {
            areas: vec![slots],
            ..Setup::default()
        });
        engines.connect_streams();
        engines.connect_datagrams();
        number_sends(&mut engines, slot);
        let part = engines.a.slots(0).remove(0);
        let mut source = libc::iovec {
            iov_base: part.as_ptr().cast_mut().cast(),
            iov_len: FULL,
        };
        // SAFETY: a msghdr of zeroes is one without a name, control messages and memory.
        let zeroes: libc::msghdr = unsafe { std::mem::zeroed() };
        let (mut out, mut from_queue) = (zeroes, zeroes);
        (out.msg_iov, out.msg_iovlen) = (&raw mut source, 1);
        let (mut array, mut error) = (RangeArray::<4>::new(), ErrorMessage::new());
        let mut to = [[0; FULL]; 2];
        let mut over = 0;
        assert_no_calls(|| {
            for to in &mut to {
                let recv = recv(slot, to).flags(libc::MSG_WAITALL);
                push(&mut engines.b, recv.build());
            }
            let first = send(slot, &part).flags(libc::MSG_ZEROCOPY);
            push(&mut engines.a, first.build());
            if inline {
                array.attach(&mut out);
            }
            let second = opcode::SendMsg::new(types::Fixed(slot), &raw const out);
            let second = second.flags(libc::MSG_ZEROCOPY as u32);
            push(&mut engines.a, second.build());
            wait(&mut engines, 2, 2);
            let mut count = |range: &ZeroCopyRange| over += range.hi - range.lo + 1;
            if inline {
                array.taken(&out).iter().for_each(count);
            } else {
                error.attach(&mut from_queue);
                let recv = opcode::RecvMsg::new(types::Fixed(slot), &raw mut from_queue);
                push(
                    &mut engines.a,
                    recv.flags(libc::MSG_ERRQUEUE as u32).build(),
                );
                wait(&mut engines, 1, 0);
                count(&error.range(&from_queue).expect("a range"));
            }
        });
        // Some of the last ones may not be over.
        assert!((7900..=8000).contains(&over), "{over}");
    }
}

#[test]
fn polls() {
    let (from, mut to) = ([1; BYTES], [0; BYTES]);
    let mut engines = streams();
    push(
        &mut engines.b,
        opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32)
            .multi(true)
            .build(),
    );
    assert_no_calls(|| {
        push(&mut engines.a, send(0, &from).build());
        wait(&mut engines, 1, 1);
        push(
            &mut engines.b,
            recv(0, &mut to).flags(libc::MSG_WAITALL).build(),
        );
        wait(&mut engines, 0, 1);
    });
}

#[test]
fn timeouts() {
    let time = types::Timespec::new().nsec(1);
    let mut engines = Engines::new();
    assert_no_calls(|| {
        push(
            &mut engines.a,
            opcode::Timeout::new(&raw const time).build(),
        );
        engines.wait(first, 1, |cqe| assert_eq!(cqe.result(), -libc::ETIME));
    });
}

#[test]
fn cancellation() {
    let mut to = [0; BYTES];
    let mut engines = streams();
    assert_no_calls(|| {
        push(&mut engines.b, recv(0, &mut to).build().user_data(7));
        push(&mut engines.b, opcode::AsyncCancel::new(7).build());
        let mut results = 0;
        engines.wait(second, 2, |cqe| results += cqe.result());
        assert_eq!(results, -libc::ECANCELED);
    });
}

/// A ring of provided buffers; the memory lives as long as the process.
struct Provided {
    ring: *mut types::BufRingEntry,
    memory: *mut u8,
    tail: u16,
}

impl Provided {
    /// A ring in which so many buffers are.
    fn new(end: &mut End, buffers: u16) -> Provided {
        let page = std::alloc::Layout::from_size_align(4096, 4096).expect("a layout");
        // SAFETY: the layout has a size; the memory is never freed.
        let (ring, memory) = unsafe {
            let ring: *mut types::BufRingEntry = std::alloc::alloc_zeroed(page).cast();
            (ring, std::alloc::alloc_zeroed(page))
        };
        let reg = BufReg {
            ring_addr: ring as u64,
            ring_entries: BUFFERS.into(),
            bgid: GROUP,
            ..BufReg::default()
        };
        // SAFETY: the ring's memory is never freed, and the argument lives through the call.
        unsafe {
            end.engine
                .register(IORING_REGISTER_PBUF_RING, &raw const reg as u64, 1)
        }
        .expect("a buffer ring");
        let mut provided = Provided {
            ring,
            memory,
            tail: 0,
        };
        (0..buffers).for_each(|bid| provided.give(bid));
        provided
    }

    fn give(&mut self, bid: u16) {
        // SAFETY: the buffer lies in its page, which is never freed.
        let buffer = unsafe { self.memory.add(usize::from(bid) * BYTES) };
        self.give_at(buffer as u64, BYTES, bid);
    }

    fn give_at(&mut self, addr: u64, len: usize, bid: u16) {
        // SAFETY: the masked index lies in the ring, which is never freed.
        unsafe {
            let entry = &mut *self.ring.add(usize::from(self.tail % BUFFERS));
            entry.set_addr(addr);
            entry.set_len(len as u32);
            entry.set_bid(bid);
            self.tail = self.tail.wrapping_add(1);
            let tail = types::BufRingEntry::tail(self.ring).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

#[test]
fn multishot_receives() {
    for (slot, bundle) in [(0, false), (0, true), (2, false)] {
        let from = [1; BYTES];
        let mut engines = Engines::new();
        engines.connect_streams();
        engines.connect_datagrams();
        let mut provided = Provided::new(&mut engines.b, BUFFERS);
        let recv = match bundle {
            false => opcode::RecvMulti::new(types::Fixed(slot), GROUP).build(),
            true => opcode::RecvMultiBundle::new(types::Fixed(slot), GROUP).build(),
        };
        push(&mut engines.b, recv);
        assert_no_calls(|| {
            push(&mut engines.a, send(slot, &from).build());
            wait(&mut engines, 1, 0);
            engines.wait(second, 1, |cqe| {
                assert_eq!(cqe.result(), BYTES as i32);
                provided.give(cqueue::buffer_select(cqe.flags()).expect("a buffer"));
            });
        });
    }
}

#[test]
fn sends_from_provided_buffers() {
    let mut to = [0; 2 * BYTES];
    let mut engines = streams();
    let mut provided = Provided::new(&mut engines.a, 2);
    assert_no_calls(|| {
        push(
            &mut engines.b,
            recv(0, &mut to).flags(libc::MSG_WAITALL).build(),
        );
        let bundle = opcode::SendBundle::new(types::Fixed(0), GROUP);
        push(&mut engines.a, bundle.build());
        engines.wait(second, 1, |cqe| assert_eq!(cqe.result(), 2 * BYTES as i32));
        engines.wait(first, 1, |cqe| assert!(!cqueue::more(cqe.flags())));
        (0..2).for_each(|bid| provided.give(bid));
    });
}

/// Bundles of registered memory in UMEM, with their notifications: on a stream of pieces that lie apart, and as
/// datagrams of pieces that lie side by side.
#[test]
fn zero_copy_sends_from_provided_registered_buffers() {
    // Two full segments, which are acknowledged at once; one datagram that is not fragmented.
    for (socket, len, apart) in [(0, 1448, 4000), (2, 724, 724)] {
        let mut engines = Engines::with(&Setup {
            areas: vec![AreaLayout::Plain(2 * 4096)],
            ..Setup::default()
        });
        engines.connect_streams();
        engines.connect_datagrams();
        let row = engines.a.area(0);
        let buffer = libc::iovec {
            iov_base: row.as_ptr().cast_mut().cast(),
            iov_len: row.len(),
        };
        // SAFETY: the row outlives the engines' use of it, and the argument lives through the call.
        unsafe {
            let engine = &mut engines.a.engine;
            engine.register(IORING_REGISTER_BUFFERS, &raw const buffer as u64, 1)
        }
        .expect("a registered buffer");
        let mut provided = Provided::new(&mut engines.a, 0);
        let mut to = vec![0; 2 * len];
        let bundle = send_zc(types::Fixed(socket), GROUP, 0).bundle().build();
        assert_no_calls(|| {
            for bid in 0..2 {
                let offset = u64::from(bid) * apart;
                provided.give_at(entry_addr(0, offset), len, bid);
            }
            let recv = recv(socket, &mut to).flags(libc::MSG_WAITALL);
            push(&mut engines.b, recv.build());
            push(&mut engines.a, bundle.clone());
            engines.wait(second, 1, |cqe| assert_eq!(cqe.result(), 2 * len as i32));
            engines.wait(first, 2, |cqe| {
                assert_eq!(cqueue::buffer_select(cqe.flags()), Some(0));
            });
        });
    }
}

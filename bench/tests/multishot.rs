//! Multishot receives of what is lent, between two engines in memory: what ends them, what they leave, and whose
//! turn it is. By lent groups over UDP and TCP, and by RECV_ZC; over IPv4 and IPv6.

use std::net::IpAddr;

use ringwire::types::RecvMsgOut;
use ringwire::{cqueue, opcode, squeue, types};
use ringwire_abi::flags::{
    IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUFFER, IORING_CQE_F_MORE, IORING_CQE_F_SOCK_NONEMPTY,
};
use ringwire_bench::engines::{Engines, Setup, V4, V6, first, second};
use ringwire_bench::groups::Group;
use ringwire_bench::refill::ZeroCopyReceive;

const GROUP: u16 = 1;
const RECEIVE: u64 = 1;
const STREAM: types::Fixed = types::Fixed(0);
const DATAGRAMS: types::Fixed = types::Fixed(2);
const FAMILIES: [[IpAddr; 2]; 2] = [V4, V6];
/// Entries of a completion queue.
const QUEUE: usize = 512;
/// Bytes of a segment that keeps its chunk: shorter ones are put behind others.
const SEGMENT: usize = 300;
/// Receives of one request before others have their turn.
const TURN: usize = 33;

/// `user_data`, result, flags.
type Done = (u64, i32, u32);

/// What a completion says that names an id.
fn named(bid: u16) -> u32 {
    IORING_CQE_F_BUFFER | u32::from(bid) << IORING_CQE_BUFFER_SHIFT
}

fn goes_on(bid: u16) -> u32 {
    named(bid) | IORING_CQE_F_MORE
}

/// Two engines, connected by both protocols; the second has a lent group.
struct Bed {
    engines: Engines,
    group: Group,
}

impl Bed {
    fn new(addresses: [IpAddr; 2], ids: u16) -> Bed {
        let mut engines = Engines::new();
        engines.connect_streams_over(addresses);
        engines.connect_datagrams_over(addresses);
        let group = Group::lent(&mut engines.b.engine, GROUP, ids);
        Bed { engines, group }
    }

    /// Takes turns until all that was sent has arrived; what the second has completed.
    fn turns(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        for _ in 0..8 {
            self.engines.turn();
            let completions = self.engines.b.engine.completion();
            done.extend(completions.map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags())));
        }
        done
    }

    /// Submits at the second.
    fn submit(&mut self, entry: squeue::Entry) -> Vec<Done> {
        // SAFETY: what the entries point at outlives the turns that follow.
        unsafe { self.engines.b.push(&entry) };
        self.turns()
    }

    fn arm(&mut self, socket: types::Fixed) -> Vec<Done> {
        self.submit(receive(socket))
    }

    /// Sends from the first; what the second has completed then.
    fn send(&mut self, socket: types::Fixed, payload: &[u8]) -> Vec<Done> {
        let send = opcode::Send::new(socket, payload.as_ptr(), payload.len() as u32);
        // SAFETY: the payload lives, and the send is over when the turns are.
        unsafe { self.engines.a.push(&send.build()) };
        let done = self.turns();
        let sent: Vec<_> = self.engines.a.engine.completion().collect();
        assert!(matches!(&sent[..], [cqe] if cqe.result() == payload.len() as i32));
        done
    }

    fn at_first(&mut self, entry: squeue::Entry) -> Vec<Done> {
        // SAFETY: the entries of the tests that call this point at nothing.
        let res = unsafe { self.engines.run(first, &entry) };
        assert_eq!(res, 0);
        self.turns()
    }

    /// Chunks that the second's application has been lent.
    fn lent(&self) -> u32 {
        self.engines.b.engine.census().app
    }
}

fn receive(socket: types::Fixed) -> squeue::Entry {
    opcode::RecvMulti::new(socket, GROUP)
        .build()
        .user_data(RECEIVE)
}

fn raw(entry: squeue::Entry, change: impl FnOnce(&mut [u8; 64])) -> squeue::Entry {
    const { assert!(size_of::<squeue::Entry>() == 64) };
    // SAFETY: an entry is 64 bytes, any of which may have any value.
    let mut bytes: [u8; 64] = unsafe { std::mem::transmute(entry) };
    change(&mut bytes);
    // SAFETY: the same.
    unsafe { std::mem::transmute(bytes) }
}

/// A receive that ends with so many bytes in all.
fn limited(socket: types::Fixed, bytes: u32) -> squeue::Entry {
    raw(receive(socket), |entry| {
        entry[44..48].copy_from_slice(&bytes.to_ne_bytes());
    })
}

/// One with at most so many bytes in a completion.
fn capped(socket: types::Fixed, bytes: u32) -> squeue::Entry {
    raw(receive(socket), |entry| {
        entry[24..28].copy_from_slice(&bytes.to_ne_bytes());
    })
}

#[test]
fn datagrams_are_lent_until_the_group_is_empty_which_ends_it_at_once() {
    for addresses in FAMILIES {
        let mut bed = Bed::new(addresses, 2);
        assert_eq!(bed.arm(DATAGRAMS), []);
        assert_eq!(bed.send(DATAGRAMS, b"one"), [(RECEIVE, 3, goes_on(0))]);
        let last = [(RECEIVE, 3, goes_on(1)), (RECEIVE, -libc::ENOBUFS, 0)];
        assert_eq!(bed.send(DATAGRAMS, b"two"), last);
        assert_eq!(
            (bed.group.bytes(0, 3), bed.group.bytes(1, 3)),
            (&b"one"[..], &b"two"[..])
        );
        // What comes then waits for the next receive, and its id for the application.
        assert_eq!(bed.send(DATAGRAMS, b"three"), []);
        bed.group.give(1);
        let expected = [(RECEIVE, 5, goes_on(1)), (RECEIVE, -libc::ENOBUFS, 0)];
        assert_eq!(bed.arm(DATAGRAMS), expected);
        assert_eq!(bed.group.bytes(1, 5), b"three");
    }
}

#[test]
fn a_stream_is_lent_until_a_byte_comes_that_no_id_is_left_for() {
    for addresses in FAMILIES {
        let mut bed = Bed::new(addresses, 1);
        assert_eq!(bed.arm(STREAM), []);
        assert_eq!(bed.send(STREAM, b"one"), [(RECEIVE, 3, goes_on(0))]);
        assert_eq!(bed.turns(), [], "the queue was drained");
        assert_eq!(bed.send(STREAM, b"two"), [(RECEIVE, -libc::ENOBUFS, 0)]);
        assert_eq!(bed.group.bytes(0, 3), b"one");
        bed.group.give(0);
        assert_eq!(bed.arm(STREAM), [(RECEIVE, 3, goes_on(0))]);
        assert_eq!(bed.group.bytes(0, 3), b"two");
    }
}

#[test]
fn the_end_of_a_stream_names_no_id() {
    for addresses in FAMILIES {
        let mut bed = Bed::new(addresses, 2);
        bed.arm(STREAM);
        bed.send(STREAM, b"last");
        let shutdown = opcode::Shutdown::new(STREAM, libc::SHUT_WR).build();
        let end = (RECEIVE, 0, IORING_CQE_F_SOCK_NONEMPTY);
        assert_eq!(bed.at_first(shutdown), [end]);
        assert_eq!(bed.lent(), 1);
    }
}

#[test]
fn a_reset_ends_it_with_its_error() {
    for addresses in FAMILIES {
        let mut bed = Bed::new(addresses, 2);
        bed.arm(STREAM);
        // The first closes with something unread (RFC 2525, section 2.17).
        let back = opcode::Send::new(STREAM, b"unread".as_ptr(), 6)
            .build()
            .user_data(2);
        assert_eq!(bed.submit(back), [(2, 6, 0)]);
        let done = bed.at_first(opcode::Close::new(STREAM).build());
        assert_eq!(done, [(RECEIVE, -libc::ECONNRESET, 0)]);
        assert_eq!(bed.lent(), 0);
    }
}

#[test]
fn an_empty_datagram_ends_it_and_takes_no_id() {
    for addresses in FAMILIES {
        let mut bed = Bed::new(addresses, 1);
        bed.arm(DATAGRAMS);
        assert_eq!(bed.send(DATAGRAMS, b""), [(RECEIVE, 0, 0)]);
        bed.arm(DATAGRAMS);
        assert_eq!(bed.send(DATAGRAMS, b"id 0")[0], (RECEIVE, 4, goes_on(0)));
    }
}

#[test]
fn a_limit_in_bytes_ends_it_with_the_data_that_reaches_it() {
    for addresses in FAMILIES {
        for socket in [DATAGRAMS, STREAM] {
            let mut bed = Bed::new(addresses, 4);
            bed.submit(limited(socket, 8));
            assert_eq!(bed.send(socket, b"first"), [(RECEIVE, 5, goes_on(0))]);
            assert_eq!(bed.send(socket, b"other"), [(RECEIVE, 5, named(1))]);
            assert_eq!(bed.send(socket, b"waits"), []);
            assert_eq!(bed.arm(socket), [(RECEIVE, 5, goes_on(2))]);
        }
    }
}

#[test]
fn a_capped_stream_comes_in_parts_of_one_frame() {
    for addresses in FAMILIES {
        let mut bed = Bed::new(addresses, 2);
        bed.submit(capped(STREAM, 4));
        let done = bed.send(STREAM, b"0123456789");
        let lens: Vec<i32> = done.iter().map(|done| done.1).collect();
        assert_eq!(lens, [4, 4, 2]);
        let bids = done.iter().map(|done| cqueue::buffer_select(done.2));
        assert!(bids.eq([Some(0); 3]), "one id for one frame: {done:?}");
        assert_eq!(bed.lent(), 1);
    }
}

#[test]
fn a_capped_datagram_is_cut() {
    for addresses in FAMILIES {
        let mut bed = Bed::new(addresses, 2);
        bed.submit(capped(DATAGRAMS, 4));
        assert_eq!(
            bed.send(DATAGRAMS, b"0123456789"),
            [(RECEIVE, 4, goes_on(0))]
        );
        assert_eq!(bed.group.bytes(0, 4), b"0123");
        assert_eq!(bed.send(DATAGRAMS, b"next")[0], (RECEIVE, 4, goes_on(1)));
    }
}

#[test]
fn it_is_cancelled_and_what_is_lent_stays() {
    for addresses in FAMILIES {
        for socket in [DATAGRAMS, STREAM] {
            let mut bed = Bed::new(addresses, 2);
            bed.arm(socket);
            bed.send(socket, b"stays");
            let cancel = opcode::AsyncCancel::new(RECEIVE).build().user_data(2);
            assert_eq!(
                bed.submit(cancel),
                [(2, 0, 0), (RECEIVE, -libc::ECANCELED, 0)]
            );
            assert_eq!(bed.group.bytes(0, 5), b"stays");
        }
    }
}

#[test]
fn shutting_down_receiving_ends_a_streams_and_no_datagrams() {
    for addresses in FAMILIES {
        let mut bed = Bed::new(addresses, 2);
        bed.arm(STREAM);
        let down = |socket| {
            opcode::Shutdown::new(socket, libc::SHUT_RD)
                .build()
                .user_data(2)
        };
        let mut done = bed.submit(down(STREAM));
        done.sort_unstable();
        assert_eq!(done, [(RECEIVE, 0, 0), (2, 0, 0)]);
        bed.arm(DATAGRAMS);
        assert_eq!(bed.submit(down(DATAGRAMS)), [(2, 0, 0)]);
        assert_eq!(bed.send(DATAGRAMS, b"still"), [(RECEIVE, 5, goes_on(0))]);
    }
}

#[test]
fn a_full_queue_ends_it_with_the_data_that_found_no_room() {
    for addresses in FAMILIES {
        for socket in [DATAGRAMS, STREAM] {
            let mut bed = Bed::new(addresses, 4);
            bed.arm(socket);
            for _ in 0..2 {
                for _ in 0..QUEUE / 2 {
                    // SAFETY: a NOP points at nothing.
                    unsafe { bed.engines.b.push(&opcode::Nop::new().build()) };
                }
                bed.engines.turn();
            }
            let text = b"overflows";
            let send = opcode::Send::new(socket, text.as_ptr(), text.len() as u32);
            // SAFETY: the text is static.
            unsafe { bed.engines.run(first, &send.build()) };
            (0..8).for_each(|_| bed.engines.turn());
            bed.engines.b.engine.completion().for_each(drop);
            assert!(bed.engines.b.engine.flush_overflow());
            assert_eq!(bed.turns(), [(RECEIVE, 9, named(0))]);
            assert_eq!(bed.group.bytes(0, 9), text);
        }
    }
}

#[test]
fn a_bundle_goes_on_behind_the_last_id_and_ends_where_none_is_left() {
    for addresses in FAMILIES {
        let mut bed = Bed::new(addresses, 2);
        for text in [[1; SEGMENT], [2; SEGMENT], [3; SEGMENT]] {
            assert_eq!(bed.send(STREAM, &text), []);
        }
        let bundle = opcode::RecvMultiBundle::new(STREAM, GROUP).build();
        let both = 2 * SEGMENT as i32;
        let more = goes_on(0) | IORING_CQE_F_SOCK_NONEMPTY;
        let expected = [(RECEIVE, both, more), (RECEIVE, -libc::ENOBUFS, 0)];
        assert_eq!(bed.submit(bundle.user_data(RECEIVE)), expected);
        assert_eq!(bed.group.bytes(0, SEGMENT), [1; SEGMENT]);
        assert_eq!(bed.group.bytes(1, SEGMENT), [2; SEGMENT]);
        bed.group.give(0);
        assert_eq!(bed.arm(STREAM), [(RECEIVE, SEGMENT as i32, goes_on(0))]);
    }
}

#[test]
fn without_frames_it_ends_and_nothing_is_lost() {
    for addresses in FAMILIES {
        for socket in [DATAGRAMS, STREAM] {
            let mut bed = Bed::new(addresses, 512);
            bed.arm(socket);
            let mut bids = Vec::new();
            let number = |at: usize| [at as u8; SEGMENT];
            let ended = (0..512).find(|&at| match bed.send(socket, &number(at))[..] {
                [(RECEIVE, len, flags)] if len > 0 => {
                    bids.extend(cqueue::buffer_select(flags));
                    false
                }
                [(RECEIVE, res, 0)] => {
                    assert_eq!(res, -libc::ENOBUFS);
                    true
                }
                ref other => panic!("{other:?}"),
            });
            let ended = ended.expect("the reserve is not lent");
            assert_eq!(bids.len(), ended);
            bids.into_iter().for_each(|bid| bed.group.give(bid));
            let next = ended as u16;
            assert_eq!(bed.arm(socket), [(RECEIVE, SEGMENT as i32, goes_on(next))]);
            assert_eq!(bed.group.bytes(next, SEGMENT), number(ended));
        }
    }
}

#[test]
fn messages_of_datagrams_have_their_senders_name_and_streams_have_none() {
    for addresses in FAMILIES {
        let mut bed = Bed::new(addresses, 2);
        // SAFETY: all zeroes is a valid msghdr.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_namelen = 28;
        let messages = |socket| {
            let entry = opcode::RecvMsgMulti::new(socket, &raw const header, GROUP);
            entry.build().user_data(RECEIVE)
        };
        assert_eq!(bed.submit(messages(STREAM)), [(RECEIVE, -libc::EINVAL, 0)]);
        assert_eq!(bed.submit(messages(DATAGRAMS)), []);
        let whole = 16 + 28 + 5;
        assert_eq!(
            bed.send(DATAGRAMS, b"hello"),
            [(RECEIVE, whole, goes_on(0))]
        );
        let bytes = bed.group.bytes(0, whole as usize);
        let message = RecvMsgOut::parse(bytes, &header).expect("a message");
        let (family, address) = match addresses[0] {
            IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
            IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
        };
        let name = message.name_data();
        let at = if name.len() == 28 { 8 } else { 4 };
        assert_eq!(name[..2], (family as u16).to_ne_bytes());
        assert_eq!(name[at..][..address.len()], address);
        assert_eq!(message.payload_data(), b"hello");
        // An empty one is the last, and has its header.
        assert_eq!(bed.send(DATAGRAMS, b""), [(RECEIVE, 16 + 28, named(1))]);
    }
}

#[test]
fn a_message_without_an_area_for_names_says_that_there_is_none() {
    let mut bed = Bed::new(V4, 2);
    // SAFETY: all zeroes is a valid msghdr.
    let header: libc::msghdr = unsafe { std::mem::zeroed() };
    let entry = opcode::RecvMsgMulti::new(DATAGRAMS, &raw const header, GROUP);
    bed.submit(entry.build().user_data(RECEIVE));
    bed.send(DATAGRAMS, b"hello");
    assert_eq!(bed.group.bytes(0, 21)[..4], [0; 4]);
}

/// Both were served in turn. The protocols are asked in turn for who is next, so that one may have two turns in a
/// row.
fn in_turn(done: impl Iterator<Item = u64>) {
    let mut runs: Vec<(u64, usize)> = Vec::new();
    for who in done {
        match runs.last_mut() {
            Some((last, count)) if *last == who => *count += 1,
            _ => runs.push((who, 1)),
        }
    }
    assert_eq!(runs[0], (1, TURN));
    assert!(runs.iter().all(|(_, count)| *count <= 2 * TURN), "{runs:?}");
}

/// More of both than one request gets in two turns.
fn send_many(engines: &mut Engines) -> usize {
    let many = 2 * TURN + 7;
    let payload = [7; SEGMENT];
    for _ in 0..many {
        for socket in [STREAM, DATAGRAMS] {
            let send = opcode::Send::new(socket, payload.as_ptr(), SEGMENT as u32);
            // SAFETY: the payload lives, and each request is waited for.
            let res = unsafe { engines.run(first, &send.build()) };
            assert_eq!(res, SEGMENT as i32);
        }
    }
    (0..8).for_each(|_| engines.turn());
    many
}

#[test]
fn who_has_had_its_turn_lets_others_have_theirs() {
    for addresses in FAMILIES {
        let mut bed = Bed::new(addresses, 256);
        let many = send_many(&mut bed.engines);
        for (socket, who) in [(STREAM, 1), (DATAGRAMS, 2)] {
            // SAFETY: it points at nothing.
            unsafe { bed.engines.b.push(&receive(socket).user_data(who)) };
        }
        let done = bed.turns();
        assert!(done.iter().all(|done| done.1 == SEGMENT as i32), "{done:?}");
        assert_eq!(done.len(), 2 * many);
        in_turn(done.iter().map(|done| done.0));
    }
}

/// Two engines whose second may receive by RECV_ZC.
fn zero_copy(addresses: [IpAddr; 2]) -> (Engines, ZeroCopyReceive) {
    let mut engines = Engines::with(&Setup {
        zero_copy_receive: true,
        ..Setup::default()
    });
    engines.connect_streams_over(addresses);
    engines.connect_datagrams_over(addresses);
    let refills = ZeroCopyReceive::register(&mut engines.b.engine);
    (engines, refills)
}

/// Arms RECV_ZC, and takes turns; what the second has completed: `user_data`, result, whether more comes, and
/// the bytes.
fn arm_zero_copy(
    engines: &mut Engines,
    refills: &ZeroCopyReceive,
    limit: u32,
) -> Vec<(i32, bool, Vec<u8>)> {
    let receive = opcode::RecvZc::new(STREAM, limit).ifq(refills.id);
    // SAFETY: it points at nothing.
    unsafe { engines.b.push(&receive.build().user_data(RECEIVE)) };
    let mut done = Vec::new();
    for _ in 0..8 {
        engines.turn();
        second(engines).each_completion(|cqe, offset| {
            let bytes = match cqe.result() {
                len @ 1.. => refills.bytes(offset, len as usize).to_vec(),
                _ => Vec::new(),
            };
            done.push((cqe.result(), cqueue::more(cqe.flags()), bytes));
        });
    }
    done
}

fn send_at_first(engines: &mut Engines, payload: &[u8]) {
    let send = opcode::Send::new(STREAM, payload.as_ptr(), payload.len() as u32);
    // SAFETY: the payload lives until the request has completed.
    let res = unsafe { engines.run(first, &send.build()) };
    assert_eq!(res, payload.len() as i32);
    (0..8).for_each(|_| engines.turn());
}

#[test]
fn recv_zc_ends_at_its_limit_and_at_the_end_of_the_stream() {
    for addresses in FAMILIES {
        let (mut engines, refills) = zero_copy(addresses);
        send_at_first(&mut engines, b"0123456789");
        let done = arm_zero_copy(&mut engines, &refills, 4);
        assert_eq!(done, [(4, true, b"0123".to_vec()), (0, false, vec![])]);
        let shutdown = opcode::Shutdown::new(STREAM, libc::SHUT_WR).build();
        // SAFETY: it points at nothing.
        assert_eq!(unsafe { engines.run(first, &shutdown) }, 0);
        let done = arm_zero_copy(&mut engines, &refills, 0);
        assert_eq!(done, [(6, true, b"456789".to_vec()), (0, false, vec![])]);
    }
}

#[test]
fn recv_zc_lets_others_have_their_turn() {
    for addresses in FAMILIES {
        let (mut engines, refills) = zero_copy(addresses);
        let _group = Group::lent(&mut engines.b.engine, GROUP, 256);
        let many = send_many(&mut engines);
        let stream = opcode::RecvZc::new(STREAM, 0).ifq(refills.id).build();
        for (entry, who) in [(stream, 1), (receive(DATAGRAMS), 2)] {
            // SAFETY: it points at nothing.
            unsafe { engines.b.push(&entry.user_data(who)) };
        }
        let mut done = Vec::new();
        for _ in 0..8 {
            engines.turn();
            second(&mut engines).each_completion(|cqe, _| done.push(cqe.user_data()));
        }
        assert_eq!(done.len(), 2 * many);
        in_turn(done.into_iter());
    }
}

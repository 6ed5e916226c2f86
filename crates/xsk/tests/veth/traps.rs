//! What the kernel does of its own accord, without a word or with a misleading one.

use std::sync::Arc;

use libtest_mimic::Trial;
use ringwire_umem::Umem;
use ringwire_xsk::{
    AttachMode, Attached, Desc, Interface, Kick, Program, QueueConfig, Rings, Socket,
};

use crate::OURS;
use crate::support::{CHUNK, config, ethernet, fill, ipv4, open, run, trial, udp, umem, veth};
use crate::wire::{Peer, SEND_AREA, completions, read, send, shared, soon, write};

pub fn cases() -> Vec<Trial> {
    vec![
        trial(
            "a_call_that_does_not_send_all_asks_for_another",
            a_call_that_does_not_send_all_asks_for_another,
        ),
        trial(
            "a_packet_that_the_other_end_does_not_take_completes",
            a_packet_that_the_other_end_does_not_take_completes,
        ),
        trial(
            "a_packet_of_too_many_descriptors_is_counted_and_not_sent",
            a_packet_of_too_many_descriptors_is_counted_and_not_sent,
        ),
        trial(
            "a_frame_in_pieces_is_dropped_by_a_socket_without_scatter",
            a_frame_in_pieces_is_dropped_by_a_socket_without_scatter,
        ),
        trial(
            "a_large_mtu_takes_the_program_in_the_driver",
            a_large_mtu_takes_the_program_in_the_driver,
        ),
        trial(
            "a_tag_beside_the_packet_is_not_seen_until_it_is_written_into_it",
            a_tag_beside_the_packet_is_not_seen_until_it_is_written_into_it,
        ),
    ]
}

fn datagram(payload: &[u8]) -> Vec<u8> {
    ethernet(0x0800, &ipv4(OURS, 17, 0, 0, &udp(5000, 7, payload)))
}

/// Puts a packet into the TX ring, in so many bytes a descriptor, all in the first chunk for sending.
fn push(rings: &mut Rings, umem: &Umem, frame: &[u8], piece_bytes: usize) {
    write(umem, SEND_AREA, frame);
    let mut addr = SEND_AREA;
    let mut pieces = frame.chunks(piece_bytes).peekable();
    while let Some(piece) = pieces.next() {
        let (len, more) = (piece.len() as u32, pieces.peek().is_some());
        let options = if more { Desc::CONTINUED } else { 0 };
        rings.tx.push(Desc { addr, len, options }).unwrap();
        addr += u64::from(len);
    }
}

/// `TX_BATCH_SIZE` (net/xdp/xsk.c): a call sends 32 descriptors, unless `XDP_MAX_TX_SKB_BUDGET` says otherwise.
fn a_call_that_does_not_send_all_asks_for_another() {
    const COUNT: u32 = 48;
    let (local, umem) = (veth(), umem());
    let (socket, mut rings) = open(&local, 0, &umem);
    let peer = Peer::new();
    let frame = datagram(b"one of many");
    (0..COUNT).for_each(|_| push(&mut rings, &umem, &frame, frame.len()));
    rings.tx.publish();
    assert_eq!(socket.kick_tx().unwrap(), Kick::Retry);
    let left = rings.tx.len();
    assert!(left > 0 && left < COUNT, "{left} left");
    assert!(rings.tx.needs_wakeup(), "nobody sends the rest by itself");
    assert_eq!(socket.kick_tx().unwrap(), Kick::Done);
    assert!(rings.tx.is_empty());
    (0..COUNT).for_each(|_| assert_eq!(peer.receive(), frame));
    completions(&mut rings, COUNT);
}

/// The errno, EBUSY, is that of a driver with a full queue; but there is nothing to send again.
fn a_packet_that_the_other_end_does_not_take_completes() {
    let (local, umem) = (veth(), umem());
    let (socket, mut rings) = open(&local, 0, &umem);
    let peer = Peer::new();
    run("ip link set peer mtu 600");
    let large = datagram(&[b'x'; 900]);
    push(&mut rings, &umem, &large, large.len());
    rings.tx.publish();
    assert_eq!(socket.kick_tx().unwrap(), Kick::Retry);
    assert!(rings.tx.is_empty());
    assert_eq!(completions(&mut rings, 1), [SEND_AREA]);
    let small = datagram(b"small");
    send(&socket, &mut rings, &umem, &[&small]);
    assert_eq!(peer.receive(), small, "the large one was not sent");
}

/// As many as the stack plans at most (`PlanLimits::SCATTER`) are taken.
fn a_packet_of_too_many_descriptors_is_counted_and_not_sent() {
    const MOST: usize = 17;
    let (local, umem) = (veth(), umem());
    let (socket, mut rings) = open(&local, 0, &umem);
    let peer = Peer::new();
    let invalid = || socket.statistics().unwrap().tx_invalid_descs;
    let taken = datagram(&[b'x'; MOST * 20 - 42]);
    push(&mut rings, &umem, &taken, 20);
    rings.tx.publish();
    soon(|| (socket.kick_tx().unwrap() == Kick::Done).then_some(()));
    assert_eq!((peer.receive(), invalid()), (taken, 0));
    completions(&mut rings, MOST as u32);
    let refused = datagram(&[b'y'; (MOST + 2) * 20 - 42]);
    push(&mut rings, &umem, &refused, 20);
    rings.tx.publish();
    soon(|| {
        socket.kick_tx().unwrap();
        rings.tx.is_empty().then_some(())
    });
    assert!(invalid() > 0);
    let next = datagram(b"the next one");
    send(&socket, &mut rings, &umem, &[&next]);
    assert_eq!(peer.receive(), next, "the long one was not sent");
}

/// A socket for each of the two queues.
fn both_queues(
    local: &Interface,
    umem: &Arc<Umem>,
    program: &Program,
    scatter: bool,
) -> [(Socket, Rings); 2] {
    let (fill0, fill1) = (fill(0), fill(1));
    let asked = |queue, fill| QueueConfig {
        scatter,
        ..config(local, queue, umem, fill)
    };
    let first = Socket::open(&asked(0, &fill0)).unwrap();
    let second = Socket::open(&shared(&first.0, asked(1, &fill1))).unwrap();
    program.set_queue(0, &first.0).unwrap();
    program.set_queue(1, &second.0).unwrap();
    [first, second]
}

/// The next frame of one descriptor, by whichever queue.
fn receive(sockets: &mut [(Socket, Rings); 2], umem: &Umem) -> Vec<u8> {
    let desc = soon(|| sockets.iter_mut().find_map(|(_, rings)| rings.rx.pop()));
    assert!(!desc.is_continued());
    read(umem, desc)
}

/// `xsk_rcv`: a program that is given packets in pieces does not make a socket that takes them (Linux 6.6).
fn a_frame_in_pieces_is_dropped_by_a_socket_without_scatter() {
    let (local, umem) = (veth(), umem());
    run("ip link set local mtu 9000");
    run("ip link set peer mtu 9000");
    let program = Program::attach(&local, AttachMode::Native).unwrap();
    let mut sockets = both_queues(&local, &umem, &program, false);
    program.own_address(OURS.into()).unwrap();
    let peer = Peer::new();
    peer.send(&datagram(&[b'x'; CHUNK as usize]));
    let dropped = |sockets: &[(Socket, Rings); 2]| -> u64 {
        let counted = |(socket, _): &(Socket, Rings)| socket.statistics().unwrap().rx_dropped;
        sockets.iter().map(counted).sum()
    };
    soon(|| (dropped(&sockets) == 1).then_some(()));
    let small = datagram(b"small");
    peer.send(&small);
    assert_eq!(receive(&mut sockets, &umem), small);
}

/// Beyond an MTU of 3506 veth refuses a program that is not given packets in pieces (`veth_xdp_set`).
fn a_large_mtu_takes_the_program_in_the_driver() {
    let local = veth();
    run("ip link set local mtu 9000");
    run("ip link set peer mtu 9000");
    let program = Program::attach(&local, AttachMode::Native).unwrap();
    assert_eq!(program.mode(), Attached::Native);
    run("ip link set peer mtu 65535");
}

/// The kernel takes a tag out of a packet that it receives, and a veth with `txvlan` sends it on without: here by a
/// bridge, from `outside` to `peer`.
fn a_tag_beside_the_packet_is_not_seen_until_it_is_written_into_it() {
    let (local, umem) = (veth(), umem());
    run("ip link add inside type veth peer name outside");
    run("ip link add bridge type bridge");
    for port in ["inside", "peer"] {
        run(&format!("ip link set {port} master bridge up"));
    }
    run("ip link set bridge up");
    let network = Peer::at("outside");
    let untagged = datagram(b"of another network");
    let mut tagged = untagged.clone();
    tagged.splice(12..12, [0x81, 0x00, 0, 5]);
    for mode in [AttachMode::Native, AttachMode::Generic] {
        run("ethtool -K peer txvlan on");
        let program = Program::attach(&local, mode).unwrap();
        let mut sockets = both_queues(&local, &umem, &program, true);
        program.own_address(OURS.into()).unwrap();
        let passed = || program.counters().unwrap().pass_vlan;
        // A port of a bridge forwards some time after its link has come up.
        soon(|| {
            network.send(&tagged);
            let arrived = |(_, rings): &mut (Socket, Rings)| rings.rx.available() > 0;
            sockets.iter_mut().any(arrived).then_some(())
        });
        assert_eq!(receive(&mut sockets, &umem), untagged, "{mode:?}");
        assert_eq!(passed(), 0, "{mode:?}");
        run("ethtool -K peer txvlan off");
        network.send(&tagged);
        soon(|| (passed() == 1).then_some(()));
    }
}

//! Sockets and rings on a veth pair: frames in and out, and what a set-up is refused with.

#[path = "../support/mod.rs"]
mod support;

mod anew;
mod carrier;
mod checksum;
mod pair;
mod rtnetlink;
mod traps;
mod wire;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use ringwire_umem::Umem;
use ringwire_xsk::{
    AttachMode, Attached, BindMode, Desc, Error, Interface, Kick, Mode, Program, Protocol,
    QueueConfig, Socket,
};

use support::{CHUNK, RING, config, ethernet, fill, ipv4, open, run, trial, udp, umem, veth};
use wire::{Peer, SEND_AREA, completions, read, send, shared, soon};

const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn main() {
    let mut trials: Vec<Trial> = vec![
        carrier::case(),
        trial("an_interface_is_described", an_interface_is_described),
        trial(
            "the_kernel_tells_what_veth_offers",
            the_kernel_tells_what_veth_offers,
        ),
        trial(
            "zero_copy_is_refused_by_veth_and_remembered",
            zero_copy_is_refused_by_veth_and_remembered,
        ),
        trial(
            "two_queues_over_one_umem_receive",
            two_queues_over_one_umem_receive,
        ),
        trial("the_generic_mode_receives", the_generic_mode_receives),
        trial(
            "a_frame_larger_than_a_chunk_arrives_in_pieces",
            a_frame_larger_than_a_chunk_arrives_in_pieces,
        ),
        trial(
            "packets_of_one_and_three_descriptors_are_sent",
            packets_of_one_and_three_descriptors_are_sent,
        ),
        trial(
            "the_kernel_writes_the_checksum_that_metadata_asks_for",
            checksum::the_kernel_writes_the_checksum_that_metadata_asks_for,
        ),
        trial(
            "a_descriptor_without_room_for_metadata_is_not_sent",
            checksum::a_descriptor_without_room_for_metadata_is_not_sent,
        ),
        trial(
            "a_bad_descriptor_is_counted_and_not_sent",
            a_bad_descriptor_is_counted_and_not_sent,
        ),
        trial(
            "a_taken_queue_is_named_and_comes_free",
            a_taken_queue_is_named_and_comes_free,
        ),
        trial(
            "a_queue_that_is_not_there_is_named",
            a_queue_that_is_not_there_is_named,
        ),
        trial(
            "what_the_kernel_would_not_take_is_refused",
            what_the_kernel_would_not_take_is_refused,
        ),
        trial(
            "a_foreign_program_is_not_replaced",
            a_foreign_program_is_not_replaced,
        ),
        trial(
            "a_program_goes_with_its_owner_whoever_else_has_its_link",
            a_program_goes_with_its_owner_whoever_else_has_its_link,
        ),
        trial(
            "a_multicast_group_is_joined_while_the_guard_lives",
            a_multicast_group_is_joined_while_the_guard_lives,
        ),
    ];
    trials.extend(rtnetlink::cases());
    trials.extend(anew::cases());
    trials.extend(traps::cases());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn an_interface_is_described() {
    veth();
    run("ip link set local mtu 1400 address 02:00:00:00:00:01");
    let local = Interface::by_name("local").unwrap();
    assert_eq!(
        (local.name.as_str(), local.driver.as_str()),
        ("local", "veth")
    );
    assert_eq!((local.mac, local.mtu), ([2, 0, 0, 0, 0, 1], 1400));
    assert_eq!((local.up, local.rx_queues), (false, 2));
    run("ip link set local up");
    assert!(Interface::by_name("local").unwrap().up);
    for name in [
        "nowhere",
        "",
        "a_name_longer_than_any_interface_has",
        "lo\0cal",
    ] {
        assert!(
            matches!(Interface::by_name(name), Err(Error::NoInterface { .. })),
            "{name:?}"
        );
    }
}

fn the_kernel_tells_what_veth_offers() {
    let features = veth().features();
    if features.unknown.as_deref() == Some("needs Linux 6.3") {
        eprintln!("this kernel has no netdev family");
        return;
    }
    assert_eq!(features.zero_copy, Some(false), "{features:?}");
    assert_eq!(features.zero_copy_segments, None);
    // Not told before Linux 6.8.
    assert_ne!(features.tx_checksum, Some(true));
}

fn zero_copy_is_refused_by_veth_and_remembered() {
    let (local, umem) = (veth(), umem());
    let (socket, _rings) = open(&local, 0, &umem);
    assert_eq!((socket.mode(), socket.queue()), (Mode::Copy, 0));
    let refused = socket.zero_copy_refused().and_then(io::Error::raw_os_error);
    assert_eq!(refused, Some(libc::EOPNOTSUPP));
    assert!(socket.scatter() && socket.scatter_refused().is_none());
    drop((socket, _rings));
    let fill = fill(0);
    let plain = QueueConfig {
        mode: BindMode::Copy,
        scatter: false,
        ..config(&local, 0, &umem, &fill)
    };
    let (socket, _rings) = Socket::open(&plain).unwrap();
    assert!(!socket.scatter() && socket.zero_copy_refused().is_none());
}

fn two_queues_over_one_umem_receive() {
    let (local, umem) = (veth(), umem());
    let program = Program::attach(&local, AttachMode::Native).unwrap();
    assert_eq!(program.mode(), Attached::Native);
    let (first, rings0) = open(&local, 0, &umem);
    let fill = fill(1);
    let (second, rings1) = Socket::open(&shared(&first, config(&local, 1, &umem, &fill))).unwrap();
    assert!(
        second.scatter() && second.mode() == Mode::Copy,
        "inherited from the first"
    );
    program.set_queue(0, &first).unwrap();
    program.set_queue(1, &second).unwrap();
    assert!(matches!(
        program.set_queue(0, &second),
        Err(Error::WrongQueue { queue: 0, bound: 1 })
    ));
    program.share_address(OURS.into()).unwrap();
    program.claim(Protocol::Udp, OURS.into(), 7).unwrap();
    let peer = Peer::new();
    // The sender spreads flows over its queues by a hash: 32 of them reach both.
    let frame = |flow: u16| {
        ethernet(
            0x0800,
            &ipv4(OURS, 17, 0, 0, &udp(5000 + flow, 7, b"hello")),
        )
    };
    (0..32).for_each(|flow| peer.send(&frame(flow)));
    let mut rings = [rings0, rings1];
    let mut arrived: Vec<(usize, Vec<u8>)> = Vec::new();
    soon(|| {
        for (queue, rings) in rings.iter_mut().enumerate() {
            while let Some(desc) = rings.rx.pop() {
                assert!(!desc.is_continued());
                assert_eq!(
                    desc.addr / u64::from(CHUNK * RING),
                    queue as u64,
                    "from its own fill ring"
                );
                arrived.push((queue, read(&umem, desc)));
            }
            rings.rx.release();
        }
        (arrived.len() == 32).then_some(())
    });
    assert!(
        arrived.iter().any(|(queue, _)| *queue == 0)
            && arrived.iter().any(|(queue, _)| *queue == 1)
    );
    let mut frames: Vec<_> = arrived.into_iter().map(|(_, frame)| frame).collect();
    frames.sort();
    assert_eq!(frames, (0..32).map(frame).collect::<Vec<_>>());
    let counters = program.counters().unwrap();
    assert_eq!((counters.redirect_claim, counters.pass_no_socket), (32, 0));
}

fn the_generic_mode_receives() {
    let (local, umem) = (veth(), umem());
    let program = Program::attach(&local, AttachMode::Generic).unwrap();
    assert_eq!(
        (program.mode(), program.native_refused().is_none()),
        (Attached::Generic, true)
    );
    let (first, mut rings) = open(&local, 0, &umem);
    let fill = fill(1);
    let (second, mut others) =
        Socket::open(&shared(&first, config(&local, 1, &umem, &fill))).unwrap();
    program.set_queue(0, &first).unwrap();
    program.set_queue(1, &second).unwrap();
    program.own_address(OURS.into()).unwrap();
    let frame = ethernet(0x0800, &ipv4(OURS, 132, 0, 0, b"anything"));
    Peer::new().send(&frame);
    let desc = soon(|| rings.rx.pop().or_else(|| others.rx.pop()));
    assert_eq!(read(&umem, desc), frame);
}

fn a_frame_larger_than_a_chunk_arrives_in_pieces() {
    let (local, umem) = (veth(), umem());
    let program = Program::attach(&local, AttachMode::Native).unwrap();
    run("ip link set local mtu 9000");
    run("ip link set peer mtu 9000");
    let (first, mut rings) = open(&local, 0, &umem);
    let fill = fill(1);
    let (second, mut others) =
        Socket::open(&shared(&first, config(&local, 1, &umem, &fill))).unwrap();
    program.set_queue(0, &first).unwrap();
    program.set_queue(1, &second).unwrap();
    program.share_address(OURS.into()).unwrap();
    program.claim(Protocol::Udp, OURS.into(), 7).unwrap();
    let payload: Vec<u8> = (0..8900u32).map(|byte| (byte % 251) as u8).collect();
    let frame = ethernet(0x0800, &ipv4(OURS, 17, 0, 0, &udp(5000, 7, &payload)));
    Peer::new().send(&frame);
    let (mut arrived, mut pieces) = (Vec::new(), 0);
    loop {
        let desc = soon(|| rings.rx.pop().or_else(|| others.rx.pop()));
        arrived.extend(read(&umem, desc));
        pieces += 1;
        if !desc.is_continued() {
            break;
        }
    }
    assert!(
        pieces > 1 && arrived == frame,
        "{pieces} pieces, {} bytes",
        arrived.len()
    );
}

fn packets_of_one_and_three_descriptors_are_sent() {
    let (local, umem) = (veth(), umem());
    let (first, rings0) = open(&local, 0, &umem);
    let fill = fill(1);
    let (second, rings1) = Socket::open(&shared(&first, config(&local, 1, &umem, &fill))).unwrap();
    let peer = Peer::new();
    let frame = ethernet(0x0800, &ipv4(OURS, 17, 0, 0, &udp(7, 5000, &[b'x'; 900])));
    for (socket, mut rings) in [(&first, rings0), (&second, rings1)] {
        send(socket, &mut rings, &umem, &[&frame]);
        assert_eq!(peer.receive(), frame);
        assert_eq!(completions(&mut rings, 1), [SEND_AREA + 100]);
        let (headers, rest) = frame.split_at(42);
        let (middle, end) = rest.split_at(500);
        send(socket, &mut rings, &umem, &[headers, middle, end]);
        assert_eq!(peer.receive(), frame);
        let mut returned = completions(&mut rings, 3);
        returned.sort();
        let chunk = u64::from(CHUNK);
        assert_eq!(
            returned,
            [0, 1, 2].map(|piece| SEND_AREA + piece * chunk + 100)
        );
    }
}

fn a_bad_descriptor_is_counted_and_not_sent() {
    let (local, umem) = (veth(), umem());
    let (socket, mut rings) = open(&local, 0, &umem);
    let _peer = Peer::new();
    assert_eq!(socket.statistics().unwrap().tx_invalid_descs, 0);
    rings
        .tx
        .push(Desc {
            addr: umem.len_bytes() as u64,
            len: 60,
            options: 0,
        })
        .unwrap();
    rings.tx.publish();
    soon(|| {
        socket.kick_tx().unwrap();
        (socket.statistics().unwrap().tx_invalid_descs == 1).then_some(())
    });
    assert_eq!(socket.kick_rx().unwrap(), Kick::Done);
}

fn a_taken_queue_is_named_and_comes_free() {
    let (local, one, other) = (veth(), umem(), umem());
    let (socket, rings) = open(&local, 1, &one);
    let fill = fill(0);
    let config = config(&local, 1, &other, &fill);
    let started = Instant::now();
    let error = Socket::open(&config).unwrap_err();
    assert!(
        matches!(&error, Error::QueueTaken { interface, queue: 1 } if interface == "local"),
        "{error}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "the wait is for the queue, not for each mode"
    );
    // The rings alone keep the queue, whatever becomes of the socket; then it is free, if not at once.
    drop(socket);
    let letting_go = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        drop(rings);
    });
    Socket::open(&config).unwrap();
    assert!(letting_go.is_finished() || started.elapsed() > Duration::from_millis(300));
    letting_go.join().unwrap();
}

fn a_queue_that_is_not_there_is_named() {
    let (local, umem, fill) = (veth(), umem(), fill(0));
    let error = Socket::open(&config(&local, 7, &umem, &fill)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoSuchQueue {
                queue: 7,
                available: 2,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("ethtool -L local"), "{error}");
}

fn what_the_kernel_would_not_take_is_refused() {
    let (local, umem, fill) = (veth(), umem(), fill(0));
    let good = || config(&local, 0, &umem, &fill);
    let odd = QueueConfig {
        tx_entries: 3,
        ..good()
    };
    assert!(matches!(
        Socket::open(&odd),
        Err(Error::RingSize {
            ring: "TX",
            entries: 3
        })
    ));
    let none = QueueConfig {
        rx_entries: 0,
        ..good()
    };
    assert!(matches!(
        Socket::open(&none),
        Err(Error::RingSize {
            ring: "RX",
            entries: 0
        })
    ));
    let short = QueueConfig {
        fill_entries: RING / 2,
        ..good()
    };
    assert!(matches!(Socket::open(&short), Err(Error::Fill { .. })));
    let outside = [umem.len_bytes() as u64];
    assert!(matches!(
        Socket::open(&QueueConfig {
            fill: &outside,
            ..good()
        }),
        Err(Error::Fill { .. })
    ));
    let gone = QueueConfig {
        ifindex: 4_000,
        ..good()
    };
    assert!(matches!(
        Socket::open(&gone),
        Err(Error::NoInterface { .. })
    ));
    let other: Arc<Umem> = support::umem();
    let (first, _rings) = Socket::open(&good()).unwrap();
    let mixed = shared(&first, config(&local, 1, &other, &fill));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Socket::open(&mixed)));
    assert!(panic.is_err(), "one UMEM for all sockets that share");
}

/// A child of the process has its descriptors, between its fork and its exec.
fn a_program_goes_with_its_owner_whoever_else_has_its_link() {
    let local = veth();
    let program = Program::attach(&local, AttachMode::Native).unwrap();
    let is_link = |fd: &i32| {
        let target = std::fs::read_link(format!("/proc/self/fd/{fd}"));
        target.is_ok_and(|target| target.to_string_lossy().contains("bpf_link"))
    };
    let copies: Vec<OwnedFd> = (0..1024)
        .filter(is_link)
        // SAFETY: a descriptor that was open a moment ago; if it is not any more, the call fails.
        .map(|fd| unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })
        .filter(|&fd| fd >= 0)
        // SAFETY: the kernel has just made the descriptor, and nobody else has it.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect();
    assert!(!copies.is_empty(), "there is a link");
    drop(program);
    Program::attach(&local, AttachMode::Native).expect("the interface is free");
}

fn a_foreign_program_is_not_replaced() {
    let local = veth();
    let theirs = Program::attach(&local, AttachMode::Native).unwrap();
    for mode in [AttachMode::Auto, AttachMode::Native, AttachMode::Generic] {
        let error = Program::attach(&local, mode).unwrap_err();
        assert!(
            matches!(&error, Error::ForeignProgram { .. }),
            "{mode:?}: {error}"
        );
        assert!(
            error.to_string().contains("ip link set dev local xdp off"),
            "{error}"
        );
    }
    assert!(run("ip link show local").contains("xdp"));
    drop(theirs);
    let ours = Program::attach(&local, AttachMode::Auto).unwrap();
    assert_eq!(
        (ours.mode(), ours.native_refused().is_none()),
        (Attached::Native, true)
    );
    drop(ours);
    assert!(
        !run("ip link show local").contains("xdp"),
        "detached with its owner"
    );
    // veth takes no native program while the peer could send on more queues than this end receives on.
    run(
        "ip link add narrow numrxqueues 1 numtxqueues 1 type veth peer name wide numrxqueues 4 numtxqueues 4",
    );
    let narrow = Interface::by_name("narrow").unwrap();
    assert!(Program::attach(&narrow, AttachMode::Native).is_err());
    let generic = Program::attach(&narrow, AttachMode::Auto).unwrap();
    assert_eq!(
        (generic.mode(), generic.native_refused().is_some()),
        (Attached::Generic, true)
    );
}

fn a_multicast_group_is_joined_while_the_guard_lives() {
    let local = veth();
    let groups = || run("ip maddr show dev local");
    let membership = local
        .join_multicast([0x33, 0x33, 0xff, 0xcc, 0xdd, 0xee])
        .unwrap();
    assert!(groups().contains("33:33:ff:cc:dd:ee"), "{}", groups());
    drop(membership);
    assert!(!groups().contains("33:33:ff:cc:dd:ee"), "{}", groups());
}

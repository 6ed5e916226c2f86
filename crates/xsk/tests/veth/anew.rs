//! Sockets in place of others over the same memory, and an interface in place of another.

use std::sync::Arc;
use std::thread;

use ringwire_umem::Umem;
use ringwire_xsk::{
    AttachMode, Change, Error, Interface, Program, Rings, Rtnetlink, Socket, network_namespace,
};

use crate::support::{
    CAP_NET_RAW, config, ethernet, fill, ipv4, keep_capabilities, run, umem, veth,
};
use crate::wire::{Peer, read, shared, soon};
use crate::{OURS, trial};

pub fn cases() -> [libtest_mimic::Trial; 5] {
    [
        trial(
            "sockets_over_one_umem_are_opened_anew",
            sockets_over_one_umem_are_opened_anew,
        ),
        trial(
            "an_interface_that_was_made_anew_is_served",
            an_interface_that_was_made_anew_is_served,
        ),
        trial("a_link_is_followed_alone", a_link_is_followed_alone),
        trial(
            "a_umem_of_more_than_half_the_limit_is_opened_without_patience",
            a_umem_of_more_than_half_the_limit_is_opened_without_patience,
        ),
        trial(
            "a_network_namespace_is_told_from_others",
            a_network_namespace_is_told_from_others,
        ),
    ]
}

/// Zero copy is tried first and refused, and the kernel releases that attempt's UMEM later.
fn a_umem_of_more_than_half_the_limit_is_opened_without_patience() {
    let (local, umem, fill) = (veth(), umem(), fill(0));
    run("ip link set local up");
    run("ip link set peer up");
    // Of the whole process, whose other threads have CAP_IPC_LOCK.
    // SAFETY: zeroes are a limit, and it lives across the calls.
    let before = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit);
        let before = limit;
        limit.rlim_cur = umem.len_bytes() as u64 * 3 / 2;
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit), 0);
        before
    };
    keep_capabilities(&[CAP_NET_RAW]);
    let opened = Socket::open_now(&config(&local, 0, &umem, &fill));
    // SAFETY: as above.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const before) };
    let (socket, _rings) = opened.unwrap();
    assert!(socket.zero_copy_refused().is_some());
}

/// Opens both queues, without patience, as soon as that can be.
fn open_both(local: &Interface, umem: &Arc<Umem>) -> [(Socket, Rings); 2] {
    let fills = [fill(0), fill(1)];
    let first = soon(|| busy(Socket::open_now(&config(local, 0, umem, &fills[0]))));
    let second = soon(|| {
        let config = config(local, 1, umem, &fills[1]);
        busy(Socket::open_now(&shared(&first.0, config)))
    });
    [first, second]
}

/// What was opened, unless the queue's last socket is still being torn down.
fn busy<T>(opened: Result<T, Error>) -> Option<T> {
    match opened {
        Ok(opened) => Some(opened),
        Err(Error::QueueTaken { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

/// Sends a frame to our address from the other end; it arrives on one of the queues.
fn receives(program: &Program, umem: &Umem, opened: &mut [(Socket, Rings); 2]) {
    for (socket, _) in &*opened {
        program.set_queue(socket.queue(), socket).unwrap();
    }
    let frame = ethernet(0x0800, &ipv4(OURS, 132, 0, 0, b"anything"));
    Peer::new().send(&frame);
    let desc = soon(|| opened.iter_mut().find_map(|(_, rings)| rings.rx.pop()));
    assert_eq!(read(umem, desc), frame);
}

fn sockets_over_one_umem_are_opened_anew() {
    let (local, umem) = (veth(), umem());
    let program = Program::attach(&local, AttachMode::Native).unwrap();
    program.own_address(OURS.into()).unwrap();
    for _ in 0..3 {
        let mut opened = open_both(&local, &umem);
        receives(&program, &umem, &mut opened);
    }
}

fn an_interface_that_was_made_anew_is_served() {
    let (local, umem) = (veth(), umem());
    let program = Program::attach(&local, AttachMode::Native).unwrap();
    program.own_address(OURS.into()).unwrap();
    let mut opened = open_both(&local, &umem);
    receives(&program, &umem, &mut opened);
    run("ip link del local");
    let error = opened[0].0.kick_tx().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
    assert!(program.attach_again(&local).is_err(), "it is gone");
    drop(opened);
    let again = veth();
    assert_ne!(again.index, local.index);
    program.attach_again(&again).unwrap();
    program.attach_again(&again).unwrap();
    let mut opened = open_both(&again, &umem);
    receives(&program, &umem, &mut opened);
    drop(program);
    let detached = || Program::attach(&again, AttachMode::Native).ok();
    soon(detached);
}

fn a_link_is_followed_alone() {
    let local = veth();
    let mut link = Rtnetlink::of_link(local.index).unwrap();
    run("ip addr add 192.0.2.7/24 dev local");
    assert_eq!(link.next_change(), None, "an address is no link");
    run("ip link set local up");
    let (up, no_carrier) = (true, false);
    let changed = soon(|| link.next_change());
    assert!(
        matches!(changed, Change::Link { up: u, carrier: c, .. } if (u, c) == (up, no_carrier)),
        "{changed:?}"
    );
    run("ip link del local");
    soon(|| (link.next_change()? == Change::Removed).then_some(()));
}

fn a_network_namespace_is_told_from_others() {
    let ours = network_namespace();
    assert_eq!(network_namespace(), ours);
    let other = thread::spawn(|| {
        // SAFETY: no memory is passed; only this thread changes its namespace.
        let status = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(status, 0, "unshare: {}", std::io::Error::last_os_error());
        network_namespace()
    });
    let other = other.join().unwrap();
    assert!(ours.is_none() || ours != other);
}

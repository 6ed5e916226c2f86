//! The least that a UDP echo over AF_XDP can be: each frame goes back with its addresses and ports
//! exchanged. No neighbours, no checks, no sockets; a ceiling for everything above it. It runs on our
//! own `ringwire-xsk`.
//!
//!     raw INTERFACE ADDRESS

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use ringwire_umem::{Layout, Ledger, Pool, Umem};
use ringwire_xsk::{
    AttachMode, BindMode, Desc, Interface, Kick, Privileges, Program, QueueConfig, Rings, Socket,
};

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: i32) {
    STOP.store(true, Ordering::Relaxed);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, name, address] = &args[..] else {
        return Err("usage: raw INTERFACE ADDRESS".into());
    };
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, stop as extern "C" fn(i32) as libc::sighandler_t) };
    }
    let interface = Interface::by_name(name)?;
    let layout = Layout {
        chunk_bytes: 4096,
        rx_chunks: 4096,
        header_chunks: 0,
        send_chunks: 1,
        lend_reserve_chunks: 0,
        areas: vec![],
    };
    let umem = Umem::new(layout)?;
    let mut ledger = Ledger::new(umem.clone());
    let program = Program::attach(&interface, AttachMode::Auto)?;
    let fill: Vec<u64> = (0..2048)
        .filter_map(|_| ledger.alloc(Pool::Rx))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|frame| ledger.post_fill(frame, 0))
        .collect();
    let config = QueueConfig {
        ifindex: interface.index,
        ifname: name,
        queue: 0,
        umem: &umem,
        shared_with: None,
        rx_entries: 2048,
        tx_entries: 1024,
        fill_entries: 2048,
        completion_entries: 2048,
        fill: &fill,
        mode: BindMode::Auto,
        scatter: true,
        tx_checksum: false,
        privileges: Privileges::default(),
    };
    let (socket, mut rings) = Socket::open(&config)?;
    program.set_queue(0, &socket)?;
    program.own_address(address.parse()?)?;
    println!("listening");
    while !STOP.load(Ordering::Relaxed) {
        if !turn(&mut ledger, &mut rings, &socket) {
            let mut fd = libc::pollfd {
                fd: socket.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one pollfd that lives through the call.
            unsafe { libc::poll(&raw mut fd, 1, 100) };
        }
    }
    Ok(())
}

/// Echoes a burst; `false` if there was nothing.
fn turn(ledger: &mut Ledger, rings: &mut Rings, socket: &Socket) -> bool {
    while let Some(addr) = rings.completion.pop() {
        ledger
            .tx_done(0, addr)
            .expect("the kernel returns what it was given");
    }
    rings.completion.release();
    while rings.fill.free() > 0 {
        let Some(frame) = ledger.alloc(Pool::Rx) else {
            break;
        };
        let addr = ledger.post_fill(frame, 0);
        rings.fill.push(addr).expect("the ring has room");
    }
    rings.fill.publish();
    let mut echoed = false;
    for _ in 0..64 {
        let Some(desc) = rings.rx.pop() else { break };
        let mut piece = ledger
            .claim(0, desc.addr, desc.len)
            .expect("the kernel returns what it was given");
        let start = piece.start as usize;
        let frame = &mut ledger.bytes_mut(&mut piece.frame)[start..start + desc.len as usize];
        if rings.tx.free() > 0 && exchange(frame) {
            let addr = ledger.post_tx(&piece.frame, piece.start, piece.len);
            rings
                .tx
                .push(Desc {
                    addr,
                    len: piece.len,
                    options: 0,
                })
                .expect("the ring has room");
            echoed = true;
        }
        ledger.release(piece.frame);
    }
    rings.rx.release();
    rings.tx.publish();
    if echoed && rings.tx.needs_wakeup() {
        for _ in 0..16 {
            if !matches!(socket.kick_tx(), Ok(Kick::Retry)) {
                break;
            }
        }
    }
    echoed
}

/// Exchanges source and destination of an IPv4 UDP frame without options; checksums stay right.
fn exchange(frame: &mut [u8]) -> bool {
    let udp = frame.len() >= 42 && frame[12..15] == [8, 0, 0x45] && frame[23] == 17;
    if udp {
        for (one, other, len) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
            let (left, right) = frame.split_at_mut(other);
            left[one..one + len].swap_with_slice(&mut right[..len]);
        }
    }
    udp
}

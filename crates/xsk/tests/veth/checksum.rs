//! Checksums that the kernel writes behind us.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use ringwire_umem::Umem;
use ringwire_xsk::{Desc, Interface, NoTxChecksum, QueueConfig, Rings, Socket, TxMetadata};

use crate::OURS;
use crate::support::{config, ethernet, fill, ipv4, udp, umem, veth};
use crate::wire::{Peer, SEND_AREA, completions, send, send_with, shared, soon, write};

/// `ethtool -K INTERFACE tx off`: the kernel completes checksums before the interface has the packet.
pub fn tx_offload_off(interface: &str) {
    const ETHTOOL_STXCSUM: u32 = 0x17;
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut value = [ETHTOOL_STXCSUM, 0];
    // SAFETY: an ifreq is integers and a pointer that is set below.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    let code = libc::SIOCETHTOOL as libc::Ioctl;
    // SAFETY: the request and the value that it names live across the call.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), code, &raw mut request) };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
}

/// A socket with checksums written behind it; `None` on a kernel that cannot.
fn open_for_checksums(local: &Interface, umem: &Arc<Umem>) -> Option<(Socket, Rings)> {
    let fill = fill(0);
    let config = QueueConfig {
        tx_checksum: true,
        ..config(local, 0, umem, &fill)
    };
    let (socket, rings) = Socket::open(&config).unwrap();
    if socket.tx_checksum_refused() == Some(NoTxChecksum::Kernel) {
        assert!(!socket.tx_checksum());
        eprintln!("skipped: this kernel has no TX metadata");
        return None;
    }
    assert_eq!(
        (socket.tx_checksum(), socket.tx_checksum_refused()),
        (true, None)
    );
    Some((socket, rings))
}

/// The ones-complement sum of bytes (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).fold(0u32, |sum, pair| {
        sum + u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))
    });
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) as u16
}

pub fn the_kernel_writes_the_checksum_that_metadata_asks_for() {
    let (local, umem) = (veth(), umem());
    let Some((first, rings0)) = open_for_checksums(&local, &umem) else {
        return;
    };
    let fill = fill(1);
    let (second, rings1) = Socket::open(&shared(&first, config(&local, 1, &umem, &fill))).unwrap();
    assert!(
        second.tx_checksum(),
        "the UMEM is registered for all of them"
    );
    // Otherwise nobody would write it: to veth a sum that its peer's kernel can do without is no work.
    tx_offload_off("local");
    let peer = Peer::new();
    let mut frame = ethernet(0x0800, &ipv4(OURS, 17, 0, 0, &udp(7, 5000, &[b'x'; 901])));
    let (start, field) = (34, 40);
    frame[field..field + 2].copy_from_slice(&0x1234u16.to_be_bytes());
    let mut whole = frame.clone();
    let written = !sum(&frame[start..]);
    whole[field..field + 2].copy_from_slice(&written.to_be_bytes());
    let metadata = TxMetadata::checksum(start as u16, (field - start) as u16);
    let (headers, rest) = frame.split_at(42);
    let (middle, end) = rest.split_at(500);
    for (socket, mut rings) in [(&first, rings0), (&second, rings1)] {
        for pieces in [&[&frame[..]][..], &[headers, middle, end]] {
            let at = SEND_AREA + 100 - TxMetadata::BYTES as u64;
            write(&umem, at, metadata.bytes());
            send_with(socket, &mut rings, &umem, pieces, Desc::METADATA);
            assert_eq!(peer.receive(), whole, "{} descriptors", pieces.len());
            completions(&mut rings, pieces.len() as u32);
        }
        send(socket, &mut rings, &umem, &[&frame]);
        assert_eq!(
            peer.receive(),
            frame,
            "without the option nothing is written"
        );
    }
}

pub fn a_descriptor_without_room_for_metadata_is_not_sent() {
    let (local, umem) = (veth(), umem());
    let Some((socket, mut rings)) = open_for_checksums(&local, &umem) else {
        return;
    };
    let peer = Peer::new();
    let frame = ethernet(0x0800, &ipv4(OURS, 17, 0, 0, &udp(7, 5000, b"x")));
    let room = TxMetadata::BYTES as u64;
    for (headroom, refused) in [(0, 1), (room - 1, 2), (room, 2)] {
        write(&umem, SEND_AREA + headroom, &frame);
        let desc = Desc {
            addr: SEND_AREA + headroom,
            len: frame.len() as u32,
            options: 0,
        };
        rings.tx.push(desc).unwrap();
        rings.tx.publish();
        soon(|| {
            socket.kick_tx().unwrap();
            rings.tx.is_empty().then_some(())
        });
        assert_eq!(socket.statistics().unwrap().tx_invalid_descs, refused);
    }
    assert_eq!(peer.receive(), frame);
}

//! Frames that no honest host sends, and checksums that are not there.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::Command;

use ringwire::{AttachMode, RxChecksum};
use ringwire_tests::net::{PEER_V4, RING_V4, RawSocket, Veth};

use crate::server::{PORT, Server, builder};

pub const CASES: &[(&str, fn())] = &[
    ("truncated_frames_of_every_length", truncated),
    ("mutated_frames", mutated),
    ("spoofed_sources", spoofed),
    ("a_flood_of_first_fragments", fragment_flood),
    ("a_flood_of_arp_senders", arp_flood),
    ("noise", noise),
    ("partial_checksums", partial_checksums),
    ("datagrams_that_nobody_has_segmented", super_packets),
];

/// SplitMix64: the same frames in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

struct Scene {
    veth: Veth,
    server: Server,
    raw: RawSocket,
    mac: [u8; 6],
}

impl Scene {
    fn new() -> Scene {
        let veth = Veth::new(1, 1500, false);
        let server = Server::new(&veth, &builder());
        let mac = veth
            .in_ring(|| ringwire_xsk::Interface::by_name("rw0"))
            .expect("the interface")
            .mac;
        let raw = veth.peer_raw();
        Scene {
            veth,
            server,
            raw,
            mac,
        }
    }

    fn send(&mut self, frame: &[u8]) {
        self.raw.send(frame);
        self.server.ring.submit().expect("a turn");
    }

    /// The server goes on serving.
    fn still_serves(&mut self) {
        let peer = self.veth.peer_socket(PEER_V4);
        self.server.echo(&peer, b"still there?");
    }

    /// A valid IPv4 UDP frame for the server's port, from `source`.
    fn frame(&self, source: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let ring: std::net::Ipv4Addr = RING_V4.parse().expect("an address");
        let mut frame = Vec::from(self.mac);
        frame.extend([2, 0, 0, 0, 0, 1, 8, 0]);
        let total = (28 + payload.len()) as u16;
        let [high, low] = total.to_be_bytes();
        frame.extend([0x45, 0, high, low, 0, 0, 0x40, 0, 64, 17, 0, 0]);
        frame.extend(source);
        frame.extend(ring.octets());
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend(9u16.to_be_bytes());
        frame.extend(PORT.to_be_bytes());
        frame.extend((8 + payload.len() as u16).to_be_bytes());
        // No UDP checksum: IPv4 allows that.
        frame.extend([0, 0]);
        frame.extend(payload);
        frame
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

fn truncated() {
    let mut scene = Scene::new();
    let frame = scene.frame([10, 7, 0, 1], b"whole");
    for len in 14..frame.len() {
        scene.send(&frame[..len]);
    }
    scene.still_serves();
    let stack = scene.server.ring.counters().expect("counters").stack;
    assert!(
        stack.rx_malformed >= 5,
        "cut payloads are malformed: {stack:?}"
    );
    assert_eq!(
        stack.rx_datagrams, scene.server.echoed,
        "nothing cut was delivered: {stack:?}"
    );
}

fn mutated() {
    let mut scene = Scene::new();
    let frame = scene.frame([10, 7, 0, 1], b"payload");
    let mut random = Random(1);
    for _ in 0..3000 {
        let mut mutant = frame.clone();
        // Everything in the IP header is under its checksum.
        let bit = (14 * 8 + random.next() % (20 * 8)) as usize;
        mutant[bit / 8] ^= 1 << (bit % 8);
        scene.send(&mutant);
    }
    scene.still_serves();
    let counters = scene.server.ring.counters().expect("counters");
    assert_eq!(
        counters.stack.rx_datagrams, scene.server.echoed,
        "{:?}",
        counters.stack
    );
    assert!(
        counters.stack.rx_bad_checksum > 1000,
        "{:?}",
        counters.stack
    );
}

fn spoofed() {
    let mut scene = Scene::new();
    for source in [
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [255, 255, 255, 255],
        [0, 0, 0, 0],
        [10, 7, 0, 2],
        [10, 7, 0, 255],
    ] {
        let frame = scene.frame(source, b"spoofed");
        scene.send(&frame);
    }
    scene.still_serves();
    let stack = scene.server.ring.counters().expect("counters").stack;
    assert_eq!(
        (stack.rx_bad_source, stack.rx_datagrams),
        (6, scene.server.echoed),
        "{stack:?}"
    );
}

fn fragment_flood() {
    let mut scene = Scene::new();
    for id in 0..5000u16 {
        let mut frame = scene.frame([10, 7, 0, 1], &[7; 1400]);
        frame[18..20].copy_from_slice(&id.to_be_bytes());
        frame[20..22].copy_from_slice(&0x2000u16.to_be_bytes());
        frame[24..26].fill(0);
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        scene.send(&frame);
    }
    // A datagram in fragments of its own still gets through.
    let peer = scene.veth.peer_socket(PEER_V4);
    scene.server.echo(&peer, &[9; 4000]);
    let stack = scene.server.ring.counters().expect("counters").stack;
    assert_eq!(stack.rx_reassembled, 1, "{stack:?}");
}

fn arp_flood() {
    let mut scene = Scene::new();
    let peer = scene.veth.peer_socket(PEER_V4);
    scene.server.echo(&peer, b"before");
    for host in 0..5000u32 {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 1, 0, 0, (host >> 8) as u8, host as u8, 8, 6]);
        frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend([2, 1, 0, 0, (host >> 8) as u8, host as u8]);
        frame.extend([10, 7, (host >> 8) as u8 + 1, host as u8]);
        frame.extend([0; 6]);
        frame.extend([10, 7, 0, 2]);
        scene.send(&frame);
    }
    scene.server.echo(&peer, b"after");
}

fn noise() {
    let mut scene = Scene::new();
    let mut random = Random(2);
    for _ in 0..5000 {
        let len = 14 + (random.next() % 300) as usize;
        let mut frame: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        frame[..6].copy_from_slice(&scene.mac);
        let ethertypes = [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]];
        frame[12..14].copy_from_slice(&ethertypes[(random.next() % 4) as usize]);
        if frame[12..14] == [8, 0] && len > 34 {
            frame[14] = 0x45;
            frame[30..34].copy_from_slice(&[10, 7, 0, 2]);
        }
        scene.send(&frame);
    }
    scene.still_serves();
    assert_eq!(
        scene
            .server
            .ring
            .counters()
            .expect("counters")
            .stack
            .rx_datagrams,
        scene.server.echoed
    );
}

/// A kernel peer on a veth leaves UDP checksums to a device that is not there.
fn partial_checksums() {
    let veth = Veth::new(1, 1500, false);
    let mut strict = builder();
    strict.rx_checksum(RxChecksum::Verify);
    let mut server = Server::new(&veth, &strict);
    let peer = veth.peer_socket(PEER_V4);
    peer.send_to(b"partial", (RING_V4, PORT))
        .expect("the peer sends");
    let counted = server.turn_until(|server| {
        server
            .ring
            .counters()
            .expect("counters")
            .stack
            .rx_partial_checksum
            == 1
    });
    assert!(counted, "the datagram is dropped and counted");
    let text = server.ring.counters().expect("counters").to_string();
    assert!(text.contains("ethtool -K"), "the cure is named: {text}");
    drop(server);
    let mut server = Server::new(&veth, &builder());
    server.echo(&peer, b"partial");
    assert_eq!(
        server
            .ring
            .counters()
            .expect("counters")
            .stack
            .rx_partial_accepted,
        1
    );
}

/// `UDP_SEGMENT` (udp(7)): the socket's datagrams are cut into some of so many bytes.
fn segment(socket: &UdpSocket, bytes: i32) {
    let (value, len) = ((&raw const bytes).cast(), size_of::<i32>() as u32);
    // SAFETY: the option takes an int.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            value,
            len,
        )
    };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
}

/// A peer's kernel leaves it to its device to cut datagrams, and a program behind the driver gets them whole.
fn super_packets() {
    let veth = Veth::new(1, 1500, false);
    let mut generic = builder();
    generic.attach_mode(AttachMode::Generic);
    let mut server = Server::new(&veth, &generic);
    let peer = veth.peer_socket(PEER_V4);
    server.echo(&peer, b"neighbours know each other");
    let several = veth.peer_socket(PEER_V4);
    segment(&several, 1000);
    let send = || {
        several
            .send_to(&[7; 5000], (RING_V4, PORT))
            .expect("the peer sends")
    };
    send();
    let stack = |server: &Server| server.ring.counters().expect("counters").stack;
    let dropped = server.turn_until(|server| stack(server).rx_unsegmented == 1);
    assert!(dropped, "it is dropped and counted: {:?}", stack(&server));
    let text = server.ring.counters().expect("counters").to_string();
    const CURE: &str = "ethtool -K PEER tx-udp-segmentation off";
    assert!(text.contains(CURE), "the cure is named: {text}");
    veth.in_peer(|| run(&CURE.replace("PEER", "rw1")));
    let before = stack(&server).rx_datagrams;
    send();
    let arrived = server.turn_until(|server| stack(server).rx_datagrams == before + 5);
    assert!(arrived, "five of 1000 bytes: {:?}", stack(&server));
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().expect("a program"))
        .args(words)
        .status();
    assert!(status.expect("the program").success(), "{command}");
}

//! Two network namespaces joined by a veth pair, by two NICs, or by a third one whose bridge impairs what
//! passes. They have no name, so they are gone with the test, however it ends.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::impair::Impairment;
use crate::middlebox::Middlebox;

/// The ring's interface, its addresses, and the peer's.
pub const RING_INTERFACE: &str = "rw0";
pub const RING_V4: &str = "10.7.0.2";
pub const RING_V6: &str = "fd07::2";
pub const PEER_V4: &str = "10.7.0.1";
pub const PEER_V6: &str = "fd07::1";

/// How long a test waits for a packet that is to come.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The pair, and the two namespaces.
pub struct Veth {
    ring: File,
    peer: File,
}

impl Veth {
    /// Two namespaces with a veth pair of so many queues. The peer's end has the kernel's addresses;
    /// the ring's end has none, unless `kernel_at_ring`.
    pub fn new(queues: u32, mtu: u32, kernel_at_ring: bool) -> Veth {
        let ring = fresh_namespace();
        let peer = fresh_namespace();
        let veth = Veth { ring, peer };
        veth.join(queues);
        veth.configure(mtu, kernel_at_ring);
        veth
    }

    /// Makes a pair again that was deleted, with the same names, and the ring's end as it was.
    pub fn make_again(&self, queues: u32, mtu: u32, kernel_at_ring: bool) {
        self.join(queues);
        self.configure_ring(mtu, kernel_at_ring);
    }

    /// Moves the ring's interface into the peer's namespace.
    pub fn move_away(&self) {
        let peer = name_of(&self.peer);
        self.in_ring(|| ip(&format!("link set rw0 netns {peer}")));
    }

    /// Moves it back; it is down.
    pub fn move_back(&self) {
        let ring = name_of(&self.ring);
        self.in_peer(|| ip(&format!("link set rw0 netns {ring}")));
    }

    fn join(&self, queues: u32) {
        self.in_ring(|| {
            let queues = format!("numrxqueues {queues} numtxqueues {queues}");
            let peer = name_of(&self.peer);
            ip(&format!(
                "link add rw0 {queues} type veth peer name rw1 {queues} netns {peer}"
            ));
        });
    }

    /// Two namespaces with a NIC each, taken from this thread's: the ring's first, then the peer's. They get the
    /// names and addresses of a pair's ends.
    ///
    /// # Panics
    /// When there are no such NICs.
    pub fn of_nics(nics: [&str; 2]) -> Veth {
        let ring = fresh_namespace();
        let peer = fresh_namespace();
        let veth = Veth { ring, peer };
        for (number, (nic, end)) in nics.iter().zip([&veth.ring, &veth.peer]).enumerate() {
            ip(&format!("link set {nic} down name rw{number}"));
            ip(&format!("link set rw{number} netns {}", name_of(end)));
        }
        veth.configure(1500, false);
        veth
    }

    /// Two namespaces of which each has one interface, and a third between them. All the kernel's ends
    /// have their offloads off. The third's interfaces are `m0`, to the ring, and `m1`, to the peer;
    /// frames pass while the middlebox runs.
    ///
    /// # Panics
    /// When the middlebox cannot be started.
    pub fn impaired(kernel_at_ring: bool, impairment: Impairment) -> (Veth, Middle) {
        let ring = fresh_namespace();
        let peer = fresh_namespace();
        let middle = fresh_namespace();
        let veth = Veth { ring, peer };
        let middlebox = veth.within(&middle, || {
            for (number, end) in [(0, &veth.ring), (1, &veth.peer)] {
                ip(&format!(
                    "link add m{number} type veth peer name rw{number}"
                ));
                ip(&format!("link set rw{number} netns {}", name_of(end)));
                // The bridge has no address, and says nothing of its own.
                ip(&format!("link set m{number} up addrgenmode none"));
                offloads_off(&format!("m{number}"));
            }
            Middlebox::start(["m0", "m1"], impairment).expect("a middlebox")
        });
        veth.configure(1500, kernel_at_ring);
        veth.in_ring(|| offloads_off("rw0"));
        veth.in_peer(|| offloads_off("rw1"));
        (
            veth,
            Middle {
                namespace: middle,
                middlebox,
            },
        )
    }

    fn configure(&self, mtu: u32, kernel_at_ring: bool) {
        self.configure_ring(mtu, kernel_at_ring);
        self.configure_peer(mtu);
    }

    /// Sets the ring's end up.
    pub fn configure_ring(&self, mtu: u32, kernel_at_ring: bool) {
        let mut at_ring = format!("link set lo up\nlink set rw0 up mtu {mtu}\n");
        if kernel_at_ring {
            at_ring +=
                &format!("addr add {RING_V4}/24 dev rw0\naddr add {RING_V6}/64 dev rw0 nodad\n");
        }
        self.in_ring(|| ip(&at_ring));
    }

    /// Sets the peer's end up, with its addresses.
    pub fn configure_peer(&self, mtu: u32) {
        let at_peer = format!(
            "link set lo up\nlink set rw1 up mtu {mtu}\naddr add {PEER_V4}/24 dev rw1\naddr add {PEER_V6}/64 dev rw1 nodad\n"
        );
        self.in_peer(|| ip(&at_peer));
    }

    /// Runs something with this thread in the ring's namespace.
    pub fn in_ring<T>(&self, run: impl FnOnce() -> T) -> T {
        self.within(&self.ring, run)
    }

    /// Runs something with this thread in the peer's namespace.
    pub fn in_peer<T>(&self, run: impl FnOnce() -> T) -> T {
        self.within(&self.peer, run)
    }

    /// A kernel UDP socket at the peer's end.
    pub fn peer_socket(&self, address: &str) -> UdpSocket {
        let address: SocketAddr =
            SocketAddr::new(address.parse::<IpAddr>().expect("an address"), 0);
        let socket = self.in_peer(|| UdpSocket::bind(address).expect("a peer socket"));
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    }

    /// Has the peer's kernel write whole checksums and send whole packets (`ethtool -K rw1 tx off`).
    pub fn peer_offloads_off(&self) {
        self.in_peer(|| offloads_off("rw1"));
    }

    /// Has the kernel complete checksums before the ring's interface has the packet (`ethtool -K rw0 tx off`).
    pub fn ring_offloads_off(&self) {
        self.in_ring(|| offloads_off(RING_INTERFACE));
    }

    /// Has the peer's kernel look at checksums, which on veth it otherwise takes for right.
    pub fn peer_verifies(&self) {
        const ETHTOOL_SRXCSUM: u32 = 0x15;
        self.in_peer(|| switch_off("rw1", &[ETHTOOL_SRXCSUM]));
    }

    /// A thread whose namespace is the peer's.
    pub fn peer_thread<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        // A thread begins in its parent's namespace.
        self.in_peer(|| std::thread::spawn(run))
    }

    /// A TCP listener of the peer's, on a free port.
    pub fn peer_listener(&self, address: &str) -> TcpListener {
        let ip: std::net::IpAddr = address.parse().expect("an address");
        self.in_peer(|| TcpListener::bind((ip, 0)).expect("a listener of the peer's"))
    }

    /// A TCP socket of the peer's that is not connected, and does not block.
    pub fn peer_stream(&self) -> TcpStream {
        self.in_peer(|| {
            // SAFETY: a call without pointers; the new descriptor has no other owner.
            unsafe {
                let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
                let fd = libc::socket(libc::AF_INET, kind, 0);
                assert!(fd >= 0, "a socket of the peer's");
                TcpStream::from_raw_fd(fd)
            }
        })
    }

    /// A raw socket at the peer's end, to send whole Ethernet frames by.
    pub fn peer_raw(&self) -> RawSocket {
        self.in_peer(RawSocket::new)
    }

    /// Runs something with this thread in a namespace. It is afterwards in the one that it was in.
    pub fn within<T>(&self, namespace: &File, run: impl FnOnce() -> T) -> T {
        let before = self::namespace();
        enter(namespace);
        let result = run();
        enter(&before);
        result
    }
}

/// What stands between two namespaces.
pub struct Middle {
    /// Its namespace.
    pub namespace: File,
    /// The bridge.
    pub middlebox: Middlebox,
}

/// An AF_PACKET socket on the peer's interface.
pub struct RawSocket {
    fd: OwnedFd,
    index: i32,
}

impl RawSocket {
    fn new() -> RawSocket {
        let index = ringwire_xsk::Interface::by_name("rw1")
            .expect("the peer's interface")
            .index as i32;
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        assert!(fd >= 0, "an AF_PACKET socket");
        // SAFETY: the kernel has just made it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        RawSocket { fd, index }
    }

    /// Sends a frame as it is.
    pub fn send(&self, frame: &[u8]) {
        // SAFETY: all zeroes is a valid sockaddr_ll.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = self.index;
        to.sll_halen = 6;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: frame and address are readable for their lengths.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                len,
            )
        };
        // Frames too short for an Ethernet header are refused here already: that is an answer too.
        assert!(
            sent >= 0 || frame.len() < 14,
            "sending a frame: {}",
            std::io::Error::last_os_error()
        );
    }
}

/// Switches checksums, segmentation and merging of packets by the device off: what a peer on the same
/// kernel would otherwise leave to a device that is not there (`ethtool -K`, <linux/ethtool.h>).
fn offloads_off(interface: &str) {
    const ETHTOOL_STXCSUM: u32 = 0x17;
    const ETHTOOL_SGSO: u32 = 0x24;
    const ETHTOOL_SGRO: u32 = 0x2c;
    // Without checksums there is no TCP segmentation offload either.
    switch_off(interface, &[ETHTOOL_STXCSUM, ETHTOOL_SGSO, ETHTOOL_SGRO]);
}

/// Sets these properties of an interface to 0.
fn switch_off(interface: &str, commands: &[u32]) {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    // SAFETY: a call without pointers; the new descriptor has no other owner.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "a socket to ask by");
        OwnedFd::from_raw_fd(fd)
    };
    for &command in commands {
        let mut value = [command, 0];
        // SAFETY: all zeroes is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        // SAFETY: the request and the value that it names live across the call.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }
}

/// A name of a namespace that `ip` and `nsenter` understand while this process lives.
pub fn name_of(namespace: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd())
}

fn namespace() -> File {
    File::open("/proc/thread-self/ns/net").expect("this thread's network namespace")
}

/// A network namespace of its own, for as long as the file is open.
pub fn fresh_namespace() -> File {
    let before = namespace();
    // SAFETY: no memory is concerned; only this thread's namespace changes.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "a new network namespace");
    let fresh = namespace();
    enter(&before);
    fresh
}

fn enter(namespace: &File) {
    // SAFETY: as above.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "entering a network namespace");
}

/// Runs `ip` in this thread's namespace, with a command a line.
pub fn ip(commands: &str) {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the ip command");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(commands.as_bytes()).expect("its input");
    drop(input);
    let output = child.wait_with_output().expect("the ip command");
    assert!(
        output.status.success(),
        "ip {commands}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

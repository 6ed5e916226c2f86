//! A ring with one echoing socket, driven by the test's own thread.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use ringwire::{Builder, IoUring, RxChecksum, opcode, types};
use ringwire_tests::net::{PATIENCE, RING_INTERFACE, RING_V4, RING_V6, Veth};

pub const PORT: u16 = 7000;
const SLOTS: u32 = 8;

/// What a test's ring is made with, unless the test is about it.
pub fn builder() -> Builder {
    let mut builder = IoUring::builder();
    builder
        .interface(RING_INTERFACE)
        .address(format!("{RING_V4}/24").parse().expect("an address"))
        .address(format!("{RING_V6}/64").parse().expect("an address"))
        .rx_checksum(RxChecksum::AcceptPartial)
        .detect_duplicates(false);
    builder
}

pub struct Server {
    pub ring: IoUring,
    buffer: Vec<u8>,
    name: Box<libc::sockaddr_in6>,
    part: Box<libc::iovec>,
    header: Box<libc::msghdr>,
    pub echoed: u64,
}

impl Server {
    /// A socket in slot 0, bound to both families.
    pub fn new(veth: &Veth, builder: &Builder) -> Server {
        let ring = veth.in_ring(|| builder.build(16)).expect("a ring");
        // SAFETY: all zeroes are valid values of these C structs.
        let (name, part, header) = unsafe {
            (
                Box::new(std::mem::zeroed()),
                Box::new(std::mem::zeroed()),
                Box::new(std::mem::zeroed()),
            )
        };
        let mut server = Server {
            ring,
            buffer: vec![0; 65_536],
            name,
            part,
            header,
            echoed: 0,
        };
        server
            .ring
            .submitter()
            .register_files_sparse(SLOTS)
            .expect("a table");
        server.open(0, PORT);
        server
    }

    /// Makes and binds a socket.
    pub fn open(&mut self, slot: u32, port: u16) {
        let target = types::DestinationSlot::try_from_slot_target(slot).expect("a slot");
        let socket =
            opcode::Socket::new(libc::AF_INET6, libc::SOCK_DGRAM, 0).file_index(Some(target));
        assert_eq!(self.run(&socket.build()), 0);
        // SAFETY: all zeroes is a valid sockaddr_in6: the wildcard address.
        let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        address.sin6_family = libc::AF_INET6 as u16;
        address.sin6_port = port.to_be();
        let bind = opcode::Bind::new(types::Fixed(slot), (&raw const address).cast(), 28);
        assert_eq!(self.run(&bind.build()), 0);
    }

    pub fn push(&mut self, entry: &ringwire::squeue::Entry) {
        // SAFETY: what the tests' entries name lives until they have completed.
        unsafe { self.ring.submission().push(entry) }.expect("room in the queue");
    }

    /// Submits an entry and waits for its completion.
    pub fn run(&mut self, entry: &ringwire::squeue::Entry) -> i32 {
        self.push(entry);
        self.ring.submit_and_wait(1).expect("a completion");
        self.ring
            .completion()
            .next()
            .expect("a completion")
            .result()
    }

    /// Takes turns until `done`, or for as long as a test is patient.
    pub fn turn_until(&mut self, mut done: impl FnMut(&mut Server) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let pause = types::Timespec::from(Duration::from_millis(5));
        while Instant::now() < deadline {
            if done(self) {
                return true;
            }
            let args = types::SubmitArgs::new().timespec(&pause);
            let _ = self.ring.submitter().submit_with_args(1, &args);
        }
        false
    }

    /// Echoes one datagram that the peer sends; the peer gets it back unchanged.
    pub fn echo(&mut self, peer: &UdpSocket, payload: &[u8]) {
        peer.send_to(payload, (RING_V4, PORT))
            .expect("the peer sends");
        self.header.msg_name = (&raw mut *self.name).cast();
        self.header.msg_namelen = 28;
        self.header.msg_iov = &raw mut *self.part;
        self.header.msg_iovlen = 1;
        *self.part = libc::iovec {
            iov_base: self.buffer.as_mut_ptr().cast(),
            iov_len: self.buffer.len(),
        };
        let receive = opcode::RecvMsg::new(types::Fixed(0), &raw mut *self.header).build();
        self.push(&receive.user_data(1));
        let mut res = 0;
        let received = self.turn_until(|server| {
            let completion = server.ring.completion().next();
            res = completion
                .as_ref()
                .map_or(0, |completion| completion.result());
            completion.is_some()
        });
        assert!(received, "the datagram arrives");
        self.part.iov_len = usize::try_from(res).expect("a length");
        let send = opcode::SendMsg::new(types::Fixed(0), &raw const *self.header).build();
        assert_eq!(self.run(&send), res);
        let mut back = vec![0; 65_536];
        peer.set_read_timeout(Some(Duration::from_millis(5)))
            .expect("a timeout");
        let mut answer = None;
        self.turn_until(|_| {
            answer = peer.recv(&mut back).ok();
            answer.is_some()
        });
        assert_eq!(
            answer.map(|len| &back[..len]),
            Some(payload),
            "the echo is what was sent"
        );
        self.echoed += 1;
    }
}

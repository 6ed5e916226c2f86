//! A small echo server: one engine's part of it, on a thread of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::thread::JoinHandle;

use ringwire::{Counters, IoUring, opcode, register_sync_msg, squeue, types};
use ringwire_tests::net::PATIENCE;
use ringwire_tests::stream::{at, raw, run, wait};

/// Its direct descriptors: those of connections follow.
const LISTENER: types::Fixed = types::Fixed(0);
const DATAGRAMS: types::Fixed = types::Fixed(1);
const SLOTS: u32 = 128;
const BUFFER_BYTES: usize = 2048;

/// What an entry's `user_data` says in its upper half; in the lower one is the descriptor.
const ACCEPT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const SEND: u64 = 3 << 32;
const RECEIVE_FROM: u64 = 4 << 32;
const SEND_TO: u64 = 5 << 32;
const CLOSE: u64 = 6 << 32;
const STOP: u64 = 7 << 32;

/// What an engine has done.
#[derive(Debug)]
pub struct Done {
    pub accepted: u32,
    pub datagrams: u32,
    pub counters: Counters,
}

/// Who is spoken to next, and what it has said: kept where it is while requests are under way.
struct Datagram {
    header: libc::msghdr,
    span: libc::iovec,
    name: [u8; 28],
    bytes: [u8; BUFFER_BYTES],
}

/// Sockets at this port, of both kinds, that share it with the other engines'.
pub fn listen(ring: &mut IoUring, port: u16) {
    let target = |slot: types::Fixed| types::DestinationSlot::try_from_slot_target(slot.0).ok();
    for (slot, kind) in [(LISTENER, libc::SOCK_STREAM), (DATAGRAMS, libc::SOCK_DGRAM)] {
        let socket = opcode::Socket::new(libc::AF_INET6, kind, 0).file_index(target(slot));
        assert_eq!(run(ring, socket.build()), 0);
        let on = 1_i32;
        let option = opcode::SetSockOpt::new(
            slot,
            libc::SOL_SOCKET as u32,
            libc::SO_REUSEPORT as u32,
            std::ptr::from_ref(&on).cast(),
            4,
        );
        assert_eq!(run(ring, option.build()), 0);
        let (address, len) = raw(at("::", port));
        let bind = opcode::Bind::new(slot, address.as_ptr().cast(), len);
        assert_eq!(run(ring, bind.build()), 0);
    }
    assert_eq!(run(ring, opcode::Listen::new(LISTENER, 64).build()), 0);
}

/// Serves on a thread that begins in this one's network namespace, until it is told to stop by [`stop`]. It sleeps for
/// longer than its clients wait: whoever has something for it must wake it.
pub fn serve(mut ring: IoUring, listens: bool) -> JoinHandle<Done> {
    std::thread::spawn(move || Server::default().run(&mut ring, listens))
}

/// Has the server of the ring with this file descriptor stop.
pub fn stop(ring: RawFd) {
    let message = opcode::MsgRingData::new(types::Fd(ring), 0, STOP, None).build();
    // SAFETY: the message points at nothing.
    unsafe { register_sync_msg(&message) }.expect("a message to a ring");
}

#[derive(Default)]
struct Server {
    /// What each connection sends back, by its descriptor.
    buffers: HashMap<u32, Vec<u8>>,
    datagram: Option<Box<Datagram>>,
    accepted: u32,
    datagrams: u32,
    stopped: bool,
}

impl Server {
    fn run(mut self, ring: &mut IoUring, listens: bool) -> Done {
        if listens {
            let accept = opcode::AcceptMulti::new(LISTENER).allocate_file_index(true);
            push(ring, accept.build().user_data(ACCEPT));
            self.datagram = Some(Box::new(Datagram {
                // SAFETY: all zeroes is a msghdr, and an iovec.
                header: unsafe { std::mem::zeroed() },
                // SAFETY: as above.
                span: unsafe { std::mem::zeroed() },
                name: [0; 28],
                bytes: [0; BUFFER_BYTES],
            }));
            self.receive_datagram(ring);
        }
        while !self.stopped {
            wait(ring, 10 * PATIENCE);
            let completions: Vec<_> = ring.completion().collect();
            for cqe in completions {
                self.complete(ring, cqe.user_data(), cqe.result());
            }
        }
        Done {
            accepted: self.accepted,
            datagrams: self.datagrams,
            counters: ring.counters().expect("counters"),
        }
    }

    fn complete(&mut self, ring: &mut IoUring, user_data: u64, result: i32) {
        let slot = user_data as u32;
        match user_data & !u64::from(u32::MAX) {
            ACCEPT => {
                let slot = u32::try_from(result).expect("a connection");
                self.accepted += 1;
                self.buffers.insert(slot, vec![0; BUFFER_BYTES]);
                self.receive(ring, slot);
            }
            RECEIVE if result == 0 => {
                self.buffers.remove(&slot);
                let close = opcode::Close::new(types::Fixed(slot)).build();
                push(ring, close.user_data(CLOSE));
            }
            RECEIVE => {
                let len = u32::try_from(result).expect("bytes");
                let buffer = self.buffers[&slot].as_ptr();
                let send = opcode::Send::new(types::Fixed(slot), buffer, len);
                let send = send.flags(libc::MSG_WAITALL).build();
                push(ring, send.user_data(SEND | u64::from(slot)));
            }
            SEND => {
                assert!(result > 0, "sending: {result}");
                self.receive(ring, slot);
            }
            RECEIVE_FROM => {
                let len = usize::try_from(result).expect("a datagram");
                self.datagrams += 1;
                let datagram = self.datagram.as_mut().expect("it was received into");
                datagram.span.iov_len = len;
                let header = std::ptr::from_ref(&datagram.header);
                let send = opcode::SendMsg::new(DATAGRAMS, header).build();
                push(ring, send.user_data(SEND_TO));
            }
            SEND_TO => {
                assert!(result >= 0, "sending a datagram: {result}");
                self.receive_datagram(ring);
            }
            STOP => self.stopped = true,
            _ => assert_eq!(result, 0, "closing"),
        }
    }

    fn receive(&mut self, ring: &mut IoUring, slot: u32) {
        let buffer = self.buffers.get_mut(&slot).expect("a connection's buffer");
        let (start, len) = (buffer.as_mut_ptr(), buffer.len() as u32);
        let receive = opcode::Recv::new(types::Fixed(slot), start, len).build();
        push(ring, receive.user_data(RECEIVE | u64::from(slot)));
    }

    fn receive_datagram(&mut self, ring: &mut IoUring) {
        let datagram = self.datagram.as_mut().expect("an engine that listens");
        datagram.span.iov_base = datagram.bytes.as_mut_ptr().cast();
        datagram.span.iov_len = BUFFER_BYTES;
        datagram.header.msg_iov = &raw mut datagram.span;
        datagram.header.msg_iovlen = 1;
        datagram.header.msg_name = datagram.name.as_mut_ptr().cast();
        datagram.header.msg_namelen = datagram.name.len() as u32;
        let receive = opcode::RecvMsg::new(DATAGRAMS, &raw mut datagram.header).build();
        push(ring, receive.user_data(RECEIVE_FROM));
    }
}

fn push(ring: &mut IoUring, entry: squeue::Entry) {
    // SAFETY: buffers and headers live as long as the server, which outlives its requests: it stops
    // submitting when it stops, and the ring goes right after it.
    unsafe { ring.submission().push(&entry) }.expect("room in the queue");
}

/// A table for the server's descriptors.
pub fn prepare(ring: &IoUring) {
    let submitter = ring.submitter();
    submitter.register_files_sparse(SLOTS).expect("a table");
}

/// Connects to an address, sends bytes, and reads them back, on the first connection's slot.
pub fn converse(ring: &mut IoUring, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    const CONNECTION: types::Fixed = types::Fixed(SLOTS - 1);
    let target = types::DestinationSlot::try_from_slot_target(CONNECTION.0).ok();
    let socket = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).file_index(target);
    assert_eq!(run(ring, socket.build()), 0);
    let (address, len) = raw(to);
    let connect = opcode::Connect::new(CONNECTION, address.as_ptr().cast(), len);
    assert_eq!(run(ring, connect.build()), 0);
    let send = opcode::Send::new(CONNECTION, bytes.as_ptr(), bytes.len() as u32);
    let sent = run(ring, send.flags(libc::MSG_WAITALL).build());
    assert_eq!(sent, bytes.len() as i32);
    let mut received = vec![0; bytes.len()];
    let receive = opcode::Recv::new(CONNECTION, received.as_mut_ptr(), received.len() as u32);
    let got = run(ring, receive.flags(libc::MSG_WAITALL).build());
    assert_eq!(got, bytes.len() as i32);
    assert_eq!(run(ring, opcode::Close::new(CONNECTION).build()), 0);
    received
}

//! Streams: the application's echo of them on the ring, and the peer's clients, whose every byte is a
//! function of its stream and offset.

use std::collections::VecDeque;
use std::net::SocketAddr;

use io_uring::{opcode, squeue, types};
use ringwire_stack::{Family, Instant, Protocol, Shutdown, SocketError, SocketId, Stack};
use ringwire_umem::Ledger;

use crate::random::Random;

pub(crate) const PORT: u16 = 8;
/// The listener's slot, and those of connections.
pub(crate) const LISTENER: u32 = 16;
const CONNECTIONS: std::ops::Range<u32> = 17..24;
const BUFFER_BYTES: usize = 8192;
/// `user_data` of what is done here: this bit, the kind, the slot.
pub(crate) const STREAM: u64 = 1 << 59;
const ACCEPT: u64 = 1;
const RECEIVE: u64 = 2;
const SEND: u64 = 3;

fn byte_at(stream: u32, offset: u64) -> u8 {
    let mixed = (offset ^ u64::from(stream) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as u8
}

/// The echo server's part of the application.
pub(crate) struct Echo {
    buffers: Vec<Box<[u8]>>,
    /// What of each buffer is still to be sent.
    pending: Vec<std::ops::Range<usize>>,
    free: Vec<u32>,
    accepting: bool,
    address: Box<libc::sockaddr_in6>,
    closing: bool,
}

impl Echo {
    pub(crate) fn new() -> Echo {
        // SAFETY: all zeroes is a valid sockaddr_in6.
        let mut address: Box<libc::sockaddr_in6> = unsafe { Box::new(std::mem::zeroed()) };
        address.sin6_family = libc::AF_INET6 as u16;
        address.sin6_port = PORT.to_be();
        Echo {
            buffers: CONNECTIONS.map(|_| vec![0; BUFFER_BYTES].into()).collect(),
            pending: CONNECTIONS.map(|_| 0..0).collect(),
            free: CONNECTIONS.rev().collect(),
            accepting: false,
            address,
            closing: false,
        }
    }

    /// The requests that make the listener.
    pub(crate) fn set_up(&self) -> [squeue::Entry; 3] {
        let slot = types::DestinationSlot::try_from_slot_target(LISTENER).expect("a small slot");
        let socket = opcode::Socket::new(libc::AF_INET6, libc::SOCK_STREAM, 0);
        let listener = types::Fixed(LISTENER);
        let address = std::ptr::from_ref(&*self.address).cast();
        [
            socket.file_index(Some(slot)).build(),
            opcode::Bind::new(listener, address, 28).build(),
            opcode::Listen::new(listener, 4).build(),
        ]
    }

    /// Accepts, if there is a slot for another connection.
    pub(crate) fn arm(&mut self, to_push: &mut VecDeque<squeue::Entry>) {
        if self.accepting || self.closing {
            return;
        }
        let Some(&slot) = self.free.last() else {
            return;
        };
        self.accepting = true;
        let target = types::DestinationSlot::try_from_slot_target(slot).expect("a small slot");
        let (addr, len) = (std::ptr::null_mut(), std::ptr::null_mut());
        let entry = opcode::Accept::new(types::Fixed(LISTENER), addr, len);
        push(
            to_push,
            entry.file_index(Some(target)).build(),
            ACCEPT,
            slot,
        );
    }

    pub(crate) fn finish(&mut self) {
        self.closing = true;
    }

    pub(crate) fn completed(
        &mut self,
        to_push: &mut VecDeque<squeue::Entry>,
        user_data: u64,
        res: i32,
    ) {
        let (kind, slot) = (user_data >> 32 & 0xff, user_data as u32);
        match kind {
            ACCEPT => {
                self.accepting = false;
                if res >= 0 {
                    // Another may have become free since.
                    self.free.retain(|&other| other != slot);
                    self.receive(to_push, slot);
                }
            }
            RECEIVE if res > 0 => {
                self.pending[index(slot)] = 0..res as usize;
                self.send(to_push, slot);
            }
            RECEIVE if res == -libc::ECANCELED => self.receive(to_push, slot),
            // A hostile request may have cancelled it, half way.
            SEND if res > 0 || res == -libc::ECANCELED => {
                self.pending[index(slot)].start += res.max(0) as usize;
                if self.pending[index(slot)].is_empty() {
                    self.receive(to_push, slot);
                } else {
                    self.send(to_push, slot);
                }
            }
            _ => {
                to_push.push_back(opcode::Close::new(types::Fixed(slot)).build());
                self.free.push(slot);
            }
        }
    }

    fn send(&mut self, to_push: &mut VecDeque<squeue::Entry>, slot: u32) {
        let pending = self.pending[index(slot)].clone();
        let bytes = &self.buffers[index(slot)][pending];
        let entry = opcode::Send::new(types::Fixed(slot), bytes.as_ptr(), bytes.len() as u32);
        push(to_push, entry.flags(libc::MSG_WAITALL).build(), SEND, slot);
    }

    fn receive(&mut self, to_push: &mut VecDeque<squeue::Entry>, slot: u32) {
        let buffer = &mut self.buffers[index(slot)];
        let (addr, len) = (buffer.as_mut_ptr(), buffer.len() as u32);
        let entry = opcode::Recv::new(types::Fixed(slot), addr, len);
        push(to_push, entry.build(), RECEIVE, slot);
    }
}

fn index(slot: u32) -> usize {
    (slot - CONNECTIONS.start) as usize
}

fn push(to_push: &mut VecDeque<squeue::Entry>, entry: squeue::Entry, kind: u64, slot: u32) {
    to_push.push_back(entry.user_data(STREAM | kind << 32 | u64::from(slot)));
}

struct Client {
    serial: u32,
    socket: SocketId,
    connected: bool,
    /// Begun while there were faults: the network may be cut off for longer than it takes to give up.
    may_fail: bool,
    total: u64,
    sent: u64,
    got: u64,
    shut: bool,
}

/// The peer's clients.
#[derive(Default)]
pub(crate) struct Clients {
    clients: Vec<Client>,
    started: u32,
    pub(crate) finished: u64,
    pub(crate) bytes: u64,
}

impl Clients {
    pub(crate) fn start(
        &mut self,
        now: Instant,
        stack: &mut Stack,
        ledger: &mut Ledger,
        random: &mut Random,
        may_fail: bool,
    ) {
        let (family, to): (Family, SocketAddr) = match random.below(2) {
            0 => (Family::V4, ([10, 0, 0, 2], PORT).into()),
            _ => (Family::V6, ([0xfd00, 0, 0, 0, 0, 0, 0, 2], PORT).into()),
        };
        let socket = stack.open(Protocol::Tcp, family);
        self.started += 1;
        let begun = stack.tcp_connect(now, ledger, socket, Some(to));
        assert_eq!(begun, Err(SocketError::InProgress));
        self.clients.push(Client {
            serial: self.started,
            socket,
            connected: false,
            may_fail,
            total: random.below(60_000),
            sent: 0,
            got: 0,
            shut: false,
        });
    }

    /// Connections that are not done.
    pub(crate) fn open(&self) -> usize {
        self.clients.len()
    }

    /// Lets every client do something.
    ///
    /// # Errors
    /// What a client has seen and must not.
    pub(crate) fn step(
        &mut self,
        now: Instant,
        stack: &mut Stack,
        ledger: &mut Ledger,
        random: &mut Random,
    ) -> Result<(), String> {
        let mut done = Vec::new();
        for (index, client) in self.clients.iter_mut().enumerate() {
            let before = client.got;
            let over = client
                .step(now, stack, ledger, random)
                .map_err(|error| format!("stream {}: {error}", client.serial))?;
            self.bytes += client.got - before;
            if over {
                stack.close(now, ledger, client.socket);
                done.push(index);
            }
        }
        for index in done.into_iter().rev() {
            let client = self.clients.swap_remove(index);
            self.finished += u64::from(client.connected);
        }
        Ok(())
    }
}

impl Client {
    /// `true` when everything has come back, and the end; or when nobody answered.
    fn step(
        &mut self,
        now: Instant,
        stack: &mut Stack,
        ledger: &mut Ledger,
        random: &mut Random,
    ) -> Result<bool, String> {
        if !self.connected {
            match stack.tcp_connected(self.socket) {
                None => return Ok(false),
                Some(Ok(())) => self.connected = true,
                Some(Err(SocketError::HostUnreachable)) if self.may_fail => return Ok(true),
                Some(Err(error)) => return Err(format!("connecting failed: {error:?}")),
            }
        }
        if self.sent < self.total && random.chance(600) {
            self.send(stack, ledger, random)?;
        }
        if self.sent == self.total && !self.shut {
            self.shut = true;
            let shut = stack.shutdown(now, ledger, self.socket, Shutdown::Send);
            shut.map_err(|error| format!("shutting down failed: {error:?}"))?;
        }
        if random.chance(300) {
            return Ok(false);
        }
        match stack.tcp_available(self.socket) {
            Ok(0) if self.got == self.total => Ok(true),
            Ok(0) => Err(format!("ended after {} of {} bytes", self.got, self.total)),
            Ok(count) => {
                self.receive(stack, ledger, 1 + random.below(count as u64) as usize)?;
                Ok(false)
            }
            Err(SocketError::WouldBlock) => Ok(false),
            Err(error) => Err(format!("receiving failed: {error:?}")),
        }
    }

    fn send(
        &mut self,
        stack: &mut Stack,
        ledger: &mut Ledger,
        random: &mut Random,
    ) -> Result<(), String> {
        let len = (1 + random.below(8000)).min(self.total - self.sent) as usize;
        let (serial, mut offset) = (self.serial, self.sent);
        let fill = &mut |part: &mut [u8]| {
            for byte in part {
                *byte = byte_at(serial, offset);
                offset += 1;
            }
        };
        let more = random.chance(100);
        match stack.tcp_send(ledger, self.socket, len, more, fill) {
            Ok(count) => self.sent += count as u64,
            Err(SocketError::WouldBlock) => {}
            Err(error) => return Err(format!("sending failed: {error:?}")),
        }
        Ok(())
    }

    fn receive(
        &mut self,
        stack: &mut Stack,
        ledger: &mut Ledger,
        len: usize,
    ) -> Result<(), String> {
        let (serial, mut offset) = (self.serial, self.got);
        let mut wrong = None;
        stack.tcp_for_each(ledger, self.socket, len, &mut |part| {
            for &byte in part {
                if byte != byte_at(serial, offset) {
                    wrong.get_or_insert(offset);
                }
                offset += 1;
            }
        });
        if let Some(offset) = wrong {
            return Err(format!("the byte at {offset} is not the one that was sent"));
        }
        stack.tcp_consume(ledger, self.socket, len);
        self.got = offset;
        Ok(())
    }
}

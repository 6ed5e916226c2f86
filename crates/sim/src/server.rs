//! The server on a ring: it echoes datagrams and streams.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::ops::Range;

use io_uring::{opcode, squeue, types};
use ringwire::engine::Engine;
use ringwire_abi::flags::{IORING_CQE_F_BUF_MORE, IORING_SEND_ZC_REPORT_USAGE};

use crate::areas::{Areas, Name};
use crate::buffers::Buffers;
use crate::lending::{self, Lending, Manner};
use crate::loans::{self, Lent};
use crate::payload;
use crate::received::LentGroup;
use crate::requests::{Purpose, Requests};
use crate::stream_memory::{Receive, STREAM_BYTES, Send, StreamMemory, TIMEOUTS, scribble};
use crate::traffic::{DATAGRAM_PORT, STREAM_PORT};

const SOCKET: u32 = 0;
const LISTENER: u32 = 1;
const CONNECTIONS: Range<u32> = 2..9;
/// The first slot that is not the server's.
pub(crate) const SLOTS_END: u32 = CONNECTIONS.end;
const GROUP: u16 = 1;
const BUFFERS: u16 = 64;
const BUFFER_BYTES: usize = 16 + 28 + 10_000;
/// Lent groups, for datagrams and for streams.
const LENT_GROUP: u16 = 2;
const LENT_STREAMS: u16 = 3;
const IDS: u16 = 32;
/// In so many steps everything is closed that was to be.
const CLOSING_STEPS: u32 = 10;
/// A registered buffer.
const PARTS: u16 = 0;
const BACKLOG: i32 = 4;

/// What a request of the server's is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Receive,
    Reply(u16),
    /// A reply in the areas, by its number there.
    LentReply(u64),
    /// A reply from where the datagram lies that it answers, by its number.
    Forward(u64),
    Accept(u32),
    StreamReceive(u32),
    StreamSend(u32),
    /// The same of what lies in the areas, by its number there.
    LentSend(u32, u64),
    /// The same of what was lent.
    StreamForward(u32),
    Closed(u32),
}

/// A reply that is being sent from the buffer of the same number.
struct Reply {
    header: libc::msghdr,
    part: libc::iovec,
}

/// A reply that is being sent from where the NIC wrote it.
struct Forward {
    header: Box<libc::msghdr>,
    parts: Vec<libc::iovec>,
    /// The ids under which it is lent, until they are to be given back.
    ids: Vec<u16>,
    /// It has completed: what the ids name may be given back before the notification.
    sent: bool,
}

struct Connection {
    /// What it is on the wire, and how many bytes have been sent on it.
    wire: loans::Connection,
    offset: u64,
    /// What was lent, and is sent from there: its first byte, and its id, if that can be given back then.
    forward: Option<(*const u8, Option<u16>)>,
    /// What of that, or of its own memory, is still to be sent.
    pending: Range<usize>,
    /// What a zero-copy send came to, until its notification comes.
    sent: i32,
}

pub(crate) struct Server {
    buffers: Buffers,
    lending: Lending,
    /// Datagrams that are echoed from where the NIC wrote them.
    lent: Option<LentGroup>,
    lends: bool,
    /// The same for streams.
    lent_streams: Option<LentGroup>,
    /// Steps since everything was to be closed.
    closing_steps: u32,
    forwards: BTreeMap<u64, Forward>,
    forwarded: u64,
    parts: StreamMemory,
    /// Chooses the ways to send and to receive, one after the other.
    turn: usize,
    replies: Vec<Reply>,
    connections: BTreeMap<u32, Connection>,
    free: Vec<u32>,
    /// Where the next connection goes.
    accepting: Option<u32>,
    receiving: bool,
    closing: bool,
    shape: Box<libc::msghdr>,
    /// Who was accepted last.
    peer: Box<Name>,
    addresses: Box<[libc::sockaddr_in6; 2]>,
    pub(crate) violation: Option<String>,
}

impl Server {
    pub(crate) fn new(
        engine: &mut Engine,
        requests: &mut Requests,
        mut lending: Lending,
    ) -> Server {
        // SAFETY: all zeroes are valid values of these C structs.
        let (mut shape, mut addresses): (Box<libc::msghdr>, Box<[libc::sockaddr_in6; 2]>) =
            unsafe { (Box::new(std::mem::zeroed()), Box::new(std::mem::zeroed())) };
        shape.msg_namelen = size_of::<libc::sockaddr_in6>() as u32;
        for (address, port) in addresses.iter_mut().zip([DATAGRAM_PORT, STREAM_PORT]) {
            address.sin6_family = libc::AF_INET6 as u16;
            address.sin6_port = port.to_be();
        }
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        let reply = |_| Reply {
            header: *shape,
            part: empty,
        };
        let server = Server {
            buffers: Buffers::register(engine, GROUP, BUFFERS, BUFFER_BYTES),
            lent: lending.group(engine, LENT_GROUP, IDS),
            lends: false,
            lent_streams: lending.group(engine, LENT_STREAMS, IDS),
            closing_steps: 0,
            forwards: BTreeMap::new(),
            forwarded: 0,
            lending,
            parts: StreamMemory::register(engine, PARTS, CONNECTIONS),
            turn: 0,
            replies: (0..BUFFERS).map(reply).collect(),
            connections: BTreeMap::new(),
            free: CONNECTIONS.rev().collect(),
            accepting: None,
            receiving: false,
            closing: false,
            peer: Box::new(Name(addresses[0], 0)),
            shape,
            addresses,
            violation: None,
        };
        server.open(requests);
        server
    }

    fn open(&self, requests: &mut Requests) {
        let sockets = [(SOCKET, libc::SOCK_DGRAM), (LISTENER, libc::SOCK_STREAM)];
        for ((slot, kind), address) in sockets.into_iter().zip(&*self.addresses) {
            let socket = opcode::Socket::new(libc::AF_INET6, kind, 0);
            let bind =
                opcode::Bind::new(types::Fixed(slot), std::ptr::from_ref(address).cast(), 28);
            requests.push(
                socket.file_index(Some(target(slot))).build(),
                Purpose::Quiet,
            );
            requests.push(bind.build(), Purpose::Quiet);
        }
        requests.number(SOCKET, false);
        requests.number_accepted_by(LISTENER);
        let listen = opcode::Listen::new(types::Fixed(LISTENER), BACKLOG);
        requests.push(listen.build(), Purpose::Quiet);
    }

    /// Receives, and accepts if there is a slot for another connection.
    pub(crate) fn step(&mut self, requests: &mut Requests, manner: Manner) {
        if let Err(violation) = self.give_back(manner) {
            self.violation.get_or_insert(violation);
        }
        if self.closing {
            return;
        }
        if !self.receiving {
            self.receiving = true;
            self.lends = self.lent.is_some() && !self.next_turn().is_multiple_of(3);
            let group = if self.lends { LENT_GROUP } else { GROUP };
            let socket = types::Fixed(SOCKET);
            let receive = opcode::RecvMsgMulti::new(socket, &raw const *self.shape, group);
            requests.push(receive.build(), Purpose::Server(Step::Receive));
        }
        if let (None, Some(&slot)) = (self.accepting, self.free.last()) {
            self.accepting = Some(slot);
            let Name(peer, len) = &mut *self.peer;
            *len = size_of_val(peer) as u32;
            let peer = std::ptr::from_mut(peer).cast();
            let accept = opcode::Accept::new(types::Fixed(LISTENER), peer, len);
            let accept = accept.file_index(Some(target(slot))).build();
            requests.push(accept, Purpose::Server(Step::Accept(slot)));
        }
    }

    pub(crate) fn completed(&mut self, requests: &mut Requests, step: Step, res: i32, flags: u32) {
        let more = io_uring::cqueue::more(flags);
        let bid = io_uring::cqueue::buffer_select(flags);
        match step {
            Step::Receive => self.received(requests, res, flags),
            Step::Reply(bid) if !more => self.replied(bid),
            Step::LentReply(number) if !more => self.lending.areas.take_back(number),
            Step::Reply(_) | Step::LentReply(_) => {}
            Step::Forward(number) => self.forwarded(number, more),
            Step::StreamSend(slot) if more => self.connection(slot).sent = res,
            Step::Accept(slot) => {
                self.accepting = None;
                if res >= 0 {
                    // Another may have become free since.
                    self.free.retain(|&other| other != slot);
                    let connection = Connection {
                        wire: self.peer_on_the_wire(),
                        offset: 0,
                        forward: None,
                        pending: 0..0,
                        sent: 0,
                    };
                    self.connections.insert(slot, connection);
                    requests.is_numbered(slot, true);
                    self.receive(requests, slot);
                }
            }
            Step::StreamReceive(slot) if res > 0 && bid.is_some() => {
                let more = flags & IORING_CQE_F_BUF_MORE != 0;
                let part = (bid.unwrap_or_default(), res as usize);
                if let Err(violation) = self.stream_lent(requests, slot, part, more) {
                    self.violation.get_or_insert(violation);
                }
            }
            Step::StreamReceive(slot) if res > 0 => {
                self.connection(slot).pending = 0..res as usize;
                self.send(requests, slot);
            }
            // A hostile request may have cancelled it, half way.
            // Or nothing may be lent for now.
            Step::StreamReceive(slot) if [-libc::ECANCELED, -libc::ENOBUFS].contains(&res) => {
                self.receive(requests, slot);
            }
            Step::StreamForward(slot) => self.sent(requests, slot, res),
            Step::Closed(slot) => {
                if let Some(lent) = &mut self.lent_streams {
                    lent.closed(slot);
                }
                self.free.push(slot);
            }
            Step::StreamSend(slot) => self.sent(requests, slot, res),
            Step::LentSend(slot, number) => {
                if !more {
                    self.lending.areas.take_back(number);
                }
                self.sent(requests, slot, res);
            }
            Step::StreamReceive(slot) => self.close(requests, slot),
        }
    }

    /// The memory of a zero-copy send is the server's again.
    pub(crate) fn notified(&mut self, requests: &mut Requests, step: Step) {
        match step {
            Step::Reply(bid) => self.replied(bid),
            Step::Forward(number) => self.forwarded(number, false),
            // It was given back when it was sent: the NIC and the connection keep it as long as they need it.
            Step::StreamForward(_) => {}
            // The connection may be no more.
            Step::LentReply(number) | Step::LentSend(_, number) => {
                self.lending.areas.take_back(number)
            }
            Step::StreamSend(slot) => {
                let sent = self.connection(slot).sent;
                self.sent(requests, slot, sent);
            }
            _ => unreachable!("a notification of a request that sends nothing"),
        }
    }

    /// Gives some of what was lent back; all of it at the end.
    fn give_back(&mut self, manner: Manner) -> Result<(), String> {
        let mut per_mille = manner.per_mille;
        self.closing_steps += u32::from(self.closing);
        if let Some(lent) = &mut self.lent {
            if self.closing {
                per_mille = 1000;
                for forward in self.forwards.values_mut().filter(|forward| forward.sent) {
                    forward.ids.drain(..).for_each(|bid| lent.keep(bid));
                }
            }
            lent.give_back(per_mille, manner.bad)?;
        }
        if let Some(lent) = &mut self.lent_streams {
            if self.closing_steps == CLOSING_STEPS {
                lent.closed_all();
            }
            lent.give_back(per_mille, manner.bad)?;
        }
        Ok(())
    }

    pub(crate) fn areas(&mut self) -> &mut Areas {
        &mut self.lending.areas
    }

    /// What it was lent.
    pub(crate) fn lent(&self) -> lending::Lent {
        let mut counts = lending::Lent {
            forwarded: self.forwarded,
            ..lending::Lent::default()
        };
        let groups = [&self.lent, &self.lent_streams];
        groups
            .into_iter()
            .flatten()
            .for_each(|lent| counts += lent.counts);
        counts
    }

    /// A forwarding has completed, with a notification to come (`more`) or without.
    fn forwarded(&mut self, number: u64, more: bool) {
        let forward = self.forwards.get_mut(&number).expect("it was sent");
        forward.sent = true;
        self.forwarded += u64::from(more);
        // The NIC may have it still: that is no reason to keep it.
        if !more || number.is_multiple_of(2) {
            let lent = self.lent.as_mut().expect("it was lent");
            forward.ids.drain(..).for_each(|bid| lent.keep(bid));
        }
        if !more {
            self.forwards.remove(&number);
        }
    }

    /// A datagram was lent: it is echoed from where it lies.
    fn forward(&mut self, requests: &mut Requests, bid: u16, len: usize) -> Result<(), String> {
        let lent = self.lent.as_mut().expect("it was registered");
        let ids = lent.message(bid, len)?;
        let bytes: Vec<&[u8]> = ids.iter().map(|&bid| lent.get(bid)).collect();
        let message = types::RecvMsgOut::parse(bytes[0], &self.shape);
        let message = message.map_err(|()| "a message without a header")?;
        let (name, first) = (message.name_data(), message.payload_data());
        let payload = [&[first], &bytes[1..]].concat();
        payload::check(&payload.concat())
            .map_err(|error| format!("the server got what nobody sent: {error}"))?;
        let part = |bytes: &&[u8]| libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let parts: Vec<libc::iovec> = payload.iter().map(part).collect();
        let spans = self.lending.areas.spans(&parts);
        let mut header = self.shape.clone();
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len() as u32;
        let number = self.next_turn() as u64;
        let forward = self.forwards.entry(number).or_insert(Forward {
            header,
            parts,
            ids,
            sent: false,
        });
        forward.header.msg_iov = forward.parts.as_mut_ptr();
        forward.header.msg_iovlen = forward.parts.len();
        let send = opcode::SendMsgZc::new(types::Fixed(SOCKET), &raw const *forward.header).build();
        let purpose = Purpose::Server(Step::Forward(number));
        requests.push_lent(send, purpose, Lent::new(spans, false));
        Ok(())
    }

    fn replied(&mut self, bid: u16) {
        scribble(self.buffers.whole(bid));
        self.buffers.provide(bid);
    }

    fn sent(&mut self, requests: &mut Requests, slot: u32, res: i32) {
        if res <= 0 && res != -libc::ECANCELED {
            return self.close(requests, slot);
        }
        let connection = self.connection(slot);
        connection.offset += res.max(0) as u64;
        connection.pending.start += res.max(0) as usize;
        let Range { start, end } = connection.pending;
        let forward = connection.forward;
        match (forward, &mut self.lent_streams) {
            (None, _) => scribble(&mut self.parts.part(slot)[..start]),
            (Some((_, Some(bid))), Some(lent)) if start == end => lent.keep(bid),
            _ => {}
        }
        if start == end {
            self.receive(requests, slot);
        } else {
            self.send(requests, slot);
        }
    }

    fn close(&mut self, requests: &mut Requests, slot: u32) {
        requests.close(slot, Purpose::Server(Step::Closed(slot)));
        let closed = self.connections.remove(&slot);
        // What it could not send.
        let unsent = closed
            .filter(|it| !it.pending.is_empty())
            .and_then(|it| it.forward);
        if let (Some((_, Some(bid))), Some(lent)) = (unsent, &mut self.lent_streams) {
            lent.keep(bid);
        }
    }

    fn connection(&mut self, slot: u32) -> &mut Connection {
        self.connections.get_mut(&slot).expect("it is served")
    }

    fn received(&mut self, requests: &mut Requests, res: i32, flags: u32) {
        self.receiving &= io_uring::cqueue::more(flags);
        let Some(bid) = io_uring::cqueue::buffer_select(flags) else {
            return;
        };
        if self.lends {
            if let Err(violation) = self.forward(requests, bid, res as usize) {
                self.violation.get_or_insert(violation);
            }
            return;
        }
        let buffer = self.buffers.get(bid, res as usize);
        let message = types::RecvMsgOut::parse(buffer, &self.shape).expect("a whole message");
        let (name, payload) = (message.name_data(), message.payload_data());
        if let Err(error) = payload::check(payload) {
            self.violation = Some(format!("the server got what nobody sent: {error}"));
        }
        if bid % 4 > 1
            && let Some(number) = self.lending.areas.place(payload)
        {
            assert!(
                name.len() == size_of::<libc::sockaddr_in6>(),
                "an IPv6 socket's"
            );
            // SAFETY: the bytes are a sockaddr_in6's, which any bytes are.
            let to = unsafe { name.as_ptr().cast::<libc::sockaddr_in6>().read_unaligned() };
            let to = Name(to, name.len() as u32);
            let (send, lent) = match requests.takes_number(SOCKET) {
                true => {
                    let areas = &mut self.lending.areas;
                    areas.send_numbered(number, SOCKET, Some(to), 0)
                }
                false => self.lending.areas.send(number, SOCKET, Some(to), 0),
            };
            requests.push_lent(send, Purpose::Server(Step::LentReply(number)), lent);
            return self.replied(bid);
        }
        let reply = &mut self.replies[usize::from(bid)];
        reply.part = libc::iovec {
            iov_base: payload.as_ptr().cast_mut().cast(),
            iov_len: payload.len(),
        };
        reply.header.msg_name = name.as_ptr().cast_mut().cast();
        reply.header.msg_namelen = name.len() as u32;
        reply.header.msg_iov = &raw mut reply.part;
        reply.header.msg_iovlen = 1;
        let (socket, header) = (types::Fixed(SOCKET), &raw const reply.header);
        let send = match bid % 2 {
            0 => opcode::SendMsg::new(socket, header).build(),
            _ => opcode::SendMsgZc::new(socket, header).build(),
        };
        requests.push(send, Purpose::Server(Step::Reply(bid)));
    }

    /// A part of a stream was lent: it is echoed from where it lies.
    fn stream_lent(
        &mut self,
        requests: &mut Requests,
        slot: u32,
        (bid, len): (u16, usize),
        more: bool,
    ) -> Result<(), String> {
        let lent = self.lent_streams.as_mut().expect("it was registered");
        let bytes = lent.arrived(slot, (bid, len), more)?.as_ptr();
        let connection = self.connection(slot);
        connection.forward = Some((bytes, (!more).then_some(bid)));
        connection.pending = 0..len;
        self.send(requests, slot);
        Ok(())
    }

    /// Sends what is left of a part that was lent.
    fn forward_stream(&mut self, requests: &mut Requests, slot: u32, first: *const u8) {
        let Range { start, end } = self.connection(slot).pending;
        let part = libc::iovec {
            iov_base: first.wrapping_add(start).cast_mut().cast(),
            iov_len: end - start,
        };
        let send = opcode::SendZc::new(
            types::Fixed(slot),
            part.iov_base.cast(),
            part.iov_len as u32,
        );
        let send = send.flags(libc::MSG_WAITALL);
        let send = send.zc_flags(IORING_SEND_ZC_REPORT_USAGE);
        let spans = self.lending.areas.spans(&[part]);
        let connection = self.connection(slot);
        let lent = Lent::new(spans, true).on(Some(connection.wire), connection.offset);
        self.forwarded += 1;
        let purpose = Purpose::Server(Step::StreamForward(slot));
        requests.push_lent(send.build(), purpose, lent);
    }

    fn send(&mut self, requests: &mut Requests, slot: u32) {
        if let Some((first, _)) = self.connection(slot).forward {
            return self.forward_stream(requests, slot, first);
        }
        let pending = self.connection(slot).pending.clone();
        if self.next_turn().is_multiple_of(2) {
            let bytes = &self.parts.part(slot)[pending.clone()];
            if let Some(number) = self.lending.areas.place(bytes) {
                let areas = &mut self.lending.areas;
                let (send, lent) = match requests.takes_number(slot) {
                    true => areas.send_numbered(number, slot, None, libc::MSG_WAITALL),
                    false => areas.send(number, slot, None, libc::MSG_WAITALL),
                };
                let connection = self.connection(slot);
                let lent = lent.on(Some(connection.wire), connection.offset);
                let purpose = Purpose::Server(Step::LentSend(slot, number));
                return requests.push_lent(send, purpose, lent);
            }
        }
        let way = Send::ALL[self.next_turn() % Send::ALL.len()];
        let send = self.parts.send(way, slot, pending, libc::MSG_WAITALL);
        let purpose = Purpose::Server(Step::StreamSend(slot));
        if self.turn % 4 < 2 {
            let time = &TIMEOUTS[self.turn / 4 % TIMEOUTS.len()];
            requests.push_with_timeout(send, purpose, time);
        } else {
            requests.push(send, purpose);
        }
    }

    fn receive(&mut self, requests: &mut Requests, slot: u32) {
        self.connection(slot).forward = None;
        if self.lent_streams.is_some() && self.next_turn().is_multiple_of(3) {
            let receive = opcode::Recv::new(types::Fixed(slot), std::ptr::null_mut(), 0);
            let receive = receive.buf_group(LENT_STREAMS).build();
            let receive = receive.flags(squeue::Flags::BUFFER_SELECT);
            requests.push(receive, Purpose::Server(Step::StreamReceive(slot)));
            return;
        }
        let way = Receive::ALL[self.next_turn() % Receive::ALL.len()];
        let receive = self.parts.receive(way, slot, STREAM_BYTES as u32, 0);
        requests.push(receive, Purpose::Server(Step::StreamReceive(slot)));
    }

    fn next_turn(&mut self) -> usize {
        self.turn += 1;
        self.turn
    }

    /// The connection that was accepted last.
    fn peer_on_the_wire(&self) -> loans::Connection {
        let peer = &self.peer.0;
        let ip = Ipv6Addr::from(peer.sin6_addr.s6_addr);
        loans::Connection {
            v6: ip.to_ipv4_mapped().is_none(),
            local: STREAM_PORT,
            remote: u16::from_be(peer.sin6_port),
        }
    }

    /// Whether a slot is the server's now, or about to be.
    pub(crate) fn uses(&self, slot: u32) -> bool {
        [SOCKET, LISTENER].contains(&slot)
            || CONNECTIONS.contains(&slot) && !self.free.contains(&slot)
            || self.accepting == Some(slot)
    }

    pub(crate) fn finish(&mut self) {
        self.closing = true;
    }
}

fn target(slot: u32) -> types::DestinationSlot {
    types::DestinationSlot::try_from_slot_target(slot).expect("a small slot")
}

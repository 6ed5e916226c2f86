//! What a stack does with what is another one's, and with what others have handed over to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringwire_tcp::{Instant, Segment};
use ringwire_umem::Ledger;

use super::{HandedOver, Sibling};
use crate::Stack;
use crate::icmp::{Message, Problem, Quote};
use crate::neighbour::{Learn, Mac};
use crate::packet::Payload;
use crate::socket::Protocol;
use crate::tcp::Ends;

/// Items taken over in a turn.
const BURST: usize = 64;

impl Stack {
    /// Takes a place among the stacks of its interface: ports are shared out among all of them, and what is
    /// another one's is handed over.
    ///
    /// # Panics
    /// If there are sockets already.
    pub fn join(&mut self, sibling: Sibling) {
        assert!(
            self.tcp.is_empty() && self.sockets.is_empty(),
            "a stack joins its siblings before it has sockets"
        );
        let sibling = Arc::new(sibling);
        self.tcp.join(&sibling);
        self.sockets.join(&sibling);
        self.sibling = Some(sibling);
    }

    /// Puts something into another stack's inbox; `false`: it is to be dealt with here, since it has been handed
    /// over once.
    fn hand_over(&mut self, to: usize, item: HandedOver) -> bool {
        let Some(sibling) = self.sibling.as_ref().filter(|_| !self.taking_over) else {
            return false;
        };
        let packets = u64::from(item.is_packet());
        // Nobody waits: what there is no room for is lost, as on a wire.
        if sibling.directory.inboxes[to].put(item) {
            self.counters.handed_over += packets;
        } else {
            self.counters.hand_over_dropped += 1;
        }
        true
    }

    /// Hands a segment over to the stack that has its connection. `Some` gives the payload back: none has.
    #[cold]
    pub(crate) fn hand_over_segment(
        &mut self,
        ledger: &mut Ledger,
        to: impl Fn(&Sibling, &Ends) -> Option<usize>,
        ends: &Ends,
        segment: &Segment,
        payload: Payload,
    ) -> Option<Payload> {
        let to = self
            .sibling
            .as_deref()
            .and_then(|sibling| to(sibling, ends));
        let Some(to) = to.filter(|_| !self.taking_over) else {
            return Some(payload);
        };
        let item = HandedOver::Segment {
            ends: *ends,
            segment: *segment,
            payload: bytes(ledger, &payload, 0, payload.len()),
        };
        payload.release(ledger);
        self.hand_over(to, item);
        None
    }

    /// Hands `len` bytes of a datagram's payload over, from `at` on, to the stack that has the socket for them;
    /// `false`: none has.
    #[cold]
    pub(crate) fn hand_over_datagram(
        &mut self,
        ledger: &Ledger,
        (from, to): (SocketAddr, SocketAddr),
        payload: &Payload,
        (at, len): (usize, usize),
    ) -> bool {
        let sibling = self.sibling.as_deref().filter(|_| !self.taking_over);
        let other = sibling.and_then(|sibling| sibling.recipient(Protocol::Udp, &(to, from)));
        let Some(other) = other else {
            return false;
        };
        let payload = bytes(ledger, payload, at, len);
        self.hand_over(other, HandedOver::Datagram { from, to, payload })
    }

    /// Hands an ICMP error over to the stack whose packet it quotes; `false`: it may be ours. What is said of the
    /// way of datagrams is for all, since any may have sent them.
    pub(crate) fn hand_over_error(&mut self, now: Instant, quote: Quote, problem: Problem) -> bool {
        let Some(sibling) = &self.sibling else {
            return false;
        };
        let ends = (quote.local, quote.remote);
        if let Some(other) = sibling.owner(quote.protocol, &ends) {
            return self.hand_over(other, HandedOver::Error(quote, problem));
        }
        if quote.protocol == Protocol::Udp && matches!(problem, Problem::TooBig { .. }) {
            self.tell_others(now, || HandedOver::Error(quote, problem));
        }
        false
    }

    /// Tells the other stacks what a neighbour has said.
    pub(crate) fn share_neighbour(
        &mut self,
        now: Instant,
        ip: IpAddr,
        mac: Option<Mac>,
        how: Learn,
    ) {
        if self.sibling.is_some() {
            self.tell_others(now, || HandedOver::Neighbour { ip, mac, how });
        }
    }

    /// Strangers can bring this about, so it is within the limit of control traffic.
    fn tell_others(&mut self, now: Instant, item: impl Fn() -> HandedOver) {
        let Some(sibling) = &self.sibling else {
            return;
        };
        let others = sibling.others();
        if self.taking_over || !self.control_limit.take(now) {
            return;
        }
        for other in others {
            self.hand_over(other, item());
        }
    }

    /// Whether another stack has handed something over.
    pub(crate) fn has_handed_over(&self) -> bool {
        let sibling = self.sibling.as_ref();
        sibling.is_some_and(|sibling| sibling.inbox().is_filled())
    }

    /// Takes what others have handed over, a bounded number of items.
    pub(crate) fn take_over(&mut self, now: Instant, ledger: &mut Ledger) {
        let Some(sibling) = &self.sibling else {
            return;
        };
        let items = sibling.inbox().take(BURST);
        self.taking_over = true;
        for item in items {
            self.counters.taken_over += u64::from(item.is_packet());
            self.take_item(now, ledger, item);
        }
        self.taking_over = false;
    }

    fn take_item(&mut self, now: Instant, ledger: &mut Ledger, item: HandedOver) {
        match item {
            HandedOver::Segment {
                ends,
                segment,
                payload,
            } => {
                let payload = Payload::heap(payload);
                let queue = self.tcp.queue_of(&ends);
                // A new connection's packets leave by a queue of ours, whichever.
                let queue = queue.unwrap_or(ends.1.port() % self.config.queues);
                self.take_segment(now, ledger, &ends, &segment, payload, queue);
            }
            HandedOver::Datagram { from, to, payload } => match self.sockets.find(to, from) {
                Some(id) => self.deliver(ledger, id, from, Payload::heap(payload), None),
                // Between its arrival and now the socket was closed.
                None => self.counters.rx_no_port += 1,
            },
            HandedOver::Error(quote, problem) => {
                self.take_icmp(now, ledger, Message::Error(quote, problem));
            }
            HandedOver::Neighbour { ip, mac, how } => match mac {
                Some(mac) => self.learn(now, ledger, ip, mac, how),
                None => self.neighbours.confirm(now, ip),
            },
        }
    }
}

/// A part of a payload.
fn bytes(ledger: &Ledger, payload: &Payload, at: usize, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    payload.for_each_from(ledger, at, len, |part| bytes.extend_from_slice(part));
    bytes
}

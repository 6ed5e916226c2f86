//! ICMP errors about connections (RFC 5927): only those that quote what is in flight are believed, and
//! none ends a connection that stands. And a link that takes less than before.

use ringwire_tcp::{Failure, Instant, SeqNumber, State};
use ringwire_umem::Ledger;

use super::{Ends, wire};
use crate::Stack;
use crate::headers::{ETHERNET_HEADER, headers_len};
use crate::icmp::Problem;

impl Stack {
    /// The link takes shorter packets than before.
    pub(crate) fn shorten_segments(&mut self, now: Instant) {
        for id in self.tcp.slab.ids() {
            let mtu = usize::from(self.config.mtu);
            let socket = self.tcp.at(id);
            if let (Some(to), Some(connection)) = (socket.remote, &mut socket.connection) {
                let headers = headers_len(to.ip()) - ETHERNET_HEADER + wire::HEADER;
                connection.on_link_mtu(now, (mtu - headers) as u16);
                self.tcp.mark_ready(id);
            }
        }
    }

    /// Takes an ICMP error that quotes the segment `seq` from the first of the ends to the second.
    pub(crate) fn receive_tcp_error(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        ends: Ends,
        seq: SeqNumber,
        problem: Problem,
    ) {
        let id = self.tcp.connections.get(&ends);
        let socket = id.and_then(|id| self.tcp.get_mut(id).map(|socket| (id, socket)));
        let known = socket.and_then(|(id, socket)| {
            let connection = socket.connection.as_deref_mut()?;
            connection.is_in_flight(seq).then_some((id, connection))
        });
        let Some((id, connection)) = known else {
            self.counters.rx_icmp_ignored += 1;
            return;
        };
        self.counters.rx_icmp_errors += 1;
        match (problem, connection.state()) {
            (Problem::TooBig { mtu }, _) => {
                let link = usize::from(self.config.mtu);
                self.paths.learn(now, ends.1.ip(), mtu, link);
                // Another connection may have learnt it before.
                let mtu = self.paths.limit(ends.1.ip(), link);
                let headers = headers_len(ends.1.ip()) - ETHERNET_HEADER + wire::HEADER;
                if connection.on_packet_too_big(now, seq, (mtu - headers) as u16) {
                    self.tcp.mark_ready(id);
                }
            }
            // As Linux (`tcp_v4_err`): there is no connection yet, and nobody to keep it for.
            (Problem::Undelivered { error, .. }, State::SynSent | State::SynReceived) => {
                self.fail(id, Failure::Refused);
                self.tcp.at(id).error = Some(error);
                self.end_connection(ledger, id);
            }
            (Problem::Undelivered { error, .. }, _) => self.tcp.at(id).soft_error = Some(error),
        }
    }
}

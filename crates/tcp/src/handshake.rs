//! The three-way handshake: what SYNs carry, and what they settle (RFC 9293, section 3.5; RFC 7323).

use crate::config::Config;
use crate::congestion::Congestion;
use crate::connection::Connection;
use crate::disposition::Disposition;
use crate::path_mtu::PathMtu;
use crate::rtt::Rtt;
use crate::segment::{Options, Segment};
use crate::seq::SeqNumber;
use crate::state::State;
use crate::time::{Instant, Millis};
use crate::window::{MAX_SCALE, ReceiveWindow, scale_for};

/// No peer makes us send smaller segments, options included (Linux's `TCP_MIN_SND_MSS` is 48).
pub(crate) const LEAST_MSS: u16 = 64;
/// RFC 6298, section 5.7: the first timeout of a connection whose SYN was sent again.
const RTO_AFTER_LOST_SYN: Millis = Millis(3000);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake {
    /// It began with the peer's SYN at a listener.
    pub(crate) passive: bool,
    /// A SYN, or a SYN-ACK, is to be sent.
    pub(crate) due: bool,
    /// One was sent before.
    sent: bool,
    /// When that was, if it was once.
    sent_at: Option<Instant>,
    /// The peer scales its window, so we may scale ours.
    pub(crate) scaled: bool,
    /// Both ends know selective acknowledgements.
    pub(crate) sack: bool,
    /// Our SYN-ACK was a cookie, whose timestamp does not say when it was sent.
    untimed: bool,
}

impl Handshake {
    pub(crate) fn new() -> Handshake {
        Handshake {
            passive: false,
            due: true,
            sent: false,
            sent_at: None,
            scaled: false,
            sack: false,
            untimed: false,
        }
    }

    pub(crate) fn resend(&mut self) {
        self.due = true;
    }
}

impl Connection {
    /// A connection whose SYN-ACK was a SYN cookie that has come back
    /// ([`SynCookies::check`](crate::SynCookies::check)): `iss` is the cookie, `syn` what is remembered.
    /// It is in SYN-RECEIVED, with everything sent, and stands with the segment that brought the cookie,
    /// which is to be handed to it next.
    ///
    /// # Panics
    /// As [`Connection::active`].
    pub fn from_cookie(
        now: Instant,
        config: Config,
        iss: SeqNumber,
        timestamp_offset: u32,
        syn: &Segment,
    ) -> Connection {
        let mut connection = Connection::passive(now, config, iss, timestamp_offset, syn);
        connection.handshake.due = false;
        connection.handshake.sent = true;
        connection.handshake.untimed = true;
        let next = connection.receive.next;
        // The cookie has offered it.
        connection.receive.window.advertise_unscaled(next);
        connection
    }

    /// Takes the peer's SYN: its number, and what its options settle.
    pub(crate) fn take_syn(&mut self, now: Instant, syn: &Segment) {
        let next = syn.seq + 1;
        // Our own SYN may have gone before, and what it offered stands.
        let offered = self.receive.window.edge(self.receive.next);
        let edge = next + offered.since(self.receive.next);
        self.receive.first = syn.seq;
        self.receive.next = next;
        self.receive.acked = next;
        self.receive.window = ReceiveWindow::new(self.config.receive_buffer, edge);
        if let Some(scale) = syn.options.window_scale {
            self.handshake.scaled = true;
            self.send.window.scale = scale.min(MAX_SCALE);
            self.receive.window.scale = scale_for(self.config.receive_buffer);
        }
        match (syn.options.timestamps, &mut self.clock) {
            (Some(timestamps), Some(clock)) => clock.begin(now, timestamps.value),
            (None, clock) => *clock = None,
            (Some(_), None) => {}
        }
        self.handshake.sack = syn.options.sack_permitted;
        // A SYN asks for ECN with both bits, and is answered with one (RFC 3168, section 6.1.1).
        // Where both ends have sent SYNs, both must have asked.
        self.ecn.agreed = match syn.ack {
            None => syn.ece && syn.cwr && (self.handshake.passive || self.ecn.asked),
            Some(_) => self.ecn.asked && syn.ece && !syn.cwr,
        };
        let peer_mss = syn.options.mss.unwrap_or(self.config.default_mss);
        let ours = self.config.mss.min(self.config.send_mss);
        let mss = peer_mss.max(LEAST_MSS).min(ours.max(LEAST_MSS));
        self.send.mss = u32::from(mss) - self.option_bytes();
        self.congestion.set_mss(self.send.mss);
    }

    /// Our SYN is acknowledged: the connection stands.
    pub(crate) fn establish(
        &mut self,
        now: Instant,
        segment: &Segment,
        ack: SeqNumber,
        disposition: &mut Disposition,
    ) {
        self.state = if self.send.fin {
            State::FinWait1
        } else {
            State::Established
        };
        disposition.established = true;
        self.handshake.due = false;
        self.send.una = ack;
        // The window of a SYN is never scaled (RFC 7323, section 2.2).
        let scale = if segment.syn {
            0
        } else {
            self.send.window.scale
        };
        let size = u32::from(segment.window) << scale;
        self.send.window.begin(size, segment.seq, ack);
        let mss = self.send.mss;
        self.congestion = Congestion::new(mss, self.config.options.algorithm);
        self.path = PathMtu::new(mss);
        if self.timers.retries > 0 {
            self.congestion.set_window(mss);
            self.rtt = Rtt::new();
            let longer = self.config.initial_rto.0.max(RTO_AFTER_LOST_SYN.0);
            self.config.initial_rto = Millis(longer);
        }
        match self.handshake.sent_at {
            Some(at) => self.rtt.sample(now - at),
            // A SYN-ACK that was sent again still echoes the SYN that came first.
            None if self.handshake.untimed || segment.syn => {}
            None => self.take_echoed_round_trip(now, segment),
        }
        self.timers.progress();
        self.timers.heard(now);
        self.timers.retransmit = None;
        self.arm_keep_alive(now);
    }

    /// The SYN or SYN-ACK to send.
    pub(crate) fn syn_segment(&mut self, now: Instant) -> Segment {
        self.handshake.due = false;
        self.await_answer(now);
        let again = std::mem::replace(&mut self.handshake.sent, true);
        // Karn's rule, also for one that the peer's SYN has asked for again.
        self.handshake.sent_at = (!again).then_some(now);
        // Some networks drop SYNs that ask for ECN (RFC 3168, section 6.1.1.1).
        self.ecn.asked &= !again;
        let answer = self.state == State::SynReceived;
        let scale = scale_for(self.config.receive_buffer);
        let window = self.receive.window.advertise_unscaled(self.receive.next);
        if answer {
            self.ack.sent();
            self.receive.acked = self.receive.next;
        }
        let segment = Segment {
            seq: self.send.una,
            ack: answer.then_some(self.receive.next),
            window,
            syn: true,
            ece: if answer {
                self.ecn.agreed
            } else {
                self.ecn.asked
            },
            cwr: !answer && self.ecn.asked,
            options: Options {
                mss: Some(self.config.mss),
                sack_permitted: !answer || self.handshake.sack,
                window_scale: (!answer || self.handshake.scaled).then_some(scale),
                timestamps: self.clock.map(|clock| clock.option(now)),
                ..Options::default()
            },
            ..Segment::default()
        };
        self.count_out(&segment);
        segment
    }
}

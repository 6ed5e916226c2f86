//! The states of RFC 9293, section 3.3.2, a file each: where each leads, and what it does that no
//! other does.

pub(crate) mod close_wait;
pub mod closed;
pub(crate) mod closing;
pub(crate) mod established;
pub(crate) mod fin_wait_1;
pub(crate) mod fin_wait_2;
pub(crate) mod last_ack;
pub mod listen;
pub(crate) mod syn_received;
pub(crate) mod syn_sent;
pub mod time_wait;

use crate::disposition::Failure;

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No connection.
    Closed,
    /// Waiting for SYNs. No [`Connection`](crate::Connection) is in it: see [`listen`].
    Listen,
    /// Our SYN was sent.
    SynSent,
    /// Both SYNs were sent; ours is not acknowledged.
    SynReceived,
    /// Data flows both ways.
    Established,
    /// We have closed; our FIN is not acknowledged.
    FinWait1,
    /// We have closed; the peer has not.
    FinWait2,
    /// The peer has closed; we have not.
    CloseWait,
    /// Both have closed; our FIN is not acknowledged.
    Closing,
    /// The peer closed, then we did; our FIN is not acknowledged.
    LastAck,
    /// Both have closed; old segments may still come.
    TimeWait,
}

/// What a synchronized state does, as far as it is the same mechanism in all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Whether the peer may still send data.
    pub(crate) receives: bool,
    /// Whether we may queue data.
    pub(crate) sends: bool,
    /// Where the peer's FIN leads.
    pub(crate) on_fin: Option<State>,
    /// Where the acknowledgement of our FIN leads.
    pub(crate) on_fin_acked: Option<State>,
    /// Where closing our side leads.
    pub(crate) on_close: Option<State>,
    /// What a RST means.
    pub(crate) on_reset: Option<Failure>,
}

impl State {
    pub(crate) fn rules(self) -> &'static Rules {
        match self {
            State::Closed | State::Listen => &closed::RULES,
            State::SynSent => &syn_sent::RULES,
            State::SynReceived => &syn_received::RULES,
            State::Established => &established::RULES,
            State::FinWait1 => &fin_wait_1::RULES,
            State::FinWait2 => &fin_wait_2::RULES,
            State::CloseWait => &close_wait::RULES,
            State::Closing => &closing::RULES,
            State::LastAck => &last_ack::RULES,
            State::TimeWait => &time_wait::RULES,
        }
    }

    /// Whether both SYNs have been exchanged and nothing has ended yet: data can be queued.
    pub fn may_send(self) -> bool {
        self.rules().sends
    }

    /// Whether the peer may still send data.
    pub fn may_receive(self) -> bool {
        self.rules().receives
    }
}

//! A connection: its variables (RFC 9293, section 3.3.1), and what its user asks of it.

use crate::ack::Acknowledger;
use crate::config::Config;
use crate::congestion::Congestion;
use crate::disposition::{Disposition, Failure};
use crate::ecn::EcnState;
use crate::flight::Flight;
use crate::handshake::{Handshake, LEAST_MSS};
use crate::info::Totals;
use crate::limit::AnswerLimit;
use crate::nagle::Nagle;
use crate::path_mtu::PathMtu;
use crate::reassembly::{Range, Reassembly};
use crate::recovery::Recovery;
use crate::rtt::Rtt;
use crate::segment::Segment;
use crate::seq::SeqNumber;
use crate::state::time_wait::TimeWait;
use crate::state::{State, fin_wait_2};
use crate::time::Instant;
use crate::timers::Timers;
use crate::timestamps::Clock;
use crate::window::{ReceiveWindow, SendWindow};

/// The send sequence space: `first` (ISS) `.. una .. next .. end`, and the FIN after `end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendSpace {
    pub(crate) una: SeqNumber,
    pub(crate) next: SeqNumber,
    /// After the last byte that is queued.
    pub(crate) end: SeqNumber,
    /// A FIN follows the last byte.
    pub(crate) fin: bool,
    /// Bytes of payload in a full segment.
    pub(crate) mss: u32,
    pub(crate) window: SendWindow,
}

/// The receive sequence space.
#[derive(Clone, Debug)]
pub(crate) struct ReceiveSpace {
    /// IRS.
    pub(crate) first: SeqNumber,
    pub(crate) next: SeqNumber,
    pub(crate) window: ReceiveWindow,
    pub(crate) reassembly: Reassembly,
    /// The number of the peer's FIN, once it has come.
    pub(crate) fin: Option<SeqNumber>,
    /// The last acknowledgement sent (Last.ACK.sent).
    pub(crate) acked: SeqNumber,
    /// What came twice, for the next acknowledgement to say (D-SACK).
    pub(crate) twice: Option<Range>,
}

impl ReceiveSpace {
    /// Whether the stream can end there: inside of the window, and not before data that has come.
    pub(crate) fn can_end(&self, fin: SeqNumber) -> bool {
        let received = self.reassembly.end().unwrap_or(self.next).max(self.next);
        !fin.before(received) && !fin.after(self.window.edge(self.next))
    }
}

/// A TCP connection from its first SYN until it is closed or in TIME-WAIT.
///
/// Whoever owns it hands it segments ([`on_segment`](Connection::on_segment)) and carries out what
/// they mean, calls [`on_timer`](Connection::on_timer) when
/// [`next_deadline`](Connection::next_deadline) is reached, and after each of these, and after each
/// call that changes something, takes what is to be sent
/// ([`poll_transmit`](Connection::poll_transmit)) until there is no more.
// In this order: what every segment touches lies in few cache lines, then what belongs to those that are
// sent, then what is seldom looked at. With many connections each visit fetches them from memory.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct Connection {
    pub(crate) state: State,
    /// Nobody has the socket any more.
    pub(crate) orphaned: bool,
    /// Nobody is to read what comes.
    pub(crate) receive_shut: bool,
    pub(crate) ecn: EcnState,
    pub(crate) nagle: Nagle,
    pub(crate) send: SendSpace,
    pub(crate) handshake: Handshake,
    pub(crate) receive: ReceiveSpace,
    pub(crate) ack: Acknowledger,
    /// The timestamps, if they are offered or agreed on.
    pub(crate) clock: Option<Clock>,
    pub(crate) totals: Totals,
    pub(crate) timers: Timers,
    pub(crate) path: PathMtu,
    pub(crate) flight: Flight,
    pub(crate) recovery: Recovery,
    pub(crate) rtt: Rtt,
    pub(crate) congestion: Congestion,
    pub(crate) config: Config,
    pub(crate) limit: AnswerLimit,
}

impl Connection {
    /// Begins a connection: the first segment to send is a SYN.
    ///
    /// # Panics
    /// If the link is too small for TCP: [`Config::mss`] must be at least 64.
    pub fn active(config: Config, iss: SeqNumber, timestamp_offset: u32) -> Connection {
        Connection::new(config, State::SynSent, iss, timestamp_offset)
    }

    /// Answers a SYN that came to a listener ([`listen::on_segment`](crate::listen::on_segment)).
    ///
    /// # Panics
    /// As [`Connection::active`].
    pub fn passive(
        now: Instant,
        config: Config,
        iss: SeqNumber,
        timestamp_offset: u32,
        syn: &Segment,
    ) -> Connection {
        let mut connection = Connection::new(config, State::SynReceived, iss, timestamp_offset);
        connection.handshake.passive = true;
        connection.take_syn(now, syn);
        connection
    }

    fn new(mut config: Config, state: State, iss: SeqNumber, timestamp_offset: u32) -> Connection {
        if let Some(most) = config.options.max_segment {
            config.mss = config.mss.min(most.max(LEAST_MSS));
        }
        assert!(
            config.mss >= LEAST_MSS,
            "tcp: a link with an MSS of {}",
            config.mss
        );
        let mss = u32::from(config.mss);
        Connection {
            state,
            handshake: Handshake::new(),
            send: SendSpace {
                una: iss,
                next: iss + 1,
                end: iss + 1,
                fin: false,
                mss,
                window: SendWindow::default(),
            },
            receive: ReceiveSpace {
                first: SeqNumber(0),
                next: SeqNumber(0),
                window: ReceiveWindow::new(config.receive_buffer, SeqNumber(0)),
                reassembly: Reassembly::default(),
                fin: None,
                acked: SeqNumber(0),
                twice: None,
            },
            ack: Acknowledger::new(config.options.quick_ack),
            nagle: Nagle::new(&config.options),
            rtt: Rtt::new(),
            flight: Flight::default(),
            congestion: Congestion::new(mss, config.options.algorithm),
            recovery: Recovery::new(iss),
            path: PathMtu::new(mss),
            ecn: EcnState::new(config.options.ecn),
            clock: Some(Clock::new(timestamp_offset)),
            timers: Timers::default(),
            limit: AnswerLimit::default(),
            totals: Totals::default(),
            orphaned: false,
            receive_shut: false,
            config,
        }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it began with the peer's SYN at a listener.
    pub fn is_passive(&self) -> bool {
        self.handshake.passive
    }

    /// Bytes of payload in a full segment that is sent next.
    pub fn send_mss(&self) -> u32 {
        self.longest_segment()
    }

    /// The first sequence number that is not acknowledged (SND.UNA).
    pub fn send_una(&self) -> SeqNumber {
        self.send.una
    }

    /// The next sequence number that is expected from the peer (RCV.NXT).
    pub fn receive_next(&self) -> SeqNumber {
        self.receive.next
    }

    /// Bytes that are queued and not acknowledged.
    pub fn unacknowledged(&self) -> u32 {
        self.send.end.since_or_zero(self.send.una)
    }

    /// Has the processor fetch what segments and requests will need, all at once: of many connections most
    /// are not in its cache, and whoever comes upon one cache line after the other waits for each.
    #[inline]
    pub fn fetch(&self) {
        let Connection { send, receive, .. } = self;
        // One of each line; none depends on another.
        std::hint::black_box(
            send.una.0
                ^ receive.window.edge(receive.next).0
                ^ self.totals.segments_in as u32
                ^ self.totals.bytes_received as u32
                ^ self.timers.heard_at.as_nanos() as u32
                ^ self.timers.unanswered
                ^ self.flight.pipe()
                ^ self.flight.lost_bytes()
                ^ u32::from(self.recovery.tail.due)
                ^ self.recovery.rack.deadline.is_some() as u32
                ^ self.rtt.backoff()
                ^ self.congestion.window()
                ^ u32::from(self.config.mss)
                ^ u32::from(self.config.options.quick_ack),
        );
    }

    /// Queues `len` bytes. `more`: others follow soon, and a segment that is not full may wait for
    /// them (`MSG_MORE`).
    ///
    /// # Panics
    /// If the connection can take none, see [`State::may_send`].
    pub fn push(&mut self, len: u32, more: bool) {
        assert!(
            self.state.may_send() && !self.send.fin,
            "tcp: data queued on a connection that is closed for sending"
        );
        self.send.end += len;
        self.nagle.more = more;
        if !more && !self.nagle.cork {
            self.timers.cork = None;
        }
    }

    /// Says how many bytes beyond RCV.NXT can be buffered now. An opened window is announced, if it
    /// is worth it.
    pub fn set_receive_room(&mut self, bytes: u32) {
        self.receive.window.set_room(bytes);
    }

    /// Changes how many bytes can be buffered in all. What was offered is not taken back, and the scale
    /// that was agreed on bounds what can be offered.
    pub fn set_receive_buffer(&mut self, bytes: u32) {
        self.receive.window.set_capacity(bytes);
    }

    /// As [`set_receive_room`](Connection::set_receive_room), after the user has read: the peer is
    /// told if that has opened the window.
    pub fn read(&mut self, room: u32) {
        self.receive.window.set_room(room);
        let mss = self.receive_mss();
        if self.state.may_receive() && self.receive.window.has_opened(self.receive.next, mss) {
            self.ack.at_once();
        }
    }

    /// Drops what came out of order: there is no memory for it. The peer sends it again.
    pub fn prune(&mut self) {
        self.receive.reassembly.clear();
    }

    /// Says that the payload of a segment was dropped for want of memory, which the segment that
    /// [`on_segment`](Connection::on_segment) saw did not have any more: the peer is told at once what
    /// is expected, and so sends it again soon.
    pub fn refuse_payload(&mut self) {
        self.ack.at_once();
    }

    /// Whether anything is kept that came out of order.
    pub fn has_out_of_order(&self) -> bool {
        !self.receive.reassembly.is_empty()
    }

    /// Closes the sending side: a FIN follows what is queued. The connection is Closed after this if
    /// its SYN has not been answered.
    pub fn close(&mut self, now: Instant) {
        if self.send.fin {
            return;
        }
        match self.state {
            // The FIN goes once the connection stands (RFC 9293, section 3.10.4).
            State::SynReceived => self.send.fin = true,
            state => {
                let Some(next) = state.rules().on_close else {
                    return;
                };
                self.send.fin = true;
                self.state = next;
                if next == State::Closed {
                    return self.end();
                }
            }
        }
        self.nagle.more = false;
        fin_wait_2::limit(self, now);
    }

    /// Says that nobody is to read what comes. While the sending side is open too, it is received all the
    /// same, as with Linux; once that is closed, data resets the connection (RFC 1122, section 4.2.2.13).
    pub fn shut_receive(&mut self) {
        self.receive_shut = true;
    }

    /// Says that nobody has the socket any more: nothing that comes will be read.
    pub fn orphan(&mut self, now: Instant) {
        self.orphaned = true;
        self.receive_shut = true;
        fin_wait_2::limit(self, now);
    }

    /// Ends the connection at once; returns the RST that tells the peer, if it knows of us.
    pub fn abort(&mut self) -> Option<Segment> {
        let known = !matches!(
            self.state,
            State::Closed | State::Listen | State::SynSent | State::TimeWait
        );
        let rst = self.reset_segment();
        self.end();
        known.then_some(rst)
    }

    /// What is to be kept in TIME-WAIT; `None` in any other state.
    pub fn time_wait(&self, now: Instant) -> Option<TimeWait> {
        (self.state == State::TimeWait).then(|| TimeWait {
            send_next: self.send.next,
            receive_next: self.receive.next,
            window: {
                let mut window = self.receive.window;
                window.advertise(self.receive.next, self.receive_mss())
            },
            clock: self.clock,
            limit: self.limit,
            until: now + self.config.time_wait,
        })
    }

    /// Bytes of payload in a full segment that the peer can send.
    pub(crate) fn receive_mss(&self) -> u32 {
        u32::from(self.config.mss) - self.option_bytes()
    }

    /// Bytes of the options in every segment.
    pub(crate) fn option_bytes(&self) -> u32 {
        const TIMESTAMPS: u32 = 12;
        if self.clock.is_some() { TIMESTAMPS } else { 0 }
    }

    /// Whether our FIN has been sent, and acknowledged.
    pub(crate) fn fin_acked(&self) -> bool {
        self.send.fin && self.send.una.after(self.send.end)
    }

    pub(crate) fn reset_segment(&self) -> Segment {
        Segment {
            seq: self.send.next,
            ack: Some(self.receive.next),
            rst: true,
            ..Segment::default()
        }
    }

    /// The connection is over, and why.
    pub(crate) fn fail(&mut self, failure: Failure, disposition: &mut Disposition) {
        disposition.failure = Some(failure);
        disposition.closed = true;
        self.end();
    }

    pub(crate) fn end(&mut self) {
        self.state = State::Closed;
        self.ack = Acknowledger::new(false);
        self.stop_timers();
    }
}

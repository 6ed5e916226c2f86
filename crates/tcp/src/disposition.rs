//! What the engine decided about a segment or a timer, for its caller to carry out.

use crate::segment::Segment;
use crate::seq::SeqNumber;

/// Payload bytes to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Bytes of the payload to leave out in front.
    pub skip: u32,
    /// Bytes to keep. They replace everything that was kept out of order between `seq` and
    /// `seq + len`.
    pub len: u32,
    /// Sequence number of the first byte kept.
    pub seq: SeqNumber,
}

/// Why a connection ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer refused it (`ECONNREFUSED`).
    Refused,
    /// The peer reset it, or it was reset since data came for an end that is shut down both ways
    /// (`ECONNRESET`).
    Reset,
    /// The peer reset it after its FIN (`EPIPE`, as Linux has it).
    Pipe,
    /// The peer does not answer (`ETIMEDOUT`).
    TimedOut,
    /// Data came for a socket that nobody has any more, or FIN-WAIT-2 took too long: it is over on
    /// our side, and nobody is there to be told.
    Orphaned,
}

/// Why a segment was not accepted, or not in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Outside of the window.
    OutOfWindow,
    /// A timestamp from before (PAWS, RFC 7323, section 5).
    OldTimestamp,
    /// No timestamp where they were agreed on (RFC 7323, section 3.2).
    NoTimestamp,
    /// An acknowledgement of what was never sent (RFC 5961, section 5).
    AckOfUnsent,
    /// An acknowledgement older than any window (RFC 5961, section 5).
    AckTooOld,
    /// No ACK bit.
    NoAck,
    /// A RST that is not exactly at RCV.NXT (RFC 5961, section 3).
    BlindReset,
    /// A SYN inside a connection (RFC 5961, section 4).
    BlindSyn,
    /// In the wrong state for it: the answer is a RST.
    Unexpected,
    /// Every byte had come before.
    Duplicate,
    /// There are too many holes to keep it.
    TooManyHoles,
}

/// What to do about a segment or a timer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "the engine has counted on what it says here"]
pub struct Disposition {
    /// Payload to keep.
    pub keep: Option<Keep>,
    /// Bytes that can be read in order now and could not before: kept ones, and what followed them.
    pub delivered: u32,
    /// Bytes at the head of what was queued for sending that are acknowledged, and can go.
    pub acked: u32,
    /// The connection stands.
    pub established: bool,
    /// The peer's FIN has come, with everything before it.
    pub finished: bool,
    /// It is in TIME-WAIT now: [`Connection::time_wait`](crate::Connection::time_wait).
    pub time_wait: bool,
    /// It is over: the state is Closed.
    pub closed: bool,
    /// It has failed.
    pub failure: Option<Failure>,
    /// A segment to send at once (a RST). Boxed: it is rare, and every segment has a disposition.
    pub reply: Option<Box<Segment>>,
    /// What was wrong.
    pub refusal: Option<Refusal>,
}

//! Moves a stream from one connection to another without touching a byte of it: what the NIC wrote is lent, sent on
//! from where it lies, and goes back to the ring with the notification.

use std::io;

use ringwire::owned::{BufferGroup, Completed, Ring, Socket};

/// Parts of a stream that are on their way at most: a reader that is slow is read for no further.
const MOST_PARTS: u32 = 64;

/// What a pump's operations are.
pub const RECEIVE: u64 = 1;
pub const SEND: u64 = 2;

/// One direction.
pub struct Pump {
    /// Tells its operations from those of others.
    key: u32,
    from: Socket,
    to: Socket,
    receiving: bool,
    /// Parts that are being sent.
    sending: u32,
    /// The stream's end has come, or an error.
    ended: bool,
    pub bytes: u64,
    /// Parts that could not be sent from where they lay.
    pub copied: u64,
}

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    /// There is no memory that could be lent: [`Pump::receive`] is to be called when some has come back.
    Starved,
    /// Everything up to the end has been sent.
    Done,
    /// One of the connections has failed.
    Failed,
}

impl Pump {
    pub fn new(key: u32, from: Socket, to: Socket) -> Pump {
        Pump {
            key,
            from,
            to,
            receiving: false,
            sending: 0,
            ended: false,
            bytes: 0,
            copied: 0,
        }
    }

    /// Where it sends to.
    pub fn to(&self) -> Socket {
        self.to
    }

    /// Whether none of its operations is in flight.
    pub fn is_idle(&self) -> bool {
        !self.receiving && self.sending == 0
    }

    fn user_data(&self, kind: u64) -> u64 {
        kind << 32 | u64::from(self.key)
    }

    /// Receives, unless it does already or too much is being sent.
    pub fn receive(&mut self, ring: &mut Ring, group: &BufferGroup) -> io::Result<()> {
        if self.receiving || self.ended || self.sending >= MOST_PARTS {
            return Ok(());
        }
        ring.reserve(1)?;
        ring.recv_provided(self.user_data(RECEIVE), self.from, group)?;
        self.receiving = true;
        Ok(())
    }

    /// Takes a completion of its receive.
    pub fn received(
        &mut self,
        ring: &mut Ring,
        group: &BufferGroup,
        done: Completed,
    ) -> io::Result<State> {
        self.receiving = false;
        match (done.result, done.payload) {
            (Ok(1..), Some(part)) => {
                ring.reserve(1)?;
                let user_data = self.user_data(SEND);
                ring.send_zc(user_data, self.to, part, libc::MSG_WAITALL)?;
                self.sending += 1;
                self.receive(ring, group)?;
            }
            (Err(error), _) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                return Ok(State::Starved);
            }
            (Err(_), _) => {
                self.ended = true;
                return Ok(State::Failed);
            }
            (Ok(_), _) => self.ended = true,
        }
        Ok(self.state())
    }

    /// Takes a completion of a send; with the last one the memory goes back to the ring.
    pub fn sent(
        &mut self,
        ring: &mut Ring,
        group: &BufferGroup,
        done: Completed,
    ) -> io::Result<State> {
        if !done.more {
            self.sending -= 1;
            self.copied += u64::from(done.copied);
        }
        match done.result {
            Ok(count) => self.bytes += u64::from(count),
            Err(_) => {
                self.ended = true;
                return Ok(State::Failed);
            }
        }
        self.receive(ring, group)?;
        Ok(self.state())
    }

    fn state(&self) -> State {
        if self.ended && self.is_idle() {
            State::Done
        } else {
            State::Running
        }
    }
}

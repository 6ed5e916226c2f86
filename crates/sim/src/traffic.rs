//! What clients send and must get back, whoever sends it: datagrams that say themselves what they hold,
//! and streams whose every byte is a function of the stream and its offset.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::payload;
use crate::random::Random;

/// The server's ports.
pub(crate) const DATAGRAM_PORT: u16 = 7;
pub(crate) const STREAM_PORT: u16 = 8;

/// The server's address, IPv4 or IPv6.
pub(crate) fn server(v6: bool, port: u16) -> SocketAddr {
    if v6 {
        ([0xfd00, 0, 0, 0, 0, 0, 0, 2], port).into()
    } else {
        ([10, 0, 0, 2], port).into()
    }
}

/// Datagrams sent and echoed, streams done.
#[derive(Default)]
pub(crate) struct Tally {
    serial: u64,
    /// Sent, by serial number; echoes must be among them.
    sent: BTreeSet<u64>,
    pub(crate) echoes: BTreeSet<u64>,
    started: u32,
    /// Streams that came to their end, and bytes of all.
    pub(crate) finished: u64,
    pub(crate) bytes: u64,
    pub(crate) violation: Option<String>,
}

impl Tally {
    /// A datagram of a random size, `most` at most.
    pub(crate) fn datagram(&mut self, random: &mut Random, most: u64) -> (u64, Vec<u8>) {
        let len = match random.below(4) {
            0 => 1 + random.below(64),
            1 => 1 + random.below(1472),
            2 => 1473 + random.below(7000),
            _ => 500 + random.below(800),
        };
        self.serial += 1;
        self.sent.insert(self.serial);
        (
            self.serial,
            payload::make(self.serial, len.min(most) as usize),
        )
    }

    /// A datagram was received.
    pub(crate) fn echo(&mut self, bytes: &[u8]) {
        match payload::check(bytes) {
            Ok(serial) if self.sent.contains(&serial) => {
                self.echoes.insert(serial);
            }
            Ok(serial) => self.violate(format!("echo {serial} was never sent")),
            Err(error) => self.violate(format!("the client got what nobody sent: {error}")),
        }
    }

    /// Begins another stream. `may_fail`: while there are faults, the network may be cut for longer than
    /// a host looks for another.
    pub(crate) fn stream(&mut self, random: &mut Random, may_fail: bool) -> Stream {
        self.started += 1;
        Stream {
            serial: self.started,
            v6: random.chance(500),
            may_fail,
            spoils: random.chance(100),
            total: random.below(60_000),
            sent: 0,
            got: 0,
        }
    }

    pub(crate) fn violate(&mut self, violation: String) {
        self.violation.get_or_insert(violation);
    }
}

/// One stream to the server and back.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) serial: u32,
    pub(crate) v6: bool,
    pub(crate) may_fail: bool,
    /// The client writes over what it sends: its bytes may be anything.
    pub(crate) spoils: bool,
    pub(crate) total: u64,
    pub(crate) sent: u64,
    pub(crate) got: u64,
}

impl Stream {
    /// The next bytes to send, `most` at most.
    pub(crate) fn next(&self, most: u64) -> Vec<u8> {
        let end = (self.sent + most).min(self.total);
        (self.sent..end)
            .map(|offset| byte_at(self.serial, offset))
            .collect()
    }

    /// Bytes have come back.
    ///
    /// # Errors
    /// They are not those that were sent.
    pub(crate) fn received(&mut self, bytes: &[u8]) -> Result<(), String> {
        for &byte in bytes {
            let is_right = self.spoils || byte == byte_at(self.serial, self.got);
            if self.got >= self.total || !is_right {
                let (serial, offset) = (self.serial, self.got);
                return Err(format!(
                    "stream {serial}: the byte at {offset} is not the one that was sent"
                ));
            }
            self.got += 1;
        }
        Ok(())
    }

    /// The end of the stream has come.
    ///
    /// # Errors
    /// It came too early.
    pub(crate) fn ended(&self) -> Result<(), String> {
        let Stream {
            serial, got, total, ..
        } = self;
        if got < total {
            return Err(format!(
                "stream {serial} ended after {got} of {total} bytes"
            ));
        }
        Ok(())
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.sent == self.total
    }
}

fn byte_at(stream: u32, offset: u64) -> u8 {
    let mixed = (offset ^ u64::from(stream) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as u8
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;

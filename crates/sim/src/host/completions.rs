//! What has completed goes to those who asked; what is the application's again is looked at.

use io_uring::cqueue;
use ringwire::msg_zerocopy::ZeroCopyRange;
use ringwire_abi::flags::IORING_CQE_F_MORE;

use super::{Host, Role};
use crate::coverage::Coverage;
use crate::loans::Lent;
use crate::requests::{Answer, Purpose};
use crate::{client, numbers, server, slots};

impl Host {
    /// Takes what has completed.
    pub(super) fn take(&mut self, coverage: &mut Coverage) {
        for (user_data, res, flags, place) in self.completions() {
            self.completions += 1;
            if slots::is_tag(user_data) {
                self.slot_told((user_data, res, flags), coverage);
                continue;
            }
            match self.requests.completed(user_data, res, flags) {
                Ok(Answer::Result(Purpose::ErrorReceive(socket))) => {
                    self.received_numbers(socket, res, coverage);
                }
                Ok(Answer::Result(purpose)) => {
                    self.took_pieces(purpose, res, flags);
                    self.completed(purpose, (res, flags, place));
                }
                Ok(Answer::Bound(purpose)) => {
                    // To the application it is a zero-copy send like others.
                    let ranges = self.ranges(purpose);
                    self.completed(purpose, (res, flags | IORING_CQE_F_MORE, place));
                    if let Some((socket, ranges)) = ranges {
                        let apart = numbers::are_apart(&ranges);
                        apart.unwrap_or_else(|violation| self.violates(violation));
                        for range in ranges {
                            coverage.inline_numbers += self.numbers_told(socket, range, coverage);
                        }
                    }
                }
                Ok(Answer::Notification(purpose)) => {
                    if let Some(lent) = self.requests.repaid.take() {
                        self.check_repaid(&lent, coverage);
                    }
                    self.notified(purpose);
                }
                Err(violation) => self.violates(violation),
            }
        }
    }

    fn received_numbers(&mut self, socket: u64, res: i32, coverage: &mut Coverage) {
        let numbers = self.requests.numbers.as_mut().expect("some sockets number");
        match numbers.received(socket, res) {
            Ok(Some(range)) => {
                coverage.queued_numbers += self.numbers_told(socket, range, coverage);
            }
            Ok(None) => {}
            Err(violation) => self.violates(violation),
        }
    }

    /// The ranges that have come back with a send, and the socket that it was sent with.
    fn ranges(&mut self, purpose: Purpose) -> Option<(u64, Vec<ZeroCopyRange>)> {
        use {client::Step as Client, server::Step as Server};
        let number = match purpose {
            Purpose::Client(Client::LentDatagram(number) | Client::LentSend(_, number))
            | Purpose::Server(Server::LentReply(number) | Server::LentSend(_, number)) => number,
            _ => return None,
        };
        let (slot, ranges) = self.role.areas().ranges(number)?;
        let numbers = self.requests.numbers.as_ref()?;
        Some((numbers.socket(slot), ranges))
    }

    /// What the sends of a range lent is the application's again. Returns how many they are.
    fn numbers_told(&mut self, socket: u64, range: ZeroCopyRange, coverage: &mut Coverage) -> u64 {
        let numbers = self.requests.numbers.as_mut().expect("some sockets number");
        let sends = numbers.told(socket, range).unwrap_or_else(|violation| {
            self.violates(violation);
            Vec::new()
        });
        coverage.ranges += u64::from(sends.len() > 1);
        let count = sends.len() as u64;
        for sent in sends {
            coverage.stream_numbers += u64::from(is_of_stream(sent.purpose));
            if let Some(lent) = &sent.lent {
                coverage.short_numbers += u64::from(lent.is_short());
                self.check_repaid(lent, coverage);
            }
            self.notified(sent.purpose);
        }
        count
    }

    /// What a send says of the provided registered buffers that it has taken must be so.
    fn took_pieces(&mut self, purpose: Purpose, res: i32, flags: u32) {
        use {client::Step as Client, server::Step as Server};
        let number = match purpose {
            Purpose::WrongPiece => 0,
            Purpose::Client(Client::LentDatagram(number) | Client::LentSend(_, number))
            | Purpose::Server(Server::LentReply(number) | Server::LentSend(_, number)) => number,
            _ => return,
        };
        let pieces = &mut self.role.areas().pieces;
        if let Err(violation) = pieces.completed(number, res, flags) {
            self.violates(violation);
        }
    }

    fn completed(&mut self, purpose: Purpose, (res, flags, place): (i32, u32, u64)) {
        match (purpose, &mut self.role) {
            (Purpose::Server(step), Role::Server(server)) => {
                server.completed(&mut self.requests, step, res, flags);
            }
            (Purpose::Client(step), Role::Client(client)) => {
                client.completed(&mut self.requests, step, (res, flags, place));
            }
            (Purpose::Hostile { allocates }, _) => self.hostile.completed(allocates, res),
            _ => {}
        }
    }

    /// All that a slot's sends lent is the application's again.
    fn slot_told(&mut self, (tag, res, flags): (u64, i32, u32), coverage: &mut Coverage) {
        if tag & slots::HOSTILE_TAG != 0 {
            coverage.hostile_slots_told += 1;
            return;
        }
        let sends = match self.requests.told(tag, res, flags) {
            Ok(sends) => sends,
            Err(violation) => return self.violates(violation),
        };
        coverage.slots_told += 1;
        coverage.slots_told_of_several += u64::from(sends.len() > 1);
        for mut send in sends {
            let silently = send.silently();
            coverage.bound += 1;
            coverage.bound_silently += u64::from(silently.is_some());
            coverage.bound_flushing += u64::from(send.flushes);
            if let Some(lent) = &mut send.lent {
                lent.res = silently.unwrap_or(lent.res);
                self.check_repaid(lent, coverage);
            }
            if let Some(res) = silently {
                self.completed(send.purpose, (res, IORING_CQE_F_MORE, 0));
            }
            self.notified(send.purpose);
        }
    }

    /// What has completed: `user_data`, result, flags, and the first of the other 16 bytes.
    fn completions(&mut self) -> Vec<(u64, i32, u32, u64)> {
        if !self.big {
            let small = |cqe: cqueue::Entry| (cqe.user_data(), cqe.result(), cqe.flags(), 0);
            return self.engine.completion().map(small).collect();
        }
        let big = |cqe: cqueue::Entry32| {
            let place = cqe.big_cqe()[0];
            (cqe.user_data(), cqe.result(), cqe.flags(), place)
        };
        self.engine.completion_of().map(big).collect()
    }

    fn notified(&mut self, purpose: Purpose) {
        match (purpose, &mut self.role) {
            (Purpose::Server(step), Role::Server(server)) => {
                server.notified(&mut self.requests, step);
            }
            (Purpose::Client(step), Role::Client(client)) => {
                client.notified(&mut self.requests, step);
            }
            _ => {}
        }
    }

    /// What is the application's again must be nobody else's, and with the peer.
    fn check_repaid(&mut self, lent: &Lent, coverage: &mut Coverage) {
        let is_whole = lent.uncopied && lent.res > 0;
        coverage.uncopied += u64::from(is_whole);
        coverage.maybe_copied += u64::from(!is_whole);
        // What waits for a neighbour may be dropped, and what waits for a peer that hangs up.
        let dropped = match lent.stream {
            Some((connection, _)) => self.acknowledgements.is_reset(connection),
            None => self.engine.stack().counters().tx_unresolved > 0,
        };
        // What was copied may be forgotten before it is acknowledged.
        let count = match is_whole {
            true => lent.res as u64,
            false => self.nic.read_in_place(lent),
        };
        if let Err(violation) = self.nic.check_repaid(lent, dropped) {
            self.violates(violation);
        }
        if let Some((connection, offset)) = lent.stream.filter(|_| count > 0) {
            let end = offset + count;
            if !self.acknowledgements.has(connection, end) {
                self.violates(format!(
                    "notified of a send before {end} bytes of {connection:?} were acknowledged"
                ));
            }
        }
    }
}

/// Whether it sends a part of a stream.
fn is_of_stream(purpose: Purpose) -> bool {
    use {client::Step as Client, server::Step as Server};
    matches!(
        purpose,
        Purpose::Client(Client::LentSend(..)) | Purpose::Server(Server::LentSend(..))
    )
}

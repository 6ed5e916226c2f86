//! The neighbour that the last packet went to: nearly always the next one goes there too.

use std::net::IpAddr;

use ringwire_tcp::Instant;

use super::{Mac, State, Table};

/// What is known of a neighbour that is not in doubt. The table's entry lags behind in when it was used,
/// until [`Table::forget_recent`].
#[derive(Debug)]
pub(super) struct Recent {
    ip: IpAddr,
    mac: Mac,
    fresh_until: Instant,
    used: Instant,
}

impl<P> Table<P> {
    /// The Ethernet address of a neighbour, if it is known, for a packet that is sent now.
    ///
    /// An address in doubt is still given; using it is what starts its check (RFC 4861, 7.3.3).
    #[inline(always)]
    pub fn lookup(&mut self, now: Instant, ip: IpAddr) -> Option<Mac> {
        match &mut self.recent {
            Some(recent) if recent.ip == ip && now < recent.fresh_until => {
                recent.used = now;
                Some(recent.mac)
            }
            _ => self.lookup_entry(now, ip),
        }
    }

    fn lookup_entry(&mut self, now: Instant, ip: IpAddr) -> Option<Mac> {
        self.forget_recent();
        let entry = self
            .entries
            .get_mut(&ip)
            .filter(|entry| entry.is_resolved())?;
        entry.used = Some(now);
        let mac = entry.mac;
        match entry.state {
            State::Known { fresh_until } if fresh_until <= now => self.doubt(now, ip),
            State::Known { fresh_until } => {
                self.recent = Some(Recent {
                    ip,
                    mac,
                    fresh_until,
                    used: now,
                });
            }
            _ => {}
        }
        Some(mac)
    }

    /// Brings the table's entry up to date. To be called before entries are looked at or changed.
    pub(super) fn forget_recent(&mut self) {
        if let Some(recent) = self.recent.take()
            && let Some(entry) = self.entries.get_mut(&recent.ip)
        {
            entry.used = Some(recent.used);
        }
    }
}

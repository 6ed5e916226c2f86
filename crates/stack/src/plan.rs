//! How a packet with the application's memory goes to the NIC: where it lies, or copied.

/// What the port can do with packets of several descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanLimits {
    /// Most descriptors of one packet: 1 without `XDP_USE_SG`, or the driver's `xdp-zc-max-segs`.
    pub descriptors: u32,
    /// Payloads of fewer bytes are copied behind their headers rather than described beside them: a
    /// descriptor more costs more than the copy. 0: none are.
    pub scatter_from_bytes: u32,
    /// Bytes that must lie in front of each descriptor in its chunk, for the port to find what it is asked for
    /// ([`TxChecksum::Offload`](crate::TxChecksum::Offload)).
    pub headroom: u32,
}

impl PlanLimits {
    /// A packet is one descriptor.
    pub const SINGLE: PlanLimits = PlanLimits {
        descriptors: 1,
        scatter_from_bytes: 0,
        headroom: 0,
    };

    /// A packet is as many descriptors as the kernel takes in copy mode (`MAX_SKB_FRAGS`).
    pub const SCATTER: PlanLimits = PlanLimits {
        descriptors: 17,
        scatter_from_bytes: 0,
        headroom: 0,
    };
}

impl PlanLimits {
    /// Why payloads of so many bytes are copied that have no room for headers in front of them, if they are.
    pub(crate) fn copies_beside(self, payload: u32) -> Option<Copied> {
        match self {
            _ if self.descriptors < 2 => Some(Copied::Pieces),
            _ if payload < self.scatter_from_bytes => Some(Copied::Small),
            _ => None,
        }
    }
}

/// Where the bytes of one packet lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lie {
    /// Bytes of the headers.
    pub(crate) headers: u32,
    /// Bytes in front of the payload that headers can be written to now.
    pub(crate) headroom: u32,
    /// Bytes of payload.
    pub(crate) payload: u32,
    /// Descriptors that the payload takes.
    pub(crate) pieces: u32,
    /// The least number of bytes that lie in front of one of these in its chunk.
    pub(crate) room: u32,
}

impl Lie {
    /// The same behind so many bytes of headers.
    pub(crate) fn behind(self, headers: usize) -> Lie {
        Lie {
            headers: headers as u32,
            ..self
        }
    }
}

/// How a packet is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TxPlan {
    /// Headers are written in front of the payload.
    InPlace,
    /// Headers are a descriptor of their own.
    Scatter,
    /// The payload is written behind the headers.
    Copy(Copied),
}

/// Why a payload is copied that could be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// It is short.
    Small,
    /// The packet would have more descriptors than the port takes.
    Pieces,
    /// It never reaches the wire.
    Local,
    /// Its neighbour has to be found first.
    Neighbour,
    /// It lies at the beginning of a chunk, where the port needs room in front.
    Headroom,
}

/// Decides about a packet.
#[inline]
pub(crate) fn tx_plan(limits: PlanLimits, lie: Lie) -> TxPlan {
    if lie.room < limits.headroom {
        return TxPlan::Copy(Copied::Headroom);
    }
    if lie.headers + limits.headroom <= lie.headroom && lie.pieces <= limits.descriptors {
        return TxPlan::InPlace;
    }
    if lie.pieces >= limits.descriptors {
        return TxPlan::Copy(Copied::Pieces);
    }
    if lie.payload < limits.scatter_from_bytes {
        return TxPlan::Copy(Copied::Small);
    }
    TxPlan::Scatter
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIE: Lie = Lie {
        headers: 54,
        headroom: 128,
        payload: 1000,
        pieces: 1,
        room: 128,
    };

    #[test]
    fn headroom_is_used_where_there_is_enough() {
        assert_eq!(tx_plan(PlanLimits::SINGLE, LIE), TxPlan::InPlace);
        let exact = Lie {
            headroom: 54,
            ..LIE
        };
        assert_eq!(tx_plan(PlanLimits::SINGLE, exact), TxPlan::InPlace);
        let less = Lie {
            headroom: 53,
            ..LIE
        };
        assert_eq!(tx_plan(PlanLimits::SCATTER, less), TxPlan::Scatter);
    }

    #[test]
    fn without_scatter_what_has_no_headroom_is_copied() {
        let lie = Lie { headroom: 0, ..LIE };
        let copied = TxPlan::Copy(Copied::Pieces);
        assert_eq!(tx_plan(PlanLimits::SINGLE, lie), copied);
        let two = Lie { pieces: 2, ..LIE };
        assert_eq!(tx_plan(PlanLimits::SINGLE, two), copied, "not in one");
    }

    #[test]
    fn headers_count_among_the_descriptors() {
        let most = PlanLimits::SCATTER.descriptors;
        let lie = |headroom, pieces| Lie {
            headroom,
            pieces,
            ..LIE
        };
        let plan = |lie| tx_plan(PlanLimits::SCATTER, lie);
        assert_eq!(plan(lie(0, most - 1)), TxPlan::Scatter);
        assert_eq!(plan(lie(0, most)), TxPlan::Copy(Copied::Pieces));
        assert_eq!(plan(lie(128, most)), TxPlan::InPlace);
        assert_eq!(plan(lie(128, most + 1)), TxPlan::Copy(Copied::Pieces));
    }

    #[test]
    fn what_the_port_needs_in_front_is_kept_free() {
        let limits = PlanLimits {
            headroom: 32,
            ..PlanLimits::SCATTER
        };
        let lie = |headroom, room| Lie {
            headroom,
            room,
            ..LIE
        };
        assert_eq!(tx_plan(limits, lie(54 + 32, 128)), TxPlan::InPlace);
        assert_eq!(tx_plan(limits, lie(54 + 31, 128)), TxPlan::Scatter);
        assert_eq!(tx_plan(limits, lie(0, 32)), TxPlan::Scatter);
        let copied = TxPlan::Copy(Copied::Headroom);
        assert_eq!(tx_plan(limits, lie(0, 31)), copied);
    }

    #[test]
    fn a_short_payload_is_copied_unless_its_headers_fit_in_front() {
        let limits = PlanLimits {
            scatter_from_bytes: 1000,
            ..PlanLimits::SCATTER
        };
        let lie = |payload, headroom| Lie {
            payload,
            headroom,
            ..LIE
        };
        assert_eq!(tx_plan(limits, lie(1000, 0)), TxPlan::Scatter);
        assert_eq!(tx_plan(limits, lie(999, 0)), TxPlan::Copy(Copied::Small));
        assert_eq!(tx_plan(limits, lie(999, 128)), TxPlan::InPlace);
    }
}

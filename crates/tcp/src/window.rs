//! The windows (RFC 9293, section 3.8.6; RFC 1122, sections 4.2.3.3 and 4.2.3.4; RFC 7323, section 2).

use crate::seq::SeqNumber;

/// Most that a window may be scaled (RFC 7323, section 2.3).
pub(crate) const MAX_SCALE: u8 = 14;

/// The least scale with which a buffer of this size can be offered.
pub(crate) fn scale_for(buffer_bytes: u32) -> u8 {
    (0..MAX_SCALE)
        .find(|&scale| buffer_bytes >> scale <= u32::from(u16::MAX))
        .unwrap_or(MAX_SCALE)
}

/// The window that is offered to the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveWindow {
    /// By how much the field is shifted; 0 until both ends have agreed.
    pub(crate) scale: u8,
    /// Bytes that the receiver can take in all, and how many of them it could take now.
    capacity: u32,
    room: u32,
    /// The first number that was never offered.
    edge: SeqNumber,
}

impl ReceiveWindow {
    /// A window that was offered up to `edge`.
    pub(crate) fn new(capacity: u32, edge: SeqNumber) -> ReceiveWindow {
        ReceiveWindow {
            scale: 0,
            capacity,
            room: capacity,
            edge,
        }
    }

    /// Changes what can be taken in all.
    pub(crate) fn set_capacity(&mut self, bytes: u32) {
        self.capacity = bytes;
        self.room = self.room.min(bytes);
    }

    /// What can be taken beyond RCV.NXT now.
    pub(crate) fn set_room(&mut self, bytes: u32) {
        self.room = bytes.min(self.capacity);
    }

    /// The first number that lies outside of the window.
    pub(crate) fn edge(&self, next: SeqNumber) -> SeqNumber {
        self.edge.max(next)
    }

    /// The window to offer: the buffer's room, but what was offered is not taken back, and less than a
    /// segment (or half of the buffer) is not worth an advance.
    fn offer(&self, next: SeqNumber, mss: u32) -> u32 {
        let offered = self.edge.since_or_zero(next);
        let worth = mss.min(self.capacity / 2).max(1);
        if self.room >= offered.saturating_add(worth) {
            self.room
        } else {
            offered
        }
    }

    /// The field of a segment that is sent now.
    pub(crate) fn advertise(&mut self, next: SeqNumber, mss: u32) -> u16 {
        let offer = self.offer(next, mss);
        let most = u32::from(u16::MAX) << self.scale;
        let unit = (1u32 << self.scale) - 1;
        // Rounded up, or the edge would move back by the rounding.
        let field = (offer.min(most).saturating_add(unit) >> self.scale).min(u16::MAX.into());
        self.edge = self.edge.max(next + (field << self.scale));
        field as u16
    }

    /// The field of a SYN, which is never scaled (RFC 7323, section 2.2).
    pub(crate) fn advertise_unscaled(&mut self, next: SeqNumber) -> u16 {
        let field = self.room.min(u16::MAX.into());
        self.edge = self.edge.max(next + field);
        field as u16
    }

    /// Whether the window has opened so far that the peer should hear of it at once: twice what it
    /// knows of (as Linux has it), or a closed one at all.
    pub(crate) fn has_opened(&self, next: SeqNumber, mss: u32) -> bool {
        let offered = self.edge.since_or_zero(next);
        let offer = self.offer(next, mss);
        offer > offered && offer >= offered.saturating_mul(2)
    }
}

/// The window that the peer offers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SendWindow {
    /// By how much the peer's field is shifted.
    pub(crate) scale: u8,
    /// SND.WND.
    size: u32,
    /// The largest that was ever offered (MAX.SND.WND).
    largest: u32,
    /// SND.WL1 and SND.WL2: the segment that the size is from.
    from: (SeqNumber, SeqNumber),
}

impl SendWindow {
    /// Takes the window of the segment that made the connection.
    pub(crate) fn begin(&mut self, size: u32, seq: SeqNumber, ack: SeqNumber) {
        self.size = size;
        self.largest = self.largest.max(size);
        self.from = (seq, ack);
    }

    /// Takes a segment's window, unless an older segment has come late (RFC 9293, section 3.10.7.4).
    /// A newer acknowledgement is never from before, though it may come with data that is sent again:
    /// without its window, SND.UNA + SND.WND would lie beyond what was offered (Linux
    /// `tcp_may_update_window`).
    pub(crate) fn update(&mut self, field: u16, seq: SeqNumber, ack: SeqNumber) {
        let (seq_before, ack_before) = self.from;
        let same = seq == seq_before && ack == ack_before;
        if same || seq.after(seq_before) || ack.after(ack_before) {
            self.begin(u32::from(field) << self.scale, seq, ack);
        }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    pub(crate) fn largest(&self) -> u32 {
        self.largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SeqNumber = SeqNumber(1000);

    fn window(capacity: u32, scale: u8) -> ReceiveWindow {
        let mut window = ReceiveWindow::new(capacity, START);
        window.scale = scale;
        window
    }

    #[test]
    fn the_scale_is_the_least_that_fits() {
        assert_eq!(scale_for(65_535), 0);
        assert_eq!(scale_for(65_536), 1);
        assert_eq!(scale_for(256 << 10), 3);
        assert_eq!(scale_for(u32::MAX), MAX_SCALE);
    }

    #[test]
    fn a_window_is_never_taken_back() {
        let mut window = window(10_000, 0);
        assert_eq!(window.advertise(START, 1000), 10_000);
        window.set_room(100);
        assert_eq!(window.advertise(START + 1000, 1000), 9000);
        assert_eq!(window.edge(START + 1000), START + 10_000);
    }

    #[test]
    fn rounding_by_the_scale_does_not_move_the_edge_back() {
        let mut window = window(1 << 20, 7);
        window.advertise(START, 1000);
        let edge = window.edge(START);
        window.set_room(0);
        for step in 1..300 {
            let field = window.advertise(START + step, 1000);
            let offered = START + step + (u32::from(field) << 7);
            assert!(!offered.before(edge), "the edge moved back at {step}");
        }
    }

    #[test]
    fn a_little_room_is_not_offered() {
        let mut window = window(10_000, 0);
        window.set_room(0);
        assert_eq!(window.advertise(START, 1000), 0);
        window.set_room(999);
        assert!(!window.has_opened(START, 1000));
        assert_eq!(window.advertise(START, 1000), 0);
        window.set_room(1000);
        assert!(window.has_opened(START, 1000));
        assert_eq!(window.advertise(START, 1000), 1000);
    }

    #[test]
    fn half_of_a_small_buffer_is_offered() {
        let mut window = window(1000, 0);
        window.set_room(0);
        window.advertise(START, 1460);
        window.set_room(500);
        assert!(window.has_opened(START, 1460));
    }

    #[test]
    fn an_open_window_is_announced_when_it_has_doubled() {
        let mut window = window(10_000, 0);
        window.set_room(3000);
        window.advertise(START, 1000);
        window.set_room(5999);
        assert!(!window.has_opened(START, 1000));
        window.set_room(6000);
        assert!(window.has_opened(START, 1000));
    }

    #[test]
    fn an_older_segment_does_not_change_the_send_window() {
        let mut window = SendWindow::default();
        let at = SeqNumber;
        window.update(100, at(10), at(5));
        window.update(50, at(9), at(5));
        assert_eq!(window.size(), 100, "an older sequence number");
        window.update(50, at(10), at(4));
        assert_eq!(window.size(), 100, "an older acknowledgement");
        window.update(50, at(10), at(5));
        assert_eq!(window.size(), 50, "the same segment again may shrink it");
        window.update(40, at(9), at(6));
        assert_eq!(window.size(), 40, "older data with news");
        window.update(70, at(11), at(4));
        assert_eq!((window.size(), window.largest()), (70, 100));
    }
}

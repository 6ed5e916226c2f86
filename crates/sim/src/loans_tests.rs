//! What goes over the wire is understood: how much of a stream the other host has.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use super::*;

const OURS: Connection = Connection {
    v6: false,
    local: 20_001,
    remote: 8,
};
const FIRST: u32 = u32::MAX - 5;

fn frame(sent: bool, control: TcpControl, seq: u32, ack: Option<u32>) -> Vec<u8> {
    let (from, to) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let (from, to) = if sent { (from, to) } else { (to, from) };
    let (src_port, dst_port) = match sent {
        true => (OURS.local, OURS.remote),
        false => (OURS.remote, OURS.local),
    };
    let tcp = TcpRepr {
        src_port,
        dst_port,
        control,
        seq_number: TcpSeqNumber(seq as i32),
        ack_number: ack.map(|ack| TcpSeqNumber(ack as i32)),
        window_len: 1000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = smoltcp::wire::Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let mut bytes = vec![0; 14 + ip.buffer_len() + tcp.buffer_len()];
    bytes[12] = 8;
    let checksums = ChecksumCapabilities::default();
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[14..]);
    ip.emit(&mut packet, &checksums);
    let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
    tcp.emit(&mut segment, &from.into(), &to.into(), &checksums);
    bytes
}

/// Of a connection whose SYN has gone out.
fn begun() -> Acknowledgements {
    let mut acknowledgements = Acknowledgements::default();
    acknowledgements.sent(&frame(true, TcpControl::Syn, FIRST, None));
    acknowledgements
}

#[test]
fn what_is_acknowledged_is_counted_from_behind_the_syn_and_across_the_end_of_the_numbers() {
    let mut acknowledgements = begun();
    assert!(!acknowledgements.has(OURS, 0), "nothing was acknowledged");
    let ack = FIRST.wrapping_add(1 + 100);
    acknowledgements.received(&frame(false, TcpControl::None, 7, Some(ack)));
    assert!(acknowledgements.has(OURS, 100));
    assert!(!acknowledgements.has(OURS, 101));
}

#[test]
fn an_earlier_acknowledgement_takes_nothing_back() {
    let mut acknowledgements = begun();
    for count in [100, 40] {
        let ack = FIRST.wrapping_add(1 + count);
        acknowledgements.received(&frame(false, TcpControl::None, 7, Some(ack)));
    }
    assert!(acknowledgements.has(OURS, 100));
}

#[test]
fn a_segment_that_the_wire_has_broken_acknowledges_nothing() {
    let mut acknowledgements = begun();
    let ack = FIRST.wrapping_add(1 + 100);
    let mut broken = frame(false, TcpControl::None, 7, Some(ack));
    *broken.last_mut().expect("a byte") ^= 1;
    acknowledgements.received(&broken);
    assert!(!acknowledgements.has(OURS, 1));
}

#[test]
fn a_reset_ends_the_wait_for_acknowledgements() {
    for sent in [true, false] {
        let mut acknowledgements = begun();
        let reset = frame(sent, TcpControl::Rst, FIRST.wrapping_add(1), None);
        match sent {
            true => acknowledgements.sent(&reset),
            false => acknowledgements.received(&reset),
        }
        assert!(acknowledgements.has(OURS, 100));
    }
}

#[test]
fn what_is_not_lent_is_found_between_what_is_and_at_the_ends_and_only_in_areas() {
    let (owned, lent) = ([100..200, 300..400], [100..120, 120..150, 310..400]);
    let find = |start: u64, end: u64| first_not_lent(&(start..end), &owned, &lent);
    assert_eq!(find(90, 150), None, "headers lie in front of an area");
    assert_eq!(find(110, 151), Some(150));
    assert_eq!(find(309, 320), Some(309));
    assert_eq!(find(320, 410), None);
    assert_eq!(find(200, 300), None);
}

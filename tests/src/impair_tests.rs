//! Tests of the impaired line.

use super::*;

const MBIT: u64 = 1_000_000;

/// An IPv4 frame of so many bytes that carries a number.
fn frame(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    frame
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[14..18].try_into().expect("four bytes"))
}

/// Sends frames of 1000 bytes at 1 ms from one another; when which of them arrived.
fn carry(line: &mut Line, frames: u32) -> Vec<(Duration, u32)> {
    let mut arrived = Vec::new();
    for at in 0..frames + 1000 {
        let now = Duration::from_millis(at.into());
        if at < frames {
            line.offer(now, &frame(at, 1000));
        }
        while let Some(due) = line.next_due().filter(|due| *due <= now) {
            let frame = line.take(now).expect("a frame is due");
            arrived.push((due, number(&frame)));
        }
    }
    assert_eq!(line.next_due(), None, "everything has arrived");
    arrived
}

fn numbers(arrived: &[(Duration, u32)]) -> Vec<u32> {
    arrived.iter().map(|(_, number)| *number).collect()
}

#[test]
fn a_seed_repeats_its_decisions_and_another_makes_others() {
    let run = |seed, direction| {
        let impairment = Impairment {
            loss: 0.2,
            duplicate: 0.1,
            ..Impairment::line(seed, 100 * MBIT)
        };
        numbers(&carry(&mut Line::new(impairment, direction), 500))
    };
    assert_eq!(run(1, 0), run(1, 0));
    assert_ne!(run(1, 0), run(2, 0));
    assert_ne!(run(1, 0), run(1, 1));
}

#[test]
fn the_share_that_is_lost_is_the_probability() {
    let impairment = Impairment {
        loss: 0.05,
        ..Impairment::line(7, 100 * MBIT)
    };
    let mut line = Line::new(impairment, 0);
    let arrived = carry(&mut line, 20_000);
    assert_eq!(line.counts().lost + arrived.len() as u64, 20_000);
    // 1000 are expected, with a standard deviation of 31.
    assert!(
        (850..1150).contains(&line.counts().lost),
        "{:?}",
        line.counts()
    );
}

#[test]
fn a_frame_arrives_after_its_serialisation_and_the_delay() {
    let delay = Duration::from_millis(20);
    let impairment = Impairment {
        delay,
        ..Impairment::line(1, 8 * MBIT)
    };
    let arrived = carry(&mut Line::new(impairment, 0), 10);
    for (due, number) in arrived {
        // 1000 bytes take 1 ms at 8 Mbit/s.
        assert_eq!(due, Duration::from_millis(u64::from(number) + 1) + delay);
    }
}

#[test]
fn the_queue_is_bounded() {
    // Frames come at twice the rate; 20 ms of 4 Mbit/s are ten frames.
    let mut line = Line::new(Impairment::line(1, 4 * MBIT), 0);
    let arrived = carry(&mut line, 1000);
    assert_eq!(line.counts().overflowed + arrived.len() as u64, 1000);
    for (due, number) in arrived {
        let waited = due - Duration::from_millis(number.into());
        assert!(waited <= Duration::from_millis(20), "{waited:?}");
    }
}

#[test]
fn a_frame_that_is_held_back_is_overtaken() {
    let hold = Duration::from_millis(10);
    let impairment = Impairment {
        reorder: 0.1,
        hold,
        ..Impairment::line(3, 100 * MBIT)
    };
    let mut line = Line::new(impairment, 0);
    let arrived = numbers(&carry(&mut line, 1000));
    let overtaken = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(overtaken > 50, "{overtaken}");
    let mut sorted = arrived;
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_duplicate_follows_its_original() {
    let impairment = Impairment {
        duplicate: 0.1,
        ..Impairment::line(3, 100 * MBIT)
    };
    let mut line = Line::new(impairment, 0);
    let mut arrived = numbers(&carry(&mut line, 1000));
    assert_eq!(arrived.len() as u64, 1000 + line.counts().duplicated);
    assert!(line.counts().duplicated > 50);
    arrived.dedup();
    assert_eq!(arrived, (0..1000).collect::<Vec<_>>());
}

#[test]
fn arp_and_neighbour_discovery_pass_untouched() {
    let delay = Duration::from_secs(1);
    let impairment = Impairment {
        loss: 1.0,
        delay,
        ..Impairment::line(1, 8 * MBIT)
    };
    let mut line = Line::new(impairment, 0);
    let mut arp = frame(1, 60);
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let mut solicitation = frame(2, 86);
    solicitation[12..14].copy_from_slice(&[0x86, 0xdd]);
    (solicitation[20], solicitation[54]) = (58, 135);
    for frame in [arp, solicitation] {
        line.offer(Duration::ZERO, &frame);
        assert_eq!(line.take(Duration::ZERO), Some(frame));
    }
    assert_eq!(line.counts(), Counts::default());
}
